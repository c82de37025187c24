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
}

impl Pacer {
    /// Sets the rate (0: unlimited) and refills. `mss` bounds the burst from below.
    pub(crate) fn set_rate(&mut self, now: Time, rate: u64, mss: usize) {
        self.refill(now);
        let first = self.burst == 0;
        self.rate = rate;
        let span = rate.saturating_mul(BURST_MICROS) / 1_000_000;
        self.burst = span.clamp(MIN_BURST * mss as u64, MAX_BURST);
        self.tokens = if first { self.burst } else { self.tokens.min(self.burst) };
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
        let missing = self.burst.min(bytes as u64 * WAKE_PACKETS) - tokens.min(bytes as u64);
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

/// A burst is what the path carries in this time: long enough for timers of a millisecond to keep up
/// with the rate, short beside any queueing target.
const BURST_MICROS: u64 = 2_000;

/// Packets that may always go together (RFC 9002 7.7: the initial window of ten).
const MIN_BURST: u64 = 10;

/// Bytes: a few UDP GSO runs.
const MAX_BURST: u64 = 1 << 20;

/// Wake up for so many packets at a time.
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
}
