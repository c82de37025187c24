//! Proportional rate reduction (RFC 6937): after a loss, send in proportion to what is delivered, so
//! that the flight shrinks to the new window within a round trip without a pause or a burst.

/// One recovery episode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prr {
    /// Bytes in flight when it began.
    flight: u64,
    delivered: u64,
    sent: u64,
}

impl Prr {
    /// Begins with `flight` bytes in flight before the loss was found, of which the acknowledgement that showed
    /// it reports `delivered`.
    pub(crate) fn new(flight: u64, delivered: u64) -> Self {
        Self { flight: flight.max(1), delivered, sent: 0 }
    }

    pub(crate) fn on_delivered(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Whether a packet may be sent although the flight is above the window: always the first, then
    /// `window / flight` of what was delivered.
    pub(crate) fn allows(&self, window: u64) -> bool {
        self.sent == 0
            || u128::from(self.sent) * u128::from(self.flight)
                < u128::from(self.delivered) * u128::from(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_resend_goes_at_once_and_then_one_for_two() {
        let mut prr = Prr::new(20_000, 0);
        assert!(prr.allows(10_000));
        prr.on_sent(1000);
        let mut sent = 1;
        for _ in 0..19 {
            prr.on_delivered(1000);
            while prr.allows(10_000) {
                prr.on_sent(1000);
                sent += 1;
            }
        }
        assert!((9..=11).contains(&sent), "{sent}");
    }

    #[test]
    fn the_acknowledgement_that_shows_the_loss_counts() {
        // One acknowledgement reports 16 of 20 packets, as a batch does: half as many may go at once.
        let mut prr = Prr::new(20_000, 16_000);
        let mut sent = 0;
        while prr.allows(10_000) {
            prr.on_sent(1000);
            sent += 1;
        }
        assert_eq!(sent, 8);
    }
}
