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
    assert!(buffer.ahead_bytes <= 10_000 && buffer.window() < 1_000);
    assert_eq!(
        buffer.insert(&mut pools, base, &[0; SLACK], false),
        Arrival::InOrder { bytes: SLACK + 9_000, filled_gap: true }
    );
    assert!(buffer.readable() + buffer.ahead_bytes <= 10_000 + SLACK);
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
    assert_eq!((buffer.ready.capacity(), buffer.ahead.capacity()), (0, 0));
}
