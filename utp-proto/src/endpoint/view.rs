//! The application's view of one connection.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Endpoint;
use crate::congestion::ControllerFactory;
use crate::connection::{Connection as Machine, Context, Sending};
use crate::{CloseReason, ConnectionStats, ReadError, WriteError};

/// A borrowed view of one connection, from [`Endpoint::connection`]. Whatever is done through it takes
/// effect with the next [`Endpoint::poll_transmit`].
#[derive(Debug)]
pub struct Connection<'a> {
    endpoint: &'a mut Endpoint,
    slot: u32,
}

impl<'a> Connection<'a> {
    pub(super) fn new(endpoint: &'a mut Endpoint, slot: u32) -> Self {
        debug_assert!(endpoint.connections.contains(slot as usize));
        Self { endpoint, slot }
    }

    fn get(&self) -> &Machine {
        #[expect(clippy::indexing_slicing, reason = "a view exists only of a living slot, which it borrows")]
        &self.endpoint.connections[self.slot as usize].connection
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Machine, &mut Context<'_>) -> R) -> R {
        let result = self.look(f);
        self.endpoint.settle(self.slot);
        result
    }

    /// The same for what may be refused: then there is nothing to be sent or told, and nobody is woken for it. An
    /// application may try on every turn.
    fn attempt<R, E>(
        &mut self,
        f: impl FnOnce(&mut Machine, &mut Context<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let result = self.look(f);
        if result.is_ok() {
            self.endpoint.settle(self.slot);
        }
        result
    }

    fn look<R>(&mut self, f: impl FnOnce(&mut Machine, &mut Context<'_>) -> R) -> R {
        let Endpoint { connections, clock, pools, now, memory, config, .. } = &mut *self.endpoint;
        let mut cx = Context { now: *now, clock: *clock, pools };
        let connection = &mut connections[self.slot as usize].connection;
        connection.set_short(*memory >= config.memory_budget);
        f(connection, &mut cx)
    }

    /// Copies what has arrived into `buf`. `Ok(0)` for a non-empty `buf`: the peer has finished.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.attempt(|c, cx| c.read(cx.pools, buf))
    }

    /// What has arrived, without copying: the first contiguous part of it. If it is empty,
    /// [`read_state`](Self::read_state) says why.
    #[must_use]
    pub fn chunk(&self) -> &[u8] {
        self.get().chunk()
    }

    /// Drops the first `n` bytes of [`chunk`](Self::chunk), at most its length.
    pub fn consume(&mut self, n: usize) {
        self.with(|c, cx| c.consume(cx.pools, n));
    }

    /// `Ok(true)`: there is data to be read. `Ok(false)`: the peer has finished and all was read.
    pub fn read_state(&self) -> Result<bool, ReadError> {
        self.get().read_state()
    }

    /// Bytes that can be read now.
    #[must_use]
    pub fn readable(&self) -> usize {
        self.get().readable()
    }

    /// Queues a copy of as much of `data` as fits: at least one byte, unless `data` is empty. Allowed
    /// while the connection is still being opened.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.attempt(|c, cx| c.write(cx.pools, data))
    }

    /// The same without copying: splits off `data` what fits.
    pub fn write_bytes(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        self.attempt(|c, cx| c.write_bytes(cx.pools, data))
    }

    /// Bytes that [`write`](Self::write) would take now.
    #[must_use]
    pub fn writable(&self) -> usize {
        self.get().writable()
    }

    /// FIN after what was written. The other direction stays open. Repeating it has no effect.
    pub fn finish(&mut self) {
        self.with(|c, _| c.finish());
    }

    /// [`finish`](Self::finish), and nothing will be read any more: what arrives is acknowledged and
    /// dropped until the peer finishes too or, once our FIN is acknowledged, for
    /// [`Config::linger`](crate::Config::linger) at most. What was written is still delivered, to a peer that takes
    /// eight packets of it at least in every [`Config::give_up_after`](crate::Config::give_up_after). For a handle
    /// whose owner drops it. Of all events only `Closed` follows.
    pub fn close(&mut self) {
        self.with(Machine::close);
    }

    /// Ends it at once: RESET to the peer, queued data is dropped, and so is what was not read yet.
    /// `Closed` follows.
    pub fn abort(&mut self) {
        self.with(|c, cx| c.abort(cx));
    }

    /// Tells the peer, with the next [`Endpoint::poll_transmit`], that this connection is over (RESET), and changes nothing
    /// here: for a program that ends and drives the endpoint no further, so that its peers do not wait for ever. What has
    /// arrived can still be read.
    pub fn reset_peer(&mut self) {
        self.endpoint.reset_peer(self.slot);
    }

    /// Congestion control of this connection from now on, instead of that of
    /// [`Config::congestion`](crate::Config::congestion): foreground and background transfers can share an
    /// endpoint. At any time; the new controller starts as for a new connection, so best right after
    /// [`connect`](Endpoint::connect) or [`accept`](Endpoint::accept).
    pub fn set_congestion(&mut self, controller: &dyn ControllerFactory) {
        self.with(|c, cx| c.set_congestion(cx, controller));
    }

    /// Congestion control of what the peer sends from now on, or none (`None`), instead of that of
    /// [`Config::receive_congestion`](crate::Config::receive_congestion). At any time.
    pub fn set_receive_congestion(&mut self, controller: Option<&dyn ControllerFactory>) {
        self.with(|c, cx| c.set_receive_congestion(cx, controller));
    }

    /// Whether the handshake was completed (stays true afterwards).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.get().is_connected()
    }

    /// How the connection ended, if it has (what arrived before may still be readable).
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.get().state.closed()
    }

    /// Whether our FIN was sent, and so everything that was written; it may have to be sent again.
    #[must_use]
    pub fn is_finish_sent(&self) -> bool {
        matches!(self.get().state.sending(), Sending::FinSent(_) | Sending::FinAcked)
    }

    /// Whether our FIN was acknowledged, and thereby everything that was written.
    #[must_use]
    pub fn is_finish_acked(&self) -> bool {
        self.get().is_finish_acked()
    }

    /// Whether the peer's FIN is in order: what can be read now is all there will be.
    #[must_use]
    pub fn is_peer_finished(&self) -> bool {
        self.get().has_received_fin()
    }

    /// Payload bytes given to the application.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.get().bytes_read()
    }

    /// Payload bytes taken from the application.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.get().bytes_written()
    }

    /// Of those, the bytes that were sent at least once.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.get().bytes_sent()
    }

    /// Of those, the bytes that the peer has acknowledged cumulatively.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        self.get().bytes_acked()
    }

    /// The peer.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.get().remote
    }

    /// Our connection ids: the one we receive on and the one we send with.
    #[must_use]
    pub fn ids(&self) -> (u16, u16) {
        let ids = self.get().ids;
        (ids.receive, ids.send)
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.get().stats()
    }
}
