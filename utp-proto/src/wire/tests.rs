use super::*;

/// Encodes as [`Packet::parse`] should read it back.
fn build(header: Header, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut out = header.encode(extensions.first().map_or(0, |e| e.0)).to_vec();
    for (i, (_, body)) in extensions.iter().enumerate() {
        out.push(extensions.get(i + 1).map_or(0, |e| e.0));
        out.push(body.len() as u8);
        out.extend_from_slice(body);
    }
    out.extend_from_slice(payload);
    out
}

fn header() -> Header {
    Header {
        kind: PacketType::Data,
        connection_id: 0x1234,
        timestamp: Timestamp(0x0102_0304),
        timestamp_difference: 0xfffe_fdfc,
        wnd_size: 0x0010_0000,
        seq_nr: SeqNr(0xffff),
        ack_nr: SeqNr(0x8001),
    }
}

#[test]
fn header_has_the_bytes_of_bep_29() {
    let bytes = header().encode(1);
    assert_eq!(
        bytes,
        [
            0x01, 0x01, 0x12, 0x34, 0x01, 0x02, 0x03, 0x04, 0xff, 0xfe, 0xfd, 0xfc, 0x00, 0x10, 0x00, 0x00,
            0xff, 0xff, 0x80, 0x01
        ]
    );
}

#[test]
fn a_packet_reads_back_with_extensions_and_payload() {
    let mask = [0b0000_0101, 0, 0, 0x80];
    let bytes = build(header(), &[(1, &mask), (9, b"unknown"), (3, &[0, 0, 1, 2])], b"payload");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.header, header());
    assert_eq!(packet.payload, b"payload");
    assert_eq!(packet.close_reason, Some(0x0102));
    assert_eq!(packet.sack.unwrap().offsets().collect::<Vec<_>>(), [2, 4, 33]);
    let ids: Vec<u8> = packet.extensions().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 9, 3]);
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_payload() {
    let bytes = build(header(), &[(1, &[1; 32]), (9, &[7; 3])], b"xyz");
    for len in 0..bytes.len() {
        match Packet::parse(&bytes[..len]) {
            Err(ParseError::NotUtp) => assert!(len < HEADER_LEN),
            Err(ParseError::Extensions) => assert!(len < bytes.len() - 3),
            Ok(packet) => assert!(packet.payload.len() < 3 && len >= bytes.len() - 3),
        }
    }
}

#[test]
fn other_types_and_versions_are_not_utp() {
    for first in 0..=255u8 {
        let mut bytes = header().encode(0);
        bytes[0] = first;
        let ours = first & 0x0f == 1 && first >> 4 <= 4;
        assert_eq!(Packet::parse(&bytes).is_ok(), ours, "{first:#04x}");
    }
    assert_eq!(Packet::parse(b"d1:ad2:id20:abcdefghij0123456789e"), Err(ParseError::NotUtp));
}

#[test]
fn sack_of_any_length_is_read() {
    for len in (0..=255usize).step_by(if cfg!(miri) { 51 } else { 1 }) {
        let mask = vec![0xff; len];
        let bytes = build(header(), &[(1, &mask)], &[]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.sack.unwrap().offsets().count(), 8 * len);
    }
    assert!(SackMask(&[0; 7]).is_empty());
    assert!(!SackMask(&[0, 8]).is_empty());
}

#[test]
fn close_reason_of_another_length_is_skipped() {
    let bytes = build(header(), &[(3, &[0, 0, 1])], b"x");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.close_reason, packet.payload), (None, &b"x"[..]));
}

#[test]
fn sequence_arithmetic_wraps_and_is_total() {
    let base = SeqNr(0xfff0);
    assert_eq!(base.plus(0x20), SeqNr(0x10));
    assert_eq!(SeqNr(0x10).minus(0x20), base);
    assert_eq!(SeqNr(0x10).distance_from(base), 0x20);
    assert_eq!(base.distance_from(SeqNr(0x10)), 0xffe0);
    assert!(SeqNr(0x0f).is_within(base, 0x20) && !SeqNr(0x10).is_within(base, 0x20));
    assert_eq!(SeqNr(0x8000).distance_from(SeqNr(0)), 0x8000);
    assert_eq!(Timestamp(5).since(Timestamp(u32::MAX)), 6);
}

#[test]
fn padding_makes_exactly_the_size_asked_for() {
    for bytes in (0..2000).step_by(if cfg!(miri) { 37 } else { 1 }) {
        let mut buf = header().encode(0).to_vec();
        let done = append_padding(&mut buf, 1, bytes);
        assert_eq!(done, bytes >= MIN_PADDING);
        if done {
            assert_eq!(buf.len(), HEADER_LEN + bytes);
            buf.extend_from_slice(b"data");
            let packet = Packet::parse(&buf).unwrap();
            assert_eq!(packet.payload, b"data");
            assert_eq!(packet.extensions().next().unwrap().0, EXTENSION_BITS);
        }
    }
}
