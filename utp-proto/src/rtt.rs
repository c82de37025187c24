//! Round-trip time and the retransmission time-out (RFC 6298).

use crate::Config;
use crate::time::{Time, micros, spread};

/// Estimator of one connection. All values in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    srtt: u64,
    rttvar: u64,
    latest: u64,
    /// Smallest sample of this window and of the one before.
    min: [u64; 2],
    min_since: Time,
    /// Times the time-out is doubled.
    backoff: u32,
    /// Time-outs since the last new acknowledgement.
    expired: u32,
    rto_initial: u64,
    rto_min: u64,
    rto_max: u64,
}

impl Rtt {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            srtt: 0,
            rttvar: 0,
            latest: 0,
            min: [u64::MAX; 2],
            min_since: Time::default(),
            backoff: 0,
            expired: 0,
            rto_initial: micros(config.initial_rto),
            rto_min: micros(config.min_rto),
            rto_max: micros(config.max_rto),
        }
    }

    /// Takes a sample of a packet that was sent once only (Karn's rule is the caller's).
    pub(crate) fn sample(&mut self, now: Time, rtt: u64) {
        let rtt = rtt.max(1);
        self.latest = rtt;
        if now.since(self.min_since) >= MIN_WINDOW {
            self.min = [u64::MAX, self.min[0]];
            self.min_since = now;
        }
        self.min[0] = self.min[0].min(rtt);
        if self.srtt == 0 {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
        } else {
            self.rttvar = (3 * self.rttvar + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = (7 * self.srtt + rtt) / 8;
        }
    }

    /// Smoothed; 0 before the first sample.
    pub(crate) fn smoothed(&self) -> u64 {
        self.srtt
    }

    /// What a window is spread over; 0 before the first sample.
    pub(crate) fn spread(&self) -> u64 {
        spread(self.srtt, self.latest)
    }

    pub(crate) fn variation(&self) -> u64 {
        self.rttvar
    }

    /// Smallest of the last [`MIN_WINDOW`] to twice that; 0 before the first sample.
    pub(crate) fn min(&self) -> u64 {
        match self.min[0].min(self.min[1]) {
            u64::MAX => 0,
            min => min,
        }
    }

    /// The larger of the smoothed and the latest sample: what a packet may need now.
    pub(crate) fn current(&self) -> u64 {
        self.srtt.max(self.latest)
    }

    /// Whether there was a sample.
    pub(crate) fn is_known(&self) -> bool {
        self.srtt > 0
    }

    /// The time-out without back-off.
    pub(crate) fn plain_rto(&self) -> u64 {
        match self.srtt {
            0 => self.rto_initial,
            srtt => srtt.saturating_add((4 * self.rttvar).max(GRANULARITY)).max(self.rto_min),
        }
    }

    /// The time-out, backed off.
    pub(crate) fn rto(&self) -> u64 {
        let base = self.plain_rto();
        base.saturating_mul(1 << self.backoff.min(16)).min(self.rto_max.max(base.min(MAX_BASE)))
    }

    /// How long to wait for an acknowledgement before probing the tail of a flight.
    pub(crate) fn probe_timeout(&self) -> u64 {
        self.srtt + (4 * self.rttvar).max(GRANULARITY) + PEER_ACK_DELAY
    }

    /// The same for an acknowledgement that the peer does not mean to hold back: it may be busy, and what was measured
    /// of a path that seems short be luck. A variation that is large allows for that already.
    pub(crate) fn prompt_timeout(&self) -> u64 {
        let late = (2 * self.srtt).clamp(BUSY, PEER_ACK_DELAY);
        let slack = 4 * self.rttvar;
        self.srtt + if slack >= 2 * PEER_ACK_DELAY { slack } else { slack.max(GRANULARITY) + late }
    }

    /// A time-out happened: the next one is twice as long (RFC 6298 5.5).
    pub(crate) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
        self.expired = self.expired.saturating_add(1);
    }

    /// The time-out is the plain one again.
    pub(crate) fn reset_backoff(&mut self) {
        (self.backoff, self.expired) = (0, 0);
    }

    /// New data was acknowledged without a sample: it may be the answer to an earlier transmission, and the time-out
    /// too short for the path. It stays as it is until there is a sample (Karn; RFC 6298 5.7).
    pub(crate) fn acknowledged(&mut self) {
        self.expired = 0;
    }

    /// Time-outs since the last new acknowledgement.
    pub(crate) fn time_outs(&self) -> u32 {
        self.expired
    }
}

/// Clock granularity G of RFC 6298, as RFC 9002 (`kGranularity`).
const GRANULARITY: u64 = 1_000;

/// How long a deployed peer may hold back an acknowledgement: librqbit-utp 40 ms, which its round-trip
/// samples show; libutp and libtorrent none; ours up to 10 ms. Beyond the samples allow some.
const PEER_ACK_DELAY: u64 = 20_000;

/// How late a peer may answer that does not mean to.
const BUSY: u64 = 10_000;

/// The minimum is forgotten after one to two of these: long against queues, short against routes.
const MIN_WINDOW: u64 = 15_000_000;

/// A path slower than any configured maximum must not time out on every packet.
const MAX_BASE: u64 = 120_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_later_samples_follow_rfc_6298() {
        let mut rtt = Rtt::new(&Config::default());
        assert_eq!((rtt.rto(), rtt.is_known()), (1_000_000, false));
        rtt.sample(Time(0), 400_000);
        assert_eq!((rtt.smoothed(), rtt.variation()), (400_000, 200_000));
        assert_eq!(rtt.rto(), 400_000 + 4 * 200_000);
        rtt.sample(Time(1), 200_000);
        assert_eq!((rtt.smoothed(), rtt.variation()), (375_000, 200_000));
        assert_eq!(rtt.min(), 200_000);
    }

    #[test]
    fn one_sample_of_minutes_does_not_spread_a_window_over_minutes() {
        let mut rtt = Rtt::new(&Config::default());
        assert_eq!(rtt.spread(), 0);
        rtt.sample(Time(0), 170_000_000);
        assert_eq!(rtt.spread(), 170_000_000);
        rtt.sample(Time(1), 10_000);
        assert_eq!((rtt.smoothed(), rtt.spread()), (148_751_250, 80_000));
        (0..50).for_each(|n| rtt.sample(Time(n), 20_000));
        assert_eq!(rtt.spread(), 160_000);
        (0..50).for_each(|n| rtt.sample(Time(n), 20_000));
        assert_eq!(rtt.spread(), rtt.smoothed());
    }

    #[test]
    fn back_off_doubles_up_to_the_bound_and_resets() {
        let mut rtt = Rtt::new(&Config::default());
        rtt.sample(Time(0), 10_000);
        assert_eq!(rtt.rto(), 500_000);
        for expected in [1_000_000, 2_000_000, 4_000_000] {
            rtt.back_off();
            assert_eq!(rtt.rto(), expected);
        }
        (0..40).for_each(|_| rtt.back_off());
        assert_eq!(rtt.rto(), 15_000_000);
        rtt.reset_backoff();
        assert_eq!(rtt.rto(), 500_000);
    }

    #[test]
    fn the_minimum_is_forgotten_after_two_windows() {
        let mut rtt = Rtt::new(&Config::default());
        rtt.sample(Time(MIN_WINDOW), 10_000);
        rtt.sample(Time(2 * MIN_WINDOW), 90_000);
        assert_eq!(rtt.min(), 10_000);
        rtt.sample(Time(3 * MIN_WINDOW), 80_000);
        assert_eq!(rtt.min(), 80_000);
    }
}
