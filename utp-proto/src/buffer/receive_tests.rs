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
    assert_eq!(buffer.window(), largest_window(10_000));
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
fn too_far_ahead_and_too_much_are_dropped() {
    let (mut pools, mut buffer) = buffer();
    let base = SeqNr(0xfffe);
    assert_eq!(buffer.insert(&mut pools, base.plus(65), b"x", false), Arrival::Overflow);
    assert_eq!(buffer.insert(&mut pools, base.plus(64), b"x", false), Arrival::OutOfOrder);
    for i in 1..64 {
        buffer.insert(&mut pools, base.plus(i), &[0; 1000], false);
    }
    // What comes ahead leaves room for what is missing before it.
    assert_eq!((buffer.ahead_bytes, buffer.window()), (12_001, 0));
    assert_eq!(buffer.insert(&mut pools, base.plus(13), &[0; 1000], false), Arrival::Overflow);
    let arrival = buffer.insert(&mut pools, base, &[0; 1000], false);
    assert_eq!(arrival, Arrival::InOrder { bytes: 13_000, filled_gap: true });
    assert!(buffer.memory() <= 10_000 + SLACK);
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
    assert_eq!(
        (buffer.readable(), buffer.ack_nr(), buffer.window()),
        (0, SeqNr(0xffff), largest_window(10_000))
    );
}

#[test]
fn an_empty_buffer_holds_no_memory() {
    let (mut pools, mut buffer) = buffer();
    for i in (0..40).rev() {
        buffer.insert(&mut pools, SeqNr(0xfffe).plus(i), &[1; 100], false);
    }
    assert_eq!(read_all(&mut pools, &mut buffer).len(), 4000);
    assert_eq!((buffer.ready.capacity(), buffer.ahead.capacity()), (0, 0));
}

#[test]
fn an_application_may_read_in_pieces_of_any_size() {
    let (mut pools, mut buffer) = buffer();
    let mut expected = Vec::new();
    let mut got = Vec::new();
    for i in 0..500u16 {
        let packet: Vec<u8> = (0..i % 700).map(|j| (i + j) as u8).collect();
        expected.extend_from_slice(&packet);
        assert!(matches!(
            buffer.insert(&mut pools, SeqNr(0xfffe).plus(i), &packet, false),
            Arrival::InOrder { .. }
        ));
        while buffer.readable() > 5_000 {
            let mut piece = vec![0; usize::from(i * 37 % 1_900) + 1];
            let n = if i % 2 == 0 {
                buffer.read(&mut pools, &mut piece)
            } else {
                let n = buffer.chunk().len().min(piece.len());
                piece[..n].copy_from_slice(&buffer.chunk()[..n]);
                buffer.consume(&mut pools, n);
                n
            };
            assert!(n > 0);
            got.extend_from_slice(&piece[..n]);
        }
    }
    got.extend(read_all(&mut pools, &mut buffer));
    assert!(got == expected);
}

/// A window that was told is kept: full packets that fit it are taken, whichever comes first. (Of packets
/// below 1000 bytes the last few per cent may have to come again: their lists take more.)
#[test]
fn what_fits_the_window_is_taken_in_any_order() {
    let capacities = [4, 5, 8, 15, 16, 20, 32, 64, 100, 255, 256, 300, 512, 1023, 1024, 4096, 16_384];
    for capacity in capacities.map(|kib| kib << 10) {
        for len in [1212usize, 1452, 8952] {
            let packets = (largest_window(capacity) / len) as u16;
            // How much is in order already, when the rest comes the wrong way round.
            for (before, read) in
                [(0, 0), (packets / 2, 0), (packets / 2, (usize::from(packets / 2) * len).saturating_sub(1))]
            {
                let mut pools = Pools::default();
                let mut buffer = ReceiveBuffer::new(SeqNr(7), capacity, 16_384);
                let packet = vec![1; len];
                let more = (read / len) as u16;
                let order = (0..before).chain((before..packets + more).rev());
                let mut room = largest_window(capacity);
                for (i, n) in order.enumerate() {
                    if i == usize::from(before) {
                        buffer.consume(&mut pools, read);
                        room = buffer.window();
                    }
                    if n >= before && usize::from(n - before + 1) * len > room {
                        continue; // the window has not moved that far
                    }
                    let arrival = buffer.insert(&mut pools, SeqNr(7).plus(n), &packet, false);
                    let context = format!("{capacity} {len} {before} {read}: {n} of {packets}");
                    assert!(matches!(arrival, Arrival::InOrder { .. } | Arrival::OutOfOrder), "{context}");
                    assert!(buffer.memory() <= capacity + SLACK, "{context}: {}", buffer.memory());
                }
                assert!(!buffer.has_gap());
            }
        }
    }
}

/// Whatever arrives: the bound is one of memory, not of payload.
#[test]
fn memory_is_bounded_for_any_input() {
    let mut x = 1u64;
    let mut random = move |below: usize| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as usize % below
    };
    let sizes = [0, 1, 2, 20, 100, 511, 512, 600, 1000, 1452, 8952, 65_000];
    for capacity in [4 << 10, 16 << 10, 100_000, 1 << 20] {
        for round in 0..60 {
            let mut pools = Pools::default();
            let window = [16, 1024, 16_384][round % 3];
            let mut buffer = ReceiveBuffer::new(SeqNr(random(65_536) as u16), capacity, window);
            // Some rounds stay with one size, some never fill a gap.
            let (from, one) = (round / 3 % 2, sizes[random(sizes.len())]);
            let mut most = 0;
            for _ in 0..4_000 {
                let len = if round % 2 == 0 { one } else { sizes[random(sizes.len())] };
                let ahead = from + random(usize::from(window) + 2);
                let ahead = if random(3) == 0 { ahead.min(from + 2) } else { ahead };
                let seq = buffer.next().plus(ahead as u16);
                buffer.insert(&mut pools, seq, &vec![0; len], random(2_000) == 0);
                most = most.max(buffer.memory());
                if random(50) == 0 {
                    let len = random(3 * one + 1);
                    buffer.consume(&mut pools, len);
                }
                let blocks: usize = buffer.ahead.iter().flatten().map(Vec::capacity).sum();
                assert_eq!(buffer.ahead_memory, blocks);
                assert!(buffer.ready.iter().all(|page| page.capacity() == buffer.page));
            }
            assert!(most <= capacity + SLACK, "{most} of {capacity}");
        }
    }
}
