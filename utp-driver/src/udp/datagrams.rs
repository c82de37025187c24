//! Datagrams of other protocols that share the port.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::SocketConfig;

/// What came and waits for the application, in bounded memory.
#[derive(Debug)]
pub struct Datagrams {
    queue: VecDeque<(SocketAddr, Box<[u8]>)>,
    bytes: usize,
    limit: usize,
    received: u64,
    dropped: u64,
}

impl Datagrams {
    /// Keeps up to [`SocketConfig::datagram_queue`] bytes.
    #[must_use]
    pub fn new(config: &SocketConfig) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, limit: config.datagram_queue, received: 0, dropped: 0 }
    }

    /// Takes a datagram, or drops it: the newest, as a full socket buffer would.
    pub fn push(&mut self, from: SocketAddr, data: &[u8]) {
        let size = data.len() + OVERHEAD;
        if self.bytes + size > self.limit {
            self.dropped += 1;
            return;
        }
        self.bytes += size;
        self.received += 1;
        self.queue.push_back((from, data.into()));
    }

    /// The oldest one: its length, cut to that of `buf`, and its sender.
    pub fn receive(&mut self, buf: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (from, data) = self.queue.pop_front()?;
        self.bytes -= data.len() + OVERHEAD;
        let len = data.len().min(buf.len());
        buf[..len].copy_from_slice(&data[..len]);
        Some((len, from))
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Datagrams taken so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Datagrams dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What an entry takes besides its data, so that empty datagrams are bounded too.
const OVERHEAD: usize = size_of::<(SocketAddr, Box<[u8]>)>();

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams(limit: usize) -> Datagrams {
        Datagrams::new(SocketConfig::default().datagram_queue(limit))
    }

    #[test]
    fn the_queue_is_bounded_and_counts_what_it_drops() {
        let from = "127.0.0.1:1".parse().unwrap();
        let mut datagrams = datagrams(2 * (100 + OVERHEAD));
        for number in 0..5 {
            datagrams.push(from, &[number; 100]);
        }
        assert_eq!((datagrams.received(), datagrams.dropped()), (2, 3));
        let mut buf = [0xff; 200];
        assert_eq!(datagrams.receive(&mut buf), Some((100, from)));
        assert_eq!((buf[0], buf[100]), (0, 0xff));
        datagrams.push(from, &[9; 100]);
        for number in [1, 9] {
            assert_eq!(datagrams.receive(&mut buf[..10]), Some((10, from)), "cut to the buffer");
            assert_eq!(buf[..10], [number; 10]);
        }
        assert!(datagrams.is_empty());
        assert_eq!(datagrams.receive(&mut buf), None);
    }

    #[test]
    fn empty_datagrams_are_kept_and_bounded() {
        let from = "127.0.0.1:1".parse().unwrap();
        let mut datagrams = datagrams(OVERHEAD);
        datagrams.push(from, &[]);
        datagrams.push(from, &[]);
        assert_eq!((datagrams.received(), datagrams.dropped()), (1, 1));
        assert_eq!(datagrams.receive(&mut []), Some((0, from)));
    }
}
