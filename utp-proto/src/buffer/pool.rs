//! Recycled byte blocks, so that a steady transfer allocates nothing and an idle connection holds
//! nothing.

/// Spare blocks of one endpoint, shared by its connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// For single packets that wait out of order.
    pub(crate) packets: Pool<{ 1 << 20 }>,
    /// For runs of bytes: chunks of send queues, rings of receive queues.
    pub(crate) blocks: Pool<{ 8 << 20 }>,
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
        let from = self.spare.len().saturating_sub(SEARCH);
        let fits = self.spare.iter().enumerate().skip(from).rev().find(|(_, v)| v.capacity() >= capacity);
        match fits.map(|(i, _)| i) {
            Some(i) => {
                let block = self.spare.swap_remove(i);
                self.bytes -= block.capacity();
                block
            }
            None => Vec::with_capacity(capacity),
        }
    }

    /// Keeps the memory of `block` for the next `take`, or frees it if the pool is full.
    pub(crate) fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        if capacity > 0 && self.bytes + capacity <= LIMIT {
            block.clear();
            self.bytes += capacity;
            self.spare.push(block);
        }
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
        assert!(pool.bytes <= 10_000);
        assert_eq!(pool.spare.len(), 1);
    }
}
