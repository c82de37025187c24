//! Cases: text, in the encodings of Node.js, over a stream that cuts it anywhere.

use std::io;

use futures_util::future::join;
use utp_driver::events::{Data, StreamEvent};
use utp_driver::text::{Encoding, encode};

use super::Adapter;
use super::tools::{bind, bind_with, config, connection, give_up_after, until, write_all};

/// The next piece of text.
async fn text<A: Adapter>(stream: &A::Stream) -> String {
    match A::stream_event(stream).await {
        Some(StreamEvent::Data(Data::Text(text))) => text,
        event => panic!("{event:?} instead of text"),
    }
}

/// All text until the peer's end.
async fn text_to_end<A: Adapter>(stream: &A::Stream) -> String {
    let mut all = String::new();
    loop {
        match A::stream_event(stream).await {
            Some(StreamEvent::Connect) => {}
            Some(StreamEvent::Data(Data::Text(text))) => all += &text,
            Some(StreamEvent::End) => return all,
            event => panic!("{event:?} after {all:?}"),
        }
    }
}

/// Lets `stream` take `total` bytes in all from the network, which has to give no event.
async fn nothing_until<A: Adapter>(stream: &A::Stream, total: u64) {
    while A::bytes_read(stream) < total {
        if let Some(event) = give_up_after(1, A::stream_event(stream)).await {
            panic!("{event:?} for a part of a character");
        }
        A::pause().await;
    }
}

/// A sample of text that an encoding can write, long enough for many packets.
fn sample(encoding: Encoding) -> String {
    match encoding {
        Encoding::Latin1 => "Ærøskøbing, 30°, ½ ÿ\u{80}\u{9f}; ".repeat(900),
        Encoding::Ascii => "plain, 7 bits\0\x7f; ".repeat(900),
        Encoding::Base64 => "+/aGVsbG8h".repeat(2_000),
        Encoding::Hex => "00ff10a9".repeat(3_000),
        _ => "smørrebrød € 😀 \u{feff}\u{10ffff}; ".repeat(900),
    }
}

/// Written as text on one side and read as text on the other, and back.
pub async fn every_encoding_both_ways<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    for encoding in Encoding::ALL {
        let sample = sample(encoding);
        let bytes = encode(&sample, encoding).expect("text for the encoding").len() as u64;
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        let here = async {
            let (_reader, mut writer) = C::split(connected);
            C::set_encoding(C::stream(&writer), Some(encoding));
            C::write_text(&mut writer, &sample, encoding).await.expect("write");
            assert_eq!(C::bytes_written(C::stream(&writer)), bytes);
            C::finish(&mut writer).await.expect("finish");
            assert_eq!(text_to_end::<C>(C::stream(&writer)).await, sample);
        };
        let there = async {
            let (_reader, mut writer) = S::split(accepted);
            S::set_encoding(S::stream(&writer), Some(encoding));
            let heard = text_to_end::<S>(S::stream(&writer)).await;
            assert_eq!(heard, sample, "{encoding}");
            S::write_text(&mut writer, &heard, encoding).await.expect("write");
            S::finish(&mut writer).await.expect("finish");
        };
        join(here, there).await;
    }
}

/// Every byte comes by itself; a character comes with its last one.
pub async fn characters_cut_by_packets_come_out_whole<S: Adapter, C: Adapter>() {
    let server = bind::<S>().await;
    let client = bind_with::<C>(config(|config| {
        config.nagle(false);
    }))
    .await;
    for encoding in [Encoding::Utf8, Encoding::Utf16Le] {
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        let (_reader, mut writer) = C::split(connected);
        S::set_encoding(&accepted, Some(encoding));
        let mut sent = 0;
        for character in "aé€😀".chars() {
            let bytes = encode(character.encode_utf8(&mut [0; 4]), encoding).expect("Unicode").into_owned();
            let (last, first) = bytes.split_last().expect("a character");
            for byte in first {
                write_all::<C>(&mut writer, &[*byte]).await.expect("write");
                sent += 1;
                nothing_until::<S>(&accepted, sent).await;
            }
            write_all::<C>(&mut writer, &[*last]).await.expect("write");
            sent += 1;
            assert_eq!(text::<S>(&accepted).await, character.to_string(), "{encoding}");
        }
        assert_eq!(S::bytes_read(&accepted), sent);
    }
}

/// As WHATWG decoders do, and also at the end.
pub async fn invalid_input_is_replaced<S: Adapter, C: Adapter>() {
    let cases: [(Encoding, &[u8], &str); 4] = [
        (Encoding::Utf8, b"a\xffb\xf0\x80\x80c\xe2\x82", "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}c\u{fffd}"),
        (Encoding::Utf16Le, b"a\0\x3d\xd8b\0c", "a\u{fffd}b\u{fffd}"),
        (Encoding::Ascii, b"na\xc3\xafve", "na\u{fffd}\u{fffd}ve"),
        (Encoding::Base64, b"hello", "aGVsbG8="),
    ];
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    for (encoding, bytes, text) in cases {
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        let (_reader, mut writer) = C::split(connected);
        S::set_encoding(&accepted, Some(encoding));
        write_all::<C>(&mut writer, bytes).await.expect("write");
        C::finish(&mut writer).await.expect("finish");
        assert_eq!(text_to_end::<S>(&accepted).await, text, "{encoding}");
    }
}

/// At any time; what was held back stays with the encoding that it came under.
pub async fn the_encoding_can_be_changed<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = C::split(connected);
    let bytes = async |stream: &S::Stream| match S::stream_event(stream).await {
        Some(StreamEvent::Data(Data::Bytes(bytes))) => bytes,
        event => panic!("{event:?} instead of bytes"),
    };

    write_all::<C>(&mut writer, b"\xc3").await.expect("write");
    assert_eq!(&bytes(&accepted).await[..], b"\xc3");
    S::set_encoding(&accepted, Some(Encoding::Utf8));
    write_all::<C>(&mut writer, b"\xc3").await.expect("write");
    nothing_until::<S>(&accepted, 2).await;
    // That is no change.
    S::set_encoding(&accepted, Some(Encoding::Utf8));
    write_all::<C>(&mut writer, b"\xa9\xc3").await.expect("write");
    assert_eq!(text::<S>(&accepted).await, "é");
    nothing_until::<S>(&accepted, 4).await;
    S::set_encoding(&accepted, Some(Encoding::Hex));
    assert_eq!(text::<S>(&accepted).await, "\u{fffd}");
    write_all::<C>(&mut writer, b"\xab\xcd").await.expect("write");
    let mut digits = text::<S>(&accepted).await;
    if digits.len() < 4 {
        digits += &text::<S>(&accepted).await;
    }
    assert_eq!(digits, "abcd");
    S::set_encoding(&accepted, None);
    write_all::<C>(&mut writer, b"\xff").await.expect("write");
    assert_eq!(&bytes(&accepted).await[..], b"\xff");
}

/// Neither in part nor changed: it is an error, and the stream goes on.
pub async fn what_cannot_be_encoded_is_not_written<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = C::split(connected);
    let cases = [
        (Encoding::Latin1, "né€"),
        (Encoding::Ascii, "né"),
        (Encoding::Base64, "aGVsbG8!"),
        (Encoding::Hex, "00f"),
    ];
    for (encoding, text) in cases {
        let error = C::write_text(&mut writer, text, encoding).await.expect_err(text);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(C::bytes_written(C::stream(&writer)), 0);
    C::write_text(&mut writer, "-_8A\n", Encoding::Base64).await.expect("lenient where nothing is lost");
    C::flush(&mut writer).await.expect("flush");
    until::<C>(|| C::bytes_acked(C::stream(&writer)) == 3).await;
    match S::stream_event(&accepted).await {
        Some(StreamEvent::Data(data)) => assert_eq!(data.as_ref(), [0xfb, 0xff, 0x00]),
        event => panic!("{event:?}"),
    }
    C::finish(&mut writer).await.expect("finish");
    let error = C::write_text(&mut writer, "late", Encoding::Utf8).await.expect_err("after the finish");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
