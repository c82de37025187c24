//! [`UtpStream`]: a connection, as tokio's `AsyncRead` and `AsyncWrite`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use tokio::net::{ToSocketAddrs, lookup_host};
use utp_driver::{Ending, SocketConfig, StreamHandle};
use utp_proto::ConnectionStats;

use crate::UtpSocket;
use crate::runtime::Socket;
use crate::socket::no_address;
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
/// still comes is thrown away. [`abort`](Self::abort) ends it at once.
#[derive(Debug)]
pub struct UtpStream {
    handle: StreamHandle<Socket>,
}

impl UtpStream {
    /// Connects to `addr` from a socket of its own, which nobody can connect to. Use
    /// [`UtpSocket::connect`] to have many streams share a port. The addresses that `addr` resolves to
    /// are tried one after another.
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// As [`UtpSocket::connect`].
    ///
    /// # Panics
    /// As [`UtpSocket::bind`].
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connect_with(addr, SocketConfig::default()).await
    }

    /// As [`connect`](Self::connect), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`UtpSocket::connect`].
    ///
    /// # Panics
    /// As [`UtpSocket::bind`].
    pub async fn connect_with(addr: impl ToSocketAddrs, config: impl Into<SocketConfig>) -> io::Result<Self> {
        let config = config.into();
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match Self::connect_one(addr, &config).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// The peer.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.handle.peer_addr()
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Payload bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.handle.bytes_read()
    }

    /// Payload bytes written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.handle.bytes_written()
    }

    /// Payload bytes of those that the peer has acknowledged.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        self.handle.bytes_acked()
    }

    /// Counters and gauges; after the end, the last ones.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.handle.stats()
    }

    /// Writes all of `data` without copying it.
    ///
    /// Cancel-safe: what is left in `data` was not written.
    ///
    /// # Errors
    /// `BrokenPipe` after a shutdown; how the connection ended, if it did.
    pub async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<()> {
        self.handle.write_all_bytes(data).await
    }

    /// Queues the FIN after everything that was written, as `shutdown` does, without being `async`.
    ///
    /// # Errors
    /// How the connection ended, if it did before everything was delivered.
    pub fn finish(&self) -> io::Result<()> {
        self.handle.finish()
    }

    /// Resolves when everything that was written up to now, and the FIN after a shutdown, has been
    /// acknowledged.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// How the connection ended, if it did before that.
    pub async fn acked(&self) -> io::Result<()> {
        self.handle.acked().await
    }

    /// Resolves when the connection is over in both directions and all that arrived has been read, and
    /// says how it ended and whether everything was delivered.
    ///
    /// Cancel-safe.
    pub async fn closed(&self) -> Ending {
        self.handle.closed().await
    }

    /// Ends the connection at once: the peer gets a RESET, what is queued is dropped.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Both directions, borrowed: for concurrent reading and writing in one task.
    #[must_use]
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::borrowed(self)
    }

    /// Both directions, owned: for reading and writing in two tasks. Dropping the write half finishes
    /// that direction; dropping both closes the connection gracefully.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::owned(self)
    }

    pub(crate) fn new(handle: StreamHandle<Socket>) -> Self {
        Self { handle }
    }

    pub(crate) fn handle(&self) -> &StreamHandle<Socket> {
        &self.handle
    }

    async fn connect_one(addr: SocketAddr, config: &SocketConfig) -> io::Result<Self> {
        let any: SocketAddr = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UtpSocket::bind_one(any, config)?;
        socket.handle().stop_listening();
        socket.handle().connect(addr).await.map(Self::new)
    }
}
