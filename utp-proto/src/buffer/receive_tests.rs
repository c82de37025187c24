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
    // More than was told, but it leaves room for what is missing before it.
    assert!(buffer.window() == 0 && buffer.has_gap());
    let ahead = buffer.ahead_len();
    assert!((10_000..10_000 + SLACK - PACKET).contains(&ahead));
    assert_eq!(
        buffer.insert(&mut pools, base, &[0; PACKET], false),
        Arrival::InOrder { bytes: PACKET + ahead - 1, filled_gap: true }
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
    assert_eq!(buffer.ahead_len(), 0, "what lies behind it is dropped");
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
    /// What is missing finds room if it is not larger.
    least: usize,
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
            least: 0,
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
        let packets = if cfg!(miri) { 400 } else { 30_000 };
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
            Arrival::OutOfOrder => {
                self.least = self.buffer.least();
                assert!(number > self.next && self.ahead.insert(number));
            }
            Arrival::Duplicate => assert!(number < self.next || self.ahead.contains(&number)),
            Arrival::Overflow => assert!(number >= self.next && !self.ahead.contains(&number)),
        }
        self.check();
        arrival
    }

    fn check(&mut self) {
        let memory = self.buffer.memory();
        assert!(memory <= self.bound, "{memory} of {}", self.bound);
        assert_eq!(self.buffer.readable(), self.ready - self.read);
        assert_eq!(self.buffer.ack_nr(), SeqNr(0xfeff).plus(self.next as u16));
        let held = self.ready - self.read + self.ahead.iter().map(|&n| self.sizes[n]).sum::<usize>();
        assert_eq!((self.buffer.store.live(), self.buffer.ahead), (held, self.ahead.len()));
        assert_eq!(self.buffer.held() == 0, self.ready == self.read && self.ahead.is_empty());
        let mut mask = Vec::new();
        self.buffer.sack(MASK, &mut mask);
        for bit in 0..8 * mask.len() {
            let shown = mask[bit / 8] >> (bit % 8) & 1 == 1;
            assert_eq!(shown, self.ahead.contains(&(self.next + 1 + bit)), "{bit}");
        }
        let last = self.ahead.range(..self.next + 1 + 8 * MASK).next_back();
        assert!(last.is_none_or(|&last| last < self.next + 1 + 8 * mask.len()));
    }

    fn read(&mut self, n: usize) {
        let mut out = vec![0; n];
        let n = self.buffer.read(&mut self.pools, &mut out);
        assert_eq!(n, out.len().min(self.ready - self.read));
        assert!(out[..n].iter().enumerate().all(|(i, &byte)| byte == Self::byte(self.read + i)));
        self.read += n;
        self.check();
    }

    /// Whatever happened: who reads all gets what is missing, and so gets on. Returns whether it did, for the peer here
    /// has not asked how much it may send: a packet larger than those before what is ahead may find no room.
    fn get_on(&mut self) -> bool {
        self.read(self.ready - self.read);
        let gets_on = matches!(self.insert(self.next), Arrival::InOrder { .. });
        assert!(gets_on || self.sizes[self.next] > self.least);
        gets_on
    }
}

/// Bytes of mask that the model compares: Miri takes a minute for all of them.
const MASK: usize = if cfg!(miri) { 4 } else { 128 };

#[test]
fn whatever_comes_is_delivered_in_order_from_bounded_memory_and_what_is_missing_finds_room() {
    // Under Miri few and short packets: it reads every byte several times.
    let (seeds, steps) = if cfg!(miri) { (3, 30) } else { (200, 3_000) };
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
                    let bits = 1 + model.random(if cfg!(miri) { 5 } else { 10 });
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
                14 if model.random(4) == 0 => _ = model.get_on(),
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
        while !model.ahead.is_empty() && model.get_on() {}
        model.read(model.ready - model.read);
        assert_eq!(model.buffer.held() == 0, model.ahead.is_empty());
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

#[test]
fn nothing_is_reported_if_a_short_mask_would_be_empty() {
    let (mut pools, mut buffer) = buffer();
    let seq = buffer.next().plus(40);
    assert_eq!(buffer.insert(&mut pools, seq, b"x", false), Arrival::OutOfOrder);
    assert_eq!((buffer.sack_len(4), buffer.sack_len(8)), (0, 8));
}

#[test]
fn what_comes_further_ahead_than_the_reorder_window_is_dropped() {
    let (mut pools, mut buffer) = buffer();
    buffer.set_reorder_window(2);
    let base = buffer.next();
    assert_eq!(buffer.insert(&mut pools, base.plus(3), b"x", false), Arrival::Overflow);
    assert_eq!(buffer.insert(&mut pools, base.plus(2), b"x", false), Arrival::OutOfOrder);
    assert!(matches!(buffer.insert(&mut pools, base, b"in order", false), Arrival::InOrder { .. }));
    assert_eq!((buffer.has_gap(), buffer.fin()), (true, None));
    assert_eq!(buffer.insert(&mut pools, base.plus(3), b"", true), Arrival::OutOfOrder);
    assert_eq!(buffer.fin(), Some(base.plus(3)));
    buffer.clear(&mut pools);
    assert_eq!((buffer.readable(), buffer.has_gap(), buffer.held()), (0, false, 0));
}

/// A peer that keeps to the windows it was told, and loses packets at random; an application that reads as it likes.
fn keep_to_the_window(seed: u64, steps: usize) {
    let mut dice = Model::new(seed);
    let mut random = |below| dice.random(below);
    let mss = [100, 534, 1_212, 1_452][random(4)];
    let capacity = (8 << 10) << random(8);
    let capacity = capacity + random(capacity);
    // Each gap lengthens a list, and with more of them than this long ones take what was told.
    let losses = 1 + random(60);
    let (loss, pace) = ((losses * mss * 1000 / capacity).clamp(1, 500), 1 + random(3 * mss));
    let (mut pools, mut buffer) = (Pools::default(), ReceiveBuffer::new(SeqNr(0), capacity, 30_000));
    let mut edge = buffer.window();
    let (mut sent, mut lost) = (0, VecDeque::new());
    let packet = vec![7; mss];
    for _ in 0..steps {
        if random(3) == 0 {
            let mut out = vec![0; random(2 * pace)];
            buffer.read(&mut pools, &mut out);
        }
        let next = if (sent + 1) * mss > edge || random(8) == 0 { lost.pop_front() } else { None };
        let next = next.or_else(|| ((sent + 1) * mss <= edge).then_some(sent));
        let Some(number) = next else { continue };
        sent = sent.max(number + 1);
        if random(1000) < loss && lost.len() < losses {
            lost.push_back(number);
            continue;
        }
        let arrival = buffer.insert(&mut pools, SeqNr(number as u16), &packet, false);
        assert!(matches!(arrival, Arrival::InOrder { .. } | Arrival::OutOfOrder), "{number} {arrival:?}");
        assert!(buffer.memory() <= capacity + SLACK);
        let in_order = usize::from(buffer.next().0);
        edge = edge.max(in_order * mss + buffer.window());
    }
}

#[test]
fn a_peer_that_keeps_to_the_window_loses_nothing() {
    let (seeds, steps) = if cfg!(miri) { (2, 200) } else { (400, 5_000) };
    for seed in 0..seeds {
        println!("seed {seed}");
        keep_to_the_window(seed, steps);
    }
}

#[test]
fn who_sends_further_ahead_than_a_mask_of_deployed_peers_shows_is_remembered() {
    let (mut pools, mut buffer) = buffer();
    buffer.set_reorder_window(2_000);
    for (ahead, was_far) in [(1, false), (1_024, false), (1_026, true), (2, true)] {
        assert_eq!(buffer.insert(&mut pools, SeqNr(0xfffe).plus(ahead), b"x", false), Arrival::OutOfOrder);
        assert_eq!(buffer.was_far(), was_far, "{ahead}");
    }
    let mut buffer = ReceiveBuffer::new(SeqNr(0), 10_000, 2_000);
    assert_eq!(buffer.insert(&mut pools, SeqNr(1_025), b"x", false), Arrival::OutOfOrder);
    assert!(buffer.was_far());
}

#[test]
fn once_the_capacity_has_become_less_blocks_are_not_filled_up() {
    let mut pools = Pools::default();
    let mut buffer = ReceiveBuffer::new(SeqNr(0), 100_000, 64);
    for _ in 0..12 {
        let next = buffer.next();
        assert!(matches!(buffer.insert(&mut pools, next, &[7; 1_000], false), Arrival::InOrder { .. }));
    }
    buffer.set_capacity(4 << 10);
    let left = (4 << 10) + SLACK - 12_000;
    assert!(buffer.store.room() > left);
    for (bytes, taken) in [(left + 1, false), (left, true), (1, false)] {
        let next = buffer.next();
        let arrival = buffer.insert(&mut pools, next, &vec![7; bytes], false);
        assert_eq!(arrival != Arrival::Overflow, taken, "{bytes}");
    }
}

#[test]
fn a_list_of_pieces_is_memory_too_and_a_spare_one_is_taken_if_it_is_not_much_of_the_buffer() {
    // 32, and one for each 16 KiB.
    for (capacity, list, taken) in
        [(10_000, 32, true), (10_000, 33, false), (1 << 20, 96, true), (1 << 20, 97, false)]
    {
        let mut pools = Pools::default();
        pools.give_pieces(Pieces::with_capacity(list));
        let mut buffer = ReceiveBuffer::new(SeqNr(0), capacity, 64);
        buffer.insert(&mut pools, SeqNr(0), b"x", false);
        assert_eq!(buffer.pieces.capacity() == list, taken, "{list} of {capacity}");
        let of_list = buffer.pieces.capacity() * size_of::<Piece>();
        assert_eq!(buffer.held(), buffer.store.capacity() + of_list);
        assert_eq!(buffer.memory(), buffer.store.memory() + of_list);
    }
}

#[test]
fn a_stream_goes_on_right_behind_what_was_ahead_in_one_piece_with_it() {
    let (mut pools, mut buffer) = (Pools::default(), ReceiveBuffer::new(SeqNr(0), 100_000, 64));
    let block = 4_096;
    buffer.insert(&mut pools, SeqNr(0), &vec![0; block], false);
    assert_eq!(buffer.store.room(), 0);
    buffer.insert(&mut pools, SeqNr(2), &[2; 100], false);
    buffer.consume(&mut pools, block); // and the first block has room again
    buffer.insert(&mut pools, SeqNr(1), &[1; 100], false);
    buffer.insert(&mut pools, SeqNr(3), &[3; 100], false);
    assert_eq!((buffer.chunk(), buffer.readable()), (&[1; 100][..], 300));
    buffer.consume(&mut pools, 100);
    assert_eq!(buffer.chunk(), [[2; 100], [3; 100]].concat());
}

#[test]
fn lists_take_from_the_window_what_they_need_to_grow_but_for_the_first_kilobytes() {
    let (mut pools, mut buffer) = (Pools::default(), ReceiveBuffer::new(SeqNr(0), 100_000, 1_000));
    for gap in 1..=200 {
        buffer.insert(&mut pools, SeqNr(2 * gap), b"x", false);
        let (pieces, size) = (buffer.pieces.capacity(), size_of::<Piece>());
        let taken = usize::from(gap) + buffer.store.list() + pieces * (2 * size + size.div_ceil(8));
        assert_eq!(buffer.window(), 100_000 - taken.saturating_sub(3 << 10).max(gap.into()));
    }
    assert!(buffer.window() < 95_000);
}

#[test]
fn the_last_bytes_of_the_capacity_have_a_block_for_some_packets() {
    let (mut pools, mut buffer) = buffer();
    let mut after = |packets: u16| {
        for _ in 0..packets {
            let next = buffer.next();
            buffer.insert(&mut pools, next, &[7; 1_000], false);
        }
        (buffer.store.capacity(), buffer.window())
    };
    assert_eq!(after(8), (8 << 10, 2_000));
    assert_eq!(after(1), ((8 << 10) + SMALL, 1_000));
    assert_eq!(SMALL, 2_048);
}

#[test]
fn what_is_missing_is_taken_though_the_list_of_blocks_has_to_grow_for_it() {
    let (mut pools, mut buffer) = (Pools::default(), ReceiveBuffer::new(SeqNr(0), 100_000, 1_000));
    assert_eq!(buffer.insert(&mut pools, SeqNr(95), &[7; 1_000], false), Arrival::OutOfOrder);
    let list = buffer.store.list();
    for seq in 0..95 {
        let arrival = buffer.insert(&mut pools, SeqNr(seq), &[7; 1_000], false);
        assert!(matches!(arrival, Arrival::InOrder { filled_gap: true, .. }), "{seq}");
    }
    assert_eq!(buffer.readable(), 96_000);
    assert!(buffer.store.list() > 3 * list);
}

#[test]
fn what_comes_although_nothing_was_told_has_blocks_of_4_kib() {
    for capacity in [10_000, 100_000] {
        let mut pools = Pools::default();
        let mut buffer = ReceiveBuffer::new(SeqNr(0), capacity, 64);
        while buffer.window() > 0 {
            let next = buffer.next();
            buffer.insert(&mut pools, next, &[7; 1_000], false);
        }
        let before = buffer.store.capacity();
        let next = buffer.next();
        buffer.insert(&mut pools, next, &vec![7; buffer.store.room() + 1], false);
        assert_eq!(buffer.store.capacity(), before + 4_096);
    }
}

#[test]
fn however_many_gaps_there_are_a_packet_ahead_is_taken_while_there_is_a_window() {
    let capacities = [(20_000, 400), (100_000, 2_000), (300_000, 6_000), (4 << 20, 10_000)];
    for (capacity, gaps) in capacities.into_iter().take(if cfg!(miri) { 1 } else { 4 }) {
        let (mut pools, mut buffer) = (Pools::default(), ReceiveBuffer::new(SeqNr(0), capacity, 30_000));
        let next = |gap: &u16| buffer.insert(&mut pools, SeqNr(2 * gap), b"x", false) != Arrival::Overflow;
        assert!((1..10_001).take_while(next).count() >= gaps);
        assert!(buffer.window() == 0 || gaps == 10_000, "{} of {capacity}", buffer.window());
        assert!(buffer.memory() <= capacity + SLACK);
    }
}
