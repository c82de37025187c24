//! Nothing stays of a connection that is over, with any adapter and however it ended: two sockets go through the same
//! again and again, and no allocation is left that was not there the time before. The core by itself, to the byte:
//! `leaks_core`.
#![cfg(target_os = "linux")]

use std::future::Future;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use nix::libc;
use utp_driver::SocketConfig;
use utp_tests::conformance::tools::{
    connection, expect_end, give_up_after, loopback, receive, send, until, write_all,
};
use utp_tests::conformance::{Adapter, within};
use utp_tests::counting::{self, Counting};
use utp_tests::faults::{ERRORS, Failing, Faulty, Injector};
use utp_tests::on_every_adapter;
use utp_tests::puppet::{Kind, Raw};
use utp_tokio::Config;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

on_every_adapter! { alone:
    transfers_leave_nothing
    errors_of_every_kind_leave_nothing
    an_outage_leaves_nothing
    resets_leave_nothing
    attempts_that_are_cancelled_leave_nothing
    attempts_that_are_refused_leave_nothing
    attempts_that_nobody_answers_leave_nothing
    nobody_who_accepts_leaves_nothing
    a_peer_that_is_killed_and_comes_back_leaves_nothing
    clocks_that_are_set_leave_nothing
    floods_leave_nothing
}

/// Runs `test` with nobody else around.
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    within(LIMIT, || runtime(2).block_on(test()));
    drop(guard);
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// Two sockets whose calls can be made to fail.
struct Pair<A: Adapter> {
    server: A::Socket,
    client: A::Socket,
    injectors: [Arc<Injector>; 2],
}

impl<A: Faulty> Pair<A> {
    async fn new() -> Self {
        let injectors = [1, 2].map(Injector::new);
        let server = A::bind(loopback(), injectors[0].under(config())).await.expect("bind");
        let client = A::bind(loopback(), injectors[1].under(config())).await.expect("bind");
        A::attach(&server, &injectors[0]);
        A::attach(&client, &injectors[1]);
        Self { server, client, injectors }
    }

    fn set(&self, failing: Failing) {
        self.injectors.iter().for_each(|injector| injector.set(failing));
    }

    async fn connection(&self) -> [A::Stream; 2] {
        let (accepted, connected) = connection::<A, A>(&self.server, &self.client).await;
        [accepted, connected]
    }

    /// Everything that is still to be done is done, and forgotten. Nobody wants what has not been accepted.
    async fn rest(&self) {
        self.set(Failing::Nothing);
        let left = |socket| {
            let stats = A::socket_stats(socket).endpoint;
            stats.connections + stats.lingering + stats.half_open + stats.backlog
        };
        while left(&self.server) + left(&self.client) > 0 {
            match give_up_after(1, A::accept(&self.server)).await {
                // There may be nobody who would take what it has to say.
                Some(stream) => A::abort(&stream.expect("a socket that goes on").0),
                None => A::pause().await,
            }
        }
        for socket in [&self.server, &self.client] {
            A::idle(socket).await.expect("a socket that goes on");
        }
    }
}

fn config() -> SocketConfig {
    let mut config = Config::default();
    config.linger(Duration::from_millis(100)).unwrap();
    config.half_open_timeout(Duration::from_millis(1_000)).unwrap();
    config.connect_timeout(Duration::from_millis(1_500)).unwrap();
    config.into()
}

/// Goes through `scenario` until less is left by it than an allocation for every fourth connection. A few times, at most:
/// tables and spare blocks grow to what they need, and threads and runtimes have a life of their own. (A list that grows is
/// one allocation all the time: `leaks_core` sees those of the core.)
async fn leaves_nothing<A: Faulty>(scenario: impl AsyncFn(&Pair<A>)) {
    let pair = Pair::<A>::new().await;
    let mut left = Vec::new();
    let mut before: Option<i64> = None;
    for _ in 0..ROUNDS {
        scenario(&pair).await;
        pair.rest().await;
        let alive = counting::alive();
        if let Some(before) = before.replace(alive) {
            left.push(alive - before);
            if alive - before < ENOUGH {
                break;
            }
        }
    }
    println!("allocations left by each round of {CONNECTIONS} connections: {left:?}");
    assert!(left.last().is_some_and(|left| *left < ENOUGH), "something is left every time: {left:?}");
}

/// Sends one stream and receives and checks another, to the end of both.
async fn both_ways<A: Adapter>(stream: A::Stream, out: u64, back: u64, length: usize) {
    let (mut reader, mut writer) = A::split(stream);
    let writing = async {
        send::<A>(&mut writer, out, length).await;
        A::finish(&mut writer).await.expect("finish");
    };
    let reading = async {
        receive::<A>(&mut reader, back, length).await;
        expect_end::<A>(&mut reader).await;
    };
    join(writing, reading).await;
    A::closed(A::stream(&writer)).await;
}

async fn exchange<A: Faulty>(pair: &Pair<A>, length: usize) {
    let [accepted, connected] = pair.connection().await;
    join(both_ways::<A>(accepted, 1, 2, length), both_ways::<A>(connected, 2, 1, length)).await;
}

async fn transfers_leave_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        for _ in 0..CONNECTIONS / AT_ONCE {
            join_all((0..AT_ONCE).map(|_| exchange(pair, 20_000))).await;
        }
    })
    .await;
}

async fn errors_of_every_kind_leave_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        for _ in 0..CONNECTIONS / 4 {
            let [accepted, connected] = pair.connection().await;
            pair.set(Failing::Rows(ERRORS));
            join(both_ways::<A>(accepted, 1, 2, 20_000), both_ways::<A>(connected, 2, 1, 20_000)).await;
            pair.set(Failing::Nothing);
        }
        // Attempts end with the first that says that a host cannot be reached.
        pair.set(Failing::Everything(libc::EHOSTUNREACH));
        for _ in 0..CONNECTIONS {
            let error = A::connect(&pair.client, A::local_addr(&pair.server)).await.err();
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::HostUnreachable));
        }
    })
    .await;
}

/// Connections that are in the middle of a transfer, and end at both sides while neither can tell the other.
async fn an_outage_leaves_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        let streams = (0..CONNECTIONS).map(|_| pair.connection());
        let streams = join_all(streams).await;
        let mut talk = Vec::new();
        for [accepted, connected] in streams {
            talk.push((A::split(accepted), A::split(connected)));
        }
        for ((_, writer), (_, other)) in &mut talk {
            send::<A>(writer, 1, 10_000).await;
            send::<A>(other, 2, 10_000).await;
        }
        pair.set(Failing::Everything(libc::ENETDOWN));
        for ((_, writer), (_, other)) in &talk {
            A::abort(A::stream(writer));
            A::abort(A::stream(other));
        }
        drop(talk);
        until::<A>(|| A::socket_stats(&pair.client).endpoint.connections == 0).await;
    })
    .await;
}

async fn resets_leave_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        for number in 0..CONNECTIONS {
            let [accepted, connected] = pair.connection().await;
            let ((mut reader, mut writer), (other_reader, mut other)) =
                (A::split(accepted), A::split(connected));
            send::<A>(&mut writer, 1, 30_000).await;
            send::<A>(&mut other, 2, 30_000).await;
            if number % 2 == 0 {
                receive::<A>(&mut reader, 2, 10_000).await;
            }
            A::abort(A::stream(&other));
            if number % 3 == 0 {
                A::abort(A::stream(&writer));
            }
            drop((reader, writer, other_reader, other));
        }
    })
    .await;
}

async fn attempts_that_are_cancelled_leave_nothing<A: Faulty>() {
    let silent = UdpSocket::bind(loopback()).expect("bind");
    let silent = silent.local_addr().expect("an address");
    leaves_nothing::<A>(async |pair| {
        let to = A::local_addr(&pair.server);
        for polls in 1..=CONNECTIONS as u32 {
            drop(give_up_after(1, A::connect(&pair.client, silent)).await);
            drop(give_up_after(1 + polls % 3, A::connect(&pair.client, to)).await);
            drop(give_up_after(1 + polls % 2, A::connect_any(&pair.client, &[silent, to])).await);
            drop(A::start_connect(&pair.client, to));
        }
    })
    .await;
}

async fn attempts_that_are_refused_leave_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        let closed = A::bind(loopback(), config()).await.expect("bind");
        A::close(&closed).await.expect("close");
        for _ in 0..CONNECTIONS {
            let error = A::connect(&pair.client, A::local_addr(&closed)).await.err();
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
        }
    })
    .await;
}

async fn attempts_that_nobody_answers_leave_nothing<A: Faulty>() {
    let silent = UdpSocket::bind(loopback()).expect("bind");
    let silent = silent.local_addr().expect("an address");
    leaves_nothing::<A>(async |pair| {
        let attempts = (0..CONNECTIONS).map(|_| A::connect(&pair.client, silent));
        for attempt in join_all(attempts).await {
            assert_eq!(attempt.err().map(|error| error.kind()), Some(ErrorKind::TimedOut));
        }
    })
    .await;
}

/// Streams that their peers give up while they wait to be accepted.
async fn nobody_who_accepts_leaves_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        let to = A::local_addr(&pair.server);
        let attempts = (0..CONNECTIONS).map(|_| A::connect(&pair.client, to));
        let streams: Vec<_> =
            join_all(attempts).await.into_iter().map(|stream| stream.expect("connect")).collect();
        until::<A>(|| A::socket_stats(&pair.server).endpoint.backlog == CONNECTIONS as u64).await;
        streams.iter().for_each(A::abort);
        until::<A>(|| A::socket_stats(&pair.server).endpoint.backlog == 0).await;
    })
    .await;
}

/// The peer is a tokio runtime that is shut down, without a word: any adapter can be at the end that lives on.
async fn a_peer_that_is_killed_and_comes_back_leaves_nothing<A: Faulty>() {
    use utp_tests::conformance::tokio::Tokio;

    leaves_nothing::<A>(async |pair| {
        let dies = runtime(1);
        let injector = Injector::new(3);
        let bound = dies.spawn(Tokio::bind(loopback(), injector.under(config()))).await;
        let server = bound.expect("a task").expect("bind");
        let (mut streams, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let (accepted, connected) = connection::<Tokio, A>(&server, &pair.client).await;
            let (reader, mut writer) = A::split(connected);
            send::<A>(&mut writer, 1, 20_000).await;
            streams.push((reader, writer));
            kept.push(accepted);
        }
        injector.set(Failing::Everything(libc::ENETDOWN));
        let gone = tokio::task::spawn_blocking(move || dies.shutdown_timeout(LIMIT));
        gone.await.expect("the end of a runtime");
        let to = server.local_addr();
        drop((server, kept, injector));
        let back = loop {
            match A::bind(to, config()).await {
                Ok(back) => break back,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            }
            A::pause().await;
        };
        for (reader, mut writer) in streams {
            // Some have been reset by now.
            let _ = write_all::<A>(&mut writer, b"to nobody").await;
            A::closed(A::stream(&writer)).await;
            drop((reader, writer));
        }
        let (accepted, connected) = connection::<A, A>(&back, &pair.client).await;
        join(both_ways::<A>(accepted, 1, 2, 1_000), both_ways::<A>(connected, 2, 1, 1_000)).await;
        A::idle(&back).await.expect("idle");
    })
    .await;
}

async fn clocks_that_are_set_leave_nothing<A: Faulty>() {
    leaves_nothing::<A>(async |pair| {
        for number in 0..CONNECTIONS as i64 {
            pair.injectors[0].set_clock((number % 7 - 3) * 400_000_000);
            pair.injectors[1].set_clock((number % 5 - 2) * 10_000_000_000);
            exchange(pair, 10_000).await;
        }
    })
    .await;
}

/// Of SYNs, more than are remembered; of datagrams that are no uTP; and of what looks like it.
async fn floods_leave_nothing<A: Faulty>() {
    let stranger = UdpSocket::bind(loopback()).expect("bind");
    leaves_nothing::<A>(async |pair| {
        let to = A::local_addr(&pair.server);
        let received = || A::socket_stats(&pair.server).endpoint.datagrams_received;
        for id in 0..u16::MAX / 8 {
            let kind =
                [Kind::Syn, Kind::Data, Kind::Fin, Kind::State, Kind::Reset][usize::from(id % 7).min(4)];
            let before = received();
            let raw = Raw { id: id.wrapping_mul(7), seq: id, ..Raw::new(kind) };
            stranger.send_to(&raw.encode(), to).expect("send");
            stranger.send_to(b"d no uTP", to).expect("send");
            // Not more at once than the socket's buffer holds.
            if id % 64 == 0 {
                until::<A>(|| received() > before).await;
            }
        }
        assert!(A::socket_stats(&pair.server).endpoint.half_open > 0);
        let mut buf = [0; 16];
        while give_up_after(1, A::recv_from(&pair.server, &mut buf)).await.is_some() {}
    })
    .await;
}

/// Runs the transfers over a loopback of small MTU, in network namespaces of their own, if that is allowed here.
#[test]
fn devices_of_small_mtu_leave_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let within = |script: &str| Command::new("unshare").args(["-rn", "sh", "-c", script]).output();
    if !within("ip link set lo up").is_ok_and(|output| output.status.success()) {
        println!("skipped: no unprivileged network namespaces, or no `ip`");
        return;
    }
    let test = std::env::current_exe().expect("this program");
    for mtu in [1280, 576] {
        let run = format!("ip link set lo mtu {mtu} up && exec {} transfers_leave_nothing", test.display());
        let output = within(&run).expect("a program");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("3 passed"), "{mtu}: {text}");
    }
}

/// Connections of a round.
const CONNECTIONS: usize = 20;

/// Transfers at a time: enough to wait for several time-outs at once, few enough that one round after another does not
/// happen to need more blocks than all before it.
const AT_ONCE: usize = 5;

/// What a round may leave.
const ENOUGH: i64 = CONNECTIONS as i64 / 4;

/// Rounds until one leaves no more than that.
const ROUNDS: usize = 8;

/// What a test may take at most, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);
