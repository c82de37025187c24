//! The memory of a receive buffer: blocks that are filled to their last byte, in the order in which packets come, so
//! that nothing moves until it is read and next to nothing lies idle.
//!
//! Two blocks at most have room: one goes on with what comes in order, one with what comes ahead of a gap, and each with
//! both before another is taken.

use super::Pools;

/// Where a byte is: block and offset. A full block goes on where its `next` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pos(u32);

impl Pos {
    /// Not in any block.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    fn new(block: usize, at: usize) -> Self {
        Self((block << OFFSET_BITS | at) as u32)
    }

    fn block(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    fn at(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }
}

/// What is written, and so which room is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The next bytes of the stream.
    InOrder,
    /// Bytes ahead of a gap.
    Ahead,
}

#[derive(Debug)]
struct Block {
    /// No capacity: the entry is free.
    data: Vec<u8>,
    /// Bytes of it that are neither read nor dropped.
    live: u32,
    /// Where what is written after its last byte begins.
    next: Pos,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    blocks: Vec<Block>,
    /// How many entries are not free.
    used: u8,
    /// The capacity of the one taken last.
    last: u32,
    /// Their capacity.
    capacity: usize,
    /// Bytes written into those that are still held.
    filled: usize,
    /// Those of them that are neither read nor dropped.
    live: usize,
    /// The block that goes on with what comes in order...
    order: Option<u8>,
    /// ...and with what comes ahead.
    ahead: Option<u8>,
}

impl Store {
    /// Bytes of memory, the list of blocks included.
    pub(super) fn memory(&self) -> usize {
        self.capacity + self.list()
    }

    /// Bytes of the list of blocks.
    pub(super) fn list(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// Capacity of the blocks.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that cannot be written to: those held, and those read from blocks that hold others.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that are neither read nor dropped.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Bytes that may be written without another block.
    pub(super) fn room(&self) -> usize {
        self.room_of(self.order) + self.room_of(self.ahead)
    }

    fn room_of(&self, tail: Option<u8>) -> usize {
        tail.and_then(|id| self.blocks.get(usize::from(id)))
            .map_or(0, |block| block.data.capacity() - block.data.len())
    }

    /// Memory that a longer list of blocks takes while it replaces the present one, if that has not so many free
    /// entries; `None` if it cannot be so long.
    pub(super) fn entry_cost(&self, free: usize) -> Option<usize> {
        let wanted = usize::from(self.used) + free;
        if wanted > MAX_BLOCKS {
            return None;
        }
        Some(if wanted <= self.blocks.capacity() { 0 } else { entries(wanted) * size_of::<Block>() })
    }

    /// Makes the list so long.
    pub(super) fn reserve(&mut self, free: usize) {
        let wanted = usize::from(self.used) + free;
        if wanted > self.blocks.capacity() {
            self.blocks.reserve_exact(entries(wanted) - self.blocks.len());
        }
    }

    /// Writes `data`, which is not empty. If it takes another block, that has `size` bytes if it may, `most` at most.
    pub(super) fn append(
        &mut self,
        pools: &mut Pools,
        mut data: &[u8],
        kind: Kind,
        (size, most): (usize, usize),
    ) -> Pos {
        let mut first = None;
        while !data.is_empty() {
            let id = self.tail(pools, kind, (data.len(), size, most));
            let Some(block) = self.blocks.get_mut(usize::from(id)) else { break };
            first = first.or(Some(Pos::new(usize::from(id), block.data.len())));
            let (now, later) = data.split_at(data.len().min(block.data.capacity() - block.data.len()));
            block.data.extend_from_slice(now);
            block.live += now.len() as u32;
            self.filled += now.len();
            self.live += now.len();
            data = later;
        }
        first.unwrap_or(Pos::NOWHERE)
    }

    /// Writes `data`, more in order, right behind `end`; `None` if it does not fit there. The usual case of
    /// [`append`](Self::append).
    #[inline]
    pub(super) fn append_at(&mut self, end: Pos, data: &[u8]) -> Option<Pos> {
        let id = end.block();
        let block = self.blocks.get_mut(id)?;
        let is_end = self.order == Some(id as u8) && end.at() == block.data.len();
        if !is_end || data.len() > block.data.capacity() - block.data.len() {
            return None;
        }
        block.data.extend_from_slice(data);
        block.live += data.len() as u32;
        self.filled += data.len();
        self.live += data.len();
        Some(Pos(end.0 + data.len() as u32))
    }

    /// A block with room.
    fn tail(&mut self, pools: &mut Pools, kind: Kind, sizes: (usize, usize, usize)) -> u8 {
        let (current, other) = match kind {
            Kind::InOrder => (self.order, self.ahead),
            Kind::Ahead => (self.ahead, self.order),
        };
        if let Some(id) = current
            && self.room_of(current) > 0
        {
            return id;
        }
        let other = other.filter(|_| self.room_of(other) > 0);
        let id = other.unwrap_or_else(|| self.take(pools, sizes));
        let at = self.blocks.get(usize::from(id)).map_or(0, |block| block.data.len());
        if let Some(block) = current.and_then(|id| self.blocks.get_mut(usize::from(id))) {
            block.next = Pos::new(usize::from(id), at);
        }
        let (this, that) = match kind {
            Kind::Ahead => (&mut self.ahead, &mut self.order),
            Kind::InOrder => (&mut self.order, &mut self.ahead),
        };
        *this = Some(id);
        if other.is_some() {
            *that = None;
        }
        id
    }

    /// Another block: small at first, doubling while data comes.
    fn take(&mut self, pools: &mut Pools, (least, size, most): (usize, usize, usize)) -> u8 {
        let smallest = size.min(MIN_BLOCK);
        let wanted = (2 * self.last as usize).clamp(smallest, size).min(most).max(least);
        let data = pools.blocks.take_up_to(wanted, most.min(size).max(wanted));
        self.last = data.capacity() as u32;
        self.capacity += data.capacity();
        let new = Block { data, live: 0, next: Pos::NOWHERE };
        self.reserve(1);
        self.used += 1;
        let free = self.blocks.iter().position(|block| block.data.capacity() == 0);
        match free.and_then(|id| self.blocks.get_mut(id)) {
            Some(free) => *free = new,
            None => self.blocks.push(new),
        }
        free.unwrap_or(self.blocks.len() - 1) as u8
    }

    /// What has been ahead is in order up to `end`, and nothing is ahead: go on there, if there is room.
    pub(super) fn go_on(&mut self, end: Pos) {
        if self.ahead.map(usize::from) == Some(end.block()) {
            std::mem::swap(&mut self.order, &mut self.ahead);
        }
    }

    /// Whether what begins at `start` follows right behind `end`.
    pub(super) fn follows(&self, end: Pos, start: Pos) -> bool {
        let is_next = |block: &Block| end.at() == block.data.capacity() && block.next == start;
        end == start || self.blocks.get(end.block()).is_some_and(is_next)
    }

    /// `n` bytes behind `pos`, in the same block if there is a choice.
    pub(super) fn end(&self, mut pos: Pos, mut n: usize) -> Pos {
        while let Some(block) = self.blocks.get(pos.block()) {
            let here = block.data.len().saturating_sub(pos.at());
            if n <= here {
                return Pos::new(pos.block(), pos.at() + n);
            }
            n -= here;
            pos = block.next;
        }
        Pos::NOWHERE
    }

    /// The first contiguous part of `len` bytes from `pos` on.
    pub(super) fn slice(&self, pos: Pos, len: usize) -> &[u8] {
        let rest =
            self.blocks.get(pos.block()).and_then(|block| block.data.get(pos.at()..)).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    /// Gives up `n` bytes from `pos` on, and the blocks that hold nothing else. Returns where what follows begins.
    pub(super) fn release(&mut self, pools: &mut Pools, mut pos: Pos, mut n: usize) -> Pos {
        while let Some(block) = self.blocks.get_mut(pos.block()) {
            let (id, here) = (pos.block(), n.min(block.data.len().saturating_sub(pos.at())));
            let is_whole = pos.at() + here == block.data.capacity();
            let after = if is_whole { block.next } else { Pos::new(id, pos.at() + here) };
            block.live -= here as u32;
            self.live -= here;
            if block.live == 0 {
                self.vacate(pools, id);
            }
            n -= here;
            pos = after;
            if n == 0 {
                break;
            }
        }
        debug_assert_eq!(n, 0, "not held");
        pos
    }

    /// Nothing in it is needed: it begins anew if it has room for more, or goes.
    fn vacate(&mut self, pools: &mut Pools, id: usize) {
        let is_tail = [self.order, self.ahead].contains(&Some(id as u8));
        let Some(block) = self.blocks.get_mut(id) else { return };
        self.filled -= block.data.len();
        if is_tail {
            block.data.clear();
        } else {
            self.capacity -= block.data.capacity();
            self.used -= 1;
            pools.blocks.give(std::mem::take(&mut block.data));
        }
    }

    /// Gives back all blocks.
    pub(super) fn clear(&mut self, pools: &mut Pools) {
        self.blocks
            .drain(..)
            .filter(|block| block.data.capacity() > 0)
            .for_each(|b| pools.blocks.give(b.data));
        (self.used, self.last) = (0, 0);
        (self.capacity, self.filled, self.live) = (0, 0, 0);
        (self.order, self.ahead) = (None, None);
    }

    /// Frees what an empty store keeps for the next data.
    pub(super) fn shrink(&mut self) {
        if self.blocks.is_empty() {
            self.blocks = Vec::new();
        }
    }
}

/// Length of the list for so many blocks: in few steps, for the new one has to fit beside the old one.
fn entries(wanted: usize) -> usize {
    STEPS.into_iter().find(|&step| step >= wanted).unwrap_or(MAX_BLOCKS)
}

/// Blocks have up to 16 MiB...
const OFFSET_BITS: u32 = 25;

/// ...and there are so many at most: 64 of them hold 1 GiB.
const MAX_BLOCKS: usize = 126;

/// Lengths of their list: a buffer has 30 of them as a rule.
const STEPS: [usize; 3] = [5, 16, 32];

/// The first block.
const MIN_BLOCK: usize = 4 << 10;

/// The size of blocks for a receive buffer of `capacity` bytes: a small part of it, so that what a block still holds does
/// not keep much from being used again.
pub(super) fn block_size(capacity: usize) -> usize {
    (capacity / 20).clamp(MIN_BLOCK.min(capacity / 2), 1 << (OFFSET_BITS - 1))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
