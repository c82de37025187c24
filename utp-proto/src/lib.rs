//! uTP, the micro transport protocol of [BEP 29](https://www.bittorrent.org/beps/bep_0029.html), as
//! a pure state machine: datagrams and timestamps in; datagrams, events and one deadline out. No
//! clock, no socket, no thread, no randomness of its own, so that it fits any event loop, and so that a
//! test can run hours of protocol time in a second.
//!
//! Programs on tokio, async-std or mio want an adapter crate instead: `utp-tokio`, `utp-async-std`,
//! `utp-mio`. This page is for those who embed the core.
//!
//! # The contract on one page
//!
//! An [`Endpoint`] owns every connection of one UDP socket. A connection is named by a
//! [`ConnectionHandle`] and reached through [`Endpoint::connection`].
//!
//! **In**, any number of calls in any order:
//!
//! | call | when |
//! |---|---|
//! | [`handle_datagram`](Endpoint::handle_datagram) | for each datagram; [`Verdict::NotUtp`] gives it back: a DHT may share the port |
//! | [`handle_timeout`](Endpoint::handle_timeout) | when the deadline has come |
//! | [`handle_path_error`](Endpoint::handle_path_error) | when the network complains (optional) |
//! | [`connect`](Endpoint::connect), [`accept`](Endpoint::accept), anything on a [`Connection`] | when the application wants |
//!
//! **Out**, after that, each until `None`:
//!
//! | call | what to do with it |
//! |---|---|
//! | [`poll_event`](Endpoint::poll_event) | tell the application; [`Event`] says what each means |
//! | [`poll_transmit`](Endpoint::poll_transmit) | send it; what cannot be sent may be dropped, which is loss, or kept and sent later with [`wire_timestamp`](Endpoint::wire_timestamp) written anew |
//! | [`poll_event`](Endpoint::poll_event) | once more: sending can end a connection |
//! | [`poll_timeout`](Endpoint::poll_timeout) | wait until then, for a datagram, or for the application |
//!
//! - **Time** is the caller's: pass a monotonic `Instant` to each call, the kernel's receive timestamp
//!   to `handle_datagram` if there is one. Going backwards is harmless. The delay measurement that
//!   congestion control lives on is as good as these times: call `poll_transmit` right before sending.
//! - **Addresses** are compared as they are, so one peer must have one: where a socket on `[::]` speaks of IPv4
//!   peers as `::ffff:a.b.c.d`, map them back before the core sees them (`IpAddr::to_canonical`), and leave out
//!   flow labels, and scopes of addresses that are not link-local.
//! - **Batches** are the point: feed all datagrams that have arrived before draining, and one
//!   acknowledgement answers them all; take runs of equal segments from `poll_transmit` and send them with
//!   one system call (UDP GSO).
//! - **Nothing spins or stalls**: a connection that has something to do is either ready to transmit or
//!   has a deadline.
//! - **Nothing panics** on what peers send, and nothing grows beyond the bounds in [`Config`]. At a
//!   bound, things are dropped and counted ([`EndpointStats`], [`ConnectionStats`]).
//! - **The end**: [`Event::Closed`] comes exactly once, last, and when everything that arrived has been
//!   read (or given up with [`close`](Connection::close) or [`abort`](Connection::abort)).
//!
//! A complete event loop over `std::net::UdpSocket`, under 150 lines, is
//! `examples/event_loop.rs`; two endpoints joined by memory alone are in `examples/in_memory.rs`.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use std::time::Instant;
//! use utp_proto::{Config, Endpoint, Event};
//!
//! let now = Instant::now();
//! let config = Arc::new(Config::default());
//! let (client_addr, server_addr) = ("192.0.2.1:6881".parse()?, "192.0.2.2:6881".parse()?);
//! let mut client = Endpoint::new(config.clone(), [1; 32], now); // the seed should be random
//! let mut server = Endpoint::new(config, [2; 32], now);
//!
//! let handle = client.connect(now, server_addr)?;
//! client.connection(handle).unwrap().write(b"hello")?;
//!
//! // The network: what one end transmits, the other one handles, until both are silent.
//! let one = NonZeroUsize::MIN;
//! let mut buf = Vec::new();
//! loop {
//!     let before = client.stats().datagrams_sent + server.stats().datagrams_sent;
//!     while client.poll_transmit(now, one, &mut buf).is_some() {
//!         let _ = server.handle_datagram(now, client_addr, &std::mem::take(&mut buf));
//!     }
//!     while server.poll_transmit(now, one, &mut buf).is_some() {
//!         let _ = client.handle_datagram(now, server_addr, &std::mem::take(&mut buf));
//!     }
//!     if client.stats().datagrams_sent + server.stats().datagrams_sent == before {
//!         break;
//!     }
//! }
//!
//! let accepted = server.accept().expect("the client has connected");
//! let mut greeting = [0; 16];
//! assert_eq!(server.connection(accepted).unwrap().read(&mut greeting)?, 5);
//! assert_eq!(client.poll_event(), Some((handle, Event::Connected)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Finding one's way
//!
//! `wire` is the format; `buffer`, `congestion`, `rtt`, `mtu` and `pacer` are what a connection is made of;
//! `connection` is its state machine; `endpoint` holds all of them. Imports go in that direction only.
//! `COMPLIANCE.md` lists every deviation from BEP 29 and the RFCs, with its reason.
#![forbid(unsafe_code)]
// Nothing a peer sends may panic. Exceptions say why they cannot.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

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
pub use endpoint::{Connection, ConnectionHandle, Endpoint, Transmit, Verdict};
pub use error::{CloseReason, ConfigError, ConnectError, PathError, ReadError, WriteError};
pub use event::Event;
pub use stats::{ConnectionStats, EndpointStats};
