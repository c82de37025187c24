//! The packet format of BEP 29, read in the most naive way: byte by byte, one copy of everything, no
//! cleverness that could hide the same mistake as the real parser.

/// A packet as the text of BEP 29 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) kind: u8,
    pub(super) connection_id: u64,
    pub(super) timestamp: u64,
    pub(super) timestamp_difference: u64,
    pub(super) wnd_size: u64,
    pub(super) seq_nr: u64,
    pub(super) ack_nr: u64,
    /// Id and payload of each extension.
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

/// What a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    NotUtp,
    BrokenExtensions,
    Packet(Reference),
}

pub(super) fn parse(datagram: &[u8]) -> Parsed {
    if datagram.len() < 20 {
        return Parsed::NotUtp;
    }
    let (kind, version) = (datagram[0] / 16, datagram[0] % 16);
    if version != 1 || kind > 4 {
        return Parsed::NotUtp;
    }
    let mut extensions = Vec::new();
    let mut at = 20;
    let mut next = datagram[1];
    while next != 0 {
        if at + 2 > datagram.len() {
            return Parsed::BrokenExtensions;
        }
        let (following, length) = (datagram[at], usize::from(datagram[at + 1]));
        at += 2;
        if at + length > datagram.len() {
            return Parsed::BrokenExtensions;
        }
        extensions.push((next, datagram[at..at + length].to_vec()));
        at += length;
        next = following;
    }
    Parsed::Packet(Reference {
        kind,
        connection_id: number(datagram, 2, 2),
        timestamp: number(datagram, 4, 4),
        timestamp_difference: number(datagram, 8, 4),
        wnd_size: number(datagram, 12, 4),
        seq_nr: number(datagram, 16, 2),
        ack_nr: number(datagram, 18, 2),
        extensions,
        payload: datagram[at..].to_vec(),
    })
}

impl Reference {
    /// Offsets from `ack_nr` of what the last selective acknowledgement reports.
    pub(super) fn sacked(&self) -> Option<Vec<u64>> {
        let (_, mask) = self.extensions.iter().rfind(|(id, _)| *id == 1)?;
        let mut offsets = Vec::new();
        for bit in 0..8 * mask.len() {
            if mask[bit / 8] >> (bit % 8) & 1 == 1 {
                offsets.push(bit as u64 + 2);
            }
        }
        Some(offsets)
    }

    /// The last close reason of the right length.
    pub(super) fn close_reason(&self) -> Option<u64> {
        let fits = |(id, body): &&(u8, Vec<u8>)| *id == 3 && body.len() == 4;
        let (_, body) = self.extensions.iter().rfind(fits)?;
        Some(number(body, 2, 2))
    }
}

/// A big-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = 0;
    for byte in &bytes[at..at + length] {
        number = number * 256 + u64::from(*byte);
    }
    number
}
