//! One [`Endpoint`] owns every connection of one UDP socket.
#![allow(unused, clippy::todo)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::{Config, ConnectError, ConnectionStats, EndpointStats, Event, ReadError, WriteError};

/// Names a connection of one endpoint. Generational: the handle of a connection that is over finds
/// nothing, never somebody else's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionHandle {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnectionHandle {
    /// The slot alone: small, dense, reused after the connection is over. For tables beside the
    /// endpoint, which have to compare the whole handle.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It was uTP, well-formed or not, and has been dealt with.
    Consumed,
    /// It is not uTP version 1: offer it to the next protocol that shares the socket.
    NotUtp,
}

/// What the network reported about the path to a peer. Hints, never believed blindly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathError {
    /// A datagram was too big; the largest UDP payload that fits, if that is known.
    TooBig(Option<usize>),
    /// Port, host or network unreachable.
    Unreachable,
}

/// A run of datagrams to one peer, ready for UDP GSO: `len` bytes appended to the buffer, cut into
/// segments of `segment_size` bytes of which only the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// Bytes appended to the buffer.
    pub len: usize,
    /// Size of every segment but the last.
    pub segment_size: usize,
    /// The datagram is larger than what the path is now believed to take, and cannot be cut again
    /// since it went out before: send it without the don't-fragment bit if the socket can.
    pub may_fragment: bool,
}

/// Every connection of one UDP socket, as a state machine.
#[derive(Debug)]
pub struct Endpoint {}

impl Endpoint {
    /// `seed` is the only randomness, `now` the origin of the 32-bit wire clock.
    #[must_use]
    pub fn new(config: Arc<Config>, seed: [u8; 32], now: Instant) -> Self {
        todo!()
    }

    /// Takes one datagram. `now` is when it arrived: pass the kernel's timestamp where there is one,
    /// it may be earlier than that of the last call. Any number of calls before the next drain.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Verdict {
        todo!()
    }

    /// Takes what the network reported about the path to `to`.
    pub fn handle_path_error(&mut self, now: Instant, to: SocketAddr, error: PathError) {
        todo!()
    }

    /// Call when the time given by [`poll_timeout`](Self::poll_timeout) has come; harmless at other times.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// Appends to `buf` what is to be sent next: up to `max_segments` datagrams of equal size to one
    /// peer. Call until `None`. Timestamps are of `now`; if the socket blocks for long, stamp bytes
    /// 4..8 of each segment anew with [`wire_timestamp`](Self::wire_timestamp).
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        todo!()
    }

    /// The big-endian 32-bit timestamp (header bytes 4..8) of a packet that leaves at `now`.
    #[must_use]
    pub fn wire_timestamp(&self, now: Instant) -> [u8; 4] {
        todo!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. Exact after
    /// [`poll_transmit`](Self::poll_transmit) returned `None`; before that it may be early. O(1).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(ConnectionHandle, Event)> {
        todo!()
    }

    /// Opens a connection.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnectionHandle, ConnectError> {
        todo!()
    }

    /// Takes an incoming connection from the backlog.
    pub fn accept(&mut self) -> Option<ConnectionHandle> {
        todo!()
    }

    /// A view of a connection, `None` if the handle is stale.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<Connection<'_>> {
        todo!()
    }

    /// Takes incoming connections (again).
    pub fn start_listening(&mut self) {
        todo!()
    }

    /// Refuses new connections from now on; existing ones, those in the backlog included, are kept.
    pub fn stop_listening(&mut self) {
        todo!()
    }

    /// Connections that are open, closing ones included, until their [`Event::Closed`] has been polled.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        todo!()
    }

    /// Whether nothing is left to be done for anybody: no connection, no half-open one, nobody to
    /// whom a last acknowledgement may have to be repeated.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }
}

/// A borrowed view of one connection.
#[derive(Debug)]
pub struct Connection<'a> {
    endpoint: &'a mut Endpoint,
    handle: ConnectionHandle,
}

impl Connection<'_> {
    /// Copies what has arrived into `buf`. `Ok(0)` (for a non-empty `buf`): the peer finished.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        todo!()
    }

    /// What has arrived, without copying: the first contiguous part of it. Empty: nothing now;
    /// [`read_state`](Self::read_state) says whether more can come.
    #[must_use]
    pub fn chunk(&self) -> &[u8] {
        todo!()
    }

    /// Drops the first `n` bytes of [`chunk`](Self::chunk) (at most its length).
    pub fn consume(&mut self, n: usize) {
        todo!()
    }

    /// `Ok(true)`: there is data. `Ok(false)`: the peer finished and all was read.
    pub fn read_state(&self) -> Result<bool, ReadError> {
        todo!()
    }

    /// Bytes that can be read now.
    #[must_use]
    pub fn readable(&self) -> usize {
        todo!()
    }

    /// Queues a copy of as much of `data` as fits, at least one byte (unless `data` is empty).
    /// Allowed while the connection is still being opened.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        todo!()
    }

    /// The same without copying: splits off `data` what fits.
    pub fn write_bytes(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        todo!()
    }

    /// Bytes that [`write`](Self::write) would take now.
    #[must_use]
    pub fn writable(&self) -> usize {
        todo!()
    }

    /// FIN after what was written. The other direction stays open. Repeating it has no effect.
    pub fn finish(&mut self) {
        todo!()
    }

    /// [`finish`](Self::finish), and nothing will be read any more: what arrives is acknowledged and
    /// dropped until the peer finishes too, or, once our FIN is acknowledged, for
    /// [`Config::linger`] at most. For a handle that its owner drops. No event but `Closed` follows.
    pub fn close(&mut self) {
        todo!()
    }

    /// Ends it at once: RESET to the peer, queued data is dropped. `Closed` follows.
    pub fn abort(&mut self) {
        todo!()
    }

    /// Whether the handshake is complete (stays true afterwards).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        todo!()
    }

    /// Whether our FIN was acknowledged, and thereby everything that was written.
    #[must_use]
    pub fn is_finish_acked(&self) -> bool {
        todo!()
    }

    /// Payload bytes given to the application.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        todo!()
    }

    /// Payload bytes taken from the application.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        todo!()
    }

    /// Payload bytes of those that have been sent at least once.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        todo!()
    }

    /// Payload bytes of those that the peer has acknowledged cumulatively.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        todo!()
    }

    /// The peer.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        todo!()
    }
}
