//! uTP, the micro transport protocol of [BEP 29](https://www.bittorrent.org/beps/bep_0029.html), for
//! [async-std](async_std) and [smol](https://docs.rs/smol): reliable, ordered streams over UDP that give
//! way to other traffic.
//!
//! The names are those of `async_std::net`: a [`UtpListener`] accepts [`UtpStream`]s, and
//! [`UtpStream::connect`] opens one. A [`UtpSocket`] does both on one port, which is what a BitTorrent
//! client wants. Streams are [`AsyncRead`](futures_io::AsyncRead) and
//! [`AsyncWrite`](futures_io::AsyncWrite).
//!
//! Streams cost no task, thread, timer or channel: a socket has one task for all of them. That task
//! runs on async-std's executor, which starts by itself; the futures of this crate can be awaited on
//! any executor: smol's, or `futures::executor`'s (`examples/smol.rs`). async-std itself is no longer
//! developed; new programs had better be written for smol.
//!
//! ```
//! # async_std::task::block_on(async {
//! use std::time::Duration;
//! use async_std::io::{ReadExt, WriteExt};
//! use async_std::task;
//! use utp_async_std::{Config, UtpSocket};
//!
//! let mut config = Config::default();
//! config.connect_timeout(Duration::from_secs(5))?;
//! let here = UtpSocket::bind_with("127.0.0.1:0", config).await?;
//! let there = UtpSocket::bind("127.0.0.1:0").await?;
//! let addr = there.local_addr();
//! let greeter = task::spawn(async move {
//!     let (mut stream, _peer) = there.accept().await?;
//!     stream.write_all(b"welcome").await?;
//!     stream.finish() // queues the FIN; dropping does too
//! });
//! let mut stream = here.connect(addr).await?;
//! let mut greeting = String::new();
//! stream.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "welcome");
//! greeter.await
//! # }).unwrap();
//! ```
//!
//! # Events
//!
//! Programs that were written for Node.js find its events in [`UtpSocket::next_event`] and
//! [`UtpStream::next_event`]:
//!
//! ```
//! # async_std::task::block_on(async {
//! use utp_async_std::text::Encoding;
//! use utp_async_std::{Data, SocketEvent, StreamEvent, UtpListener, UtpSocket};
//!
//! let server = UtpListener::bind_port(0).await?; // any IPv4 address; the system chooses the port
//! let socket = UtpSocket::bind_port(0).await?;
//! let mut client = socket.connect_port(server.local_addr().port()).await?; // on localhost
//! client.write_text("smørrebrød", Encoding::Utf8).await?;
//! client.finish()?;
//!
//! let mut heard = String::new();
//! while let Some(event) = server.next_event().await {
//!     match event {
//!         SocketEvent::Listening => {}
//!         SocketEvent::Connection(stream) => {
//!             stream.set_encoding(Encoding::Utf8);
//!             while let Some(event) = stream.next_event().await {
//!                 match event {
//!                     StreamEvent::Data(Data::Text(text)) => heard += &text,
//!                     StreamEvent::End => stream.finish()?,
//!                     StreamEvent::Error(error) => return Err(error),
//!                     StreamEvent::Close(ending) => assert!(ending.is_delivered()),
//!                     _ => {}
//!                 }
//!             }
//!             server.close().await?;
//!         }
//!         SocketEvent::Error(error) => return Err(error),
//!         SocketEvent::Close => println!("closed"),
//!         _ => {}
//!     }
//! }
//! assert_eq!(heard, "smørrebrød");
//! # Ok(()) }).unwrap();
//! ```
#![forbid(unsafe_code)]

mod listener;
mod race;
mod runtime;
mod socket;
mod split;
mod stream;

pub use listener::{Incoming, UtpListener};
pub use race::race;
pub use socket::UtpSocket;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::UtpStream;
pub use utp_driver::events::{Data, StreamEvent};
pub use utp_driver::stats::{ReceiveStats, SendStats};
pub use utp_driver::text;
pub use utp_driver::{BufferSizes, Bytes, Ending, SocketConfig, SocketStats};
pub use utp_proto::{
    CloseReason, Config, ConfigError, ConnectError, ConnectionStats, EndpointStats, congestion,
};

/// What happens to a [`UtpSocket`], in the terms of Node.js. See [`UtpSocket::next_event`].
pub type SocketEvent = utp_driver::events::SocketEvent<UtpStream>;
