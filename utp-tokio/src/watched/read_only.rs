//! Watched for what arrives; for room to send only while there is none.
//!
//! A UDP socket that is watched for room is announced each time a packet has left its send buffer, even if there
//! has been room all the time. On loopback that is with every packet, and an idle thread of the runtime is woken for
//! each, to find nothing to do: `tokio::net::UdpSocket` always watches both.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use utp_driver::runtime::{AsyncUdpSocket, Direction};

/// A UDP socket that tokio watches.
#[derive(Debug)]
pub(crate) struct Socket {
    readable: AsyncFd<UdpSocket>,
    /// A second descriptor of the same socket, while it is watched for room to send.
    writable: Mutex<Option<AsyncFd<UdpSocket>>>,
}

impl Socket {
    /// Watches `socket`.
    ///
    /// # Errors
    /// Those of the system's event queue.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self { readable: watch(socket, Interest::READABLE)?, writable: Mutex::new(None) })
    }
}

/// # Errors
/// Those of the system's event queue.
// What replaces the function is `unsafe`, for types whose descriptor can change while it is watched. That of a
// `UdpSocket`, which nothing is ever put in place of, cannot.
#[allow(deprecated)]
fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.get_ref().as_fd()
    }
}

impl utp_driver::runtime::UdpSocket for Socket {
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match direction {
            Direction::Read => self.readable.try_io(Interest::READABLE, |_| operation()),
            Direction::Write => operation(),
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.readable.poll_read_ready(cx).map_ok(|mut ready| ready.retain_ready())
    }

    /// Without a descriptor to spare nobody is told when there is room: what waits is then sent in the course of
    /// the next turn, and one is due soon, for acknowledgements that have not come.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writable = self.writable.lock().unwrap_or_else(PoisonError::into_inner);
        if writable.is_none() {
            let second = self.readable.get_ref().try_clone();
            *writable = second.and_then(|socket| watch(socket, Interest::WRITABLE)).ok();
        }
        let Some(watched) = &*writable else { return Poll::Pending };
        let result = watched.poll_write_ready(cx).map_ok(|mut ready| ready.retain_ready());
        if result.is_ready() {
            *writable = None;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::pin::{Pin, pin};

    use super::*;

    fn pair() -> (Socket, UdpSocket) {
        let [socket, peer] = [(); 2].map(|()| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        socket.connect(peer.local_addr().unwrap()).unwrap();
        (Socket::new(socket).unwrap(), peer)
    }

    #[tokio::test]
    async fn what_arrives_is_announced_until_it_is_taken() {
        use utp_driver::runtime::UdpSocket as _;

        let (socket, peer) = pair();
        let to = socket.readable.get_ref().local_addr().unwrap();
        for round in 0..3 {
            peer.send_to(&[round], to).unwrap();
            let mut buf = [0; 8];
            poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
            poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
            socket.try_io(Direction::Read, || socket.readable.get_ref().recv(&mut buf)).unwrap();
            assert_eq!(buf[0], round);
            let nothing = socket.try_io(Direction::Read, || socket.readable.get_ref().recv(&mut buf));
            assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn room_to_send_is_watched_for_only_while_somebody_waits() {
        use std::os::fd::OwnedFd;
        use std::os::unix::net::UnixDatagram;

        // Datagrams of this kind, unlike those on loopback, fill a queue.
        let (socket, peer) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = Socket::new(UdpSocket::from(OwnedFd::from(socket))).unwrap();
        poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
        for _ in 0..2 {
            assert!(socket.writable.lock().unwrap().is_none(), "there is room");
            let mut waiting = 0;
            while socket.readable.get_ref().send(&[7; 1000]).is_ok() {
                waiting += 1;
            }
            let mut room = pin!(poll_fn(|cx| socket.poll_writable(cx)));
            assert!(poll_once(room.as_mut()).await.is_none());
            assert!(socket.writable.lock().unwrap().is_some(), "watched for");
            for _ in 0..waiting {
                peer.recv(&mut [0; 1000]).unwrap();
            }
            room.await.unwrap();
        }
    }

    async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        poll_fn(|cx| match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
