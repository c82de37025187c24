//! SYN cookies: when half-open connections become too many, the SYN-ACK's number is all that remembers
//! one. It is a keyed hash of who asks, under which id and number, and when; the packet that confirms the
//! connection brings all of that back (`ack_nr` the number, `seq_nr` that of the SYN), so that the
//! connection can be made without anything having been kept.
//!
//! Sixteen bits are what the protocol has room for: a packet with a forged address passes with a
//! probability of 2 or 4 in 65 536, which is that of guessing the number of an entry that was kept.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use super::key::{Key, Keyed};
use crate::time::Time;
use crate::wire::SeqNr;

/// Makes and checks them.
#[derive(Debug)]
pub(crate) struct Cookies {
    hasher: Keyed,
    /// Microseconds: one is good for this long at least, and for twice as long at most.
    period: u64,
    /// When the last one was given out.
    given: Option<Time>,
}

impl Cookies {
    pub(crate) fn new(hasher: Keyed, period: u64) -> Self {
        Self { hasher, period: period.max(1), given: None }
    }

    /// The number to answer a SYN with. Entries of the table have it too, so that a SYN that is repeated
    /// gets the same answer whether there is room for it by then or not.
    pub(crate) fn number(&self, now: Time, key: Key, syn: SeqNr) -> SeqNr {
        self.hash(key, syn, now.0 / self.period)
    }

    /// The number is all that remembers a SYN that was answered now.
    pub(crate) fn note(&mut self, now: Time) {
        self.given = self.given.max(Some(now));
    }

    /// Whether any that was given out may still be good.
    pub(crate) fn are_out(&self, now: Time) -> bool {
        self.given.is_some_and(|at| now.0 / self.period <= at.0 / self.period + 1)
    }

    /// Whether a SYN of this number was answered with `seq`, as far as anybody can tell.
    pub(crate) fn fits(&self, now: Time, key: Key, syn: SeqNr, seq: SeqNr) -> bool {
        let period = now.0 / self.period;
        [Some(period), period.checked_sub(1)].into_iter().flatten().any(|p| self.hash(key, syn, p) == seq)
    }

    fn hash(&self, key: Key, syn: SeqNr, period: u64) -> SeqNr {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        hasher.write_u16(syn.0);
        hasher.write_u64(period);
        SeqNr(hasher.finish() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16, id: u16) -> Key {
        Key::new(std::net::SocketAddr::from(([192, 0, 2, 1], port)), id)
    }

    fn give(cookies: &mut Cookies, now: Time, key: Key, syn: SeqNr) -> SeqNr {
        cookies.note(now);
        cookies.number(now, key, syn)
    }

    #[test]
    fn one_is_good_for_a_period_and_for_two_at_most() {
        let mut cookies = Cookies::new(Keyed::new(1, 2), 1000);
        assert!(!cookies.are_out(Time(0)));
        for start in [0, 1, 500, 999, 1000, 123_456] {
            let seq = give(&mut cookies, Time(start), key(1, 1), SeqNr(7));
            for (age, good) in [(0, true), (1000, true), (2000, false), (1 << 40, false)] {
                assert_eq!(cookies.fits(Time(start + age), key(1, 1), SeqNr(7), seq), good, "{start} {age}");
                assert!(cookies.are_out(Time(start + age)) || !good);
            }
            assert!(!cookies.are_out(Time(start + 2000)));
        }
    }

    #[test]
    fn one_of_65536_guesses_passes_per_period() {
        let mut cookies = Cookies::new(Keyed::new(1, 2), 1000);
        let _ = give(&mut cookies, Time(5000), key(1, 1), SeqNr(7));
        // Under Miri one of 1021 guesses is made: few if any pass.
        let step = if cfg!(miri) { 1_021 } else { 1 };
        let fits = |port, id, syn| {
            (0..=u16::MAX)
                .step_by(step)
                .filter(|&seq| cookies.fits(Time(5000), key(port, id), SeqNr(syn), SeqNr(seq)))
                .count()
        };
        // The present period and the one before.
        let passed = [fits(1, 1, 7), fits(2, 1, 7), fits(1, 2, 7), fits(1, 1, 8)];
        assert!(if cfg!(miri) { passed.iter().all(|&n| n <= 2) } else { passed == [2; 4] }, "{passed:?}");
    }

    #[test]
    fn everything_that_it_stands_for_counts() {
        let mut cookies = Cookies::new(Keyed::new(1, 2), 1000);
        let mut other = Cookies::new(Keyed::new(1, 3), 1000);
        let one = give(&mut cookies, Time(0), key(1, 1), SeqNr(7));
        let others = [
            give(&mut cookies, Time(0), key(2, 1), SeqNr(7)),
            give(&mut cookies, Time(0), key(1, 2), SeqNr(7)),
            give(&mut cookies, Time(0), key(1, 1), SeqNr(8)),
            give(&mut cookies, Time(1000), key(1, 1), SeqNr(7)),
            give(&mut other, Time(0), key(1, 1), SeqNr(7)),
        ];
        assert!(others.iter().all(|seq| *seq != one));
        assert_eq!(give(&mut cookies, Time(999), key(1, 1), SeqNr(7)), one);
    }
}
