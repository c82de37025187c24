//! What every adapter of [`utp_proto`] needs and no runtime owns.
//!
//! - [`socket`]: binding, dual stack, kernel buffers; [`addr`]: one form of each address.
//! - [`udp`] and [`endpoint`]: batched UDP I/O between an endpoint and a socket. All that an adapter
//!   without tasks needs.
//! - [`runtime`]: the traits that an asynchronous runtime implements, about forty lines.
//! - [`hub`]: sockets and streams for such a runtime, complete: its adapter wraps [`SocketHandle`] and
//!   [`StreamHandle`] into types of its own with the traits that its users expect; the macros spare it the
//!   methods that only forward.
//! - [`race`]: connecting to the one of several addresses that answers first.
//! - [`events`], [`references`], [`text`]: what programs for Node.js are used to, for all adapters.
//! - `faults`, with the feature of that name: system calls that fail, for tests.
//!
//! Applications use an adapter (`utp-tokio` and its siblings), not this crate.
#![forbid(unsafe_code)]

mod adapter;
pub mod addr;
mod config;
mod driver;
pub mod endpoint;
pub mod events;
#[cfg(feature = "faults")]
pub mod faults;
mod halves;
pub mod hub;
pub mod race;
pub mod references;
pub mod runtime;
pub mod socket;
pub mod stats;
mod sync;
pub mod text;
pub mod udp;

pub use bytes::Bytes;
pub use config::SocketConfig;
pub use hub::{Ending, Incoming, SocketHandle, StreamHandle, bind, connect, open};
pub use socket::BufferSizes;
pub use stats::SocketStats;
pub use utp_proto::{ConnectionStats, congestion};
