//! The two directions of a stream apart, and tokio's traits for all of them.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
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
pub struct ReadHalf<'a>(&'a UtpStream);

/// The writing direction of a borrowed stream. Made by [`UtpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a UtpStream);

/// The reading direction of a stream. Made by [`UtpStream::into_split`]. What else the stream can do
/// is reached through `as_ref`.
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<UtpStream>);

/// The writing direction of a stream. Made by [`UtpStream::into_split`]. Dropping it finishes this
/// direction, as a shutdown does. What else the stream can do is reached through `as_ref`.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    stream: Arc<UtpStream>,
    finish_on_drop: bool,
}

/// The halves that were to be reunited are not of one stream; here they are again.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of one stream")
    }
}

impl Error for ReuniteError {}

pub(crate) fn borrowed(stream: &UtpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(crate) fn owned(stream: UtpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    (OwnedReadHalf(Arc::clone(&stream)), OwnedWriteHalf { stream, finish_on_drop: true })
}

impl OwnedReadHalf {
    /// The stream that both halves came from.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn reunite(self, mut write: OwnedWriteHalf) -> Result<UtpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.0, &write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.finish_on_drop = false;
        drop(write);
        // A split stream has two references, and both were here.
        Ok(Arc::into_inner(self.0).expect("no third half"))
    }
}

impl OwnedWriteHalf {
    /// As [`UtpStream::write_bytes`]. Cancel-safe: what is left in `data` was not written.
    ///
    /// # Errors
    /// As [`UtpStream::write_bytes`].
    pub async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<()> {
        self.stream.handle().write_all_bytes(data).await
    }

    /// The stream that both halves came from.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn reunite(self, read: OwnedReadHalf) -> Result<UtpStream, ReuniteError> {
        read.reunite(self)
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.finish_on_drop {
            // If the connection is over already, that is all the same now.
            let _ = self.stream.finish();
        }
    }
}

impl AsRef<UtpStream> for UtpStream {
    fn as_ref(&self) -> &UtpStream {
        self
    }
}

impl AsRef<UtpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &UtpStream {
        self.0
    }
}

impl AsRef<UtpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &UtpStream {
        self.0
    }
}

impl AsRef<UtpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &UtpStream {
        &self.0
    }
}

impl AsRef<UtpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &UtpStream {
        &self.stream
    }
}

fn handle(stream: &impl AsRef<UtpStream>) -> &StreamHandle<Socket> {
    stream.as_ref().handle()
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
                let result = ready!(handle(&*self).poll_read(cx, buf));
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
                let result = ready!(handle(&*self).poll_write(cx, data));
                coop.made_progress();
                Poll::Ready(result)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let coop = ready!(poll_proceed(cx));
                let result = ready!(handle(&*self).poll_write_vectored(cx, data));
                coop.made_progress();
                Poll::Ready(result)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                handle(&*self).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(handle(&*self).finish())
            }
        }
    )*};
}

async_read!(UtpStream, ReadHalf<'_>, OwnedReadHalf);
async_write!(UtpStream, WriteHalf<'_>, OwnedWriteHalf);
