//! Capacity from the dispersion of a burst: packets sent together come apart at the bottleneck, and the time
//! between their acknowledgements tells its rate.

use crate::congestion::Ack;
use crate::time::Time;

/// Looks at the first burst of a connection. Acknowledgements of single packets do not count: peers hold them
/// back for a while.
#[derive(Debug, Default)]
pub(super) struct Train {
    first: Option<Car>,
    bytes: u32,
    acks: u8,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Car {
    sent: Time,
    arrived: Time,
    delay: Option<u32>,
}

impl Train {
    /// Takes an acknowledgement; once enough of the burst has arrived, its rate in bytes per second. Gives it
    /// once.
    pub(super) fn on_ack(&mut self, now: Time, sent: Time, ack: &Ack, mss: f64) -> Option<f64> {
        if self.over || (ack.bytes as f64) < 1.5 * mss {
            return None;
        }
        let car = Car { sent, arrived: now, delay: ack.delay };
        let Some(first) = self.first else {
            self.first = Some(car);
            return None;
        };
        if sent.since(first.sent) > TOGETHER {
            self.over = true;
            return None;
        }
        self.bytes = self.bytes.saturating_add(u32::try_from(ack.bytes).unwrap_or(u32::MAX));
        self.acks += 1;
        if self.acks < LEAST_ACKS {
            return None;
        }
        self.over = true;
        self.rate(first, car)
    }

    fn rate(&self, first: Car, last: Car) -> Option<f64> {
        let apart = last.arrived.since(first.arrived);
        // Acknowledgements may have come together again on their way; the peer's clock has seen the packets
        // themselves arrive. The longer of the two is the careful one.
        let sent = last.sent.since(first.sent);
        let seen = match (first.delay, last.delay) {
            (Some(a), Some(b)) if b.wrapping_sub(a) < 1 << 31 => sent + u64::from(b.wrapping_sub(a)),
            _ => 0,
        };
        let apart = apart.max(seen);
        (apart >= LEAST_TIME).then(|| f64::from(self.bytes) * 1e6 / apart as f64)
    }
}

/// Packets sent within so many microseconds are one burst.
const TOGETHER: u64 = 1_000;

/// Acknowledgements after the first one; fewer say nothing, and a burst of ten packets has four.
const LEAST_ACKS: u8 = 3;

/// A burst that arrives within fewer microseconds was delivered by one interrupt: nothing is known of the bottleneck.
const LEAST_TIME: u64 = 50;
