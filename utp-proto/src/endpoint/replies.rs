//! Answers to datagrams that belong to no connection: SYN-ACKs, RESETs, repeated last
//! acknowledgements. A small ring, drained by `poll_transmit`; when it is full the oldest goes, for
//! whoever needed it will ask again.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;

use super::key::Keyed;
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
    resets: Bucket,
    /// Of networks, by (hash of) their prefix; empty until there is one.
    networks: Vec<Bucket>,
    hasher: Keyed,
    per_second: u32,
}

/// A token bucket of one second's worth.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What may be sent at once, in millionths.
    tokens: u64,
    at: Time,
}

impl Bucket {
    fn full(per_second: u32) -> Self {
        Self { tokens: u64::from(per_second) * 1_000_000, at: Time::default() }
    }

    /// Fills up; whether there is one to be taken.
    fn refill(&mut self, now: Time, per_second: u32) -> bool {
        let rate = u64::from(per_second);
        let earned = now.since(self.at).saturating_mul(rate);
        self.tokens = self.tokens.saturating_add(earned).min(rate * 1_000_000);
        self.at = self.at.max(now);
        self.tokens >= 1_000_000
    }

    fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1_000_000);
    }
}

impl Replies {
    pub(crate) fn new(hasher: Keyed, resets_per_second: u32) -> Self {
        Self {
            ring: VecDeque::new(),
            resets: Bucket::full(resets_per_second),
            networks: Vec::new(),
            hasher,
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

    /// Whether another RESET may be sent to this network.
    pub(crate) fn reset_allowed(&mut self, now: Time, network: u64) -> bool {
        let share = self.per_second.div_ceil(NETWORK_SHARE);
        if self.networks.is_empty() {
            self.networks = vec![Bucket::full(share); NETWORKS];
        }
        let index = self.hasher.hash_one(network) as usize % NETWORKS;
        let Some(of_network) = self.networks.get_mut(index) else { return false };
        // Both or neither: one network that is over its limit takes nothing from the others.
        let allowed = of_network.refill(now, share) && self.resets.refill(now, self.per_second);
        if allowed {
            of_network.take();
            self.resets.take();
        }
        allowed
    }
}

/// A network, /24 or /64, gets this part of the RESETs at most.
const NETWORK_SHARE: u32 = 4;

/// Token buckets of networks, 16 bytes each. Networks that share one, which nobody can arrange who does not
/// know the key, share a limit.
const NETWORKS: usize = 256;

/// More than arrives in one receive batch; 64 bytes each.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_limited_to_the_rate() {
        let mut replies = Replies::new(Keyed::new(1, 2), 10);
        let step = if cfg!(miri) { 20 } else { 1 };
        let times = (0..10_000u64).step_by(step);
        let allowed = times.filter(|&i| replies.reset_allowed(Time(i * 1_000), i)).count();
        assert!((100..=111).contains(&allowed), "{allowed}");
        let mut none = Replies::new(Keyed::new(1, 2), 0);
        assert!(!none.reset_allowed(Time(1 << 40), 7));
    }

    #[test]
    fn one_network_gets_a_quarter_and_leaves_the_rest_to_others() {
        let (seconds, step) = if cfg!(miri) { (1, 5) } else { (10, 1) };
        let rate = 25 * seconds as usize;
        let mut replies = Replies::new(Keyed::new(1, 2), 100);
        let times = (0..1_000 * seconds).step_by(step);
        let alone = times.filter(|&i| replies.reset_allowed(Time(i * 1_000), 1)).count();
        assert!((rate..=rate + 26).contains(&alone), "{alone}");
        let mut replies = Replies::new(Keyed::new(1, 2), 100);
        let times = (0..2_000 * seconds).step_by(step);
        let both = times.filter(|&i| replies.reset_allowed(Time(i * 500), i % 2)).count();
        assert!((2 * rate..=2 * rate + 52).contains(&both), "{both}");
    }
}
