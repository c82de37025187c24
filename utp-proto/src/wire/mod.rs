//! The wire format: header, extension chain, selective acknowledgements, sequence numbers and the
//! 32-bit clock. Parsing borrows from the datagram, allocates nothing and cannot panic.
//!
//! Source: BEP 29 "header format", "extension", "selective ACK"; where deployed peers differ from its
//! prose, the peers win (see `COMPLIANCE.md`).

mod clock;
mod extension;
mod packet;
mod sack;
mod seq;

pub use clock::{NO_SAMPLE, Timestamp};
pub use extension::{CLOSE_REASON, EXTENSION_BITS, Extensions, PADDING, SELECTIVE_ACK};
pub(crate) use extension::{MIN_PADDING, append_padding};
pub use packet::{HEADER_LEN, Header, Packet, PacketType, ParseError};
pub use sack::{MAX_SACK_LEN, SackMask};
pub use seq::SeqNr;

#[cfg(test)]
mod tests;
