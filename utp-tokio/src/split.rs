//! The two directions of a stream apart, and tokio's traits for all of them.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;
use utp_driver::StreamHandle;

use crate::UtpStream;
use crate::runtime::Socket;

/// The reading direction of a borrowed stream. Made by [`UtpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a StreamHandle<Socket>);

/// The writing direction of a borrowed stream. Made by [`UtpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a StreamHandle<Socket>);

/// The reading direction of a stream. Made by [`UtpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<StreamHandle<Socket>>);

/// The writing direction of a stream. Made by [`UtpStream::into_split`]. Dropping it finishes this
/// direction, as a shutdown does.
#[derive(Debug)]
pub struct OwnedWriteHalf(Option<Arc<StreamHandle<Socket>>>);

/// The halves given to [`OwnedReadHalf::reunite`] are not of one stream; here they are again.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of one stream")
    }
}

impl Error for ReuniteError {}

pub(crate) fn owned(handle: StreamHandle<Socket>) -> (OwnedReadHalf, OwnedWriteHalf) {
    let handle = Arc::new(handle);
    (OwnedReadHalf(Arc::clone(&handle)), OwnedWriteHalf(Some(handle)))
}

impl<'a> ReadHalf<'a> {
    pub(crate) fn new(handle: &'a StreamHandle<Socket>) -> Self {
        Self(handle)
    }

    fn handle(&self) -> &StreamHandle<Socket> {
        self.0
    }
}

impl<'a> WriteHalf<'a> {
    pub(crate) fn new(handle: &'a StreamHandle<Socket>) -> Self {
        Self(handle)
    }

    fn handle(&self) -> &StreamHandle<Socket> {
        self.0
    }
}

impl OwnedReadHalf {
    /// The peer.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// The stream that both halves came from.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn reunite(self, write: OwnedWriteHalf) -> Result<UtpStream, ReuniteError> {
        write.reunite(self)
    }

    fn handle(&self) -> &StreamHandle<Socket> {
        &self.0
    }
}

impl OwnedWriteHalf {
    /// The peer.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.handle().peer_addr()
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle().local_addr()
    }

    /// As [`UtpStream::write_bytes`]. Cancel-safe: what is left in `data` was not written.
    ///
    /// # Errors
    /// As [`UtpStream::write_bytes`].
    pub async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<()> {
        self.handle().write_all_bytes(data).await
    }

    /// As [`UtpStream::acked`]. Cancel-safe.
    ///
    /// # Errors
    /// As [`UtpStream::acked`].
    pub async fn acked(&self) -> io::Result<()> {
        self.handle().acked().await
    }

    /// The stream that both halves came from.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn reunite(mut self, read: OwnedReadHalf) -> Result<UtpStream, ReuniteError> {
        let Some(write) = self.0.take_if(|write| Arc::ptr_eq(write, &read.0)) else {
            return Err(ReuniteError(read, self));
        };
        drop(write);
        match Arc::try_unwrap(read.0) {
            Ok(handle) => Ok(UtpStream::new(handle)),
            // There are two references to a split stream, and both were here.
            Err(_) => unreachable!("a third half"),
        }
    }

    fn handle(&self) -> &StreamHandle<Socket> {
        match &self.0 {
            Some(handle) => handle,
            // Only `reunite` takes it, and that consumes the half.
            None => unreachable!("used after reuniting"),
        }
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            // If the connection is over already, that is all the same now.
            let _ = handle.finish();
        }
    }
}

macro_rules! async_read {
    ($($type:ty),*) => {$(
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let coop = ready!(poll_proceed(cx));
                let result = ready!(self.handle().poll_read(cx, buf));
                coop.made_progress();
                Poll::Ready(result.map(drop))
            }
        }
    )*};
}

macro_rules! async_write {
    ($($type:ty),*) => {$(
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                let coop = ready!(poll_proceed(cx));
                let result = ready!(self.handle().poll_write(cx, data));
                coop.made_progress();
                Poll::Ready(result)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let coop = ready!(poll_proceed(cx));
                let result = ready!(self.handle().poll_write_vectored(cx, data));
                coop.made_progress();
                Poll::Ready(result)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.handle().poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.handle().finish())
            }
        }
    )*};
}

async_read!(UtpStream, ReadHalf<'_>, OwnedReadHalf);
async_write!(UtpStream, WriteHalf<'_>, OwnedWriteHalf);
