//! Tests of uTP for Rust.

#![deny(unsafe_code)] // but for the C interface of libutp, in `interop::libutp::ffi`

pub mod bench;
pub mod conformance;
pub mod core_bench;
pub mod interop;
pub mod puppet;
pub mod sim;
