//! uTP, the micro transport protocol of [BEP 29](https://www.bittorrent.org/beps/bep_0029.html), as
//! a pure state machine: datagrams and timestamps in; datagrams, events and one deadline out. No
//! clock, no socket, no thread, no randomness of its own.
#![forbid(unsafe_code)]

/// Emits a `tracing` event if the feature is on, nothing otherwise.
macro_rules! log {
    ($level:ident, $($rest:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::$level!($($rest)*);
    };
}

mod buffer;
mod config;
pub mod congestion;
mod connection;
mod endpoint;
mod error;
mod event;
mod mtu;
mod pacer;
mod rng;
mod rtt;
mod stats;
mod time;
pub mod wire;

pub use config::Config;
pub use endpoint::{Connection, ConnectionHandle, Endpoint, PathError, Transmit, Verdict};
pub use error::{CloseReason, ConfigError, ConnectError, ReadError, WriteError};
pub use event::Event;
pub use stats::{ConnectionStats, EndpointStats};
