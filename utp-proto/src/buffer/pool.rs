//! Recycled byte blocks, so that a steady transfer allocates nothing and an idle connection holds
//! nothing.

/// Spare blocks of one endpoint, shared by its connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// For single packets that wait out of order.
    pub(crate) packets: Pool<{ 1 << 20 }>,
    /// For bytes in order: pages of receive queues.
    pub(crate) pages: Pool<{ 4 << 20 }>,
    /// For runs of bytes: chunks of send queues.
    pub(crate) blocks: Pool<{ 4 << 20 }>,
}

/// A stack of empty vectors that keep their capacity, `LIMIT` bytes of it at most in total.
#[derive(Debug, Default)]
pub(crate) struct Pool<const LIMIT: usize> {
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

impl<const LIMIT: usize> Pool<LIMIT> {
    /// An empty vector with room for `capacity` bytes at least.
    pub(crate) fn take(&mut self, capacity: usize) -> Vec<u8> {
        self.take_close(capacity, usize::MAX)
    }

    /// The same, with room for `waste` bytes more at most.
    pub(crate) fn take_close(&mut self, capacity: usize, waste: usize) -> Vec<u8> {
        let from = self.spare.len().saturating_sub(SEARCH);
        let range = capacity..=capacity.saturating_add(waste);
        let fits =
            self.spare.iter().enumerate().skip(from).rev().find(|(_, v)| range.contains(&v.capacity()));
        match fits.map(|(i, _)| i) {
            Some(i) => {
                let block = self.spare.swap_remove(i);
                self.bytes -= block.capacity();
                block
            }
            None => Vec::with_capacity(capacity),
        }
    }

    /// Keeps the memory of `block` for the next `take`, in place of older blocks if the pool is full: those
    /// are of sizes that nobody asks for any more.
    pub(crate) fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        if capacity == 0 || capacity > LIMIT {
            return;
        }
        while self.bytes + capacity > LIMIT && !self.spare.is_empty() {
            self.bytes -= self.spare.swap_remove(0).capacity();
        }
        block.clear();
        self.bytes += capacity;
        self.spare.push(block);
    }
}

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
        pool.give(Vec::with_capacity(8000));
        assert_eq!((pool.bytes, pool.spare.len()), (8000, 1));
        pool.give(Vec::with_capacity(11_000));
        pool.give(Vec::new());
        assert_eq!((pool.bytes, pool.spare.len()), (8000, 1));
        pool.give(Vec::with_capacity(2000));
        assert_eq!((pool.bytes, pool.spare.len()), (10_000, 2));
    }

    #[test]
    fn a_close_fit_is_close() {
        let mut pool = Pool::<10_000>::default();
        pool.give(Vec::with_capacity(1500));
        assert_eq!(pool.take_close(1400, 99).capacity(), 1400);
        assert_eq!(pool.take_close(1501, 500).capacity(), 1501);
        assert_eq!(pool.take_close(1400, 100).capacity(), 1500);
        assert_eq!(pool.bytes, 0);
    }
}
