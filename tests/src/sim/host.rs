//! A host: an endpoint with a clock of its own, and a kernel between it and the network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use utp_proto::Endpoint;

/// A clock that may run fast or slow.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// Parts per million that it gains.
    ppm: i64,
}

impl Clock {
    pub(crate) fn new(origin: Instant, ppm: i64) -> Self {
        Self { origin, ppm }
    }

    pub(crate) fn local(&self, now: Duration) -> Instant {
        self.origin + self.scale(now)
    }

    /// The first time at which the clock shows `instant` or later.
    pub(crate) fn global(&self, instant: Instant) -> Duration {
        let wanted = instant.saturating_duration_since(self.origin);
        if self.ppm == 0 {
            return wanted;
        }
        let micros = wanted.as_micros() as i128;
        let mut guess = Duration::from_micros((micros * MILLION / (MILLION + i128::from(self.ppm))) as u64);
        while self.scale(guess) < wanted {
            guess += Duration::from_micros(1);
        }
        guess
    }

    /// From now on it shows so much more, or less.
    pub(crate) fn step(&mut self, by: Duration, back: bool) {
        self.origin = if back { self.origin - by } else { self.origin + by };
    }

    fn scale(&self, now: Duration) -> Duration {
        if self.ppm == 0 {
            return now;
        }
        let micros = now.as_micros() as i128;
        Duration::from_micros((micros + micros * i128::from(self.ppm) / MILLION) as u64)
    }
}

/// An endpoint and what is around it.
#[derive(Debug)]
pub struct Host {
    /// The endpoint.
    pub endpoint: Endpoint,
    pub(crate) addr: SocketAddr,
    /// Largest datagram that it was configured to send.
    pub(crate) max_datagram: usize,
    pub(crate) clock: Clock,
    /// Bytes that the kernel takes before it blocks; `None`: any number.
    pub(crate) send_buffer: Option<usize>,
    /// Datagrams handed to the kernel with one call.
    pub(crate) segments: usize,
    /// Something happened to it since it last had nothing to do.
    pub(crate) dirty: bool,
    /// Whether incoming connections are accepted as they come.
    pub(crate) accepts: bool,
    /// What is sent to it is thrown away, and nothing comes from it: it has crashed.
    pub(crate) dead: bool,
    /// The deadline last told.
    pub(crate) deadline: Option<Duration>,
}

const MILLION: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_comes_back_to_the_same_time() {
        let origin = Instant::now();
        for ppm in [-500, -1, 0, 3, 10_000] {
            let clock = Clock::new(origin, ppm);
            for micros in [0, 1, 999_999, 3_600_000_001] {
                let now = Duration::from_micros(micros);
                let back = clock.global(clock.local(now));
                assert!(now.abs_diff(back) <= Duration::from_micros(2), "{ppm} {micros}: {back:?}");
                assert!(clock.local(back) >= clock.local(now));
            }
        }
    }
}
