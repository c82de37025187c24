//! The hub, its driver and their locks under a model checker, which chooses at every lock, wake-up and system call
//! which thread goes on: at random, and by the algorithm PCT, which finds every fault that takes up to
//! [`DEPTH`] ill-timed changes of thread with a probability that has a lower bound.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release -p utp-driver --test models --target-dir target/models`;
//! `UTP_SCHEDULES=N` sets the number of schedules of each scenario. A failure prints its schedule, which
//! `UTP_SCHEDULE=... ` with the name of the scenario repeats (but for the connections' ids, which are random).
//!
//! What holds in every scenario, besides what it asserts itself: whoever waits is woken (see [`world`]), every task
//! ends, the driver's included, no lock is taken twice, and every socket is closed.
#![cfg(all(shuttle, target_os = "linux"))]

mod world;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use utp_driver::events::{SocketEvent, StreamEvent};
use utp_driver::runtime::Runtime;
use utp_driver::{SocketConfig, hub};
use utp_proto::{CloseReason, Config};
use world::{Model, block_on, kill_driver, pause, run, sleep, spawn};

type Socket = hub::SocketHandle<world::Socket>;
type Stream = hub::StreamHandle<world::Socket>;

/// Explores `scenario`.
fn check(scenario: fn()) {
    let schedules = std::env::var("UTP_SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("a number"));
    let explore = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = shuttle::Config::new();
        config.stack_size = STACK;
        shuttle::Runner::new(scheduler, config).run(move || run(scenario));
    };
    if let Ok(schedule) = std::env::var("UTP_SCHEDULE") {
        return explore(Box::new(ReplayScheduler::new_from_encoded(&schedule)));
    }
    explore(Box::new(RandomScheduler::new(schedules.div_ceil(2))));
    explore(Box::new(PctScheduler::new(DEPTH, schedules.div_ceil(2))));
}

fn bind() -> Socket {
    let mut config = Config::default();
    // What takes long stands out: see `world`.
    config.min_rto(Duration::from_secs(10)).unwrap().initial_rto(Duration::from_secs(10)).unwrap();
    config.connect_timeout(Duration::from_secs(60)).unwrap();
    config.linger(Duration::from_millis(100)).unwrap();
    config.send_buffer(4 << 10).unwrap().receive_buffer(4 << 10).unwrap();
    let mut config = SocketConfig::from(config);
    config.receive_buffer(None).send_buffer(None);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    hub::bind::<Model>(any, &config).unwrap()
}

/// Both ends of a connection: the accepted, the connected one.
fn connection(server: &Socket, client: &Socket) -> (Stream, Stream) {
    let connected = client.start_connect(server.local_addr()).unwrap();
    (block_on(server.accept()).unwrap(), connected)
}

fn byte(position: usize, seed: u8) -> u8 {
    (position as u8).wrapping_mul(31).wrapping_add(seed)
}

/// Writes bytes up to `len` in pieces, each of which may wait.
async fn write(stream: &Stream, len: usize, piece: usize, seed: u8) -> io::Result<()> {
    let data: Vec<u8> = (0..len).map(|position| byte(position, seed)).collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, &rest[..rest.len().min(piece)])).await?;
        rest = &rest[written..];
    }
    Ok(())
}

async fn read(stream: &Stream, buf: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buf)).await
}

/// Reads to the end and compares; gives the number of bytes.
async fn read_all(stream: &Stream, seed: u8) -> io::Result<usize> {
    let mut data = Vec::new();
    while read(stream, &mut data).await? > 0 {}
    assert!(
        data.iter().enumerate().all(|(position, got)| *got == byte(position, seed)),
        "not what was written"
    );
    Ok(data.len())
}

/// Polls `future` once.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Readers, writers, and those who wait for acknowledgements, flushes and the end; more than the buffers hold.
#[test]
fn whoever_waits_is_woken() {
    check(|| {
        let (server, client) = (bind(), bind());
        let (accepted, connected) = connection(&server, &client);
        for (stream, out, back) in [(accepted, 1, 2), (connected, 2, 1)] {
            let stream = Arc::new(stream);
            let writer = Arc::clone(&stream);
            spawn(async move {
                write(&writer, LENGTH, LENGTH, out).await.unwrap();
                poll_fn(|cx| writer.poll_flush(cx)).await.unwrap();
                writer.acked().await.unwrap();
                assert_eq!(writer.bytes_acked(), LENGTH as u64);
                writer.finish().unwrap();
                writer.acked().await.unwrap();
            });
            let waiting = Arc::clone(&stream);
            spawn(async move { assert_eq!(waiting.closed().await.reason, CloseReason::Finished) });
            spawn(async move {
                assert_eq!(read_all(&stream, back).await.unwrap(), LENGTH);
                assert_eq!(stream.closed().await.reason, CloseReason::Finished);
                assert_eq!(stream.stats().timeouts, 0, "only a time-out brought it on its way");
            });
        }
        spawn(async move { server.idle().await.unwrap() });
        spawn(async move { client.unused().await.unwrap() });
    });
}

/// Small messages to and fro, which the application's tasks send by themselves while the driver has its turns, over
/// two connections between the same sockets.
#[test]
fn direct_sending_and_the_turns_of_the_driver_leave_nothing_behind() {
    check(|| {
        let (server, client) = (bind(), bind());
        for seed in 0..2 {
            let (accepted, connected) = connection(&server, &client);
            spawn(async move {
                let mut seen = Vec::new();
                while read(&accepted, &mut seen).await.unwrap() > 0 {
                    let answer = &seen[accepted.bytes_written() as usize..].to_vec();
                    assert_eq!(poll_fn(|cx| accepted.poll_write(cx, answer)).await.unwrap(), answer.len());
                }
            });
            spawn(async move {
                let mut seen = Vec::new();
                for message in 1..=3 {
                    // Acknowledgements that waited for company are out by then. Nothing else takes any time.
                    sleep(Duration::from_millis(20)).await;
                    let began = Model::now();
                    write_range(&connected, (message - 1) * 10, message * 10, seed).await;
                    while seen.len() < message * 10 {
                        assert!(read(&connected, &mut seen).await.unwrap() > 0);
                    }
                    assert_eq!(Model::now() - began, Duration::ZERO, "a timer had to bring it on its way");
                }
                assert!(seen.iter().enumerate().all(|(position, got)| *got == byte(position, seed)));
                assert_eq!(connected.stats().timeouts, 0, "only a time-out brought it on its way");
            });
        }
    });
}

async fn write_range(stream: &Stream, from: usize, to: usize, seed: u8) {
    let data: Vec<u8> = (from..to).map(|position| byte(position, seed)).collect();
    assert_eq!(poll_fn(|cx| stream.poll_write(cx, &data)).await.unwrap(), data.len());
}

/// Dropped while the driver, or another task, is at work: what was written arrives all the same.
#[test]
fn a_stream_that_is_dropped_delivers_what_was_written() {
    check(|| {
        let (server, client) = (bind(), bind());
        let (accepted, connected) = connection(&server, &client);
        let other = connection(&server, &client);
        spawn(async move {
            write(&connected, 3000, 700, 3).await.unwrap();
            drop(connected);
            drop(client);
        });
        spawn(async move {
            // The other side's bytes are thrown away, and delay nothing.
            write(&accepted, 100, 100, 4).await.unwrap();
            assert_eq!(read_all(&accepted, 3).await.unwrap(), 3000);
        });
        spawn(async move { drop(other.0) });
        spawn(async move {
            assert_eq!(read_all(&other.1, 5).await.unwrap(), 0);
            drop((server, other.1));
        });
    });
}

/// One side closes, the other resets, while tasks of both wait for everything there is.
#[test]
fn close_and_reset_at_a_time_end_everybodys_wait() {
    check(|| {
        let (server, client) = (bind(), bind());
        let (accepted, connected) = connection(&server, &client);
        let (accepted, connected) = (Arc::new(accepted), Arc::new(connected));
        for stream in [&accepted, &connected] {
            let (one, two, three) = (Arc::clone(stream), Arc::clone(stream), Arc::clone(stream));
            spawn(async move { while read(&one, &mut Vec::new()).await.is_ok_and(|read| read > 0) {} });
            spawn(async move {
                let _ = write(&two, LENGTH, 1000, 0).await;
                let _ = two.acked().await;
            });
            spawn(async move {
                let ending = three.closed().await;
                assert!(ending.bytes_acked <= ending.bytes_written);
                assert_eq!(three.closed().await, ending);
            });
        }
        spawn(async move {
            let _ = accepted.finish();
            pause().await;
            drop(accepted);
        });
        spawn(async move { connected.abort() });
        spawn(async move { server.unused().await.unwrap() });
        spawn(async move { client.idle().await.unwrap() });
    });
}

/// The driver dies in the middle of things: every wait ends with an error, none hangs.
#[test]
fn a_runtime_that_is_gone_ends_every_wait() {
    check(|| {
        let (server, client) = (bind(), bind());
        let (accepted, connected) = connection(&server, &client);
        let (stream, server) = (Arc::new(accepted), Arc::new(server));
        let gone = |error: io::Error| assert_eq!(error.kind(), ErrorKind::NotConnected, "{error:?}");
        // A stream that somebody saw closed says so to all; the peer's RESET may have come before.
        let over = |error: io::Error| {
            let kinds = [ErrorKind::NotConnected, ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        };
        spawn({
            let stream = Arc::clone(&stream);
            async move { over(read(&stream, &mut Vec::new()).await.unwrap_err()) }
        });
        spawn({
            let stream = Arc::clone(&stream);
            async move { over(write(&stream, 20_000, 2000, 0).await.unwrap_err()) }
        });
        spawn({
            let stream = Arc::clone(&stream);
            async move {
                let _ = stream.acked().await;
                let reason = stream.closed().await.reason;
                assert!(matches!(reason, CloseReason::Aborted | CloseReason::Reset), "{reason:?}");
            }
        });
        spawn({
            let server = Arc::clone(&server);
            async move { gone(server.accept().await.map(drop).unwrap_err()) }
        });
        spawn({
            let server = Arc::clone(&server);
            async move { gone(server.recv_from(&mut [0; 8]).await.unwrap_err()) }
        });
        spawn({
            let server = Arc::clone(&server);
            async move { gone(server.idle().await.unwrap_err()) }
        });
        spawn({
            let server = Arc::clone(&server);
            async move { gone(server.unreferenced().await.unwrap_err()) }
        });
        spawn(async move {
            let mut last = None;
            while let Some(event) = server.next_event().await {
                last = Some(event);
            }
            assert!(matches!(last, Some(SocketEvent::Close)));
        });
        spawn(async move {
            kill_driver(0);
            drop(stream);
        });
        spawn(async move {
            // To the peer it looks like a machine that fell silent.
            once(read(&connected, &mut Vec::new())).await;
            connected.abort();
            drop((connected, client));
        });
    });
}

/// The last handle of a socket goes while connections come in: whoever connects is accepted or refused, nobody hangs.
#[test]
fn the_last_handle_refuses_whoever_was_not_accepted() {
    check(|| {
        let (server, client) = (bind(), bind());
        let to = server.local_addr();
        let other = server.clone();
        // As long as this one is open there is somebody to answer.
        let open = Arc::new(connection(&server, &client));
        spawn(async move {
            match once(server.accept()).await {
                Some(stream) => assert_eq!(read_all(&stream.unwrap(), 7).await.unwrap(), 10),
                None => drop(server),
            }
        });
        spawn(async move {
            pause().await;
            drop(other.incoming());
            drop(other);
        });
        for _ in 0..2 {
            let (client, open) = (client.clone(), Arc::clone(&open));
            spawn(async move {
                match client.connect(to).await {
                    Ok(stream) => {
                        let _ = write(&stream, 10, 10, 7).await;
                    }
                    // Reset: the RESET came along with the answer to the SYN.
                    Err(error) => assert!(REFUSED.contains(&error.kind()), "{error:?}"),
                }
                drop(open);
            });
        }
    });
}

/// `accept` and events on several tasks: each connection comes to one of them, and all learn that it is over.
#[test]
fn connections_are_shared_out_among_those_who_wait() {
    check(|| {
        let (server, client) = (bind(), bind());
        let to = server.local_addr();
        for waiting in 0..2 {
            let server = server.clone();
            spawn(async move {
                if waiting == 0 {
                    while let Ok(stream) = server.accept().await {
                        assert_eq!(read_all(&stream, 8).await.unwrap(), 20);
                    }
                } else {
                    while let Some(event) = server.next_event().await {
                        let SocketEvent::Connection(stream) = event else { continue };
                        let mut data = 0;
                        while let Some(event) = stream.next_event().await {
                            match event {
                                StreamEvent::Data(bytes) => data += bytes.as_ref().len(),
                                StreamEvent::End => stream.finish().unwrap(),
                                _ => {}
                            }
                        }
                        assert_eq!(data, 20);
                    }
                }
            });
        }
        spawn(async move {
            for _ in 0..3 {
                let stream = client.connect(to).await.unwrap();
                write(&stream, 20, 20, 8).await.unwrap();
                stream.finish().unwrap();
                assert_eq!(stream.closed().await.reason, CloseReason::Finished);
            }
            server.stop_listening();
        });
    });
}

/// Datagrams that are none of the protocol's: two tasks wait for them, two send although the socket is full at times.
#[test]
fn every_datagram_comes_to_one_of_those_who_wait() {
    check(|| {
        let (server, client) = (bind(), bind());
        let to = server.local_addr();
        for _ in 0..2 {
            let (server, client) = (server.clone(), client.clone());
            spawn(async move {
                for _ in 0..3 {
                    let (len, from) = server.recv_from(&mut [0; 8]).await.unwrap();
                    assert_eq!(len, 3);
                    server.send_to(b"pong", from).await.unwrap();
                }
            });
            spawn(async move {
                for _ in 0..3 {
                    client.send_to(b"dht", to).await.unwrap();
                    assert_eq!(client.recv_from(&mut [0; 8]).await.unwrap().0, 4);
                }
            });
        }
    });
}

/// Waits that are given up at the very moment in which they would have ended leave no place taken and lose nothing.
#[test]
fn a_wait_that_is_given_up_loses_nothing() {
    check(|| {
        let (server, client) = (bind(), bind());
        let (to, back) = (server.local_addr(), client.clone());
        spawn(async move {
            let (stream, seen) = loop {
                let _ = once(server.recv_from(&mut [0; 8])).await;
                let _ = once(server.idle()).await;
                let stream = match once(server.accept()).await {
                    Some(stream) => stream.unwrap(),
                    None => server.accept().await.unwrap(),
                };
                let mut seen = Vec::new();
                let end = loop {
                    let read = match once(read(&stream, &mut seen)).await {
                        Some(read) => read,
                        None => read(&stream, &mut seen).await,
                    };
                    if !read.as_ref().is_ok_and(|read| *read > 0) {
                        break read;
                    }
                };
                // The attempt that was given up may have come this far.
                if !seen.is_empty() {
                    assert_eq!(end.unwrap(), 0);
                    break (stream, seen);
                }
            };
            assert_eq!(seen.len(), 2000);
            let _ = once(stream.closed()).await;
            stream.finish().unwrap();
            assert_eq!(stream.closed().await.reason, CloseReason::Finished);
        });
        spawn(async move {
            drop(once(client.connect(to)).await); // aborted, or open and then closed
            let stream = client.connect(to).await;
            let Ok(stream) = stream else { panic!("{stream:?}") };
            write(&stream, 2000, 500, 9).await.unwrap();
            let _ = once(stream.acked()).await;
            let _ = once(stream.closed()).await;
            stream.acked().await.unwrap();
            stream.finish().unwrap();
            assert_eq!(stream.closed().await.reason, CloseReason::Finished);
        });
        spawn(async move {
            let _ = once(back.unused()).await;
            let _ = once(back.unreferenced()).await;
        });
    });
}

/// More than both buffers hold.
const LENGTH: usize = 12_000;

/// Schedules of each scenario, half of either kind: seconds in all.
const SCHEDULES: usize = 600;

/// Faults known from such code take two or three changes of thread at the wrong time.
const DEPTH: usize = 3;

/// Bytes of stack of a thread: receiving takes some tens of KiB.
const STACK: usize = 512 << 10;

/// How attempts end that the peer does not want.
const REFUSED: [ErrorKind; 2] = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
