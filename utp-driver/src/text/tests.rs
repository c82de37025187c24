//! Every encoding, cut everywhere.

use super::*;

/// Decodes pieces that end at `cuts`.
fn decode_cut(encoding: Encoding, bytes: &[u8], cuts: &[usize]) -> String {
    let mut decoder = Decoder::new(encoding);
    let mut text = String::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        decoder.decode(&bytes[from..to], &mut text);
        from = to;
    }
    decoder.finish(&mut text);
    text
}

/// The text of `bytes`, which is the same wherever they are cut, once, twice or everywhere.
fn decode(encoding: Encoding, bytes: &[u8]) -> String {
    let whole = decode_cut(encoding, bytes, &[]);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            assert_eq!(decode_cut(encoding, bytes, &[first, second]), whole, "{encoding} {first} {second}");
        }
    }
    let everywhere: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(decode_cut(encoding, bytes, &everywhere), whole, "{encoding}");
    whole
}

#[test]
fn characters_survive_every_cut_and_round_trip() {
    let text = "a é € 😀 \u{feff}z\u{10ffff}";
    for encoding in [Encoding::Utf8, Encoding::Utf16Le] {
        assert_eq!(decode(encoding, &encode(text, encoding).unwrap()), text);
    }
    let latin: String = (0..=0xff_u8).map(char::from).collect();
    let bytes: Vec<u8> = (0..=0xff).collect();
    assert_eq!(encode(&latin, Encoding::Latin1).unwrap(), bytes);
    assert_eq!(
        decode(Encoding::Latin1, &bytes[0x78..0xa8]),
        latin.chars().skip(0x78).take(0x30).collect::<String>()
    );
    assert_eq!(decode(Encoding::Ascii, b"plain\0\x7f"), "plain\0\x7f");
    assert_eq!(encode("plain", Encoding::Ascii).unwrap(), &b"plain"[..]);
}

#[test]
fn long_text_needs_more_room_than_it_has_bytes() {
    // Three bytes of UTF-8 for two of UTF-16, and for one that is invalid.
    let text = "語".repeat(10_000);
    assert_eq!(decode_cut(Encoding::Utf16Le, &encode(&text, Encoding::Utf16Le).unwrap(), &[777]), text);
    assert_eq!(decode_cut(Encoding::Utf8, &[0xff; 10_000], &[3]), "\u{fffd}".repeat(10_000));
}

/// The examples of the WHATWG standard and of Unicode's chapter 3.9: maximal subparts.
#[test]
fn invalid_input_is_replaced_as_whatwg_decoders_do() {
    let utf8: [(&[u8], &str); 9] = [
        (b"a\xffb", "a\u{fffd}b"),
        (b"\xe2\x82", "\u{fffd}"),
        (b"\xe2\x82a", "\u{fffd}a"),
        (b"\xf0\x9f\x98", "\u{fffd}"),
        (b"\xf0\x80\x80\x41", "\u{fffd}\u{fffd}\u{fffd}A"),
        (b"\xc0\xaf", "\u{fffd}\u{fffd}"),
        (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        (
            b"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42",
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\u{fffd}\u{fffd}B",
        ),
        (b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}A"),
    ];
    for (bytes, text) in utf8 {
        assert_eq!(decode(Encoding::Utf8, bytes), text, "{bytes:x?}");
    }
    // A low surrogate alone, a high one before a letter, a high one and half a unit at the end.
    assert_eq!(decode(Encoding::Utf16Le, b"\x00\xdca\x00"), "\u{fffd}a");
    assert_eq!(decode(Encoding::Utf16Le, b"\x3d\xd8a\x00"), "\u{fffd}a");
    assert_eq!(decode(Encoding::Utf16Le, b"\x3d\xd8"), "\u{fffd}");
    assert_eq!(decode(Encoding::Utf16Le, b"a\x00b"), "a\u{fffd}");
    assert_eq!(decode(Encoding::Ascii, b"na\xc3\xafve"), "na\u{fffd}\u{fffd}ve");
}

#[test]
fn nothing_is_left_out() {
    assert_eq!(decode(Encoding::Utf8, b"\xef\xbb\xbfx"), "\u{feff}x");
    assert_eq!(decode(Encoding::Utf16Le, b"\xff\xfex\x00"), "\u{feff}x");
    assert_eq!(decode(Encoding::Latin1, b"\x80\x9f"), "\u{80}\u{9f}");
}

#[test]
fn a_character_comes_out_when_its_last_byte_has_come() {
    let mut decoder = Decoder::new(Encoding::Utf8);
    let mut text = String::new();
    decoder.decode("é€".as_bytes().split_at(3).0, &mut text);
    assert_eq!(text, "é");
    decoder.decode("é€".as_bytes().split_at(3).1, &mut text);
    assert_eq!(text, "é€");
    // And what was cut off does not spoil the next stream.
    decoder.decode(b"\xe2", &mut text);
    decoder.finish(&mut text);
    decoder.decode(b"x", &mut text);
    assert_eq!((text.as_str(), decoder.encoding()), ("é€\u{fffd}x", Encoding::Utf8));
}

/// RFC 4648, section 10.
#[test]
fn bytes_as_base64_and_hex() {
    let vectors = [
        ("", "", ""),
        ("f", "Zg==", "66"),
        ("fo", "Zm8=", "666f"),
        ("foo", "Zm9v", "666f6f"),
        ("foob", "Zm9vYg==", "666f6f62"),
        ("fooba", "Zm9vYmE=", "666f6f6261"),
        ("foobar", "Zm9vYmFy", "666f6f626172"),
    ];
    for (plain, base64, hex) in vectors {
        assert_eq!(decode(Encoding::Base64, plain.as_bytes()), base64);
        assert_eq!(decode(Encoding::Hex, plain.as_bytes()), hex);
        assert_eq!(encode(base64, Encoding::Base64).unwrap(), plain.as_bytes());
        assert_eq!(encode(base64.trim_end_matches('='), Encoding::Base64).unwrap(), plain.as_bytes());
        assert_eq!(encode(&hex.to_uppercase(), Encoding::Hex).unwrap(), plain.as_bytes());
    }
    let bytes = [0xfb, 0xff, 0x00];
    assert_eq!(decode(Encoding::Base64, &bytes), "+/8A");
    for lenient in ["+/8A", "-_8A", " +/\r\n8A\t", "+/8A====", "+/8A=\n"] {
        assert_eq!(encode(lenient, Encoding::Base64).unwrap(), &bytes[..], "{lenient:?}");
    }
    // Bits beyond the last byte are nobody's.
    assert_eq!(encode("Zh", Encoding::Base64).unwrap(), &b"f"[..]);
}

#[test]
fn what_cannot_be_encoded_is_an_error_that_says_where() {
    let cases = [
        (Encoding::Latin1, "né€", 3),
        (Encoding::Ascii, "né", 1),
        (Encoding::Base64, "Zm9v!", 4),
        (Encoding::Base64, "Zg==Zg==", 2),
        (Encoding::Base64, "Zm9vZ", 4),
        (Encoding::Base64, "Z!m9v", 1),
        (Encoding::Base64, "Zm9vé", 4),
        (Encoding::Hex, "66 6f", 2),
        (Encoding::Hex, "666", 2),
    ];
    for (encoding, text, position) in cases {
        let error = encode(text, encoding).expect_err(text);
        assert_eq!((error.encoding(), error.position()), (encoding, position), "{text:?}: {error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn names_are_those_of_node() {
    for encoding in Encoding::ALL {
        assert_eq!(encoding.to_string().parse(), Ok(encoding));
        assert_eq!(encoding.name().to_uppercase().parse(), Ok(encoding));
    }
    for (label, encoding) in LABELS {
        assert_eq!(label.parse(), Ok(encoding));
    }
    assert_eq!(
        "utf7".parse::<Encoding>().map_err(|error| io::Error::from(error).kind()),
        Err(io::ErrorKind::InvalidInput)
    );
    assert_eq!(Encoding::default(), Encoding::Utf8);
}
