//! What the relay does to datagrams: a seeded choice for each, so that the n-th datagram of a
//! direction meets the same fate in every run with the same seed.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Which way a datagram crosses the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer that dialled to the one that accepted.
    Forth,
    /// From the peer that accepted to the one that dialled.
    Back,
}

/// The faults of a path, the same in both directions. Probabilities from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Seed of all choices.
    pub seed: u64,
    /// Chance that a datagram is dropped.
    pub loss: f64,
    /// Chance that a datagram is overtaken by 1 to 8 later ones.
    pub reorder: f64,
    /// Chance that a datagram arrives a second time, behind 1 to 8 later ones.
    pub duplicate: f64,
    /// So many datagrams of each direction pass untouched first. What a peer does when its very first
    /// packets are lost is tested by name (`drop_exactly`), not by luck: some never connect.
    pub grace: u64,
    /// Drop these datagrams, counted from 0 in their direction, whatever else is set.
    pub drop_exactly: Vec<(Direction, u64)>,
}

impl Faults {
    /// A path without faults.
    #[must_use]
    pub fn none(seed: u64) -> Self {
        Self { seed, loss: 0.0, reorder: 0.0, duplicate: 0.0, grace: 2, drop_exactly: Vec::new() }
    }

    /// Independent loss of each datagram.
    #[must_use]
    pub fn loss(seed: u64, loss: f64) -> Self {
        Self { loss, ..Self::none(seed) }
    }

    /// 3 % reordered, 3 % duplicated, nothing lost.
    #[must_use]
    pub fn disorder(seed: u64) -> Self {
        Self { reorder: 0.03, duplicate: 0.03, ..Self::none(seed) }
    }

    /// Everything at once: the given loss, 2 % reordered, 2 % duplicated.
    #[must_use]
    pub fn mixed(seed: u64, loss: f64) -> Self {
        Self { loss, reorder: 0.02, duplicate: 0.02, ..Self::none(seed) }
    }

    /// Nothing but the loss of these datagrams.
    #[must_use]
    pub fn exactly(seed: u64, drops: &[(Direction, u64)]) -> Self {
        Self { grace: u64::MAX, drop_exactly: drops.to_vec(), ..Self::none(seed) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.drop_exactly.is_empty() {
            return write!(f, "loses {:?}", self.drop_exactly);
        }
        write!(f, "loss {} %", self.loss * 100.0)?;
        if self.reorder > 0.0 || self.duplicate > 0.0 {
            write!(f, ", reordered {} %, duplicated {} %", self.reorder * 100.0, self.duplicate * 100.0)?;
        }
        Ok(())
    }
}

/// What becomes of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Goes on at once.
    Passed,
    /// Goes nowhere.
    Dropped,
    /// Goes on behind later ones.
    Delayed,
    /// Goes on at once and once more behind later ones.
    Doubled,
}

/// One direction of the relay: decides fates and keeps what is held back.
#[derive(Debug)]
pub struct Lane {
    faults: Faults,
    direction: Direction,
    rng: ChaCha8Rng,
    seen: u64,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    /// Goes on after the datagram of this number...
    after: u64,
    /// ...or at this time, so that the last datagrams of a flight do not wait for ever.
    due: Instant,
    data: Vec<u8>,
}

impl Lane {
    /// The lane of `direction` under `faults`.
    #[must_use]
    pub fn new(faults: Faults, direction: Direction) -> Self {
        let salt = match direction {
            Direction::Forth => 0x464f_5254,
            Direction::Back => 0x4241_434b,
        };
        let rng = ChaCha8Rng::seed_from_u64(faults.seed ^ salt);
        Self { faults, direction, rng, seen: 0, held: VecDeque::new() }
    }

    /// Decides about the next datagram and passes on, to `forward`, whatever is due then: the datagram
    /// itself, and held ones that enough others have overtaken.
    pub fn push(&mut self, now: Instant, data: &[u8], mut forward: impl FnMut(&[u8])) -> Fate {
        let number = self.seen;
        self.seen += 1;
        let (fate, distance) = self.choose(number);
        if matches!(fate, Fate::Passed | Fate::Doubled) {
            forward(data);
        }
        if matches!(fate, Fate::Delayed | Fate::Doubled) {
            self.held.push_back(Held { after: number + distance, due: now + HOLD, data: data.to_vec() });
        }
        self.held.retain(|held| {
            let due = held.after <= number;
            if due {
                forward(&held.data);
            }
            !due
        });
        fate
    }

    /// Passes on what has waited long enough.
    pub fn release(&mut self, now: Instant, mut forward: impl FnMut(&[u8])) {
        self.held.retain(|held| {
            let due = held.due <= now;
            if due {
                forward(&held.data);
            }
            !due
        });
    }

    /// When [`release`](Self::release) has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.due).min()
    }

    /// Draws the same number of times for each datagram, so that a fate depends on nothing but the seed
    /// and the number.
    fn choose(&mut self, number: u64) -> (Fate, u64) {
        let [loss, reorder, duplicate] = [(); 3].map(|()| self.rng.next_u32());
        let distance = 1 + u64::from(self.rng.next_u32() % 8);
        let fate = if self.faults.drop_exactly.contains(&(self.direction, number)) {
            Fate::Dropped
        } else if number < self.faults.grace {
            Fate::Passed
        } else if hits(loss, self.faults.loss) {
            Fate::Dropped
        } else if hits(reorder, self.faults.reorder) {
            Fate::Delayed
        } else if hits(duplicate, self.faults.duplicate) {
            Fate::Doubled
        } else {
            Fate::Passed
        };
        (fate, distance)
    }
}

fn hits(draw: u32, probability: f64) -> bool {
    f64::from(draw) < probability * (f64::from(u32::MAX) + 1.0)
}

const HOLD: Duration = Duration::from_millis(10); // well below every peer's RTO (librqbit's 200 ms is the lowest)

#[cfg(test)]
mod tests {
    use super::*;

    fn run(faults: &Faults, count: u16) -> (Vec<u16>, Vec<Fate>) {
        let now = Instant::now();
        let mut lane = Lane::new(faults.clone(), Direction::Forth);
        let mut out = Vec::new();
        let mut take = |d: &[u8]| out.push(u16::from_be_bytes([d[0], d[1]]));
        let fates = (0..count).map(|i| lane.push(now, &i.to_be_bytes(), &mut take)).collect();
        lane.release(now + HOLD, &mut take);
        assert_eq!(lane.deadline(), None);
        (out, fates)
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let faults = Faults::mixed(3, 0.1);
        assert_eq!(run(&faults, 2_000), run(&faults, 2_000));
        assert_ne!(run(&faults, 2_000).1, run(&Faults::mixed(4, 0.1), 2_000).1);
    }

    #[test]
    fn rates_are_what_was_asked_for() {
        let (out, fates) = run(&Faults { reorder: 0.05, duplicate: 0.05, ..Faults::loss(1, 0.1) }, 20_000);
        let count = |fate| fates.iter().filter(|&&f| f == fate).count();
        assert!((1_800..2_200).contains(&count(Fate::Dropped)), "{}", count(Fate::Dropped));
        assert!((750..1_050).contains(&count(Fate::Delayed)), "{}", count(Fate::Delayed));
        assert!((700..1_000).contains(&count(Fate::Doubled)), "{}", count(Fate::Doubled));
        assert_eq!(out.len(), 20_000 - count(Fate::Dropped) + count(Fate::Doubled));
    }

    #[test]
    fn reordering_displaces_by_at_most_eight_and_loses_nothing() {
        let (out, _) = run(&Faults { reorder: 0.2, ..Faults::none(5) }, 5_000);
        let mut sorted = out.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..5_000).collect::<Vec<_>>());
        assert_ne!(out, sorted);
        let mut newest = 0;
        for number in out {
            assert!(number + 8 >= newest, "{number} after {newest}");
            newest = newest.max(number);
        }
    }

    #[test]
    fn grace_and_exact_drops_go_before_chance() {
        let faults = Faults { grace: 3, drop_exactly: vec![(Direction::Forth, 1)], ..Faults::loss(1, 1.0) };
        assert_eq!(run(&faults, 6).0, [0, 2]);
    }
}
