//! Drains: every so often the window goes below what the path holds, so that the empty round trip is seen, by this flow
//! and by all others.

use super::path::noise;
use super::{Ebb, Event, Mode};
use crate::time::Time;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drain {
    /// Window and empty round trip before it.
    pub(super) back: f64,
    before: u32,
    /// Round trips of it, and the empty round trip when the last one began.
    step: u32,
    base: u32,
}

impl Ebb {
    pub(super) fn wants_drain(&self, now: Time) -> bool {
        let ours = self.round.limited && self.cwnd > DRAIN_LEAST * self.min_window();
        if ours && self.is_second(now) {
            return self.drained_at.at().is_none_or(|at| now.0 as f64 >= at.0 as f64 * DRAIN_AGAIN);
        }
        let after = if now.0 < DRAIN_EVERY { DRAIN_FIRST } else { DRAIN_EVERY };
        // What a drain did not show, the next one will not either.
        let lately = self.drained_at.is_within(now, DRAIN_EVERY);
        ours && self.high == 0 && !lately && self.path.unconfirmed(now) >= after
    }

    /// Whether this is a new connection that gets less than its first burst told, with a queue: others were there
    /// before. It may have taken their queue for the path, and will starve them before it finds out by itself.
    fn is_second(&self, now: Time) -> bool {
        let new = (SETTLED * self.path.base()..DRAIN_EVERY).contains(&now.0) && self.low == 0;
        new && self.delivery(now).is_some_and(|rate| rate < ALL * self.rate)
    }

    pub(super) fn drain(&mut self, now: Time) {
        let (base, queue) = (self.path.base(), self.path.queueing());
        self.mode = Mode::Drain(Drain { back: self.cwnd, before: base as u32, step: 0, base: base as u32 });
        self.drained_at = Event::new(now);
        let depth = (base as f64 / DRAIN_CHEAP as f64).clamp(DRAIN_DEEPEST, DRAIN_DEPTH);
        self.set(self.cwnd * base as f64 / (base + queue).max(1) as f64 * depth);
        self.rounds.restart(now);
    }

    /// A round trip of draining is over: enough, or was there more under the queue?
    pub(super) fn drain_more(&mut self, now: Time, drain: Drain) {
        let base = self.path.base();
        let then = u64::from(drain.base);
        let fell = base + noise(then) / 4 < then;
        let empty = self.path.unconfirmed(now) < 2 * base;
        // What is seen in the first round trip was sent before it.
        let seen = drain.step >= 1;
        let enough = drain.step >= if base < DRAIN_CHEAP / 2 { 3 } else { 1 };
        if drain.step >= DRAIN_STEPS || (enough && empty && !fell) {
            self.mode = Mode::Steady;
            self.set(drain.back * (base as f64 / f64::from(drain.before.max(1))).min(1.0));
            return;
        }
        self.mode = Mode::Drain(Drain { step: drain.step + 1, base: base as u32, ..drain });
        if seen {
            self.set(self.cwnd / 2.0);
        }
    }
}

/// A drain is due when the empty path was not seen for so many microseconds...
const DRAIN_EVERY: u64 = 10_000_000;

/// ...or, by a new connection, whose first round trips may have seen the queue of others.
pub(super) const DRAIN_FIRST: u64 = 4_000_000;

/// ...or, by one that came second (`is_second`), after so many round trips, when those who were there have begun to
/// give way, and again after so many times what had passed until the last one.
const SETTLED: u64 = 12;
const DRAIN_AGAIN: f64 = 1.7;

/// Who gets less than this part of what the first burst told is not alone.
const ALL: f64 = 0.8;

/// A window of fewer smallest ones has nothing to give.
const DRAIN_LEAST: f64 = 1.2;

/// Part of what the path holds that stays in it; less, and for longer, on round trips of fewer microseconds than that,
/// where it costs little and each packet is a longer part of the queue.
const DRAIN_DEPTH: f64 = 0.8;
const DRAIN_DEEPEST: f64 = 0.25;
const DRAIN_CHEAP: u64 = 60_000;

/// Halvings of one drain.
const DRAIN_STEPS: u32 = 4;
