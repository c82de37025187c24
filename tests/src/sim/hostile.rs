//! Attackers for random worlds: somebody who sees nothing and forges packets, and receivers that lie.
//!
//! Neither may be lucky: a packet with the right id and the right numbers is the connection's own as far as anybody
//! can tell, and what it does is no failure. Of so many worlds some would have such a one, so that forged packets get
//! numbers that cannot be right.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::network::Forgery;
use super::rng::Random;
use super::world::{ConnId, HostId, World};
use crate::puppet::{Kind, Raw, mask};

/// Somebody who sends packets in the name of others, and sees none of theirs.
#[derive(Debug)]
pub(super) struct Injector {
    rng: Random,
    hosts: Vec<Target>,
    /// Packets per second, in bursts of up to so many.
    rate: u64,
    burst: u64,
    /// How many of them know the id of a connection: the harder variety.
    knows_ids: f64,
    /// How many come in the name of nobody in this world.
    strangers: f64,
    /// Packets sent.
    pub(super) sent: u64,
    /// Connections that some of them opened, having guessed a cookie, or the SYN-ACKs that forged SYNs drew: it has
    /// 16 bits, so that of 65 536 packets two or four do.
    pub(super) guesses: u64,
    /// What may have been opened so: by host, peer, and the id on which it receives.
    opened: HashSet<(HostId, SocketAddr, u16)>,
}

/// Whom an injector may aim at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) host: HostId,
    /// It opens connections at their SYN, which is for trusted peers: no SYN is forged.
    pub(super) speaks_first: bool,
}

impl Injector {
    pub(super) fn new(mut rng: Random, hosts: Vec<Target>) -> Self {
        let rate = rng.log_range(5..=500);
        let burst = rng.log_range(1..=64);
        let (knows_ids, strangers) = (rng.unit() * 0.5, rng.unit() * 0.5);
        Self { rng, hosts, rate, burst, knows_ids, strangers, sent: 0, guesses: 0, opened: HashSet::new() }
    }

    /// Lets the world run for so long, under attack.
    pub(super) fn run(&mut self, world: &mut World, conns: &[(ConnId, HostId)], time: Duration) {
        let end = world.now() + time;
        while world.now() < end {
            let burst = self.rng.range(1..=self.burst);
            for _ in 0..burst {
                self.sent += u64::from(self.inject(world, conns));
            }
            let gap = self.rng.duration(Duration::from_micros(2_000_000 * burst / self.rate));
            world.run_for(gap.max(Duration::from_micros(1)).min(end - world.now()));
            self.end_guesses(world);
        }
    }

    fn inject(&mut self, world: &mut World, conns: &[(ConnId, HostId)]) -> bool {
        if self.rng.chance(self.knows_ids) {
            return self.aim(world, conns);
        }
        let target = *self.rng.pick(&self.hosts);
        let raw = self.packet();
        if raw.kind == Kind::Syn && target.speaks_first {
            return false;
        }
        let from = if self.rng.chance(self.strangers) {
            let [a, b, c, d, port_high, port_low, ..] = self.rng.bits().to_be_bytes();
            SocketAddr::from(([100 + a % 4, b, c, d], u16::from_be_bytes([port_high, port_low]).max(1)))
        } else {
            let peer = self.rng.pick(&self.hosts).host;
            if peer == target.host || world.is_near(peer, target.host, raw.id) {
                return false;
            }
            // Not twice with the same id: the monitor would take the answers for those of one connection.
            if raw.kind == Kind::Syn && !self.opened.insert((peer, world.addr(target.host), raw.id)) {
                return false;
            }
            world.addr(peer)
        };
        let backlog = |world: &mut World| world.at(target.host).endpoint.stats().backlog;
        let before = backlog(world);
        let _ = world.inject(from, target.host, &raw.encode());
        if backlog(world) > before {
            self.opened.insert((target.host, from, raw.id));
        }
        true
    }

    /// Ends what forged packets have opened.
    pub(super) fn end_guesses(&mut self, world: &mut World) {
        let opened = &self.opened;
        self.guesses += world.abort_strangers(|host, remote, id| opened.contains(&(host, remote, id)));
    }

    /// A packet for a living connection, with its id.
    fn aim(&mut self, world: &mut World, conns: &[(ConnId, HostId)]) -> bool {
        let &(conn, acceptor) = self.rng.pick(conns);
        let dialer = HostId(world.dialer(conn).host);
        let accepting = self.rng.chance(0.5);
        let (victim, peer) = if accepting { (acceptor, dialer) } else { (dialer, acceptor) };
        let mut raw = self.packet();
        let by = self.rng.range(2..=5_000) as u16;
        let Some((receive, send)) = world.ids(conn, accepting) else { return false };
        let Some(highest) = world.highest(victim, peer, send) else { return false };
        raw.ack = highest.wrapping_add(by); // of what was never sent
        raw.id = match raw.kind {
            Kind::Syn if !accepting => return false,
            Kind::Syn => send,
            Kind::Reset if by.is_multiple_of(2) => send,
            _ => receive,
        };
        let from = world.addr(peer);
        let _ = world.inject(from, victim, &raw.encode());
        true
    }

    /// Any packet.
    fn packet(&mut self) -> Raw {
        let kind = *self.rng.pick(&[Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn]);
        let (bits, more) = (self.rng.bits(), self.rng.bits());
        let mut raw = Raw {
            id: bits as u16,
            seq: (bits >> 16) as u16,
            ack: (bits >> 32) as u16,
            timestamp: more as u32,
            difference: (more >> 32) as u32,
            window: self.rng.log_range(1..=u32::MAX.into()) as u32 - 1,
            ..Raw::new(kind)
        };
        if matches!(kind, Kind::Data | Kind::State) && self.rng.chance(0.3) {
            let len = 4 * self.rng.range(1..=8) as usize;
            raw.extensions = vec![(1, (0..len).map(|_| self.rng.bits() as u8).collect())];
        }
        if kind == Kind::Data {
            raw.payload = vec![0xa5; self.rng.log_range(1..=1_400) as usize];
        }
        raw
    }
}

/// What a receiver says instead of the truth.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// It has got all that was sent.
    Everything,
    /// It has got so many packets more than it has.
    Ahead(u16),
    /// It has got everything behind the first gap.
    FullMask,
    /// It has room for so much.
    Window(u32),
    /// The delay is always this.
    Constant(u32),
    /// Any delay.
    Random,
}

/// Makes a host lie in its STATEs about what it has got, from its peers' first DATA on.
pub(super) fn liar(mut rng: Random, liar: HostId) -> Forgery {
    let kinds = [
        Lie::Everything,
        Lie::Ahead(rng.log_range(1..=500) as u16),
        Lie::FullMask,
        Lie::Window(rng.log_range(1..=u32::MAX.into()) as u32),
        Lie::Constant(rng.bits() as u32),
        Lie::Random,
    ];
    let lie = *rng.pick(&kinds);
    let often = 0.05 + 0.95 * rng.unit();
    // The last number that a peer has sent, by peer and id.
    let mut highest: HashMap<(usize, u16), u16> = HashMap::new();
    Box::new(move |from, to, datagram| {
        let Some(mut raw) = Raw::decode(datagram) else { return };
        if to == liar.0 && matches!(raw.kind, Kind::Data | Kind::Fin) {
            let last = highest.entry((from, raw.id)).or_insert(raw.seq);
            if raw.seq.wrapping_sub(*last) < 0x8000 {
                *last = raw.seq;
            }
        }
        if from != liar.0 || raw.kind != Kind::State || !rng.chance(often) {
            return;
        }
        let near = [raw.id.wrapping_add(1), raw.id.wrapping_sub(1)];
        let Some(&last) = near.iter().find_map(|id| highest.get(&(to, *id))) else { return };
        tell(lie, &mut raw, last, &mut rng);
        *datagram = raw.encode();
    })
}

fn tell(lie: Lie, raw: &mut Raw, last: u16, rng: &mut Random) {
    let under_way = last.wrapping_sub(raw.ack);
    match lie {
        Lie::Everything => {
            raw.ack = last;
            raw.extensions.clear();
        }
        Lie::Ahead(by) => {
            // Also of what was never sent.
            raw.ack = raw.ack.wrapping_add(by);
            raw.extensions.clear();
        }
        Lie::FullMask => {
            let all: Vec<u16> = (2..=under_way.min(1_000)).map(|n| raw.ack.wrapping_add(n)).collect();
            if !all.is_empty() {
                raw.extensions = vec![(1, mask(raw.ack, &all, 128))];
            }
        }
        Lie::Window(bytes) => raw.window = bytes,
        Lie::Constant(delay) => raw.difference = delay,
        Lie::Random => raw.difference = rng.bits() as u32,
    }
}
