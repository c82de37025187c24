//! A peer moved by hand, packet by packet, against one real endpoint in virtual time.
//!
//! Both ends of a connection count their packets from their first DATA, number 0: `data(0)` is the puppet's
//! first one, `.ack(3)` acknowledges the endpoint's packets 0, 1 and 2, and `expect_data(3)` wants the
//! next. Nothing is lost or late between the two but by intent: what the puppet sends is there at once, and
//! what the endpoint sends lies in the [`inbox`](Puppet::inbox) until a test looks at it.
//!
//! - `packet.rs`: packets, built and read without the crate under test.
//! - `flavour.rs`: how deployed peers differ.
//! - `say.rs`: what a test lets the puppet send. `expect.rs`: what it says about what comes.
//! - `stream.rs`: a whole transfer, when the single packets do not matter.
//!
//! ```
//! use utp_tests::puppet::{Puppet, data, ms, piece, state};
//!
//! let mut p = Puppet::acceptor(Default::default()); // the endpoint has dialed, the puppet accepted
//! p.write(&[7; 3000]);
//! p.expect_data(0);
//! p.expect_data(1);
//! p.wait(ms(10));
//! p.send(state().ack(2).window(0));
//! p.expect_nothing(); // the rest waits for a window
//! p.send(data(0).window(10_000));
//! assert_eq!(p.read(), piece(0));
//! assert_eq!(p.expect_data(2).acked, 1);
//! ```

mod expect;
mod flavour;
mod packet;
mod say;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{
    CloseReason, Config, ConnectionHandle, ConnectionStats, Endpoint, Event, ReadError, Verdict,
};

pub use flavour::{Flavour, Measured};
pub use packet::{Kind, Raw, mask};
pub use say::{Packet, data, fin, piece, pieces, reset, state, syn};
pub use stream::Outcome;

/// A peer moved by hand, and the endpoint that it talks to.
pub struct Puppet {
    /// The endpoint under test.
    pub endpoint: Endpoint,
    /// Its connection with the puppet, once there is one.
    pub handle: Option<ConnectionHandle>,
    /// What the endpoint sent and no test has looked at yet; without what the flavour does not look at.
    pub inbox: VecDeque<Seen>,
    /// What the application was told so far.
    pub events: Vec<Event>,
    /// Whom it plays.
    pub flavour: Flavour,
    /// What it reports as one-way delay.
    pub measured: Measured,
    /// Its clock when the endpoint's time began.
    pub clock: u32,
    /// How long the handshake takes it.
    pub rtt: Duration,
    /// Whether the endpoint's application accepts whoever comes.
    pub accepts: bool,
    origin: Instant,
    now: Duration,
    /// Ids of the packets that it sends and receives.
    send_id: u16,
    receive_id: u16,
    /// The numbers 0 of both ends.
    first: u16,
    their_first: Option<u16>,
    /// Number of its next packet, and of its FIN.
    next: i32,
    fin: Option<i32>,
    /// Number of the endpoint's FIN.
    their_fin: Option<i32>,
    acked: i32,
    /// The window that it tells.
    pub window: u32,
    /// What it measured of the last packet.
    difference: u32,
    /// A transfer is under way, which looks at packets when they arrive.
    looks_later: bool,
    /// How often it was woken at this time.
    steps: u32,
    log: VecDeque<String>,
}

/// A packet that the endpoint sent.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at: Duration,
    /// To whom.
    pub to: SocketAddr,
    /// Number: 0 is the endpoint's first DATA.
    pub number: i32,
    /// How many of the puppet's packets it acknowledges.
    pub acked: i32,
    /// Numbers of the puppet's packets that it acknowledges selectively.
    pub sacked: Vec<i32>,
    /// Bytes of the datagram.
    pub size: usize,
    /// See [`Transmit::may_fragment`](utp_proto::Transmit::may_fragment).
    pub may_fragment: bool,
    /// All fields.
    pub raw: Raw,
}

/// Milliseconds.
#[must_use]
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Seconds.
#[must_use]
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Opening.
impl Puppet {
    /// An endpoint and a puppet that have not met.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::of(Flavour::Plain, config)
    }

    /// A puppet that plays somebody.
    #[must_use]
    pub fn of(flavour: Flavour, config: Config) -> Self {
        let origin = Instant::now();
        Self {
            endpoint: Endpoint::new(Arc::new(config), [9; 32], origin),
            handle: None,
            inbox: VecDeque::new(),
            events: Vec::new(),
            flavour,
            measured: flavour.measured(),
            clock: 4_000_000_000, // wraps after five minutes
            rtt: ms(10),
            accepts: true,
            origin,
            now: Duration::ZERO,
            send_id: 7_001,
            receive_id: 7_000,
            first: 65_530, // wraps after six packets
            their_first: None,
            next: 0,
            fin: None,
            their_fin: None,
            acked: 0,
            window: 1 << 20,
            difference: 0,
            looks_later: false,
            steps: 0,
            log: VecDeque::new(),
        }
    }

    /// The endpoint has dialed, the puppet has accepted, and both know.
    #[must_use]
    pub fn acceptor(config: Config) -> Self {
        let mut p = Self::new(config);
        p.accept();
        p
    }

    /// The puppet has dialed, the endpoint has accepted, and both know.
    #[must_use]
    pub fn initiator(config: Config) -> Self {
        let mut p = Self::new(config);
        p.initiate();
        p
    }

    /// The endpoint dials: its SYN is in the inbox.
    pub fn dial(&mut self) {
        self.handle = Some(self.endpoint.connect(self.instant(), addr()).expect("an endpoint that can dial"));
        self.drain();
    }

    /// The endpoint dials, the puppet accepts.
    pub fn accept(&mut self) {
        self.dial();
        self.expect(Kind::Syn);
        self.wait(self.rtt);
        self.send(state());
        assert_eq!(self.events, [Event::Connected]);
        self.expect_state();
        self.expect_nothing();
        self.events.clear();
    }

    /// The puppet dials, the endpoint accepts.
    pub fn initiate(&mut self) {
        self.send(syn());
        self.expect_state();
        self.wait(self.rtt);
        self.send(state());
        assert_eq!(self.events, [Event::Incoming]);
        self.expect_nothing();
        self.events.clear();
    }
}

/// The network.
impl Puppet {
    /// The packet arrives at the endpoint, and the endpoint does what it wants to do at once.
    pub fn send(&mut self, packet: Packet) {
        self.send_batch([packet]);
    }

    /// Several packets arrive in one batch.
    pub fn send_batch(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            let raw = self.build(packet);
            let verdict = self.deliver(addr(), &raw.encode());
            assert_eq!(verdict, Verdict::Consumed);
        }
        self.drain();
    }

    /// A datagram arrives from the puppet's address.
    pub fn send_bytes(&mut self, datagram: &[u8]) -> Verdict {
        self.send_from(addr(), datagram)
    }

    /// A datagram arrives from anywhere.
    pub fn send_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let verdict = self.deliver(from, datagram);
        self.drain();
        verdict
    }

    fn deliver(&mut self, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let shown = Raw::decode(datagram).map_or(format!("{} bytes", datagram.len()), |raw| raw.to_string());
        self.note(format!("> {shown}"));
        self.endpoint.handle_datagram(self.instant(), from, datagram)
    }

    /// Fills in what the packet does not say.
    pub fn build(&mut self, packet: Packet) -> Raw {
        let Packet { kind, .. } = packet;
        let number = packet.number.unwrap_or(match self.fin {
            Some(fin) if !self.flavour.counts_fin() => fin,
            _ => self.next,
        });
        if matches!(kind, Kind::Data | Kind::Fin) {
            self.next = self.next.max(number + 1);
        }
        if kind == Kind::Fin {
            self.fin = Some(number);
        }
        self.acked = packet.ack.unwrap_or(self.acked);
        if kind != Kind::Syn {
            self.window = packet.window.unwrap_or(self.window);
        }
        let seq = self.first.wrapping_add(number as u16);
        let ack = match self.their_first {
            Some(first) => first.wrapping_add(self.acked as u16).wrapping_sub(1),
            None => 0,
        };
        let mut extensions = packet.extensions;
        let waiting: Vec<u16> = packet
            .sack
            .iter()
            .flatten()
            .map(|n| self.their_first.unwrap_or(0).wrapping_add(*n as u16))
            .collect();
        if let Some(mask) = packet.mask.or_else(|| self.flavour.sack(kind, ack, &waiting)) {
            extensions.insert(0, (1, mask));
        }
        if kind == Kind::Fin && self.flavour == Flavour::Libtorrent {
            extensions.push((3, vec![0, 0, 0, 15]));
        }
        let difference = match self.measured {
            Measured::Honest => self.difference,
            Measured::Constant(difference) => difference,
            Measured::Absolute => (self.difference as i32).unsigned_abs(),
        };
        Raw {
            kind,
            id: packet.id.unwrap_or(if kind == Kind::Syn { self.receive_id } else { self.send_id }),
            timestamp: packet.timestamp.unwrap_or_else(|| self.wire_clock()),
            difference: packet.difference.unwrap_or(difference),
            window: packet.window.unwrap_or(if kind == Kind::Syn {
                self.flavour.syn_window()
            } else {
                self.window
            }),
            seq,
            ack,
            extensions,
            payload: packet.payload,
        }
    }

    /// Time passes; the endpoint does what comes due.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Goes on to the next thing that the endpoint wants to do, or to `until`.
    fn step(&mut self, until: Duration) -> bool {
        self.drain();
        let due = self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(self.origin));
        let Some(due) = due.filter(|due| *due <= until) else {
            self.now = until;
            return false;
        };
        self.steps = if due > self.now { 0 } else { self.steps + 1 };
        if self.steps > STALL {
            self.fail("time stands still");
        }
        self.now = self.now.max(due);
        self.endpoint.handle_timeout(self.instant());
        self.drain();
        true
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Now, as the endpoint knows it.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.origin + self.now
    }

    /// Now, by the puppet's clock on the wire.
    #[must_use]
    pub fn wire_clock(&self) -> u32 {
        self.clock.wrapping_add(self.now.as_micros() as u32)
    }

    /// Takes events and datagrams from the endpoint until it has no more.
    pub fn drain(&mut self) {
        self.poll_events();
        let mut buf = Vec::new();
        let segments = NonZeroUsize::new(64).expect("not 0");
        while let Some(transmit) = self.endpoint.poll_transmit(self.instant(), segments, &mut buf) {
            for datagram in buf.chunks(transmit.segment_size) {
                self.see(transmit.destination, datagram, transmit.may_fragment);
            }
            buf.clear();
        }
        self.poll_events();
    }

    fn poll_events(&mut self) {
        while let Some((handle, event)) = self.endpoint.poll_event() {
            if event == Event::Incoming && self.accepts && self.handle.is_none() {
                self.handle = self.endpoint.accept();
            }
            if self.handle.is_none_or(|known| known == handle) {
                self.note(format!("  {event:?}"));
                self.events.push(event);
            }
        }
    }

    fn see(&mut self, to: SocketAddr, datagram: &[u8], may_fragment: bool) {
        let raw = Raw::decode(datagram).expect("a uTP packet");
        if to == addr() {
            self.learn(&raw);
        }
        let first = self.their_first.unwrap_or(raw.seq);
        let number = relative(first, raw.seq);
        let fin = self.their_fin.map(|fin| first.wrapping_add(fin as u16));
        let expects = first.wrapping_add(self.acked as u16);
        let taken = self.looks_later || self.flavour.takes(&raw, expects, fin);
        self.note(format!("{} {raw}", if taken { "<" } else { "< (not looked at)" }));
        if taken {
            if raw.kind == Kind::Fin {
                self.their_fin = Some(number);
            }
            self.difference = self.wire_clock().wrapping_sub(raw.timestamp);
            let (acked, sacked) = (
                relative(self.first, raw.ack.wrapping_add(1)),
                raw.sacked().iter().map(|seq| relative(self.first, *seq)).collect(),
            );
            let (at, size) = (self.now, datagram.len());
            self.inbox.push_back(Seen { at, to, number, acked, sacked, size, may_fragment, raw });
        }
    }

    /// Ids and numbers, from the packet that opens the connection.
    fn learn(&mut self, raw: &Raw) {
        match raw.kind {
            Kind::Syn if self.their_first.is_none() => {
                self.their_first = Some(raw.seq.wrapping_add(1));
                (self.send_id, self.receive_id) = (raw.id, raw.id.wrapping_add(1));
            }
            Kind::State if self.their_first.is_none() => self.their_first = Some(raw.seq),
            _ => {}
        }
    }

    fn note(&mut self, what: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:12.6} {what}", self.now.as_secs_f64()));
    }

    /// Ends the test with what happened last.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let log: Vec<&str> = self.log.iter().map(String::as_str).collect();
        panic!("{what}; what happened (> to the endpoint, < from it):\n{}", log.join("\n"));
    }
}

/// The application at the endpoint.
impl Puppet {
    /// Its view of the connection.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn connection(&mut self) -> utp_proto::Connection<'_> {
        let Some(handle) = self.handle else { self.fail("no connection") };
        if self.endpoint.connection(handle).is_none() {
            self.fail("the connection is over");
        }
        self.endpoint.connection(handle).expect("looked at just now")
    }

    /// Writes all of it.
    ///
    /// # Panics
    /// If it is not taken.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        assert_eq!(self.connection().write(bytes), Ok(bytes.len()));
        self.drain();
    }

    /// Reads all that is there.
    pub fn read(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut buf = [0; 4096];
        while let Some(mut connection) = self.handle.and_then(|handle| self.endpoint.connection(handle)) {
            match connection.read(&mut buf) {
                Ok(n) if n > 0 => out.extend_from_slice(&buf[..n]),
                _ => break,
            }
        }
        self.drain();
        out
    }

    /// Whether there is more to be read, the stream is at its end, or why neither.
    #[track_caller]
    pub fn read_state(&mut self) -> Result<bool, ReadError> {
        self.connection().read_state()
    }

    /// Writes the FIN.
    #[track_caller]
    pub fn finish(&mut self) {
        self.connection().finish();
        self.drain();
    }

    /// Drops the connection.
    #[track_caller]
    pub fn close(&mut self) {
        self.connection().close();
        self.drain();
    }

    /// Resets the connection.
    #[track_caller]
    pub fn abort(&mut self) {
        self.connection().abort();
        self.drain();
    }

    /// Its counters.
    #[track_caller]
    pub fn stats(&mut self) -> ConnectionStats {
        self.connection().stats()
    }

    /// How the connection ended, if the application was told.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed { reason } => Some(*reason),
            _ => None,
        })
    }
}

/// The puppet's address.
#[must_use]
pub fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], 6881))
}

/// `seq` as a number that counts from `first`.
fn relative(first: u16, seq: u16) -> i32 {
    i32::from(seq.wrapping_sub(first) as i16)
}

/// What is shown of a failed test.
const LOG: usize = 60;

/// Far more than anything needs to do at one point in time.
const STALL: u32 = 1_000;
