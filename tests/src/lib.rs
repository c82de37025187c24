//! Tests of uTP for Rust. `CHECKLIST.md` says which behaviour each of them covers.

#![deny(unsafe_code)] // but for the C interface of libutp, in `interop::libutp::ffi`, and an allocator

#[cfg(feature = "interop")]
pub mod bench;
#[cfg(feature = "interop")]
pub mod conformance;
pub mod congestion;
#[cfg(feature = "core-bench")]
pub mod core_bench;
pub mod counting;
#[cfg(all(feature = "interop", target_os = "linux"))]
pub mod faults;
pub mod fuzz;
#[cfg(feature = "interop")]
pub mod interop;
#[cfg(all(feature = "interop", target_os = "linux"))]
pub mod linkemu;
pub mod packet;
pub mod puppet;
pub mod sim;

/// The programs of the README compile, and those that end are run.
#[cfg(all(doctest, feature = "interop"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
