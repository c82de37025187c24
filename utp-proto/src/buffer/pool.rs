//! Recycled byte blocks, so that a steady transfer allocates nothing and an idle connection holds
//! nothing.

use std::collections::VecDeque;

/// Spare blocks of one endpoint, shared by its connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// For single packets that wait out of order: as many as a flight has, usually (950 of 1.5 kB).
    pub(crate) packets: Pool<{ 2 << 20 }>,
    /// For runs of bytes: chunks of send queues, rings of receive queues.
    pub(crate) blocks: Pool<{ 8 << 20 }>,
    /// Lists of packets that wait out of order, empty.
    slots: Vec<Slots>,
}

/// Packets that wait out of order, by their distance.
pub(crate) type Slots = VecDeque<Option<Vec<u8>>>;

impl Pools {
    /// An empty list, with memory if there is one to spare.
    pub(crate) fn take_slots(&mut self) -> Slots {
        self.slots.pop().unwrap_or_default()
    }

    /// Keeps the memory of an empty list for the next gap, of this connection or another.
    pub(crate) fn give_slots(&mut self, slots: Slots) {
        debug_assert!(slots.is_empty());
        if self.slots.len() < SPARE_LISTS && (1..=SPARE_SLOTS).contains(&slots.capacity()) {
            self.slots.push(slots);
        }
    }
}

/// A stack of empty vectors that keep their capacity, `LIMIT` bytes of it at most in total. When it is full, the
/// oldest go: thousands of small blocks of connections that have become idle must not keep those out that a busy
/// one uses again and again.
#[derive(Debug, Default)]
pub(crate) struct Pool<const LIMIT: usize> {
    spare: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl<const LIMIT: usize> Pool<LIMIT> {
    /// An empty vector with room for `capacity` bytes at least.
    pub(crate) fn take(&mut self, capacity: usize) -> Vec<u8> {
        self.take_up_to(capacity, usize::MAX)
    }

    /// The same, with room for `most` bytes at most.
    pub(crate) fn take_up_to(&mut self, capacity: usize, most: usize) -> Vec<u8> {
        let from = self.spare.len().saturating_sub(SEARCH);
        let fits = self
            .spare
            .iter()
            .enumerate()
            .skip(from)
            .rev()
            .find(|(_, v)| (capacity..=most).contains(&v.capacity()));
        match fits.map(|(i, _)| i) {
            Some(i) => {
                let block = self.spare.swap_remove_back(i).unwrap_or_default();
                self.bytes -= block.capacity();
                block
            }
            None => Vec::with_capacity(capacity),
        }
    }

    /// Keeps the memory of `block` for the next `take`.
    pub(crate) fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        if capacity == 0 || capacity > LIMIT {
            return;
        }
        while self.bytes + capacity > LIMIT {
            let Some(oldest) = self.spare.pop_front() else { break };
            self.bytes -= oldest.capacity();
        }
        block.clear();
        self.bytes += capacity;
        self.spare.push_back(block);
    }
}

/// Spare lists: as many as there are connections with a gap at a time, usually...
const SPARE_LISTS: usize = 8;

/// ...and slots of one at most, so that all of them stay below half a megabyte.
const SPARE_SLOTS: usize = 2048;

/// How many spare blocks `take` looks at: enough to step over a few small ones, few enough to be
/// constant.
const SEARCH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_the_limit_holds() {
        let mut pool = Pool::<10_000>::default();
        let mut block = pool.take(4000);
        block.extend_from_slice(&[1; 100]);
        let at = block.as_ptr();
        pool.give(block);
        let again = pool.take(3000);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        pool.give(again);
        pool.give(Vec::with_capacity(10_001));
        assert_eq!((pool.bytes, pool.spare.len()), (4000, 1), "more than it may ever keep");
    }

    #[test]
    fn small_blocks_make_room_for_the_large_one_that_is_used_now() {
        let mut pool = Pool::<10_000>::default();
        for _ in 0..100 {
            pool.give(Vec::with_capacity(100));
        }
        assert_eq!((pool.bytes, pool.spare.len()), (10_000, 100));
        let block = Vec::with_capacity(8000);
        let at = block.as_ptr();
        pool.give(block);
        assert_eq!((pool.bytes, pool.spare.len()), (10_000, 21));
        let again = pool.take(8000);
        assert_eq!(again.as_ptr(), at);
    }
}
