//! A bottleneck between two hosts with real kernels, real sockets and real time.
//!
//! - [`host`]: network namespaces with a TUN device each. No privileges are needed, only that the kernel lets users
//!   have namespaces of their own.
//! - [`link`]: what moves packets between the two: rate, delay, a drop-tail queue, random loss.
//! - [`flows`]: who sends over it: uTP of this project, TCP of the kernel.
//! - [`cases`]: what is measured.
//!
//! `tests/linkemu.sh` runs all of it.

pub mod cases;
pub mod flows;
pub mod host;
pub mod link;
