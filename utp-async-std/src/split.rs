//! The two directions of a stream apart, and the traits of futures-io for all of them.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
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
                mut buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                handle(&*self).poll_read(cx, &mut buf)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                handle(&*self).poll_read_vectored(cx, bufs)
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
                handle(&*self).poll_write(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                handle(&*self).poll_write_vectored(cx, data)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                handle(&*self).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(handle(&*self).finish())
            }
        }
    )*};
}

async_read!(UtpStream, &UtpStream, ReadHalf<'_>, OwnedReadHalf);
async_write!(UtpStream, &UtpStream, WriteHalf<'_>, OwnedWriteHalf);
