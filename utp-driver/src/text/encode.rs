//! [`encode`]: text to bytes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::LazyLock;

use data_encoding::{DecodeError, HEXLOWER_PERMISSIVE, Specification};
use encoding_rs::mem;

use super::Encoding;

/// The bytes that `text` stands for; borrowed where they are its own.
///
/// # Errors
/// If `text` has a character that does not exist in the encoding, or is not Base64 or hexadecimal.
pub fn encode(text: &str, encoding: Encoding) -> Result<Cow<'_, [u8]>, EncodeError> {
    let refuse = |position| EncodeError { encoding, position };
    match encoding {
        Encoding::Utf8 => Ok(Cow::Borrowed(text.as_bytes())),
        Encoding::Utf16Le => Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        Encoding::Latin1 => match text.char_indices().find(|(_, c)| u32::from(*c) > 0xff) {
            Some((position, _)) => Err(refuse(position)),
            None => Ok(mem::encode_latin1_lossy(text)),
        },
        Encoding::Ascii => match text.bytes().position(|byte| !byte.is_ascii()) {
            Some(position) => Err(refuse(position)),
            None => Ok(Cow::Borrowed(text.as_bytes())),
        },
        Encoding::Base64 => {
            let digits = text.trim_end_matches(|c: char| c == '=' || c.is_ascii_whitespace());
            let bytes = BASE64.decode(digits.as_bytes());
            bytes.map(Cow::Owned).map_err(|DecodeError { position, .. }| refuse(position))
        }
        Encoding::Hex => {
            // The decoder would rather complain of an odd length.
            if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
                return Err(refuse(position));
            }
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
            bytes.map(Cow::Owned).map_err(|DecodeError { position, .. }| refuse(position))
        }
    }
}

/// The text cannot be written in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeError {
    encoding: Encoding,
    position: usize,
}

impl EncodeError {
    /// The encoding that was asked for.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Where in the text (in bytes of its UTF-8) the part begins that cannot be encoded.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the text at byte {} is not {}", self.position, self.encoding)
    }
}

impl Error for EncodeError {}

impl From<EncodeError> for io::Error {
    fn from(error: EncodeError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// What Node.js reads as Base64: both alphabets of RFC 4648, white space anywhere, and bits beyond the
/// last byte whatever they are. (Padding is cut off before.)
static BASE64: LazyLock<data_encoding::Encoding> = LazyLock::new(|| {
    let mut base64 = Specification::new();
    base64.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    base64.translate.from.push_str("-_");
    base64.translate.to.push_str("+/");
    base64.ignore.push_str(" \t\n\r\x0c");
    base64.check_trailing_bits = false;
    base64.encoding().expect("a valid specification")
});
