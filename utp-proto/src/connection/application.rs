//! What the application does to a connection, and what it is told.

use std::time::Duration;

use bytes::Bytes;

use super::{Connection, Context, Pending, Phase, Sending, micros};
use crate::buffer::{Pools, SendBuffer};
use crate::congestion::ControllerFactory;
use crate::{CloseReason, ConnectionStats, PathError, ReadError, WriteError};

impl Connection {
    /// `Ok(true)`: data waits. `Ok(false)`: the peer finished, and everything was read.
    pub(crate) fn read_state(&self) -> Result<bool, ReadError> {
        if self.incoming.readable() > 0 {
            return Ok(true);
        }
        if self.incoming.is_finished() && !self.incoming.is_discarding() {
            return Ok(false);
        }
        match self.state.closed() {
            None => Err(ReadError::Blocked),
            // Our side was delivered in full, but the peer never said that its own was complete.
            Some(CloseReason::Finished) => Err(ReadError::Closed(CloseReason::Reset)),
            Some(reason) => Err(ReadError::Closed(reason)),
        }
    }

    pub(crate) fn read(&mut self, pools: &mut Pools, buf: &mut [u8]) -> Result<usize, ReadError> {
        if !self.read_state()? {
            return Ok(0);
        }
        let n = self.incoming.read(pools, buf);
        self.after_read(n);
        Ok(n)
    }

    pub(crate) fn chunk(&self) -> &[u8] {
        self.incoming.chunk()
    }

    pub(crate) fn consume(&mut self, pools: &mut Pools, n: usize) {
        let n = n.min(self.incoming.chunk().len());
        self.incoming.consume(pools, n);
        self.after_read(n);
    }

    /// The window opened: tell a peer that may be waiting for it.
    fn after_read(&mut self, n: usize) {
        self.bytes_read += n as u64;
        let window = self.advertised_window() as usize;
        let advertised = self.acks.advertised as usize;
        let step = (2 * self.mss()).max(self.capacity() / 4).min(self.capacity() / 2);
        let opens = (advertised == 0 && window > 0) || (advertised < self.mss() && window >= self.mss());
        if self.state.phase() == Phase::Connected
            && !self.incoming.is_finished()
            && (opens || window >= advertised + step)
        {
            self.acks.on_urgent();
        }
        self.announce_end();
    }

    pub(crate) fn readable(&self) -> usize {
        self.incoming.readable()
    }

    /// Room for more, or why there is none.
    fn room(&mut self) -> Result<usize, WriteError> {
        if let Some(reason) = self.state.closed() {
            return Err(WriteError::Closed(reason));
        }
        if self.state.sending() != Sending::Open {
            return Err(WriteError::Finished);
        }
        match self.writable() {
            0 => {
                self.wants_write = true;
                Err(WriteError::Blocked)
            }
            room => Ok(room),
        }
    }

    pub(crate) fn writable(&self) -> usize {
        if self.state.is_closed() || self.state.sending() != Sending::Open {
            return 0;
        }
        self.send_capacity().saturating_sub(self.out.len())
    }

    pub(crate) fn write(&mut self, pools: &mut Pools, data: &[u8]) -> Result<usize, WriteError> {
        let room = self.room()?;
        let n = data.len().min(room);
        #[expect(clippy::indexing_slicing, reason = "n is at most the length")]
        self.out.write(pools, &data[..n]);
        self.wants_write |= n < data.len();
        Ok(n)
    }

    pub(crate) fn write_bytes(&mut self, pools: &mut Pools, data: &mut Bytes) -> Result<usize, WriteError> {
        let room = self.room()?;
        let part = SendBuffer::split(data, room);
        let n = part.len();
        self.out.write_bytes(pools, part);
        self.wants_write |= !data.is_empty();
        Ok(n)
    }

    pub(crate) fn finish(&mut self) {
        self.state.finish();
    }

    /// Nobody will read or be told any more.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if self.state.phase() == Phase::SynSent && self.out.len() == 0 {
            // Nothing was promised to anybody yet.
            self.incoming.discard(cx.pools);
            self.pending.0 = 0;
            self.close_with(cx, CloseReason::Aborted);
            return;
        }
        self.finish();
        let window_was_small = (self.acks.advertised as usize) < self.mss();
        self.incoming.discard(cx.pools);
        self.pending.0 = 0;
        if window_was_small && self.state.phase() == Phase::Connected {
            self.acks.on_urgent();
        }
        if self.state.sending() == Sending::FinAcked {
            self.start_linger(cx.now);
        } else if self.timers.orphan.is_none() {
            self.timers.orphan = Some((cx.now, self.acked));
        }
        self.announce_end();
    }

    /// Gives it up at once.
    pub(crate) fn abort(&mut self, cx: &mut Context<'_>) {
        self.incoming.discard(cx.pools);
        self.pending.0 = 0;
        self.close_with(cx, CloseReason::Aborted);
        self.announce_end();
    }

    /// Whether it has ended otherwise than by agreement, with more to come.
    pub(crate) fn has_broken(&self) -> bool {
        self.state.closed().is_some_and(|reason| reason != CloseReason::Finished)
            && !self.incoming.is_finished()
    }

    /// Nobody will read what has arrived.
    pub(crate) fn forget_unread(&mut self, pools: &mut Pools) {
        self.incoming.discard(pools);
        self.announce_end();
    }

    /// What the network says about the path.
    pub(crate) fn handle_path_error(&mut self, cx: &mut Context<'_>, error: PathError) {
        match error {
            PathError::TooBig(size) => self.mtu.on_too_big(size),
            PathError::Unreachable if self.state.phase() == Phase::SynSent => {
                self.close_with(cx, CloseReason::Unreachable);
            }
            // An established connection outlives what may be a passing state of the network.
            PathError::Unreachable => {}
        }
    }

    pub(crate) fn start_linger(&mut self, now: crate::time::Time) {
        if self.incoming.is_discarding() && self.timers.linger_until.is_none() {
            self.timers.linger_until = Some(now.plus(micros(self.config.linger)));
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.was_established()
    }

    pub(crate) fn is_finish_acked(&self) -> bool {
        self.state.sending() == Sending::FinAcked
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.out.end()
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn bytes_acked(&self) -> u64 {
        self.acked
    }

    /// Gives the connection another controller. What was learnt about packets and round trips stays.
    pub(crate) fn set_congestion(&mut self, cx: &Context<'_>, factory: &dyn ControllerFactory) {
        self.controller = factory.build(cx.clock.instant(cx.now), self.mss());
        self.update_pacing(cx.now);
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        let (base_delay, queueing_delay) = self.controller.delays();
        let (mtu_probes_sent, mtu_probes_lost) = self.mtu.counts();
        ConnectionStats {
            rtt: Duration::from_micros(self.rtt.smoothed()),
            rtt_var: Duration::from_micros(self.rtt.variation()),
            min_rtt: Duration::from_micros(self.rtt.min()),
            rto: Duration::from_micros(self.rtt.rto()),
            cwnd: self.controller.window(),
            ssthresh: self.controller.ssthresh(),
            bytes_in_flight: self.outstanding.in_flight(),
            packets_in_flight: self.outstanding.len() as u64,
            packet_limit: u64::from(self.ahead.limit),
            base_delay,
            queueing_delay,
            mtu: self.mtu.current() as u64,
            mtu_probes_sent,
            mtu_probes_lost,
            peer_window: u64::from(self.peer_window),
            receive_window: u64::from(self.acks.advertised),
            receive_limit: self.capacity() as u64,
            receive_cwnd: self.receive_control.as_ref().map_or(0, |control| control.rlwnd()),
            send_limit: self.send_capacity() as u64,
            ..self.stats.stats()
        }
    }

    /// Takes the next event in order.
    pub(crate) fn take_event(&mut self) -> Option<crate::Event> {
        use crate::Event;
        let bits = self.pending.0;
        if bits == 0 {
            return None;
        }
        let bit = 1 << bits.trailing_zeros();
        self.pending.0 &= !bit;
        Some(match bit {
            Pending::INCOMING => Event::Incoming,
            Pending::CONNECTED => Event::Connected,
            Pending::READABLE => Event::Readable,
            Pending::ACKED => Event::Acked,
            Pending::WRITABLE => Event::Writable,
            Pending::FINISHED => Event::Finished,
            _ => Event::Closed { reason: self.state.closed().unwrap_or(CloseReason::Aborted) },
        })
    }
}

#[cfg(test)]
#[path = "application_tests.rs"]
mod tests;
