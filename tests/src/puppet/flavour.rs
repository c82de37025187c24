//! How deployed implementations differ, as far as the other end of the wire can see it. What is said of
//! each here was read in its source.

use super::packet::{Kind, Raw, mask};

/// Whom the puppet plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// BEP 29 as everybody agrees on it.
    Plain,
    /// Counts its FIN; masks of 4 bytes, on STATE only; drops packets whose number is not beyond its
    /// `ack_nr`, and those that lead with an extension of id 3 or more.
    Libutp,
    /// Does not count its FIN; masks of any length, on DATA too, counted from the first packet that it
    /// holds; drops every packet numbered beyond our FIN; window 0 in the SYN; a close reason on the FIN.
    Libtorrent,
    /// No masks at all, one acknowledgement for each packet, difference 0 (mafintosh/utp).
    Maskless,
    /// Does not count its FIN; the difference of the clocks as an absolute value (meqif/rust-utp).
    RustUtp,
}

/// What a peer writes into `timestamp_difference_microseconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// What it measured.
    Honest,
    /// Always this: 0 (mafintosh/utp), 1 s (ethereum/utp between skewed clocks), 0x7fff_ffff ("unknown",
    /// uTorrent).
    Constant(u32),
    /// The absolute value of the difference of the clocks (meqif/rust-utp).
    Absolute,
}

impl Flavour {
    /// Whether the numbers after a FIN count it.
    #[must_use]
    pub fn counts_fin(self) -> bool {
        !matches!(self, Self::Libtorrent | Self::RustUtp)
    }

    /// The window that a SYN tells.
    #[must_use]
    pub fn syn_window(self) -> u32 {
        if self == Self::Libtorrent { 0 } else { 1 << 20 }
    }

    /// What it reports as one-way delay unless told otherwise.
    #[must_use]
    pub fn measured(self) -> Measured {
        match self {
            Self::Maskless => Measured::Constant(0),
            Self::RustUtp => Measured::Absolute,
            _ => Measured::Honest,
        }
    }

    /// The selective acknowledgement that goes on a packet, of what waits behind `ack + 1`, ascending.
    #[must_use]
    pub fn sack(self, kind: Kind, ack: u16, waiting: &[u16]) -> Option<Vec<u8>> {
        let (&first, &last) = (waiting.first()?, waiting.last()?);
        let bits = usize::from(last.wrapping_sub(ack)) - 1;
        match (self, kind) {
            (Self::Maskless, _) => None,
            (Self::Libutp, Kind::State) => Some(mask(ack, waiting, 4)),
            (Self::Libutp, _) => None,
            (Self::Libtorrent, _) => {
                let span = usize::from(last.wrapping_sub(first)) + 1;
                Some(mask(ack, waiting, span.div_ceil(8).min(255)))
            }
            (Self::Plain | Self::RustUtp, Kind::State) => {
                Some(mask(ack, waiting, bits.div_ceil(32).min(8) * 4))
            }
            _ => None,
        }
    }

    /// Whether it looks at a packet of ours at all. `expects`: the number that it expects next; `fin`: that
    /// of our FIN, once it has got that.
    #[must_use]
    pub fn takes(self, packet: &Raw, expects: u16, fin: Option<u16>) -> bool {
        let leads = packet.extensions.first().map_or(0, |(id, _)| *id);
        match self {
            Self::Libutp if leads >= 3 => false,
            Self::Libutp => {
                packet.seq.wrapping_sub(expects) < 1024 || matches!(packet.kind, Kind::Syn | Kind::Reset)
            }
            Self::Libtorrent => fin.is_none_or(|fin| packet.seq.wrapping_sub(fin).wrapping_sub(1) >= 0x7fff),
            _ => true,
        }
    }
}
