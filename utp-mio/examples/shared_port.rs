//! One UDP port for two protocols, as in a BitTorrent client: a uTP transfer between two nodes, and
//! beside it the pings of their DHT ([BEP 5](https://www.bittorrent.org/beps/bep_0005.html)), bencoded
//! datagrams over the same two sockets.
//!
//! ```text
//! cargo run --release -p utp-mio --example shared_port
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use utp_mio::{CloseReason, ConnectionEvent, ConnectionHandle, Event, Turn, UtpSocket};

/// A node: one socket, its part of the transfer, its part of the DHT.
struct Node {
    socket: UtpSocket,
    /// Bytes still to be sent.
    left: usize,
    received: usize,
    reason: Option<CloseReason>,
    dht: Dht,
}

impl Node {
    fn new(poll: &Poll, token: Token, left: usize) -> io::Result<Self> {
        let mut socket = UtpSocket::bind(([127, 0, 0, 1], 0).into())?;
        poll.registry().register(&mut socket, token, Interest::READABLE)?;
        let dht = Dht { id: [token.0 as u8; 20], answered: 0, sent: None, asked: 0 };
        Ok(Self { socket, left, received: 0, reason: None, dht })
    }

    /// When the node wants its next turn in any case.
    fn deadline(&self) -> Option<Instant> {
        self.socket.deadline().into_iter().chain(self.dht.deadline()).min()
    }

    fn turn(&mut self, peer: SocketAddr) -> io::Result<Turn> {
        let turn = self.socket.turn(Instant::now())?;
        while let Some(event) = self.socket.poll_event() {
            match event {
                Event::Connection(handle, event) => self.transfer(handle, event),
                Event::Datagrams => self.dht.receive(&mut self.socket)?,
                _ => {}
            }
        }
        self.dht.ping(&mut self.socket, peer)?;
        Ok(turn)
    }

    /// uTP: sends so many bytes and finishes, or counts them.
    fn transfer(&mut self, handle: ConnectionHandle, event: ConnectionEvent) {
        let Some(mut connection) = self.socket.connection(handle) else { return };
        match event {
            ConnectionEvent::Incoming => while self.socket.accept().is_some() {},
            ConnectionEvent::Connected | ConnectionEvent::Writable => {
                while self.left > 0 {
                    match connection.write(&PIECE[..self.left.min(PIECE.len())]) {
                        Ok(written) => self.left -= written,
                        Err(_) => return, // full: `Writable` follows
                    }
                }
                connection.finish();
            }
            ConnectionEvent::Readable => {
                let mut buf = [0; 16 << 10];
                while let Ok(read @ 1..) = connection.read(&mut buf) {
                    assert!(buf[..read].iter().all(|byte| *byte == PIECE[0]));
                    self.received += read;
                }
            }
            ConnectionEvent::Finished => connection.finish(),
            ConnectionEvent::Closed { reason } => self.reason = Some(reason),
            _ => {}
        }
    }
}

/// As much of a DHT as it takes to be asked whether one is there, and to ask, one question at a time.
struct Dht {
    id: [u8; 20],
    /// Pings that were answered, which numbers the next one.
    answered: u16,
    /// When the ping that is under way was sent.
    sent: Option<Instant>,
    asked: u16,
}

impl Dht {
    /// When to ask again: datagrams get lost, all the more beside a transfer that fills the buffers.
    fn deadline(&self) -> Option<Instant> {
        self.sent.map(|sent| sent + RETRY)
    }

    /// Asks, if it is time.
    fn ping(&mut self, socket: &mut UtpSocket, to: SocketAddr) -> io::Result<()> {
        let now = Instant::now();
        if self.answered == PINGS || self.deadline().is_some_and(|deadline| now < deadline) {
            return Ok(());
        }
        let transaction = self.answered.to_be_bytes();
        let query = [b"d1:ad2:id20:", &self.id[..], b"e1:q4:ping1:t2:", &transaction, b"1:y1:qe"].concat();
        match socket.send_to(&query, to) {
            Ok(()) => {
                self.sent = Some(now);
                Ok(())
            }
            // Tried again with the next turn, which `Event::Sendable` brings about.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Answers pings and takes answers.
    fn receive(&mut self, socket: &mut UtpSocket) -> io::Result<()> {
        let mut buf = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            match Message::parse(&buf[..len]) {
                Some(Message::Ping { transaction }) => {
                    self.asked += 1;
                    let head = [b"d1:rd2:id20:", &self.id[..], b"e1:t2:"].concat();
                    let answer = [&head[..], &transaction, b"1:y1:re"].concat();
                    // A DHT lives with lost datagrams: one that finds no room is one.
                    match socket.send_to(&answer, from) {
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        _ => {}
                    }
                }
                Some(Message::Pong { transaction }) => {
                    // Else it is the answer to a question that was repeated.
                    if transaction == self.answered.to_be_bytes() {
                        self.answered += 1;
                        self.sent = None;
                    }
                }
                None => eprintln!("{len} bytes from {from} are of no protocol known here"),
            }
        }
        Ok(())
    }
}

/// The two messages, in the order of keys that bencoding prescribes.
enum Message {
    Ping { transaction: [u8; 2] },
    Pong { transaction: [u8; 2] },
}

impl Message {
    fn parse(datagram: &[u8]) -> Option<Self> {
        if let Some(rest) = datagram.strip_prefix(b"d1:ad2:id20:") {
            let rest = rest.get(20..)?.strip_prefix(b"e1:q4:ping1:t2:")?;
            let transaction = rest.strip_suffix(b"1:y1:qe")?.try_into().ok()?;
            return Some(Self::Ping { transaction });
        }
        let rest = datagram.strip_prefix(b"d1:rd2:id20:")?.get(20..)?.strip_prefix(b"e1:t2:")?;
        Some(Self::Pong { transaction: rest.strip_suffix(b"1:y1:re")?.try_into().ok()? })
    }
}

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut here = Node::new(&poll, Token(0), LENGTH)?;
    let mut there = Node::new(&poll, Token(1), 0)?;
    let (here_addr, there_addr) = (here.socket.local_addr(), there.socket.local_addr());
    here.socket.connect(Instant::now(), there_addr)?;

    let started = Instant::now();
    let mut events = Events::with_capacity(16);
    let is_done = |node: &Node| node.reason.is_some() && node.dht.answered == PINGS;
    while !(is_done(&here) && is_done(&there)) {
        assert!(started.elapsed() < LIMIT, "not done after {LIMIT:?}");
        let turns = [here.turn(there_addr)?, there.turn(here_addr)?];
        if turns == [Turn::Wait; 2] {
            let deadline = [here.deadline(), there.deadline()].into_iter().flatten().min();
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match poll.poll(&mut events, timeout.or(Some(LIMIT))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }

    assert_eq!((here.reason, there.reason), (Some(CloseReason::Finished), Some(CloseReason::Finished)));
    assert_eq!(there.received, LENGTH);
    assert!(here.dht.asked >= PINGS && there.dht.asked >= PINGS);
    let stats = there.socket.stats();
    assert!(stats.foreign_received >= 2 * u64::from(PINGS), "questions and answers");
    println!(
        "{LENGTH} bytes over uTP and {} datagrams of the DHT over port {}",
        stats.foreign_received + stats.foreign_sent,
        there_addr.port(),
    );
    Ok(())
}

const LENGTH: usize = 8 << 20;

/// Pings that each node sends.
const PINGS: u16 = 100;

/// How long to wait for the answer.
const RETRY: Duration = Duration::from_millis(100);

static PIECE: [u8; 64 << 10] = [0x5a; 64 << 10];

/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);
