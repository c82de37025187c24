//! One direction of a link: what it does to datagrams, and what it has done.

use std::collections::VecDeque;
use std::time::Duration;

use super::rng::Random;

/// One direction of a link. All faults are off by default.
#[derive(Debug, Clone)]
pub struct Link {
    /// Bits per second, IP and UDP headers counted; `None`: any number at once.
    pub rate: Option<u64>,
    /// Bytes that may wait for their turn (drop-tail).
    pub queue: usize,
    /// Datagrams that may wait for their turn.
    pub queue_packets: usize,
    /// Propagation.
    pub delay: Duration,
    /// Propagation from these times on instead; ascending.
    pub delay_steps: Vec<(Duration, Duration)>,
    /// Up to this is added to the propagation, order kept.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Loss that comes in bursts.
    pub burst: Option<Burst>,
    /// Probability that a datagram is held back by `reorder_by`, and those behind it are not.
    pub reorder: f64,
    /// See `reorder`.
    pub reorder_by: Duration,
    /// Probability that a datagram arrives twice, the copy within a few milliseconds.
    pub duplicate: f64,
    /// Probability that bits are flipped. The UDP checksum of the receiving host finds that: uTP has none,
    /// so that a corrupted payload that passed it could not be told from a good one by anybody.
    pub corrupt: f64,
    /// Probability that bits of the header are flipped and the checksum holds all the same: of the timestamps, the
    /// window, the version or the id. (In a type or a number that would be another place in the stream, which
    /// nobody could tell from the right one.)
    pub lie: f64,
    /// Probability that something else arrives besides: the datagram truncated, of another version, of a
    /// connection that does not exist, or noise.
    pub garbage: f64,
    /// Largest UDP payload that passes, and from when on.
    pub mtu: Vec<(Duration, usize)>,
    /// Whether the sender is told that a datagram was too big.
    pub tells_mtu: bool,
    /// Whether fragments are dropped, so that nothing larger than the MTU passes in any way.
    pub drops_fragments: bool,
    /// Times without any service.
    pub blackout: Option<Blackout>,
}

/// Gilbert and Elliott's model: a good state without loss of its own, and a bad one.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Probability, per datagram, that a bad time begins.
    pub enter: f64,
    /// Probability, per datagram, that it ends.
    pub leave: f64,
    /// Probability of loss in it.
    pub loss: f64,
}

/// Nothing passes for `down` from `first` on, then again after each `up`.
#[derive(Debug, Clone, Copy)]
pub struct Blackout {
    /// Start of the first one.
    pub first: Duration,
    /// Length of each.
    pub down: Duration,
    /// From the end of one to the start of the next; `None`: there is only one.
    pub up: Option<Duration>,
}

impl Blackout {
    fn covers(&self, now: Duration) -> bool {
        let Some(since) = now.checked_sub(self.first) else { return false };
        let within = match self.up {
            Some(up) => since.as_nanos() % (self.down + up).as_nanos(),
            None => since.as_nanos(),
        };
        within < self.down.as_nanos()
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            rate: None,
            queue: usize::MAX,
            queue_packets: usize::MAX,
            delay: Duration::from_millis(10),
            delay_steps: Vec::new(),
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            duplicate: 0.0,
            corrupt: 0.0,
            lie: 0.0,
            garbage: 0.0,
            mtu: Vec::new(),
            tells_mtu: false,
            drops_fragments: false,
            blackout: None,
        }
    }
}

#[allow(missing_docs)] // the names are those of the fields
impl Link {
    /// A link of this many bits per second and propagation, with a queue of one bandwidth-delay product of
    /// the round trip, 64 KiB at least.
    #[must_use]
    pub fn new(rate: u64, delay: Duration) -> Self {
        let bdp = rate as f64 / 8.0 * 2.0 * delay.as_secs_f64();
        Self { rate: Some(rate), queue: (bdp as usize).max(64 << 10), delay, ..Self::default() }
    }

    /// No limit of rate.
    #[must_use]
    pub fn wire(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    #[must_use]
    pub fn queue(self, queue: usize) -> Self {
        Self { queue, ..self }
    }

    #[must_use]
    pub fn queue_packets(self, queue_packets: usize) -> Self {
        Self { queue_packets, ..self }
    }

    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    #[must_use]
    pub fn burst(self, enter: f64, leave: f64, loss: f64) -> Self {
        Self { burst: Some(Burst { enter, leave, loss }), ..self }
    }

    #[must_use]
    pub fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    #[must_use]
    pub fn reorder(self, reorder: f64, reorder_by: Duration) -> Self {
        Self { reorder, reorder_by, ..self }
    }

    #[must_use]
    pub fn duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    #[must_use]
    pub fn corrupt(self, corrupt: f64) -> Self {
        Self { corrupt, ..self }
    }

    #[must_use]
    pub fn lie(self, lie: f64) -> Self {
        Self { lie, ..self }
    }

    #[must_use]
    pub fn garbage(self, garbage: f64) -> Self {
        Self { garbage, ..self }
    }

    #[must_use]
    pub fn mtu(self, mtu: usize) -> Self {
        self.mtu_from(Duration::ZERO, mtu)
    }

    #[must_use]
    pub fn mtu_from(mut self, from: Duration, mtu: usize) -> Self {
        self.mtu.push((from, mtu));
        self
    }

    #[must_use]
    pub fn blackout(self, first: Duration, down: Duration, up: Option<Duration>) -> Self {
        Self { blackout: Some(Blackout { first, down, up }), ..self }
    }

    /// The same link without faults: rate, queue and delay only.
    #[must_use]
    pub fn healed(&self) -> Self {
        let Self { rate, queue, queue_packets, delay, .. } = *self;
        Self { rate, queue, queue_packets, delay, ..Self::default() }
    }
}

/// What one direction of a link has done.
#[derive(Debug, Clone, Default)]
pub struct LinkStats {
    /// Datagrams that came.
    pub offered: u64,
    /// Datagrams that left, copies not counted.
    pub passed: u64,
    /// Bytes that left, IP and UDP headers counted.
    pub bytes: u64,
    /// Dropped because the queue was full.
    pub overflows: u64,
    /// Lost at random, corrupted, or in a blackout.
    pub losses: u64,
    /// Dropped because they were too big.
    pub too_big: u64,
    /// Passed as fragments.
    pub fragmented: u64,
    /// How long each datagram that left waited for its turn, in microseconds.
    pub waits: Waits,
}

/// Queueing delays: a histogram in steps of a sixteenth of a power of two.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
    max: u64,
}

impl Waits {
    fn add(&mut self, micros: u64) {
        let index = Self::index(micros);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
        self.sum += micros;
        self.max = self.max.max(micros);
    }

    fn index(micros: u64) -> usize {
        match micros {
            0..16 => micros as usize,
            _ => {
                let power = micros.ilog2();
                (16 * (power - 3)) as usize + ((micros >> (power - 4)) & 15) as usize
            }
        }
    }

    /// Adds those of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum / self.total.max(1))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The wait that this part of all datagrams did not exceed, to within 6 %.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(match index {
                    0..16 => index as u64,
                    _ => (16 + index as u64 % 16) << (index / 16 - 1),
                });
            }
        }
        self.max()
    }
}

/// What becomes of a datagram on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Arrives then; a copy of it too, perhaps.
    Passed(Duration, Option<Duration>),
    Overflow,
    Lost,
    Corrupted,
    TooBig(usize),
    Blackout,
}

/// A link at work.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) link: Link,
    pub(crate) stats: LinkStats,
    rng: Random,
    busy_until: Duration,
    /// When each datagram that waits or is being sent will have left, and its size.
    leaving: VecDeque<(Duration, usize)>,
    queued: usize,
    last_arrival: Duration,
    in_burst: bool,
}

impl Channel {
    pub(crate) fn new(link: Link, rng: Random) -> Self {
        Self {
            link,
            stats: LinkStats::default(),
            rng,
            busy_until: Duration::ZERO,
            leaving: VecDeque::new(),
            queued: 0,
            last_arrival: Duration::ZERO,
            in_burst: false,
        }
    }

    /// Takes a datagram of `len` bytes of UDP payload.
    pub(crate) fn pass(&mut self, now: Duration, len: usize, may_fragment: bool) -> Fate {
        self.stats.offered += 1;
        let mtu =
            self.link.mtu.iter().rev().find(|(from, _)| *from <= now).map_or(usize::MAX, |(_, mtu)| *mtu);
        if len > mtu {
            if !may_fragment || self.link.drops_fragments {
                self.stats.too_big += 1;
                return Fate::TooBig(mtu);
            }
            self.stats.fragmented += 1;
        }
        let size = len + HEADERS;
        let Some(left) = self.transmit(now, size) else {
            self.stats.overflows += 1;
            return Fate::Overflow;
        };
        let lost = if self.link.blackout.is_some_and(|b| b.covers(now)) {
            Some(Fate::Blackout)
        } else if self.is_lost() {
            Some(Fate::Lost)
        } else if self.rng.chance(self.link.corrupt) {
            Some(Fate::Corrupted)
        } else {
            None
        };
        if let Some(fate) = lost {
            self.stats.losses += 1;
            return fate;
        }
        self.stats.passed += 1;
        self.stats.bytes += size as u64;
        let arrival = self.arrival(now, left);
        let copy = self.rng.chance(self.link.duplicate);
        Fate::Passed(arrival, copy.then(|| arrival + self.rng.duration(COPY_WITHIN)))
    }

    /// When a datagram has left the queue, unless that is full.
    fn transmit(&mut self, now: Duration, size: usize) -> Option<Duration> {
        let Some(rate) = self.link.rate else {
            self.stats.waits.add(0);
            return Some(now);
        };
        self.drain(now);
        if self.queued + size > self.link.queue || self.leaving.len() > self.link.queue_packets {
            return None;
        }
        let start = self.busy_until.max(now);
        self.stats.waits.add((start - now).as_micros() as u64);
        let left = start + Duration::from_nanos((size as u64 * 8).saturating_mul(1_000_000_000) / rate);
        self.busy_until = left;
        self.leaving.push_back((left, size));
        self.queued += size;
        Some(left)
    }

    fn drain(&mut self, now: Duration) {
        while let Some(&(left, size)) = self.leaving.front()
            && left <= now
        {
            self.leaving.pop_front();
            self.queued -= size;
        }
    }

    /// Bytes that wait.
    pub(crate) fn backlog(&mut self, now: Duration) -> usize {
        self.drain(now);
        self.queued
    }

    /// When the next waiting datagram will have left.
    pub(crate) fn next_departure(&self) -> Option<Duration> {
        self.leaving.front().map(|(left, _)| *left)
    }

    fn is_lost(&mut self) -> bool {
        let Some(burst) = self.link.burst else { return self.rng.chance(self.link.loss) };
        let turn = if self.in_burst { burst.leave } else { burst.enter };
        self.in_burst ^= self.rng.chance(turn);
        let loss = if self.in_burst { burst.loss } else { self.link.loss };
        self.rng.chance(loss)
    }

    fn arrival(&mut self, now: Duration, left: Duration) -> Duration {
        let steps = &self.link.delay_steps;
        let delay =
            steps.iter().rev().find(|(from, _)| *from <= now).map_or(self.link.delay, |(_, delay)| *delay);
        let mut arrival = left + delay;
        if !self.link.jitter.is_zero() {
            arrival += self.rng.duration(self.link.jitter);
        }
        if self.rng.chance(self.link.reorder) {
            return arrival + self.link.reorder_by;
        }
        // A shorter path may overtake (a step of the delay), jitter may not.
        if !self.link.jitter.is_zero() {
            arrival = arrival.max(self.last_arrival);
            self.last_arrival = arrival;
        }
        arrival
    }

    /// Flips bits of the header, perhaps.
    pub(crate) fn lie(&mut self, datagram: &mut [u8]) {
        if datagram.len() < 20 || !self.rng.chance(self.link.lie) {
            return;
        }
        let at = match self.rng.range(0..=9) {
            0 => return datagram[0] ^= 0x02, // version 3
            // Of a connection that does not exist, but a RESET or a SYN of that: see below.
            1 if datagram[0] >> 4 < 3 => return datagram[2] ^= 0x80,
            field => 4 + (field % 3) * 4 + self.rng.range(0..=3), // both timestamps and the window
        };
        datagram[at as usize] ^= 1 << self.rng.range(0..=7);
    }

    /// What else arrives, made from a datagram that passes.
    pub(crate) fn garbage(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        // Not from a RESET: one that answers garbage would come back with the id that was meant.
        if !self.rng.chance(self.link.garbage) || datagram.len() < 20 || datagram[0] >> 4 == 3 {
            return None;
        }
        let mut data = datagram.to_vec();
        match self.rng.range(0..=3) {
            0 => data.truncate(self.rng.range(0..=19) as usize),
            1 => data[0] ^= 1 << self.rng.range(0..=2), // version 0, 3 or 5
            // Of a connection that does not exist: far from the ids of any that does. (A SYN would open one.)
            2 if data[0] >> 4 != 4 => data[2] ^= 0x80,
            _ => data.iter_mut().for_each(|byte| *byte = 0xf0 | self.rng.bits() as u8),
        }
        Some(data)
    }
}

/// IPv4 and UDP.
const HEADERS: usize = 28;

/// A copy comes so much later at most.
const COPY_WITHIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(link: Link) -> Channel {
        Channel::new(link, Random::new(1, 1))
    }

    #[test]
    fn datagrams_leave_at_the_rate_and_the_queue_is_bounded() {
        let mut channel = channel(Link::new(8_000_000, Duration::from_millis(5)).queue(10_280));
        let fates: Vec<_> = (0..12).map(|_| channel.pass(Duration::ZERO, 1000, false)).collect();
        for (i, fate) in fates.iter().enumerate() {
            let expected = Duration::from_micros(5_000 + 1_028 * (i as u64 + 1));
            match fate {
                Fate::Passed(at, None) => assert_eq!(*at, expected),
                other => assert!(i >= 10 && *other == Fate::Overflow, "{i}: {other:?}"),
            }
        }
        assert_eq!(channel.stats.overflows, 2);
        assert_eq!(channel.stats.waits.max(), Duration::from_micros(9 * 1_028));
        assert_eq!(channel.backlog(Duration::from_micros(1_028)), 9 * 1_028);
        assert!(matches!(channel.pass(Duration::from_secs(1), 1000, false), Fate::Passed(..)));
    }

    #[test]
    fn loss_is_as_frequent_as_asked_for() {
        let mut plain = channel(Link::default().loss(0.1));
        let mut bursts = channel(Link::default().burst(0.01, 0.25, 0.5));
        for _ in 0..100_000 {
            plain.pass(Duration::ZERO, 100, false);
            bursts.pass(Duration::ZERO, 100, false);
        }
        assert!((9_500..10_500).contains(&plain.stats.losses), "{}", plain.stats.losses);
        // 0.01 / (0.01 + 0.25) of the time is bad, and half of that is lost.
        assert!((1_600..2_300).contains(&bursts.stats.losses), "{}", bursts.stats.losses);
    }

    #[test]
    fn blackouts_come_and_go() {
        let seconds = Duration::from_secs;
        let blackout = Blackout { first: seconds(10), down: seconds(2), up: Some(seconds(5)) };
        for (at, dark) in
            [(9, false), (10, true), (11, true), (12, false), (16, false), (17, true), (19, false)]
        {
            assert_eq!(blackout.covers(seconds(at)), dark, "{at}");
        }
    }

    #[test]
    fn what_is_too_big_passes_in_fragments_only() {
        let mut channel = channel(Link::default().mtu(1200));
        assert_eq!(channel.pass(Duration::ZERO, 1201, false), Fate::TooBig(1200));
        assert!(matches!(channel.pass(Duration::ZERO, 1200, false), Fate::Passed(..)));
        assert!(matches!(channel.pass(Duration::ZERO, 1201, true), Fate::Passed(..)));
        assert_eq!(channel.stats.fragmented, 1);
    }

    #[test]
    fn quantiles_are_close() {
        let mut waits = Waits::default();
        (1..=10_000u64).for_each(|micros| waits.add(micros));
        let close = |got: Duration, want: f64| (got.as_micros() as f64 / want - 1.0).abs() < 0.07;
        assert!(close(waits.quantile(0.5), 5_000.0) && close(waits.quantile(0.95), 9_500.0));
        assert_eq!(waits.mean(), Duration::from_micros(5_000));
    }
}
