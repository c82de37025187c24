//! Faults of the system under the sockets of every adapter: errors of every kind from its calls, buffers that overflow,
//! devices of small MTU, clocks that are set, a peer that dies and comes back. No byte is lost or altered, no
//! connection gets stuck. What is left behind: `leaks_adapters`. Clocks of mio: `mio_clocks`.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use nix::libc;
use utp_driver::{SocketConfig, SocketStats};
use utp_tests::conformance::tools::{connection, expect_end, loopback, receive, send, until, write_all};
use utp_tests::conformance::{Adapter, LIMIT, within};
use utp_tests::faults::{ERRORS, Failing, Faulty, Injector};
use utp_tests::interop::pattern::Pattern;
use utp_tests::on_every_adapter;
use utp_tokio::Config;

on_every_adapter! { run:
    errors_of_every_kind_lose_no_byte
    each_kind_of_error_by_itself_loses_no_byte
    storms_of_calls_that_would_block_lose_no_byte
    a_network_that_is_down_for_a_while_and_comes_back_loses_no_byte
    a_connection_can_be_opened_and_ended_while_calls_fail
    clocks_that_are_set_under_way_lose_no_byte
    a_receive_buffer_of_a_few_packets_is_survived
    a_peer_that_dies_and_comes_back_on_its_port_resets_the_old_connection_and_takes_a_new_one
    over_loopbacks_of_any_mtu
}

fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    within(LIMIT, || {
        runtime(2).block_on(async { tokio::spawn(test()).await.expect("a test that ends well") })
    });
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// Two sockets whose calls can be made to fail.
struct Pair<A: Adapter> {
    sockets: [A::Socket; 2],
    injectors: [Arc<Injector>; 2],
}

impl<A: Faulty> Pair<A> {
    async fn new(seed: u64, config: SocketConfig) -> Self {
        let injectors = [2 * seed, 2 * seed + 1].map(Injector::new);
        let bind = injectors.each_ref().map(|injector| A::bind(loopback(), injector.under(config.clone())));
        let [server, client] = bind;
        let sockets = [server.await.expect("bind"), client.await.expect("bind")];
        for (socket, injector) in sockets.iter().zip(&injectors) {
            A::attach(socket, injector);
        }
        Self { sockets, injectors }
    }

    fn set(&self, failing: Failing) {
        self.injectors.iter().for_each(|injector| injector.set(failing));
    }

    fn injected(&self) -> u64 {
        self.injectors.iter().map(|injector| injector.injected()).sum()
    }

    /// One connection, with a stream each way, while calls fail.
    async fn exchange(&self, failing: Failing, length: usize) {
        let [server, client] = &self.sockets;
        let (accepted, connected) = connection::<A, A>(server, client).await;
        // Not before: a host that cannot be reached ends an attempt.
        self.set(failing);
        let one = A::spawn(both_ways::<A>(accepted, 1, 2, length));
        let other = A::spawn(both_ways::<A>(connected, 2, 1, length));
        join(one, other).await;
        self.set(Failing::Nothing);
    }
}

/// Whoever has got all there is waits for longer than usual for repetitions: the last acknowledgements may fail many times.
fn config() -> SocketConfig {
    let mut config = Config::default();
    config.linger(Duration::from_secs(60)).expect("a time");
    config.into()
}

/// Sends one stream of `length` bytes, and receives and checks another, to the end of both.
async fn both_ways<A: Adapter>(stream: A::Stream, out: u64, back: u64, length: usize) {
    let (mut reader, mut writer) = A::split(stream);
    let writing = async {
        send::<A>(&mut writer, out, length).await;
        A::finish(&mut writer).await.expect("finish");
        A::acked(A::stream(&writer)).await.expect("delivery");
        writer
    };
    let reading = async {
        receive::<A>(&mut reader, back, length).await;
        expect_end::<A>(&mut reader).await;
    };
    let (writer, ()) = join(writing, reading).await;
    let ending = A::closed(A::stream(&writer)).await;
    assert!(ending.is_delivered(), "{ending:?}");
}

async fn errors_of_every_kind_lose_no_byte<A: Faulty>() {
    let (mut seen, mut injected) = (BTreeMap::new(), 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let pair = Pair::<A>::new(seed, config()).await;
        pair.exchange(Failing::Rows(ERRORS), LENGTH).await;
        injected += pair.injected();
        for socket in &pair.sockets {
            for (name, count) in counters(&A::socket_stats(socket)) {
                *seen.entry(name).or_insert(0) += count;
            }
        }
        // And the sockets are as good as new.
        pair.exchange(Failing::Nothing, 10_000).await;
    }
    println!("{injected} errors injected, {seen:?}");
    assert!(seen.values().all(|count| *count > 0), "some kind was not counted: {seen:?}");
}

fn counters(stats: &SocketStats) -> [(&'static str, u64); 5] {
    let SocketStats { send, receive, .. } = stats;
    [
        ("receive errors", receive.receive_errors),
        ("blocked", send.send_blocked),
        ("dropped", send.datagrams_dropped),
        ("too big", send.send_too_big),
        ("unreachable", send.send_unreachable),
    ]
}

async fn each_kind_of_error_by_itself_loses_no_byte<A: Faulty>() {
    let kinds = ERRORS.chunks(1).enumerate().map(async |(number, errno)| {
        let pair = Pair::<A>::new(100 + number as u64, config()).await;
        pair.exchange(Failing::Rows(errno), 100_000).await;
        println!("{}: {} injected", io::Error::from_raw_os_error(errno[0]), pair.injected());
        assert!(pair.injected() > 0);
    });
    join_all(kinds).await;
}

async fn storms_of_calls_that_would_block_lose_no_byte<A: Faulty>() {
    let pair = Pair::<A>::new(200, config()).await;
    // Datagrams of the application's own go the same way.
    let [server, client] = &pair.sockets;
    let foreign = async {
        let to = A::local_addr(server);
        for number in 0..50 {
            A::send_to(client, &[b'd', number], to).await.expect("send");
            let mut buf = [0; 8];
            let (len, _) = A::recv_from(server, &mut buf).await.expect("receive");
            assert_eq!(buf[..len], [b'd', number]);
        }
    };
    join(pair.exchange(Failing::Storms(libc::EAGAIN), LENGTH), foreign).await;
    let blocked = pair.injectors.each_ref().map(|injector| injector.blocked());
    println!("{blocked:?} calls would have blocked");
    assert!(blocked.iter().all(|count| *count > 100));
}

/// Until time-outs have failed a few times, in the middle of a transfer in both directions.
async fn a_network_that_is_down_for_a_while_and_comes_back_loses_no_byte<A: Faulty>() {
    let pair = Pair::<A>::new(300, config()).await;
    let [server, client] = &pair.sockets;
    let (accepted, connected) = connection::<A, A>(server, client).await;
    let one = A::spawn(both_ways::<A>(accepted, 1, 2, 8 * LENGTH));
    let other = A::spawn(both_ways::<A>(connected, 2, 1, 8 * LENGTH));
    let outage = async {
        until::<A>(|| A::socket_stats(server).endpoint.datagrams_received > 500).await;
        let started = Instant::now();
        let unreachable =
            || pair.sockets.each_ref().map(|socket| A::socket_stats(socket).send.send_unreachable);
        pair.set(Failing::Everything(libc::ENETDOWN));
        until::<A>(|| unreachable().iter().all(|count| *count >= 3)).await;
        pair.set(Failing::Nothing);
        println!("{:?} sends failed, in {:?}", unreachable(), started.elapsed());
    };
    join(outage, join(one, other)).await;
}

/// Errors that say nothing of the peer's host: those would end an attempt, and rightly so.
async fn a_connection_can_be_opened_and_ended_while_calls_fail<A: Faulty>() {
    const HARMLESS: &[i32] =
        &[libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR, libc::EPERM, libc::EMSGSIZE];
    for seed in 0..8 {
        let pair = Pair::<A>::new(400 + seed, config()).await;
        pair.set(Failing::Some(HARMLESS));
        let [server, client] = &pair.sockets;
        let streams = (0..4).map(|_| async {
            let (accepted, connected) =
                join(A::accept(server), A::connect(client, A::local_addr(server))).await;
            let (accepted, connected) = (accepted.expect("accept").0, connected.expect("connect"));
            // Whichever two they are: all say the same.
            join(both_ways::<A>(accepted, 1, 2, 3_000), both_ways::<A>(connected, 2, 1, 3_000)).await;
        });
        join_all(streams).await;
        assert!(pair.injected() > 0);
    }
}

/// The clock of the machine, that is, by which the kernel says when datagrams arrived: forward, back, by more than
/// anybody would believe and by less.
async fn clocks_that_are_set_under_way_lose_no_byte<A: Faulty>() {
    const SECOND: i64 = 1_000_000_000;
    let pair = Pair::<A>::new(500, config()).await;
    let [server, client] = &pair.sockets;
    let (accepted, connected) = connection::<A, A>(server, client).await;
    let length = 8 * LENGTH;
    let (mut reader, mut writer) = A::split(connected);
    let mut data = vec![0; length];
    Pattern::new(7).fill(&mut data);
    let steps = [0, 1, -1, 20, -20, 28_800, -28_800].map(|seconds| seconds * SECOND);
    let small = [SECOND / 2, SECOND - 1, -SECOND / 2, SECOND / 1_000];
    let pieces = data.chunks(length.div_ceil(steps.len() + small.len()));
    let sending = async {
        for (piece, step) in pieces.zip(steps.into_iter().chain(small)) {
            pair.injectors[0].set_clock(step);
            pair.injectors[1].set_clock(-step);
            write_all::<A>(&mut writer, piece).await.expect("write");
            A::acked(A::stream(&writer)).await.expect("delivery");
            let stats = A::stats(A::stream(&writer));
            println!("set by {step} ns: round trip {:?}, window {}", stats.rtt, stats.cwnd);
        }
        A::finish(&mut writer).await.expect("finish");
        expect_end::<A>(&mut reader).await;
    };
    let receiving = async {
        let (mut reader, writer) = A::split(accepted);
        receive::<A>(&mut reader, 7, length).await;
        expect_end::<A>(&mut reader).await;
        drop(writer);
    };
    join(sending, receiving).await;
}

async fn a_receive_buffer_of_a_few_packets_is_survived<A: Faulty>() {
    let mut config = config();
    config.receive_buffer(Some(1)); // the system makes it its least
    let pair = Pair::<A>::new(600, config).await;
    for socket in &pair.sockets {
        assert!(A::buffer_sizes(socket).receive < 16 << 10, "{:?}", A::buffer_sizes(socket));
    }
    pair.exchange(Failing::Nothing, 1 << 19).await;
    // And while calls fail besides.
    pair.exchange(Failing::Rows(ERRORS), 100_000).await;
}

/// The peer is a tokio runtime that is shut down: any adapter can be at the end that lives on, and take over the port.
async fn a_peer_that_dies_and_comes_back_on_its_port_resets_the_old_connection_and_takes_a_new_one<
    A: Faulty,
>() {
    use utp_tests::conformance::tokio::Tokio;

    let dies = runtime(1);
    let injector = Injector::new(700);
    let config = injector.under(SocketConfig::default());
    let server = dies.spawn(Tokio::bind(loopback(), config)).await.unwrap().expect("bind");
    let to = server.local_addr();
    let client = A::bind(loopback(), SocketConfig::default()).await.expect("bind");
    let (accepted, connected) = connection::<Tokio, A>(&server, &client).await;
    let (mut reader, mut writer) = A::split(connected);
    write_all::<A>(&mut writer, b"it arrives").await.expect("write");
    A::acked(A::stream(&writer)).await.expect("delivery");
    // As if its process were killed: no word of farewell, and the port is free.
    injector.set(Failing::Everything(libc::ENETDOWN));
    let gone = tokio::task::spawn_blocking(move || dies.shutdown_timeout(LIMIT));
    gone.await.expect("the end of a runtime");
    drop((accepted, server));
    let server = loop {
        match A::bind(to, SocketConfig::default()).await {
            Ok(server) => break server,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
        }
        A::pause().await;
    };
    write_all::<A>(&mut writer, b"to nobody").await.expect("write");
    let error = A::read(&mut reader, &mut [0; 8]).await.expect_err("the old connection is over");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let (accepted, connected) = connection::<A, A>(&server, &client).await;
    join(both_ways::<A>(accepted, 1, 2, 100_000), both_ways::<A>(connected, 2, 1, 100_000)).await;
}

/// By itself over the one that this machine has; within [`devices_of_small_mtu_are_served`] over small ones.
async fn over_loopbacks_of_any_mtu<A: Faulty>() {
    let pair = Pair::<A>::new(800, config()).await;
    pair.exchange(Failing::Nothing, 1 << 20).await;
    let mtu: u64 = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
    let stats = A::socket_stats(&pair.sockets[1]);
    println!("MTU {mtu}: {:?}", stats.send);
    let least = (1 << 20) / mtu;
    assert!(stats.endpoint.datagrams_sent > least, "packets were larger than the device takes");
}

/// Runs [`over_loopbacks_of_any_mtu`] in network namespaces of its own, if that is allowed here.
#[test]
fn devices_of_small_mtu_are_served() {
    let within = |script: &str| Command::new("unshare").args(["-rn", "sh", "-c", script]).output();
    if !within("ip link set lo up").is_ok_and(|output| output.status.success()) {
        println!("skipped: no unprivileged network namespaces, or no `ip`");
        return;
    }
    let test = std::env::current_exe().unwrap();
    for mtu in [1280, 576] {
        // A mount namespace as well: what /sys shows is the network's that it was mounted in.
        let run = format!(
            "ip link set lo mtu {mtu} up && exec unshare -m sh -c \
             'mount -t sysfs sysfs /sys && exec {} over_loopbacks_of_any_mtu --nocapture'",
            test.display()
        );
        let output = within(&run).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let passed = text.contains("3 passed") && text.matches(&format!("MTU {mtu}")).count() == 3;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && passed, "{mtu}: {text} {errors}");
    }
}

/// Worlds of errors.
const SEEDS: u64 = 2;

/// Bytes each way under errors.
const LENGTH: usize = 1 << 19;
