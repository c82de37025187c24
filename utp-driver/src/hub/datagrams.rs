//! Datagrams of other protocols that share the port.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// What came and waits for the application, in bounded memory.
#[derive(Debug)]
pub(crate) struct Datagrams {
    queue: VecDeque<(SocketAddr, Box<[u8]>)>,
    bytes: usize,
    limit: usize,
    pub(crate) received: u64,
    pub(crate) dropped: u64,
}

impl Datagrams {
    /// Keeps up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, limit, received: 0, dropped: 0 }
    }

    /// Takes a datagram, or drops it: the newest, as a full socket buffer would.
    pub(crate) fn push(&mut self, from: SocketAddr, data: &[u8]) {
        let size = data.len() + OVERHEAD;
        if self.bytes + size > self.limit {
            self.dropped += 1;
            return;
        }
        self.bytes += size;
        self.received += 1;
        self.queue.push_back((from, data.into()));
    }

    pub(crate) fn pop(&mut self) -> Option<(SocketAddr, Box<[u8]>)> {
        let (from, data) = self.queue.pop_front()?;
        self.bytes -= data.len() + OVERHEAD;
        Some((from, data))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What an entry takes besides its data, so that empty datagrams are bounded too.
const OVERHEAD: usize = size_of::<(SocketAddr, Box<[u8]>)>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_counts_what_it_drops() {
        let from = "127.0.0.1:1".parse().unwrap();
        let mut datagrams = Datagrams::new(2 * (100 + OVERHEAD));
        for number in 0..5 {
            datagrams.push(from, &[number; 100]);
        }
        assert_eq!((datagrams.received, datagrams.dropped), (2, 3));
        assert_eq!(datagrams.pop().unwrap().1[0], 0);
        datagrams.push(from, &[9; 100]);
        assert_eq!(datagrams.pop().unwrap().1[0], 1);
        assert_eq!(datagrams.pop().unwrap().1[0], 9);
        assert!(datagrams.is_empty());
    }

    #[test]
    fn empty_datagrams_are_kept_and_bounded() {
        let from = "127.0.0.1:1".parse().unwrap();
        let mut datagrams = Datagrams::new(OVERHEAD);
        datagrams.push(from, &[]);
        datagrams.push(from, &[]);
        assert_eq!((datagrams.received, datagrams.dropped), (1, 1));
        assert!(datagrams.pop().unwrap().1.is_empty());
    }
}
