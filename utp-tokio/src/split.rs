//! The two directions of a stream apart, and tokio's traits for all of them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;
use utp_driver::StreamHandle;

use crate::UtpStream;
use crate::runtime::Socket;

utp_driver::halves!(UtpStream);

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
