//! 16-bit sequence numbers that wrap.

use std::fmt;

/// `seq_nr` or `ack_nr`: counts packets, not bytes, modulo 2^16 (BEP 29).
///
/// There is deliberately no `Ord`: an order of wrapping numbers is not transitive. Ask for the
/// distance from a base instead; every operation is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNr(pub u16);

impl SeqNr {
    /// The number `n` packets later.
    #[must_use]
    pub const fn plus(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The number `n` packets earlier.
    #[must_use]
    pub const fn minus(self, n: u16) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// How many packets after `base` this one comes: 0 to 65 535, wrapping.
    #[must_use]
    pub const fn distance_from(self, base: Self) -> u16 {
        self.0.wrapping_sub(base.0)
    }

    /// Whether this number is one of the `len` that begin with `base`.
    #[must_use]
    pub const fn is_within(self, base: Self, len: u16) -> bool {
        self.distance_from(base) < len
    }
}

impl fmt::Display for SeqNr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
