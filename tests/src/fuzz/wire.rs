//! Header, extension chain and selective acknowledgement.

use arbitrary::Unstructured;
use utp_proto::wire::{HEADER_LEN, Packet, ParseError, SackMask};

use super::input::Chain;
use super::reference::{self, Parsed};

/// Any bytes: what parses encodes to the same bytes, and borrows from them.
pub fn header(data: &[u8]) {
    match Packet::parse(data) {
        Ok(packet) => {
            assert_eq!(packet.header.encode(data[1])[..], data[..HEADER_LEN]);
            assert!(data.ends_with(packet.payload));
            let extensions: usize = packet.extensions().map(|(_, body)| 2 + body.len()).sum();
            assert_eq!(HEADER_LEN + extensions + packet.payload.len(), data.len());
            assert_eq!(packet.extensions().count() == 0, data[1] == 0);
        }
        Err(ParseError::NotUtp) => {
            assert!(data.len() < HEADER_LEN || data[0] & 15 != 1 || data[0] >> 4 > 4);
        }
        Err(_) => assert!(data[1] != 0, "no extensions that could be broken"),
    }
}

/// A chain that was built reads back as it was built, and so does every truncation of it or is refused.
pub fn extensions(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(chain) = u.arbitrary::<Chain>() else { return };
    let bytes = chain.packet();
    let packet = Packet::parse(&bytes).expect("a chain as it should be");
    let read: Vec<_> = packet.extensions().collect();
    assert_eq!(read, chain.elements());
    assert_eq!(packet.payload, chain.payload);
    let mask = chain.elements().iter().rev().find(|(id, _)| *id == 1).map(|(_, body)| *body);
    assert_eq!(packet.sack, mask.map(SackMask));
    if let Some(sack) = packet.sack {
        check_mask(sack);
    }
    let cut = chain.cut(bytes.len());
    match Packet::parse(&bytes[..cut]) {
        Ok(packet) => assert_eq!(packet.payload.len() + bytes.len() - cut, chain.payload.len()),
        Err(ParseError::NotUtp) => assert!(cut < HEADER_LEN),
        Err(_) => assert!(cut < bytes.len() - chain.payload.len()),
    }
}

/// Offsets ascend, begin at two, end within the mask, and are as many as bits are set.
fn check_mask(sack: SackMask<'_>) {
    let offsets: Vec<u16> = sack.offsets().collect();
    assert!(offsets.is_sorted_by(|a, b| a < b));
    assert!(offsets.first().is_none_or(|first| *first >= 2));
    assert!(offsets.last().is_none_or(|last| usize::from(*last) < 2 + 8 * sack.0.len()));
    assert_eq!(offsets.len() as u32, sack.0.iter().map(|byte| byte.count_ones()).sum::<u32>());
    assert_eq!(offsets.is_empty(), sack.is_empty());
}

/// Any bytes: the real parser and the naive one agree in everything.
pub fn differential(data: &[u8]) {
    let expected = reference::parse(data);
    let packet = match Packet::parse(data) {
        Ok(packet) => packet,
        Err(ParseError::NotUtp) => return assert_eq!(expected, Parsed::NotUtp),
        Err(_) => return assert_eq!(expected, Parsed::BrokenExtensions),
    };
    let Parsed::Packet(reference) = expected else { panic!("{packet:?}, not {expected:?}") };
    let header = packet.header;
    assert_eq!(header.kind as u8, reference.kind);
    assert_eq!(u64::from(header.connection_id), reference.connection_id);
    assert_eq!(u64::from(header.timestamp.0), reference.timestamp);
    assert_eq!(u64::from(header.timestamp_difference), reference.timestamp_difference);
    assert_eq!(u64::from(header.wnd_size), reference.wnd_size);
    assert_eq!(u64::from(header.seq_nr.0), reference.seq_nr);
    assert_eq!(u64::from(header.ack_nr.0), reference.ack_nr);
    assert_eq!(packet.payload, reference.payload);
    let extensions: Vec<_> = packet.extensions().map(|(id, body)| (id, body.to_vec())).collect();
    assert_eq!(extensions, reference.extensions);
    let sacked = packet.sack.map(|mask| mask.offsets().map(u64::from).collect());
    assert_eq!(sacked, reference.sacked());
    assert_eq!(packet.close_reason.map(u64::from), reference.close_reason());
}
