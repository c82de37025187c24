//! Spreads packets over the round trip with a token bucket, so that bursts do not fill queues and do
//! not disturb the delay signal (RFC 9002 7.7 asks for pacing or bounded bursts).

use crate::time::Time;

/// Token bucket of one connection, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pacer {
    tokens: u64,
    at: Time,
    /// Bytes per second; 0: not paced.
    rate: u64,
    burst: u64,
    /// Packets fewer than [`MIN_BURST`] that may always go together...
    fewer: u64,
    /// ...since then.
    since: Time,
}

impl Pacer {
    /// Sets the rate (0: unlimited) and refills. `mss` bounds the burst from below.
    pub(crate) fn set_rate(&mut self, now: Time, rate: u64, mss: usize) {
        self.refill(now);
        let first = self.burst == 0;
        self.rate = rate;
        if self.fewer > 0 && now.since(self.since) >= CALM {
            (self.fewer, self.since) = (self.fewer - 1, now);
        }
        let mss = mss as u64;
        let span = rate.saturating_mul(BURST_MICROS) / 1_000_000 + mss;
        self.burst = span.clamp((MIN_BURST - self.fewer) * mss, MAX_BURST);
        self.tokens = if first { self.burst } else { self.tokens.min(self.burst) };
    }

    /// Packets were lost: perhaps in a queue too short for a burst. Half as many may go together, one at last,
    /// until nothing was lost for a while; as many as ever, if the rate is high. Once per round trip.
    pub(crate) fn on_loss(&mut self, now: Time, round_trip: u64) {
        if self.fewer == 0 || now.since(self.since) >= round_trip {
            (self.fewer, self.since) = ((MIN_BURST + self.fewer) / 2, now);
        }
    }

    /// When `bytes` may be sent; `None`: now.
    pub(crate) fn wait(&self, now: Time, bytes: usize) -> Option<Time> {
        if self.rate == 0 {
            return None;
        }
        let tokens = self.tokens_at(now);
        // A packet goes as soon as there is any credit, so that one larger than the bucket goes too; the
        // debt is paid by the next one waiting for a whole burst's worth of time.
        if tokens >= (bytes as u64).min(self.burst) {
            return None;
        }
        let bytes = bytes as u64;
        let wanted = (self.burst / 2).clamp(bytes, bytes * WAKE_PACKETS).min(self.burst);
        let missing = wanted - tokens.min(bytes);
        Some(now.plus((missing.saturating_mul(1_000_000) / self.rate).max(1)))
    }

    pub(crate) fn on_sent(&mut self, now: Time, bytes: usize) {
        if self.rate > 0 {
            self.refill(now);
            self.tokens = self.tokens.saturating_sub(bytes as u64);
        }
    }

    fn refill(&mut self, now: Time) {
        self.tokens = self.tokens_at(now);
        self.at = self.at.max(now);
    }

    fn tokens_at(&self, now: Time) -> u64 {
        let earned = u128::from(self.rate) * u128::from(now.since(self.at)) / 1_000_000;
        self.tokens.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(self.burst)
    }
}

/// A burst is a packet and what the path carries in this time: long enough for timers of a millisecond to keep
/// up with the rate, short beside any queueing target.
const BURST_MICROS: u64 = 2_000;

/// Packets that may always go together (RFC 9002 7.7: the initial window of ten).
const MIN_BURST: u64 = 10;

/// Microseconds without loss after which one packet more may go in a burst.
const CALM: u64 = 5_000_000;

/// Bytes: a few UDP GSO runs.
const MAX_BURST: u64 = 1 << 20;

/// Wake up for so many packets at a time, and half a burst at most: the other half makes up for late timers.
const WAKE_PACKETS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_bursts_are_bounded() {
        let mut pacer = Pacer::default();
        let rate = 1_000_000;
        pacer.set_rate(Time(0), rate, 1000);
        let (mut now, mut sent, mut burst) = (Time(0), 0u64, 0u64);
        while now < Time(1_000_000) {
            match pacer.wait(now, 1000) {
                None => {
                    pacer.on_sent(now, 1000);
                    sent += 1000;
                    burst += 1000;
                    assert!(burst <= 10_000);
                }
                Some(at) => {
                    assert!(at > now);
                    now = at;
                    burst = 0;
                }
            }
        }
        assert!((990_000..=1_011_000).contains(&sent), "{sent}");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time(0), 0, 1000);
        (0..1000).for_each(|_| pacer.on_sent(Time(0), 1000));
        assert_eq!(pacer.wait(Time(0), 1000), None);
    }

    #[test]
    fn idle_time_earns_one_burst_at_most() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time(0), 1_000_000, 1000);
        let now = Time(60_000_000);
        let mut n = 0;
        while pacer.wait(now, 1000).is_none() {
            pacer.on_sent(now, 1000);
            n += 1;
        }
        assert_eq!(n, 10);
    }

    /// Packets that go together once the bucket is full.
    fn burst(pacer: &mut Pacer, now: Time) -> u32 {
        let mut n = 0;
        while pacer.wait(now, 1000).is_none() {
            pacer.on_sent(now, 1000);
            n += 1;
        }
        n
    }

    #[test]
    fn losses_shorten_bursts_and_calm_makes_them_longer_again() {
        let (mut pacer, mut now) = (Pacer::default(), Time(0));
        let mut bursts = Vec::new();
        for _ in 0..6 {
            pacer.set_rate(now, 50_000, 1000);
            bursts.push(burst(&mut pacer, now));
            pacer.on_loss(now, 100_000);
            pacer.on_loss(now, 100_000);
            pacer.set_rate(now, 50_000, 1000);
            now = now.plus(1_000_000);
        }
        assert_eq!(bursts, [10, 5, 3, 2, 1, 1]);
        now = now.plus(CALM);
        for _ in 0..9 {
            pacer.set_rate(now, 50_000, 1000);
            now = now.plus(CALM);
        }
        assert_eq!(burst(&mut pacer, now), 10);
    }

    #[test]
    fn losses_leave_the_bursts_of_high_rates() {
        let mut pacer = Pacer::default();
        for n in 0..10 {
            pacer.on_loss(Time(n), 0);
        }
        pacer.set_rate(Time(0), 100_000_000, 1000);
        assert_eq!(burst(&mut pacer, Time(1_000_000)), 201, "2 ms of them, and one");
    }
}
