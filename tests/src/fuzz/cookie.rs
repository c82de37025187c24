//! An endpoint flooded with SYNs, so that it answers with cookies. Whoever saw a SYN-ACK and comes back in time
//! gets a connection, whether the endpoint remembers the SYN or not; memory and answers stay bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::Config;
use utp_proto::wire::{Header, Packet, PacketType, SeqNr, Timestamp};

use super::input::{self, Call};
use super::watch::{Watched, address};

#[derive(Debug)]
enum Action {
    Syn {
        from: u8,
        id: u8,
        seq: u8,
    },
    /// The answer to one of the SYN-ACKs, its numbers off by so many.
    Confirm {
        which: u8,
        kind: u8,
        seq: i8,
        ack: i8,
    },
    Wait(Duration),
    AcceptAndAbort,
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 9 {
            0..=3 => Self::Syn { from: u.arbitrary()?, id: u.arbitrary()?, seq: u.arbitrary()? },
            4..=6 => Self::Confirm {
                which: u.arbitrary()?,
                kind: u.arbitrary()?,
                seq: u.arbitrary()?,
                ack: u.arbitrary()?,
            },
            7 => Self::Wait(input::pause(u.arbitrary()?)),
            _ => Self::AcceptAndAbort,
        })
    }
}

/// A SYN-ACK that somebody saw.
#[derive(Debug, Clone, Copy)]
struct Seen {
    from: u8,
    id: u8,
    syn: u16,
    seq: u16,
    at: Duration,
}

/// The body.
pub fn cookie(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(limit) = u.arbitrary::<u8>() else { return };
    let limit = 1 + usize::from(limit % 16);
    let mut config = Config::default();
    config.half_open_limit(limit).and_then(|c| c.half_open_timeout(TIMEOUT)).expect("within the ranges");
    let mut flood = Flood { us: Watched::new(config, 1), seen: Vec::new(), used: BTreeSet::new() };
    for _ in 0..ACTIONS {
        let Ok(action) = u.arbitrary() else { break };
        flood.act(action);
        let stats = flood.us.endpoint.stats();
        assert!(stats.half_open <= limit as u64);
        // Nobody has proven anything yet: no more is sent than came.
        assert!(!flood.used.is_empty() || stats.datagrams_sent <= stats.datagrams_received);
    }
    flood.act(Action::AcceptAndAbort);
    flood.us.now += 2 * TIMEOUT;
    flood.us.settle();
    assert!(flood.us.endpoint.is_idle() && flood.us.endpoint.poll_timeout().is_none());
}

struct Flood {
    us: Watched,
    seen: Vec<Seen>,
    /// Addresses and ids of connections that there were.
    used: BTreeSet<(u8, u8)>,
}

impl Flood {
    fn act(&mut self, action: Action) {
        match action {
            Action::Syn { from, id, seq } => self.syn(from % PEERS, id, seq.into()),
            Action::Confirm { which, kind, seq, ack } => {
                let Some(at) = usize::from(which).checked_rem(self.seen.len()) else { return };
                self.confirm(self.seen[at], input::kind(kind), seq, ack);
            }
            Action::Wait(time) => {
                self.us.now += time;
                self.us.settle();
                let now = self.us.now;
                self.seen.retain(|seen| now - seen.at < 3 * TIMEOUT);
            }
            Action::AcceptAndAbort => {
                while self.us.accept().is_some() {}
                for at in 0..self.us.live.len() {
                    self.us.call(at, Call::Abort);
                }
                self.us.settle();
                self.us.sent.clear();
            }
        }
    }

    fn send(&mut self, from: u8, kind: PacketType, id: u16, seq: u16, ack: u16) {
        let header = Header {
            kind,
            connection_id: id,
            timestamp: Timestamp(1),
            timestamp_difference: 0,
            wnd_size: 1 << 20,
            seq_nr: SeqNr(seq),
            ack_nr: SeqNr(ack),
        };
        self.us.receive(address(from), &header.encode(0));
    }

    fn syn(&mut self, from: u8, id: u8, seq: u16) {
        let number = 250 * u16::from(id);
        self.send(from, PacketType::Syn, number, seq, 0);
        self.us.settle();
        for (to, datagram) in self.us.sent.drain(..) {
            let header = Packet::parse(&datagram).expect("uTP").header;
            let answers = header.kind == PacketType::State && header.connection_id == number;
            if answers && to == address(from) && !self.used.contains(&(from, id)) {
                assert_eq!(header.ack_nr, SeqNr(seq));
                self.seen.push(Seen { from, id, syn: seq, seq: header.seq_nr.0, at: self.us.now });
            }
        }
    }

    fn confirm(&mut self, seen: Seen, kind: PacketType, seq: i8, ack: i8) {
        let before = self.us.endpoint.stats();
        let key = (seen.from, seen.id);
        let expected = seen.syn.wrapping_add(1);
        self.send(
            seen.from,
            kind,
            250 * u16::from(seen.id) + 1,
            expected.wrapping_add_signed(seq.into()),
            seen.seq.wrapping_sub(1).wrapping_add_signed(ack.into()),
        );
        self.us.settle();
        let after = self.us.endpoint.stats();
        let opened = self.us.endpoint.open_connections() as u64 > before.connections
            || after.datagrams_accepted > before.datagrams_accepted;
        let right = seq == 0 && ack == 0 && !matches!(kind, PacketType::Reset | PacketType::Syn);
        // Later SYNs of other numbers take the place of this one, and its entry expires with the first.
        let same_key = || self.seen.iter().filter(|s| (s.from, s.id) == key);
        let in_time = same_key().all(|s| s.syn == seen.syn && self.us.now - s.at < TIMEOUT);
        let full = before.backlog >= 128;
        if right && in_time && !full && !self.used.contains(&key) {
            assert!(opened, "{seen:?} is not remembered, nor taken for a cookie");
        }
        if opened {
            self.used.insert(key);
        }
        // What fits a connection that there is already is accepted, whatever it is; but it opens none.
        let grew = self.us.endpoint.open_connections() as u64 > before.connections;
        assert!(!grew || !matches!(kind, PacketType::Reset | PacketType::Syn));
        if kind == PacketType::Reset {
            self.used.insert(key);
        }
        self.us.sent.clear();
    }
}

/// The configured time-out of half-open connections, and the period of cookies.
const TIMEOUT: Duration = Duration::from_secs(45);

/// Of two networks.
const PEERS: u8 = 8;

/// More would only make an input slow.
const ACTIONS: u32 = 300;
