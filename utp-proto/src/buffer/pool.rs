//! Recycled byte blocks, so that a steady transfer allocates nothing and an idle connection holds
//! nothing.

use std::collections::VecDeque;

use super::receive::{Piece, Pieces};

/// Spare blocks of one endpoint, shared by its connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// For bytes: chunks of send queues, blocks of receive buffers.
    pub(crate) blocks: Pool<{ 8 << 20 }>,
    /// Lists of what receive buffers hold, empty.
    pieces: Vec<Pieces>,
}

impl Pools {
    /// An empty list, with memory for up to `most` entries if there is one to spare.
    pub(crate) fn take_pieces(&mut self, most: usize) -> Pieces {
        let fits = self.pieces.iter().rposition(|pieces| pieces.capacity() <= most);
        fits.map(|i| self.pieces.swap_remove(i)).unwrap_or_default()
    }

    /// Keeps the memory of a list for the next data, of this connection or another.
    pub(crate) fn give_pieces(&mut self, mut pieces: Pieces) {
        pieces.clear();
        if self.pieces.len() < SPARE_LISTS && (1..=SPARE_PIECES).contains(&pieces.capacity()) {
            self.pieces.push(pieces);
        }
    }

    /// Bytes of all that is kept.
    pub(crate) fn spare(&self) -> usize {
        let lists: usize = self.pieces.iter().map(|pieces| pieces.capacity() * size_of::<Piece>()).sum();
        let of_lists = self.pieces.capacity() * size_of::<Pieces>();
        let of_blocks = self.blocks.spare.capacity() * size_of::<Vec<u8>>();
        self.blocks.bytes + lists + of_lists + of_blocks
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

/// Spare lists: as many as there are connections with unread data at a time, usually...
const SPARE_LISTS: usize = 8;

/// ...and pieces of one at most, so that all of them stay below half a megabyte.
const SPARE_PIECES: usize = 4096;

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

    #[test]
    fn lists_are_kept_up_to_a_number_and_a_size_and_all_is_counted() {
        let mut pools = Pools::default();
        assert_eq!((pools.take_pieces(100).capacity(), pools.spare()), (0, 0));
        pools.give_pieces(Pieces::new());
        pools.give_pieces(Pieces::with_capacity(SPARE_PIECES + 1));
        assert!(pools.pieces.is_empty());
        for n in 1..=SPARE_LISTS + 1 {
            pools.give_pieces(Pieces::with_capacity(16));
            assert_eq!(pools.pieces.len(), n.min(SPARE_LISTS));
        }
        pools.blocks.give(Vec::with_capacity(1_000));
        let lists = SPARE_LISTS * 16 * size_of::<Piece>();
        let of_lists = pools.pieces.capacity() * size_of::<Pieces>();
        let of_blocks = pools.blocks.spare.capacity() * size_of::<Vec<u8>>();
        assert_eq!(pools.spare(), 1_000 + lists + of_lists + of_blocks);
        assert_eq!(pools.take_pieces(15).capacity(), 0, "none so short");
        assert_eq!((pools.take_pieces(16).capacity(), pools.pieces.len()), (16, SPARE_LISTS - 1));
    }
}
