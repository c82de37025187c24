//! The deadlines of all connections: an indexed binary heap with one entry per slot at most, so that a
//! deadline can move without leaving anything behind.

use crate::time::Time;

/// Earliest deadline first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Time, u32)>,
    /// By slot: its position in the heap, or [`ABSENT`].
    positions: Vec<u32>,
}

impl Deadlines {
    /// The earliest deadline. O(1).
    pub(crate) fn first(&self) -> Option<Time> {
        self.heap.first().map(|&(at, _)| at)
    }

    /// Makes sure that the slot is woken at `at` or before. Lazy: an earlier deadline stays (its owner
    /// is asked again when it comes), so that the usual "later" costs nothing. O(log n) otherwise.
    pub(crate) fn wake_by(&mut self, slot: u32, at: Time) {
        let index = slot as usize;
        if self.positions.len() <= index {
            self.positions.resize(index + 1, ABSENT);
        }
        match self.position(slot) {
            Some(position) => {
                if let Some(entry) = self.heap.get_mut(position)
                    && at < entry.0
                {
                    entry.0 = at;
                    self.sift_up(position);
                }
            }
            None => {
                self.heap.push((at, slot));
                self.sift_up(self.heap.len() - 1);
            }
        }
    }

    /// Takes the slot of the earliest deadline if that is not after `now`.
    pub(crate) fn pop(&mut self, now: Time) -> Option<u32> {
        let &(at, slot) = self.heap.first()?;
        (at <= now).then(|| {
            self.remove(slot);
            slot
        })
    }

    /// Forgets the slot.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(position) = self.position(slot) else { return };
        self.heap.swap_remove(position);
        self.set_position(slot, ABSENT);
        if let Some(&(_, moved)) = self.heap.get(position) {
            self.set_position(moved, position as u32);
            self.sift_up(position);
            self.sift_down(position);
        }
    }

    fn position(&self, slot: u32) -> Option<usize> {
        self.positions.get(slot as usize).filter(|&&p| p != ABSENT).map(|&p| p as usize)
    }

    fn set_position(&mut self, slot: u32, position: u32) {
        if let Some(p) = self.positions.get_mut(slot as usize) {
            *p = position;
        }
    }

    fn sift_up(&mut self, mut child: usize) {
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.swap_if_earlier(child, parent) {
                break;
            }
            child = parent;
        }
        self.record(child);
    }

    fn sift_down(&mut self, mut parent: usize) {
        loop {
            let left = 2 * parent + 1;
            let right = left + 1;
            let key = |i: usize| self.heap.get(i).map(|e| e.0);
            let child = match (key(left), key(right)) {
                (Some(l), Some(r)) if r < l => right,
                (Some(_), _) => left,
                _ => break,
            };
            if !self.swap_if_earlier(child, parent) {
                break;
            }
            parent = child;
        }
        self.record(parent);
    }

    /// Swaps the two if the child is due before its parent.
    fn swap_if_earlier(&mut self, child: usize, parent: usize) -> bool {
        let earlier = match (self.heap.get(child), self.heap.get(parent)) {
            (Some(c), Some(p)) => c.0 < p.0,
            _ => false,
        };
        if earlier {
            self.heap.swap(child, parent);
            self.record(child);
            self.record(parent);
        }
        earlier
    }

    fn record(&mut self, position: usize) {
        if let Some(&(_, slot)) = self.heap.get(position) {
            self.set_position(slot, position as u32);
        }
    }
}

const ABSENT: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_whatever_happened_to_them() {
        let mut deadlines = Deadlines::default();
        let mut expected = vec![None::<Time>; 64];
        let mut x = 12_345u64;
        for _ in 0..if cfg!(miri) { 100 } else { 5_000 } {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (x >> 33) as u32 % 64;
            let at = Time(x >> 40);
            match (x >> 20) % 4 {
                0 => {
                    deadlines.remove(slot);
                    expected[slot as usize] = None;
                }
                1 => {
                    if let Some(first) = deadlines.first() {
                        let slot = deadlines.pop(first).unwrap();
                        assert_eq!(expected[slot as usize].take(), Some(first));
                    }
                }
                _ => {
                    deadlines.wake_by(slot, at);
                    let e = &mut expected[slot as usize];
                    *e = Some(e.map_or(at, |old| old.min(at)));
                }
            }
            assert_eq!(deadlines.first(), expected.iter().flatten().min().copied());
            assert_eq!(deadlines.heap.len(), expected.iter().flatten().count());
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut deadlines = Deadlines::default();
        deadlines.wake_by(3, Time(10));
        assert_eq!(deadlines.pop(Time(9)), None);
        assert_eq!(deadlines.pop(Time(10)), Some(3));
        assert_eq!(deadlines.first(), None);
    }
}
