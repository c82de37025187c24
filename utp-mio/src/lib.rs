//! uTP, the micro transport protocol of [BEP 29](https://www.bittorrent.org/beps/bep_0029.html), for
//! [mio]: reliable, ordered streams over UDP that give way to other traffic.
//!
//! A [`UtpSocket`] is an [event source](mio::event::Source): one UDP port with any number of
//! connections, all within the caller's event loop. There is no thread, lock, waker or timer, and no
//! callback: a [turn](UtpSocket::turn) does a bounded piece of work, then
//! [events](UtpSocket::poll_event) say what came of it. Connections are named by handles and reached
//! through [`UtpSocket::connection`]; the [`Connection`] that it gives is the core's own.
//!
//! ```
//! use std::time::Instant;
//! use mio::{Events, Interest, Poll, Token};
//! use utp_mio::{ConnectionEvent, Event, Turn, UtpSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut poll = Poll::new()?;
//! let mut server = UtpSocket::bind("127.0.0.1:0".parse()?)?;
//! let mut client = UtpSocket::bind("127.0.0.1:0".parse()?)?;
//! poll.registry().register(&mut server, Token(0), Interest::READABLE)?;
//! poll.registry().register(&mut client, Token(1), Interest::READABLE)?;
//!
//! let stream = client.connect(Instant::now(), server.local_addr())?;
//! let mut greeting = Vec::new();
//! let mut events = Events::with_capacity(16);
//! 'done: loop {
//!     let mut wait = true;
//!     for socket in [&mut server, &mut client] {
//!         wait &= socket.turn(Instant::now())? == Turn::Wait;
//!         while let Some(event) = socket.poll_event() {
//!             match event {
//!                 Event::Connection(_, ConnectionEvent::Incoming) => {
//!                     while let Some(accepted) = socket.accept() {
//!                         let mut connection = socket.connection(accepted).unwrap();
//!                         connection.write(b"hello")?;
//!                         connection.close(); // what was written is delivered
//!                     }
//!                 }
//!                 Event::Connection(handle, ConnectionEvent::Readable) if handle == stream => {
//!                     let mut buf = [0; 1024];
//!                     let mut connection = socket.connection(handle).unwrap();
//!                     while let Ok(read @ 1..) = connection.read(&mut buf) {
//!                         greeting.extend_from_slice(&buf[..read]);
//!                     }
//!                 }
//!                 Event::Connection(handle, ConnectionEvent::Finished) if handle == stream => {
//!                     socket.connection(handle).unwrap().finish();
//!                 }
//!                 Event::Connection(handle, ConnectionEvent::Closed { reason }) if handle == stream => {
//!                     println!("{reason}");
//!                     break 'done;
//!                 }
//!                 _ => {}
//!             }
//!         }
//!     }
//!     if wait {
//!         let deadline = server.deadline().into_iter().chain(client.deadline()).min();
//!         let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
//!         poll.poll(&mut events, timeout)?;
//!     }
//! }
//! assert_eq!(greeting, b"hello");
//! # Ok(()) }
//! ```
//!
//! Programs that were written for Node.js may want [`StreamEvents`], which turns what happens on a
//! connection into `connect`, `data` (bytes, or [text] if an encoding was set), `end`, `error` and `close`:
//! for each event of the connection, ask until there is no more.
//!
//! ```
//! use std::task::Poll;
//! use utp_mio::{Connection, Data, StreamEvent, StreamEvents, View};
//!
//! /// Prints what happens; `events` is kept beside the handle, made by `StreamEvents::new(outgoing)`.
//! fn print(events: &mut StreamEvents, connection: &mut Connection<'_>) {
//!     while let Poll::Ready(Some(event)) = events.next(View::of(connection)) {
//!         match event {
//!             StreamEvent::Connect => println!("connected"),
//!             StreamEvent::Data(Data::Text(text)) => println!("{text}"),
//!             StreamEvent::Data(data) => println!("{} bytes", data.as_ref().len()),
//!             StreamEvent::End => connection.finish(),
//!             StreamEvent::Error(error) => println!("failed: {error}"),
//!             StreamEvent::Close(ending) => println!("closed: {}", ending.reason),
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! # Several addresses
//!
//! A host name may have several addresses, and a listener at one of them only. [`Race`] says which to try, and
//! when (RFC 8305, Happy Eyeballs); the connections are the program's own:
//!
//! ```
//! use std::io;
//! use std::time::Instant;
//! use utp_mio::{ConnectionEvent, ConnectionHandle, Race, UtpSocket};
//!
//! struct Dial {
//!     race: Race, // Race::new(addrs)
//!     attempts: Vec<ConnectionHandle>,
//! }
//!
//! impl Dial {
//!     /// To be called each time around; the loop waits until `self.race.deadline()` at most.
//!     fn go_on(&mut self, socket: &mut UtpSocket, now: Instant) -> io::Result<()> {
//!         while let Some(addr) = self.race.poll_attempt(now) {
//!             match socket.connect(now, addr) {
//!                 Ok(attempt) => self.attempts.push(attempt),
//!                 Err(error) => self.race.handle_failure(error),
//!             }
//!         }
//!         self.race.poll_error().map_or(Ok(()), Err) // all have failed
//!     }
//!
//!     /// To be called for each event of an attempt. Gives the connection if that is the first that opens.
//!     fn handle_event(
//!         &mut self,
//!         socket: &mut UtpSocket,
//!         handle: ConnectionHandle,
//!         event: ConnectionEvent,
//!     ) -> Option<ConnectionHandle> {
//!         match event {
//!             ConnectionEvent::Connected => {
//!                 for other in self.attempts.drain(..).filter(|other| *other != handle) {
//!                     socket.connection(other).unwrap().abort();
//!                 }
//!                 return Some(handle);
//!             }
//!             ConnectionEvent::Closed { reason } => {
//!                 self.attempts.retain(|other| *other != handle);
//!                 self.race.handle_failure(reason.into());
//!             }
//!             _ => {}
//!         }
//!         None
//!     }
//! }
//! ```
//!
//! # Examples
//!
//! The `examples` directory has an echo server with its client, and a program that shares its port
//! with a DHT ([`recv_from`](UtpSocket::recv_from), [`send_to`](UtpSocket::send_to)).
#![forbid(unsafe_code)]

mod event;
mod socket;
mod source;
#[cfg(test)]
mod tests;

pub use event::{Event, Turn};
pub use socket::UtpSocket;
pub use utp_driver::events::{Data, StreamEvent, StreamEvents, View};
pub use utp_driver::race::Race;
pub use utp_driver::stats::{ReceiveStats, SendStats};
pub use utp_driver::text;
pub use utp_driver::{BufferSizes, Bytes, Ending, SocketConfig, SocketStats};
pub use utp_proto::{
    CloseReason, Config, ConfigError, ConnectError, Connection, ConnectionHandle, ConnectionStats,
    EndpointStats, Event as ConnectionEvent, ReadError, WriteError, congestion,
};
