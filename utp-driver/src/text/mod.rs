//! Text over streams of bytes, in the encodings of Node.js: [`Decoder`] for what arrives, in pieces cut
//! anywhere, and [`encode`] for what is written.
//!
//! Two kinds of encoding share one list, as in Node.js. `utf8`, `utf16le`, `latin1` and `ascii` are
//! character sets: bytes stand for text. `base64` and `hex` are the reverse: text stands for bytes, so
//! that decoding cannot fail, but encoding can.
//!
//! | | decoding | encoding |
//! |---|---|---|
//! | [`Utf8`](Encoding::Utf8) | as the WHATWG decoder does | all of Unicode |
//! | [`Utf16Le`](Encoding::Utf16Le) | as the WHATWG decoder does | all of Unicode |
//! | [`Latin1`](Encoding::Latin1) | byte = code point: ISO 8859-1, not windows-1252 | up to U+00FF |
//! | [`Ascii`](Encoding::Ascii) | each byte from 0x80 becomes U+FFFD | up to U+007F |
//! | [`Base64`](Encoding::Base64) | padded at the very end | either alphabet, no padding needed, spaces ignored |
//! | [`Hex`](Encoding::Hex) | lower case | either case, whole bytes |
//!
//! Invalid input, a character that the stream's end cuts off among it, becomes U+FFFD, as many of them as
//! the [Encoding Standard](https://encoding.spec.whatwg.org) says.
//! A byte order mark is text like any other: nothing that arrived is left out.
//!
//! Where Node.js loses data without a word, this module does not: its `ascii` decoder clears the highest
//! bit, its encoders cut characters to their lowest byte (`latin1`, `ascii`), stop (`hex`) or skip
//! (`base64`) at what they do not know. Here decoding shows U+FFFD, and encoding is an [`EncodeError`]
//! before anything is written.
//!
//! ```
//! use utp_driver::text::{Decoder, Encoding, encode};
//!
//! let bytes = encode("smørrebrød", Encoding::Utf8)?;
//! let mut decoder = Decoder::new(Encoding::Utf8);
//! let mut text = String::new();
//! for byte in bytes.iter() {
//!     decoder.decode(&[*byte], &mut text); // cut in the middle of characters
//! }
//! decoder.finish(&mut text);
//! assert_eq!(text, "smørrebrød");
//!
//! assert_eq!(encode("aGVsbG8", Encoding::Base64)?, &b"hello"[..]);
//! assert!(encode("héllo", Encoding::Ascii).is_err());
//! # Ok::<(), utp_driver::text::EncodeError>(())
//! ```

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;

pub use decode::Decoder;
pub use encode::{EncodeError, encode};

/// How text and bytes stand for each other. Parsed from, and shown as, the names that Node.js uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8: `utf8`, `utf-8`.
    #[default]
    Utf8,
    /// UTF-16, little endian: `utf16le`, `utf-16le`, `ucs2`, `ucs-2`.
    Utf16Le,
    /// ISO 8859-1: `latin1`, `binary`.
    Latin1,
    /// The 7 bits of US-ASCII: `ascii`.
    Ascii,
    /// Base64 (RFC 4648): `base64`.
    Base64,
    /// Two hexadecimal digits for each byte: `hex`.
    Hex,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Utf8, Self::Utf16Le, Self::Latin1, Self::Ascii, Self::Base64, Self::Hex];

    /// The name in Node.js, the shortest one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Utf16Le => "utf16le",
            Self::Latin1 => "latin1",
            Self::Ascii => "ascii",
            Self::Base64 => "base64",
            Self::Hex => "hex",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    /// Upper and lower case are the same.
    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        let known = |&&(label, _): &&(&str, Self)| label.eq_ignore_ascii_case(name);
        LABELS.iter().find(known).map(|&(_, encoding)| encoding).ok_or(UnknownEncoding(()))
    }
}

/// No [`Encoding`] has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEncoding(());

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown encoding: none of utf8, utf16le, latin1, ascii, base64, hex")
    }
}

impl Error for UnknownEncoding {}

impl From<UnknownEncoding> for io::Error {
    fn from(error: UnknownEncoding) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// What Node.js accepts (`Buffer.isEncoding`), but for `base64url`, which differs from `base64` only in
/// what it writes.
const LABELS: [(&str, Encoding); 11] = [
    ("utf8", Encoding::Utf8),
    ("utf-8", Encoding::Utf8),
    ("utf16le", Encoding::Utf16Le),
    ("utf-16le", Encoding::Utf16Le),
    ("ucs2", Encoding::Utf16Le),
    ("ucs-2", Encoding::Utf16Le),
    ("latin1", Encoding::Latin1),
    ("binary", Encoding::Latin1),
    ("ascii", Encoding::Ascii),
    ("base64", Encoding::Base64),
    ("hex", Encoding::Hex),
];
