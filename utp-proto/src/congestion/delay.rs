//! From raw one-way delays to queueing delay: base history, current filter, clock drift and skew.
//!
//! A sample is the difference of two unsynchronised 32-bit clocks. Its absolute value means nothing,
//! and it wraps; the lowest one of the last minutes is the delay of the empty path, and what the present
//! ones are above it is queueing (RFC 6817 2.4).
//!
//! The sample is the peer's word. A peer that understates it would be sent more than its share, so that a queue which
//! round trips show, and which the way back does not explain, counts whatever the peer says.

use std::time::{Duration, Instant};

use super::Ack;
use crate::time::{Time, micros};

/// Turns the samples of one connection into its queueing delay.
#[derive(Debug)]
pub(super) struct DelayFilter {
    origin: Instant,
    ours: BaseHistory,
    theirs: BaseHistory,
    recent: Recent,
    drift: DriftGuard,
    /// Smallest round trip of this half of the base history and of the one before: a queue that stands for minutes must
    /// not become the base. Microseconds.
    round_trip: [u32; 2],
    half_since: Instant,
    /// What the peer's samples say.
    reported: u64,
    queueing: u64,
}

/// The last few samples and when they came.
#[derive(Debug, Default)]
struct Recent {
    values: [(Option<u32>, Option<u32>, Option<Instant>); CURRENT_FILTER],
    next: usize,
}

impl Recent {
    fn push(&mut self, now: Instant, delay: Option<u32>, round_trip: Option<u32>) {
        #[expect(clippy::indexing_slicing, reason = "it wraps at the length")]
        let oldest = &mut self.values[self.next];
        *oldest = (delay, round_trip, Some(now));
        self.next = (self.next + 1) % CURRENT_FILTER;
    }

    /// How far the lowest delay and the lowest round trip of those that are not older than `span` are above their
    /// bases; 0 if there is none.
    fn lowest_above(&self, bases: [u32; 2], now: Instant, span: Duration) -> [u64; 2] {
        let young = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) <= span);
        let mut lowest = [None; 2];
        for (delay, round_trip, _) in self.values.iter().filter(|value| young(value.2)) {
            for (value, (base, lowest)) in [delay, round_trip].into_iter().zip(bases.iter().zip(&mut lowest))
            {
                let over = value.map(|value| u64::from(above(value, *base)));
                *lowest = over.into_iter().chain(*lowest).min();
            }
        }
        lowest.map(|value| value.unwrap_or(0))
    }
}

impl DelayFilter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            ours: BaseHistory::default(),
            theirs: BaseHistory::default(),
            recent: Recent::default(),
            drift: DriftGuard::new(now),
            round_trip: [u32::MAX; 2],
            half_since: now,
            reported: 0,
            queueing: 0,
        }
    }

    /// Lowest delay of the history, in the peer's clock frame.
    pub(super) fn base(&self) -> u32 {
        self.ours.lowest()
    }

    /// Takes what an acknowledgement tells; returns the queueing delay in microseconds.
    pub(super) fn update(&mut self, ack: &Ack) -> u64 {
        let now = Time(micros(ack.now.saturating_duration_since(self.origin)));
        if let Some(reverse) = ack.reverse_delay {
            let dropped = self.theirs.update(now, reverse);
            // A base that falls without a change of route is a peer's clock that gains on ours, which
            // makes our delays grow by as much (libutp and libtorrent allow for up to 10 ms).
            if dropped > 0 && dropped <= MAX_SKEW_STEP {
                self.ours.shift(dropped);
            }
        }
        if let Some(sample) = ack.delay {
            self.ours.update(now, sample);
            self.drift.update(ack.now, sample);
        }
        let round_trip = ack.rtt.map(|rtt| rtt.as_micros().min(1 << 30) as u32);
        self.note_round_trip(ack.now, round_trip);
        self.recent.push(ack.now, ack.delay, round_trip);
        // The filter is the minimum of the last few, none older than a round trip or so.
        let span = ack.srtt.max(MIN_FILTER_SPAN);
        let shortest = self.round_trip[0].min(self.round_trip[1]);
        let [delay, all] = self.recent.lowest_above([self.base(), shortest], ack.now, span);
        if ack.delay.is_some() {
            self.reported = delay + self.drift.penalty();
        }
        // No queue can be longer than the round trip that went through it.
        let bound = ack.rtt.unwrap_or(ack.srtt).as_micros() as u64;
        let reported = if bound > 0 { self.reported.min(bound) } else { self.reported };
        // What is left of the queue that round trips show after all that may not be ours. The peer has a part in the
        // measurement of the way back too.
        let back = ack.reverse_delay.map_or(0, |delay| u64::from(above(delay, self.theirs.lowest())));
        let undeniable = all.saturating_sub(back.min(all / 2) + HELD_BACK);
        self.queueing = reported.max(undeniable);
        self.queueing
    }

    fn note_round_trip(&mut self, now: Instant, round_trip: Option<u32>) {
        if now.saturating_duration_since(self.half_since)
            >= Duration::from_micros(MINUTE * BASE_HISTORY as u64 / 2)
        {
            self.round_trip = [u32::MAX, self.round_trip[0]];
            self.half_since = now;
        }
        self.round_trip[0] = self.round_trip[0].min(round_trip.unwrap_or(u32::MAX));
    }
}

/// `delay - base` on the wrapping clock; a delay below the base is no queue.
pub(super) fn above(delay: u32, base: u32) -> u32 {
    match delay.wrapping_sub(base) {
        over if over < 1 << 31 => over,
        _ => 0,
    }
}

/// Minima of the last minutes. Small: every connection may have some.
#[derive(Debug, Default)]
pub(super) struct BaseHistory {
    minutes: [u32; BASE_HISTORY],
    base: u32,
    /// Bit `i`: `minutes[i]` has a value. If none has, `base` has none.
    known: u16,
    index: u8,
    since: Time,
}

impl BaseHistory {
    /// The lowest of all; 0 before the first sample.
    pub(super) fn lowest(&self) -> u32 {
        self.base
    }

    fn values(&self) -> impl Iterator<Item = u32> {
        self.minutes.iter().enumerate().filter(|(i, _)| self.known & 1 << i != 0).map(|(_, &minute)| minute)
    }

    /// Takes a sample, so long after the connection's first moment; returns by how much the base fell.
    pub(super) fn update(&mut self, now: Time, sample: u32) -> u32 {
        let before = (self.known != 0).then_some(self.base);
        let mut turned = false;
        while now.since(self.since) >= MINUTE {
            self.since = self.since.plus(MINUTE);
            self.index = (self.index + 1) % BASE_HISTORY as u8;
            self.known &= !(1 << self.index);
            turned = true;
            if now.since(self.since) > MINUTE * BASE_HISTORY as u64 {
                // Idle for longer than the whole history: all of it is old.
                self.known = 0;
                self.since = now;
            }
        }
        #[expect(clippy::indexing_slicing, reason = "it wraps at the length")]
        let (bit, slot) = (1 << self.index, &mut self.minutes[usize::from(self.index)]);
        *slot = if self.known & bit != 0 { lower(*slot, sample) } else { sample };
        self.known |= bit;
        self.base = if turned {
            self.values().reduce(lower).unwrap_or(sample)
        } else {
            before.map_or(sample, |base| lower(base, sample))
        };
        before.map_or(0, |before| above(before, self.base))
    }

    /// Moves all of it up.
    fn shift(&mut self, by: u32) {
        self.minutes.iter_mut().for_each(|minute| *minute = minute.wrapping_add(by));
        self.base = self.base.wrapping_add(by);
    }
}

/// The earlier one of two values of a wrapping clock.
pub(super) fn lower(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b) < 1 << 31 { b } else { a }
}

/// A peer whose reported delays fall faster than any honest clock drifts is lying to be sent more
/// (libutp: "people trying to cheat uTP"); its samples are raised.
#[derive(Debug)]
struct DriftGuard {
    since: Instant,
    reference: u32,
    sum: i64,
    samples: u32,
    /// Whether an interval is complete, and `reference` therefore its average.
    seen: bool,
    /// Average change per interval in microseconds.
    drift: i64,
}

impl DriftGuard {
    fn new(now: Instant) -> Self {
        Self { since: now, reference: 0, sum: 0, samples: 0, seen: false, drift: 0 }
    }

    fn update(&mut self, now: Instant, sample: u32) {
        if self.samples == 0 && !self.seen {
            self.reference = sample;
        }
        self.sum += i64::from(sample.wrapping_sub(self.reference) as i32);
        self.samples += 1;
        if now.saturating_duration_since(self.since) < DRIFT_INTERVAL {
            return;
        }
        let change = self.sum / i64::from(self.samples);
        if self.seen {
            self.drift = (7 * self.drift + change) / 8;
        }
        // The average becomes the reference: close to the samples, so that differences never wrap.
        self.reference = self.reference.wrapping_add(change as u32);
        self.seen = true;
        self.since = now;
        self.sum = 0;
        self.samples = 0;
    }

    fn penalty(&self) -> u64 {
        ((-self.drift - MAX_DRIFT).max(0) / 7) as u64
    }
}

/// libutp `DELAY_BASE_HISTORY`.
const BASE_HISTORY: usize = 13;

/// Microseconds.
const MINUTE: u64 = 60_000_000;

/// RFC 6817 CURRENT_FILTER; libutp and libtorrent take 3.
const CURRENT_FILTER: usize = 4;

/// Microseconds that round trips may be longer for other reasons: a peer holds acknowledgements back (ours and
/// libutp's 10 ms at most; librqbit's 40 ms, but not those of full packets).
const HELD_BACK: u64 = 10_000;

/// Acknowledgements of a batch come together: on very short paths look back this far at least.
const MIN_FILTER_SPAN: Duration = Duration::from_millis(1);

/// libutp, libtorrent: 10 ms.
const MAX_SKEW_STEP: u32 = 10_000;

/// libutp: averages over 5 s.
const DRIFT_INTERVAL: Duration = Duration::from_secs(5);

/// libutp: 200 ms per interval.
const MAX_DRIFT: i64 = 200_000;
