//! One established connection. The input is its peer, which knows every number and abides by no rule but
//! one: a sequence number always carries the same bytes, so that what is delivered can be checked.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::CloseReason;
use utp_proto::wire::{Header, Packet, PacketType, SeqNr, Timestamp};

use super::input::{self, Call, Settings};
use super::watch::{Watched, address};
use crate::sim::monitor::Monitor;
use crate::sim::tape;

#[derive(Debug)]
enum Action {
    Wait(Duration),
    Call(Call),
    /// Packets in order, as many as it says.
    Stream {
        packets: u8,
        window: u8,
    },
    /// Acknowledges all that was sent.
    AckAll {
        window: u8,
    },
    /// Any packet near what would be right.
    Packet(Shape),
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: u8,
    /// Relative to the packet that is expected, and to the last one that was sent.
    seq: i16,
    ack: i16,
    window: u8,
    mask: u32,
    clock: u32,
    difference: u32,
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=2 => Self::Wait(input::pause(u.arbitrary()?)),
            3..=6 => Self::Call(u.arbitrary()?),
            7..=8 => Self::Stream { packets: u.arbitrary()?, window: u.arbitrary()? },
            9..=10 => Self::AckAll { window: u.arbitrary()? },
            11..=13 => Self::Packet(Shape {
                kind: u.arbitrary()?,
                seq: i16::from(u.arbitrary::<i8>()?),
                ack: i16::from(u.arbitrary::<i8>()?),
                window: u.arbitrary()?,
                mask: u.arbitrary()?,
                clock: 0,
                difference: 0,
            }),
            _ => Self::Packet(Shape {
                kind: u.arbitrary()?,
                seq: u.arbitrary()?,
                ack: u.arbitrary()?,
                window: u.arbitrary()?,
                mask: u.arbitrary()?,
                clock: u.arbitrary()?,
                difference: u.arbitrary()?,
            }),
        })
    }
}

/// The body.
pub fn connection(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(settings) = u.arbitrary().map(Settings) else { return };
    let Ok(how) = u.arbitrary::<u8>() else { return };
    let Some(mut talk) = Talk::open(settings, how) else { panic!("no connection") };
    for _ in 0..ACTIONS {
        let Ok(action) = u.arbitrary() else { break };
        talk.act(action);
        talk.settle();
    }
    if talk.us.live.is_empty() {
        assert_eq!(talk.us.over.len(), 1, "closed once");
        let reason = talk.us.over[0].closed;
        assert!(reason != Some(CloseReason::Violation) || talk.lied, "ended for a lie that nobody told");
    }
    talk.us.call(0, Call::Abort);
    talk.settle();
    talk.us.now += Duration::from_secs(130);
    talk.settle();
    assert!(talk.us.endpoint.is_idle());
}

/// The endpoint and its peer.
struct Talk {
    us: Watched,
    monitor: Monitor,
    /// The id that we send with to the endpoint.
    id: u16,
    /// The id that it sends with.
    theirs: u16,
    /// Number of our first DATA.
    first: u16,
    /// Payload of each of our packets.
    len: usize,
    /// What the endpoint has acknowledged last.
    acked: u16,
    /// The last number up to which the endpoint has sent all.
    highest: u16,
    /// What it has sent behind that: one packet may be held back, and one go ahead of its turn.
    early: BTreeMap<u16, Vec<u8>>,
    /// We have acknowledged what was not sent.
    lied: bool,
    /// Bytes of its stream that it has sent.
    sent: u64,
    /// The largest receive buffer that it had.
    buffer: u64,
    clock: u32,
}

impl Talk {
    /// Opens the connection: from either end.
    fn open(settings: Settings, how: u8) -> Option<Self> {
        let mut config = settings.config();
        input::control(&mut config, how >> 3);
        let mut us = Watched::new(config, how);
        let len = [1, 100, 500, 1400][usize::from(how >> 1) % 4];
        let first = u16::from(how) << 9;
        let peer = address(0);
        let mut talk = |datagram: Option<Vec<u8>>| {
            if let Some(datagram) = datagram {
                us.receive(peer, &datagram);
            }
            us.settle();
            us.sent.drain(..).next_back().map(|(_, bytes)| Packet::parse(&bytes).map(|p| p.header))
        };
        let state = |id, ack| control(PacketType::State, id, first, ack);
        let (id, highest) = if how & 1 == 0 {
            let syn = control(PacketType::Syn, 77, first.wrapping_sub(1), 0);
            let answer = talk(Some(syn))?.ok()?;
            talk(Some(state(78, answer.seq_nr.0.wrapping_sub(1))));
            us.accept()?;
            (78, answer.seq_nr.0.wrapping_sub(1))
        } else {
            us.connect(peer)?;
            us.settle();
            let (_, bytes) = us.sent.pop()?;
            let syn = Packet::parse(&bytes).ok()?.header;
            us.receive(peer, &state(syn.connection_id, syn.seq_nr.0));
            us.settle();
            us.sent.clear();
            (syn.connection_id, syn.seq_nr.0)
        };
        let app = us.live.first_mut()?;
        let (_, theirs) = us.endpoint.connection(app.handle)?.ids();
        (app.writes, app.reads) = (1, Some(2));
        let monitor = Monitor::default();
        Some(Self {
            us,
            monitor,
            id,
            theirs,
            first,
            len,
            acked: first.wrapping_sub(1),
            highest,
            early: BTreeMap::new(),
            lied: false,
            sent: 0,
            buffer: 0,
            clock: 1,
        })
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Wait(time) => self.us.now += time,
            Action::Call(call) => self.us.call(0, call),
            Action::Stream { packets, window } => {
                for n in 0..i16::from(packets % 64) {
                    let seq = 1 + n;
                    self.send(
                        Shape { kind: 0, seq, ack: 0, window, mask: 0, clock: 0, difference: 0 },
                        self.acked,
                    );
                }
            }
            Action::AckAll { window } => {
                let shape = Shape { kind: 2, seq: 1, ack: 0, window, mask: 0, clock: 0, difference: 50_000 };
                self.send(shape, self.acked);
            }
            Action::Packet(shape) => self.send(shape, self.acked),
        }
    }

    fn send(&mut self, shape: Shape, acked: u16) {
        self.clock = self.clock.wrapping_add(shape.clock).max(1);
        let kind = input::kind(shape.kind);
        let seq = acked.wrapping_add_signed(shape.seq);
        let header = Header {
            kind,
            connection_id: self.id,
            timestamp: Timestamp(self.clock),
            timestamp_difference: shape.difference,
            wnd_size: (u32::from(shape.window) << 12) >> (shape.window & 7),
            seq_nr: SeqNr(seq),
            ack_nr: SeqNr(self.highest.wrapping_add_signed(shape.ack)),
        };
        let mask = input::mask(shape.mask);
        let extensions: &[(u8, &[u8])] = if shape.mask == 0 { &[] } else { &[(1, &mask)] };
        self.lied |= self.is_a_lie(header.ack_nr.0, if shape.mask == 0 { &[] } else { &mask });
        let mut payload = vec![0; if kind == PacketType::Data { self.len } else { 0 }];
        let place = u64::from(seq.wrapping_sub(self.first));
        tape::fill(2, place * self.len as u64, &mut payload);
        self.us.receive(address(0), &input::packet(&header, extensions, &payload));
    }

    /// Whether an acknowledgement names what was not sent; all before `ack` is named with it, the first gap too.
    fn is_a_lie(&self, ack: u16, mask: &[u8]) -> bool {
        let beyond = |seq: u16| (1..0x8000).contains(&seq.wrapping_sub(self.highest));
        let mut bits = (0..mask.len() * 8).filter(|bit| mask[bit / 8] >> (bit % 8) & 1 == 1);
        let unsent = |seq| beyond(seq) && !self.early.contains_key(&seq);
        beyond(ack) || bits.any(|bit| unsent(ack.wrapping_add(2 + bit as u16)))
    }

    fn settle(&mut self) {
        self.us.settle();
        for (to, datagram) in self.us.sent.drain(..) {
            assert_eq!(to, address(0));
            let packet = Packet::parse(&datagram).expect("uTP");
            if packet.header.connection_id != self.theirs || packet.header.kind == PacketType::Reset {
                continue; // an answer to a SYN, or to what belongs to nothing
            }
            if let Err(what) = self.monitor.check(0, 1, &datagram) {
                panic!("sends what it must not: {what}");
            }
            let header = packet.header;
            let ahead = header.ack_nr.0.wrapping_sub(self.acked);
            if ahead < 0x8000 {
                self.acked = header.ack_nr.0;
            }
            let takes_number = matches!(header.kind, PacketType::Data | PacketType::Fin);
            if takes_number && (1..0x8000).contains(&header.seq_nr.0.wrapping_sub(self.highest)) {
                self.early.insert(header.seq_nr.0, packet.payload.to_vec());
            }
            while let Some(payload) = self.early.remove(&self.highest.wrapping_add(1)) {
                self.highest = self.highest.wrapping_add(1);
                assert_eq!(tape::mismatch(1, self.sent, &payload), None, "sends what was not written");
                self.sent += payload.len() as u64;
            }
        }
        let Some(app) = self.us.live.first() else { return };
        assert!(self.sent <= app.written);
        let connection = self.us.endpoint.connection(app.handle).expect("live");
        app.look(&connection);
        // Whatever comes: its receive buffer and 8 KiB, besides what was written and is not acknowledged.
        self.buffer = self.buffer.max(connection.stats().receive_limit);
        let written = connection.bytes_written() - connection.bytes_acked();
        let held = self.us.endpoint.stats().memory;
        assert!(held <= written + self.buffer + (8 << 10), "{held} bytes held, {written} of them written");
    }
}

/// A packet without payload.
fn control(kind: PacketType, id: u16, seq: u16, ack: u16) -> Vec<u8> {
    let header = Header {
        kind,
        connection_id: id,
        timestamp: Timestamp(1),
        timestamp_difference: 0,
        wnd_size: 1 << 20,
        seq_nr: SeqNr(seq),
        ack_nr: SeqNr(ack),
    };
    header.encode(0).to_vec()
}

/// More would only make an input slow.
const ACTIONS: u32 = 400;
