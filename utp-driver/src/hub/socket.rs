//! The application's side of a socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use utp_proto::ConnectionHandle;

use super::{Hub, Place, Queue, State, StreamHandle, orphaned};
use crate::runtime::AsyncUdpSocket;
use crate::socket::BufferSizes;
use crate::stats::SocketStats;

/// A bound UDP socket that connects and accepts. Clones share it.
///
/// When the last clone is dropped, connections that nobody accepted are refused and no more come in.
/// The driver goes on until the last stream has ended and its peer knows, and ends then.
pub struct SocketHandle<S: AsyncUdpSocket> {
    hub: Arc<Hub<S>>,
}

impl<S: AsyncUdpSocket> fmt::Debug for SocketHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle").field("local", &self.hub.udp.local_addr()).finish_non_exhaustive()
    }
}

impl<S: AsyncUdpSocket> Clone for SocketHandle<S> {
    fn clone(&self) -> Self {
        self.hub.lock().owners += 1;
        Self { hub: Arc::clone(&self.hub) }
    }
}

impl<S: AsyncUdpSocket> Drop for SocketHandle<S> {
    fn drop(&mut self) {
        self.hub.with(|state| {
            state.owners -= 1;
            if state.owners == 0 {
                state.stop_listening();
            }
        });
    }
}

impl<S: AsyncUdpSocket> SocketHandle<S> {
    /// Takes over the count of one owner with which the hub begins.
    pub(super) fn new(hub: Arc<Hub<S>>) -> Self {
        Self { hub }
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.hub.udp.local_addr()
    }

    /// The kernel buffers that the system granted.
    pub fn buffer_sizes(&self) -> BufferSizes {
        self.hub.udp.buffers()
    }

    /// Counters. Those of the I/O layer are as of the driver's last turn.
    pub fn stats(&self) -> SocketStats {
        self.hub.stats()
    }

    /// Opens a connection. Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// `TimedOut` if nobody answers, `ConnectionRefused` if the peer does not accept, `ConnectionReset` if it
    /// ended the connection as soon as it was open,
    /// `HostUnreachable` if the network says so; those of [`start_connect`](Self::start_connect).
    pub async fn connect(&self, peer: SocketAddr) -> io::Result<StreamHandle<S>> {
        let stream = self.start_connect(peer)?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Begins to open a connection. What is written before it is established waits; how it goes is told
    /// by the first [event](StreamHandle::poll_event), or by whatever is waited for.
    ///
    /// # Errors
    /// `InvalidInput` for an address that cannot be connected to from this socket; `QuotaExceeded` with
    /// [`Config::max_connections`](utp_proto::Config::max_connections) open; `AddrInUse` if every connection id
    /// towards that address is taken; `NotConnected` if the runtime that drove the socket is gone.
    pub fn start_connect(&self, peer: SocketAddr) -> io::Result<StreamHandle<S>> {
        let peer = self.hub.udp.peer(peer)?;
        let now = (self.hub.now)();
        let key = self.hub.with(|state| {
            state.check_driver()?;
            let handle = state.endpoint.connect(now, peer)?;
            io::Result::Ok(state.open_port(handle, true))
        })?;
        Ok(StreamHandle::new(Arc::clone(&self.hub), key, peer))
    }

    /// `localhost`, as far as this socket can reach it: by IPv4 if it speaks that, as do sockets that
    /// are bound without naming an address.
    pub fn localhost(&self, port: u16) -> SocketAddr {
        self.hub.udp.localhost(port)
    }

    /// The next incoming connection. Cancel-safe: no connection is lost. Several tasks may wait.
    ///
    /// # Errors
    /// `NotConnected` once [`stop_listening`](Self::stop_listening) was called, if the socket was configured not
    /// to listen, and if the runtime that drove it is gone.
    pub async fn accept(&self) -> io::Result<StreamHandle<S>> {
        self.hub.wait(Queue::Accepting, |state| self.take_incoming(state)).await
    }

    /// [`accept`](Self::accept) as a stream of connections.
    pub fn incoming(&self) -> Incoming<S> {
        Incoming { socket: self.clone(), place: 0 }
    }

    /// Refuses connections from now on, those that nobody has accepted included. Streams go on, and
    /// connections can still be opened.
    pub fn stop_listening(&self) {
        let mut wakers = Vec::new();
        self.hub.with(|state| {
            state.stop_listening();
            // Whoever waits in vain learns it.
            state.accepting.wake(&mut wakers);
            state.eventful.wake(&mut wakers);
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether incoming connections are taken.
    pub fn is_listening(&self) -> bool {
        self.hub.lock().endpoint.is_listening()
    }

    /// Resolves when no connection is open. Cancel-safe.
    ///
    /// # Errors
    /// `NotConnected` if the runtime that drove the socket is gone.
    pub async fn unused(&self) -> io::Result<()> {
        self.hub
            .wait(Queue::Unused, |state| match state.check_driver() {
                Err(error) => Some(Err(error)),
                Ok(()) => (state.endpoint.open_connections() == 0).then_some(Ok(())),
            })
            .await
    }

    /// Resolves when no connection is open and, besides, no peer can be left that waits for the last
    /// acknowledgement (which takes [`Config::linger`](utp_proto::Config::linger) after the last
    /// connection's end): a program that ends now leaves nobody guessing. Cancel-safe.
    ///
    /// # Errors
    /// `NotConnected` if the runtime that drove the socket is gone.
    pub async fn idle(&self) -> io::Result<()> {
        self.hub
            .wait(Queue::Idle, |state| match state.check_driver() {
                Err(error) => Some(Err(error)),
                Ok(()) => state.is_idle().then_some(Ok(())),
            })
            .await
    }

    /// The next datagram that is not uTP: its length, cut to that of `buf`, and its sender.
    /// Cancel-safe: no datagram is lost. Several tasks may wait.
    ///
    /// # Errors
    /// `NotConnected` if the runtime that drove the socket is gone.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.hub
            .wait(Queue::Receiving, |state| match state.datagrams.receive(buf) {
                Some(received) => Some(Ok(received)),
                None => state.check_driver().err().map(Err),
            })
            .await
    }

    /// Sends a datagram that is not uTP. Cancel-safe: it is sent whole or not at all.
    ///
    /// # Errors
    /// What the system says to this datagram, and `InvalidInput` for a peer of the wrong address family.
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        loop {
            let seen = self.hub.lock().writable;
            match self.hub.udp.send_to(data, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.hub.lock().foreign_sent += u64::from(result.is_ok());
                    return result;
                }
            }
            self.hub
                .wait(Queue::Sending, |state| {
                    state.work = true;
                    match state.check_driver() {
                        Err(error) => Some(Err(error)),
                        Ok(()) => (state.writable != seen).then_some(Ok(())),
                    }
                })
                .await?;
        }
    }

    fn take_incoming(&self, state: &mut State) -> Option<io::Result<StreamHandle<S>>> {
        while let Some(handle) = state.endpoint.accept() {
            if let Some(stream) = self.take(state, handle) {
                return Some(Ok(stream));
            }
        }
        if let Err(error) = state.check_driver() {
            return Some(Err(error));
        }
        if state.endpoint.is_listening() { None } else { Some(Err(not_listening())) }
    }

    /// The stream of a connection that came out of the backlog.
    pub(super) fn take(&self, state: &mut State, handle: ConnectionHandle) -> Option<StreamHandle<S>> {
        let connection = state.endpoint.connection(handle)?;
        let (peer, finished) = (connection.remote_addr(), connection.is_peer_finished());
        let key = state.open_port(handle, false);
        // That event came, if it did, when nobody had the connection yet.
        state.ports.get_mut(key).peer_finished = finished;
        Some(StreamHandle::new(Arc::clone(&self.hub), key, peer))
    }

    pub(super) fn hub(&self) -> &Hub<S> {
        &self.hub
    }
}

/// Incoming connections, one after another. Made by [`SocketHandle::incoming`].
#[derive(Debug)]
pub struct Incoming<S: AsyncUdpSocket> {
    socket: SocketHandle<S>,
    place: u64,
}

impl<S: AsyncUdpSocket> Incoming<S> {
    /// The next connection; `None` once the socket no longer listens.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<StreamHandle<S>>> {
        let Self { socket, place } = self;
        socket.hub.poll_wait(cx, Queue::Accepting, place, |state| socket.take_incoming(state)).map(Result::ok)
    }

    /// The socket that they come in on.
    pub fn socket(&self) -> &SocketHandle<S> {
        &self.socket
    }
}

impl<S: AsyncUdpSocket> Drop for Incoming<S> {
    fn drop(&mut self) {
        drop(Place { hub: &self.socket.hub, queue: Queue::Accepting, id: self.place });
    }
}

impl State {
    /// A port for a connection that the application gets.
    fn open_port(&mut self, handle: ConnectionHandle, outgoing: bool) -> usize {
        self.references.set_connection(handle, true);
        self.ports.insert(handle, outgoing)
    }

    pub(super) fn check_driver(&self) -> io::Result<()> {
        if self.orphaned { Err(orphaned()) } else { Ok(()) }
    }
}

fn not_listening() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket no longer accepts connections")
}
