//! The bytes that simulated applications send: a function of stream and offset, so that a lost,
//! repeated or displaced piece is found where it happens, without anybody keeping a copy.

use std::sync::OnceLock;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Fills `out` with the bytes of `stream` from `offset` on.
pub fn fill(stream: u64, offset: u64, out: &mut [u8]) {
    walk(stream, offset, out.len(), |at, reel, mask| {
        let out = &mut out[at..at + reel.len()];
        out.copy_from_slice(reel);
        // By words: counting edges for the fuzzer keeps the compiler from doing that itself.
        let (words, rest) = out.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ spread(mask)).to_ne_bytes();
        }
        for byte in rest {
            *byte ^= mask;
        }
        None
    });
}

/// Where `data`, which claims to be the bytes of `stream` from `offset` on, is wrong first.
#[must_use]
pub fn mismatch(stream: u64, offset: u64, data: &[u8]) -> Option<usize> {
    walk(stream, offset, data.len(), |at, reel, mask| {
        let piece = &data[at..at + reel.len()];
        // One pass over words; the place is looked for only if there is one.
        let ((a, a_rest), (b, b_rest)) = (piece.as_chunks::<8>(), reel.as_chunks::<8>());
        let differs =
            |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b) ^ spread(mask);
        let words = a.iter().zip(b).fold(0, |wrong, (a, b)| wrong | differs(a, b));
        let rest = a_rest.iter().zip(b_rest).fold(0, |wrong, (a, b)| wrong | (a ^ b ^ mask));
        if words == 0 && rest == 0 {
            None
        } else {
            piece.iter().zip(reel).position(|(a, b)| *a != b ^ mask).map(|i| at + i)
        }
    })
}

/// Calls `f` with the pieces of the reel that make up the range, until it gives something.
fn walk(
    stream: u64,
    offset: u64,
    len: usize,
    mut f: impl FnMut(usize, &[u8], u8) -> Option<usize>,
) -> Option<usize> {
    let reel = reel();
    let start = stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LENGTH as u64;
    let mut at = 0;
    while at < len {
        let position = start + offset + at as u64;
        let (lap, place) = (position / LENGTH as u64, (position % LENGTH as u64) as usize);
        let piece = &reel[place..LENGTH.min(place + len - at)];
        // Laps differ, so that a displacement by a whole reel shows too.
        if let Some(found) = f(at, piece, (lap.wrapping_add(stream)) as u8) {
            return Some(found);
        }
        at += piece.len();
    }
    None
}

/// The byte in all places of a word.
fn spread(mask: u8) -> u64 {
    u64::from_ne_bytes([mask; 8])
}

fn reel() -> &'static [u8] {
    static REEL: OnceLock<Vec<u8>> = OnceLock::new();
    REEL.get_or_init(|| {
        let mut reel = vec![0; LENGTH];
        ChaCha8Rng::seed_from_u64(29).fill_bytes(&mut reel);
        reel
    })
}

/// No multiple of any packet's or buffer's size.
const LENGTH: usize = (1 << 20) + 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_displacement_is_found() {
        let mut piece = [0; 3000];
        fill(5, 1_000_000, &mut piece);
        assert_eq!(mismatch(5, 1_000_000, &piece), None);
        assert_eq!(mismatch(5, 1_000_001, &piece), Some(0));
        assert!(mismatch(5, 1_000_000 + LENGTH as u64, &piece).is_some());
        assert!(mismatch(6, 1_000_000, &piece).is_some());
        piece[2999] ^= 1;
        assert_eq!(mismatch(5, 1_000_000, &piece), Some(2999));
    }

    #[test]
    fn every_changed_byte_is_found() {
        let mut piece = [0; 77];
        fill(3, LENGTH as u64 - 30, &mut piece);
        for place in 0..piece.len() {
            piece[place] ^= 0x80;
            assert_eq!(mismatch(3, LENGTH as u64 - 30, &piece), Some(place));
            piece[place] ^= 0x80;
        }
        assert_eq!(mismatch(3, LENGTH as u64 - 30, &piece), None);
    }

    #[test]
    fn cutting_does_not_matter() {
        let mut whole = vec![0; 5000];
        fill(1, LENGTH as u64 - 2000, &mut whole);
        let mut parts = vec![0; 5000];
        for (i, part) in parts.chunks_mut(77).enumerate() {
            fill(1, LENGTH as u64 - 2000 + 77 * i as u64, part);
        }
        assert_eq!(whole, parts);
    }
}
