//! What the peer sent, until the application has read it: a contiguous run of bytes in order, and
//! packets that came ahead of a gap.

use std::collections::VecDeque;

use super::Pools;
use crate::wire::SeqNr;

/// Reassembly and receive queue. Memory, as the allocator counts it, is bounded by the capacity plus
/// [`SLACK`], for any input: where payload is small and bookkeeping is not, less payload is kept.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// In order and not yet read: pages of [`page`](Self::page) bytes, all but the last one full.
    ready: VecDeque<Vec<u8>>,
    ready_bytes: usize,
    /// Bytes of the first page that were read already.
    taken: usize,
    /// Slot `i` is packet `next + 1 + i`. The last slot is filled, unless there is none.
    ahead: VecDeque<Option<Vec<u8>>>,
    ahead_packets: usize,
    ahead_bytes: usize,
    /// What the blocks of those packets take.
    ahead_memory: usize,
    /// The packet that would be in order.
    next: SeqNr,
    /// Sequence number of the peer's FIN, once seen.
    fin: Option<SeqNr>,
    capacity: usize,
    /// Payload of the largest packet so far.
    largest: usize,
    /// Furthest slot that is kept.
    reorder_window: u16,
    /// Size of a page, by the capacity at the start.
    page: usize,
    /// The application reads no more: bytes in order are counted and dropped.
    discard: bool,
}

/// What became of a DATA or FIN packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was the next one: the stream grew by so many bytes (those of packets that had waited
    /// included). `filled_gap`: others had come before it.
    InOrder { bytes: usize, filled_gap: bool },
    /// Kept until the gap before it is filled.
    OutOfOrder,
    /// Had been received before, or lies behind the FIN.
    Duplicate,
    /// No room, or too far ahead: dropped.
    Overflow,
}

impl ReceiveBuffer {
    pub(crate) fn new(next: SeqNr, capacity: usize, reorder_window: u16) -> Self {
        Self {
            ready: VecDeque::new(),
            ready_bytes: 0,
            taken: 0,
            ahead: VecDeque::new(),
            ahead_packets: 0,
            ahead_bytes: 0,
            ahead_memory: 0,
            next,
            fin: None,
            capacity,
            largest: 0,
            reorder_window,
            page: page_size(capacity),
            discard: false,
        }
    }

    /// The last packet received in order.
    pub(crate) fn ack_nr(&self) -> SeqNr {
        self.next.minus(1)
    }

    /// The packet expected next.
    pub(crate) fn next(&self) -> SeqNr {
        self.next
    }

    /// Whether everything up to the peer's FIN has been received.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin.plus(1) == self.next)
    }

    /// The peer's FIN, once one was seen.
    pub(crate) fn fin(&self) -> Option<SeqNr> {
        self.fin
    }

    /// Bytes that can be read.
    pub(crate) fn readable(&self) -> usize {
        self.ready_bytes
    }

    /// Packets that wait behind a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.ahead_packets > 0
    }

    /// Payload bytes held.
    pub(crate) fn len(&self) -> usize {
        self.ready_bytes + self.ahead_bytes
    }

    /// Holds so much at most from now on; what is held already stays.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Free bytes, as advertised to the peer.
    pub(crate) fn window(&self) -> usize {
        largest_window(self.capacity).saturating_sub(self.len())
    }

    /// Bytes taken from the allocator.
    fn memory(&self) -> usize {
        self.ready.len() * self.page
            + self.ready.capacity() * size_of::<Vec<u8>>()
            + self.ahead_memory
            + self.ahead.capacity() * size_of::<Option<Vec<u8>>>()
    }

    /// The first contiguous part of what can be read.
    pub(crate) fn chunk(&self) -> &[u8] {
        self.ready.front().and_then(|page| page.get(self.taken..)).unwrap_or_default()
    }

    /// Drops `n` read bytes, at most what there is.
    pub(crate) fn consume(&mut self, pools: &mut Pools, n: usize) {
        let mut left = n.min(self.ready_bytes);
        self.ready_bytes -= left;
        while let Some(page) = self.ready.front() {
            let here = page.len() - self.taken;
            if left < here {
                self.taken += left;
                break;
            }
            left -= here;
            self.taken = 0;
            if let Some(page) = self.ready.pop_front() {
                pools.pages.give(page);
            }
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    /// Copies out what fits.
    pub(crate) fn read(&mut self, pools: &mut Pools, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let chunk = self.chunk();
            let n = chunk.len().min(rest.len());
            if n == 0 {
                break;
            }
            rest[..n].copy_from_slice(&chunk[..n]);
            done += n;
            self.consume(pools, n);
        }
        done
    }

    /// From now on nothing will be read.
    pub(crate) fn discard(&mut self, pools: &mut Pools) {
        self.discard = true;
        self.consume(pools, usize::MAX);
    }

    pub(crate) fn is_discarding(&self) -> bool {
        self.discard
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self, pools: &mut Pools) {
        self.consume(pools, usize::MAX);
        self.cut(pools, 0);
        self.ahead = VecDeque::new();
    }

    /// Takes a DATA (or FIN) packet.
    pub(crate) fn insert(&mut self, pools: &mut Pools, seq: SeqNr, payload: &[u8], fin: bool) -> Arrival {
        let distance = seq.distance_from(self.next);
        if distance >= 0x8000 {
            return Arrival::Duplicate;
        }
        if self.fin.is_some_and(|known| seq.distance_from(known).wrapping_sub(1) < 0x7fff) {
            return Arrival::Duplicate; // behind the end: nothing there is ever delivered
        }
        if fin && self.fin.is_some_and(|known| known != seq) {
            return Arrival::Duplicate; // a second end: the first one seen counts
        }
        self.largest = self.largest.max(payload.len());
        let fits = match distance {
            0 => self.fits_in_order(payload.len()),
            _ => distance <= self.reorder_window && self.fits_ahead(usize::from(distance), payload.len()),
        };
        if !fits {
            return Arrival::Overflow;
        }
        if fin && distance == 0 {
            self.set_fin(pools, seq); // before what waits behind it can follow it
        }
        let arrival = match distance.checked_sub(1) {
            None => self.in_order(pools, payload),
            Some(slot) => self.out_of_order(pools, usize::from(slot), payload),
        };
        if fin && arrival != Arrival::Duplicate {
            self.set_fin(pools, seq);
        }
        arrival
    }

    /// Appends the mask of what came ahead, in whole 4 bytes up to `max`; nothing if it would be zero.
    pub(crate) fn sack(&self, max: usize, out: &mut Vec<u8>) {
        let len = self.sack_len(max);
        let from = out.len();
        out.resize(from + len, 0);
        let mask = out.get_mut(from..).unwrap_or_default();
        for (byte, slots) in mask.iter_mut().enumerate() {
            for bit in 0..8 {
                if matches!(self.ahead.get(8 * byte + bit), Some(Some(_))) {
                    *slots |= 1 << bit;
                }
            }
        }
    }

    /// Length of the mask that [`sack`](Self::sack) would append.
    pub(crate) fn sack_len(&self, max: usize) -> usize {
        if self.ahead_packets == 0 || !self.ahead.iter().take(8 * max).any(Option::is_some) {
            return 0;
        }
        self.ahead.len().div_ceil(8).next_multiple_of(4).min(max)
    }

    /// Whether there is memory for a packet in order. What waits behind it may follow it, and take a page more
    /// than it does now.
    fn fits_in_order(&self, len: usize) -> bool {
        let follows = if self.ahead_packets > 0 { self.page } else { 0 };
        let more = self.pages_for(len) + follows;
        self.discard || len == 0 || self.memory() + more <= self.capacity + SLACK
    }

    /// Whether there is memory for a packet ahead, and for what is missing before it, the place of which it
    /// must never take.
    fn fits_ahead(&self, distance: usize, len: usize) -> bool {
        let slots = self.slots_for(distance).saturating_sub(self.ahead.capacity());
        let more = slots * size_of::<Option<Vec<u8>>>() + len + len / BLOCK_WASTE;
        let missing = self.pages_for(self.largest) + 2 * self.page;
        self.memory() + more + missing <= self.capacity + SLACK
    }

    /// Memory that `len` more bytes in order take at most.
    fn pages_for(&self, len: usize) -> usize {
        let room = self.ready.back().map_or(0, |page| self.page - page.len());
        let pages = len.saturating_sub(room).div_ceil(self.page);
        let list = if self.ready.len() + pages > self.ready.capacity() { self.list_growth(pages) } else { 0 };
        pages * self.page + list * size_of::<Vec<u8>>()
    }

    /// By how many entries the list of pages grows, if it must.
    fn list_growth(&self, pages: usize) -> usize {
        pages.max(self.ready.capacity() / GROWTH).max(MIN_LIST)
    }

    /// How long the list of slots must be, and a little more so that it does not grow with each packet.
    fn slots_for(&self, distance: usize) -> usize {
        if distance <= self.ahead.capacity() {
            return distance;
        }
        (distance + distance / GROWTH).max(MIN_LIST).min(usize::from(self.reorder_window).max(distance))
    }

    fn in_order(&mut self, pools: &mut Pools, payload: &[u8]) -> Arrival {
        let filled_gap = self.ahead_packets > 0;
        self.next = self.next.plus(1);
        let mut bytes = payload.len();
        self.deliver(pools, payload);
        // The slot list starts one behind `next`: each step takes its front.
        while let Some(slot) = self.ahead.pop_front() {
            let Some(packet) = slot else { break };
            self.next = self.next.plus(1);
            bytes += packet.len();
            self.forget(&packet);
            self.deliver(pools, &packet);
            recycle(pools, packet);
        }
        if self.ahead.is_empty() && self.ahead.capacity() > KEEP_SLOTS {
            self.ahead = VecDeque::new();
        }
        Arrival::InOrder { bytes, filled_gap }
    }

    fn out_of_order(&mut self, pools: &mut Pools, slot: usize, payload: &[u8]) -> Arrival {
        if self.ahead.len() <= slot {
            let slots = self.slots_for(slot + 1);
            self.ahead.reserve_exact(slots.saturating_sub(self.ahead.len()));
            self.ahead.resize_with(slot + 1, || None);
        }
        match self.ahead.get_mut(slot) {
            Some(empty @ None) => {
                let mut packet = match payload.len() {
                    small @ ..SMALL_PACKET => Vec::with_capacity(small),
                    len => pools.packets.take_close(len, len / BLOCK_WASTE),
                };
                packet.extend_from_slice(payload);
                self.ahead_packets += 1;
                self.ahead_bytes += packet.len();
                self.ahead_memory += packet.capacity();
                *empty = Some(packet);
                Arrival::OutOfOrder
            }
            _ => Arrival::Duplicate, // the first copy received is the one that counts
        }
    }

    /// Accounts for a packet that does not wait any more.
    fn forget(&mut self, packet: &Vec<u8>) {
        self.ahead_packets -= 1;
        self.ahead_bytes -= packet.len();
        self.ahead_memory -= packet.capacity();
    }

    /// Forgets all slots but the first `keep`.
    fn cut(&mut self, pools: &mut Pools, keep: usize) {
        while self.ahead.len() > keep {
            if let Some(Some(packet)) = self.ahead.pop_back() {
                self.forget(&packet);
                recycle(pools, packet);
            }
        }
    }

    /// Records the end of the stream and forgets what lies behind it.
    fn set_fin(&mut self, pools: &mut Pools, seq: SeqNr) {
        self.fin = Some(seq);
        let distance = seq.distance_from(self.next);
        self.cut(pools, if distance < 0x8000 { usize::from(distance) } else { 0 });
    }

    fn deliver(&mut self, pools: &mut Pools, mut payload: &[u8]) {
        if self.discard {
            return;
        }
        self.ready_bytes += payload.len();
        while !payload.is_empty() {
            let room = match self.ready.back_mut() {
                Some(page) if page.len() < self.page => page,
                _ => {
                    if self.ready.len() == self.ready.capacity() {
                        let more = self.list_growth(1);
                        self.ready.reserve_exact(more);
                    }
                    self.ready.push_back(pools.pages.take_close(self.page, 0));
                    continue;
                }
            };
            let (now, later) = payload.split_at(payload.len().min(self.page - room.len()));
            room.extend_from_slice(now);
            payload = later;
        }
    }
}

/// The largest window that a buffer of so many bytes tells: the rest is for what keeps the order.
pub(crate) fn largest_window(capacity: usize) -> usize {
    capacity - capacity / BOOKKEEPING
}

/// Large pages for large buffers: two of them may be nearly empty, the first and the last.
fn page_size(capacity: usize) -> usize {
    match capacity >> 10 {
        ..16 => 512,
        16..256 => 1024,
        _ => 2048,
    }
}

fn recycle(pools: &mut Pools, packet: Vec<u8>) {
    if packet.capacity() >= SMALL_PACKET {
        pools.packets.give(packet);
    }
}

/// Memory beyond the capacity. A libutp sender whose window is closed sends one packet every 15 s all the
/// same, and gives up when those are not acknowledged: there is room for it. With the connection itself, its
/// controller and its entries in tables, about 2 KiB, it makes 8 KiB.
pub(crate) const SLACK: usize = 6 << 10;

/// A 32nd of the capacity is never told to the peer: lists, and what blocks have to spare, take 2 % of full
/// packets.
const BOOKKEEPING: usize = 32;

/// Lists grow by this part.
const GROWTH: usize = 8;

/// Entries of the shortest list.
const MIN_LIST: usize = 4;

/// Recycled blocks of packets may be larger than needed by this part.
const BLOCK_WASTE: usize = 64;

/// Packets that are shorter than this are not recycled.
const SMALL_PACKET: usize = 512;

/// Slots of the reorder list that an empty one keeps.
const KEEP_SLOTS: usize = 16;

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
