//! Receiving: one system call, many datagrams.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn_udp::{BATCH_SIZE, RecvMeta};

use crate::addr::canonical;
use crate::runtime::UdpSocket;
use crate::stats::ReceiveStats;
use crate::udp::Udp;

/// A datagram as it came from the network.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// When it arrived: by the kernel's account where there is one (Linux and Android: `SO_TIMESTAMPNS`, which
    /// `quinn-udp` sets), so possibly a little ago; elsewhere when the call that received it returned. Datagrams that
    /// the kernel has coalesced (GRO) have one time in common, that of the whole batch: less than the time that it
    /// takes to come in.
    pub arrived: Instant,
    /// Who sent it.
    pub from: SocketAddr,
    /// UDP payload.
    pub data: &'a [u8],
}

/// One moment on two clocks: the one that the endpoint lives by, and the one that kernels stamp datagrams
/// with.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    now: Instant,
    /// Time since the epoch.
    wall: Duration,
}

impl Moment {
    /// This moment, which is `now` on the endpoint's clock. Whatever passes between reading that and this
    /// call is an error in the times of arrival, and so in the delays that congestion control looks at.
    #[must_use]
    pub fn of(now: Instant) -> Self {
        Self { now, wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// The same on the endpoint's clock.
    #[must_use]
    pub fn now(self) -> Instant {
        self.now
    }

    /// When a datagram arrived that the kernel stamped with `timestamp`: at the latest now. The wall clock may
    /// be set at any time; what it then says is no age.
    fn arrival(self, timestamp: Option<Duration>) -> Instant {
        timestamp
            .and_then(|stamp| self.wall.checked_sub(stamp))
            .filter(|age| *age < OLDEST)
            .and_then(|age| self.now.checked_sub(age))
            .unwrap_or(self.now)
    }
}

/// One batch of received datagrams. Takes 2 MiB of address space, of which only what datagrams have
/// touched becomes memory.
#[derive(Debug)]
pub struct Inbox {
    buffer: Box<[u8]>,
    meta: [RecvMeta; BATCH_SIZE],
    /// Buffers of the batch that are filled.
    filled: usize,
    /// Buffers that the last call offered.
    offered: usize,
    /// When the batch was received.
    received: Option<Moment>,
    stats: ReceiveStats,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffer: vec![0; BATCH_SIZE * SLOT].into_boxed_slice(),
            meta: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
            offered: BATCH_SIZE,
            received: None,
            stats: ReceiveStats::default(),
        }
    }
}

impl Inbox {
    /// Receives a batch in place of the one before and gives its size in bytes. `moment` is asked after the
    /// system call; who has no clock to read then gives the moment right before.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived. Any other error is about some datagram, sent or received
    /// (Windows reports ICMP errors this way), not about the socket, and has been counted.
    pub fn receive<S: UdpSocket>(
        &mut self,
        udp: &Udp<S>,
        moment: impl FnOnce() -> Moment,
    ) -> io::Result<usize> {
        // Coalesced datagrams fill whole buffers: fewer of them then make a batch that stays in the
        // cache until it has been looked at.
        let bulk = self.bytes() >= BULK;
        self.offered = if bulk { BULK_BATCH } else { BATCH_SIZE };
        self.clear();
        let mut slots = self.buffer.chunks_exact_mut(SLOT);
        let mut buffers: [_; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        self.stats.receive_calls += 1;
        match udp.receive(&mut buffers[..self.offered], &mut self.meta[..self.offered]) {
            Ok(filled) => self.filled = filled,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stats.receive_calls_empty += 1;
                return Err(error);
            }
            Err(error) => {
                self.stats.receive_errors += 1;
                return Err(error);
            }
        }
        self.received = Some(moment());
        let bytes = self.bytes();
        self.stats.bytes_received += bytes as u64;
        Ok(bytes)
    }

    /// The batch's datagrams, in order of arrival.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let batch = self.buffer.chunks_exact(SLOT).zip(&self.meta[..self.filled]);
        self.received.into_iter().flat_map(move |moment| {
            batch.clone().flat_map(move |(slot, meta)| {
                let arrived = moment.arrival(meta.timestamp);
                let from = canonical(meta.addr);
                // An empty datagram is one too, and a stride of zero would be none.
                let (stride, empty) = (meta.stride.max(1), meta.len == 0);
                let segments = slot[..meta.len.min(SLOT)].chunks(stride);
                segments.chain(empty.then_some(&[][..])).map(move |data| Datagram { arrived, from, data })
            })
        })
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.received = None;
    }

    /// Whether the batch took all the room there was, so that more is likely to wait.
    pub fn is_full(&self) -> bool {
        self.filled == self.offered
    }

    /// Counters. Datagrams are counted by whoever looks at them.
    pub fn stats(&self) -> &ReceiveStats {
        &self.stats
    }

    fn bytes(&self) -> usize {
        self.meta[..self.filled].iter().map(|meta| meta.len).sum()
    }
}

/// Bytes of a buffer: the largest UDP datagram, and the largest run of coalesced ones. With less, a
/// datagram could be cut short, which nobody above would notice.
const SLOT: usize = 1 << 16;

/// Bytes in a batch from which the next is received in fewer, fuller buffers.
const BULK: usize = 4 * SLOT;

/// Their number. Half a megabyte is what a core's own cache holds.
const BULK_BATCH: usize = 8;

/// The longest that a datagram is believed to have waited in the socket's buffer.
const OLDEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_earlier_by_the_age_of_its_timestamp() {
        let now = Instant::now() + Duration::from_secs(10);
        let wall = Duration::from_secs(1_700_000_000);
        let age = Duration::from_micros(250);
        let moment = Moment { now, wall };
        assert_eq!(moment.arrival(Some(wall - age)), now - age);
        assert_eq!(moment.arrival(Some(wall + age)), now, "during the call");
        assert_eq!(moment.arrival(None), now);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_not_believed() {
        let now = Instant::now() + Duration::from_secs(10);
        let wall = Duration::from_secs(1_700_000_000);
        let moment = Moment { now, wall };
        for step in [Duration::from_secs(1), Duration::from_secs(3600)] {
            assert_eq!(moment.arrival(Some(wall - step)), now, "set forward by {step:?}");
            assert_eq!(moment.arrival(Some(wall + step)), now, "set back by {step:?}");
        }
    }
}
