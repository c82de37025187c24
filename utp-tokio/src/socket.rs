//! [`UtpSocket`]: one UDP port, any number of connections.

use std::io;
use std::net::SocketAddr;

use tokio::net::{ToSocketAddrs, lookup_host};
use utp_driver::{BufferSizes, SocketConfig, SocketHandle, SocketStats};

use crate::runtime::{Socket, Tokio};
use crate::{UtpListener, UtpStream};

/// A UDP socket that connects and accepts uTP streams, any number of them at a time. Clones share it.
///
/// Every socket has one task, which runs on the runtime that the socket was made in. When the last
/// clone, and the last [`UtpListener`] on it, is dropped, no more connections come in; the task goes on
/// until the last stream has ended, and ends then.
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
    handle: SocketHandle<Socket>,
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
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match Self::bind_one(addr, &config) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// Takes over a bound UDP socket; also one that came as a descriptor (`UdpSocket::from(OwnedFd)`).
    ///
    /// # Errors
    /// `InvalidInput` if it is not a UDP socket.
    ///
    /// # Panics
    /// As [`bind`](Self::bind).
    pub fn from_std(socket: std::net::UdpSocket, config: impl Into<SocketConfig>) -> io::Result<Self> {
        utp_driver::open::<Tokio>(socket, &config.into()).map(|handle| Self { handle })
    }

    /// Opens a stream to `addr`. The addresses that it resolves to are tried one after another.
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// That of the last attempt: `TimedOut` if nobody answered within
    /// [`connect_timeout`](crate::Config::connect_timeout), `ConnectionRefused` if the peer does not
    /// accept, `InvalidInput` for an address that this socket cannot reach.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<UtpStream> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match self.handle.connect(addr).await {
                Ok(handle) => return Ok(UtpStream::new(handle)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// The next incoming stream and its peer. Several tasks may wait.
    ///
    /// Cancel-safe: no stream is lost.
    ///
    /// # Errors
    /// `NotConnected` once the socket was [closed](Self::close).
    pub async fn accept(&self) -> io::Result<(UtpStream, SocketAddr)> {
        let handle = self.handle.accept().await?;
        let peer = handle.peer_addr();
        Ok((UtpStream::new(handle), peer))
    }

    /// A listener on this socket, which stays usable.
    #[must_use]
    pub fn listener(&self) -> UtpListener {
        UtpListener::new(self.clone())
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// The kernel buffers that the system granted, often less than was asked for.
    #[must_use]
    pub fn buffer_sizes(&self) -> BufferSizes {
        self.handle.buffer_sizes()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        self.handle.stats()
    }

    /// The next datagram that is not uTP: its length, cut to that of `buf`, and its sender.
    ///
    /// Cancel-safe: no datagram is lost.
    ///
    /// # Errors
    /// `NotConnected` if the runtime of the socket is gone.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.handle.recv_from(buf).await
    }

    /// Sends a datagram that is not uTP.
    ///
    /// Cancel-safe: it is sent whole or not at all.
    ///
    /// # Errors
    /// What the system says to this datagram.
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.handle.send_to(data, to).await
    }

    /// Accepts no more connections, refuses those that nobody has accepted, and resolves when all
    /// others have ended.
    ///
    /// Cancel-safe: the socket accepts no more, whether the future is polled again or not.
    ///
    /// # Errors
    /// `NotConnected` if the runtime of the socket is gone.
    pub async fn close(&self) -> io::Result<()> {
        self.handle.stop_listening();
        self.handle.unused().await
    }

    /// Resolves when no connection is open and no peer can be left that still waits for a last
    /// acknowledgement, which takes [`linger`](crate::Config::linger) after the last connection's end.
    /// A program that waits for this before it ends leaves no peer guessing.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// `NotConnected` if the runtime of the socket is gone.
    pub async fn idle(&self) -> io::Result<()> {
        self.handle.idle().await
    }

    pub(crate) fn handle(&self) -> &SocketHandle<Socket> {
        &self.handle
    }

    pub(crate) fn bind_one(addr: SocketAddr, config: &SocketConfig) -> io::Result<Self> {
        let socket = utp_driver::socket::bind(addr, config)?;
        utp_driver::open::<Tokio>(socket, config).map(|handle| Self { handle })
    }
}

pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address")
}
