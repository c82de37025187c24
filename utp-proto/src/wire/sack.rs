//! The selective-acknowledgement mask (extension 1).

/// Mask of packets received out of order: bit 0 (least significant of byte 0) stands for `ack_nr + 2`.
/// `ack_nr + 1` is missing by definition. Any length is accepted: libtorrent sends 1, 2, 3, 5, ...
/// bytes, and all-zero masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SackMask<'a>(pub &'a [u8]);

impl<'a> SackMask<'a> {
    /// Offsets from `ack_nr` of the packets that the mask reports, ascending, each at least 2.
    pub fn offsets(self) -> impl Iterator<Item = u16> + 'a {
        self.0.iter().take(MAX_SACK_LEN).enumerate().flat_map(|(i, &byte)| {
            let base = 2 + 8 * i as u16;
            let mut rest = byte;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as u16;
                rest &= rest - 1;
                Some(base + bit)
            })
        })
    }

    /// Whether it reports nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }
}

/// Longest mask that is looked at: what the length byte of an extension can say.
pub const MAX_SACK_LEN: usize = 255;
