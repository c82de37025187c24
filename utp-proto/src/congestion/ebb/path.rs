//! What a connection knows of its path: the empty round trip, and the queue on top of it.
//!
//! The queue is measured by round-trip time, on which nobody's clock and no peer's word has an influence. But
//! round trips contain what the peer holds acknowledgements back, and queues on the way back; the one-way
//! delay that the peer reports does not. So that is believed where it says less, as far as either can explain the
//! difference (an acknowledgement is held back until the next packet comes, the way back is seen by the delay of the
//! peer's own packets), and down to [`TRUST`] below what the round trip says: a peer whose reports are invented gains
//! next to nothing by it, and one that invents its timestamps too no more than that. One that reports a constant is
//! not believed at all.

use std::time::{Duration, Instant};

use crate::congestion::delay::{BaseHistory, above, lower};

/// Delays of one connection, in microseconds.
#[derive(Debug)]
pub(super) struct Path {
    round_trip: Minimum<u64>,
    one_way: Minimum<u32>,
    /// Of the peer's packets.
    way_back: BaseHistory,
    /// The last one-way delay, and how often in a row it was the same.
    repeated: (u32, u32),
    period_left: Duration,
    last: Instant,
    /// Queueing that the last samples saw.
    recent: [u64; RECENT],
    next: usize,
    /// Smallest queueing and one-way delay of the round under way; queueing of the last one.
    round: Option<(u64, Option<u32>)>,
    queueing: u64,
    /// Part of the queue that is somebody else's for good, and counts as path.
    floor: u64,
    /// When a sample last saw the path empty.
    confirmed: Instant,
    steady: Steady,
}

impl Path {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            round_trip: Minimum::new(u64::min),
            one_way: Minimum::new(lower),
            way_back: BaseHistory::new(now),
            repeated: (0, 0),
            period_left: PERIOD,
            last: now,
            recent: [u64::MAX; RECENT],
            next: 0,
            round: None,
            queueing: 0,
            floor: 0,
            confirmed: now,
            steady: Steady::new(now),
        }
    }

    /// The empty round trip; 0 before the first sample.
    pub(super) fn base(&self) -> u64 {
        self.round_trip.lowest.unwrap_or(0)
    }

    /// Time since the path was last seen empty.
    pub(super) fn unconfirmed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.confirmed)
    }

    /// Queue that counts as path.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// The round trip with nothing in the queue that we could do something about.
    pub(super) fn clear(&self) -> u64 {
        self.base() + self.floor
    }

    /// Smallest queueing in the last round trip, above the floor.
    pub(super) fn queueing(&self) -> u64 {
        self.queueing.saturating_sub(self.floor)
    }

    /// The same from the ground.
    pub(super) fn whole_queueing(&self) -> u64 {
        self.queueing
    }

    /// Smallest queueing of the last few samples, above the floor.
    pub(super) fn latest(&self) -> u64 {
        let least = self.recent.iter().copied().filter(|&queueing| queueing < u64::MAX).min();
        least.unwrap_or(0).saturating_sub(self.floor)
    }

    /// Queueing that the last sample saw, above the floor.
    pub(super) fn newest(&self) -> u64 {
        match self.recent[(self.next + RECENT - 1) % RECENT] {
            u64::MAX => 0,
            queueing => queueing.saturating_sub(self.floor),
        }
    }

    /// `one_way`: what the peer reports; `way_back`: the delay of its own packet; `held`: how long it may have held back
    /// an acknowledgement.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        rtt: u64,
        one_way: Option<u32>,
        way_back: Option<u32>,
        held: u64,
    ) {
        self.round_trip.update(rtt);
        let mut queueing = rtt - self.base().min(rtt);
        let one_way = one_way.filter(|&delay| self.varies(delay));
        if let Some(delay) = one_way {
            self.one_way.update(delay);
            let seen = u64::from(above(delay, self.one_way.lowest.unwrap_or(delay)));
            let back = way_back.map_or(0, |delay| {
                self.way_back.update(now, delay);
                u64::from(above(delay, self.way_back.lowest()))
            });
            queueing = queueing.min(seen).max(queueing.saturating_sub((back + held).min(TRUST)));
        }
        if queueing <= noise(self.base()) {
            self.confirmed = now;
        }
        self.round = Some(match self.round {
            None => (queueing, one_way),
            Some((least, delay)) => (least.min(queueing), delay.into_iter().chain(one_way).reduce(lower)),
        });
        self.recent[self.next] = queueing;
        self.next = (self.next + 1) % RECENT;
    }

    /// Whether a peer's reports are measurements.
    fn varies(&mut self, delay: u32) -> bool {
        let (last, times) = self.repeated;
        self.repeated = (delay, if delay == last { times.saturating_add(1) } else { 0 });
        self.repeated.1 < CONSTANT
    }

    /// A round trip is over. `starved`: others hold the queue, and we have given up all that we can. `Some`: where
    /// they hold it.
    pub(super) fn end_round(&mut self, now: Instant, starved: bool) -> Option<Level> {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        let (queueing, one_way) = self.round.take()?;
        self.queueing = queueing;
        if starved {
            let level = self.steady.update(now, queueing, noise(self.base()))?;
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
        self.period_left = self.period_left.saturating_sub(passed);
        if self.period_left.is_zero() {
            self.period_left = PERIOD;
            self.round_trip.turn();
            self.one_way.turn();
        }
        None
    }

    /// What seemed to be a queue is the path.
    pub(super) fn lengthen(&mut self, now: Instant, by: u64, one_way: Option<u32>) {
        self.round_trip.reset(self.base() + by);
        if let Some(delay) = one_way.or_else(|| Some(self.one_way.lowest?.wrapping_add(by as u32))) {
            self.one_way.reset(delay);
        }
        (self.queueing, self.floor) = (0, 0);
        self.recent = [u64::MAX; RECENT];
        self.confirmed = now;
        self.steady = Steady::new(now);
    }
}

/// Lowest value of the last periods.
#[derive(Debug)]
struct Minimum<T> {
    periods: [Option<T>; PERIODS],
    index: usize,
    lowest: Option<T>,
    lower: fn(T, T) -> T,
}

impl<T: Copy> Minimum<T> {
    fn new(lower: fn(T, T) -> T) -> Self {
        Self { periods: [None; PERIODS], index: 0, lowest: None, lower }
    }

    fn update(&mut self, value: T) {
        for lowest in [&mut self.periods[self.index], &mut self.lowest] {
            *lowest = Some(lowest.map_or(value, |lowest| (self.lower)(lowest, value)));
        }
    }

    fn turn(&mut self) {
        self.index = (self.index + 1) % PERIODS;
        self.periods[self.index] = None;
        self.lowest = self.periods.iter().copied().flatten().reduce(self.lower).or(self.lowest);
    }

    fn reset(&mut self, value: T) {
        self.periods = [None; PERIODS];
        self.lowest = None;
        self.update(value);
    }
}

/// Finds out whether a delay stands still, or at least does not rise and falls slowly.
#[derive(Debug)]
struct Steady {
    still: Instant,
    calm: Instant,
    low: u64,
    high: u64,
    calm_low: u64,
    slot: Instant,
    slot_min: u64,
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
    fn new(now: Instant) -> Self {
        let (still, calm, slot) = (now, now, now);
        Self { still, calm, low: u64::MAX, high: 0, calm_low: u64::MAX, slot, slot_min: u64::MAX }
    }

    /// Takes the minimum of a round trip.
    fn update(&mut self, now: Instant, delay: u64, noise: u64) -> Option<Level> {
        self.slot_min = self.slot_min.min(delay);
        if now.saturating_duration_since(self.slot) < SLOT {
            return None;
        }
        let min = std::mem::replace(&mut self.slot_min, u64::MAX);
        self.slot = now;
        (self.low, self.high) = (self.low.min(min), self.high.max(min));
        if self.high - self.low > noise {
            (self.still, self.low, self.high) = (now, min, min);
        }
        let fell = self.calm_low < u64::MAX && min + noise.max(self.calm_low / FALL) < self.calm_low;
        if fell || min > self.calm_low.saturating_add(RISE) {
            (self.calm, self.calm_low) = (now, min);
        }
        self.calm_low = self.calm_low.min(min);
        let since = |at| now.saturating_duration_since(at);
        Some(Level { still: since(self.still), calm: since(self.calm), at: min })
    }
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

/// ...of this length: a route that becomes longer is noticed within a minute.
const PERIOD: Duration = Duration::from_secs(10);

/// Samples that show the queue of this moment.
const RECENT: usize = 8;

/// Minima of slots of this length are compared, since a window of two packets gives few samples...
const SLOT: Duration = Duration::from_secs(1);

/// Microseconds. CUBIC's window moves by `0.1 * t^3` packets in its flattest `t` seconds: 6 ms in 8 s at 100 Mbit/s.
const RISE: u64 = 3_000;

/// A slow fall: at most this part of it from slot to slot.
const FALL: u64 = 32;

/// ...and have to be the same for this long. CUBIC's plateau, the stillest that a queue of others gets, stays
/// within 4 ms for 19 s at 1 Gbit/s, less on anything slower.
const STILL: Duration = Duration::from_secs(20);

/// Microseconds.
const MIN_NOISE: u64 = 1_500;
const MAX_NOISE: u64 = 4_000;
