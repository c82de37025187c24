//! `utp proxy`: a TCP client and a TCP server that do not notice what is between them.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use common::{LIMIT, Running, data, start};

/// TCP, uTP, TCP.
struct Chain {
    server: TcpListener,
    /// Next to the server.
    far: Running,
    /// Next to the clients.
    near: Running,
    at: String,
}

impl Chain {
    fn new(options: &[&str]) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("tcp://{}", server.local_addr().unwrap());
        let far = proxy("utp://127.0.0.1:0", &target, options);
        let near = proxy("tcp://127.0.0.1:0", &format!("utp://{}", far.address()), options);
        let at = near.address();
        Self { server, far, near, at }
    }

    /// A client, and what the server sees of it.
    fn connected(&self) -> (TcpStream, TcpStream) {
        let client = connect(&self.at);
        (client, self.accept())
    }

    fn accept(&self) -> TcpStream {
        limited(self.server.accept().unwrap().0)
    }
}

fn proxy(listen: &str, to: &str, options: &[&str]) -> Running {
    start([&["proxy", "--listen", listen, "--to", to], options].concat())
}

fn connect(at: &str) -> TcpStream {
    limited(TcpStream::connect(at).unwrap())
}

fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What whoever reads sees of a connection that was broken off.
fn read_error(mut stream: &TcpStream) -> ErrorKind {
    stream.read_to_end(&mut Vec::new()).unwrap_err().kind()
}

/// One byte each way: everybody on the way knows of the connection.
fn hello(mut client: &TcpStream, mut server: &TcpStream) {
    let mut byte = [0];
    client.write_all(b">").unwrap();
    server.read_exact(&mut byte).unwrap();
    server.write_all(b"<").unwrap();
    client.read_exact(&mut byte).unwrap();
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

const MANY: usize = 50;

#[test]
fn many_connections_at_once() {
    let chain = Chain::new(&[]);
    let request = |i| data(20_000 + 1_000 * i, i as u64);
    let answer = |mut request: Vec<u8>| {
        request.reverse();
        request
    };
    // No server answers before all have their requests: all connections are open at once.
    let all = Barrier::new(MANY);
    thread::scope(|scope| {
        for i in 0..MANY {
            scope.spawn({
                let (at, request) = (&chain.at, request(i));
                move || {
                    let mut client = connect(at);
                    client.write_all(&request).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    assert!(read_all(&client) == answer(request), "connection {i}");
                }
            });
        }
        for _ in 0..MANY {
            let mut served = chain.accept();
            let all = &all;
            scope.spawn(move || {
                // Up to the client's half-close.
                let request = read_all(&served);
                all.wait();
                served.write_all(&answer(request)).unwrap();
            });
        }
    });
}

#[test]
fn the_server_speaks_first_and_finishes_first() {
    let chain = Chain::new(&[]);
    let (mut client, mut server) = chain.connected();
    server.write_all(b"220 welcome\r\n").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), b"220 welcome\r\n");
    let mail = data(1_000_000, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&mail).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_all(&server) == mail);
    });
}

#[test]
fn a_reset_is_carried() {
    let chain = Chain::new(&[]);
    let (client, server) = chain.connected();
    hello(&client, &server);
    reset(client);
    assert_eq!(read_error(&server), ErrorKind::ConnectionReset);
    let (client, server) = chain.connected();
    hello(&client, &server);
    reset(server);
    assert_eq!(read_error(&client), ErrorKind::ConnectionReset);
    // The proxies say so, and live on.
    chain.near.stderr_has("broken off");
    chain.far.stderr_has("broken off");
    let (client, server) = chain.connected();
    hello(&client, &server);
}

#[test]
fn a_proxy_that_is_killed_breaks_its_connections() {
    let mut chain = Chain::new(&["--idle-timeout=2s"]);
    let (client, server) = chain.connected();
    hello(&client, &server);
    chain.near.kill();
    // Not an end: nobody knows what else the client would have sent.
    assert_eq!(read_error(&server), ErrorKind::ConnectionReset);
}

#[cfg(unix)]
#[test]
fn a_target_that_cannot_be_reached() {
    use std::net::{SocketAddr, UdpSocket};

    // Bound, but it does not listen.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed_at = closed.local_addr().unwrap().as_socket().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();

    let far = proxy("utp://127.0.0.1:0", &format!("tcp://{closed_at}"), &[]);
    let near = proxy("tcp://127.0.0.1:0", &format!("utp://{}", far.address()), &[]);
    let lost =
        proxy("tcp://127.0.0.1:0", &format!("utp://{silent_at}"), &["--connect-timeout=0.3", "--stats"]);
    for proxy in [&near, &lost] {
        let mut client = connect(&proxy.address());
        // May be too late already.
        let _ = client.write_all(b"is anybody there?");
        assert_eq!(read_error(&client), ErrorKind::ConnectionReset);
    }
    far.stderr_has("not served: cannot connect to tcp://");
    lost.stderr_has("not served: cannot connect to 127.0.0.1:");
    lost.signal(nix::sys::signal::Signal::SIGINT);
    let lost = lost.finish();
    assert_eq!(lost.code, Some(0), "{lost:?}");
    let connections = &lost.stats()["connections"];
    assert_eq!((&connections["accepted"], &connections["unreachable"]), (&1.into(), &1.into()));
}

#[test]
fn connections_beyond_the_limit_wait() {
    let chain = Chain::new(&["--max-connections=1"]);
    let (first, served) = chain.connected();
    hello(&first, &served);
    let mut second = connect(&chain.at);
    second.write_all(b"I can wait").unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    // All that is known of the second one until then is that it has not been served.
    let open = AtomicUsize::new(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let served = chain.accept();
            assert_eq!(open.load(Ordering::SeqCst), 0);
            assert_eq!(read_all(&served), b"I can wait");
        });
        hello(&first, &served);
        open.store(0, Ordering::SeqCst);
        drop((first, served));
        assert_eq!(read_all(&second), b"");
    });
}

/// Waits until nobody is let in any more.
#[cfg(unix)]
fn closed(at: &str) {
    common::until("the listener's end", || TcpStream::connect(at).is_err().then_some(()));
}

#[cfg(unix)]
#[test]
fn an_interrupt_lets_connections_end() {
    let Chain { server, far, near, at } = Chain::new(&["--stats"]);
    let mut client = connect(&at);
    let mut served = limited(server.accept().unwrap().0);
    hello(&client, &served);
    near.signal(nix::sys::signal::Signal::SIGTERM);
    closed(&at);
    // Breaks off what `closed` may have let in.
    drop(server);
    far.signal(nix::sys::signal::Signal::SIGINT);
    hello(&client, &served);
    let (there, back) = (data(200_000, 1), data(100_000, 2));
    client.write_all(&there).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&served) == there);
    served.write_all(&back).unwrap();
    drop(served);
    assert!(read_all(&client) == back);
    for proxy in [near.finish(), far.finish()] {
        assert_eq!(proxy.code, Some(0), "{proxy:?}");
        assert_eq!(proxy.stdout, b"");
        let stats = proxy.stats();
        assert_eq!((&stats["ok"], &stats["command"]), (&true.into(), &"proxy".into()));
        assert_eq!(stats["bytes_sent"], there.len() + 2);
        assert_eq!(stats["bytes_received"], back.len() + 2);
        assert!(stats["connections"]["accepted"].as_u64() >= Some(1), "{stats}");
        assert_eq!(stats["sockets"].as_array().unwrap().len(), 1);
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_breaks_them() {
    let Chain { server, far: _far, near, at } = Chain::new(&[]);
    let client = connect(&at);
    let served = limited(server.accept().unwrap().0);
    hello(&client, &served);
    near.signal(nix::sys::signal::Signal::SIGINT);
    closed(&at);
    hello(&client, &served);
    near.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(read_error(&client), ErrorKind::ConnectionReset);
    assert_eq!(read_error(&served), ErrorKind::ConnectionReset);
    assert_eq!(near.finish().failed(), "interrupted");
}
