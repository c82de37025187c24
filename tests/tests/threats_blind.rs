//! Somebody who sees nothing of a connection, and forges packets of it (S6, S7 of SECURITY.md).

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::FixedWindow;
use utp_proto::{CloseReason, Config, ConnectionStats};
use utp_tests::puppet::{Kind, Puppet, Raw, ms, piece, reset, seconds, state};
use utp_tests::sim::{ConnId, HostId, Link, Random, Script, World};

/// Connections of as many hosts with one, half of them in each direction, all of them busy.
fn busy_server(connections: usize) -> (World, HostId, Vec<HostId>) {
    let mut world = World::new(6);
    let mut config = Config::default();
    config.backlog(connections).expect("a backlog");
    let server = world.host(config);
    let clients: Vec<HostId> = (0..connections).map(|_| world.host_default()).collect();
    for (n, &client) in clients.iter().enumerate() {
        world.join(client, server, Link::new(2_000_000, Duration::from_millis(20)));
        let (dialer, acceptor) = (Script::send(BULK), Script::receive());
        match n % 2 {
            0 => world.dial(client, server, dialer, acceptor),
            _ => world.dial(client, server, acceptor, dialer),
        };
    }
    world.run_for(Duration::from_secs(1));
    (world, server, clients)
}

/// At 2 Mbit/s, more than the flood lasts.
const BULK: u64 = 3_000_000;

/// S6. Of one RESET with random fields the probability to end its connection is 2/65536 (either id) times
/// 6/65536, however many packets are under way: 2^20 of them end 6/2048 of a connection on average.
#[test]
fn a_million_blind_resets_end_none_of_a_hundred_busy_connections() {
    let (mut world, server, clients) = busy_server(100);
    let addresses: Vec<SocketAddr> = clients.iter().map(|client| world.addr(*client)).collect();
    let mut rng = Random::new(6, 1);
    let mut most = 0;
    for n in 0..1u32 << 20 {
        let bits = rng.bits();
        let raw = Raw {
            id: bits as u16,
            seq: (bits >> 16) as u16,
            ack: (bits >> 32) as u16,
            ..Raw::new(Kind::Reset)
        };
        let _ = world.inject(*rng.pick(&addresses), server, &raw.encode());
        if n % 128 == 127 {
            world.run_for(Duration::from_millis(1));
            let flying = world.all_sides().map(|side| side.stats.packets_in_flight).max();
            most = most.max(flying.unwrap_or(0));
        }
    }
    let (all, dead) =
        (world.all_sides().count(), world.all_sides().filter(|side| side.closed.is_some()).count());
    println!("{dead} of {all} sides ended, {most} packets in flight at most");
    assert_eq!((all, dead), (200, 0));
    assert_eq!(world.at(server).endpoint.stats().resets_ignored, 1 << 20);
    world.run_to_the_end(Duration::from_secs(60));
    assert!(world.all_sides().all(|side| side.is_clean()));
}

/// The endpoint has written so many packets, none of them acknowledged, and three before that which are.
fn flying(packets: i32) -> Puppet {
    let mut config = Config::default();
    config
        .congestion(Arc::new(FixedWindow { bytes: 1 << 20 }))
        .pacing(false)
        .send_buffer(1 << 20)
        .expect("a size");
    let mut p = Puppet::initiator(config);
    for n in 0..3 {
        p.write(&piece(n));
        p.wait(Duration::from_millis(20));
        p.send(state().ack(n + 1));
    }
    p.connection().write(&vec![7; packets as usize * 1_212]).expect("room");
    p.drain();
    assert_eq!(p.stats().packets_in_flight, packets as u64);
    p.take();
    p
}

/// S6, the harder variety: the attacker knows both addresses and the id. All 65 536 acknowledgement numbers are
/// tried: six end the connection, those around the packets under way; however many those are.
#[test]
fn whoever_knows_the_id_has_to_guess_one_of_six_numbers() {
    for packets in [0, 1, 8, 800] {
        let mut p = flying(packets);
        let mut ends = Vec::new();
        for ack in i32::from(i16::MIN)..=i32::from(i16::MAX) {
            p.send(reset().ack(ack));
            if p.closed().is_some() {
                ends.push(ack - 3);
                p = flying(packets);
            }
        }
        println!("{packets} packets under way: {} of 65536 numbers end the connection", ends.len());
        let expected: Vec<_> = (-3..=packets + 1).filter(|&n| n <= 0 || n >= packets).collect();
        assert!(ends == expected && ends.len() <= 6, "{ends:?}");
    }
}

/// ...nor does it help him to bring the connection into doubt, with the number of a packet under way, and to wait for a
/// silence: that has to last for three time-outs.
#[test]
fn a_doubtful_reset_and_an_outage_of_seconds_end_nothing() {
    for (outage, survives) in [(ms(400), true), (ms(1_400), true), (seconds(3), true), (seconds(20), false)] {
        let mut p = flying(8);
        for _ in 0..outage.as_millis() / 100 {
            p.send(reset().ack(3 + 2));
            p.wait(ms(100));
        }
        println!("{outage:?} of silence: {:?}", p.closed());
        assert_eq!(p.closed(), (!survives).then_some(CloseReason::Reset), "{outage:?}");
        if survives {
            p.send(state().ack(3 + 8));
            p.write(&piece(9));
            p.wait(seconds(1));
            assert_eq!(p.closed(), None);
        }
    }
}

/// ...and what deployed peers send still does what it should.
#[test]
fn resets_of_peers_still_end_connections() {
    // libutp: the id of the packet that it answers, and its number. Others: their own id, their last
    // acknowledgement. Of a FIN that has arrived.
    for (id, ack, finish) in [(0, 4, false), (1, 3, false), (1, 4, true), (0, 4, true)] {
        let mut p = Puppet::initiator(Config::default());
        for n in 0..3 {
            p.write(&piece(n));
            p.wait(Duration::from_millis(20));
            p.send(state().ack(n + 1));
        }
        if finish {
            p.finish();
        } else {
            p.write(&piece(3));
        }
        let (receive, send) = p.connection().ids();
        p.send(reset().id([send, receive][id]).ack(ack));
        let expected = if finish { CloseReason::Finished } else { CloseReason::Reset };
        assert_eq!(p.closed(), Some(expected), "{id} {ack} {finish}");
    }
}

/// How many of all values of a field are taken, the rest of the packet being right.
fn taken(p: &mut Puppet, packet: impl Fn(u16) -> Raw) -> u64 {
    let before = p.endpoint.stats().datagrams_accepted;
    for value in 0..=u16::MAX {
        let _ = p.send_bytes(&packet(value).encode());
    }
    p.take();
    p.endpoint.stats().datagrams_accepted - before
}

/// S7: what has to be guessed by an attacker who knows the id. `ack_nr`: the packets under way and as many before
/// them as ever were, with a few more; `seq_nr`: the reordering window in both directions (RFC 5961 5.2).
#[test]
fn numbers_that_are_taken_are_few() {
    for (packets, acks) in [(0, 7), (8, 8 + 1 + 8 + 3)] {
        let mut p = flying(packets);
        let good = p.build(state());
        let seqs = taken(&mut p, |seq| Raw { seq, ..good.clone() });
        // Not those that acknowledge something new: from then on the window would be another one.
        let ack_last = good.ack;
        let old = taken(&mut p, |ack| Raw {
            ack: if (1..=packets as u16).contains(&ack.wrapping_sub(ack_last)) { ack_last } else { ack },
            ..good.clone()
        });
        println!(
            "{packets} packets under way: of 65536 values {old} of ack_nr and {seqs} of seq_nr are taken, so that {:.1} of 10^6 random packets are",
            1e6 * old as f64 * seqs as f64 / 65536f64.powi(2)
        );
        // Those that were replaced count as the repetition that they became.
        assert_eq!((old, seqs), (acks, 2 * 1024 + 1));
    }
}

/// A transfer in each direction over a lossy link, with or without somebody who injects packets at both ends.
/// `forge` makes them: from what was seen last of the connection in that direction.
struct Attacked {
    world: World,
    hosts: [HostId; 2],
    conns: [ConnId; 2],
    /// The last DATA or STATE of each direction and id.
    seen: Rc<RefCell<HashMap<(usize, u16), Raw>>>,
}

impl Attacked {
    fn new() -> Self {
        let mut world = World::new(7);
        let hosts = [(); 2].map(|()| {
            let mut config = Config::default();
            // RESETs in answer to strays share the link: without them the runs can be the same to the last bit.
            config.resets_per_second(0);
            world.host(config)
        });
        world.join(hosts[0], hosts[1], Link::new(10_000_000, Duration::from_millis(15)).loss(0.005));
        let seen = Rc::new(RefCell::new(HashMap::new()));
        let note = Rc::clone(&seen);
        world.drop_if(Box::new(move |from, _, _, datagram| {
            if let Some(raw) = Raw::decode(datagram).filter(|raw| raw.kind != Kind::Syn) {
                note.borrow_mut().insert((from, raw.id), Raw { payload: Vec::new(), ..raw });
            }
            false
        }));
        let conns = [0, 1]
            .map(|n| world.dial(hosts[n], hosts[1 - n], Script::send(8_000_000), Script::send(400_000)));
        world.run_for(Duration::from_millis(200));
        Self { world, hosts, conns, seen }
    }

    /// Datagrams that connections have taken.
    fn accepted(&mut self) -> u64 {
        self.hosts.map(|host| self.world.at(host).endpoint.stats().datagrams_accepted).iter().sum()
    }

    /// `count` packets a millisecond at each end; 0: the hosts are woken as often, and nothing comes.
    fn run(&mut self, count: u32, mut forge: impl FnMut(&Raw) -> Raw) -> Vec<(u64, ConnectionStats)> {
        for _ in 0..4_000 {
            for (from, to) in [(0, 1), (1, 0)] {
                let mut live: Vec<Raw> = self
                    .seen
                    .borrow()
                    .iter()
                    .filter(|(key, _)| key.0 == from)
                    .map(|(_, r)| r.clone())
                    .collect();
                live.sort_by_key(|raw| raw.id);
                let (address, to) = (self.world.addr(self.hosts[from]), self.hosts[to]);
                let _ = self.world.at(to); // wakes it
                for n in 0..count {
                    let datagram = forge(&live[n as usize % live.len()]).encode();
                    let _ = self.world.inject(address, to, &datagram);
                }
            }
            self.world.run_for(Duration::from_millis(1));
        }
        self.conns
            .iter()
            .flat_map(|conn| [self.world.dialer(*conn), self.world.acceptor(*conn)])
            .map(|side| {
                let mut stats = side.stats;
                stats.invalid_packets = 0;
                (side.read, stats)
            })
            .collect()
    }
}

fn any_kind(rng: &mut Random, among: &[Kind]) -> (Kind, Vec<u8>) {
    let kind = *rng.pick(among);
    (kind, if kind == Kind::Data { vec![0xbd; rng.range(1..=1_000) as usize] } else { Vec::new() })
}

/// Makes a packet of its own; the real one beside it is for those numbers that the attacker is to know.
type Forge<'a> = &'a dyn Fn(&mut Random, &Raw) -> Raw;

/// S7: every packet leaves at the same microsecond as without the attack, with the same content, so that neither
/// bytes nor windows nor round trips can differ: three varieties of numbers that do not fit, ids known or not.
#[test]
fn injected_packets_change_nothing_at_all() {
    let mut quiet = Attacked::new();
    let expected = (quiet.run(0, Raw::clone), quiet.world.trace_hash());
    assert!(expected.0.iter().all(|(read, _)| *read > 100_000), "{:?}", expected.0);
    let accepted = quiet.accepted();
    let far = |rng: &mut Random| rng.range(0x1000..=0xefff) as u16;
    let varieties: [(&str, Forge); 4] = [
        ("nothing known but the addresses", &|rng, _| {
            let (kind, payload) = any_kind(rng, &[Kind::Data, Kind::Fin, Kind::State, Kind::Reset]);
            let (id, seq, ack) = (rng.bits() as u16, rng.bits() as u16, rng.bits() as u16);
            Raw { id, seq, ack, window: 0, timestamp: rng.bits() as u32, payload, ..Raw::new(kind) }
        }),
        ("the id is known, ack_nr does not fit", &|rng, live| {
            let (kind, payload) = any_kind(rng, &KINDS);
            let id = if kind == Kind::Syn { live.id.wrapping_sub(1) } else { live.id };
            let (ack, seq) =
                (live.ack.wrapping_add(far(rng)), live.seq.wrapping_add(rng.range(0..=9) as u16));
            Raw { kind, id, ack, seq, window: 0, timestamp: rng.bits() as u32, payload, ..live.clone() }
        }),
        ("the id is known, seq_nr does not fit", &|rng, live| {
            let (kind, payload) = any_kind(rng, &[Kind::Data, Kind::Fin, Kind::State, Kind::Syn]);
            let id = if kind == Kind::Syn { live.id.wrapping_sub(1) } else { live.id };
            Raw { kind, id, seq: live.seq.wrapping_add(far(rng)), window: 0, payload, ..live.clone() }
        }),
        ("the id is known, neither number fits", &|rng, live| {
            let (kind, payload) = any_kind(rng, &KINDS);
            let (seq, ack) = (live.seq.wrapping_add(far(rng)), live.ack.wrapping_add(far(rng)));
            let id = if kind == Kind::Syn { live.id.wrapping_sub(1) } else { live.id };
            Raw { kind, id, seq, ack, extensions: vec![(1, vec![255; 32])], payload, ..live.clone() }
        }),
    ];
    for (name, forge) in varieties {
        let mut rng = Random::new(7, 2);
        let mut attacked = Attacked::new();
        let outcome = attacked.run(20, |live| forge(&mut rng, live));
        assert_eq!((outcome, attacked.world.trace_hash()), expected, "{name}");
        assert_eq!(attacked.accepted(), accepted, "{name}");
        println!("{name}: 160000 packets, the runs are the same");
    }
}

const KINDS: [Kind; 5] = [Kind::Data, Kind::Fin, Kind::State, Kind::Syn, Kind::Reset];
