//! The socket as mio sees it, and when it is to be told that the socket has become writable.

use std::io;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use utp_driver::runtime::{Direction, UdpSocket};

/// A UDP socket that reports to mio that it would have blocked.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) inner: mio::net::UdpSocket,
    /// Set while a test wants sending to block, which loopback sockets never do by themselves.
    #[cfg(test)]
    pub(crate) full: std::cell::Cell<bool>,
}

impl Socket {
    pub(crate) fn new(socket: std::net::UdpSocket) -> Self {
        Self {
            inner: mio::net::UdpSocket::from_std(socket),
            #[cfg(test)]
            full: std::cell::Cell::new(false),
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.inner.as_socket()
    }
}

impl UdpSocket for Socket {
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        #[cfg(test)]
        if direction == Direction::Write && self.full.get() {
            return self.inner.try_io(|| Err(io::ErrorKind::WouldBlock.into()));
        }
        let _ = direction;
        self.inner.try_io(operation)
    }
}

/// Where the socket is registered.
///
/// A socket that can be written to is no news: on Linux, mio would be woken for every datagram that
/// has left. So writability is asked for only while somebody waits for it, which takes a `Registry`
/// of our own.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    token: Token,
    /// What the application registered the socket for.
    asked: Interest,
    /// What it is registered for.
    current: Interest,
}

impl Registration {
    /// Registers `socket`, for writability too if `writable`.
    pub(crate) fn register(
        socket: &mut Socket,
        registry: &Registry,
        token: Token,
        asked: Interest,
        writable: bool,
    ) -> io::Result<Self> {
        let current = extended(asked, writable);
        let own = registry.try_clone()?;
        socket.inner.register(registry, token, current)?;
        Ok(Self { registry: own, token, asked, current })
    }

    /// Changes what the application registered the socket for.
    pub(crate) fn reregister(
        &mut self,
        socket: &mut Socket,
        registry: &Registry,
        token: Token,
        asked: Interest,
        writable: bool,
    ) -> io::Result<()> {
        let current = extended(asked, writable);
        socket.inner.reregister(registry, token, current)?;
        (self.token, self.asked, self.current) = (token, asked, current);
        Ok(())
    }

    /// Asks for writability, or no longer. If the socket is writable by now, mio says so at once: no
    /// edge is lost.
    pub(crate) fn want_writable(&mut self, socket: &mut Socket, writable: bool) -> io::Result<()> {
        let wanted = extended(self.asked, writable);
        if wanted != self.current {
            socket.inner.reregister(&self.registry, self.token, wanted)?;
            self.current = wanted;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn is_for_writability(&self) -> bool {
        self.current.is_writable()
    }
}

fn extended(asked: Interest, writable: bool) -> Interest {
    if writable { asked | Interest::WRITABLE } else { asked }
}
