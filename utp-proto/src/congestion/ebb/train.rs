//! Capacity from the dispersion of a burst: packets sent together come apart at the bottleneck, and the time
//! between their acknowledgements tells its rate.

use std::time::{Duration, Instant};

use crate::congestion::Ack;

/// Looks at the first burst of a connection. Acknowledgements of single packets do not count: peers hold them
/// back for a while.
#[derive(Debug, Default)]
pub(super) struct Train {
    first: Option<Car>,
    last: Option<Car>,
    bytes: u64,
    acks: u32,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Car {
    sent: Instant,
    arrived: Instant,
    delay: Option<u32>,
}

impl Train {
    /// Takes an acknowledgement; once enough of the burst has arrived, its rate in bytes per second. Gives it
    /// once.
    pub(super) fn on_ack(&mut self, ack: &Ack, mss: f64) -> Option<f64> {
        if self.over || (ack.bytes as f64) < 1.5 * mss {
            return None;
        }
        let car = Car { sent: ack.sent, arrived: ack.now, delay: ack.delay };
        let Some(first) = self.first else {
            self.first = Some(car);
            return None;
        };
        if car.sent.saturating_duration_since(first.sent) > TOGETHER {
            self.over = true;
            return None;
        }
        self.bytes += ack.bytes;
        self.acks += 1;
        self.last = Some(car);
        if self.acks < LEAST_ACKS {
            return None;
        }
        self.over = true;
        self.rate()
    }

    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.first?, self.last?);
        let apart = last.arrived.saturating_duration_since(first.arrived);
        // Acknowledgements may have come together again on their way; the peer's clock has seen the packets
        // themselves arrive. The longer of the two is the careful one.
        let sent = last.sent.saturating_duration_since(first.sent);
        let seen = match (first.delay, last.delay) {
            (Some(a), Some(b)) if b.wrapping_sub(a) < 1 << 31 => {
                sent + Duration::from_micros(u64::from(b.wrapping_sub(a)))
            }
            _ => Duration::ZERO,
        };
        let apart = apart.max(seen);
        (apart >= LEAST_TIME).then(|| self.bytes as f64 / apart.as_secs_f64())
    }
}

/// Packets sent within this time are one burst.
const TOGETHER: Duration = Duration::from_millis(1);

/// Acknowledgements after the first one; fewer say nothing, and a burst of ten packets has four.
const LEAST_ACKS: u32 = 3;

/// A burst that arrives within less was delivered by one interrupt: nothing is known of the bottleneck.
const LEAST_TIME: Duration = Duration::from_micros(50);
