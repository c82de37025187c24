//! What the peer sent, until the application has read it: bytes in order, and packets that came ahead of a gap. All of it
//! stays where it was written when it came, so that filling a gap moves nothing and takes no memory.

use std::collections::VecDeque;

use super::Pools;
use super::store::{Kind, Pos, Store, block_size};
use crate::wire::SeqNr;

/// Reassembly and receive queue. For any input its memory, all of it and at any time, is at most the capacity plus
/// [`SLACK`]; once the capacity became less, at most the largest one plus [`SLACK`].
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    store: Store,
    /// First what is in order and not yet read, in any number of pieces, then runs of packets ahead of a gap.
    pieces: Pieces,
    /// How many are in order.
    in_order: usize,
    /// Bytes in them.
    readable: usize,
    /// Where the last of them ends.
    end: Pos,
    /// Packets in the others.
    ahead: usize,
    /// The packet ahead that came last, and where it ends.
    newest: (SeqNr, Pos),
    /// The packet that would be in order.
    next: SeqNr,
    /// Sequence number of the peer's FIN, once seen.
    fin: Option<SeqNr>,
    capacity: usize,
    /// The largest that it was.
    peak: usize,
    /// Payload of the largest packet so far.
    largest: usize,
    /// Furthest packet that is kept.
    reorder_window: u16,
    /// A packet came further ahead than deployed peers send.
    was_far: bool,
    /// The application reads no more: bytes in order are counted and dropped.
    discard: bool,
}

pub(super) type Pieces = VecDeque<Piece>;

/// Bytes that were received and lie in one place: packets that follow each other, or if they are in order any part of the
/// stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    first: SeqNr,
    /// Packets; none once they are in order.
    packets: u16,
    /// Nowhere if nobody will read them, or there are none.
    pos: Pos,
    len: u32,
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
            store: Store::default(),
            pieces: Pieces::new(),
            in_order: 0,
            readable: 0,
            end: Pos::NOWHERE,
            ahead: 0,
            newest: (next, Pos::NOWHERE),
            next,
            fin: None,
            capacity,
            peak: capacity,
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
        self.readable
    }

    /// Packets that wait behind a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.ahead > 0
    }

    /// Bytes of memory that what was received takes; nothing if there is nothing.
    pub(crate) fn held(&self) -> usize {
        self.store.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// The same with what is kept for the next data.
    fn memory(&self) -> usize {
        self.store.memory() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// What that never exceeds, unless the capacity became less.
    fn limit(&self) -> usize {
        self.capacity + SLACK
    }

    /// Bytes that wait behind a gap.
    pub(crate) fn ahead_len(&self) -> usize {
        self.store.live().saturating_sub(self.readable)
    }

    /// Holds so much at most from now on; what is held already stays.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.peak = self.peak.max(capacity);
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

    /// Free bytes, as advertised to the peer: whoever keeps to it loses nothing, but with dozens of gaps at a time if they
    /// come after it was told, for they make lists long, and those are as good as data. Much that is read counts as
    /// free once its blocks are.
    pub(crate) fn window(&self) -> usize {
        let lists = self.pieces.capacity() * LISTS; // while it grows there are two of them
        let taken = self.store.filled() + self.store.list() + lists;
        self.capacity.saturating_sub(self.store.live().max(taken.saturating_sub(UNTOLD)))
    }

    /// The first contiguous part of what can be read.
    pub(crate) fn chunk(&self) -> &[u8] {
        match self.pieces.front() {
            Some(piece) if self.in_order > 0 => self.store.slice(piece.pos, piece.len as usize),
            _ => &[],
        }
    }

    /// Drops `n` read bytes, at most what there is.
    pub(crate) fn consume(&mut self, pools: &mut Pools, n: usize) {
        let mut left = n.min(self.readable);
        self.readable -= left;
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            let part = left.min(front.len as usize);
            front.pos = self.store.release(pools, front.pos, part);
            front.len -= part as u32;
            left -= part;
            if front.len == 0 {
                self.pieces.pop_front();
                self.in_order -= 1;
            }
        }
        self.tidy(pools);
    }

    /// Copies out what fits.
    pub(crate) fn read(&mut self, pools: &mut Pools, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(room) = buf.get_mut(done..).filter(|room| !room.is_empty()) {
            let chunk = self.chunk();
            let n = chunk.len().min(room.len());
            if n == 0 {
                break;
            }
            #[expect(clippy::indexing_slicing, reason = "n is the smaller of both lengths")]
            room[..n].copy_from_slice(&chunk[..n]);
            self.consume(pools, n);
            done += n;
        }
        done
    }

    /// From now on nothing will be read.
    pub(crate) fn discard(&mut self, pools: &mut Pools) {
        self.discard = true;
        self.pieces.drain(..self.in_order);
        (self.in_order, self.readable) = (0, 0);
        self.pieces.iter_mut().for_each(|run| run.pos = Pos::NOWHERE);
        self.store.clear(pools);
        self.tidy(pools);
    }

    pub(crate) fn is_discarding(&self) -> bool {
        self.discard
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self, pools: &mut Pools) {
        self.pieces.clear();
        (self.in_order, self.readable, self.ahead) = (0, 0, 0);
        self.tidy(pools);
    }

    /// Frees what is kept for the next data, if nothing is held.
    pub(crate) fn shrink(&mut self) {
        self.store.shrink();
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
        if distance == 0 && !fin && self.follow(payload) {
            return Arrival::InOrder { bytes: payload.len(), filled_gap: false };
        }
        if distance > 0 {
            let arrival = self.insert_ahead(pools, seq, payload);
            if fin && arrival == Arrival::OutOfOrder {
                self.set_fin(pools, seq);
            }
            return arrival;
        }
        let bytes = if self.discard { 0 } else { payload.len() };
        let mut block = 0;
        if !self.fits(bytes) {
            let (room, new) = self.room();
            if bytes > room {
                return Arrival::Overflow;
            }
            block = new;
        }
        if fin {
            self.set_fin(pools, seq); // before what waits behind it can follow it
        }
        self.insert_next(pools, payload, block)
    }

    /// Appends the mask of what came ahead, in whole 4 bytes up to `max`; nothing if it would be zero.
    pub(crate) fn sack(&self, max: usize, out: &mut Vec<u8>) {
        let len = self.sack_len(max);
        let from = out.len();
        out.resize(from + len, 0);
        let mask = out.get_mut(from..).unwrap_or_default();
        for run in self.pieces.range(self.in_order..) {
            let first = self.bit(run);
            if first >= 8 * len {
                break;
            }
            for bit in first..(first + usize::from(run.packets)).min(8 * len) {
                if let Some(byte) = mask.get_mut(bit / 8) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
    }

    /// Length of the mask that [`sack`](Self::sack) would append.
    pub(crate) fn sack_len(&self, max: usize) -> usize {
        let (Some(first), Some(last)) = (self.pieces.get(self.in_order), self.pieces.back()) else {
            return 0;
        };
        if self.bit(first) >= 8 * max {
            return 0;
        }
        let bits = self.bit(last) + usize::from(last.packets);
        bits.div_ceil(8).next_multiple_of(4).min(max)
    }

    /// The bit of the mask for the first packet of a run: bit 0 is for the one behind the next.
    fn bit(&self, run: &Piece) -> usize {
        usize::from(run.first.distance_from(self.next)).saturating_sub(1)
    }

    /// Whether so much in order needs no memory.
    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.store.room() && self.store.filled() + bytes <= self.limit()
    }

    /// Takes the next packet if its bytes fit right behind those of the one before, and nothing is ahead.
    #[inline]
    fn follow(&mut self, payload: &[u8]) -> bool {
        if self.ahead > 0 || self.in_order == 0 || self.store.filled() + payload.len() > self.limit() {
            return false;
        }
        let Some(last) = self.pieces.back_mut() else { return false };
        let Some(end) = self.store.append_at(self.end, payload) else { return false };
        last.len += payload.len() as u32;
        self.end = end;
        self.readable += payload.len();
        self.next = self.next.plus(1);
        true
    }

    /// How much may come in order now, and how much of that at most in a new block.
    fn room(&self) -> (usize, usize) {
        let tail = self.store.room();
        let is_full = self.pieces.len() == self.pieces.capacity();
        let list = if is_full { (self.pieces.len() + FEW) * size_of::<Piece>() } else { 0 };
        // A longer list of blocks stays when what is in order is read, so what is ahead has to leave room for it.
        let reserve = if self.ahead == 0 { 0 } else { self.least() };
        let has_entry = |cost: usize| cost == 0 || self.memory() + list + cost + reserve <= self.limit();
        let cost = self.store.entry_cost(1);
        let taken = self.memory() + list + cost.unwrap_or(0);
        let new = if cost.is_some_and(has_entry) { self.limit().saturating_sub(taken) } else { 0 };
        let room = (tail + new).min(self.limit().saturating_sub(self.store.filled()));
        // The capacity may have become less than what waits: only this lets that go.
        let is_less = self.peak > self.capacity && cost.is_some();
        let more = if is_less { (self.peak + SLACK).saturating_sub(taken) } else { 0 };
        let unread = SLACK.saturating_sub(self.readable);
        (room.max((tail + more).min(unread)), new.max(more.min(unread)))
    }

    /// The next packet, if it takes a block one of `most` bytes at most.
    fn insert_next(&mut self, pools: &mut Pools, payload: &[u8], most: usize) -> Arrival {
        let filled_gap = self.ahead > 0;
        self.next = self.next.plus(1);
        let mut bytes = payload.len();
        if bytes > 0 && !self.discard {
            let sizes = (self.size(), most);
            let pos = self.store.append(pools, payload, Kind::InOrder, sizes);
            self.extend(pools, pos, bytes);
        }
        if filled_gap {
            bytes += self.join();
            self.tidy(pools);
        }
        Arrival::InOrder { bytes, filled_gap }
    }

    /// Size of a block for what the peer may send now; if that is nothing, for what it sends all the same. What a block
    /// has too much is not there for lists.
    fn size(&self) -> usize {
        match self.window() {
            0 if self.pieces.len() <= FEW => SLACK / 2,
            window => block_size(self.capacity).min(window.saturating_sub(self.store.room())).max(SMALL),
        }
    }

    /// More in order.
    fn extend(&mut self, pools: &mut Pools, pos: Pos, len: usize) {
        self.readable += len;
        let last = self.in_order.checked_sub(1).and_then(|last| self.pieces.get_mut(last));
        match last.filter(|_| self.store.follows(self.end, pos)) {
            Some(last) => last.len += len as u32,
            None => {
                if self.pieces.capacity() == 0 {
                    self.pieces = pools.take_pieces(self.most_pieces());
                }
                if self.pieces.len() == self.pieces.capacity() {
                    self.pieces.reserve_exact(FEW);
                }
                let piece = Piece { first: self.next, packets: 0, pos, len: len as u32 };
                self.pieces.insert(self.in_order, piece);
                self.in_order += 1;
            }
        }
        self.end = self.store.end(pos, len);
    }

    /// What was ahead and is in order now. Returns its bytes.
    fn join(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(run) = self.pieces.get_mut(self.in_order).filter(|run| run.first == self.next) {
            bytes += run.len as usize;
            self.next = self.next.plus(run.packets);
            self.ahead -= usize::from(std::mem::take(&mut run.packets));
            if run.pos == Pos::NOWHERE {
                self.pieces.remove(self.in_order);
                continue;
            }
            self.end = self.store.end(run.pos, run.len as usize);
            self.readable += run.len as usize;
            self.in_order += 1;
        }
        if self.ahead == 0 {
            self.store.go_on(self.end);
        }
        bytes
    }

    /// A packet ahead: kept if what is missing has room besides, whatever it takes.
    fn insert_ahead(&mut self, pools: &mut Pools, seq: SeqNr, payload: &[u8]) -> Arrival {
        let distance = seq.distance_from(self.next);
        if distance > self.reorder_window {
            return Arrival::Overflow;
        }
        let is_before = |run: &Piece| run.packets == 0 || run.first.distance_from(self.next) <= distance;
        let index = match self.pieces.back() {
            Some(last) if is_before(last) => self.pieces.len(),
            _ => self.pieces.partition_point(is_before),
        };
        let before = self.pieces.get(index.wrapping_sub(1)).filter(|run| run.packets > 0).copied();
        if before.is_some_and(|run| seq.distance_from(run.first) < run.packets) {
            return Arrival::Duplicate; // the first copy received is the one that counts
        }
        if self.pieces.capacity() == 0 {
            self.pieces = pools.take_pieces(self.most_pieces());
        }
        let bytes = if self.discard { 0 } else { payload.len() };
        let Some(most) = self.make_room(bytes) else {
            self.tidy(pools);
            return Arrival::Overflow;
        };
        let sizes = (self.size(), most);
        let pos = match bytes {
            0 => Pos::NOWHERE,
            _ => self.store.append(pools, payload, Kind::Ahead, sizes),
        };
        // One run with those right before it, if it lies behind them too.
        let follows = before.is_some_and(|run| {
            let lies_behind = self.newest.0 == seq.minus(1) && self.store.follows(self.newest.1, pos);
            run.first.plus(run.packets) == seq && (pos == run.pos || (pos != Pos::NOWHERE && lies_behind))
        });
        match self.pieces.get_mut(index.wrapping_sub(1)).filter(|_| follows) {
            Some(run) => {
                run.packets += 1;
                run.len += payload.len() as u32;
            }
            None => {
                self.pieces.insert(index, Piece { first: seq, packets: 1, pos, len: payload.len() as u32 });
            }
        }
        self.newest = (seq, if bytes > 0 { self.store.end(pos, bytes) } else { Pos::NOWHERE });
        self.ahead += 1;
        self.was_far |= usize::from(distance) > FAR;
        Arrival::OutOfOrder
    }

    /// Makes the lists as long as a packet ahead needs them, and what may follow it in order. `None` if that or its `bytes`
    /// would take too much; otherwise how much a block for them may have.
    fn make_room(&mut self, bytes: usize) -> Option<usize> {
        // With it, each run may have a piece before it, and one follows them.
        let runs = self.pieces.len() - self.in_order + 1;
        let wanted = self.in_order + 2 * runs + 1;
        let longer = if wanted > self.pieces.capacity() { wanted + (wanted / 8).max(FEW) } else { 0 };
        let room = self.store.room();
        let new = bytes.saturating_sub(room);
        // What is missing may need two blocks: what an empty one has room for, and the rest.
        let entries = 2 + usize::from(new > 0);
        let lists = self.store.entry_cost(entries)? + longer * size_of::<Piece>();
        let left = self.limit().checked_sub(self.memory() + lists)?;
        let most = left.checked_sub(self.least()).filter(|&most| new <= most)?;
        if self.window() > left + room {
            return None;
        }
        self.store.reserve(entries);
        if longer > 0 {
            self.pieces.reserve_exact(longer - self.pieces.len());
        }
        Some(most)
    }

    /// What comes ahead leaves memory for what the peer may still send, of which some is missing before it, and whatever
    /// the peer does for the next packet: reading that gives the memory back.
    fn least(&self) -> usize {
        self.largest.max(PACKET)
    }

    /// A spare list may be so long.
    fn most_pieces(&self) -> usize {
        MANY + (self.capacity >> 14)
    }

    /// Records the end of the stream and forgets what lies behind it.
    fn set_fin(&mut self, pools: &mut Pools, seq: SeqNr) {
        self.fin = Some(seq);
        // No run goes beyond it: there was none that had this packet.
        while let Some(&run) = self.pieces.back() {
            if run.packets == 0 || run.first.distance_from(seq).wrapping_sub(1) >= 0x7fff {
                break;
            }
            self.pieces.pop_back();
            self.ahead -= usize::from(run.packets);
            if run.pos != Pos::NOWHERE {
                self.store.release(pools, run.pos, run.len as usize);
            }
        }
        self.tidy(pools);
    }

    /// If nothing is left, neither is memory.
    fn tidy(&mut self, pools: &mut Pools) {
        if self.pieces.is_empty() && self.pieces.capacity() > 0 {
            self.store.clear(pools);
            pools.give_pieces(std::mem::take(&mut self.pieces));
        }
    }
}

/// Accepted beyond the capacity, what it takes to find it again included. A libutp sender whose window is closed sends one
/// packet every 15 s all the same, and gives up when those are not acknowledged.
pub(crate) const SLACK: usize = 8 << 10;

/// The last packet that a mask of 128 bytes has a bit for is one further ahead.
const FAR: usize = 1024;

/// What is read of blocks that hold other bytes, and lists, count as free up to here: the bytes beyond the capacity are
/// room for it.
const UNTOLD: usize = 3 << 10;

/// A packet that is missing may be so large, if none has been larger.
const PACKET: usize = 1_500;

/// A block with the last bytes of the capacity: some packets, unless they are large.
const SMALL: usize = 2 << 10;

/// The list of pieces grows by so many at least.
const FEW: usize = 2;

/// Bytes of an entry of that list and of the list that replaces it, which is an eighth longer.
const LISTS: usize = 2 * size_of::<Piece>() + size_of::<Piece>().div_ceil(8);

/// Length of a list that any buffer may take over.
const MANY: usize = 32;

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
