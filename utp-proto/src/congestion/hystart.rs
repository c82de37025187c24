//! HyStart++ (RFC 9406): leaves slow start when round-trip times begin to rise, before the queue overflows,
//! by way of a conservative phase that finds out whether the rise was real.
//!
//! Deviations: the constant L (4.3) is infinite, as for any paced sender; a round is told by time of sending
//! instead of by sequence number.

use std::time::Duration;

use super::Ack;
use super::rounds::Rounds;

/// Slow start of one connection, until it is over.
#[derive(Debug)]
pub(super) struct HyStart {
    rounds: Rounds,
    last_min: Option<Duration>,
    current_min: Option<Duration>,
    samples: u32,
    /// Smallest round trip of the round in which the conservative phase began, and rounds since.
    css: Option<(Duration, u32)>,
}

/// What slow start does with an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Grow by so many bytes.
    Grow(u64),
    /// It is over.
    Exit,
}

impl HyStart {
    pub(super) fn new() -> Self {
        Self { rounds: Rounds::default(), last_min: None, current_min: None, samples: 0, css: None }
    }

    pub(super) fn on_ack(&mut self, ack: &Ack) -> Step {
        if self.rounds.on_ack(ack.now, ack.sent) {
            self.last_min = self.current_min.take();
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.css {
                *rounds += 1;
                if *rounds >= CSS_ROUNDS {
                    return Step::Exit;
                }
            }
        }
        if let Some(rtt) = ack.rtt {
            self.current_min = Some(self.current_min.map_or(rtt, |min| min.min(rtt)));
            self.samples += 1;
        }
        if let Some(current) = self.current_min.filter(|_| self.samples >= N_RTT_SAMPLE) {
            match (self.css, self.last_min) {
                (Some((baseline, _)), _) if current < baseline => self.css = None,
                (None, Some(last)) => {
                    let threshold = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                    if current >= last + threshold {
                        self.css = Some((current, 0));
                    }
                }
                _ => {}
            }
        }
        Step::Grow(if self.css.is_some() { ack.bytes / CSS_GROWTH_DIVISOR } else { ack.bytes })
    }
}

// RFC 9406 4.3.
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;
