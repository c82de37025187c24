//! [`UtpSocket`]: one UDP port, any number of connections.

use std::future::ready;
use std::io;
use std::net::Ipv4Addr;

use tokio::net::{ToSocketAddrs, lookup_host};
use utp_driver::addr::try_each;
use utp_driver::race::race;
use utp_driver::{SocketConfig, SocketHandle};

use crate::runtime::{Socket, Tokio};
use crate::{UtpListener, UtpStream};

/// A UDP socket that connects and accepts uTP streams, any number of them at a time. Clones share it.
///
/// Every socket has one task, which runs on the runtime that the socket was made in. When the last
/// clone, and the last [`UtpListener`] on it, is dropped, no more connections come in; the task goes on
/// until the last stream has ended, and ends then.
///
/// A socket that only connects is better configured not to [listen](crate::Config::listen): peers could
/// connect to it, and would wait in vain. A peer that has gone without a word while nothing was being sent to
/// it is found by [`idle_timeout`](crate::Config::idle_timeout) only, which is `None` by default.
///
/// Datagrams that are not uTP are kept apart, so that another protocol (a DHT) can share the port: see
/// [`recv_from`](Self::recv_from).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use utp_tokio::UtpSocket;
///
/// let socket = UtpSocket::bind("127.0.0.1:0").await?;
/// println!("listening at {}", socket.local_addr());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct UtpSocket {
    pub(crate) handle: SocketHandle<Socket>,
}

impl UtpSocket {
    /// Binds `addr`. Port 0 lets the system choose; `[::]` serves IPv4 peers as well. Of several
    /// addresses that `addr` resolves to, the first that can be bound is taken.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The name does not resolve, or the address is in use or not of this machine.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without I/O or time.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(addr, SocketConfig::default()).await
    }

    /// As [`bind`](Self::bind), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    /// As [`bind`](Self::bind).
    pub async fn bind_with(addr: impl ToSocketAddrs, config: impl Into<SocketConfig>) -> io::Result<Self> {
        let config = config.into();
        let bind = |addr| ready(utp_driver::bind::<Tokio>(addr, &config));
        try_each(lookup_host(addr).await?, bind).await.map(|handle| Self { handle })
    }

    /// Binds `port` of every IPv4 address of this machine: [`bind`](Self::bind) to `0.0.0.0`, what a
    /// server for Node.js does if no host is given.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    /// As [`bind`](Self::bind).
    pub async fn bind_port(port: u16) -> io::Result<Self> {
        Self::bind((Ipv4Addr::UNSPECIFIED, port)).await
    }

    /// Takes over a bound UDP socket; also one that came as a descriptor:
    ///
    /// ```
    /// # #[cfg(unix)] #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// use std::net::UdpSocket;
    /// use std::os::fd::OwnedFd;
    /// use utp_tokio::{Config, UtpSocket};
    ///
    /// let inherited: OwnedFd = UdpSocket::bind("127.0.0.1:0")?.into();
    /// let socket = UtpSocket::from_std(inherited.into(), Config::default())?;
    /// # drop(socket);
    /// # Ok(()) }
    /// # #[cfg(not(unix))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if it is not a UDP socket.
    ///
    /// # Panics
    /// As [`bind`](Self::bind).
    pub fn from_std(socket: std::net::UdpSocket, config: impl Into<SocketConfig>) -> io::Result<Self> {
        utp_driver::open::<Tokio>(socket, &config.into()).map(|handle| Self { handle })
    }

    /// Opens a stream to `addr`. The addresses that it resolves to are tried one after another, each until it
    /// has failed; a silent one takes its time to. [`connect_any`](Self::connect_any) does not wait for that.
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// That of the last attempt that could be made: `TimedOut` if nobody answered within
    /// [`connect_timeout`](crate::Config::connect_timeout), `ConnectionRefused` if the peer does not
    /// accept, `ConnectionReset` if it ended the connection as soon as it was open, `HostUnreachable` if the
    /// network says so, and the errors of [`start_connect`](Self::start_connect).
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<UtpStream> {
        let connect = |addr| self.handle.connect(addr);
        try_each(lookup_host(addr).await?, connect).await.map(UtpStream::new)
    }

    /// Opens a stream to the one of several addresses that answers first, as RFC 8305 (Happy Eyeballs) has it:
    /// the next address is tried when an attempt has failed or been under way for 250 ms, IPv6 and IPv4 by
    /// turns. What is still under way when the first connection opens is aborted.
    ///
    /// A socket reaches both families if it was bound to `[::]`; [`UtpStream::connect_any`] takes sockets of
    /// its own for that, and [`race`](crate::race()) any two of yours.
    ///
    /// Cancel-safe: dropping the future aborts all attempts.
    ///
    /// # Errors
    /// If no address is left, that of the attempt which tells most: `ConnectionRefused` and the like before
    /// `TimedOut`, that before `HostUnreachable`, and last `InvalidInput`, for addresses that this socket
    /// cannot reach, or if there was none.
    pub async fn connect_any(&self, addr: impl ToSocketAddrs) -> io::Result<UtpStream> {
        let connect = |addr| self.handle.connect(addr);
        race::<Tokio, _, _>(lookup_host(addr).await?, connect).await.map(UtpStream::new)
    }

    utp_driver::socket_methods!(UtpStream, UtpListener);
}
