//! Time inside the core: microseconds since the endpoint's origin, and its two outside faces, the
//! application's [`Instant`] and the 32-bit clock of the wire.

use std::time::{Duration, Instant};

use crate::wire::Timestamp;

/// A point in time: microseconds since the endpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// The point `micros` later.
    pub(crate) const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`; zero if that is later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Microseconds of a duration, as the core counts them.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Translates between the three notions of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    wire_offset: u32,
}

impl Clock {
    /// `wire_offset`: what the wire clock shows at `origin`. Random, so that it tells peers nothing
    /// about when the program started, and so that its wrap is met early in tests.
    pub(crate) const fn new(origin: Instant, wire_offset: u32) -> Self {
        Self { origin, wire_offset }
    }

    /// Instants before the origin count as the origin.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time(micros(instant.saturating_duration_since(self.origin)))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Beyond what an `Instant` can hold, any far future does.
        let far = Duration::from_secs(u64::from(u32::MAX));
        self.origin.checked_add(Duration::from_micros(time.0)).unwrap_or_else(|| self.origin + far)
    }

    /// Never zero: peers read a zero timestamp as "none".
    pub(crate) fn wire(&self, time: Time) -> Timestamp {
        let wire = (time.0 as u32).wrapping_add(self.wire_offset);
        Timestamp(wire.max(1))
    }
}

/// The round trip to spread a window over: the smoothed one, unless the latest is far shorter. After a single sample of
/// minutes (an answer to a host that slept), a packet would go every few minutes until enough of them had been measured.
pub(crate) fn spread(smoothed: u64, latest: u64) -> u64 {
    smoothed.min(latest.saturating_mul(FAR))
}

/// A sample so many times shorter than the smoothed round trip is not its usual variation.
const FAR: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_clock_wraps_and_is_never_zero() {
        let origin = Instant::now_for_tests();
        let clock = Clock::new(origin, u32::MAX);
        assert_eq!(clock.wire(Time(0)), Timestamp(u32::MAX));
        assert_eq!(clock.wire(Time(1)), Timestamp(1));
        assert_eq!(clock.wire(Time(2)), Timestamp(1));
        assert_eq!(clock.wire(Time(1 << 32)), Timestamp(u32::MAX));
    }

    #[test]
    fn instants_round_trip_in_microseconds() {
        let origin = Instant::now_for_tests();
        let clock = Clock::new(origin, 0);
        assert_eq!(clock.time(origin + Duration::from_micros(1234)), Time(1234));
        assert_eq!(clock.instant(Time(1234)), origin + Duration::from_micros(1234));
        assert_eq!(clock.time(origin.checked_sub(Duration::from_secs(1)).unwrap_or(origin)), Time(0));
        assert!(clock.instant(Time(u64::MAX)) > origin);
    }

    trait TestInstant {
        fn now_for_tests() -> Instant;
    }

    impl TestInstant for Instant {
        #[allow(clippy::disallowed_methods)]
        fn now_for_tests() -> Instant {
            Instant::now()
        }
    }
}
