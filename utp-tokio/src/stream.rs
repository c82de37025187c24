//! [`UtpStream`]: a connection, as tokio's `AsyncRead` and `AsyncWrite`.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{ToSocketAddrs, lookup_host};
use utp_driver::addr::try_each;
use utp_driver::{SocketConfig, StreamHandle};

use crate::runtime::{Socket, Tokio};
use crate::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};

/// A uTP connection. Reads and writes are those of [`AsyncRead`](tokio::io::AsyncRead) and
/// [`AsyncWrite`](tokio::io::AsyncWrite):
///
/// - reading gives 0 bytes once the peer has finished, and an error if the connection ended otherwise;
/// - `flush` waits until everything that was written has been handed to the network;
///   [`acked`](Self::acked) waits until it has arrived;
/// - `shutdown` queues the FIN and returns at once; the other direction stays open.
///
/// Dropping the stream closes it gracefully in the background: what was written is delivered, what
/// still comes is thrown away. [`abort`](Self::abort) ends it at once. The background ends with the
/// program: one that is about to end waits for [`acked`](Self::acked), after [`finish`](Self::finish), or for
/// [`UtpSocket::idle`](crate::UtpSocket::idle), or the peer may miss the last bytes.
///
/// Errors are of the kinds that a TCP stream would give. What exactly ended the connection is inside of them:
/// see [`CloseReason`](crate::CloseReason).
#[derive(Debug)]
pub struct UtpStream {
    handle: StreamHandle<Socket>,
}

impl UtpStream {
    /// Connects to `addr` from a socket of its own, which nobody can connect to. Use
    /// [`UtpSocket::connect`](crate::UtpSocket::connect) to have many streams share a port. The
    /// addresses that `addr` resolves to are tried one after another, each until it has failed;
    /// [`connect_any`](Self::connect_any) does not wait for that.
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// As [`UtpSocket::connect`](crate::UtpSocket::connect).
    ///
    /// # Panics
    /// As [`UtpSocket::bind`](crate::UtpSocket::bind).
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connect_with(addr, SocketConfig::default()).await
    }

    /// As [`connect`](Self::connect), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`UtpSocket::connect`](crate::UtpSocket::connect).
    ///
    /// # Panics
    /// As [`UtpSocket::bind`](crate::UtpSocket::bind).
    pub async fn connect_with(addr: impl ToSocketAddrs, config: impl Into<SocketConfig>) -> io::Result<Self> {
        let config = config.into();
        let connect = |addr| utp_driver::connect::<Tokio>(addr, &config);
        try_each(lookup_host(addr).await?, connect).await.map(Self::new)
    }

    /// Connects to the one of several addresses that answers first, as
    /// [`UtpSocket::connect_any`](crate::UtpSocket::connect_any) does, from a socket of its own for each
    /// address family.
    ///
    /// Cancel-safe: dropping the future aborts all attempts.
    ///
    /// # Errors
    /// As [`UtpSocket::connect_any`](crate::UtpSocket::connect_any).
    ///
    /// # Panics
    /// As [`UtpSocket::bind`](crate::UtpSocket::bind).
    pub async fn connect_any(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connect_any_with(addr, SocketConfig::default()).await
    }

    /// As [`connect_any`](Self::connect_any), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`UtpSocket::connect_any`](crate::UtpSocket::connect_any).
    ///
    /// # Panics
    /// As [`UtpSocket::bind`](crate::UtpSocket::bind).
    pub async fn connect_any_with(
        addr: impl ToSocketAddrs,
        config: impl Into<SocketConfig>,
    ) -> io::Result<Self> {
        let config = config.into();
        utp_driver::race::connect_any::<Tokio>(lookup_host(addr).await?, &config).await.map(Self::new)
    }

    /// Connects to a port of this machine: [`connect`](Self::connect) to `localhost`, by IPv4, the
    /// counterpart of [`UtpSocket::bind_port`](crate::UtpSocket::bind_port).
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// As [`UtpSocket::connect`](crate::UtpSocket::connect).
    ///
    /// # Panics
    /// As [`UtpSocket::bind`](crate::UtpSocket::bind).
    pub async fn connect_port(port: u16) -> io::Result<Self> {
        Self::connect((Ipv4Addr::LOCALHOST, port)).await
    }

    utp_driver::stream_methods!(Socket);
}
