//! [`Decoder`]: bytes to text, however they are cut.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use encoding_rs::{CoderResult, UTF_8, UTF_16LE, mem};

use super::Encoding;

/// Turns a stream of bytes, in pieces cut anywhere, into text. It keeps at most three bytes of a
/// character that is not whole yet, or two of a group of Base64.
pub struct Decoder {
    encoding: Encoding,
    state: State,
}

enum State {
    Characters(encoding_rs::Decoder),
    Latin1,
    Ascii,
    /// Bytes that do not make a group of three yet.
    Base64 {
        rest: [u8; 2],
        len: usize,
    },
    Hex,
}

impl Decoder {
    /// For a stream that begins now.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let state = match encoding {
            // With its own handling of byte order marks, a decoder would leave them out.
            Encoding::Utf8 => State::Characters(UTF_8.new_decoder_without_bom_handling()),
            Encoding::Utf16Le => State::Characters(UTF_16LE.new_decoder_without_bom_handling()),
            Encoding::Latin1 => State::Latin1,
            Encoding::Ascii => State::Ascii,
            Encoding::Base64 => State::Base64 { rest: [0; 2], len: 0 },
            Encoding::Hex => State::Hex,
        };
        Self { encoding, state }
    }

    /// The encoding it decodes.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends the text of `bytes`, the next of the stream, to `text`: all characters that are whole.
    pub fn decode(&mut self, bytes: &[u8], text: &mut String) {
        match &mut self.state {
            State::Characters(decoder) => characters(decoder, bytes, false, text),
            State::Latin1 => text.push_str(&mem::decode_latin1(bytes)),
            State::Ascii => ascii(bytes, text),
            State::Base64 { rest, len } => base64(rest, len, bytes, text),
            State::Hex => HEXLOWER.encode_append(bytes, text),
        }
    }

    /// The stream has ended: appends what is left of it. A character that is cut off becomes U+FFFD.
    /// The decoder can be used for another stream.
    pub fn finish(&mut self, text: &mut String) {
        match &mut self.state {
            State::Characters(decoder) => characters(decoder, &[], true, text),
            State::Base64 { rest, len } => BASE64.encode_append(&rest[..*len], text),
            State::Latin1 | State::Ascii | State::Hex => return,
        }
        *self = Self::new(self.encoding);
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

fn characters(decoder: &mut encoding_rs::Decoder, mut bytes: &[u8], last: bool, text: &mut String) {
    loop {
        // Enough if it is all ASCII; three times that would be, but seldom is, needed.
        text.reserve(bytes.len() + LONGEST);
        let (result, read, _) = decoder.decode_to_string(bytes, text, last);
        bytes = &bytes[read..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

fn ascii(bytes: &[u8], text: &mut String) {
    for run in bytes.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
        match str::from_utf8(run) {
            Ok(run) if run.is_ascii() => text.push_str(run),
            _ => text.extend(run.iter().map(|_| char::REPLACEMENT_CHARACTER)),
        }
    }
}

fn base64(rest: &mut [u8; 2], len: &mut usize, mut bytes: &[u8], text: &mut String) {
    if *len > 0 {
        let missing = GROUP - *len;
        if bytes.len() < missing {
            rest[*len..*len + bytes.len()].copy_from_slice(bytes);
            *len += bytes.len();
            return;
        }
        let mut group = [0; GROUP];
        group[..*len].copy_from_slice(&rest[..*len]);
        group[*len..].copy_from_slice(&bytes[..missing]);
        BASE64.encode_append(&group, text);
        bytes = &bytes[missing..];
    }
    let (whole, left) = bytes.split_at(bytes.len() - bytes.len() % GROUP);
    BASE64.encode_append(whole, text);
    rest[..left.len()].copy_from_slice(left);
    *len = left.len();
}

/// Bytes that four digits of Base64 stand for.
const GROUP: usize = 3;

/// Room without which `encoding_rs` may decline to decode even one byte: what may be pending, replaced
/// (3), and a character (4), and some more that it leaves free.
const LONGEST: usize = 16;
