//! One endpoint in front of the open Internet: datagrams of any content from several addresses at any
//! time, and an application that uses what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::PathError;
use utp_proto::wire::{Header, Packet, PacketType, SeqNr, Timestamp};

use super::input::{self, Call, Settings};
use super::watch::{Watched, address};

#[derive(Debug)]
enum Action {
    Wait(Duration),
    /// The caller's clock goes back.
    Back(Duration),
    /// Any bytes.
    Noise {
        from: u8,
        bytes: Vec<u8>,
    },
    /// A packet that may fit something.
    Packet {
        from: u8,
        shape: Shape,
    },
    Connect(u8),
    Accept,
    Call(usize, Call),
    Error(u8, Option<u16>),
    Listen(bool),
}

/// A packet as somebody would build it who has seen what was sent to its address last.
#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: u8,
    /// Added to the id that the last packet asks for.
    id: i8,
    seq: i8,
    ack: i8,
    window: u32,
    len: u8,
    mask: u32,
}

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            kind: u.arbitrary()?,
            id: u.arbitrary()?,
            seq: u.arbitrary()?,
            ack: u.arbitrary()?,
            window: u32::from(u.arbitrary::<u16>()?) << 4,
            len: u.arbitrary()?,
            mask: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=1 => Self::Wait(input::pause(u.arbitrary()?)),
            2 => Self::Back(input::pause(u.arbitrary()?)),
            3 => {
                let (from, len) = (u.arbitrary()?, u.arbitrary::<u8>()?);
                Self::Noise { from, bytes: u.bytes(usize::from(len).min(u.len()))?.to_vec() }
            }
            4..=9 => Self::Packet { from: u.arbitrary()?, shape: u.arbitrary()? },
            10 => Self::Connect(u.arbitrary()?),
            11 => Self::Accept,
            12..=13 => Self::Call(usize::from(u.arbitrary::<u8>()?), u.arbitrary()?),
            14 => Self::Error(u.arbitrary()?, u.arbitrary::<Option<u16>>()?),
            _ => Self::Listen(u.arbitrary()?),
        })
    }
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Peer {
    bytes_in: usize,
    packets_in: usize,
    bytes_out: usize,
    packets_out: usize,
    /// The last packet sent to it.
    last: Option<Header>,
}

/// The body.
pub fn endpoint(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(settings) = u.arbitrary().map(Settings) else { return };
    let mut world = Internet {
        us: Watched::new(settings.config(), settings.0),
        peers: BTreeMap::new(),
        trusted: BTreeSet::new(),
        opened: 0,
    };
    for _ in 0..ACTIONS {
        let Ok(action) = u.arbitrary() else { break };
        world.act(action);
        world.us.settle();
        world.check();
    }
    // Nothing stays for ever that nobody uses.
    while let Some(handle) = world.us.accept() {
        let _ = handle;
    }
    for at in 0..world.us.live.len() {
        world.us.call(at, Call::Abort);
    }
    for _ in 0..6 {
        world.us.now += Duration::from_secs(30);
        world.us.settle();
    }
    assert!(world.us.endpoint.is_idle(), "{:#?}", world.us.endpoint);
    assert_eq!(world.us.endpoint.poll_timeout(), None);
}

struct Internet {
    us: Watched,
    peers: BTreeMap<SocketAddr, Peer>,
    /// Addresses that a connection was opened to, or came from.
    trusted: BTreeSet<SocketAddr>,
    /// Connections that there had been when that was brought up to date.
    opened: usize,
}

impl Internet {
    fn act(&mut self, action: Action) {
        match action {
            Action::Wait(time) => self.us.now += time,
            Action::Back(time) => self.us.now = self.us.now.saturating_sub(time.min(Duration::from_secs(1))),
            Action::Noise { from, bytes } => self.receive(from, &bytes),
            Action::Packet { from, shape } => {
                let last = self.peers.get(&address(from % PEERS)).and_then(|peer| peer.last);
                self.receive(from, &shape.packet(last));
            }
            Action::Connect(to) => {
                let to = address(to % PEERS);
                if self.us.connect(to).is_some() {
                    self.trusted.insert(to);
                }
            }
            Action::Accept => {
                self.us.accept();
            }
            Action::Call(at, call) => self.us.call(at, call),
            Action::Error(to, size) => {
                let error = match size {
                    Some(0) => PathError::TooBig(None),
                    Some(size) => PathError::TooBig(Some(size.into())),
                    None => PathError::Unreachable,
                };
                let now = self.us.instant();
                self.us.endpoint.handle_path_error(now, address(to % PEERS), error);
            }
            Action::Listen(true) => self.us.endpoint.start_listening(),
            Action::Listen(false) => self.us.endpoint.stop_listening(),
        }
    }

    fn receive(&mut self, from: u8, datagram: &[u8]) {
        let from = address(from % PEERS);
        let peer = self.peers.entry(from).or_default();
        peer.bytes_in += datagram.len();
        peer.packets_in += 1;
        self.us.receive(from, datagram);
    }

    fn check(&mut self) {
        let opened = self.us.opened();
        for app in &self.us.live {
            let connection = self.us.endpoint.connection(app.handle).expect("live");
            app.look(&connection);
            if opened > self.opened {
                self.trusted.insert(connection.remote_addr());
            }
        }
        self.opened = opened;
        for (to, datagram) in self.us.sent.drain(..) {
            let peer = self.peers.entry(to).or_default();
            peer.bytes_out += datagram.len();
            peer.packets_out += 1;
            peer.last = Some(Packet::parse(&datagram).expect("uTP").header);
        }
        for (addr, peer) in &self.peers {
            if !self.trusted.contains(addr) {
                assert!(peer.bytes_out <= peer.bytes_in, "{addr} is sent more than came from it");
                assert!(peer.packets_out <= peer.packets_in, "{addr} is sent more than came from it");
            }
        }
    }
}

impl Shape {
    fn packet(self, last: Option<Header>) -> Vec<u8> {
        let kind = input::kind(self.kind);
        let (id, seq, ack) = match last {
            Some(h) if h.kind == PacketType::Syn => (h.connection_id, 100, h.seq_nr.0),
            // The other id of a connection that we opened; our SYN was numbered 100.
            Some(h) if kind != PacketType::Syn => {
                (h.connection_id.wrapping_add(1), h.ack_nr.0.wrapping_add(1), h.seq_nr.0.wrapping_sub(1))
            }
            _ => (1000, 100, 0),
        };
        let header = Header {
            kind,
            connection_id: id.wrapping_add_signed(self.id.into()),
            timestamp: Timestamp(self.mask),
            timestamp_difference: self.window,
            wnd_size: self.window,
            seq_nr: SeqNr(seq.wrapping_add_signed(self.seq.into())),
            ack_nr: SeqNr(ack.wrapping_add_signed(self.ack.into())),
        };
        let mask = input::mask(self.mask);
        let extensions: &[(u8, &[u8])] = if self.mask == 0 { &[] } else { &[(1, &mask)] };
        let len = if kind == PacketType::Data { usize::from(self.len) * 6 } else { 0 };
        input::packet(&header, extensions, &vec![self.len; len])
    }
}

/// Addresses on the simulated Internet.
const PEERS: u8 = 5;

/// More would only make an input slow.
const ACTIONS: u32 = 400;
