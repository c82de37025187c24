//! When to acknowledge what arrived: at once or after a short wait for company.

use crate::time::Time;

/// What the peer is owed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Acks {
    /// Packets in order since the last acknowledgement.
    pending: u32,
    immediate: bool,
    deadline: Option<Time>,
    /// A second acknowledgement with the other numbering is due (see `transmit.rs`).
    pub(crate) twin: bool,
    /// Window in the last header sent.
    pub(crate) advertised: u32,
}

impl Acks {
    /// A packet arrived in order: every second one is acknowledged at the end of its batch, a single
    /// one after `delay` at the latest.
    pub(crate) fn on_in_order(&mut self, now: Time, delay: u64) {
        self.pending = self.pending.saturating_add(1);
        if self.pending >= EVERY || delay == 0 {
            self.immediate = true;
        } else if self.deadline.is_none() {
            self.deadline = Some(now.plus(delay));
        }
    }

    /// Acknowledge with the next drain.
    pub(crate) fn on_urgent(&mut self) {
        self.immediate = true;
    }

    /// Whether one is due.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.immediate || self.deadline.is_some_and(|at| at <= now)
    }

    /// Whether anything has not been acknowledged yet.
    pub(crate) fn is_owed(&self) -> bool {
        self.immediate || self.deadline.is_some() || self.twin
    }

    /// When one will be due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// A packet with the present `ack_nr` and window went out.
    pub(crate) fn on_sent(&mut self, window: u32) {
        *self = Self { advertised: window, twin: self.twin, ..Self::default() };
    }

    /// A DATA or FIN packet went out: it acknowledges, except that it has no mask.
    pub(crate) fn on_piggyback(&mut self, window: u32, mask_needed: bool) {
        if mask_needed {
            self.advertised = window;
        } else {
            self.on_sent(window);
        }
    }
}

/// One acknowledgement for so many packets at least (RFC 9293 3.8.6.3: every second full segment).
const EVERY: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_owed_until_it_went_whatever_it_is_owed_for() {
        let mut acks = Acks::default();
        assert!(!acks.is_owed());
        // At once, without a wait that was begun.
        acks.on_urgent();
        assert!(acks.is_owed() && acks.is_due(Time(0)) && acks.deadline().is_none());
        acks.on_sent(1_000);
        assert!(!acks.is_owed());
        // For a packet alone, later.
        acks.on_in_order(Time(0), 10);
        assert!(acks.is_owed() && !acks.is_due(Time(9)) && acks.is_due(Time(10)));
        acks.on_piggyback(2_000, true);
        assert!(acks.is_owed(), "DATA has no mask");
        acks.on_piggyback(2_000, false);
        assert!(!acks.is_owed() && acks.advertised == 2_000);
        // The twin of one that went.
        acks.twin = true;
        acks.on_sent(3_000);
        assert!(acks.is_owed() && !acks.is_due(Time(u64::MAX)));
    }
}
