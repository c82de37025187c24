//! Cases: bytes go in at one end and come out at the other.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::{join, join_all};
use utp_proto::congestion::{Controller, ControllerFactory, FixedWindow};
use utp_tokio::{CloseReason, SocketConfig};

use super::Adapter;
use super::tools::{bind, bind_with, config, connection, expect_end, receive, send, write_all};

/// Sends back what arrives until the peer finishes, then finishes too and waits for the end.
async fn serve_echo<A: Adapter>(stream: A::Stream) {
    let (mut reader, mut writer) = A::split(stream);
    let mut buf = vec![0; 20_000];
    loop {
        let read = A::read(&mut reader, &mut buf).await.expect("read");
        if read == 0 {
            break;
        }
        write_all::<A>(&mut writer, &buf[..read]).await.expect("write");
    }
    A::finish(&mut writer).await.expect("finish");
    let ending = A::closed(A::stream(&writer)).await;
    assert_eq!(ending.reason, CloseReason::Finished);
    assert!(ending.is_delivered());
}

/// Sends `length` bytes of stream `seed`, and expects them back.
async fn use_echo<A: Adapter>(stream: A::Stream, seed: u64, length: usize) {
    let (mut reader, mut writer) = A::split(stream);
    let sending = async {
        send::<A>(&mut writer, seed, length).await;
        A::finish(&mut writer).await.expect("finish");
    };
    let receiving = async {
        receive::<A>(&mut reader, seed, length).await;
        expect_end::<A>(&mut reader).await;
    };
    join(sending, receiving).await;
    let stream = A::stream(&writer);
    assert_eq!((A::bytes_written(stream), A::bytes_read(stream)), (length as u64, length as u64));
    let ending = A::closed(stream).await;
    assert_eq!(ending.reason, CloseReason::Finished);
    assert_eq!((ending.bytes_written, ending.bytes_acked), (length as u64, length as u64));
    assert_eq!(ending.bytes_read, length as u64);
}

/// Streams of all sizes, one after another on the same pair of sockets.
pub async fn echo<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    for (seed, length) in [0, 1, 100, 1_452, 1_472, 10_000, 100_000, 1_000_000].into_iter().enumerate() {
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        let serving = S::spawn(serve_echo::<S>(accepted));
        join(serving, use_echo::<C>(connected, seed as u64, length)).await;
    }
}

/// 8 MiB in each direction, at the same time.
pub async fn bulk_both_ways_at_once<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 8 << 20;

    async fn side<A: Adapter>(stream: A::Stream, out: u64, back: u64) {
        let (mut reader, mut writer) = A::split(stream);
        let sending = A::spawn(async move {
            send::<A>(&mut writer, out, LENGTH).await;
            A::finish(&mut writer).await.expect("finish");
            A::acked(A::stream(&writer)).await.expect("delivery");
            writer
        });
        let receiving = A::spawn(async move {
            receive::<A>(&mut reader, back, LENGTH).await;
            expect_end::<A>(&mut reader).await;
        });
        let (writer, ()) = join(sending, receiving).await;
        assert_eq!(A::closed(A::stream(&writer)).await.reason, CloseReason::Finished);
    }

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    join(side::<S>(accepted, 1, 2), side::<C>(connected, 2, 1)).await;
}

/// All over one pair of sockets, all at the same time.
pub async fn two_hundred_connections<S: Adapter, C: Adapter>() {
    const CONNECTIONS: usize = 200;
    const LENGTH: usize = 20_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let to = S::local_addr(&server);
    let serving = S::spawn(async move {
        let mut serving = Vec::new();
        for _ in 0..CONNECTIONS {
            let (stream, _) = S::accept(&server).await.expect("accept");
            serving.push(S::spawn(serve_echo::<S>(stream)));
        }
        join_all(serving).await;
        server
    });
    let clients = (0..CONNECTIONS).map(|number| {
        let client = client.clone();
        C::spawn(async move {
            let stream = C::connect(&client, to).await.expect("connect");
            use_echo::<C>(stream, number as u64, LENGTH).await;
        })
    });
    let (server, _) = join(serving, join_all(clients)).await;
    assert_eq!(S::socket_stats(&server).endpoint.connections, 0);
    assert_eq!(C::socket_stats(&client).endpoint.connections, 0);
}

/// One side finishes first; the other goes on for long.
pub async fn half_close<S: Adapter, C: Adapter>() {
    const ANSWER: usize = 500_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let answering = S::spawn(async move {
        let (mut reader, mut writer) = S::split(accepted);
        receive::<S>(&mut reader, 1, 1_000).await;
        expect_end::<S>(&mut reader).await;
        send::<S>(&mut writer, 2, ANSWER).await;
        S::finish(&mut writer).await.expect("finish");
        S::closed(S::stream(&writer)).await.reason
    });
    let asking = async {
        let (mut reader, mut writer) = C::split(connected);
        send::<C>(&mut writer, 1, 1_000).await;
        C::finish(&mut writer).await.expect("finish");
        C::acked(C::stream(&writer)).await.expect("our side is delivered while the other goes on");
        receive::<C>(&mut reader, 2, ANSWER).await;
        expect_end::<C>(&mut reader).await;
        C::closed(C::stream(&writer)).await.reason
    };
    assert_eq!(join(answering, asking).await, (CloseReason::Finished, CloseReason::Finished));
}

/// The connecting side says nothing at all.
pub async fn the_acceptor_speaks_first<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = S::split(accepted);
    let (mut reader, _writer) = C::split(connected);
    join(send::<S>(&mut writer, 3, 50_000), receive::<C>(&mut reader, 3, 50_000)).await;
}

/// Several slices in one call, empty ones among them.
pub async fn vectored_writes<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_reader, mut writer) = C::split(connected);
    let slices = [&b"one"[..], b"", b" two", b" three", b""].map(IoSlice::new);
    assert_eq!(C::write_vectored(&mut writer, &slices).await.expect("write"), 13);
    assert_eq!(C::write_vectored(&mut writer, &[]).await.expect("write nothing"), 0);
    let (mut reader, _writer) = S::split(accepted);
    let mut text = Vec::new();
    while text.len() < 13 {
        let mut buf = [0; 32];
        let read = S::read(&mut reader, &mut buf).await.expect("read");
        text.extend_from_slice(&buf[..read]);
    }
    assert_eq!(text, b"one two three");
}

/// Both come true while the stream stays open, and say what they say.
pub async fn flush_and_acked<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 300_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (mut reader, _writer) = S::split(accepted);
    let (_reader, mut writer) = C::split(connected);
    C::flush(&mut writer).await.expect("nothing to flush");
    C::acked(C::stream(&writer)).await.expect("nothing to wait for");
    let sending = async {
        send::<C>(&mut writer, 4, LENGTH).await;
        C::flush(&mut writer).await.expect("flush");
        let sent = C::stats(C::stream(&writer)).wire_bytes_sent;
        assert!(sent > LENGTH as u64, "{sent} bytes on the wire after the flush");
        C::acked(C::stream(&writer)).await.expect("acked");
        assert_eq!(C::bytes_acked(C::stream(&writer)), LENGTH as u64);
    };
    join(sending, receive::<S>(&mut reader, 4, LENGTH)).await;
}

/// Between two IPv6 sockets.
pub async fn ipv6<S: Adapter, C: Adapter>() {
    let any = "[::1]:0".parse().expect("an address");
    let server = S::bind(any, SocketConfig::default()).await.expect("bind");
    let client = C::bind(any, SocketConfig::default()).await.expect("bind");
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    assert!(S::peer_addr(&accepted).is_ipv6());
    join(S::spawn(serve_echo::<S>(accepted)), use_echo::<C>(connected, 5, 200_000)).await;
}

/// One socket serves peers of both families, and nobody sees a mapped address.
pub async fn dual_stack<S: Adapter, C: Adapter>() {
    let any = "[::]:0".parse().expect("an address");
    let server = S::bind(any, SocketConfig::default()).await.expect("bind");
    let port = S::local_addr(&server).port();
    let both = C::bind(any, SocketConfig::default()).await.expect("bind");
    for ip in ["127.0.0.1", "::1"] {
        let ip = ip.parse().expect("an address");
        let one = C::bind(SocketAddr::new(ip, 0), SocketConfig::default()).await.expect("bind");
        for client in [&one, &both] {
            let to = SocketAddr::new(ip, port);
            let (accepted, connected) = join(S::accept(&server), C::connect(client, to)).await;
            let ((accepted, peer), connected) = (accepted.expect("accept"), connected.expect("connect"));
            assert_eq!(peer, SocketAddr::new(ip, C::local_addr(client).port()));
            assert_eq!(C::peer_addr(&connected), to);
            join(S::spawn(serve_echo::<S>(accepted)), use_echo::<C>(connected, 6, 50_000)).await;
        }
    }
}

/// A socket says at once that it cannot reach the other family, and which buffers it got.
pub async fn the_address_family_must_fit<S: Adapter, C: Adapter>() {
    let mut wanted = config(|_| ());
    wanted.send_buffer(Some(128 << 10)).receive_buffer(Some(128 << 10));
    let client = bind_with::<C>(wanted).await;
    let granted = C::buffer_sizes(&client);
    assert_eq!((granted.send, granted.receive), (128 << 10, 128 << 10));
    let Err(error) = C::connect(&client, "[::1]:9".parse().expect("an address")).await else {
        panic!("an IPv4 socket connected to an IPv6 peer")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let Err(error) = C::connect(&client, "127.0.0.1:0".parse().expect("an address")).await else {
        panic!("connected to port 0")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Counts how often it is asked for a controller: of a window of [`WINDOW`] bytes.
#[derive(Debug, Default)]
struct Counted(AtomicUsize);

const WINDOW: u64 = 20_000;

impl ControllerFactory for Counted {
    fn build(&self, now: Instant, mss: usize) -> Box<dyn Controller> {
        self.0.fetch_add(1, Ordering::Relaxed);
        FixedWindow { bytes: WINDOW }.build(now, mss)
    }
}

/// Both ways, set before anything is written; the far end keeps those of its configuration.
pub async fn each_stream_may_have_controllers_of_its_own<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 500_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (sending, receiving) = (Counted::default(), Counted::default());
    C::set_congestion(&connected, &sending);
    C::set_receive_congestion(&connected, Some(&receiving));
    assert_eq!(C::stats(&connected).cwnd, WINDOW);
    let serving = S::spawn(async move {
        let usual = S::stats(&accepted).cwnd;
        serve_echo::<S>(accepted).await;
        usual
    });
    let (usual, ()) = join(serving, use_echo::<C>(connected, 1, LENGTH)).await;
    assert_ne!(usual, WINDOW);
    assert_eq!((sending.0.into_inner(), receiving.0.into_inner()), (1, 1));
}
