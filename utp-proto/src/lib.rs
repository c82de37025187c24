//! uTP, the micro transport protocol of [BEP 29](https://www.bittorrent.org/beps/bep_0029.html), as
//! a pure state machine.
#![forbid(unsafe_code)]

mod config;
pub mod congestion;
mod endpoint;
mod error;
mod event;
mod stats;

pub use config::Config;
pub use endpoint::{Connection, ConnectionHandle, Endpoint, PathError, Transmit, Verdict};
pub use error::{CloseReason, ConfigError, ConnectError, ReadError, WriteError};
pub use event::Event;
pub use stats::{ConnectionStats, EndpointStats};
