//! A million SYNs from forged addresses beside honest peers (S9 of SECURITY.md).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use utp_proto::Config;
use utp_tests::counting::{self, Counting};
use utp_tests::puppet::{Kind, Raw};
use utp_tests::sim::{ConnId, HostId, Link, Random, Script, World};

#[global_allocator]
static COUNTING: Counting = Counting;

const SYNS: u32 = 1_000_000;

/// They come within so many milliseconds: 100,000 a second.
const SPAN: u32 = 10_000;

/// Connections that honest peers open in that time.
const HONEST: usize = 2_000;

/// Established ones that move data all the while.
const BULK: usize = 4;

struct Flooded {
    world: World,
    server: HostId,
    bulk: Vec<ConnId>,
    honest: Vec<ConnId>,
}

impl Flooded {
    fn new() -> Self {
        let mut world = World::new(9);
        let mut config = Config::default();
        config.backlog(1_000).expect("a backlog").receive_buffer(256 << 10).expect("a size");
        let server = world.host(config);
        let mut bulk = Vec::new();
        for n in 0..BULK {
            let peer = world.host_default();
            world.join(peer, server, Link::new(10_000_000, Duration::from_millis(15)).loss(0.001));
            let (dialer, acceptor) = (Script::send(100_000_000), Script::receive());
            bulk.push(match n % 2 {
                0 => world.dial(peer, server, dialer, acceptor),
                _ => world.dial(peer, server, acceptor, dialer),
            });
        }
        world.run_for(Duration::from_secs(2));
        Self { world, server, bulk, honest: Vec::new() }
    }

    /// Honest peers, some behind lossy links, open connections one after the other; `flood`: a hundred SYNs a
    /// millisecond besides.
    fn run(&mut self, flood: bool) {
        let peers: Vec<HostId> = (0..20)
            .map(|n| {
                let peer = self.world.host_default();
                let link = Link::new(5_000_000, Duration::from_millis(5 + 5 * n));
                self.world.join(peer, self.server, link.loss(if n % 4 == 0 { 0.02 } else { 0.0 }));
                peer
            })
            .collect();
        let mut rng = Random::new(9, 1);
        for ms in 0..SPAN {
            if (ms as usize).is_multiple_of(SPAN as usize / HONEST) {
                let peer = *rng.pick(&peers);
                // Every other one is silent and waits for what it is told.
                let (dialer, acceptor) = match ms % 2 {
                    0 => (Script::send(3_000), Script::receive()),
                    _ => (Script::receive(), Script::send(3_000)),
                };
                self.honest.push(self.world.dial(peer, self.server, dialer, acceptor));
            }
            for _ in 0..if flood { SYNS / SPAN } else { 0 } {
                let bits = rng.bits();
                let raw = Raw { id: bits as u16, seq: (bits >> 16) as u16, ..Raw::new(Kind::Syn) };
                // From anywhere but the networks of this world.
                let ip = (0x2000_0000 | (bits >> 32) as u32).to_be_bytes();
                let from = SocketAddr::from((ip, 1 + rng.bits() as u16 % 60_000));
                let _ = self.world.inject(from, self.server, &raw.encode());
            }
            self.world.run_for(Duration::from_millis(1));
        }
    }

    fn moved(&self) -> u64 {
        let sides = self.bulk.iter().flat_map(|c| [self.world.dialer(*c), self.world.acceptor(*c)]);
        sides.map(|side| side.read).sum()
    }
}

#[test]
fn a_million_forged_syns_leave_honest_peers_alone() {
    let mut quiet = Flooded::new();
    let before = quiet.moved();
    quiet.run(false);
    let expected = quiet.moved() - before;

    let mut flooded = Flooded::new();
    let before = flooded.moved();
    let started = Instant::now();
    flooded.run(true);
    let moved = flooded.moved() - before;
    println!("{SYNS} SYNs, {:?} for everything", started.elapsed());
    let stats = flooded.world.at(flooded.server).endpoint.stats();
    println!("established connections: {moved} bytes moved, {expected} without the flood");
    println!(
        "half open {}, cookies sent {}, confirmed {}",
        stats.half_open, stats.cookies_sent, stats.cookies_confirmed
    );
    assert!(moved * 10 >= expected * 9, "{moved} of {expected}");
    assert!(stats.cookies_sent > u64::from(SYNS) * 9 / 10 && stats.half_open <= 4096);

    flooded.world.run_for(Duration::from_secs(20));
    let world = &flooded.world;
    let done = |conn: &&ConnId| {
        let connected = world.dialer(**conn).connected.is_some();
        connected
            && world.dialer(**conn).is_clean()
            && world.accepted(**conn).is_some_and(|side| side.is_clean())
    };
    let clean = flooded.honest.iter().filter(done).count();
    println!("{clean} of {} honest connections moved their bytes and ended well", flooded.honest.len());
    assert_eq!(flooded.honest.len(), HONEST);
    assert!(clean * 100 >= HONEST * 99, "{clean}");
    // A forged confirmation is a guess of 16 bits, and nobody guesses here.
    assert!(world.strangers().is_empty());
}

/// An endpoint with nothing else to do: what the flood makes it hold, at most and afterwards.
#[test]
fn a_million_forged_syns_cost_a_fixed_amount_of_memory() {
    /// 4096 entries of 128 bytes at most, the ring of 1024 answers, the table of networks, and room to grow.
    const BUDGET: isize = 768 << 10;
    let mut world = World::new(10);
    let server = world.host_default();
    let mut rng = Random::new(10, 1);
    let before = counting::held();
    let mut most = 0;
    for n in 0..SYNS {
        let bits = rng.bits();
        let raw = Raw { id: bits as u16, seq: (bits >> 16) as u16, ..Raw::new(Kind::Syn) };
        let from = SocketAddr::from((((bits >> 32) as u32 | 1).to_be_bytes(), 1));
        let _ = world.inject(from, server, &raw.encode());
        // The answers are drained rarely, as by somebody who cannot keep up.
        if n % 2_000 == 1_999 {
            most = most.max(counting::held() - before);
            world.run_for(Duration::from_millis(20));
        }
        most = most.max(counting::held() - before);
    }
    let stats = world.at(server).endpoint.stats();
    println!("{most} bytes at most, {} half open, {} cookies", stats.half_open, stats.cookies_sent);
    assert!(most <= BUDGET, "{most}");
    world.run_for(Duration::from_secs(60));
    let left = counting::held() - before;
    println!("{left} bytes a minute later");
    // The ring of answers keeps its memory.
    assert!(left <= 160 << 10, "{left}");
    assert!(world.at(server).endpoint.is_idle());
}
