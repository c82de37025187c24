//! Cases: a future that is dropped at any of its await points loses nothing and leaves nothing behind.

use std::net::UdpSocket;
use std::time::Duration;

use futures_util::future::join;
use utp_driver::events::{SocketEvent, StreamEvent};
use utp_proto::CloseReason;

use super::Adapter;
use super::race::silent;
use super::tools::{
    bind, bind_with, config, connection, expect_end, give_up_after, loopback, receive, send, until,
};
use crate::interop::pattern::{Checker, Pattern};

/// The attempt is aborted, whether the peer answers or not.
pub async fn connect_dropped_at_every_await<S: Adapter, C: Adapter>() {
    let server = bind::<S>().await;
    let client = bind_with::<C>(config(|config| {
        config.linger(Duration::from_millis(100)).expect("a valid time");
    }))
    .await;
    let silent = UdpSocket::bind(loopback()).expect("bind");
    let silent = silent.local_addr().expect("an address");
    for polls in 1..=3 {
        // The second poll of an attempt at a silent peer would only come with its time-out.
        assert!(give_up_after(1, C::connect(&client, silent)).await.is_none());
        until::<C>(|| C::socket_stats(&client).endpoint.connections == 0).await;
        if let Some(stream) = give_up_after(polls, C::connect(&client, S::local_addr(&server))).await {
            stream.expect("connect");
        }
        until::<C>(|| C::socket_stats(&client).endpoint.connections == 0).await;
    }
    // Whatever reached the server ends there as well, and the next connection is a good one.
    while S::socket_stats(&server).endpoint.connections > 0 {
        match give_up_after(1, S::accept(&server)).await {
            Some(stream) => {
                let (mut reader, _writer) = S::split(stream.expect("accept").0);
                // The end of the stream, or how it broke off.
                let _ = S::read(&mut reader, &mut [0; 16]).await;
            }
            None => S::pause().await,
        }
    }
    connection::<S, C>(&server, &client).await;
}

/// All attempts are aborted, those that have begun and those that have not.
pub async fn races_dropped_at_every_await<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (_silent, first) = silent(loopback());
    let addrs = [first, S::local_addr(&server)];
    let mut polls = 1;
    loop {
        let connected = give_up_after(polls, C::connect_any(&client, &addrs)).await;
        let done = connected.is_some();
        if let Some(stream) = connected {
            assert_eq!(C::peer_addr(&stream.expect("connect")), S::local_addr(&server));
        }
        until::<C>(|| C::socket_stats(&client).endpoint.connections == 0).await;
        if done {
            break;
        }
        polls += 1;
    }
}

/// No connection is lost to an `accept` that nobody waits for any more.
pub async fn accept_dropped_at_every_await<S: Adapter, C: Adapter>() {
    const CONNECTIONS: u64 = 20;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let to = S::local_addr(&server);
    let connecting = C::spawn(async move {
        for seed in 0..CONNECTIONS {
            let (_, mut writer) = C::split(C::connect(&client, to).await.expect("connect"));
            send::<C>(&mut writer, seed, 100).await;
        }
        client
    });
    let accepting = async {
        let mut accepted = 0;
        while accepted < CONNECTIONS {
            match give_up_after(1, S::accept(&server)).await {
                Some(stream) => {
                    let (mut reader, _writer) = S::split(stream.expect("accept").0);
                    receive::<S>(&mut reader, accepted, 100).await;
                    accepted += 1;
                }
                None => S::pause().await,
            }
        }
    };
    join(connecting, accepting).await;
    assert!(give_up_after(1, S::accept(&server)).await.is_none(), "a connection was accepted twice");
}

/// No byte is lost or doubled when reads and writes are given up as soon as they have to wait.
pub async fn reads_and_writes_dropped_at_every_await<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 2_000_000;
    const SEED: u64 = 9;

    // Small buffers, so that both sides have to wait all the time.
    let small = || {
        config(|config| {
            config.send_buffer(16 << 10).expect("a size").receive_buffer(16 << 10).expect("a size");
        })
    };
    let (server, client) = (bind_with::<S>(small()).await, bind_with::<C>(small()).await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let reading = S::spawn(async move {
        let (mut reader, _writer) = S::split(accepted);
        let mut checker = Checker::new(SEED, LENGTH as u64);
        let mut buf = vec![0; 10_000];
        loop {
            match give_up_after(1, S::read(&mut reader, &mut buf)).await {
                Some(Ok(0)) => break,
                Some(read) => checker.feed(&buf[..read.expect("read")]).expect("what was sent"),
                None => S::pause().await,
            }
        }
        assert!(checker.complete(), "{} bytes are missing", checker.left());
    });
    let writing = C::spawn(async move {
        let (_reader, mut writer) = C::split(connected);
        let mut data = vec![0; LENGTH];
        Pattern::new(SEED).fill(&mut data);
        let mut written = 0;
        while written < LENGTH {
            let end = LENGTH.min(written + 12_345);
            match give_up_after(1, C::write(&mut writer, &data[written..end])).await {
                Some(taken) => written += taken.expect("write"),
                None => C::pause().await,
            }
            assert_eq!(C::bytes_written(C::stream(&writer)), written as u64);
        }
        while give_up_after(1, C::flush(&mut writer)).await.is_none() {
            C::pause().await;
        }
        C::finish(&mut writer).await.expect("finish");
        C::acked(C::stream(&writer)).await.expect("delivery");
    });
    join(reading, writing).await;
}

/// Waiting for acknowledgements, for the end, and for a quiet socket can be taken up again.
pub async fn waits_dropped_at_every_await<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (mut reader, mut writer) = C::split(connected);
    send::<C>(&mut writer, 1, 200_000).await;
    let mut given_up = 0;
    let (mut other_reader, mut other_writer) = S::split(accepted);
    let receiving = S::spawn(async move {
        receive::<S>(&mut other_reader, 1, 200_000).await;
        expect_end::<S>(&mut other_reader).await;
        S::finish(&mut other_writer).await.expect("finish");
        S::closed(S::stream(&other_writer)).await
    });
    let waiting = async {
        while give_up_after(1, C::acked(C::stream(&writer))).await.is_none() {
            given_up += 1;
            assert!(give_up_after(1, C::closed(C::stream(&writer))).await.is_none());
            assert!(give_up_after(1, C::idle(&client)).await.is_none());
            C::pause().await;
        }
        assert!(give_up_after(1, C::closed(C::stream(&writer))).await.is_none());
        C::finish(&mut writer).await.expect("finish");
        expect_end::<C>(&mut reader).await;
        let ending = C::closed(C::stream(&writer)).await;
        // Any number may wait, also afterwards.
        let stream = C::stream(&writer);
        assert_eq!(join(C::closed(stream), C::closed(stream)).await, (ending, ending));
        ending.reason
    };
    let (ending, reason) = join(receiving, waiting).await;
    assert_eq!((ending.reason, reason), (CloseReason::Finished, CloseReason::Finished));
    drop((reader, writer));
    C::close(&client).await.expect("close");
}

/// No event is lost, doubled or out of order if each is given up as soon as it has to be waited for.
pub async fn events_dropped_at_every_await<S: Adapter, C: Adapter>() {
    const CONNECTIONS: u64 = 20;
    const LENGTH: u64 = 50_000;

    async fn next<A: Adapter>(stream: &A::Stream) -> Option<StreamEvent> {
        loop {
            match give_up_after(1, A::stream_event(stream)).await {
                Some(event) => return event,
                None => A::pause().await,
            }
        }
    }

    /// Sends stream `out`, finishes, and expects stream `back` and the end of it all.
    async fn converse<A: Adapter>(stream: A::Stream, out: u64, back: u64) {
        let (_reader, mut writer) = A::split(stream);
        send::<A>(&mut writer, out, LENGTH as usize).await;
        A::finish(&mut writer).await.expect("finish");
        let stream = A::stream(&writer);
        let mut checker = Checker::new(back, LENGTH);
        loop {
            match next::<A>(stream).await {
                Some(StreamEvent::Connect) => assert_eq!(checker.checked(), 0),
                Some(StreamEvent::Data(data)) => checker.feed(data.as_ref()).expect("what was sent"),
                Some(StreamEvent::End) => break,
                event => panic!("{event:?} after {} bytes", checker.checked()),
            }
        }
        assert!(checker.complete(), "{} bytes are missing", checker.left());
        assert!(matches!(next::<A>(stream).await, Some(StreamEvent::Close(_))));
        assert!(next::<A>(stream).await.is_none());
    }

    async fn next_of_socket<A: Adapter>(socket: &A::Socket) -> Option<SocketEvent<A::Stream>> {
        loop {
            match give_up_after(1, A::socket_event(socket)).await {
                Some(event) => return event,
                None => A::pause().await,
            }
        }
    }

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let to = S::local_addr(&server);
    let connecting = C::spawn(async move {
        for number in 0..CONNECTIONS {
            let stream = C::start_connect(&client, to).expect("an address");
            converse::<C>(stream, 2 * number, 2 * number + 1).await;
        }
    });
    let accepting = async {
        assert!(matches!(next_of_socket::<S>(&server).await, Some(SocketEvent::Listening)));
        for number in 0..CONNECTIONS {
            match next_of_socket::<S>(&server).await {
                Some(SocketEvent::Connection(stream)) => {
                    converse::<S>(stream, 2 * number + 1, 2 * number).await;
                }
                _ => panic!("no connection"),
            }
        }
        let (closed, event) = join(S::close(&server), next_of_socket::<S>(&server)).await;
        closed.expect("close");
        assert!(matches!(event, Some(SocketEvent::Close)));
        assert!(next_of_socket::<S>(&server).await.is_none());
    };
    join(connecting, accepting).await;
}

/// The wait until nothing referenced is left can be taken up again.
pub async fn reference_waits_dropped_at_every_await<S: Adapter, C: Adapter>() {
    let brief = || {
        config(|config| {
            config.linger(Duration::from_millis(100)).expect("a valid time");
        })
    };
    let (server, client) = (bind_with::<S>(brief()).await, bind_with::<C>(brief()).await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    S::set_referenced(&server, false);
    for _ in 0..5 {
        assert!(give_up_after(1, S::unreferenced(&server)).await.is_none());
        S::pause().await;
    }
    drop(connected);
    let (mut reader, writer) = S::split(accepted);
    expect_end::<S>(&mut reader).await;
    drop((reader, writer));
    loop {
        match give_up_after(1, S::unreferenced(&server)).await {
            Some(waited) => break waited.expect("a driver"),
            None => S::pause().await,
        }
    }
    // Any number may wait.
    let (one, other) = join(S::unreferenced(&server), S::unreferenced(&server)).await;
    assert!(one.is_ok() && other.is_ok());
}

/// No datagram is lost to a `recv_from` that nobody waits for any more.
pub async fn datagram_waits_dropped_at_every_await<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let to = S::local_addr(&server);
    for number in 0..20_u8 {
        assert!(give_up_after(1, S::recv_from(&server, &mut [0; 16])).await.is_none());
        C::send_to(&client, &[b'd', number], to).await.expect("send");
        let mut buf = [0; 16];
        let (len, from) = loop {
            match give_up_after(1, S::recv_from(&server, &mut buf)).await {
                Some(received) => break received.expect("receive"),
                None => S::pause().await,
            }
        };
        assert_eq!((&buf[..len], from), (&[b'd', number][..], C::local_addr(&client)));
    }
}
