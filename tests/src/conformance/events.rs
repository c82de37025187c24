//! Cases: what happens, as events in the order of Node.js.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join;
use utp_driver::Ending;
use utp_driver::events::{SocketEvent, StreamEvent};
use utp_proto::CloseReason;

use super::Adapter;
use super::pressure::{BUFFER, SLACK, small_buffers, write_counted};
use super::tools::{bind, bind_with, config, connection, give_up_after, loopback, send, until, write_all};
use crate::interop::pattern::Checker;

/// `listening`, or the test fails.
pub(super) async fn expect_listening<A: Adapter>(socket: &A::Socket) {
    match A::socket_event(socket).await {
        Some(SocketEvent::Listening) => {}
        _ => panic!("not listening"),
    }
}

/// The stream of the next `connection`.
pub(super) async fn expect_connection<A: Adapter>(socket: &A::Socket) -> A::Stream {
    match A::socket_event(socket).await {
        Some(SocketEvent::Connection(stream)) => stream,
        _ => panic!("no connection"),
    }
}

/// `close`, and nothing after it.
async fn expect_socket_close<A: Adapter>(socket: &A::Socket) {
    match A::socket_event(socket).await {
        Some(SocketEvent::Close) => {}
        _ => panic!("not closed"),
    }
    for _ in 0..2 {
        assert!(A::socket_event(socket).await.is_none(), "an event after the close");
    }
}

async fn expect_connect<A: Adapter>(stream: &A::Stream) {
    match A::stream_event(stream).await {
        Some(StreamEvent::Connect) => {}
        event => panic!("{event:?} instead of connect"),
    }
}

/// `data`, until there are `length` bytes of it.
async fn expect_data<A: Adapter>(stream: &A::Stream, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match A::stream_event(stream).await {
            Some(StreamEvent::Data(data)) => {
                assert!(!data.as_ref().is_empty(), "data without data");
                bytes.extend_from_slice(data.as_ref());
            }
            event => panic!("{event:?} after {} bytes", bytes.len()),
        }
    }
    bytes
}

async fn expect_end<A: Adapter>(stream: &A::Stream) {
    match A::stream_event(stream).await {
        Some(StreamEvent::End) => {}
        event => panic!("{event:?} instead of end"),
    }
}

async fn expect_error<A: Adapter>(stream: &A::Stream, kind: io::ErrorKind) {
    match A::stream_event(stream).await {
        Some(StreamEvent::Error(error)) => assert_eq!(error.kind(), kind),
        event => panic!("{event:?} instead of an error"),
    }
}

/// `close`, and nothing after it.
async fn expect_close<A: Adapter>(stream: &A::Stream) -> Ending {
    let ending = match A::stream_event(stream).await {
        Some(StreamEvent::Close(ending)) => ending,
        event => panic!("{event:?} instead of close"),
    };
    for _ in 0..2 {
        let event = A::stream_event(stream).await;
        assert!(event.is_none(), "{event:?} after the close");
    }
    assert_eq!(A::closed(stream).await, ending);
    ending
}

/// Question and answer: every event there is but the errors, and each in its place.
pub async fn a_conversation_in_order<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    expect_listening::<S>(&server).await;
    assert!(give_up_after(1, S::socket_event(&server)).await.is_none(), "nobody has connected");
    let stream = C::start_connect(&client, S::local_addr(&server)).expect("an address");
    let asking = async {
        let (_reader, mut writer) = C::split(stream);
        // Allowed before there is a connection.
        write_all::<C>(&mut writer, b"question").await.expect("write");
        C::finish(&mut writer).await.expect("finish");
        let stream = C::stream(&writer);
        expect_connect::<C>(stream).await;
        assert_eq!(expect_data::<C>(stream, 6).await, b"answer");
        expect_end::<C>(stream).await;
        let ending = expect_close::<C>(stream).await;
        assert_eq!((ending.reason, ending.bytes_read), (CloseReason::Finished, 6));
        assert!(ending.is_delivered());
    };
    let answering = async {
        let (_reader, mut writer) = S::split(expect_connection::<S>(&server).await);
        // `connect` is for the side that connects.
        assert_eq!(expect_data::<S>(S::stream(&writer), 8).await, b"question");
        expect_end::<S>(S::stream(&writer)).await;
        assert!(give_up_after(1, S::stream_event(S::stream(&writer))).await.is_none(), "half open");
        write_all::<S>(&mut writer, b"answer").await.expect("write");
        S::finish(&mut writer).await.expect("finish");
        assert_eq!(expect_close::<S>(S::stream(&writer)).await.bytes_acked, 6);
    };
    join(asking, answering).await;
    S::close(&server).await.expect("close");
    expect_socket_close::<S>(&server).await;
}

/// `connect` does not wait for anything that the peer has to say.
pub async fn connect_comes_by_itself<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let stream = C::start_connect(&client, S::local_addr(&server)).expect("an address");
    expect_connect::<C>(&stream).await;
    assert!(give_up_after(1, C::stream_event(&stream)).await.is_none(), "nobody has said anything");
}

/// No `connect` then.
pub async fn a_refused_connect_is_an_error_and_a_close<S: Adapter, C: Adapter>() {
    let server = bind_with::<S>(config(|config| {
        config.listen(false);
    }))
    .await;
    let client = bind::<C>().await;
    let stream = C::start_connect(&client, S::local_addr(&server)).expect("an address");
    expect_error::<C>(&stream, io::ErrorKind::ConnectionRefused).await;
    assert_eq!(expect_close::<C>(&stream).await.reason, CloseReason::Refused);
    // And a socket that does not listen never says so.
    assert!(give_up_after(1, S::socket_event(&server)).await.is_none());
}

/// The same for a port where nobody answers.
pub async fn a_timed_out_connect_is_an_error_and_a_close<S: Adapter, C: Adapter>() {
    let silent = UdpSocket::bind(loopback()).expect("bind");
    let client = bind_with::<C>(config(|config| {
        config.connect_timeout(Duration::from_millis(300)).expect("a valid time");
    }))
    .await;
    let stream = C::start_connect(&client, silent.local_addr().expect("an address")).expect("an address");
    expect_error::<C>(&stream, io::ErrorKind::TimedOut).await;
    assert_eq!(expect_close::<C>(&stream).await.reason, CloseReason::TimedOut);
}

/// What had arrived before comes first.
pub async fn a_reset_is_an_error_and_a_close<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = S::split(accepted);
    send::<S>(&mut writer, 1, 100_000).await;
    S::acked(S::stream(&writer)).await.expect("delivery");
    S::abort(S::stream(&writer));
    expect_connect::<C>(&connected).await;
    let mut checker = Checker::new(1, 100_000);
    checker.feed(&expect_data::<C>(&connected, 100_000).await).expect("what was sent");
    expect_error::<C>(&connected, io::ErrorKind::ConnectionReset).await;
    assert_eq!(expect_close::<C>(&connected).await.reason, CloseReason::Reset);
}

/// Who aborts knows why.
pub async fn an_own_abort_is_a_close_without_an_error<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    expect_connect::<C>(&connected).await;
    let (ending, ()) = join(expect_close::<C>(&connected), async {
        C::pause().await;
        C::abort(&connected);
    })
    .await;
    assert_eq!(ending.reason, CloseReason::Aborted);
    expect_error::<S>(&accepted, io::ErrorKind::ConnectionReset).await;
    assert_eq!(expect_close::<S>(&accepted).await.reason, CloseReason::Reset);
}

/// The peer finishes, and then breaks off what this side still sends.
pub async fn an_error_after_the_end<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = S::split(accepted);
    S::finish(&mut writer).await.expect("finish");
    expect_connect::<C>(&connected).await;
    expect_end::<C>(&connected).await;
    S::acked(S::stream(&writer)).await.expect("delivery");
    S::abort(S::stream(&writer));
    expect_error::<C>(&connected, io::ErrorKind::ConnectionReset).await;
    assert_eq!(expect_close::<C>(&connected).await.reason, CloseReason::Reset);
}

/// After `close`, connections are refused; those that exist go on, and the last one's end is the event.
pub async fn closing_keeps_what_exists<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    expect_listening::<S>(&server).await;
    let to = S::local_addr(&server);
    let (accepted, connected) = join(expect_connection::<S>(&server), C::connect(&client, to)).await;
    assert!(give_up_after(1, S::close(&server)).await.is_none(), "closed with a stream open");
    let refused = C::start_connect(&client, to).expect("an address");
    expect_error::<C>(&refused, io::ErrorKind::ConnectionRefused).await;
    assert!(give_up_after(1, S::socket_event(&server)).await.is_none(), "closed with a stream open");
    let (_reader, mut writer) = C::split(connected.expect("connect"));
    write_all::<C>(&mut writer, b"still here").await.expect("write");
    C::finish(&mut writer).await.expect("finish");
    assert_eq!(expect_data::<S>(&accepted, 10).await, b"still here");
    expect_end::<S>(&accepted).await;
    // A task that waits for nothing else.
    let waiting = S::spawn({
        let server = server.clone();
        async move { expect_socket_close::<S>(&server).await }
    });
    join(waiting, async {
        S::pause().await;
        drop(accepted);
    })
    .await;
    S::close(&server).await.expect("close");
}

/// Where the seed throws data away, the peer waits: bounded memory, and everything comes later.
pub async fn nobody_listens_and_nothing_is_lost<S: Adapter, C: Adapter>() {
    const LENGTH: u64 = 1 << 20;

    let (server, client) = (bind_with::<S>(small_buffers()).await, bind_with::<C>(small_buffers()).await);
    // Nobody listens for this one either.
    let stream = C::connect(&client, S::local_addr(&server)).await.expect("connect");
    let written = Arc::new(AtomicU64::new(0));
    let writing = C::spawn(write_counted::<C>(stream, 1, LENGTH, Arc::clone(&written)));
    let listening = async {
        until::<S>(|| written.load(Ordering::Relaxed) > BUFFER + BUFFER / 2).await;
        for _ in 0..20 {
            S::pause().await;
            assert!(written.load(Ordering::Relaxed) <= 2 * BUFFER + SLACK);
        }
        expect_listening::<S>(&server).await;
        let stream = expect_connection::<S>(&server).await;
        let mut checker = Checker::new(1, LENGTH);
        checker.feed(&expect_data::<S>(&stream, LENGTH as usize).await).expect("what was sent");
        assert!(checker.complete());
        expect_end::<S>(&stream).await;
        assert_eq!(S::bytes_read(&stream), LENGTH);
    };
    join(writing, listening).await;
}
