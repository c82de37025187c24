//! The clock of the wire: microseconds, 32 bits, wrapping every 71.6 minutes.

/// A sender's clock as it stands in a packet. Clocks of two ends are not synchronised: only
/// differences between differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// `self - earlier`, wrapping: the `timestamp_difference_microseconds` of BEP 29 if `self` is the
    /// local clock at receipt and `earlier` the timestamp of the packet.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// What old uTorrent versions send as `timestamp_difference_microseconds` for "unknown"; libutp and
/// libtorrent ignore it, as we do. Zero means "nothing received yet" and is ignored too.
pub const NO_SAMPLE: u32 = 0x7fff_ffff;
