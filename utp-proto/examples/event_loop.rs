//! A complete event loop around the core: one `std::net::UdpSocket`, one thread, no runtime.
//!
//! ```text
//! cargo run -p utp-proto --example event_loop                      # both ends in one process
//! cargo run -p utp-proto --example event_loop -- listen 0.0.0.0:7777
//! cargo run -p utp-proto --example event_loop -- connect 192.0.2.1:7777
//! ```
//!
//! The server echoes whatever arrives; the client sends a megabyte and checks what comes back.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // here is where clock and socket come from

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint, Event, Verdict};

/// An endpoint and the socket it speaks through.
struct Node {
    socket: UdpSocket,
    endpoint: Endpoint,
}

impl Node {
    fn bind(address: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        // The seed must be unpredictable: this is the operating system's, through the standard library.
        let seed = std::array::from_fn(|_| {
            std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) as u8
        });
        let endpoint = Endpoint::new(Arc::new(Config::default()), seed, Instant::now());
        Ok(Self { socket, endpoint })
    }

    /// One turn: send what is due, wait for a datagram or the deadline, feed what came.
    fn turn(&mut self) -> io::Result<()> {
        let mut buf = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(Instant::now(), NonZeroUsize::MIN, &mut buf) {
            // A datagram that the socket does not take is a lost datagram: the core will repeat it.
            let _ = self.socket.send_to(&buf, transmit.destination);
            buf.clear();
        }
        let deadline = self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        let wait = deadline.unwrap_or(Duration::from_secs(3600)).max(Duration::from_micros(1));
        self.socket.set_read_timeout(Some(wait))?;
        let mut datagram = [0; 2048];
        match self.socket.recv_from(&mut datagram) {
            Ok((len, from)) => {
                let verdict = self.endpoint.handle_datagram(Instant::now(), from, &datagram[..len]);
                if verdict == Verdict::NotUtp {
                    eprintln!("{len} bytes from {from} belong to another protocol");
                }
            }
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                ErrorKind::ConnectionRefused => {} // about one datagram, not about the socket
                _ => return Err(e),
            },
        }
        self.endpoint.handle_timeout(Instant::now());
        Ok(())
    }
}

/// Echoes on every connection until `connections` have ended.
fn serve(mut node: Node, mut connections: usize) -> io::Result<()> {
    while connections > 0 {
        node.turn()?;
        while let Some((handle, event)) = node.endpoint.poll_event() {
            match event {
                Event::Incoming => drop(node.endpoint.accept()),
                Event::Readable | Event::Writable => echo(&mut node.endpoint, handle),
                Event::Closed { reason } => {
                    println!("server: {reason}");
                    connections -= 1;
                }
                _ => {}
            }
        }
    }
    // The peer may not have our last acknowledgement yet: stay until nobody can ask for it any more.
    while !node.endpoint.is_idle() {
        node.turn()?;
    }
    Ok(())
}

fn echo(endpoint: &mut Endpoint, handle: ConnectionHandle) {
    let Some(mut connection) = endpoint.connection(handle) else { return };
    while let Ok(true) = connection.read_state() {
        let chunk = connection.chunk().to_vec();
        match connection.write(&chunk) {
            Ok(n) => connection.consume(n),
            Err(_) => return, // full: `Writable` follows when there is room
        }
    }
    if connection.read_state() == Ok(false) {
        connection.finish();
    }
}

fn run_client(mut node: Node, server: SocketAddr) -> io::Result<()> {
    let data: Vec<u8> = (0..1_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let (mut written, mut back) = (0, Vec::new());
    let handle = node.endpoint.connect(Instant::now(), server)?;
    loop {
        if let Some(mut connection) = node.endpoint.connection(handle) {
            while written < data.len() {
                match connection.write(&data[written..]) {
                    Ok(n) => written += n,
                    Err(_) => break, // full: `Writable` tells when to go on
                }
            }
            if written == data.len() {
                connection.finish();
            }
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = connection.read(&mut buf) {
                back.extend_from_slice(&buf[..n]);
            }
        }
        node.turn()?;
        while let Some((_, event)) = node.endpoint.poll_event() {
            if let Event::Closed { reason } = event {
                println!("client: {} bytes came back, {reason}", back.len());
                return if back == data { Ok(()) } else { Err(ErrorKind::InvalidData.into()) };
            }
        }
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", address] => serve(Node::bind(address)?, usize::MAX),
        ["connect", address] => {
            run_client(Node::bind("0.0.0.0:0")?, address.parse().map_err(io::Error::other)?)
        }
        _ => {
            let server = Node::bind("127.0.0.1:0")?;
            let address = server.socket.local_addr()?;
            let thread = std::thread::spawn(move || serve(server, 1));
            run_client(Node::bind("127.0.0.1:0")?, address)?;
            thread.join().map_err(|_| io::Error::other("the server panicked"))?
        }
    }
}
