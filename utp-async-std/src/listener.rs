//! [`UtpListener`]: accepting streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_std::net::ToSocketAddrs;
use futures_core::Stream;
use utp_driver::SocketConfig;

use crate::runtime::Socket;
use crate::{UtpSocket, UtpStream};

/// Accepts uTP streams.
///
/// ```
/// # async_std::task::block_on(async {
/// use async_std::io::{ReadExt, WriteExt};
/// use async_std::task;
/// use utp_async_std::{UtpListener, UtpStream};
///
/// let listener = UtpListener::bind("127.0.0.1:0").await?;
/// let addr = listener.local_addr();
/// let server = task::spawn(async move {
///     let (mut stream, _peer) = listener.accept().await?;
///     let mut request = String::new();
///     stream.read_to_string(&mut request).await?;
///     stream.write_all(request.to_uppercase().as_bytes()).await?;
///     stream.finish()
/// });
///
/// let mut stream = UtpStream::connect(addr).await?;
/// stream.write_all(b"hello").await?;
/// stream.finish()?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?;
/// assert_eq!(answer, "HELLO");
/// server.await
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct UtpListener {
    socket: UtpSocket,
}

impl UtpListener {
    /// A socket bound to `addr`, for listening. See [`UtpSocket::bind`].
    ///
    /// # Errors
    /// As [`UtpSocket::bind`].
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        UtpSocket::bind(addr).await.map(Self::new)
    }

    /// As [`bind`](Self::bind), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`UtpSocket::bind`].
    pub async fn bind_with(addr: impl ToSocketAddrs, config: impl Into<SocketConfig>) -> io::Result<Self> {
        UtpSocket::bind_with(addr, config).await.map(Self::new)
    }

    /// A listener on `port` of every IPv4 address of this machine. See [`UtpSocket::bind_port`].
    ///
    /// # Errors
    /// As [`UtpSocket::bind`].
    pub async fn bind_port(port: u16) -> io::Result<Self> {
        UtpSocket::bind_port(port).await.map(Self::new)
    }

    utp_driver::listener_methods!(UtpStream, UtpSocket, Incoming);
}

/// Incoming streams, one after another, until the socket is closed. Made by [`UtpListener::incoming`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Incoming {
    inner: utp_driver::Incoming<Socket>,
}

impl Stream for Incoming {
    type Item = UtpStream;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<UtpStream>> {
        self.inner.poll_next(cx).map(|next| next.map(UtpStream::new))
    }
}
