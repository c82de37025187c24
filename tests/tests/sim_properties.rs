//! Random lists of operations on a world of a few hosts, shrunk to the shortest that fails.
//!
//! What must hold whatever is done, in whatever order: bytes come out as they went in, a connection's end is told
//! once and last, and after the network has healed everything that nobody gave up completes. The world itself
//! looks after the first two at every step.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use utp_proto::Config;
use utp_tests::sim::{ConnId, Ending, Finish, HostId, Link, LinkId, Reading, Script, World};

/// What is done to the world. Which connection, host or link: one of those that there are.
#[derive(Debug, Clone)]
enum Op {
    Dial {
        from: usize,
        to: usize,
    },
    Write {
        conn: usize,
        acceptor: bool,
        bytes: u64,
    },
    Read {
        conn: usize,
        acceptor: bool,
        bytes: u64,
    },
    Finish {
        conn: usize,
        acceptor: bool,
    },
    End {
        conn: usize,
        acceptor: bool,
        how: Ending,
    },
    Wait(Duration),
    Change {
        link: usize,
        faults: Faults,
    },
    Kill(usize),
    Restart(usize),
    /// A datagram of the past arrives once more, so many back from the last one.
    Repeat {
        back: usize,
    },
    Heal,
}

#[derive(Debug, Clone, Copy)]
struct Faults {
    rate: u64,
    delay: u64,
    queue: usize,
    loss: f64,
    reorder: f64,
    duplicate: f64,
    corrupt: f64,
    garbage: f64,
    mtu: usize,
}

fn faults() -> impl Strategy<Value = Faults> {
    let sometimes = |most: f64| prop_oneof![2 => Just(0.0), 1 => 0.0..most];
    (
        (200_000..50_000_000u64, 0..200u64, 4_000..500_000usize),
        (sometimes(0.5), sometimes(0.5), sometimes(0.5), sometimes(0.2), sometimes(0.2)),
        prop_oneof![3 => Just(1472usize), 1 => 548..1472usize],
    )
        .prop_map(|((rate, delay, queue), (loss, reorder, duplicate, corrupt, garbage), mtu)| Faults {
            rate,
            delay,
            queue,
            loss,
            reorder,
            duplicate,
            corrupt,
            garbage,
            mtu,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let (conn, acceptor) = (any::<usize>(), any::<bool>());
    let bytes = prop_oneof![1..2_000u64, 1..300_000u64];
    prop_oneof![
        3 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Op::Dial { from, to }),
        8 => (conn, acceptor, bytes.clone()).prop_map(|(conn, acceptor, bytes)| Op::Write { conn, acceptor, bytes }),
        6 => (any::<usize>(), any::<bool>(), bytes)
            .prop_map(|(conn, acceptor, bytes)| Op::Read { conn, acceptor, bytes }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(conn, acceptor)| Op::Finish { conn, acceptor }),
        1 => (any::<usize>(), any::<bool>(), prop::sample::select(vec![Ending::Close, Ending::Abort]))
            .prop_map(|(conn, acceptor, how)| Op::End { conn, acceptor, how }),
        8 => prop_oneof![0..20_000u64, 0..3_000_000u64].prop_map(|micros| Op::Wait(Duration::from_micros(micros))),
        3 => (any::<usize>(), faults()).prop_map(|(link, faults)| Op::Change { link, faults }),
        1 => any::<usize>().prop_map(Op::Kill),
        1 => any::<usize>().prop_map(Op::Restart),
        4 => (1..400usize).prop_map(|back| Op::Repeat { back }),
        1 => Just(Op::Heal),
    ]
}

/// What was sent: from whom, to whom.
type Past = Rc<RefCell<Vec<(usize, usize, Vec<u8>)>>>;

struct Play {
    world: World,
    hosts: Vec<HostId>,
    links: Vec<LinkId>,
    conns: Vec<(ConnId, HostId, HostId)>,
    /// Connections that somebody gave up, or whose host died.
    broken: Vec<bool>,
    dead: Vec<bool>,
    past: Past,
}

/// Patient enough for half of everything being lost all the time.
fn config() -> Config {
    let mut config = Config::default();
    config.connect_timeout(Duration::from_secs(600)).unwrap();
    config.half_open_timeout(Duration::from_secs(600)).unwrap();
    config.give_up_after(Duration::from_secs(600)).unwrap();
    config.receive_buffer(64 << 10).unwrap();
    config
}

impl Play {
    fn new(seed: u64, count: usize) -> Self {
        let mut world = World::new(seed);
        let hosts: Vec<_> = (0..count).map(|_| world.host(config())).collect();
        let mut links = Vec::new();
        for (i, &a) in hosts.iter().enumerate() {
            for &b in &hosts[..i] {
                let (forth, back) = world.join(a, b, Link::new(5_000_000, Duration::from_millis(20)));
                links.extend([forth, back]);
            }
        }
        let past = Past::default();
        let record = Rc::clone(&past);
        world.drop_if(Box::new(move |from, to, _, datagram| {
            record.borrow_mut().push((from, to, datagram.to_vec()));
            false
        }));
        Self { world, links, conns: Vec::new(), broken: Vec::new(), dead: vec![false; count], hosts, past }
    }

    fn apply(&mut self, op: &Op) {
        let conn = |conn: usize| (!self.conns.is_empty()).then(|| conn % self.conns.len());
        match *op {
            Op::Dial { from, to } => self.dial(from % self.hosts.len(), to % self.hosts.len()),
            Op::Write { conn: n, acceptor, bytes } => {
                if let Some((conn, ..)) = conn(n).map(|n| self.conns[n]) {
                    let finished =
                        self.side(conn, acceptor).is_some_and(|script| script.finish != Finish::Never);
                    let more = if finished { 0 } else { bytes };
                    self.world.rescript(conn, acceptor, |script| script.send += more);
                }
            }
            Op::Read { conn: n, acceptor, bytes } => {
                if let Some((conn, ..)) = conn(n).map(|n| self.conns[n]) {
                    self.world.rescript(conn, acceptor, |script| {
                        if let Reading::Pause(so_far, until) = script.reading {
                            script.reading = Reading::Pause(so_far + bytes, until);
                        }
                    });
                }
            }
            Op::Finish { conn: n, acceptor } => {
                if let Some((conn, ..)) = conn(n).map(|n| self.conns[n]) {
                    self.world.rescript(conn, acceptor, |script| script.finish = Finish::AfterSending);
                }
            }
            Op::End { conn: n, acceptor, how } => {
                if let Some(n) = conn(n) {
                    self.broken[n] = true;
                    self.world.end(self.conns[n].0, acceptor, how);
                }
            }
            Op::Wait(time) => self.world.run_for(time),
            Op::Change { link, faults } => self.change(self.links[link % self.links.len()], faults),
            Op::Kill(host) => self.kill(host % self.hosts.len()),
            Op::Restart(host) => self.restart(host % self.hosts.len()),
            Op::Repeat { back } => self.repeat(back),
            Op::Heal => self.world.heal(),
        }
    }

    /// The script of a side: whether it has begun or not.
    fn side(&self, conn: ConnId, acceptor: bool) -> Option<&Script> {
        match acceptor {
            false => Some(&self.world.dialer(conn).script),
            true => self.world.accepted(conn).map(|side| &side.script),
        }
    }

    fn dial(&mut self, from: usize, to: usize) {
        if from == to || self.dead[from] || self.conns.len() >= 12 {
            return;
        }
        let script = Script::send(0).finish(Finish::Never).reading(Reading::Pause(0, FAR));
        let conn = self.world.dial(self.hosts[from], self.hosts[to], script, script);
        self.conns.push((conn, self.hosts[from], self.hosts[to]));
        self.broken.push(false);
    }

    fn change(&mut self, link: LinkId, faults: Faults) {
        let Faults { rate, delay, queue, loss, reorder, duplicate, corrupt, garbage, mtu } = faults;
        *self.world.link_mut(link) = Link::new(rate, Duration::from_millis(delay))
            .queue(queue)
            .loss(loss)
            .reorder(reorder, Duration::from_millis(1 + delay / 4))
            .duplicate(duplicate)
            .corrupt(corrupt)
            .garbage(garbage)
            .mtu(mtu);
    }

    fn kill(&mut self, host: usize) {
        if !self.dead[host] {
            self.dead[host] = true;
            self.world.kill(self.hosts[host]);
            for (n, (_, from, to)) in self.conns.iter().enumerate() {
                self.broken[n] |= [*from, *to].contains(&self.hosts[host]);
            }
        }
    }

    fn restart(&mut self, host: usize) {
        if std::mem::take(&mut self.dead[host]) {
            self.world.restart(self.hosts[host], config());
        }
    }

    fn repeat(&mut self, back: usize) {
        let past = self.past.borrow();
        let Some((from, to, datagram)) = past.len().checked_sub(back).map(|at| past[at].clone()) else {
            return;
        };
        drop(past);
        if !self.dead[to] {
            let from = self.world.addr(self.hosts[from]);
            let _ = self.world.inject(from, self.hosts[to], &datagram);
            self.world.run_for(Duration::ZERO);
        }
    }

    /// Everything heals, everybody writes what is left, reads all and finishes.
    fn conclude(mut self) {
        self.world.heal();
        for host in 0..self.hosts.len() {
            self.restart(host);
        }
        for (conn, ..) in self.conns.clone() {
            for acceptor in [false, true] {
                self.world.rescript(conn, acceptor, |script| {
                    script.reading = Reading::All;
                    script.finish = Finish::AfterSending;
                });
            }
        }
        self.world.run_to_the_end(Duration::from_secs(2_000));
        for (n, (conn, ..)) in self.conns.iter().enumerate() {
            if !self.broken[n] {
                self.expect_complete(*conn);
            }
        }
        // Nothing of the past has opened anything.
        if let Some((host, handle)) = self.world.strangers().first() {
            self.world.fail(&format!("{host:?} has accepted {handle:?}, whom nobody dialed"));
        }
        self.world.run_for(Duration::from_secs(700));
        for &host in &self.hosts {
            let endpoint = &self.world.at(host).endpoint;
            assert!(endpoint.is_idle() && endpoint.poll_timeout().is_none(), "{:#?}", endpoint.stats());
        }
    }

    fn expect_complete(&self, conn: ConnId) {
        let (dialer, acceptor) = (self.world.dialer(conn), self.world.acceptor(conn));
        for (side, peer) in [(dialer, acceptor), (acceptor, dialer)] {
            let delivered = side.written == side.script.send && peer.read == side.written;
            // All of the last acknowledgements may be lost, which one side cannot know.
            if !delivered || !(side.is_clean() || peer.is_clean()) {
                self.world.fail(&format!("{conn:?} was not given up and is not complete"));
            }
        }
    }
}

fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(29), // the same every time, unless PROPTEST_RNG_SEED asks for others
        asked => asked,
    };
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_is_done_to_it_the_world_keeps_its_promises(
        seed in 0..1_000_000u64,
        hosts in 2..=3usize,
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut play = Play::new(seed, hosts);
        play.dial(0, 1);
        ops.iter().for_each(|op| play.apply(op));
        play.conclude();
    }
}

/// Nobody waits that long.
const FAR: Duration = Duration::from_secs(1_000_000);
