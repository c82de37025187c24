//! The bytes that the cases move: a seeded stream in which every position is different, so that a
//! lost, repeated or displaced piece is found at its offset.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Endless stream of bytes that depends on the seed only.
#[derive(Debug, Clone)]
pub struct Pattern {
    rng: ChaCha8Rng,
    block: Box<[u8; BLOCK]>,
    used: usize,
}

impl Pattern {
    /// Stream number `seed`, from its start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), block: Box::new([0; BLOCK]), used: BLOCK }
    }

    /// The next `out.len()` bytes, however the stream is cut into calls.
    pub fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            let next = self.rest(out.len());
            let n = next.len();
            out[..n].copy_from_slice(next);
            out = &mut out[n..];
        }
    }

    /// Up to `max` of the next bytes; at least one.
    fn rest(&mut self, max: usize) -> &[u8] {
        if self.used == BLOCK {
            self.rng.fill_bytes(&mut self.block[..]);
            self.used = 0;
        }
        let start = self.used;
        self.used = BLOCK.min(start + max);
        &self.block[start..self.used]
    }
}

/// Compares what arrives with the pattern.
#[derive(Debug)]
pub struct Checker {
    pattern: Pattern,
    checked: u64,
    length: u64,
}

impl Checker {
    /// Expects the first `length` bytes of stream number `seed`.
    #[must_use]
    pub fn new(seed: u64, length: u64) -> Self {
        Self { pattern: Pattern::new(seed), checked: 0, length }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// Names the offset of the first byte that is wrong or too many.
    pub fn feed(&mut self, mut data: &[u8]) -> Result<(), String> {
        if self.checked + data.len() as u64 > self.length {
            return Err(format!(
                "{} bytes arrived, only {} were sent",
                self.checked + data.len() as u64,
                self.length
            ));
        }
        while !data.is_empty() {
            let expected = self.pattern.rest(data.len());
            let n = expected.len();
            if expected != &data[..n] {
                let at = expected.iter().zip(data).position(|(a, b)| a != b).unwrap_or(0);
                return Err(format!("byte {} is not what was sent", self.checked + at as u64));
            }
            self.checked += n as u64;
            data = &data[n..];
        }
        Ok(())
    }

    /// Bytes that arrived and were right.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Bytes still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.length - self.checked
    }

    /// Whether everything arrived.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.checked == self.length
    }
}

const BLOCK: usize = 4096; // ChaCha block times 64, so that no word of the stream is thrown away

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_into_calls_does_not_matter() {
        let mut whole = vec![0; 20_000];
        Pattern::new(7).fill(&mut whole);
        let mut pieces = vec![0; 20_000];
        let mut pattern = Pattern::new(7);
        for piece in pieces.chunks_mut(1_237) {
            pattern.fill(piece);
        }
        assert_eq!(whole, pieces);
    }

    #[test]
    fn a_wrong_byte_is_found_at_its_offset() {
        let mut data = vec![0; 10_000];
        Pattern::new(7).fill(&mut data);
        let mut checker = Checker::new(7, 10_000);
        checker.feed(&data[..6_000]).unwrap();
        data[8_191] ^= 1;
        assert_eq!(checker.feed(&data[6_000..]).unwrap_err(), "byte 8191 is not what was sent");
    }

    #[test]
    fn a_swapped_piece_and_a_surplus_are_found() {
        let mut data = vec![0; 3_000];
        Pattern::new(7).fill(&mut data);
        data.swap(1_000, 2_000);
        assert!(Checker::new(7, 3_000).feed(&data).is_err());
        assert!(Checker::new(7, 2_999).feed(&data).unwrap_err().contains("only 2999 were sent"));
    }
}
