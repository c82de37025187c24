//! Who a datagram is for: one keyed table from (remote address, connection id) to connections,
//! half-open ones and ended ones whose last acknowledgement may have to be repeated.

// The hasher is keyed from the endpoint's seed, so an attacker cannot choose colliding keys.
#![allow(clippy::disallowed_types)]

use std::collections::{HashMap, VecDeque};

use super::half_open::{HalfOpen, HalfOpens};
use super::key::{Key, Keyed};
use crate::time::Time;
use crate::wire::SeqNr;

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
    /// Connections and ended ones.
    map: HashMap<Key, Entry, Keyed>,
    half_open: HalfOpens,
    /// In order of expiry, since all entries live equally long.
    lingering: VecDeque<(Time, Key)>,
    linger_count: usize,
    /// How long ended connections are remembered, in microseconds.
    linger: u64,
}

impl Table {
    /// `linger`: how long ended connections are remembered, in microseconds. `half_open`: how many half-open
    /// ones at most.
    pub(crate) fn new(hasher: Keyed, linger: u64, half_open: usize) -> Self {
        Self {
            linger,
            map: HashMap::with_hasher(hasher),
            half_open: HalfOpens::new(hasher, half_open),
            lingering: VecDeque::new(),
            linger_count: 0,
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        self.map.get(key).copied().or_else(|| self.half_open.get(key).map(Entry::HalfOpen))
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.map.contains_key(key) || self.half_open.contains(key)
    }

    pub(crate) fn insert_connection(&mut self, key: Key, slot: u32) {
        self.half_open.remove(&key);
        self.put(key, Entry::Connection(slot));
    }

    /// Whether another half-open connection of this peer's network would be remembered.
    pub(crate) fn has_room(&self, key: &Key) -> bool {
        self.half_open.has_room(key)
    }

    /// Remembers a half-open connection until `expires`, or other numbers for one that is there.
    pub(crate) fn insert_half_open(&mut self, key: Key, syn: SeqNr, seq: SeqNr, expires: Time) {
        let replaced = self.map.remove(&key);
        self.uncount(replaced);
        self.half_open.insert(key, syn, seq, expires);
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
        self.half_open.remove(key);
    }

    fn put(&mut self, key: Key, entry: Entry) {
        let replaced = self.map.insert(key, entry);
        self.uncount(replaced);
    }

    fn uncount(&mut self, entry: Option<Entry>) {
        self.linger_count -= usize::from(matches!(entry, Some(Entry::Linger(_))));
        // Nothing left to expire: nothing to wake up for.
        if self.linger_count == 0 {
            self.lingering.clear();
        }
    }

    pub(crate) fn half_open(&self) -> usize {
        self.half_open.len()
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
        let lingering = self.lingering.front().map(|&(at, _)| at);
        [self.half_open.next_expiry(), lingering].into_iter().flatten().min()
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Time) {
        self.half_open.expire(now);
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

    /// Drops entries of the expiry queue that are stale, once they are the larger part.
    fn compact(&mut self) {
        let map = &self.map;
        if self.lingering.len() > 2 * self.linger_count + KEEP_STALE {
            self.lingering.retain(|(at, key)| map.get(key).is_some_and(|e| e.lingers_until(*at)));
        }
    }
}

impl Entry {
    fn lingers_until(&self, at: Time) -> bool {
        matches!(self, Self::Linger(l) if l.expires == at)
    }
}

/// Microseconds for which an ended connection is remembered at most, however often the peer repeats
/// itself: what [`Config::give_up_after`](crate::Config::give_up_after) is by default.
const MAX_LINGER: u64 = 60_000_000;

/// Ended connections that are remembered at most; at the bound the oldest is forgotten early.
const MAX_LINGERING: usize = 65_536;

/// Stale entries of the expiry queue that are not worth a clean-up.
const KEEP_STALE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(Keyed::new(1, 2), 10, 100)
    }

    #[test]
    fn a_key_stands_for_one_thing_at_a_time() {
        let mut table = table();
        let key = |id| Key::new("127.0.0.1:1".parse().unwrap(), id);
        for id in 0..3 {
            table.insert_half_open(key(id), SeqNr(1), SeqNr(2), Time(10));
        }
        table.insert_connection(key(0), 0);
        table.remove(&key(1));
        assert!(!table.contains(&key(1)));
        table.insert_linger(Time(5), key(1), Linger::new(6, SeqNr(1), None, None));
        assert_eq!((table.half_open(), table.lingering()), (1, 1));
        table.insert_half_open(key(1), SeqNr(1), SeqNr(2), Time(20));
        assert_eq!((table.half_open(), table.lingering(), table.next_expiry()), (2, 0, Some(Time(10))));
        table.expire(Time(20));
        assert!(table.contains(&key(0)) && !table.contains(&key(1)) && !table.contains(&key(2)));
        table.insert_linger(Time(20), key(5), Linger::new(6, SeqNr(1), None, None));
        assert_eq!(table.lingering(), 1);
        assert_eq!(table.last_linger(), Some(Time(30)));
        table.expire(Time(30));
        assert_eq!((table.lingering(), table.next_expiry(), table.last_linger()), (0, None, None));
    }

    #[test]
    fn an_ended_connection_is_remembered_longer_while_its_peer_repeats_itself() {
        let mut table = table();
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
