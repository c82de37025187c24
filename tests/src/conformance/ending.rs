//! Cases: how connections and sockets end, well and badly.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use futures_util::future::join;
use utp_tokio::{CloseReason, Config};

use super::Adapter;
use super::tools::{
    bind, bind_with, config, connection, expect_end, give_up_after, loopback, receive, send, until, write_all,
};

async fn connect_error<A: Adapter>(client: &A::Socket, to: std::net::SocketAddr) -> io::ErrorKind {
    match A::connect(client, to).await {
        Ok(_) => panic!("connected to {to}"),
        Err(error) => error.kind(),
    }
}

/// `ConnectionRefused`, and `accept` does not wait for what cannot come.
pub async fn refused_by_a_socket_that_does_not_listen<S: Adapter, C: Adapter>() {
    let server = bind_with::<S>(config(|config| {
        config.listen(false);
    }))
    .await;
    let client = bind::<C>().await;
    assert_eq!(connect_error::<C>(&client, S::local_addr(&server)).await, io::ErrorKind::ConnectionRefused);
    let Err(error) = S::accept(&server).await else { panic!("accepted without listening") };
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

/// The same for a socket that has stopped, and whoever waits in `accept` learns it.
pub async fn refused_after_close<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let waiting = {
        let server = server.clone();
        S::spawn(async move { S::accept(&server).await.map(|_| ()).map_err(|error| error.kind()) })
    };
    let (waiting, closed) = join(waiting, async {
        S::pause().await;
        S::close(&server).await
    })
    .await;
    assert_eq!(waiting, Err(io::ErrorKind::NotConnected));
    closed.expect("close");
    assert_eq!(connect_error::<C>(&client, S::local_addr(&server)).await, io::ErrorKind::ConnectionRefused);
}

/// `TimedOut` for a port where nobody answers, after the configured time.
pub async fn a_silent_peer_times_out<S: Adapter, C: Adapter>() {
    let silent = UdpSocket::bind(loopback()).expect("bind");
    let client = bind_with::<C>(config(|config| {
        config.connect_timeout(Duration::from_millis(300)).expect("a valid time");
    }))
    .await;
    let to = silent.local_addr().expect("an address");
    assert_eq!(connect_error::<C>(&client, to).await, io::ErrorKind::TimedOut);
    assert_eq!(C::socket_stats(&client).endpoint.connections, 0);
}

/// Waiting readers and writers of both sides learn it, each in its own words.
pub async fn abort_reaches_both_sides<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (mut reader, mut writer) = S::split(accepted);
    let (mut own_reader, mut own_writer) = C::split(connected);
    let peer = S::spawn(async move {
        let read = S::read(&mut reader, &mut [0; 16]).await.map_err(|error| error.kind());
        let written = S::write(&mut writer, b"too late").await.map_err(|error| error.kind());
        (read, written, S::closed(S::stream(&writer)).await.reason)
    });
    let own = async {
        let (read, ()) = join(C::read(&mut own_reader, &mut [0; 16]), async {
            C::pause().await;
            C::abort(C::stream(&own_writer));
        })
        .await;
        let written = C::write(&mut own_writer, b"too late").await.map_err(|error| error.kind());
        let reason = C::closed(C::stream(&own_writer)).await.reason;
        (read.map_err(|error| error.kind()), written, reason)
    };
    let (peer, own) = join(peer, own).await;
    let reset = Err(io::ErrorKind::ConnectionReset);
    assert_eq!(peer, (reset, reset, CloseReason::Reset));
    let aborted = Err(io::ErrorKind::ConnectionAborted);
    assert_eq!(own, (aborted, aborted, CloseReason::Aborted));
}

/// Finishing twice is no error; writing afterwards is.
pub async fn writing_after_the_finish_is_a_broken_pipe<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (mut reader, mut writer) = C::split(connected);
    C::finish(&mut writer).await.expect("finish");
    C::finish(&mut writer).await.expect("finish again");
    let error = C::write(&mut writer, b"x").await.expect_err("written after the finish");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    drop(accepted);
    expect_end::<C>(&mut reader).await;
    C::closed(C::stream(&writer)).await;
    let error = C::write(&mut writer, b"x").await.expect_err("written after the end");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    C::finish(&mut writer).await.expect("finish after the end");
}

/// Dropping is a graceful close, which needs nobody to wait for it.
pub async fn a_dropped_stream_delivers_what_was_written<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 400_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (_, mut writer) = C::split(connected);
    send::<C>(&mut writer, 1, LENGTH).await;
    drop(writer);
    let (mut reader, mut writer) = S::split(accepted);
    // What is written to a stream that its owner dropped is lost, but no error for the writer's peer.
    write_all::<S>(&mut writer, b"nobody reads this").await.expect("write");
    receive::<S>(&mut reader, 1, LENGTH).await;
    expect_end::<S>(&mut reader).await;
    S::finish(&mut writer).await.expect("finish");
    assert_eq!(S::closed(S::stream(&writer)).await.reason, CloseReason::Finished);
    until::<C>(|| C::socket_stats(&client).endpoint.connections == 0).await;
}

/// Sockets are dropped at once; their streams go on to the end.
pub async fn streams_outlive_their_sockets<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 400_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    drop((server, client));
    let (mut reader, writer) = S::split(accepted);
    let (_own, mut own_writer) = C::split(connected);
    let receiving = S::spawn(async move {
        receive::<S>(&mut reader, 1, LENGTH).await;
        expect_end::<S>(&mut reader).await;
        drop(reader);
        writer
    });
    let sending = async {
        send::<C>(&mut own_writer, 1, LENGTH).await;
        C::finish(&mut own_writer).await.expect("finish");
        C::acked(C::stream(&own_writer)).await.expect("delivered");
    };
    join(receiving, sending).await;
}

/// A connection that nobody accepts ends when the socket that would have does.
pub async fn nobody_accepts<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let stream = C::connect(&client, S::local_addr(&server)).await.expect("connect");
    until::<S>(|| S::socket_stats(&server).endpoint.backlog == 1).await;
    drop(server);
    let (mut reader, _writer) = C::split(stream);
    let error = C::read(&mut reader, &mut [0; 16]).await.expect_err("nobody was there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// A connection that was over and done with for its peer before anybody accepted it ends well.
pub async fn accepted_after_the_peer_had_finished<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let stream = C::connect(&client, S::local_addr(&server)).await.expect("connect");
    let (mut own_reader, mut own_writer) = C::split(stream);
    send::<C>(&mut own_writer, 1, 5_000).await;
    C::finish(&mut own_writer).await.expect("finish");
    C::acked(C::stream(&own_writer)).await.expect("delivery");
    let (accepted, _) = S::accept(&server).await.expect("accept");
    let (mut reader, mut writer) = S::split(accepted);
    receive::<S>(&mut reader, 1, 5_000).await;
    S::finish(&mut writer).await.expect("finish");
    expect_end::<C>(&mut own_reader).await;
    assert_eq!(S::closed(S::stream(&writer)).await.reason, CloseReason::Finished);
    expect_end::<S>(&mut reader).await;
}

/// `close` refuses new connections at once and resolves when the last one has ended.
pub async fn close_waits_for_the_streams<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    assert!(give_up_after(1, S::close(&server)).await.is_none(), "closed with a stream open");
    assert_eq!(connect_error::<C>(&client, S::local_addr(&server)).await, io::ErrorKind::ConnectionRefused);
    let (mut reader, mut writer) = C::split(connected);
    let (mut other_reader, mut other_writer) = S::split(accepted);
    send::<S>(&mut other_writer, 1, 1_000).await;
    receive::<C>(&mut reader, 1, 1_000).await;
    C::finish(&mut writer).await.expect("finish");
    S::finish(&mut other_writer).await.expect("finish");
    let (closed, ()) = join(S::close(&server), async {
        expect_end::<S>(&mut other_reader).await;
        expect_end::<C>(&mut reader).await;
    })
    .await;
    closed.expect("close");
    assert_eq!(S::socket_stats(&server).endpoint.connections, 0);
}

/// Waits for the connections, and for whoever might still miss our last word.
pub async fn idle_wait<S: Adapter, C: Adapter>() {
    let short = |config: &mut Config| {
        config.linger(Duration::from_millis(100)).expect("a valid time");
    };
    let (server, client) = (bind_with::<S>(config(short)).await, bind_with::<C>(config(short)).await);
    S::idle(&server).await.expect("idle from the start");
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    assert!(give_up_after(1, S::idle(&server)).await.is_none(), "idle with a stream open");
    let (server_idle, client_idle) = join(
        async {
            drop(accepted);
            S::idle(&server).await
        },
        async {
            drop(connected);
            C::idle(&client).await
        },
    )
    .await;
    server_idle.expect("idle");
    client_idle.expect("idle");
    let endpoint = S::socket_stats(&server).endpoint;
    assert_eq!((endpoint.connections, endpoint.lingering), (0, 0));
    let endpoint = C::socket_stats(&client).endpoint;
    assert_eq!((endpoint.connections, endpoint.lingering), (0, 0));
}

/// The counters of a connection can be read after it has ended.
pub async fn last_counters<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 100_000;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (mut reader, mut writer) = C::split(connected);
    let receiving = S::spawn(async move {
        let (mut reader, writer) = S::split(accepted);
        drop(writer);
        receive::<S>(&mut reader, 1, LENGTH).await;
        expect_end::<S>(&mut reader).await;
    });
    let sending = async {
        send::<C>(&mut writer, 1, LENGTH).await;
        C::finish(&mut writer).await.expect("finish");
        expect_end::<C>(&mut reader).await;
        C::closed(C::stream(&writer)).await
    };
    let (ending, ()) = join(sending, receiving).await;
    assert_eq!(ending.bytes_acked, LENGTH as u64);
    let stream = C::stream(&writer);
    assert_eq!((C::bytes_written(stream), C::bytes_acked(stream)), (LENGTH as u64, LENGTH as u64));
    let stats = C::stats(stream);
    assert!(stats.wire_bytes_sent > LENGTH as u64, "{stats:?}");
    assert!(stats.rtt > Duration::ZERO, "{stats:?}");
}
