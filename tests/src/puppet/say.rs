//! Packets for the endpoint, in the terms of the connection: numbers from 0, what is not said as it was.

use super::Kind;

/// A packet for the endpoint; made by [`data`] and its kin. What is not said is what the puppet said last, or
/// what its flavour says.
#[derive(Debug, Clone)]
#[must_use]
pub struct Packet {
    pub(super) kind: Kind,
    pub(super) number: Option<i32>,
    pub(super) ack: Option<i32>,
    pub(super) window: Option<u32>,
    pub(super) sack: Option<Vec<i32>>,
    pub(super) mask: Option<Vec<u8>>,
    pub(super) timestamp: Option<u32>,
    pub(super) difference: Option<u32>,
    pub(super) id: Option<u16>,
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

/// DATA with this number and [`piece`] of it.
pub fn data(number: i32) -> Packet {
    Packet { number: Some(number), payload: piece(number), ..empty(Kind::Data) }
}

/// STATE.
pub fn state() -> Packet {
    empty(Kind::State)
}

/// FIN with this number.
pub fn fin(number: i32) -> Packet {
    Packet { number: Some(number), ..empty(Kind::Fin) }
}

/// RESET as from a peer that knows the connection.
pub fn reset() -> Packet {
    empty(Kind::Reset)
}

/// SYN.
pub fn syn() -> Packet {
    Packet { number: Some(-1), ..empty(Kind::Syn) }
}

fn empty(kind: Kind) -> Packet {
    Packet {
        kind,
        number: None,
        ack: None,
        window: None,
        sack: None,
        mask: None,
        timestamp: None,
        difference: None,
        id: None,
        extensions: Vec::new(),
        payload: Vec::new(),
    }
}

#[allow(missing_docs)] // the names are those of the fields
impl Packet {
    pub fn number(self, number: i32) -> Self {
        Self { number: Some(number), ..self }
    }

    /// Acknowledges this many of the endpoint's packets.
    pub fn ack(self, ack: i32) -> Self {
        Self { ack: Some(ack), ..self }
    }

    pub fn window(self, window: u32) -> Self {
        Self { window: Some(window), ..self }
    }

    /// Acknowledges these numbers selectively, in a mask as long as the flavour makes it.
    pub fn sack(self, numbers: impl IntoIterator<Item = i32>) -> Self {
        Self { sack: Some(numbers.into_iter().collect()), ..self }
    }

    /// A selective acknowledgement of any form.
    pub fn mask(self, mask: &[u8]) -> Self {
        Self { mask: Some(mask.to_vec()), ..self }
    }

    pub fn timestamp(self, timestamp: u32) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }

    pub fn difference(self, difference: u32) -> Self {
        Self { difference: Some(difference), ..self }
    }

    pub fn id(self, id: u16) -> Self {
        Self { id: Some(id), ..self }
    }

    /// One more extension, behind those that are there.
    pub fn extension(mut self, id: u8, body: &[u8]) -> Self {
        self.extensions.push((id, body.to_vec()));
        self
    }

    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }
}

/// What `data` of this number carries: 100 bytes that no other number has.
#[must_use]
pub fn piece(number: i32) -> Vec<u8> {
    (0..25).flat_map(|i| (number.wrapping_mul(0x9e37_79b9_u32 as i32) ^ i).to_be_bytes()).collect()
}

/// The payload of several packets.
#[must_use]
pub fn pieces(numbers: impl IntoIterator<Item = i32>) -> Vec<u8> {
    numbers.into_iter().flat_map(piece).collect()
}
