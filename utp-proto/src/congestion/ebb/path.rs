//! What a connection knows of its path: the empty round trip, and the queue on top of it.
//!
//! The queue is measured by round-trip time, on which nobody's clock and no peer's word has an influence. But
//! round trips contain what the peer holds acknowledgements back, and queues on the way back; the one-way
//! delay that the peer reports does not. So that is believed where it says less, as far as either can explain the
//! difference (an acknowledgement is held back until the next packet comes, the way back is seen by the delay of the
//! peer's own packets), and down to [`TRUST`] below what the round trip says: a peer whose reports are invented gains
//! next to nothing by it, and one that invents its timestamps too no more than that. One that reports a constant is
//! not believed at all.

use std::time::Duration;

use crate::congestion::delay::{BaseHistory, above, lower};
use crate::time::Time;

/// Delays of one connection, in microseconds, of which 32 bits hold more than an hour. Small: every connection has one.
#[derive(Debug)]
pub(super) struct Path {
    round_trip: Minimum,
    one_way: Minimum,
    /// Of the peer's packets.
    way_back: BaseHistory,
    /// The last one-way delay, and how often in a row it was the same.
    repeated: (u32, u32),
    period_left: u32,
    /// Queueing that the last samples saw, or [`NONE`].
    recent: [u32; RECENT],
    next: u8,
    /// Smallest queueing (or [`NONE`]) and one-way delay of the round under way; queueing of the last one.
    round: (u32, Option<u32>),
    queueing: u32,
    /// Part of the queue that is somebody else's for good, and counts as path.
    floor: u32,
    last: Time,
    /// When a sample last saw the path empty.
    confirmed: Time,
    steady: Steady,
}

impl Path {
    pub(super) fn new() -> Self {
        Self {
            round_trip: Minimum::default(),
            one_way: Minimum::default(),
            way_back: BaseHistory::default(),
            repeated: (0, 0),
            period_left: PERIOD,
            recent: [NONE; RECENT],
            next: 0,
            round: (NONE, None),
            queueing: 0,
            floor: 0,
            last: Time(0),
            confirmed: Time(0),
            steady: Steady::new(Time(0)),
        }
    }

    /// The empty round trip; 0 before the first sample.
    pub(super) fn base(&self) -> u64 {
        u64::from(self.round_trip.lowest().unwrap_or(0))
    }

    /// Microseconds since the path was last seen empty.
    pub(super) fn unconfirmed(&self, now: Time) -> u64 {
        now.since(self.confirmed)
    }

    /// Queue that counts as path.
    pub(super) fn floor(&self) -> u64 {
        self.floor.into()
    }

    pub(super) fn set_floor(&mut self, floor: u64) {
        self.floor = short(floor);
    }

    /// The round trip with nothing in the queue that we could do something about.
    pub(super) fn clear(&self) -> u64 {
        self.base() + self.floor()
    }

    /// Smallest queueing in the last round trip (of at least [`RECENT`] samples), above the floor.
    pub(super) fn queueing(&self) -> u64 {
        self.queueing.saturating_sub(self.floor).into()
    }

    /// The same from the ground.
    pub(super) fn whole_queueing(&self) -> u64 {
        self.queueing.into()
    }

    /// Smallest queueing of the last few samples, above the floor.
    pub(super) fn latest(&self) -> u64 {
        let least = self.recent.iter().copied().fold(NONE, u32::min);
        if least == NONE { 0 } else { least.saturating_sub(self.floor).into() }
    }

    /// Queueing that the last sample saw, above the floor.
    pub(super) fn newest(&self) -> u64 {
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
        match self.recent[(usize::from(self.next) + RECENT - 1) % RECENT] {
            NONE => 0,
            queueing => queueing.saturating_sub(self.floor).into(),
        }
    }

    /// `one_way`: what the peer reports; `way_back`: the delay of its own packet; `held`: how long it may have held back
    /// an acknowledgement.
    pub(super) fn sample(
        &mut self,
        now: Time,
        rtt: u64,
        one_way: Option<u32>,
        way_back: Option<u32>,
        held: u64,
    ) {
        self.round_trip.update(short(rtt));
        let mut queueing = rtt - self.base().min(rtt);
        let one_way = one_way.filter(|&delay| self.varies(delay));
        if let Some(delay) = one_way {
            self.one_way.update(delay);
            let seen = u64::from(above(delay, self.one_way.lowest().unwrap_or(delay)));
            let back = way_back.map_or(0, |delay| {
                self.way_back.update(now, delay);
                u64::from(above(delay, self.way_back.lowest()))
            });
            queueing = queueing.min(seen).max(queueing.saturating_sub((back + held).min(TRUST)));
        }
        if queueing <= noise(self.base()) {
            self.confirmed = now;
        }
        let queueing = short(queueing);
        let (least, delay) = self.round;
        self.round = (least.min(queueing), delay.into_iter().chain(one_way).reduce(lower));
        #[expect(clippy::indexing_slicing, reason = "it wraps at the length")]
        let oldest = &mut self.recent[usize::from(self.next)];
        *oldest = queueing;
        self.next = (self.next + 1) % RECENT as u8;
    }

    /// Whether a peer's reports are measurements.
    fn varies(&mut self, delay: u32) -> bool {
        let (last, times) = self.repeated;
        self.repeated = (delay, if delay == last { times.saturating_add(1) } else { 0 });
        self.repeated.1 < CONSTANT
    }

    /// A round trip is over. `starved`: others hold the queue, and we have given up all that we can. `Some`: where
    /// they hold it.
    pub(super) fn end_round(&mut self, now: Time, starved: bool) -> Option<Level> {
        let passed = now.since(self.last);
        self.last = now;
        let (queueing, one_way) = std::mem::replace(&mut self.round, (NONE, None));
        if queueing == NONE {
            return None;
        }
        // A small window gives few samples in a round trip, and the smallest of few is larger than that of many: it
        // would take the same queue for a longer one than a large window does.
        let queueing = self.recent.iter().copied().fold(queueing, u32::min);
        self.queueing = queueing;
        if starved {
            let level = self.steady.update(now, queueing, noise(self.base()) as u32)?;
            if level.still >= STILL {
                // Nobody's queue stands so still: the path has become longer.
                self.lengthen(now, level.at, one_way);
                return None;
            }
            return Some(level);
        }
        self.steady = Steady::new(now);
        if self.floor > 0 {
            return None; // the empty path cannot be seen
        }
        self.period_left = self.period_left.saturating_sub(short(passed));
        if self.period_left == 0 {
            self.period_left = PERIOD;
            self.round_trip.turn();
            self.one_way.turn();
        }
        None
    }

    /// What seemed to be a queue is the path.
    pub(super) fn lengthen(&mut self, now: Time, by: u64, one_way: Option<u32>) {
        self.round_trip.reset(short(self.base() + by));
        if let Some(delay) = one_way.or_else(|| Some(self.one_way.lowest()?.wrapping_add(by as u32))) {
            self.one_way.reset(delay);
        }
        (self.queueing, self.floor) = (0, 0);
        self.recent = [NONE; RECENT];
        self.confirmed = now;
        self.steady = Steady::new(now);
    }
}

/// Lowest value of the last periods, on a clock that wraps.
#[derive(Debug, Default)]
struct Minimum {
    periods: [u32; PERIODS],
    lowest: u32,
    /// Bit `i`: `periods[i]` has a value.
    known: u8,
    /// So has `lowest`.
    any: bool,
    index: u8,
}

impl Minimum {
    fn lowest(&self) -> Option<u32> {
        self.any.then_some(self.lowest)
    }

    fn update(&mut self, value: u32) {
        #[expect(clippy::indexing_slicing, reason = "it wraps at the length")]
        let (bit, period) = (1 << self.index, &mut self.periods[usize::from(self.index)]);
        *period = if self.known & bit != 0 { lower(*period, value) } else { value };
        self.known |= bit;
        self.lowest = if self.any { lower(self.lowest, value) } else { value };
        self.any = true;
    }

    fn turn(&mut self) {
        self.index = (self.index + 1) % PERIODS as u8;
        self.known &= !(1 << self.index);
        #[expect(clippy::indexing_slicing, reason = "PERIODS is the length")]
        let known = (0..PERIODS).filter(|i| self.known & 1 << i != 0).map(|i| self.periods[i]);
        self.lowest = known.reduce(lower).unwrap_or(self.lowest);
    }

    fn reset(&mut self, value: u32) {
        *self = Self { index: self.index, ..Self::default() };
        self.update(value);
    }
}

/// Finds out whether a delay stands still, or at least does not rise and falls slowly.
#[derive(Debug)]
struct Steady {
    still: Time,
    calm: Time,
    slot: Time,
    low: u32,
    high: u32,
    calm_low: u32,
    slot_min: u32,
}

/// What is known of a delay at the end of a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// Since when it has been the same, and since when it has not risen and not fallen at once.
    pub(super) still: Duration,
    pub(super) calm: Duration,
    /// Where it is.
    pub(super) at: u64,
}

impl Steady {
    fn new(now: Time) -> Self {
        let (still, calm, slot) = (now, now, now);
        Self { still, calm, slot, low: NONE, high: 0, calm_low: NONE, slot_min: NONE }
    }

    /// Takes the minimum of a round trip.
    fn update(&mut self, now: Time, delay: u32, noise: u32) -> Option<Level> {
        self.slot_min = self.slot_min.min(delay);
        if now.since(self.slot) < SLOT {
            return None;
        }
        let min = std::mem::replace(&mut self.slot_min, NONE);
        self.slot = now;
        (self.low, self.high) = (self.low.min(min), self.high.max(min));
        if self.high - self.low > noise {
            (self.still, self.low, self.high) = (now, min, min);
        }
        let fell = self.calm_low < NONE && min + noise.max(self.calm_low / FALL) < self.calm_low;
        if fell || min > self.calm_low.saturating_add(RISE) {
            (self.calm, self.calm_low) = (now, min);
        }
        self.calm_low = self.calm_low.min(min);
        let since = |at| Duration::from_micros(now.since(at));
        Some(Level { still: since(self.still), calm: since(self.calm), at: min.into() })
    }
}

/// Microseconds in 32 bits, so that they are below [`NONE`] and can be told from a clock that wraps.
pub(super) fn short(micros: u64) -> u32 {
    micros.min(1 << 30) as u32
}

/// Differences of delay that mean nothing.
pub(super) fn noise(base: u64) -> u64 {
    (base / 32).clamp(MIN_NOISE, MAX_NOISE)
}

/// How much of a round trip a peer's word can explain away.
const TRUST: u64 = 40_000;

/// A delay reported so often in a row is not measured.
const CONSTANT: u32 = 8;

/// The base is the minimum of so many periods...
const PERIODS: usize = 6;

/// ...of so many microseconds: a route that becomes longer is noticed within a minute.
const PERIOD: u32 = 10_000_000;

/// No value.
const NONE: u32 = u32::MAX;

/// Samples that show the queue of this moment.
const RECENT: usize = 8;

/// Minima of slots of so many microseconds are compared, since a window of two packets gives few samples...
const SLOT: u64 = 1_000_000;

/// Microseconds. CUBIC's window moves by `0.1 * t^3` packets in its flattest `t` seconds: 6 ms in 8 s at 100 Mbit/s.
const RISE: u32 = 3_000;

/// A slow fall: at most this part of it from slot to slot.
const FALL: u32 = 32;

/// ...and have to be the same for this long. CUBIC's plateau, the stillest that a queue of others gets, stays
/// within 4 ms for 19 s at 1 Gbit/s, less on anything slower.
const STILL: Duration = Duration::from_secs(20);

/// Microseconds.
const MIN_NOISE: u64 = 1_500;
const MAX_NOISE: u64 = 4_000;
