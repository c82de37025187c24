//! As tokio does it by itself.

use std::io;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use utp_driver::runtime::{AsyncUdpSocket, Direction};

/// A UDP socket that tokio watches.
#[derive(Debug)]
pub(crate) struct Socket(UdpSocket);

impl Socket {
    /// Watches `socket`.
    ///
    /// # Errors
    /// Those of the system's event queue.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        UdpSocket::from_std(socket).map(Self)
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
