//! `utp cat`: both ways at once, each with an end of its own.

mod common;

use common::{Running, data, run, start_fed};

/// A listener and whoever is connected to it, both with a stdin to write to.
fn pair() -> (Running, Running) {
    let listener = start_fed(["cat", "--listen", "127.0.0.1:0"]);
    let caller = start_fed(["cat", &listener.address()]);
    (listener, caller)
}

#[test]
fn much_both_ways_at_once() {
    let (mut listener, mut caller) = pair();
    let (there, back) = (data(4_000_000, 1), data(3_000_000, 2));
    caller.feed_all(there.clone());
    listener.feed_all(back.clone());
    let (listener, caller) = (listener.finish().succeeded(), caller.finish().succeeded());
    assert!(listener.stdout == there && caller.stdout == back);
    assert_eq!(caller.stderr, "");
}

#[test]
fn question_and_answer() {
    let (mut listener, mut caller) = pair();
    caller.feed(b"question\n");
    listener.stdout_is(b"question\n");
    listener.feed(b"answer\n");
    caller.stdout_is(b"answer\n");
    // A little at a time comes at once, not when there is more.
    caller.feed(b"?");
    listener.stdout_is(b"question\n?");
    caller.close_stdin();
    listener.close_stdin();
    assert_eq!(listener.finish().succeeded().stdout, b"question\n?");
    assert_eq!(caller.finish().succeeded().stdout, b"answer\n");
}

#[test]
fn the_listener_speaks_first() {
    let (mut listener, mut caller) = pair();
    listener.feed(b"welcome");
    caller.stdout_is(b"welcome");
    caller.close_stdin();
    listener.close_stdin();
    listener.finish().succeeded();
    caller.finish().succeeded();
}

/// One has said everything, and the other one goes on for a long time.
#[test]
fn one_end_finishes_before_the_other_begins() {
    for caller_first in [true, false] {
        let (listener, caller) = pair();
        let (mut early, mut late) = if caller_first { (caller, listener) } else { (listener, caller) };
        // The listener sees a caller when it speaks.
        late.feed(b"<");
        early.stdout_is(b"<");
        early.feed(b"that was all");
        early.close_stdin();
        late.stdout_is(b"that was all");
        let answer = [b"<".to_vec(), data(1_000_000, 1)].concat();
        late.feed(&answer[1..]);
        early.stdout_is(&answer);
        late.close_stdin();
        late.finish().succeeded();
        early.finish().succeeded();
    }
}

/// The peer sees the end of stdin as the end of the stream while it can still send, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn half_close_is_passed_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let peer = utp_tokio::UtpListener::bind("127.0.0.1:0").await.unwrap();
    let at = peer.local_addr().to_string();

    let mut cat = start_fed(["cat", &at]);
    cat.feed_all(b"request".to_vec());
    let (mut stream, _) = peer.accept().await.unwrap();
    let mut request = String::new();
    stream.read_to_string(&mut request).await.unwrap();
    assert_eq!(request, "request");
    let answer = data(500_000, 1);
    stream.write_all(&answer).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(cat.finish().succeeded().stdout == answer);

    let mut cat = start_fed(["cat", &at]);
    cat.feed(b"hello");
    let (mut stream, _) = peer.accept().await.unwrap();
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    cat.stdout_is(b"bye");
    stream.read_exact(&mut [0; 5]).await.unwrap();
    cat.feed_all(answer.clone());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest == answer);
    assert_eq!(cat.finish().succeeded().stdout, b"bye");
}

#[cfg(unix)]
#[test]
fn interrupted() {
    let (listener, mut caller) = pair();
    caller.feed(b"wait");
    listener.stdout_is(b"wait");
    caller.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(caller.finish().failed(), "interrupted");
    assert!(listener.finish().failed().contains("reset"));
}

#[test]
fn the_peer_is_killed() {
    let listener = start_fed(["cat", "--listen", "127.0.0.1:0", "--idle-timeout=1s"]);
    let mut caller = start_fed(["cat", &listener.address()]);
    caller.feed(b"wait");
    listener.stdout_is(b"wait");
    caller.kill();
    assert!(listener.finish().failed().contains("timed out"));
}

#[test]
fn either_an_address_or_listen() {
    for args in [["cat"].as_slice(), &["cat", "--listen", ":0", "127.0.0.1:9"]] {
        assert_eq!(run(args).code, Some(2), "{args:?}");
    }
}
