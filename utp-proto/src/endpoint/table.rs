//! Who a datagram is for: one keyed table from (remote address, connection id) to connections,
//! half-open ones and ended ones whose last acknowledgement may have to be repeated.

// The hasher is keyed from the endpoint's seed, so an attacker cannot choose colliding keys.
#![allow(clippy::disallowed_types)]

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use siphasher::sip::SipHasher13;

use crate::time::Time;
use crate::wire::SeqNr;

/// Remote address and the connection id that we receive on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    ip: [u8; 16],
    scope: u32,
    port: u16,
    pub(crate) id: u16,
    v6: bool,
}

impl Key {
    pub(crate) fn new(remote: SocketAddr, id: u16) -> Self {
        match remote {
            SocketAddr::V4(a) => {
                Self { ip: a.ip().to_ipv6_mapped().octets(), scope: 0, port: a.port(), id, v6: false }
            }
            SocketAddr::V6(a) => {
                Self { ip: a.ip().octets(), scope: a.scope_id(), port: a.port(), id, v6: true }
            }
        }
    }

    /// The same peer, another id.
    pub(crate) fn with_id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// The address, less an IPv6 flow label.
    pub(crate) fn remote(self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_canonical() {
            IpAddr::V4(v4) if !self.v6 => SocketAddrV4::new(v4, self.port).into(),
            _ => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // One write instead of one per field; equal keys have equal bytes here.
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..18].copy_from_slice(&self.port.to_le_bytes());
        bytes[18..].copy_from_slice(&self.id.to_le_bytes());
        state.write(&bytes);
    }
}

/// What a key stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    /// Slot of a connection.
    Connection(u32),
    /// A peer's SYN was answered; nothing has proven yet that the peer got the answer.
    HalfOpen(HalfOpen),
    /// Ended in good order.
    Linger(Linger),
}

/// An incoming connection before its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HalfOpen {
    /// Number of the peer's SYN.
    pub(crate) syn: SeqNr,
    /// Number of our SYN-ACK, the same in every repetition.
    pub(crate) seq: SeqNr,
    /// Tells entries of the same key apart in the expiry queue.
    expires: Time,
}

/// An ended connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linger {
    /// Id that we sent with.
    pub(crate) send_id: u16,
    /// The number after our last.
    pub(crate) next: SeqNr,
    /// The peer's last number, its FIN's; `None` if there is nothing to be acknowledged and the entry
    /// only keeps the id from being used again.
    pub(crate) ack: Option<SeqNr>,
    /// The SYN that the peer opened it with: a late copy of it opens nothing.
    pub(crate) syn: Option<SeqNr>,
    ended: Time,
    /// When it may be forgotten...
    until: Time,
    /// ...and when that is looked at next.
    expires: Time,
}

impl Linger {
    pub(crate) fn new(send_id: u16, next: SeqNr, ack: Option<SeqNr>, syn: Option<SeqNr>) -> Self {
        let none = Time::default();
        Self { send_id, next, ack, syn, ended: none, until: none, expires: none }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    map: HashMap<Key, Entry, Keyed>,
    /// In order of expiry, since all entries of a kind live equally long.
    half_open: VecDeque<(Time, Key)>,
    lingering: VecDeque<(Time, Key)>,
    half_open_count: usize,
    linger_count: usize,
    /// How long ended connections are remembered, in microseconds.
    linger: u64,
}

#[derive(Debug, Clone, Copy)]
struct Keyed(u64, u64);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Table {
    /// `linger`: how long ended connections are remembered, in microseconds.
    pub(crate) fn new(key0: u64, key1: u64, linger: u64) -> Self {
        Self {
            linger,
            map: HashMap::with_hasher(Keyed(key0, key1)),
            half_open: VecDeque::new(),
            lingering: VecDeque::new(),
            half_open_count: 0,
            linger_count: 0,
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        self.map.get(key).copied()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn insert_connection(&mut self, key: Key, slot: u32) {
        self.put(key, Entry::Connection(slot));
    }

    /// Remembers a half-open connection until `expires`.
    pub(crate) fn insert_half_open(&mut self, key: Key, syn: SeqNr, seq: SeqNr, expires: Time) {
        self.put(key, Entry::HalfOpen(HalfOpen { syn, seq, expires }));
        self.half_open_count += 1;
        self.half_open.push_back((expires, key));
        self.compact();
    }

    /// Remembers a connection that ends `now`; times and the rest are filled in.
    pub(crate) fn insert_linger(&mut self, now: Time, key: Key, linger: Linger) {
        let expires = now.plus(self.linger);
        self.put(key, Entry::Linger(Linger { ended: now, until: expires, expires, ..linger }));
        self.linger_count += 1;
        self.lingering.push_back((expires, key));
        self.compact();
        if self.linger_count > MAX_LINGERING
            && let Some(&(at, oldest)) = self.lingering.front()
        {
            self.lingering.pop_front();
            if self.map.get(&oldest).is_some_and(|e| e.lingers_until(at)) {
                self.remove(&oldest);
            }
        }
    }

    /// The peer of an ended connection repeats itself: our answers get lost. Its repetitions double their
    /// distance each time, so that the next two come within four times of what has passed so far.
    pub(crate) fn extend_linger(&mut self, now: Time, key: &Key) {
        if let Some(Entry::Linger(linger)) = self.map.get_mut(key) {
            let patience = (now.since(linger.ended) * 4).min(MAX_LINGER);
            linger.until = linger.until.max(linger.ended.plus(patience));
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let removed = self.map.remove(key);
        self.uncount(removed);
    }

    fn put(&mut self, key: Key, entry: Entry) {
        let replaced = self.map.insert(key, entry);
        self.uncount(replaced);
    }

    fn uncount(&mut self, entry: Option<Entry>) {
        match entry {
            Some(Entry::HalfOpen(_)) => self.half_open_count -= 1,
            Some(Entry::Linger(_)) => self.linger_count -= 1,
            _ => {}
        }
        // Nothing left to expire: nothing to wake up for.
        if self.half_open_count == 0 {
            self.half_open.clear();
        }
        if self.linger_count == 0 {
            self.lingering.clear();
        }
    }

    pub(crate) fn half_open(&self) -> usize {
        self.half_open_count
    }

    pub(crate) fn lingering(&self) -> usize {
        self.linger_count
    }

    /// When the ended connection that was added last expires.
    pub(crate) fn last_linger(&self) -> Option<Time> {
        self.lingering.back().map(|entry| entry.0)
    }

    /// When the next entry expires; may be early.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        [self.half_open.front(), self.lingering.front()].into_iter().flatten().map(|e| e.0).min()
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some(&(at, key)) = self.half_open.front().filter(|e| e.0 <= now) {
            self.half_open.pop_front();
            if self.map.get(&key).is_some_and(|e| e.is_half_open_until(at)) {
                self.remove(&key);
            }
        }
        while let Some(&(at, key)) = self.lingering.front().filter(|e| e.0 <= now) {
            self.lingering.pop_front();
            let again = now.plus(self.linger);
            match self.map.get_mut(&key) {
                Some(Entry::Linger(linger)) if linger.expires == at && linger.until > now => {
                    // Behind all others: the queue stays in order.
                    linger.expires = again;
                    self.lingering.push_back((again, key));
                }
                Some(entry) if entry.lingers_until(at) => self.remove(&key),
                _ => {}
            }
        }
    }

    /// Drops entries of the expiry queues that are stale, once they are the larger part.
    fn compact(&mut self) {
        let map = &self.map;
        if self.half_open.len() > 2 * self.half_open_count + KEEP_STALE {
            self.half_open.retain(|(at, key)| map.get(key).is_some_and(|e| e.is_half_open_until(*at)));
        }
        if self.lingering.len() > 2 * self.linger_count + KEEP_STALE {
            self.lingering.retain(|(at, key)| map.get(key).is_some_and(|e| e.lingers_until(*at)));
        }
    }
}

impl Entry {
    fn is_half_open_until(&self, at: Time) -> bool {
        matches!(self, Self::HalfOpen(h) if h.expires == at)
    }

    fn lingers_until(&self, at: Time) -> bool {
        matches!(self, Self::Linger(l) if l.expires == at)
    }
}

/// Microseconds for which an ended connection is remembered at most, however often the peer repeats
/// itself: what [`Config::give_up_after`](crate::Config::give_up_after) is by default.
const MAX_LINGER: u64 = 60_000_000;

/// Ended connections that are remembered at most; at the bound the oldest is forgotten early.
const MAX_LINGERING: usize = 65_536;

/// Stale entries of an expiry queue that are not worth a clean-up.
const KEEP_STALE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_addresses_and_ids_apart_and_give_the_address_back() {
        let addresses: Vec<SocketAddr> =
            ["127.0.0.1:1", "127.0.0.1:2", "[::ffff:127.0.0.1]:1", "[::1]:1", "[fe80::1%3]:1"]
                .iter()
                .map(|a| a.parse().unwrap())
                .collect();
        for (i, a) in addresses.iter().enumerate() {
            assert_eq!(Key::new(*a, 7).remote(), *a);
            for (j, b) in addresses.iter().enumerate() {
                assert_eq!(Key::new(*a, 7) == Key::new(*b, 7), i == j);
            }
            assert_ne!(Key::new(*a, 7), Key::new(*a, 8));
        }
    }

    #[test]
    fn entries_expire_once_and_only_if_they_are_still_what_they_were() {
        let mut table = Table::new(1, 2, 10);
        let key = |id| Key::new("127.0.0.1:1".parse().unwrap(), id);
        for id in 0..3 {
            table.insert_half_open(key(id), SeqNr(1), SeqNr(2), Time(10));
        }
        table.insert_connection(key(0), 0);
        table.remove(&key(1));
        table.insert_half_open(key(1), SeqNr(1), SeqNr(2), Time(20));
        assert_eq!((table.half_open(), table.next_expiry()), (2, Some(Time(10))));
        table.expire(Time(10));
        assert!(table.contains(&key(0)) && table.contains(&key(1)) && !table.contains(&key(2)));
        table.expire(Time(20));
        assert_eq!((table.half_open(), table.next_expiry()), (0, None));
        table.insert_linger(Time(20), key(5), Linger::new(6, SeqNr(1), None, None));
        assert_eq!(table.lingering(), 1);
        assert_eq!(table.last_linger(), Some(Time(30)));
        table.expire(Time(30));
        assert_eq!(table.lingering(), 0);
        assert_eq!(table.last_linger(), None);
    }

    #[test]
    fn an_ended_connection_is_remembered_longer_while_its_peer_repeats_itself() {
        let mut table = Table::new(1, 2, 10);
        let key = |id| Key::new("127.0.0.1:1".parse().unwrap(), id);
        table.insert_linger(Time(0), key(1), Linger::new(2, SeqNr(1), Some(SeqNr(3)), None));
        table.insert_linger(Time(5), key(2), Linger::new(3, SeqNr(1), Some(SeqNr(3)), None));
        table.extend_linger(Time(8), &key(1));
        table.expire(Time(15));
        assert!(table.contains(&key(1)) && !table.contains(&key(2)));
        table.expire(Time(25));
        assert!(table.contains(&key(1)), "until 32");
        table.expire(Time(35));
        assert!(!table.contains(&key(1)));
        table.insert_linger(Time(40), key(1), Linger::new(2, SeqNr(1), Some(SeqNr(3)), None));
        table.extend_linger(Time(40 + MAX_LINGER), &key(1));
        table.expire(Time(50 + MAX_LINGER));
        assert!(!table.contains(&key(1)), "not for ever");
    }
}
