//! What the peer sent, until the application has read it: a contiguous run of bytes in order, and
//! packets that came ahead of a gap.

use std::collections::VecDeque;

use super::Pools;
use super::pool::Slots;
use crate::wire::SeqNr;

/// Reassembly and receive queue. For any input, payload is bounded by the capacity plus [`SLACK`], and the memory of its
/// blocks by an eighth of the capacity more ([`limit`](Self::limit)).
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// In order and not yet read.
    ready: VecDeque<u8>,
    /// Slot `i` is packet `next + 1 + i`. The last slot is filled, unless there is none.
    ahead: Slots,
    ahead_packets: usize,
    ahead_bytes: usize,
    /// Memory of the blocks that those are in.
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
    /// A packet came further ahead than deployed peers send.
    was_far: bool,
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
            ahead: VecDeque::new(),
            ahead_packets: 0,
            ahead_bytes: 0,
            ahead_memory: 0,
            next,
            fin: None,
            capacity,
            largest: 0,
            reorder_window,
            was_far: false,
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
        self.ready.len()
    }

    /// Packets that wait behind a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.ahead_packets > 0
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.ahead_bytes
    }

    /// Bytes that wait behind a gap.
    pub(crate) fn ahead_len(&self) -> usize {
        self.ahead_bytes
    }

    /// Bytes that the list of packets ahead takes, if it is a long one.
    pub(crate) fn list_len(&self) -> usize {
        let slots = self.ahead.len();
        if slots > SHORT_LIST { slots * size_of::<Option<Vec<u8>>>() } else { 0 }
    }

    /// Holds so much at most from now on; what is held already stays.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Furthest packet ahead of the next one that is kept.
    pub(crate) fn reorder_window(&self) -> u16 {
        self.reorder_window
    }

    /// Whether the peer has ever sent further ahead than a mask of [`FAR`] bits shows.
    pub(crate) fn was_far(&self) -> bool {
        self.was_far
    }

    /// Keeps packets so far ahead from now on; what is kept already stays.
    pub(crate) fn set_reorder_window(&mut self, packets: u16) {
        self.reorder_window = packets;
    }

    /// Free bytes, as advertised to the peer.
    pub(crate) fn window(&self) -> usize {
        self.capacity.saturating_sub(self.ready.len() + self.ahead_bytes)
    }

    /// The first contiguous part of what can be read.
    pub(crate) fn chunk(&self) -> &[u8] {
        self.ready.as_slices().0
    }

    /// Drops `n` read bytes, at most what there is.
    pub(crate) fn consume(&mut self, pools: &mut Pools, n: usize) {
        self.ready.drain(..n.min(self.ready.len()));
        self.give_back(pools);
    }

    /// Copies out what fits.
    pub(crate) fn read(&mut self, pools: &mut Pools, buf: &mut [u8]) -> usize {
        let (a, b) = self.ready.as_slices();
        let n = a.len().min(buf.len());
        let m = b.len().min(buf.len() - n);
        buf[..n].copy_from_slice(&a[..n]);
        buf[n..n + m].copy_from_slice(&b[..m]);
        self.consume(pools, n + m);
        n + m
    }

    /// From now on nothing will be read.
    pub(crate) fn discard(&mut self, pools: &mut Pools) {
        self.discard = true;
        self.ready.clear();
        self.give_back(pools);
    }

    pub(crate) fn is_discarding(&self) -> bool {
        self.discard
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self, pools: &mut Pools) {
        self.ready.clear();
        self.give_back(pools);
        self.ahead.drain(..).flatten().for_each(|packet| recycle(pools, packet));
        pools.give_slots(std::mem::take(&mut self.ahead));
        self.ahead_packets = 0;
        self.ahead_bytes = 0;
        self.ahead_memory = 0;
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
        // What comes ahead never takes the place of what is missing before it.
        self.largest = self.largest.max(payload.len());
        let reserve = if distance == 0 { 0 } else { self.largest.max(SLACK) };
        let mut room = (self.capacity + SLACK).saturating_sub(self.ready.len() + self.ahead_bytes + reserve);
        if distance == 0 {
            // The capacity may have become less than what waits: only this lets that go.
            room = room.max(SLACK.saturating_sub(self.ready.len()));
        }
        if distance > self.reorder_window || payload.len() > room {
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

    fn in_order(&mut self, pools: &mut Pools, payload: &[u8]) -> Arrival {
        let filled_gap = self.ahead_packets > 0;
        self.next = self.next.plus(1);
        let mut bytes = payload.len();
        self.deliver(pools, payload);
        // The slot list starts one behind `next`: each step takes its front.
        while let Some(slot) = self.ahead.pop_front() {
            let Some(packet) = slot else { break };
            self.uncount(&packet);
            self.next = self.next.plus(1);
            bytes += packet.len();
            self.deliver(pools, &packet);
            recycle(pools, packet);
        }
        if self.ahead.is_empty() {
            pools.give_slots(std::mem::take(&mut self.ahead));
        }
        Arrival::InOrder { bytes, filled_gap }
    }

    fn out_of_order(&mut self, pools: &mut Pools, slot: usize, payload: &[u8]) -> Arrival {
        if self.ahead.capacity() == 0 {
            self.ahead = pools.take_slots();
        }
        if self.ahead.len() <= slot {
            let missing = (slot + 1).saturating_sub(self.ahead.capacity());
            if missing > 0 {
                // Not doubling: it may be large already.
                self.ahead.reserve_exact((slot + 1).next_multiple_of(SLOTS) - self.ahead.len());
            }
            self.ahead.resize_with(slot + 1, || None);
        }
        if !matches!(self.ahead.get(slot), Some(None)) {
            return Arrival::Duplicate; // the first copy received is the one that counts
        }
        let block = if payload.len() < LARGE_PACKET { payload.len() } else { payload.len().max(FULL_PACKET) };
        let is_tight = self.ready.capacity() + self.ahead_memory + block > self.limit();
        if is_tight {
            self.compact();
        }
        let mut packet = match payload.len() {
            small @ ..LARGE_PACKET => Vec::with_capacity(small),
            large if is_tight => Vec::with_capacity(large),
            _ => pools.packets.take_up_to(block, 2 * block),
        };
        packet.extend_from_slice(payload);
        self.ahead_packets += 1;
        self.ahead_bytes += packet.len();
        self.ahead_memory += packet.capacity();
        self.was_far |= slot >= FAR;
        if let Some(empty) = self.ahead.get_mut(slot) {
            *empty = Some(packet);
        }
        Arrival::OutOfOrder
    }

    fn uncount(&mut self, packet: &Vec<u8>) {
        self.ahead_packets -= 1;
        self.ahead_bytes -= packet.len();
        self.ahead_memory -= packet.capacity();
    }

    /// Most memory of blocks.
    fn limit(&self) -> usize {
        self.capacity + self.capacity / SPARE + SLACK
    }

    /// Blocks larger than what is in them make room for others. What is copied for that is worth it: the ring keeps a part
    /// of the room that has to be filled before it grows again.
    fn compact(&mut self) {
        let spare = self.capacity / SPARE;
        if self.ready.capacity() > self.ready.len() + spare / 2 {
            self.ready.shrink_to(self.ready.len() + spare / 4);
        }
        if self.ahead_memory <= self.ahead_bytes + spare / 4 {
            return;
        }
        for packet in self.ahead.iter_mut().flatten() {
            self.ahead_memory -= packet.capacity();
            packet.shrink_to_fit();
            self.ahead_memory += packet.capacity();
        }
    }

    /// Records the end of the stream and forgets what lies behind it.
    fn set_fin(&mut self, pools: &mut Pools, seq: SeqNr) {
        self.fin = Some(seq);
        let distance = seq.distance_from(self.next);
        let keep = if distance < 0x8000 { usize::from(distance) } else { 0 };
        while self.ahead.len() > keep {
            if let Some(packet) = self.ahead.pop_back().flatten() {
                self.uncount(&packet);
                recycle(pools, packet);
            }
        }
    }

    fn deliver(&mut self, pools: &mut Pools, payload: &[u8]) {
        if self.discard || payload.is_empty() {
            return;
        }
        let wanted = self.ready.len() + payload.len();
        if self.ready.capacity() < wanted {
            // Grow by moving to a larger recycled block rather than by reallocating.
            let size = wanted.next_power_of_two().max(MIN_RING);
            let room = self.limit().saturating_sub(self.ahead_memory).max(wanted);
            let mut block = pools.blocks.take_up_to(size.min(room), room);
            let (a, b) = self.ready.as_slices();
            block.extend_from_slice(a);
            block.extend_from_slice(b);
            self.ready = VecDeque::from(block);
        }
        self.ready.extend(payload);
    }

    fn give_back(&mut self, pools: &mut Pools) {
        if self.ready.is_empty() && self.ready.capacity() > 0 {
            pools.blocks.give(Vec::from(std::mem::take(&mut self.ready)));
        }
    }
}

fn recycle(pools: &mut Pools, packet: Vec<u8>) {
    if packet.capacity() >= FULL_PACKET {
        pools.packets.give(packet);
    }
}

/// Accepted beyond the capacity. A libutp sender whose window is closed sends one packet every 15 s
/// all the same, and gives up when those are not acknowledged.
pub(crate) const SLACK: usize = 8 << 10;

/// The last slot that a mask of 128 bytes has a bit for is one less.
const FAR: usize = 1024;

/// Lists of packets ahead that any peer may cause are short and not counted (24 KiB each).
const SHORT_LIST: usize = 1024;

/// Smallest ring of the receive queue.
const MIN_RING: usize = 1 << 12;

/// Packets that wait are kept in blocks of at least this size, so that a block fits the next one...
const FULL_PACKET: usize = 1500;

/// ...but those that are shorter than this in blocks of their own size: a peer that sends short packets
/// out of order must not pin full blocks.
const LARGE_PACKET: usize = 1125;

/// Memory may exceed payload by this part of the capacity.
const SPARE: usize = 8;

/// The list of what came ahead grows by so many slots.
const SLOTS: usize = 128;

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
