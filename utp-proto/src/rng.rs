//! The endpoint's randomness: one ChaCha stream from the seed that the application gave.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A cryptographically strong generator: what it gives cannot be predicted from what it gave.
pub(crate) struct Rng(ChaCha12Rng);

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.0.next_u32() as u16
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl std::fmt::Debug for Rng {
    /// Shows nothing of the state: whoever knows it can predict connection ids.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}
