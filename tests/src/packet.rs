//! Readable uTP headers, for the message of a failed case. Decodes by itself, so that a fault in the
//! crate's own parser cannot hide here.

use std::fmt;

/// A datagram, decoded as far as it can be.
#[derive(Debug, Clone)]
pub enum Packet {
    /// A uTP header and what follows it.
    Utp(Header),
    /// Something else, of this length.
    Other(usize),
}

/// The fields of BEP 29 that matter for reading a trace.
#[derive(Debug, Clone)]
pub struct Header {
    kind: &'static str,
    id: u16,
    timestamp: u32,
    difference: u32,
    window: u32,
    seq: u16,
    ack: u16,
    /// Identifier and payload of each extension.
    extensions: Vec<(u8, Vec<u8>)>,
    payload: usize,
}

impl Packet {
    /// Reads a datagram.
    #[must_use]
    pub fn decode(data: &[u8]) -> Self {
        Header::decode(data).map_or(Self::Other(data.len()), Self::Utp)
    }
}

impl Header {
    fn decode(data: &[u8]) -> Option<Self> {
        let (head, mut rest) = data.split_first_chunk::<20>()?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let kind = *["DATA", "FIN", "STATE", "RESET", "SYN"].get(usize::from(head[0] >> 4))?;
        if head[0] & 15 != 1 {
            return None;
        }
        let mut next = head[1];
        let mut extensions = Vec::new();
        while next != 0 {
            let (&[following, length], after) = rest.split_first_chunk::<2>()?;
            let (payload, after) = after.split_at_checked(usize::from(length))?;
            extensions.push((next, payload.to_vec()));
            (next, rest) = (following, after);
        }
        Some(Self {
            kind,
            id: half(2),
            timestamp: word(4),
            difference: word(8),
            window: word(12),
            seq: half(16),
            ack: half(18),
            extensions,
            payload: rest.len(),
        })
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = match self {
            Self::Utp(header) => header,
            Self::Other(length) => return write!(f, "not uTP, {length} bytes"),
        };
        let Header { kind, id, timestamp, difference, window, seq, ack, extensions, payload } = header;
        write!(f, "{kind:<5} id {id:5} seq {seq:5} ack {ack:5} wnd {window:8} len {payload:4}")?;
        write!(f, " ts {timestamp:10} diff {difference:10}")?;
        for (identifier, payload) in extensions {
            match identifier {
                1 => write!(f, " sack {}", holes(*ack, payload))?,
                other if payload.len() <= 8 => write!(f, " ext {other} {payload:02x?}")?,
                other => write!(f, " ext {other} of {} bytes", payload.len())?,
            }
        }
        Ok(())
    }
}

/// The sequence numbers a selective acknowledgement names, as ranges.
fn holes(ack: u16, mask: &[u8]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for bit in (0..mask.len() * 8).filter(|bit| mask[bit / 8] >> (bit % 8) & 1 == 1) {
        let seq = ack.wrapping_add(2).wrapping_add(bit as u16);
        match ranges.last_mut() {
            Some(last) if last.1.wrapping_add(1) == seq => last.1 = seq,
            _ => ranges.push((seq, seq)),
        }
    }
    let ranges: Vec<_> =
        ranges.iter().map(|&(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    format!("[{}]/{}", ranges.join(","), mask.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_with_a_selective_ack_is_readable() {
        let mut data = vec![0x21, 1, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x10, 0, 0, 9, 0xff, 0xff];
        data.extend([0, 4, 0b0000_0111, 0, 0, 0x80]);
        let text = Packet::decode(&data).to_string();
        assert!(text.starts_with("STATE id  4660 seq     9 ack 65535 wnd     4096 len    0"), "{text}");
        assert!(text.ends_with("sack [1-3,32]/4"), "{text}");
    }

    #[test]
    fn what_is_not_utp_is_named_so() {
        for data in [&b"d1:ad2:id20:"[..], &[0x51; 30], &[0x22; 30], &[0x21, 1, 0, 0], &[1; 21]] {
            assert!(matches!(Packet::decode(data), Packet::Other(n) if n == data.len()));
        }
    }
}
