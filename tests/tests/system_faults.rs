//! Faults of the system under a socket: errors of every kind from its calls, buffers that overflow, devices of small
//! MTU, a peer that dies and comes back. No byte is lost or altered, no connection gets stuck, nothing is left behind.
#![cfg(target_os = "linux")]

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UdpSocket;
use utp_driver::runtime::{self, AsyncUdpSocket, Direction, Runtime};
use utp_driver::{SocketStats, StreamHandle, hub};
use utp_tests::conformance::{LIMIT, within};
use utp_tests::counting::{self, Counting};
use utp_tests::interop::pattern::{Checker, Pattern};
use utp_tokio::{Config, SocketConfig, UtpSocket, UtpStream};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations are the process's, and so is the seed of what goes wrong: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `test` with nobody else around.
fn alone<T>(test: impl Future<Output = T> + Send + 'static) {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    within(LIMIT, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test);
    });
    drop(guard);
}

/// Tokio with sockets whose calls fail.
struct Unreliable;

/// Whether calls fail now. Not before a connection is open: a host that cannot be reached ends an attempt.
static FAILING: AtomicBool = AtomicBool::new(false);
/// Whether the network is down: every call fails.
static DOWN: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);
static INJECTED: AtomicU64 = AtomicU64::new(0);

struct Socket {
    socket: UdpSocket,
    faults: Mutex<Faults>,
}

struct Faults {
    random: ChaCha8Rng,
    /// Calls that fail in a row from now on, and how.
    row: u32,
    errno: i32,
}

impl Faults {
    /// The error of the next call, if it fails: one call in eight begins a row of one to 16 failures of a kind.
    fn next(&mut self) -> Option<io::Error> {
        if DOWN.load(Ordering::Relaxed) {
            INJECTED.fetch_add(1, Ordering::Relaxed);
            return Some(io::Error::from_raw_os_error(nix::libc::ENETDOWN));
        }
        if !FAILING.load(Ordering::Relaxed) {
            return None;
        }
        if self.row == 0 {
            if !self.random.next_u32().is_multiple_of(8) {
                return None;
            }
            self.row = 1 + self.random.next_u32() % 16;
            self.errno = ERRORS[self.random.next_u32() as usize % ERRORS.len()];
        }
        self.row -= 1;
        INJECTED.fetch_add(1, Ordering::Relaxed);
        Some(io::Error::from_raw_os_error(self.errno))
    }
}

impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl runtime::UdpSocket for Socket {
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if let Some(error) = self.faults.lock().unwrap().next() {
            return Err(error);
        }
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        self.socket.try_io(interest, operation)
    }
}

impl AsyncUdpSocket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }
}

struct Timer(Pin<Box<tokio::time::Sleep>>);

impl runtime::Timer for Timer {
    fn reset(&mut self, deadline: Instant) {
        self.0.as_mut().reset(deadline.into());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Runtime for Unreliable {
    type Socket = Socket;
    type Timer = Timer;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn register(socket: std::net::UdpSocket) -> io::Result<Socket> {
        let random = ChaCha8Rng::seed_from_u64(SEED.fetch_add(1, Ordering::Relaxed));
        let faults = Mutex::new(Faults { random, row: 0, errno: 0 });
        Ok(Socket { socket: UdpSocket::from_std(socket)?, faults })
    }

    fn timer() -> Timer {
        Timer(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(driver);
    }
}

/// Sends one stream of `length` bytes, and receives and checks another.
async fn exchange(stream: StreamHandle<Socket>, out: u64, back: u64, length: usize) {
    let writing = async {
        let mut data = vec![0; length];
        Pattern::new(out).fill(&mut data);
        let mut data = bytes::Bytes::from(data);
        stream.write_all_bytes(&mut data).await.expect("write");
        stream.finish().expect("finish");
        stream.acked().await.expect("delivery");
    };
    let reading = async {
        let mut checker = Checker::new(back, length as u64);
        let mut buf = Vec::with_capacity(64 << 10);
        while poll_fn(|cx| stream.poll_read(cx, &mut buf)).await.expect("read") > 0 {
            checker.feed(&buf).expect("what was sent");
            buf.clear();
        }
        assert!(checker.complete(), "{} bytes are missing", checker.left());
    };
    tokio::join!(writing, reading);
    stream.closed().await;
}

#[test]
fn errors_of_every_kind_lose_no_byte() {
    alone(async {
        let (mut seen, mut receive_errors) = (SocketStats::default(), 0);
        for seed in 0..SEEDS {
            SEED.store(2 * seed, Ordering::Relaxed);
            println!("seed {seed}");
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let config = SocketConfig::default();
            let [server, client] = [(); 2].map(|()| hub::bind::<Unreliable>(any, &config).unwrap());
            let connecting = client.connect(server.local_addr());
            let (accepted, connected) = tokio::join!(server.accept(), connecting);
            FAILING.store(true, Ordering::Relaxed);
            let one = tokio::spawn(exchange(accepted.unwrap(), 1, 2, LENGTH));
            let other = tokio::spawn(exchange(connected.unwrap(), 2, 1, LENGTH));
            one.await.expect("one side");
            other.await.expect("the other side");
            FAILING.store(false, Ordering::Relaxed);
            for socket in [&server, &client] {
                let stats = socket.stats();
                receive_errors += stats.receive.receive_errors;
                seen.send.send_blocked += stats.send.send_blocked;
                seen.send.datagrams_dropped += stats.send.datagrams_dropped;
                seen.send.send_too_big += stats.send.send_too_big;
                seen.send.send_unreachable += stats.send.send_unreachable;
            }
            // And the sockets are as good as new.
            let connecting = client.connect(server.local_addr());
            let (accepted, connected) = tokio::join!(server.accept(), connecting);
            let sides = [(accepted.unwrap(), 3, 4), (connected.unwrap(), 4, 3)];
            let [one, other] = sides.map(|(stream, out, back)| exchange(stream, out, back, 10_000));
            tokio::join!(one, other);
        }
        println!(
            "{} errors injected, {receive_errors} of receiving, {:?}",
            INJECTED.load(Ordering::Relaxed),
            seen.send
        );
        let counted = [
            receive_errors,
            seen.send.send_blocked,
            seen.send.datagrams_dropped,
            seen.send.send_too_big,
            seen.send.send_unreachable,
        ];
        assert!(counted.iter().all(|count| *count > 0), "some kind was not counted: {counted:?}");
    });
}

/// Until time-outs have failed a few times, in the middle of a transfer in both directions.
#[test]
fn a_network_that_is_down_for_a_while_and_comes_back_loses_no_byte() {
    alone(async {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = SocketConfig::default();
        let [server, client] = [(); 2].map(|()| hub::bind::<Unreliable>(any, &config).unwrap());
        let (accepted, connected) = tokio::join!(server.accept(), client.connect(server.local_addr()));
        let sides = [(accepted.unwrap(), 1, 2), (connected.unwrap(), 2, 1)];
        let [one, other] =
            sides.map(|(stream, out, back)| tokio::spawn(exchange(stream, out, back, 8 * LENGTH)));
        let received = || server.stats().endpoint.datagrams_received;
        while received() < 500 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        let unreachable = || [&server, &client].map(|socket| socket.stats().send.send_unreachable);
        DOWN.store(true, Ordering::Relaxed);
        while unreachable().iter().any(|count| *count < 3) {
            tokio::task::yield_now().await;
        }
        DOWN.store(false, Ordering::Relaxed);
        println!("{:?} sends failed, in {:?}", unreachable(), started.elapsed());
        one.await.expect("one side");
        other.await.expect("the other side");
    });
}

async fn bind(config: SocketConfig) -> UtpSocket {
    UtpSocket::bind_with("127.0.0.1:0", config).await.expect("bind")
}

/// One stream of `length` bytes from `client` to `server`.
async fn transfer(server: &UtpSocket, client: &UtpSocket, length: usize) {
    let to = server.local_addr();
    let sending = async {
        let mut stream = client.connect(to).await.expect("connect");
        let mut data = vec![0; length];
        Pattern::new(5).fill(&mut data);
        stream.write_all(&data).await.expect("write");
        stream.shutdown().await.expect("finish");
        assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
    };
    let receiving = async {
        let (mut stream, _) = server.accept().await.expect("accept");
        let mut checker = Checker::new(5, length as u64);
        let mut buf = vec![0; 64 << 10];
        loop {
            match stream.read(&mut buf).await.expect("read") {
                0 => break,
                read => checker.feed(&buf[..read]).expect("what was sent"),
            }
        }
        assert!(checker.complete(), "{} bytes are missing", checker.left());
        stream.shutdown().await.expect("finish");
        stream.closed().await;
    };
    tokio::join!(sending, receiving);
}

#[test]
fn a_receive_buffer_of_a_few_packets_is_survived() {
    alone(async {
        let mut config = SocketConfig::default();
        config.receive_buffer(Some(1)); // the system makes it its least
        let (server, client) = (bind(config.clone()).await, bind(config).await);
        assert!(server.buffer_sizes().receive < 16 << 10, "{:?}", server.buffer_sizes());
        transfer(&server, &client, 1 << 20).await;
    });
}

#[test]
fn a_peer_that_dies_and_comes_back_on_its_port_resets_the_old_connection_and_takes_a_new_one() {
    alone(async {
        let dies =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = SocketConfig::default();
        let server = dies.spawn(async move { hub::bind::<Unreliable>(any, &config).unwrap() }).await.unwrap();
        let to = server.local_addr();
        let client = bind(SocketConfig::default()).await;
        let (accepted, connected) = tokio::join!(server.accept(), client.connect(to));
        let mut connected: UtpStream = connected.unwrap();
        connected.write_all(b"it arrives").await.unwrap();
        connected.acked().await.unwrap();
        // As if its process were killed: no word of farewell, and the port is free.
        DOWN.store(true, Ordering::Relaxed);
        let gone = tokio::task::spawn_blocking(move || dies.shutdown_timeout(LIMIT));
        gone.await.unwrap();
        drop((accepted, server));
        DOWN.store(false, Ordering::Relaxed);
        let server = loop {
            match UtpSocket::bind(to).await {
                Ok(server) => break server,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
            }
            tokio::task::yield_now().await;
        };
        connected.write_all(b"to nobody").await.unwrap();
        let error = connected.read(&mut [0; 8]).await.expect_err("the old connection is over");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        transfer(&server, &client, 100_000).await;
    });
}

#[test]
fn connections_that_have_ended_leave_no_allocation() {
    alone(async {
        let mut config = Config::default();
        config.linger(Duration::from_millis(100)).unwrap();
        let (server, client) = (bind(config.clone().into()).await, bind(config.into()).await);
        let mut left = 1;
        let mut before: Option<i64> = None;
        // The first rounds fill tables that stay.
        for _ in 0..ROUNDS {
            for _ in 0..CONNECTIONS {
                transfer(&server, &client, 20_000).await;
            }
            server.idle().await.unwrap();
            client.idle().await.unwrap();
            let alive = counting::alive();
            let Some(before) = before.replace(alive) else { continue };
            left = alive - before;
            println!("{CONNECTIONS} connections left {left} allocations");
            if left <= 0 {
                break;
            }
        }
        assert!(left <= 0, "{left} allocations are left by {CONNECTIONS} connections, every time");
    });
}

/// Runs [`over_a_device_of_small_mtu`] where the loopback is one: in a network namespace of its own, if that is
/// allowed here.
#[test]
fn devices_of_small_mtu_are_served() {
    let within = |script: &str| Command::new("unshare").args(["-rn", "sh", "-c", script]).output();
    if !within("ip link set lo up").is_ok_and(|output| output.status.success()) {
        println!("skipped: no unprivileged network namespaces, or no `ip`");
        return;
    }
    let test = std::env::current_exe().unwrap();
    for mtu in [1280, 576] {
        let test = test.display();
        let name = "over_a_device_of_small_mtu --exact --ignored";
        let output = within(&format!("ip link set lo mtu {mtu} up && exec {test} {name}")).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{mtu}: {text}");
    }
}

#[test]
#[ignore = "for `devices_of_small_mtu_are_served`, in a namespace of its own"]
fn over_a_device_of_small_mtu() {
    alone(async {
        let (server, client) = (bind(SocketConfig::default()).await, bind(SocketConfig::default()).await);
        transfer(&server, &client, 2 << 20).await;
        let stats = client.stats();
        println!("{stats:?}");
        assert!(
            stats.endpoint.datagrams_sent > (2 << 20) / 1280,
            "packets were larger than the device takes"
        );
    });
}

/// What calls of sockets say on Linux: refused and reset (ICMP about an earlier datagram), not now, no buffers, no
/// memory, too big, unreachable, interrupted, down, forbidden.
const ERRORS: [i32; 12] = {
    use nix::libc;
    [
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::EAGAIN,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EMSGSIZE,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EINTR,
        libc::ENETDOWN,
        libc::EPERM,
        libc::EACCES,
    ]
};

/// Worlds of errors.
const SEEDS: u64 = 2;

/// Bytes each way under errors.
const LENGTH: usize = 1 << 19;

/// Connections between two looks at the allocator, and looks at most.
const CONNECTIONS: usize = 50;
const ROUNDS: usize = 6;
