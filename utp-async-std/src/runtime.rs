//! What async-std and its reactor supply to the driver.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Async;
use utp_driver::runtime::{AsyncUdpSocket, Direction, Runtime, Timer};

/// async-std's global executor, and async-io's global reactor.
pub(crate) struct AsyncStd;

impl Runtime for AsyncStd {
    type Socket = Socket;
    type Timer = Alarm;

    fn now() -> Instant {
        Instant::now()
    }

    fn register(socket: std::net::UdpSocket) -> io::Result<Socket> {
        Async::new(socket).map(Socket)
    }

    fn timer() -> Alarm {
        Alarm(async_io::Timer::never())
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) {
        // It ends by itself; a dropped handle does not stop the task.
        drop(async_std::task::spawn(driver));
    }
}

/// A UDP socket that async-io watches.
#[derive(Debug)]
pub(crate) struct Socket(Async<std::net::UdpSocket>);

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.0.as_socket()
    }
}

impl utp_driver::runtime::UdpSocket for Socket {
    /// The reactor arms itself for each wait, so there is nothing to tell it.
    fn try_io<R>(&self, _: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        operation()
    }
}

impl AsyncUdpSocket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }
}

/// A timer of async-io's.
pub(crate) struct Alarm(async_io::Timer);

impl Timer for Alarm {
    fn reset(&mut self, deadline: Instant) {
        self.0.set_at(deadline);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
