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
        let (lowest, highest) = (class_of(capacity), class_of(most).min(63));
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
        if !self.make_room(capacity, number) {
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
#[path = "pool_tests.rs"]
mod tests;
