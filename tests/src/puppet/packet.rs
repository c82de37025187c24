//! uTP packets built and read by hand, from BEP 29 alone: nothing here comes from the crate under test.

use std::fmt;

/// Type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of BEP 29
pub enum Kind {
    Data,
    Fin,
    State,
    Reset,
    Syn,
}

/// A packet, field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// Type.
    pub kind: Kind,
    /// Connection id.
    pub id: u16,
    /// The sender's clock in microseconds.
    pub timestamp: u32,
    /// The one-way delay that it measured last.
    pub difference: u32,
    /// Its receive window in bytes.
    pub window: u32,
    /// Sequence number.
    pub seq: u16,
    /// Last packet received in order.
    pub ack: u16,
    /// Extensions in order: id and body (255 bytes at most).
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What follows.
    pub payload: Vec<u8>,
}

impl Raw {
    /// A packet of this type with nothing in it.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            id: 0,
            timestamp: 1,
            difference: 0,
            window: 1 << 20,
            seq: 0,
            ack: 0,
            extensions: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The bytes on the wire.
    ///
    /// # Panics
    /// If an extension is longer than its length byte can say.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let first = self.extensions.first().map_or(0, |(id, _)| *id);
        let mut out = vec![(self.kind as u8) << 4 | 1, first];
        out.extend(self.id.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.difference.to_be_bytes());
        out.extend(self.window.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        for (i, (_, body)) in self.extensions.iter().enumerate() {
            out.push(self.extensions.get(i + 1).map_or(0, |(id, _)| *id));
            out.push(u8::try_from(body.len()).expect("an extension of 255 bytes at most"));
            out.extend(body);
        }
        out.extend(&self.payload);
        out
    }

    /// Reads a datagram; `None` if it is not a whole packet of version 1.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let (head, mut rest) = datagram.split_at_checked(20)?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        let kind =
            *[Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn].get(head[0] as usize >> 4)?;
        if head[0] & 15 != 1 {
            return None;
        }
        let mut extensions = Vec::new();
        let mut id = head[1];
        while id != 0 {
            let (&next, after) = rest.split_first()?;
            let (&len, after) = after.split_first()?;
            let (body, after) = after.split_at_checked(usize::from(len))?;
            extensions.push((id, body.to_vec()));
            (id, rest) = (next, after);
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
            payload: rest.to_vec(),
        })
    }

    /// The selective acknowledgement, if there is one.
    #[must_use]
    pub fn mask(&self) -> Option<&[u8]> {
        self.extensions.iter().find(|(id, _)| *id == 1).map(|(_, body)| &body[..])
    }

    /// The numbers that the selective acknowledgement reports.
    #[must_use]
    pub fn sacked(&self) -> Vec<u16> {
        let mask = self.mask().unwrap_or_default();
        let set = (0..8 * mask.len() as u16).filter(|bit| mask[usize::from(bit / 8)] >> (bit % 8) & 1 == 1);
        set.map(|bit| self.ack.wrapping_add(2 + bit)).collect()
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, window, seq, ack, extensions, payload, .. } = self;
        write!(f, "{kind:?} id {id} seq {seq} ack {ack} wnd {window}")?;
        if self.mask().is_some() {
            write!(f, " sack {:?}", self.sacked())?;
        }
        for (id, body) in extensions.iter().filter(|(id, _)| *id != 1) {
            write!(f, " ext {id} ({} bytes)", body.len())?;
        }
        if !payload.is_empty() {
            write!(f, " {} bytes", payload.len())?;
        }
        Ok(())
    }
}

/// A mask whose bits report these numbers, `len` bytes long; what it cannot show is left out.
#[must_use]
pub fn mask(ack: u16, numbers: &[u16], len: usize) -> Vec<u8> {
    let mut mask = vec![0; len];
    for number in numbers {
        let bit = usize::from(number.wrapping_sub(ack).wrapping_sub(2));
        if bit < 8 * len {
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    mask
}
