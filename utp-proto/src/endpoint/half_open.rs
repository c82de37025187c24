//! Incoming connections between their SYN and its confirmation. Whoever can send packets with forged
//! addresses fills this table, so an entry is small, all of them together are few, and the entries of one
//! network fewer: what does not fit is answered with a cookie instead (`cookie.rs`).

// The hasher is keyed from the endpoint's seed, so an attacker cannot choose colliding keys.
#![allow(clippy::disallowed_types)]

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use super::key::{Key, Keyed};
use crate::time::Time;
use crate::wire::SeqNr;

/// An incoming connection before its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HalfOpen {
    /// Number of the peer's SYN.
    pub(crate) syn: SeqNr,
    /// Number of our SYN-ACK, the same in every repetition.
    pub(crate) seq: SeqNr,
    /// The low bits of its expiry: tells entries of the same key apart in the queue.
    tag: u32,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct HalfOpens {
    map: HashMap<Key, HalfOpen, Keyed>,
    /// In order of expiry, since all entries live equally long. Entries may be stale.
    queue: VecDeque<(Time, Key)>,
    /// Entries by (hash of) their network; empty until there is one.
    networks: Vec<u16>,
    hasher: Keyed,
    /// Most entries, and most of one network.
    limit: usize,
    limit_per_network: u16,
}

impl HalfOpens {
    pub(crate) fn new(hasher: Keyed, limit: usize) -> Self {
        let limit_per_network = (limit / NETWORK_SHARE).clamp(NETWORK_MIN, usize::from(u16::MAX)) as u16;
        Self {
            map: HashMap::with_hasher(hasher),
            queue: VecDeque::new(),
            networks: Vec::new(),
            hasher,
            limit,
            limit_per_network,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<HalfOpen> {
        self.map.get(key).copied()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.map.contains_key(key)
    }

    /// Whether there is room for another entry of this network.
    pub(crate) fn has_room(&self, key: &Key) -> bool {
        let of_network = self.networks.get(self.network(key)).copied().unwrap_or(0);
        self.map.len() < self.limit && of_network < self.limit_per_network
    }

    /// Remembers a half-open connection until `expires`. If the key is there already, its numbers change and
    /// nothing else.
    pub(crate) fn insert(&mut self, key: Key, syn: SeqNr, seq: SeqNr, expires: Time) {
        if let Some(entry) = self.map.get_mut(&key) {
            (entry.syn, entry.seq) = (syn, seq);
            return;
        }
        self.map.insert(key, HalfOpen { syn, seq, tag: tag(expires) });
        if self.queue.len() == self.queue.capacity() {
            self.queue.reserve_exact(MIN_QUEUE.max(self.queue.len() / 4));
        }
        self.queue.push_back((expires, key));
        if self.networks.is_empty() {
            self.networks = vec![0; NETWORKS];
        }
        let network = self.network(&key);
        if let Some(count) = self.networks.get_mut(network) {
            *count = count.saturating_add(1);
        }
        self.compact();
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if self.map.remove(key).is_none() {
            return;
        }
        let network = self.network(key);
        if let Some(count) = self.networks.get_mut(network) {
            *count = count.saturating_sub(1);
        }
        if self.map.is_empty() {
            // Nothing left to expire: nothing to wake up for, and no memory to keep.
            *self = Self::new(self.hasher, self.limit);
        }
    }

    /// When the next entry expires; may be early.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.queue.front().map(|&(at, _)| at)
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some(&(at, key)) = self.queue.front()
            && at <= now
        {
            self.queue.pop_front();
            if self.map.get(&key).is_some_and(|entry| entry.tag == tag(at)) {
                self.remove(&key);
            }
        }
    }

    /// Drops stale entries of the queue before they are many.
    fn compact(&mut self) {
        let map = &self.map;
        if self.queue.len() > map.len() + map.len() / 4 + KEEP_STALE {
            self.queue.retain(|(at, key)| map.get(key).is_some_and(|entry| entry.tag == tag(*at)));
            self.queue.shrink_to(self.queue.len() + KEEP_STALE);
        }
    }

    fn network(&self, key: &Key) -> usize {
        self.hasher.hash_one(key.network()) as usize % NETWORKS
    }
}

fn tag(expires: Time) -> u32 {
    expires.0 as u32
}

/// Counters of networks. Networks that share one, which nobody can arrange who does not know the key, share a
/// limit.
const NETWORKS: usize = 1024;

/// A network, /24 or /64, gets this part of the table...
const NETWORK_SHARE: usize = 64;

/// ...and so many entries at least. Beyond it peers are answered with cookies, which costs them nothing.
const NETWORK_MIN: usize = 8;

/// Stale entries of the queue that are not worth a clean-up.
const KEEP_STALE: usize = 16;

/// Room of the smallest queue.
const MIN_QUEUE: usize = 4;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn key(n: u32, id: u16) -> Key {
        let [_, a, b, c] = n.to_be_bytes();
        Key::new(SocketAddr::from(([1 + a, b, c, 1], 1)), id)
    }

    #[test]
    fn entries_expire_once_and_only_if_they_are_still_what_they_were() {
        let mut table = HalfOpens::new(Keyed::new(1, 2), 100);
        for id in 0..3 {
            table.insert(key(0, id), SeqNr(1), SeqNr(2), Time(10));
        }
        table.remove(&key(0, 0));
        table.remove(&key(0, 1));
        table.insert(key(0, 1), SeqNr(1), SeqNr(2), Time(20));
        table.insert(key(0, 1), SeqNr(3), SeqNr(4), Time(30));
        assert_eq!((table.len(), table.next_expiry()), (2, Some(Time(10))));
        table.expire(Time(10));
        assert!(!table.contains(&key(0, 2)) && !table.contains(&key(0, 0)));
        let entry = table.get(&key(0, 1)).map(|entry| (entry.syn, entry.seq));
        assert_eq!(entry, Some((SeqNr(3), SeqNr(4))));
        table.expire(Time(20));
        assert_eq!((table.len(), table.next_expiry()), (0, None));
    }

    #[test]
    fn a_network_fills_its_part_and_no_more() {
        // Under Miri a small table, and few more than fit.
        let (limit, share, ids, networks) =
            if cfg!(miri) { (128, NETWORK_MIN, 10, 18) } else { (1024, 16, 200, 200) };
        let mut table = HalfOpens::new(Keyed::new(1, 2), limit);
        let mut fill = |network| {
            let mut taken = 0;
            for id in 0..ids {
                if table.has_room(&key(network, id)) {
                    table.insert(key(network, id), SeqNr(1), SeqNr(2), Time(10));
                    taken += 1;
                }
            }
            taken
        };
        assert_eq!((fill(0), fill(1), fill(0)), (share, share, 0));
        assert_eq!((2..networks).map(fill).sum::<usize>(), limit - 2 * share);
        table.expire(Time(10));
        assert!(table.has_room(&key(0, 0)) && table.networks.is_empty());
    }

    /// The figure of SECURITY.md: with whatever the containers have to spare.
    #[test]
    fn an_entry_takes_at_most_128_bytes() {
        assert_eq!((size_of::<Key>(), size_of::<HalfOpen>(), size_of::<(Time, Key)>()), (24, 8, 32));
        let mut table = HalfOpens::new(Keyed::new(1, 2), 1 << 16);
        let mut most = 0;
        let (entries, least) = if cfg!(miri) { (150, 64) } else { (1u32 << 16, 1024) };
        for n in 0..entries {
            // Every other one confirmed at once, as stale as it gets.
            table.insert(key(n, 1), SeqNr(1), SeqNr(2), Time(10));
            table.insert(key(n, 2), SeqNr(1), SeqNr(2), Time(10));
            table.remove(&key(n, 2));
            // What hashbrown allocates: a power of two of buckets, 7/8 of which may be used, a byte more for
            // each, and a group of 16 bytes.
            let buckets = (table.map.capacity() * 8 / 7).next_power_of_two();
            let bytes = buckets * (size_of::<(Key, HalfOpen)>() + 1)
                + 16
                + table.queue.capacity() * size_of::<(Time, Key)>();
            // The counters are shared by 1024 entries at least.
            if table.len() >= least {
                most = most.max(bytes.div_ceil(table.len()) + NETWORKS * 2 / 1024);
            }
        }
        println!("at most {most} bytes");
        assert!(most <= 128, "{most}");
    }
}
