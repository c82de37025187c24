//! Background transports that keep a longer queue than ours: deployed LEDBAT, whose target is 100 ms.
//!
//! To somebody with a shorter target they look like a queue that does not go, and would leave nothing. But theirs
//! stands still, which no queue of TCP does for long. So once we have given way to it: what stands still counts as
//! path, and we take our place on top of it, up to [`SHARE`] of what the bottleneck delivers. LEDBAT gives way to that,
//! slowly, as it does to itself.
//!
//! Every so often we step back for a few round trips, all of us at once (a queue that falls is the sign), so
//! that a queue that is kept by nobody but ourselves goes. If pushing adds no delay, the path has become longer.

use std::time::Duration;

use super::path::{Level, noise};
use super::{Ebb, MIN_FLOOD, Mode};
use crate::time::Time;

/// What we know of others who keep a queue.
#[derive(Debug, Default)]
pub(super) struct Company {
    there: Option<There>,
    /// Not looked for before that: it turned out to be something else.
    not_before: Time,
}

#[derive(Debug)]
struct There {
    /// Window that is our part, bytes.
    most: f64,
    /// The queue grew when we pushed: there is one.
    answered: bool,
    dipped: Time,
}

impl Company {
    pub(super) fn is_there(&self) -> bool {
        self.there.is_some()
    }

    /// Window not to exceed.
    pub(super) fn most(&self) -> f64 {
        self.there.as_ref().map_or(f64::INFINITY, |there| there.most)
    }

    /// The queue got longer.
    pub(super) fn answered(&mut self) {
        if let Some(there) = &mut self.there {
            there.answered = true;
        }
    }
}

impl Ebb {
    /// Others hold a queue, and we have given up all that we can.
    pub(super) fn meet(&mut self, now: Time, level: Level) {
        let early = now < self.company.not_before;
        if level.calm < CALM || early || self.rate <= 0.0 || level.at > HIGHEST {
            return;
        }
        self.path.set_floor(level.at);
        let most = SHARE * self.rate * self.path.clear() as f64 / 1e6;
        self.company.there = Some(There { most, answered: false, dipped: now });
        (self.flood, self.full, self.high, self.low) = (MIN_FLOOD, most, 0, 0);
    }

    /// At the end of each round trip with others: are they still there?
    pub(super) fn keep_company(&mut self, now: Time, starved: bool) {
        let (floor, whole, dipping) = (self.path.floor(), self.path.whole_queueing(), self.is_draining());
        let Some(there) = &mut self.company.there else { return };
        if whole < floor / 2 {
            // They have gone, or it was our own.
            self.path.set_floor(0);
            self.company.there = None;
            if dipping {
                self.mode = Mode::Steady;
            }
            return;
        }
        if starved {
            return self.part(now);
        }
        if dipping {
            return;
        }
        if !there.answered && self.cwnd >= 0.9 * there.most {
            self.company.there = None;
            self.path.lengthen(now, floor, None);
            return;
        }
        let since = now.since(there.dipped);
        let sign = whole + (floor / 8).max(2 * noise(floor)) < floor;
        if since >= DIP_EVERY || (sign && since >= DIP_AGAIN) {
            there.dipped = now;
            self.mode = Mode::Dip(self.cwnd, 0);
            self.set(self.cwnd / 2.0);
            self.rounds.restart(now);
        } else if whole < floor {
            self.path.set_floor(floor - (floor - whole) / 8);
        }
    }

    /// It is somebody else.
    pub(super) fn part(&mut self, now: Time) {
        if self.company.there.take().is_some() {
            self.path.set_floor(0);
            self.company.not_before = now.plus(APART);
        }
    }
}

/// A queue has to stand still for this long. CUBIC's plateau stays within 2 ms for less than 6 s at 100 Mbit/s: its
/// window moves by `0.1 * t^3` packets in the flattest `t` seconds.
const CALM: Duration = Duration::from_secs(8);

/// Longest queue that LEDBAT keeps, microseconds: twice its target, where it took that of others for the empty path.
const HIGHEST: u64 = 220_000;

/// Ours of what the bottleneck delivers; no more than half, since there are others, and more than a third.
const SHARE: f64 = 0.45;

/// Queue on top of theirs, microseconds. LEDBAT gives way by 30 bytes per round trip and millisecond.
pub(super) const TARGET: u64 = 50_000;

/// Microseconds between two dips; and after a sign.
const DIP_EVERY: u64 = 15_000_000;
const DIP_AGAIN: u64 = 3_000_000;

/// Microseconds before we look for company again after having been wrong.
const APART: u64 = 30_000_000;
