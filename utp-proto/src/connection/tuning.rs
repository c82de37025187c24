//! Buffers that grow with the path, so that they never are what limits it: dynamic right-sizing of the receive
//! window (Fisk and Feng 2001; Linux does the same), and a send buffer in proportion to what is under way. Only the
//! limits grow; memory is taken when data comes.

use super::{Connection, Context};
use crate::Config;
use crate::time::Time;
use crate::wire::{Header, NO_SAMPLE};

/// Limits of one connection, in bytes: [`Config`] allows 1 GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// Held for the application at most. Never shrinks: it was promised to the peer.
    receive: u32,
    /// Taken from the application at most.
    send: u32,
    /// When the round under way is over...
    pub(super) ends: Time,
    /// ...how long it is, a round trip as seen when it began, in microseconds...
    rtt: u32,
    /// ...and what had been taken of the peer's stream by then.
    taken: u64,
    /// When so much has been taken, this round has shown more.
    pub(super) look_at: u64,
}

impl Tuning {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            receive: config.receive_buffer as u32,
            send: config.send_buffer as u32,
            ends: Time(0),
            rtt: 0,
            taken: 0,
            look_at: 0,
        }
    }

    pub(super) fn receive_limit(&self) -> usize {
        self.receive as usize
    }

    pub(super) fn send_limit(&self) -> usize {
        self.send as usize
    }

    /// Nothing is under way: the send buffer begins anew.
    pub(super) fn rest(&mut self, config: &Config) {
        self.send = config.send_buffer as u32;
    }
}

impl Connection {
    /// The round trip that a packet shows, in microseconds: the way of our last packet, as the peer measured it, and
    /// that of its answer, as we did. The offset of the clocks has opposite signs in the two. This is how somebody
    /// knows it who only receives. `None` if the peer's clock cannot be trusted.
    pub(super) fn round_trip(&self, header: &Header) -> Option<u64> {
        let forth = header.timestamp_difference;
        if header.timestamp.0 == 0 || forth == 0 || forth == NO_SAMPLE {
            return None;
        }
        let sum = u64::from(forth.wrapping_add(self.reply_micro));
        (1..=MAX_RTT).contains(&sum).then_some(sum)
    }

    /// What waits behind a gap, and would have been read if that were not there. Not much of it, so that nobody makes
    /// us hold a lot of what cannot be read.
    fn waits(&self) -> u64 {
        self.incoming.ahead_len().min(self.config.receive_buffer) as u64
    }

    /// Something new has arrived that fills no gap.
    pub(super) fn note_arrived(&mut self, cx: &Context<'_>, header: &Header) {
        if cx.now >= self.tuning.ends || self.bytes_read + self.waits() >= self.tuning.look_at {
            self.tune_receive(cx, header);
        }
    }

    /// A round trip of arrivals is over, or a good part of it. What was taken in it is what the path holds at the
    /// rate of the time, or the window if that was the limit; twice as much lets a sender double its window. What
    /// waits behind a gap takes room besides, until that is filled.
    #[cold]
    fn tune_receive(&mut self, cx: &Context<'_>, header: &Header) {
        let before = self.tuning;
        // What has just been put in order may not have been read yet.
        let waits = self.waits();
        let taken = (self.bytes_read + waits).max(before.taken);
        let mut per_round = taken - before.taken;
        if cx.now >= before.ends {
            let rtt = self.round_trip(header).or(self.rtt.is_known().then(|| self.rtt.smoothed()));
            let rtt = rtt.unwrap_or(UNKNOWN_RTT).max(MIN_RTT);
            let elapsed = u64::from(before.rtt) + cx.now.since(before.ends);
            let part = u128::from(per_round) * u128::from(rtt.min(before.rtt.into()));
            per_round = u64::try_from(part / u128::from(elapsed.max(1))).unwrap_or(u64::MAX);
            self.tuning.ends = cx.now.plus(rtt);
            self.tuning.rtt = rtt.min(MAX_RTT) as u32;
            self.tuning.taken = taken;
        }
        let max = self.config.receive_buffer_max.min(self.config.memory_budget / BUDGET_SHARE);
        let wanted =
            usize::try_from(per_round.saturating_mul(2).saturating_add(waits)).unwrap_or(usize::MAX).min(max);
        if wanted > self.tuning.receive_limit() && !self.is_short {
            self.tuning.receive = wanted as u32;
            self.incoming.set_capacity(wanted);
            self.incoming.set_reorder_window(self.config.reorder_window_for(wanted));
            log!(trace, wanted, "receive limit");
        }
        self.tuning.look_at = taken + self.tuning.receive_limit() as u64 / LOOKS;
    }

    /// Something has arrived at the peer: room for twice what is under way, or may be from now on, and for what waits
    /// there behind a gap, besides what there is at first.
    pub(super) fn tune_send(&mut self) {
        let allowed = self.controller.window().min(self.peer_window.into());
        let room = (2 * self.outstanding.unacked().max(allowed)).max(self.sent - self.acked);
        let wanted = self.config.send_buffer.saturating_add(room as usize).min(self.config.send_buffer_max);
        self.tuning.send = self.tuning.send.max(wanted as u32);
    }
}

/// Microseconds: more than any path takes; a peer that tells more does not know its clock.
const MAX_RTT: u64 = 2_000_000;

/// Microseconds: shorter rounds would see single batches.
const MIN_RTT: u64 = 1_000;

/// So often it is looked at while a window arrives.
const LOOKS: u64 = 32;

/// Microseconds, for a peer that tells nothing: if the path is shorter, the buffer grows earlier than it must, if it
/// is longer, not as far as it could.
const UNKNOWN_RTT: u64 = 100_000;

/// No connection may ever fill more than this part of the endpoint's memory.
const BUDGET_SHARE: usize = 4;

#[cfg(test)]
#[path = "tuning_tests.rs"]
mod tests;
