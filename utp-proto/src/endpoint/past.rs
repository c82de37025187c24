//! Which SYNs opened connections that are over: late copies of such a SYN and of the first DATA behind it would
//! open the connection again, since the number of a SYN-ACK is the same for a whole cookie period
//! (`cookie.rs`), and the application would get the beginning of the stream a second time.
//!
//! What is kept of each is a keyed hash of 64 bits, in one set per cookie period. A cookie is good in its own
//! period and in the next one, and a connection ends after it began: what ended in this period or the one
//! before is all that has to be known.

// The hasher is keyed from the endpoint's seed, so an attacker cannot choose colliding keys.
#![allow(clippy::disallowed_types)]

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use super::key::{Key, Keyed};
use crate::time::Time;
use crate::wire::SeqNr;

/// SYNs of connections that have ended.
#[derive(Debug)]
pub(crate) struct Past {
    hasher: Keyed,
    /// Microseconds, as that of the cookies.
    length: u64,
    /// The period that the first set is of; the second one is of the period before.
    period: u64,
    sets: [HashSet<u64, Keyed>; 2],
}

impl Past {
    /// `length`: the cookies' period in microseconds.
    pub(crate) fn new(hasher: Keyed, length: u64) -> Self {
        let sets = [HashSet::with_hasher(hasher), HashSet::with_hasher(hasher)];
        Self { hasher, length: length.max(1), period: 0, sets }
    }

    /// A connection has ended that this SYN had opened.
    pub(crate) fn insert(&mut self, now: Time, key: Key, syn: SeqNr) {
        self.turn(now);
        if self.sets[0].len() < LIMIT {
            self.sets[0].insert(self.hash(key, syn));
        }
    }

    /// Whether a SYN is a late copy.
    pub(crate) fn contains(&mut self, now: Time, key: Key, syn: SeqNr) -> bool {
        self.turn(now);
        let hash = self.hash(key, syn);
        self.sets.iter().any(|set| set.contains(&hash))
    }

    /// Forgets what is too old.
    pub(crate) fn turn(&mut self, now: Time) {
        let period = (now.0 / self.length).max(self.period);
        if period == self.period {
            return;
        }
        let [last, _] = std::mem::replace(&mut self.sets, Self::new(self.hasher, 1).sets);
        if period == self.period + 1 {
            self.sets[1] = last;
        }
        self.period = period;
    }

    fn hash(&self, key: Key, syn: SeqNr) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        hasher.write_u16(syn.0);
        hasher.finish()
    }
}

/// SYNs remembered per period, those of connections that end when there are so many already are not: 1270
/// connections a second, for 45 s. A set is then 0.6 MB (65 536 buckets of 9 bytes, 7/8 of them in use).
/// (Under Miri, a test that fills one must not take an hour.)
const LIMIT: usize = if cfg!(miri) { 112 } else { 57_344 };

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        let [.., a, b, c] = n.to_be_bytes();
        Key::new(std::net::SocketAddr::from(([10, a, b, c], 6881)), 1)
    }

    #[test]
    fn what_has_ended_is_known_for_one_to_two_periods() {
        let mut past = Past::new(Keyed::new(1, 2), 1000);
        for end in [0, 2999, 5000, 7500] {
            past.insert(Time(end), key(1), SeqNr(7));
            for (later, known) in [(0, true), (1000, true), (2000, false)] {
                assert_eq!(past.contains(Time(end + later), key(1), SeqNr(7)), known, "{end} {later}");
                assert!(!past.contains(Time(end + later), key(1), SeqNr(8)));
                assert!(!past.contains(Time(end + later), key(2), SeqNr(7)));
            }
        }
        past.insert(Time(9_500), key(1), SeqNr(7));
        assert!(!past.contains(Time(1 << 40), key(1), SeqNr(7)));
        assert!(past.sets.iter().all(|set| set.capacity() == 0), "nothing is kept");
    }

    #[test]
    fn the_bound_holds_and_costs_the_latest() {
        let mut past = Past::new(Keyed::new(1, 2), 1000);
        for n in 0..LIMIT + LIMIT / 50 {
            past.insert(Time(0), key(n), SeqNr(7));
        }
        assert_eq!((past.sets[0].len(), past.sets[0].capacity()), (LIMIT, LIMIT));
        assert!(past.contains(Time(0), key(0), SeqNr(7)) && !past.contains(Time(0), key(LIMIT), SeqNr(7)));
    }
}
