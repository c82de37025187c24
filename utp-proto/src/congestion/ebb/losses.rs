//! Whether a loss means a full queue, or only a path that loses packets.
//!
//! What is lost while the queue is short tells how many packets the path loses by itself. With a long queue no more
//! than that is lost for the same reason. "Long" is measured by the longest queue seen lately, so that a queue of a
//! few packets is known for what it is.

/// Losses of one connection, in packets. Small: every connection has them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Delivered and lost in this round, and delivered in the one before.
    delivered: f32,
    lost: f32,
    before: f32,
    /// Longest queue of late in microseconds, decaying.
    peak: f32,
    /// Delivered and lost while the queue was short, decaying.
    quiet_delivered: f32,
    quiet_lost: f32,
    trial: Option<Trial>,
}

impl Losses {
    /// `queueing`: as the last sample saw it; `least`: the least that the last few saw, which a late one does not
    /// raise.
    pub(super) fn on_delivered(&mut self, packets: f32, queueing: u64, least: u64) {
        self.delivered += packets;
        self.peak = self.peak.max(least as f32);
        if self.is_short(queueing) {
            self.quiet_delivered += packets;
        }
    }

    /// Whether these losses are more than the path's own. `first`: the path was never full yet, and little is known of
    /// it, so that what has come in so far decides.
    pub(super) fn on_lost(&mut self, packets: f32, queueing: u64, first: bool) -> bool {
        self.lost += packets;
        let all = if first { self.delivered + self.lost } else { self.of() };
        if self.lost > MOST * all + 3.0 * (MOST * all).sqrt() {
            return true;
        }
        if self.is_short(queueing) {
            self.quiet_lost += packets;
            return false;
        }
        let expected = self.background() * all;
        self.lost > 2.0 * expected + 3.0 * expected.sqrt()
    }

    /// Packets that this round trip's losses are a part of. If it has only begun, as many as the last one had: one
    /// packet lost of the first two says nothing.
    fn of(&self) -> f32 {
        (self.delivered + self.lost).max(self.before)
    }

    /// Part of the packets that the path loses by itself.
    fn background(&self) -> f32 {
        (self.quiet_lost / (self.quiet_delivered + self.quiet_lost + PRIOR)).min(MOST)
    }

    fn is_short(&self, queueing: u64) -> bool {
        (queueing as f32) < SHORT * self.peak || queueing < NOTHING
    }

    /// A reduction followed: finds out whether it helped. False if one is being tried already; it goes on.
    pub(super) fn try_less(&mut self) -> bool {
        let rate = self.lost / self.of().max(1.0);
        let first = self.trial.is_none();
        self.trial = Some(Trial { rate, rounds: 0, delivered: 0.0, lost: 0.0 });
        first
    }

    /// A round trip is over. `Some` at the end of a trial: whether losses went on all the same, so that they
    /// are the path's own.
    pub(super) fn end_round(&mut self) -> Option<bool> {
        let (delivered, lost) = (std::mem::take(&mut self.delivered), std::mem::take(&mut self.lost));
        self.before = delivered;
        self.peak *= FORGET;
        self.quiet_delivered *= KEEP;
        self.quiet_lost *= KEEP;
        let trial = self.trial.as_mut()?;
        trial.rounds += 1;
        // The first round trip still shows what was sent before the reduction.
        if trial.rounds > 1 {
            trial.delivered += delivered;
            trial.lost += lost;
        }
        let expected = trial.rate * (trial.delivered + trial.lost);
        let went_on = trial.lost >= 2.0 && trial.lost >= expected / 2.0;
        if expected >= 4.0 || trial.rounds >= TRIAL {
            self.trial = None;
            return Some(went_on);
        }
        None
    }
}

#[derive(Debug)]
struct Trial {
    /// Part of the packets lost before it.
    rate: f32,
    rounds: u32,
    delivered: f32,
    lost: f32,
}

/// A path that loses more than this is congested, whatever the delay says.
const MOST: f32 = 0.15;

/// Part of the longest queue that is a short one.
const SHORT: f32 = 0.5;

/// Of what was learnt while the queue was short so much is kept per round trip: it holds for a hundred...
const KEEP: f32 = 0.97;

/// ...and until then so many packets speak for a path without loss.
const PRIOR: f32 = 30.0;

/// Round trips after which a trial ends, however few packets there were.
const TRIAL: u32 = 8;

/// The longest queue is forgotten by half in 140 round trips.
const FORGET: f32 = 0.995;

/// Microseconds that are no queue.
const NOTHING: u64 = 200;
