//! What several controllers need: round trips told apart by time.

use std::time::Instant;

/// Tells when a round trip is over: when something sent after the last one ended is acknowledged. Needs no
/// sequence numbers.
#[derive(Debug)]
pub(super) struct Rounds<T = Instant> {
    since: Option<T>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { since: None }
    }
}

impl<T: PartialOrd> Rounds<T> {
    /// Takes when an acknowledgement arrived and when what it acknowledges was sent; whether a round trip
    /// ended with it.
    pub(super) fn on_ack(&mut self, now: T, sent: T) -> bool {
        if self.since.as_ref().is_some_and(|since| sent < *since) {
            return false;
        }
        self.since.replace(now).is_some()
    }

    /// The next round trip begins with what is sent from now on.
    pub(super) fn restart(&mut self, now: T) {
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_round_ends_when_what_it_sent_comes_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rounds = Rounds::<Instant>::default();
        // Sent every 10 ms, acknowledged 50 ms later.
        let ends: Vec<u64> =
            (0..30).map(|i| 50 + 10 * i).filter(|&now| rounds.on_ack(at(now), at(now - 50))).collect();
        assert_eq!(ends, [100, 150, 200, 250, 300]);
    }
}
