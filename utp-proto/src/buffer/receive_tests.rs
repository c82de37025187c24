use super::*;

fn buffer() -> (Pools, ReceiveBuffer) {
    (Pools::default(), ReceiveBuffer::new(SeqNr(0xfffe), 10_000, 64))
}

fn read_all(pools: &mut Pools, buffer: &mut ReceiveBuffer) -> Vec<u8> {
    let mut out = vec![0; buffer.readable()];
    assert_eq!(buffer.read(pools, &mut out), out.len());
    out
}

#[test]
fn packets_in_any_order_come_out_in_order_across_the_wrap() {
    let order = [3u16, 1, 0, 7, 2, 6, 5, 4];
    let (mut pools, mut buffer) = buffer();
    for &i in &order {
        let seq = SeqNr(0xfffe).plus(i);
        assert_ne!(buffer.insert(&mut pools, seq, &[i as u8; 10], false), Arrival::Duplicate);
        assert_eq!(buffer.insert(&mut pools, seq, &[99; 10], false), Arrival::Duplicate);
    }
    let expected: Vec<u8> = (0..8u8).flat_map(|i| [i; 10]).collect();
    assert_eq!(read_all(&mut pools, &mut buffer), expected);
    assert_eq!(buffer.ack_nr(), SeqNr(5));
    assert!(!buffer.has_gap());
    assert_eq!(buffer.window(), 10_000);
}

#[test]
fn the_mask_shows_what_came_ahead() {
    let (mut pools, mut buffer) = buffer();
    for i in [1u16, 3, 40] {
        assert_eq!(buffer.insert(&mut pools, SeqNr(0xfffe).plus(i), b"x", false), Arrival::OutOfOrder);
    }
    let mut mask = Vec::new();
    buffer.sack(32, &mut mask);
    assert_eq!(mask.len(), buffer.sack_len(32));
    // Bit 0 is ack_nr + 2 = next + 1.
    assert_eq!(mask, [0b101, 0, 0, 0, 0b1000_0000, 0, 0, 0]);
    mask.clear();
    buffer.sack(4, &mut mask);
    assert_eq!(mask, [0b101, 0, 0, 0]);
}

#[test]
fn what_is_missing_is_taken_although_more_waits_behind_it_than_the_capacity_has_become() {
    let (mut pools, mut buffer) = buffer();
    let base = SeqNr(0xfffe);
    (2..11).for_each(|i| _ = buffer.insert(&mut pools, base.plus(i), &[0; 1_000], false));
    buffer.set_capacity(500);
    assert_eq!(buffer.window(), 0);
    let filled_gap = true;
    for (seq, bytes) in [(base, 1_000), (base.plus(1), 10_000)] {
        let arrival = buffer.insert(&mut pools, seq, &[0; 1_000], false);
        assert_eq!(arrival, Arrival::InOrder { bytes, filled_gap });
    }
    // Not without end: somebody has to read.
    assert_eq!(buffer.insert(&mut pools, base.plus(11), &[0; 1_000], false), Arrival::Overflow);
}

#[test]
fn too_far_ahead_and_too_much_are_dropped() {
    let (mut pools, mut buffer) = buffer();
    let base = SeqNr(0xfffe);
    assert_eq!(buffer.insert(&mut pools, base.plus(65), b"x", false), Arrival::Overflow);
    assert_eq!(buffer.insert(&mut pools, base.plus(64), b"x", false), Arrival::OutOfOrder);
    for i in 1..64 {
        buffer.insert(&mut pools, base.plus(i), &[0; 1000], false);
    }
    // What comes ahead leaves room for what is missing before it.
    assert!(buffer.store.filled() <= 10_000 && buffer.window() < 1_500);
    assert_eq!(
        buffer.insert(&mut pools, base, &[0; SLACK], false),
        Arrival::InOrder { bytes: SLACK + 9_000, filled_gap: true }
    );
    assert!(buffer.memory() <= 10_000 + SLACK);
    assert_eq!(buffer.window(), 0);
    assert_eq!(buffer.insert(&mut pools, base.minus(1), b"x", false), Arrival::Duplicate);
}

#[test]
fn the_stream_ends_at_the_fin_and_nothing_behind_it_counts() {
    let (mut pools, mut buffer) = buffer();
    let base = SeqNr(0xfffe);
    buffer.insert(&mut pools, base.plus(3), b"behind", false);
    assert_eq!(buffer.insert(&mut pools, base.plus(2), b"", true), Arrival::OutOfOrder);
    assert_eq!(buffer.insert(&mut pools, base.plus(4), b"behind", false), Arrival::Duplicate);
    assert_eq!(buffer.insert(&mut pools, base.plus(1), b"", true), Arrival::Duplicate);
    buffer.insert(&mut pools, base, b"a", false);
    assert!(!buffer.is_finished());
    buffer.insert(&mut pools, base.plus(1), b"b", false);
    assert!(buffer.is_finished());
    assert_eq!(read_all(&mut pools, &mut buffer), b"ab");
    assert_eq!(buffer.insert(&mut pools, base.plus(3), b"c", false), Arrival::Duplicate);
    assert_eq!(buffer.insert(&mut pools, base.plus(2), b"", true), Arrival::Duplicate);
}

#[test]
fn a_fin_in_order_ends_the_stream_before_what_came_ahead_of_it() {
    let (mut pools, mut buffer) = buffer();
    let base = SeqNr(0xfffe);
    buffer.insert(&mut pools, base.plus(1), b"behind", false);
    buffer.insert(&mut pools, base, b"", true);
    assert!(buffer.is_finished() && !buffer.has_gap());
    assert_eq!((buffer.ack_nr(), buffer.readable()), (base, 0));
    assert_eq!(buffer.insert(&mut pools, base.plus(1), b"behind", false), Arrival::Duplicate);
}

#[test]
fn a_fin_with_payload_is_tolerated() {
    let (mut pools, mut buffer) = buffer();
    let arrival = buffer.insert(&mut pools, SeqNr(0xfffe), b"last", true);
    assert_eq!(arrival, Arrival::InOrder { bytes: 4, filled_gap: false });
    assert!(buffer.is_finished());
    assert_eq!(read_all(&mut pools, &mut buffer), b"last");
}

#[test]
fn discarding_acknowledges_and_drops() {
    let (mut pools, mut buffer) = buffer();
    buffer.insert(&mut pools, SeqNr(0xfffe), &[1; 100], false);
    buffer.discard(&mut pools);
    buffer.insert(&mut pools, SeqNr(0xffff), &[1; 100], false);
    assert_eq!((buffer.readable(), buffer.ack_nr(), buffer.window()), (0, SeqNr(0xffff), 10_000));
}

#[test]
fn an_empty_buffer_holds_no_memory() {
    let (mut pools, mut buffer) = buffer();
    for i in (0..40).rev() {
        buffer.insert(&mut pools, SeqNr(0xfffe).plus(i), &[1; 100], false);
    }
    assert_eq!(read_all(&mut pools, &mut buffer).len(), 4000);
    assert_eq!(buffer.held(), 0);
    buffer.shrink();
    assert_eq!(buffer.memory(), 0);
}

/// What was sent and taken, kept the simple way.
struct Model {
    rng: u64,
    pools: Pools,
    buffer: ReceiveBuffer,
    /// The largest capacity there was, and so what is never exceeded.
    bound: usize,
    /// Sizes of all packets, by their number.
    sizes: Vec<usize>,
    /// Numbers that were taken: up to this, and ahead of it.
    next: usize,
    ahead: std::collections::BTreeSet<usize>,
    /// Offset of the next byte to be read, and behind the last one in order.
    read: usize,
    ready: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            rng: seed * 2 + 1,
            pools: Pools::default(),
            buffer: ReceiveBuffer::new(SeqNr(0), 0, 0),
            bound: 0,
            sizes: Vec::new(),
            next: 0,
            ahead: std::collections::BTreeSet::new(),
            read: 0,
            ready: 0,
        };
        let capacity = (4 << 10) << model.random(7);
        let capacity = capacity + model.random(capacity);
        let window = [16, 100, 1024][model.random(3)];
        // A third of them with packets of one size, a third with short ones.
        let sizes: &[usize] = match model.random(3) {
            0 if cfg!(miri) => &[250],
            0 => &[1_452],
            1 => &[1, 2, 50],
            _ if cfg!(miri) => &[0, 1, 100, 300],
            _ => &[0, 1, 500, 1_212, 1_452, 4_000, SLACK],
        };
        let packets = if cfg!(miri) { 1_500 } else { 30_000 };
        model.sizes = (0..packets).map(|_| sizes[model.random(sizes.len())]).collect();
        model.buffer = ReceiveBuffer::new(SeqNr(0xff00), capacity, window);
        model.bound = capacity + SLACK;
        model
    }

    fn random(&mut self, below: usize) -> usize {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.rng >> 33) as usize % below
    }

    fn byte(offset: usize) -> u8 {
        (offset ^ offset >> 8 ^ offset >> 16) as u8
    }

    fn insert(&mut self, number: usize) -> Arrival {
        let before: usize = self.sizes[self.next..number.max(self.next)].iter().sum();
        let from = self.ready + before;
        let len = self.sizes[number];
        let payload: Vec<u8> = match number < self.next {
            true => vec![0; len],
            false => (from..from + len).map(Self::byte).collect(),
        };
        let arrival = self.buffer.insert(&mut self.pools, SeqNr(0xff00).plus(number as u16), &payload, false);
        match arrival {
            Arrival::InOrder { bytes, filled_gap } => {
                assert_eq!((number, filled_gap), (self.next, !self.ahead.is_empty()));
                let start = self.ready;
                self.ready += len;
                self.next += 1;
                while self.ahead.remove(&self.next) {
                    self.ready += self.sizes[self.next];
                    self.next += 1;
                }
                assert_eq!(self.ready - start, bytes);
            }
            Arrival::OutOfOrder => assert!(number > self.next && self.ahead.insert(number)),
            Arrival::Duplicate => assert!(number < self.next || self.ahead.contains(&number)),
            Arrival::Overflow => assert!(number >= self.next && !self.ahead.contains(&number)),
        }
        self.check();
        arrival
    }

    fn check(&mut self) {
        let memory = self.buffer.memory();
        assert!(
            memory <= self.bound,
            "{memory} of {} {:?}",
            self.bound,
            (
                self.buffer.capacity,
                &self.buffer.store,
                self.buffer.readable,
                self.buffer.ahead,
                self.buffer.pieces.capacity(),
                self.buffer.pieces.len(),
                self.buffer.largest
            )
        );
        assert_eq!(self.buffer.readable(), self.ready - self.read);
        assert_eq!(self.buffer.ack_nr(), SeqNr(0xfeff).plus(self.next as u16));
        let held = self.ready - self.read + self.ahead.iter().map(|&n| self.sizes[n]).sum::<usize>();
        assert_eq!((self.buffer.store.live(), self.buffer.ahead), (held, self.ahead.len()));
        assert_eq!(self.buffer.held() == 0, self.ready == self.read && self.ahead.is_empty());
        let mut mask = Vec::new();
        self.buffer.sack(128, &mut mask);
        for bit in 0..8 * mask.len() {
            let shown = mask[bit / 8] >> (bit % 8) & 1 == 1;
            assert_eq!(shown, self.ahead.contains(&(self.next + 1 + bit)), "{bit}");
        }
        assert!(
            mask.len() == 128 || self.ahead.last().is_none_or(|&last| last < self.next + 1 + 8 * mask.len())
        );
    }

    fn read(&mut self, n: usize) {
        let mut out = vec![0; n];
        let n = self.buffer.read(&mut self.pools, &mut out);
        assert_eq!(n, out.len().min(self.ready - self.read));
        assert!(out[..n].iter().enumerate().all(|(i, &byte)| byte == Self::byte(self.read + i)));
        self.read += n;
        self.check();
    }

    /// Whatever happened: who reads all gets what is missing, and so gets on.
    fn get_on(&mut self) {
        self.read(self.ready - self.read);
        let arrival = self.insert(self.next);
        assert!(matches!(arrival, Arrival::InOrder { .. }), "{arrival:?}");
    }
}

#[test]
fn whatever_comes_is_delivered_in_order_from_bounded_memory_and_what_is_missing_finds_room() {
    // Under Miri few and short packets: it reads every byte several times.
    let (seeds, steps) = if cfg!(miri) { (3, 60) } else { (200, 3_000) };
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        let shrinks = model.random(4) == 0;
        for step in 0..steps {
            match model.random(16) {
                0..=5 => _ = model.insert(model.next),
                6..=8 => {
                    let last = model.ahead.last().map_or(model.next, |&last| last);
                    let number = last + 1 + model.random(2);
                    model.insert(number);
                }
                9..=11 => {
                    let bits = 1 + model.random(10);
                    let number = model.next + model.random(1 << bits);
                    model.insert(number);
                }
                12 => {
                    let number = model.next.saturating_sub(model.random(3));
                    model.insert(number);
                }
                13 => {
                    let n = model.random(1 + (model.ready - model.read));
                    model.read(n);
                }
                14 if model.random(4) == 0 => model.get_on(),
                14 if shrinks && step > steps / 2 => model.buffer.set_capacity(4 << 10),
                _ => {
                    let n = model.buffer.chunk().len();
                    let n = if model.random(2) == 0 { n } else { model.random(n + 1) };
                    let from = model.read;
                    assert!(
                        model.buffer.chunk().iter().enumerate().all(|(i, &b)| b == Model::byte(from + i))
                    );
                    model.buffer.consume(&mut model.pools, n);
                    model.read += n;
                    model.check();
                }
            }
        }
        while !model.ahead.is_empty() {
            model.get_on();
        }
        model.read(model.ready - model.read);
        assert_eq!(model.buffer.held(), 0);
    }
}

/// What a peer was told that it may send is kept, whichever packet of it is lost, and although little is read.
#[test]
fn the_window_told_is_kept() {
    let mss = 1_212;
    let capacities = [16 << 10, 100_000, 1 << 20, 3 << 20, 32 << 20];
    for capacity in capacities.into_iter().take(if cfg!(miri) { 1 } else { 5 }) {
        for lost in if cfg!(miri) { [11].as_slice() } else { &[0, 1, 5, 11] } {
            let lost = *lost;
            let mut pools = Pools::default();
            let mut buffer = ReceiveBuffer::new(SeqNr(0), capacity, 30_000);
            let packets = (buffer.window() / mss) as u16;
            for seq in (0..packets).filter(|&seq| seq != lost) {
                let arrival = buffer.insert(&mut pools, SeqNr(seq), &vec![1; mss], false);
                assert_ne!(arrival, Arrival::Overflow, "{seq} of {packets}");
            }
            let arrival = buffer.insert(&mut pools, SeqNr(lost), &vec![1; mss], false);
            assert!(matches!(arrival, Arrival::InOrder { filled_gap: true, .. }));
            assert_eq!(buffer.readable(), usize::from(packets) * mss);
            assert!(buffer.memory() <= capacity + SLACK);
        }
    }
}

/// A buffer of 64,000 bytes whose packets may come far ahead, in memory of 80,192 at most.
fn large() -> (Pools, ReceiveBuffer) {
    let buffer = ReceiveBuffer::new(SeqNr(0xfffe), 64_000, 4096);
    assert_eq!(buffer.limit(), 64_000 + 8_000 + SLACK);
    (Pools::default(), buffer)
}

/// The packet that is missing, of `len` bytes.
fn next(pools: &mut Pools, buffer: &mut ReceiveBuffer, len: usize) {
    let arrival = buffer.insert(pools, buffer.next(), &vec![7; len], false);
    assert!(matches!(arrival, Arrival::InOrder { .. }));
}

/// A packet of `len` bytes so far ahead of the next one.
fn ahead(pools: &mut Pools, buffer: &mut ReceiveBuffer, distance: u16, len: usize) {
    let seq = buffer.next().plus(distance);
    assert_eq!(buffer.insert(pools, seq, &vec![distance as u8; len], false), Arrival::OutOfOrder);
}

#[test]
fn short_packets_wait_in_blocks_of_their_size_and_large_ones_in_full_ones() {
    let (mut pools, mut buffer) = large();
    let mut memory = 0;
    for (i, (len, block)) in
        [(10, 10), (1124, 1124), (1125, 1500), (1500, 1500), (1600, 1600)].into_iter().enumerate()
    {
        ahead(&mut pools, &mut buffer, i as u16 + 1, len);
        memory += block;
        assert_eq!(buffer.ahead_memory, memory, "{len}");
    }
    // Spare blocks are taken up to twice the size.
    for (spare, taken) in [(3001, 1500), (3000, 3000)] {
        pools.packets.give(Vec::with_capacity(spare));
        ahead(&mut pools, &mut buffer, if spare > 3000 { 6 } else { 7 }, 1200);
        memory += taken;
        assert_eq!(buffer.ahead_memory, memory, "{spare}");
    }
    // All are counted off when their turn has come, and those that can be used again are kept.
    next(&mut pools, &mut buffer, 0);
    assert_eq!((buffer.ahead_memory, buffer.ahead_bytes, buffer.ahead_packets), (0, 0, 0));
    assert_eq!(buffer.readable(), 10 + 1124 + 1125 + 1500 + 1600 + 2 * 1200);
    assert_eq!(pools.packets.take(3000).capacity(), 3000);
    assert_eq!(pools.packets.take_up_to(1, 1499).capacity(), 1, "short blocks are not kept");
}

#[test]
fn blocks_that_are_not_full_make_room_for_others_before_memory_runs_out() {
    let (mut pools, mut buffer) = large();
    for i in 1..=53 {
        ahead(&mut pools, &mut buffer, i, 1130);
    }
    assert_eq!(buffer.ahead_memory, 53 * 1500);
    // One more would need 81,000 bytes: all shrink to what is in them, the new one has its own size...
    ahead(&mut pools, &mut buffer, 54, 1130);
    assert_eq!(buffer.ahead_memory, 54 * 1130);
    // ...and there is room for full blocks again.
    ahead(&mut pools, &mut buffer, 55, 1130);
    assert_eq!(buffer.ahead_memory, 54 * 1130 + 1500);
    let blocks: usize = buffer.ahead.iter().flatten().map(Vec::capacity).sum();
    assert_eq!((buffer.ahead_memory, buffer.ahead_bytes), (blocks, 55 * 1130));
}

#[test]
fn a_ring_that_is_not_full_makes_room_too_but_keeps_some_to_grow() {
    let (mut pools, mut buffer) = large();
    (0..33).for_each(|_| next(&mut pools, &mut buffer, 1_000));
    assert_eq!(buffer.ready.capacity(), 65_536);
    for i in 1..=9 {
        ahead(&mut pools, &mut buffer, i, 1130);
    }
    assert_eq!((buffer.ready.capacity(), buffer.ahead_memory), (65_536, 9 * 1500));
    ahead(&mut pools, &mut buffer, 10, 1130);
    assert_eq!((buffer.ready.capacity(), buffer.ahead_memory), (33_000 + 2_000, 10 * 1130));
    next(&mut pools, &mut buffer, 1_000);
    assert_eq!(read_all(&mut pools, &mut buffer).len(), 33_000 + 1_000 + 10 * 1130);
}

#[test]
fn what_wastes_little_is_not_moved_when_memory_is_tight() {
    let (mut pools, mut buffer) = large();
    (0..56).for_each(|_| next(&mut pools, &mut buffer, 1_100));
    assert_eq!(buffer.ready.capacity(), 65_536);
    ahead(&mut pools, &mut buffer, 1, 1200);
    // Less than a quarter of the spare memory would be won here, less than half of it there.
    buffer.compact();
    assert_eq!((buffer.ready.capacity(), buffer.ahead_memory), (65_536, 1500));
}

#[test]
fn the_ring_doubles_from_one_page_on_within_the_memory_left() {
    let (mut pools, mut buffer) = large();
    let mut insert = |len: usize| {
        next(&mut pools, &mut buffer, len);
        buffer.ready.capacity()
    };
    assert_eq!((insert(10), insert(4086), insert(1)), (4096, 4096, 8192));
    assert_eq!((insert(61_439), insert(1)), (65_536, limit_of(64_000)), "no more than the limit");
}

fn limit_of(capacity: usize) -> usize {
    capacity + capacity / 8 + SLACK
}

#[test]
fn exactly_the_capacity_and_the_slack_are_taken() {
    let (mut pools, mut buffer) = buffer();
    let (base, filled_gap) = (SeqNr(0xfffe), false);
    let bytes = 10_000 + SLACK;
    let arrival = buffer.insert(&mut pools, base, &vec![0; bytes], false);
    assert_eq!(arrival, Arrival::InOrder { bytes, filled_gap });
    assert_eq!(buffer.insert(&mut pools, base.plus(1), b"x", false), Arrival::Overflow);
}

#[test]
fn the_list_of_what_came_ahead_grows_by_128_and_counts_when_it_is_long() {
    let (mut pools, mut buffer) = large();
    for (distance, capacity) in [(1, 128), (128, 128), (129, 256), (600, 640), (1024, 1024)] {
        ahead(&mut pools, &mut buffer, distance, 1);
        assert_eq!((buffer.ahead.len(), buffer.ahead.capacity()), (usize::from(distance), capacity));
    }
    assert!(!buffer.was_far() && buffer.has_gap());
    assert_eq!((buffer.list_len(), buffer.len(), buffer.readable()), (0, 5, 0));
    ahead(&mut pools, &mut buffer, 1025, 1);
    assert!(buffer.was_far());
    assert_eq!(buffer.list_len(), 1025 * size_of::<Option<Vec<u8>>>());
}

#[test]
fn nothing_is_reported_if_a_short_mask_would_be_empty() {
    let (mut pools, mut buffer) = buffer();
    ahead(&mut pools, &mut buffer, 40, 1);
    assert_eq!((buffer.sack_len(4), buffer.sack_len(8)), (0, 8));
}

#[test]
fn limits_may_change_and_clearing_frees_all() {
    let (mut pools, mut buffer) = buffer();
    buffer.set_reorder_window(2);
    let base = buffer.next();
    assert_eq!(buffer.insert(&mut pools, base.plus(3), b"x", false), Arrival::Overflow);
    ahead(&mut pools, &mut buffer, 2, 1200);
    buffer.insert(&mut pools, base, b"in order", false);
    assert_eq!((buffer.len(), buffer.fin()), (1208, None));
    assert_eq!(buffer.insert(&mut pools, base.plus(3), b"", true), Arrival::OutOfOrder);
    assert!(buffer.has_gap() && buffer.fin() == Some(base.plus(3)));
    buffer.clear(&mut pools);
    assert_eq!((buffer.len(), buffer.readable(), buffer.has_gap()), (0, 0, false));
    assert_eq!((buffer.ready.capacity(), buffer.ahead.capacity(), buffer.ahead_memory), (0, 0, 0));
    assert_eq!((pools.packets.take(1).capacity(), pools.blocks.take(1).capacity()), (1500, 4096));
}
