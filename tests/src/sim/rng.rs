//! Random choices from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of random choices. Streams of one seed and different purposes are independent, so that a
/// new one changes nothing for the others.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `seed` for `purpose`.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Self(rng)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability. Draws nothing for 0, so that a fault that is off costs no choice.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Uniform in the range.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + ((u128::from(self.bits()) * (u128::from(high - low) + 1)) >> 64) as u64
    }

    /// Uniform in logarithm: as often between 1 and 10 as between 10 and 100.
    pub fn log_range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        let (l, h) = ((low.max(1) as f64).ln(), (high.max(1) as f64).ln());
        ((l + (h - l) * self.unit()).exp() as u64).clamp(low, high)
    }

    /// Up to this long.
    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.range(0..=most.as_micros() as u64))
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.range(0..=among.len() as u64 - 1) as usize]
    }

    /// 32 bytes, for an endpoint.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}
