//! Answers to datagrams that belong to no connection: SYN-ACKs, RESETs, repeated last
//! acknowledgements. A small ring, drained by `poll_transmit`; when it is full the oldest goes, for
//! whoever needed it will ask again.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::time::Time;
use crate::wire::Header;

/// A header without extensions or payload, its timestamp still to be filled in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) to: SocketAddr,
    pub(crate) header: Header,
}

/// The ring, and the limiter of RESETs.
#[derive(Debug)]
pub(crate) struct Replies {
    ring: VecDeque<Reply>,
    /// RESETs that may be sent now, in millionths.
    tokens: u64,
    at: Time,
    per_second: u32,
}

impl Replies {
    pub(crate) fn new(resets_per_second: u32) -> Self {
        Self {
            ring: VecDeque::new(),
            tokens: u64::from(resets_per_second) * 1_000_000,
            at: Time::default(),
            per_second: resets_per_second,
        }
    }

    pub(crate) fn push(&mut self, reply: Reply) {
        if self.ring.len() >= CAPACITY {
            self.ring.pop_front();
        }
        self.ring.push_back(reply);
    }

    pub(crate) fn pop(&mut self) -> Option<Reply> {
        self.ring.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether another RESET may be sent: a token bucket of one second's worth.
    pub(crate) fn reset_allowed(&mut self, now: Time) -> bool {
        let rate = u64::from(self.per_second);
        let earned = now.since(self.at).saturating_mul(rate);
        self.tokens = self.tokens.saturating_add(earned).min(rate * 1_000_000);
        self.at = self.at.max(now);
        let allowed = self.tokens >= 1_000_000;
        if allowed {
            self.tokens -= 1_000_000;
        }
        allowed
    }
}

/// More than arrives in one receive batch; 64 bytes each.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_limited_to_the_rate() {
        let mut replies = Replies::new(10);
        let allowed = (0..10_000u64).filter(|i| replies.reset_allowed(Time(i * 1_000))).count();
        assert!((100..=111).contains(&allowed), "{allowed}");
        let mut none = Replies::new(0);
        assert!(!none.reset_allowed(Time(1 << 40)));
    }
}
