//! The extension chain between header and payload: `next type (1) | length (1) | payload`, linked
//! from the header's second byte.

/// Selective acknowledgement (BEP 29).
pub const SELECTIVE_ACK: u8 = 1;
/// Eight bytes of capability bits, seen in the wild, meaning nothing to us.
pub const EXTENSION_BITS: u8 = 2;
/// libtorrent's close reason: two reserved bytes and a big-endian `u16`.
pub const CLOSE_REASON: u8 = 3;
/// Filler of path-MTU probes: an id that nobody defines and everybody skips by length.
///
/// It never leads the chain, because libutp takes a packet whose first extension id is 3 or more for
/// another protocol; eight zero [`EXTENSION_BITS`] lead.
pub const PADDING: u8 = 0x50;

/// Walks the extensions of a parsed packet: `(id, payload)`.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    pub(super) next: u8,
    pub(super) rest: &'a [u8],
}

/// The chain ran past the end of the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truncated;

impl<'a> Extensions<'a> {
    /// The next element, or `Ok(None)` at the end of the chain.
    pub(super) fn advance(&mut self) -> Result<Option<(u8, &'a [u8])>, Truncated> {
        if self.next == 0 {
            return Ok(None);
        }
        let id = self.next;
        let (&[next, len], rest) = self.rest.split_first_chunk::<2>().ok_or(Truncated)?;
        let (payload, rest) = rest.split_at_checked(usize::from(len)).ok_or(Truncated)?;
        self.next = next;
        self.rest = rest;
        Ok(Some((id, payload)))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    /// The chain was checked when the packet was parsed, so its end is the only reason for `None`.
    fn next(&mut self) -> Option<Self::Item> {
        self.advance().ok().flatten()
    }
}

/// Appends extensions that make a packet `bytes` longer: [`EXTENSION_BITS`] first, then [`PADDING`].
/// `link` is the position in `buf` of the byte that names the first of them. Returns false, and
/// appends nothing, if `bytes` is below [`MIN_PADDING`].
pub(crate) fn append_padding(buf: &mut Vec<u8>, link: usize, bytes: usize) -> bool {
    let Some(mut left) = bytes.checked_sub(LEAD) else { return false };
    if bytes < MIN_PADDING {
        return false;
    }
    let Some(first) = buf.get_mut(link) else { return false };
    *first = EXTENSION_BITS;
    buf.extend_from_slice(&[PADDING, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    while left > 0 {
        let mut piece = left.min(2 + 255);
        if left - piece == 1 {
            piece -= 1; // an element takes two bytes: never leave a single one over
        }
        left -= piece;
        buf.extend_from_slice(&[if left > 0 { PADDING } else { 0 }, (piece - 2) as u8]);
        buf.resize(buf.len() + piece - 2, 0);
    }
    true
}

/// Length of the leading extension-bits element.
const LEAD: usize = 2 + 8;

/// Smallest padding that [`append_padding`] can make: the lead and one empty element.
pub(crate) const MIN_PADDING: usize = LEAD + 2;
