//! The 20-byte header and the packet around it.

use thiserror::Error;

use super::extension::{Extensions, Truncated};
use super::{CLOSE_REASON, SELECTIVE_ACK, SackMask, SeqNr, Timestamp};

/// The five packet types of BEP 29.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Payload; takes a sequence number.
    Data = 0,
    /// The last packet of a direction; takes a sequence number.
    Fin = 1,
    /// Acknowledgement without payload; carries the sequence number the next DATA would have.
    State = 2,
    /// The connection does not exist (any more).
    Reset = 3,
    /// Opens a connection; takes a sequence number.
    Syn = 4,
}

impl PacketType {
    fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Data,
            1 => Self::Fin,
            2 => Self::State,
            3 => Self::Reset,
            4 => Self::Syn,
            _ => return None,
        })
    }
}

/// The fields of the header, all but the first extension's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Type of the packet.
    pub kind: PacketType,
    /// Connection id as the receiver knows it; in a SYN, the id the sender receives on.
    pub connection_id: u16,
    /// The sender's clock when the packet left.
    pub timestamp: Timestamp,
    /// How much later than its timestamp, by the sender's clock, the last packet of the other
    /// direction arrived, in microseconds.
    pub timestamp_difference: u32,
    /// Bytes that the sender can still buffer.
    pub wnd_size: u32,
    /// Sequence number.
    pub seq_nr: SeqNr,
    /// Last packet received in order.
    pub ack_nr: SeqNr,
}

impl Header {
    /// The 20 bytes of this header, with the id of the first extension (0: none).
    #[must_use]
    pub fn encode(&self, first_extension: u8) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = (self.kind as u8) << 4 | VERSION;
        out[1] = first_extension;
        out[2..4].copy_from_slice(&self.connection_id.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.timestamp_difference.to_be_bytes());
        out[12..16].copy_from_slice(&self.wnd_size.to_be_bytes());
        out[16..18].copy_from_slice(&self.seq_nr.0.to_be_bytes());
        out[18..20].copy_from_slice(&self.ack_nr.0.to_be_bytes());
        out
    }
}

/// A parsed datagram; borrows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed part.
    pub header: Header,
    /// The selective acknowledgement, if there is one (the last, should there be several).
    pub sack: Option<SackMask<'a>>,
    /// libtorrent's close reason, if there is one.
    pub close_reason: Option<u16>,
    /// What follows header and extensions.
    pub payload: &'a [u8],
    first_extension: u8,
    extensions: &'a [u8],
}

/// Why a datagram is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Another protocol: the first byte is no type and version of uTP 1, or the datagram is shorter
    /// than a header.
    #[error("not a uTP version 1 packet")]
    NotUtp,
    /// The extension chain runs past the end of the datagram.
    #[error("extension chain past the end of the packet")]
    Extensions,
}

impl<'a> Packet<'a> {
    /// Parses a datagram. Unknown extensions are skipped by their length.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (head, rest) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::NotUtp)?;
        let [tv, ext, i0, i1, t0, t1, t2, t3, d0, d1, d2, d3, w0, w1, w2, w3, s0, s1, a0, a1] = *head;
        if tv & 0x0f != VERSION {
            return Err(ParseError::NotUtp);
        }
        let header = Header {
            kind: PacketType::from_nibble(tv >> 4).ok_or(ParseError::NotUtp)?,
            connection_id: u16::from_be_bytes([i0, i1]),
            timestamp: Timestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            timestamp_difference: u32::from_be_bytes([d0, d1, d2, d3]),
            wnd_size: u32::from_be_bytes([w0, w1, w2, w3]),
            seq_nr: SeqNr(u16::from_be_bytes([s0, s1])),
            ack_nr: SeqNr(u16::from_be_bytes([a0, a1])),
        };
        let mut packet = Packet {
            header,
            sack: None,
            close_reason: None,
            payload: rest,
            first_extension: ext,
            extensions: &[],
        };
        if ext != 0 {
            packet.parse_extensions(rest).map_err(|Truncated| ParseError::Extensions)?;
        }
        Ok(packet)
    }

    fn parse_extensions(&mut self, rest: &'a [u8]) -> Result<(), Truncated> {
        let mut chain = Extensions { next: self.first_extension, rest };
        while let Some((id, payload)) = chain.advance()? {
            match (id, payload) {
                (SELECTIVE_ACK, mask) => self.sack = Some(SackMask(mask)),
                (CLOSE_REASON, &[_, _, hi, lo]) => self.close_reason = Some(u16::from_be_bytes([hi, lo])),
                _ => {}
            }
        }
        self.payload = chain.rest;
        self.extensions = rest.get(..rest.len() - chain.rest.len()).unwrap_or_default();
        Ok(())
    }

    /// All extensions in order, unknown ones included.
    #[must_use]
    pub fn extensions(&self) -> Extensions<'a> {
        Extensions { next: self.first_extension, rest: self.extensions }
    }
}

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;

/// The only version deployed.
const VERSION: u8 = 1;
