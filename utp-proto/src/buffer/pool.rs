//! Recycled byte blocks, so that a steady transfer allocates nothing and an idle connection holds
//! nothing.

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
        self.blocks.bytes + self.blocks.lists() + lists + of_lists
    }
}

/// Empty vectors that keep their capacity, `LIMIT` bytes of it at most in total, by classes of size: what fits is found in
/// constant time in whatever order blocks come and go, so that there are soon as many as are needed at a time, and no more.
/// When the limit is reached, those of the class that was not used for longest go: thousands of small blocks of connections
/// that have become idle must not keep those out that a busy one uses again and again.
#[derive(Debug)]
pub(crate) struct Pool<const LIMIT: usize> {
    classes: [Class; CLASSES],
    /// Those with blocks, a bit for each.
    filled: u64,
    bytes: usize,
    /// Blocks that came and went.
    turn: u64,
}

#[derive(Debug)]
struct Class {
    spare: Vec<Vec<u8>>,
    /// The last turn that was one of this class.
    used: u64,
    /// Blocks made although there were some, which did not fit: with each of these there is one too many.
    surplus: u32,
}

impl<const LIMIT: usize> Default for Pool<LIMIT> {
    fn default() -> Self {
        Self {
            classes: [const { Class { spare: Vec::new(), used: 0, surplus: 0 } }; CLASSES],
            filled: 0,
            bytes: 0,
            turn: 0,
        }
    }
}

impl<const LIMIT: usize> Pool<LIMIT> {
    /// An empty vector with room for `capacity` bytes at least, and not for many more.
    pub(crate) fn take(&mut self, capacity: usize) -> Vec<u8> {
        let class = class_of(capacity);
        self.take_of(class, capacity, usize::MAX).unwrap_or_else(|| self.allocate(class, capacity))
    }

    /// The same, with room for `most` bytes at most, but as many as there is a spare block for.
    pub(crate) fn take_up_to(&mut self, capacity: usize, most: usize) -> Vec<u8> {
        let (lowest, highest) = (class_of(capacity), class_of(most).min(CLASSES - 1));
        let mut left = self.filled & (u64::MAX >> (63 - highest));
        // Blocks of the two classes at the ends may be too small or too large, those of all between them fit.
        while let Some(class) = left.checked_ilog2().map(|class| class as usize)
            && class >= lowest
        {
            if let Some(block) = self.take_of(class, capacity, most) {
                return block;
            }
            left &= !(1 << class);
        }
        self.allocate(lowest, capacity)
    }

    /// The block of a class that was given back last, if that is as large as that.
    fn take_of(&mut self, class: usize, capacity: usize, most: usize) -> Option<Vec<u8>> {
        let last = self.classes.get(class)?.spare.last()?.capacity();
        (capacity..=most).contains(&last).then(|| self.pop(class))
    }

    /// A new block.
    fn allocate(&mut self, class: usize, capacity: usize) -> Vec<u8> {
        if capacity >= LEAST
            && let Some(class) = self.classes.get_mut(class)
            && !class.spare.is_empty()
        {
            class.surplus = class.surplus.saturating_add(1);
        }
        Vec::with_capacity(capacity)
    }

    /// Keeps the memory of `block` for the next `take`.
    pub(crate) fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        if !(LEAST..=LIMIT).contains(&capacity) {
            return;
        }
        let number = class_of(capacity);
        if self.bytes + capacity > LIMIT && !self.make_room(capacity, number) {
            return;
        }
        let Some(class) = self.classes.get_mut(number) else { return };
        if class.surplus > 0 {
            class.surplus -= 1;
            if class.spare.last().is_some_and(|last| last.capacity() > capacity) {
                return;
            }
            self.bytes -= class.spare.pop().map_or(0, |last| last.capacity());
        }
        block.clear();
        class.spare.push(block);
        self.turn += 1;
        class.used = self.turn;
        self.filled |= 1 << number;
        self.bytes += capacity;
    }

    /// A block of a class; one without capacity if there is none.
    fn pop(&mut self, number: usize) -> Vec<u8> {
        let Some(class) = self.classes.get_mut(number) else { return Vec::new() };
        let Some(block) = class.spare.pop() else { return Vec::new() };
        self.turn += 1;
        class.used = self.turn;
        self.bytes -= block.capacity();
        if class.spare.is_empty() {
            self.filled &= !(1 << number);
        }
        block
    }

    /// Gives up blocks of other classes than `this` until there is room for so many bytes; false if that is not enough.
    fn make_room(&mut self, capacity: usize, this: usize) -> bool {
        while self.bytes + capacity > LIMIT {
            let others = self.classes.iter_mut().enumerate();
            let others = others.filter(|(number, class)| *number != this && !class.spare.is_empty());
            let Some((number, oldest)) = others.min_by_key(|(_, class)| class.used) else { return false };
            while self.bytes + capacity > LIMIT
                && let Some(block) = oldest.spare.pop()
            {
                self.bytes -= block.capacity();
            }
            if oldest.spare.is_empty() {
                (oldest.spare, oldest.surplus) = (Vec::new(), 0);
                self.filled &= !(1 << number);
            }
        }
        true
    }

    /// Bytes of the lists of blocks.
    fn lists(&self) -> usize {
        self.classes.iter().map(|class| class.spare.capacity() * size_of::<Vec<u8>>()).sum()
    }
}

/// The class of blocks of so many bytes: four between one power of two and the next.
fn class_of(capacity: usize) -> usize {
    let capacity = capacity.max(LEAST);
    let power = capacity.ilog2();
    ((power - LEAST.ilog2()) as usize * PARTS) + ((capacity >> (power - PARTS.ilog2())) & (PARTS - 1))
}

/// Spare lists: as many as there are connections with unread data at a time, usually...
const SPARE_LISTS: usize = 8;

/// ...and pieces of one at most, so that all of them stay below half a megabyte.
const SPARE_PIECES: usize = 4096;

/// Smaller blocks are not kept: buffers take them only when they are as small themselves, or nearly full. The lists of all
/// classes, were each as long as it can become, have less than a megabyte.
const LEAST: usize = 2 << 10;

/// Classes from one power of two to the next...
const PARTS: usize = 4;

/// ...and all of them, up to 8 MiB.
const CLASSES: usize = 12 * PARTS + 1;

#[cfg(test)]
mod tests {
    use super::*;

    impl<const LIMIT: usize> Pool<LIMIT> {
        /// Bytes and number of the spare blocks, which agree with all else that is noted.
        fn holds(&self) -> (usize, usize) {
            let all = || self.classes.iter().flat_map(|class| &class.spare);
            assert_eq!(self.bytes, all().map(Vec::capacity).sum());
            for (number, class) in self.classes.iter().enumerate() {
                assert_eq!(self.filled >> number & 1 == 1, !class.spare.is_empty());
                assert!(
                    class.spare.iter().all(|block| block.is_empty() && class_of(block.capacity()) == number)
                );
            }
            (self.bytes, all().count())
        }
    }

    #[test]
    fn classes_are_of_rising_sizes_and_a_fourth_apart() {
        let sizes = [0, 1, LEAST - 1, LEAST, LEAST + 511, LEAST + 512, 2 * LEAST - 1, 2 * LEAST];
        assert_eq!(sizes.map(class_of), [0, 0, 0, 0, 0, 1, 3, 4]);
        assert_eq!([52_428, 8 << 20].map(class_of), [18, CLASSES - 1]);
        let sizes = (LEAST..if cfg!(miri) { 5_000 } else { 100_000 }).map(class_of);
        assert!(sizes.clone().zip(sizes.skip(1)).all(|(a, b)| b == a || b == a + 1));
        assert!(class_of(usize::MAX) >= CLASSES);
    }

    #[test]
    fn blocks_come_back_and_the_limit_holds() {
        let mut pool = Pool::<10_000>::default();
        let mut block = pool.take(4000);
        block.extend_from_slice(&[1; 100]);
        let at = block.as_ptr();
        pool.give(block);
        let again = pool.take(3900);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        pool.give(again);
        pool.give(Vec::with_capacity(10_001));
        pool.give(Vec::with_capacity(LEAST - 1));
        assert_eq!(pool.holds(), (4000, 1), "more or less than it ever keeps");
        pool.give(Vec::with_capacity(4000));
        pool.give(Vec::with_capacity(4000));
        assert_eq!(pool.holds(), (8000, 2), "no others have to go");
    }

    #[test]
    fn a_block_is_as_large_as_asked_for_and_not_much_larger() {
        let mut pool = Pool::<{ 1 << 20 }>::default();
        for capacity in [3000, 5000, 9000, 60_000] {
            pool.give(Vec::with_capacity(capacity));
        }
        assert_eq!(pool.take(4000).capacity(), 4000, "of another class than 5000");
        assert_eq!(pool.take(300).capacity(), 300);
        assert_eq!(pool.take_up_to(6000, 8999).capacity(), 6000);
        assert_eq!(pool.take_up_to(9001, 59_999).capacity(), 9001);
        pool.give(Vec::with_capacity(9001));
        assert_eq!(pool.holds(), (68_001 + 9000, 4), "9000 is of the same class and did not fit: it goes");
        assert_eq!(pool.take_up_to(9000, 9000).capacity(), 9000);
        pool.give(Vec::with_capacity(9000));
        assert_eq!(pool.holds(), (68_001 + 9000, 4), "the larger one stays");
        assert_eq!(pool.take_up_to(9001, 9001).capacity(), 9001);
        assert_eq!(pool.take_up_to(1000, 60_000).capacity(), 60_000, "the largest of those that fit");
        assert_eq!(pool.take(5000).capacity(), 5000);
        assert_eq!(pool.take_up_to(1000, usize::MAX).capacity(), 3000);
        assert_eq!((pool.holds(), pool.filled), ((0, 0), 0));
        assert_eq!(pool.take((8 << 20) + 1).capacity(), (8 << 20) + 1);
        assert_eq!(pool.take(100 << 20).capacity(), 100 << 20);
    }

    #[test]
    fn small_blocks_make_room_for_the_large_one_that_is_used_now() {
        let mut pool = Pool::<100_000>::default();
        pool.give(Vec::with_capacity(10_000));
        for _ in 0..45 {
            pool.give(Vec::with_capacity(2048));
        }
        assert_eq!(pool.holds(), (45 * 2048, 45));
        drop(pool.take(2048));
        let block = Vec::with_capacity(80_000);
        let at = block.as_ptr();
        pool.give(block);
        assert_eq!(pool.holds(), (80_000 + 9 * 2048, 10));
        let again = pool.take(80_000);
        assert_eq!(again.as_ptr(), at);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut pool = Pool::<20_000>::default();
        for capacity in [2100, 4000, 6000, 7900] {
            pool.give(Vec::with_capacity(capacity));
        }
        let block = pool.take(2100);
        pool.give(block);
        pool.give(Vec::with_capacity(3000));
        assert_eq!(pool.holds(), (2100 + 6000 + 7900 + 3000, 4));
        pool.give(Vec::with_capacity(20_000));
        assert_eq!(pool.holds(), (20_000, 1));
        assert_eq!(pool.lists(), pool.classes[class_of(20_000)].spare.capacity() * size_of::<Vec<u8>>());
    }

    /// As transfers do that go on at the same time: blocks of growing sizes, and some of odd ones, given back in any order.
    #[test]
    fn who_needs_the_same_again_and_again_leaves_no_more_blocks_each_time() {
        let mut pool = Pool::<{ 256 << 20 }>::default();
        let mut random = 7usize;
        let mut left = Vec::new();
        for _ in 0..if cfg!(miri) { 20 } else { 100 } {
            let mut taken = Vec::new();
            for n in 0..20 {
                taken.push(pool.take(32_768));
                for size in [4096, 8192, 16_384, 32_768, 52_428] {
                    taken.push(pool.take_up_to(size, 52_428));
                }
                taken.push(pool.take_up_to(50_000 + 100 * n, 50_000 + 100 * n));
            }
            while !taken.is_empty() {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0xffff_ffff;
                pool.give(taken.swap_remove((random >> 8) % taken.len()));
            }
            left.push(pool.holds().1);
        }
        // Large ones are taken in place of small ones, which stay: there may be twice as many as are in use.
        assert!(left.iter().all(|&blocks| blocks <= 2 * 7 * 20), "{left:?}");
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
        pools.blocks.give(Vec::with_capacity(2_100));
        let lists = SPARE_LISTS * 16 * size_of::<Piece>();
        let of_lists = pools.pieces.capacity() * size_of::<Pieces>();
        let of_blocks = pools.blocks.classes[0].spare.capacity() * size_of::<Vec<u8>>();
        assert!(of_blocks > 0);
        assert_eq!(pools.spare(), 2_100 + lists + of_lists + of_blocks);
        assert_eq!(pools.take_pieces(15).capacity(), 0, "none so short");
        assert_eq!((pools.take_pieces(16).capacity(), pools.pieces.len()), (16, SPARE_LISTS - 1));
    }
}
