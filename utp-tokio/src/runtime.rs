//! What tokio supplies to the driver.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Sleep;
use utp_driver::runtime::{AsyncUdpSocket, Direction, Runtime, Timer};

/// The tokio runtime that the calling thread is in.
pub(crate) struct Tokio;

impl Runtime for Tokio {
    type Socket = Socket;
    type Timer = Alarm;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn register(socket: std::net::UdpSocket) -> io::Result<Socket> {
        UdpSocket::from_std(socket).map(Socket)
    }

    fn timer() -> Alarm {
        Alarm(None)
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(driver);
    }
}

/// A UDP socket that tokio watches.
#[derive(Debug)]
pub(crate) struct Socket(UdpSocket);

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
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        self.0.try_io(interest, operation)
    }
}

impl AsyncUdpSocket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_recv_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_send_ready(cx)
    }
}

/// A timer of tokio's, made when it is first set.
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Timer for Alarm {
    fn reset(&mut self, deadline: Instant) {
        let deadline = deadline.into();
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
