//! Worlds from a seed: topology, links with the full mix of faults, configurations and applications.
//!
//! Faults and attacks last for [`FAULTS`]; then the links heal, and whatever was promised must come true: every
//! connection that nobody gave up ends cleanly with every byte delivered, everything else ends too, and
//! nothing is left behind. In some worlds somebody forges packets, and in some one of the hosts lies to those that
//! send to it; connections with a liar may end in any way, but for the bytes, of which none is ever a wrong one.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{
    ControllerFactory, CubicConfig, EbbConfig, FixedWindow, LedbatConfig, LedbatPpConfig,
};
use utp_proto::{CloseReason, Config};

use super::app::{Ending, Finish, Reading, Script};
use super::hostile::{self, Injector, Target};
use super::link::{Blackout, Burst, Link};
use super::rng::Random;
use super::world::{ConnId, HostId, World};

/// What a run was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Virtual time until everything was over.
    pub time: Duration,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Payload bytes delivered.
    pub delivered: u64,
    /// Connections that ended cleanly on both sides.
    pub clean: u64,
    /// Connections that one side gave up.
    pub broken: u64,
    /// Connections that moved everything, and ended cleanly for one side; all of its last
    /// acknowledgements were lost, which the other side cannot tell from the loss of its last data.
    pub unconfirmed: u64,
    /// Connections with a liar, in whatever way they ended...
    pub lied_to: u64,
    /// ...and sides of them that found out.
    pub violations: u64,
    /// Packets forged by somebody who sees nothing.
    pub forged: u64,
    /// Connections that those opened, having guessed a cookie.
    pub guesses: u64,
    /// See [`World::trace_hash`].
    pub trace_hash: u64,
}

impl Outcome {
    /// Both together; the hash is of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            time: self.time + other.time,
            datagrams: self.datagrams + other.datagrams,
            delivered: self.delivered + other.delivered,
            clean: self.clean + other.clean,
            broken: self.broken + other.broken,
            unconfirmed: self.unconfirmed + other.unconfirmed,
            lied_to: self.lied_to + other.lied_to,
            violations: self.violations + other.violations,
            forged: self.forged + other.forged,
            guesses: self.guesses + other.guesses,
            trace_hash: self.trace_hash.rotate_left(1) ^ other.trace_hash,
        }
    }
}

/// Runs the world of `seed` to its end.
///
/// # Panics
/// If anything goes wrong, with the seed and the last packets.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let mut rng = Random::new(seed, 0);
    let mut world = World::new(seed);
    // Streams of their own: what came later must not change what the seeds of old mean.
    let mut later = Random::new(seed, LATER_STREAM);
    let mut bad = Random::new(seed, HOSTILE_STREAM);
    let (hosts, traits) = hosts(&mut world, &mut rng, &mut later, &mut bad);
    let rate = links(&mut world, &mut rng, &hosts);
    let conns = connections(&mut world, &mut rng, &hosts, rate);
    let liar = bad.chance(0.15).then(|| *bad.pick(&hosts));
    if let Some(liar) = liar {
        world.forge(hostile::liar(Random::new(seed, HOSTILE_STREAM + 1), liar));
        give_up(&mut world, &conns, liar);
    }
    let mut injector = bad.chance(0.3).then(|| {
        let target =
            |(host, traits): (&HostId, &Traits)| Target { host: *host, speaks_first: traits.speaks_first };
        let targets = hosts.iter().zip(&traits).map(target).collect();
        Injector::new(Random::new(seed, HOSTILE_STREAM + 2), targets)
    });
    match &mut injector {
        Some(injector) => injector.run(&mut world, &conns, FAULTS),
        None => world.run_for(FAULTS),
    }
    world.heal();
    world.run_to_the_end(LIMIT);
    let (mut forged, mut guesses) = (0, 0);
    if let Some(injector) = &mut injector {
        injector.end_guesses(&mut world);
        (forged, guesses) = (injector.sent, injector.guesses);
    }
    let outcome = Outcome { forged, guesses, ..judge(&world, &conns, &traits, liar) };
    rest(&mut world, &hosts);
    outcome
}

/// A liar may have to wait for ever for what it said that it had got.
fn give_up(world: &mut World, conns: &[(ConnId, HostId)], liar: HostId) {
    for &(conn, acceptor) in conns {
        let dials = world.dialer(conn).host == liar.0;
        if dials || acceptor == liar {
            world.rescript(conn, !dials, |script| {
                script.ending = script.ending.or(Some((FAULTS * 2, Ending::Close)));
            });
        }
    }
}

/// What a test must know of a configuration, which tells nothing once it is made.
#[derive(Debug, Clone, Copy)]
struct Traits {
    /// Packets in flight at most, once proven.
    max_packets: u16,
    /// Packets kept ahead; if that grows, with the window as the peer's packets in flight do, the most.
    reorder_window: u16,
    /// It opens connections at their SYN.
    speaks_first: bool,
}

fn hosts(
    world: &mut World,
    rng: &mut Random,
    later: &mut Random,
    bad: &mut Random,
) -> (Vec<HostId>, Vec<Traits>) {
    let count = *rng.pick(&[2, 2, 2, 3, 4, 6]);
    let v6 = rng.chance(0.2);
    (0..count)
        .map(|n| {
            let (mut config, max_datagram, traits) = config(rng, later);
            if bad.chance(0.6) {
                config.congestion(controller(bad));
            }
            if bad.chance(0.1) {
                config.receive_congestion(Some(controller(bad)));
            }
            let addr = match v6 {
                true => format!("[fd00::{:x}]:{}", n + 1, 1 + rng.range(0..=65_534)).parse(),
                false => format!("10.1.0.{}:{}", n + 1, 1 + rng.range(0..=65_534)).parse(),
            };
            let ppm = if rng.chance(0.3) { rng.range(0..=1_000) as i64 - 500 } else { 0 };
            let id = world.host_at(addr.expect("an address"), config, ppm);
            let host = world.at(id);
            host.max_datagram = max_datagram;
            host.segments = rng.range(1..=64) as usize;
            if rng.chance(0.2) {
                host.send_buffer = Some(rng.log_range(2_000..=200_000) as usize);
            }
            (id, traits)
        })
        .unzip()
}

fn config(rng: &mut Random, later: &mut Random) -> (Config, usize, Traits) {
    let mut config = Config::default();
    let plain = rng.chance(0.3);
    let max = if plain { 1472 } else { rng.log_range(508..=8972) as usize };
    let proven = if plain || later.chance(0.5) { MAX_PACKETS } else { 1 };
    let max_packets = if plain { 950 } else { rng.log_range(2..=4_000) as u16 };
    let mut traits = Traits {
        speaks_first: false,
        max_packets: max_packets.max(proven),
        reorder_window: if plain { MAX_PACKETS } else { rng.log_range(16..=8_000) as u16 },
    };
    let set = |config: &mut Config| -> Result<(), utp_proto::ConfigError> {
        config
            .receive_buffer(rng.log_range(4 << 10..=4 << 20) as usize)?
            .send_buffer(rng.log_range(4 << 10..=4 << 20) as usize)?
            .ack_delay(Duration::from_micros(rng.range(0..=10_000)))?
            .max_packets_in_flight(max_packets)?
            .max_packets_proven(proven)?
            .reorder_window(traits.reorder_window)?
            .max_sack(4 * rng.log_range(1..=63) as u8)?
            .initial_datagram(rng.log_range(508..=1232) as usize)?
            .max_datagram(max, max)?
            .min_rto(Duration::from_millis(rng.log_range(50..=1_000)))?
            .linger(Duration::from_millis(rng.log_range(500..=10_000)))?
            .keep_alive(Some(Duration::from_secs(rng.range(1..=60))))?
            .nagle(!rng.chance(0.3))
            .pacing(!rng.chance(0.2));
        if rng.chance(0.1) {
            config.congestion(Arc::new(FixedWindow { bytes: rng.log_range(3_000..=1_000_000) }));
        }
        if rng.chance(0.2) {
            // Somebody has to find out that a peer is gone whose RESET was lost.
            config.keep_alive(None)?.idle_timeout(Some(Duration::from_secs(150)))?;
        }
        traits.speaks_first = rng.chance(0.1);
        config.speak_first(traits.speaks_first);
        Ok(())
    };
    if !plain {
        let mut set = set;
        set(&mut config).expect("values within their ranges");
    }
    if later.chance(0.3) {
        let most = later.log_range(4 << 10..=32 << 20) as usize;
        let grow = |config: &mut Config| config.receive_buffer_max(most)?.send_buffer_max(most).map(drop);
        grow(&mut config).expect("values within their ranges");
    }
    if later.chance(0.2) {
        config.receive_congestion(Some(Arc::new(LedbatPpConfig::default())));
    }
    // A datagram may not be larger than what the search starts with, or its ceiling.
    (config, max, traits)
}

fn controller(rng: &mut Random) -> Arc<dyn ControllerFactory> {
    let all: [Arc<dyn ControllerFactory>; 5] = [
        Arc::new(LedbatConfig::default()),
        Arc::new(LedbatPpConfig::default()),
        Arc::new(CubicConfig::default()),
        Arc::new(EbbConfig::default()),
        Arc::new(FixedWindow { bytes: rng.log_range(3_000..=1_000_000) }),
    ];
    Arc::clone(rng.pick(&all))
}

/// Makes a topology. Gives the rate of its narrowest link.
fn links(world: &mut World, rng: &mut Random, hosts: &[HostId]) -> u64 {
    let shared = hosts.len() > 2 && rng.chance(0.5);
    let mut narrowest = u64::MAX;
    let mut make = |world: &mut World, rng: &mut Random| {
        let link = link(rng);
        narrowest = narrowest.min(link.rate.unwrap_or(u64::MAX));
        world.link(link)
    };
    let bottleneck = shared.then(|| (make(world, rng), make(world, rng)));
    for &from in hosts {
        for &to in hosts.iter().filter(|to| **to != from) {
            // Each direction is another link: real paths are not symmetric either.
            let mut route = vec![make(world, rng)];
            if let Some((forth, back)) = bottleneck {
                route.push(if from < to { forth } else { back });
            }
            world.route(from, to, &route);
        }
    }
    narrowest
}

fn link(rng: &mut Random) -> Link {
    let delay = Duration::from_micros(rng.log_range(50..=200_000));
    let mut link = match rng.chance(0.2) {
        true => Link::wire(delay),
        false => Link::new(rng.log_range(256_000..=200_000_000), delay),
    };
    if link.rate.is_some() && rng.chance(0.3) {
        link.queue = rng.log_range(4_000..=1_000_000) as usize;
    }
    if rng.chance(0.4) {
        link.loss = rng.log_range(1..=200) as f64 / 1000.0;
    }
    if rng.chance(0.2) {
        link.burst = Some(Burst {
            enter: rng.log_range(1..=50) as f64 / 1000.0,
            leave: rng.log_range(20..=500) as f64 / 1000.0,
            loss: 0.3 + 0.7 * rng.unit(),
        });
    }
    if rng.chance(0.3) {
        link.jitter = Duration::from_micros(rng.log_range(10..=50_000));
    }
    if rng.chance(0.3) {
        link.reorder = rng.unit() * 0.3;
        link.reorder_by = Duration::from_micros(rng.log_range(10..=100_000));
    }
    link.duplicate = if rng.chance(0.2) { rng.unit() * 0.2 } else { 0.0 };
    link.corrupt = if rng.chance(0.2) { rng.unit() * 0.05 } else { 0.0 };
    link.garbage = if rng.chance(0.2) { rng.unit() * 0.1 } else { 0.0 };
    if rng.chance(0.3) {
        link = link.mtu(rng.log_range(548..=1472) as usize);
        link.tells_mtu = rng.chance(0.5);
    }
    if rng.chance(0.15) {
        link.blackout = Some(Blackout {
            first: rng.duration(FAULTS),
            down: Duration::from_millis(rng.log_range(10..=5_000)),
            up: rng.chance(0.5).then(|| Duration::from_millis(rng.log_range(1_000..=10_000))),
        });
    }
    if rng.chance(0.1) {
        link.delay_steps = vec![(rng.duration(FAULTS), delay + Duration::from_millis(rng.range(0..=50)))];
    }
    link
}

/// Dials. Gives each connection with the host that is to accept it.
fn connections(world: &mut World, rng: &mut Random, hosts: &[HostId], rate: u64) -> Vec<(ConnId, HostId)> {
    let count = rng.log_range(1..=8);
    // What the narrowest link carries in a while, shared.
    let most = (rate / 8).saturating_mul(10).clamp(1_000, 2_000_000) / count;
    (0..count)
        .map(|_| {
            let from = *rng.pick(hosts);
            let others: Vec<_> = hosts.iter().copied().filter(|host| *host != from).collect();
            let to = *rng.pick(&others);
            let (mut dialer, mut acceptor) = (script(rng, most), script(rng, most));
            if dialer.finish == Finish::AfterPeer && acceptor.finish == Finish::AfterPeer {
                dialer.finish = Finish::AfterSending; // or both would wait for ever
            }
            if rng.chance(0.15) {
                let how = *rng.pick(&[Ending::Close, Ending::Abort]);
                let one = if rng.chance(0.5) { &mut dialer } else { &mut acceptor };
                one.ending = Some((rng.duration(FAULTS * 2), how));
            }
            (world.dial(from, to, dialer, acceptor), to)
        })
        .collect()
}

fn script(rng: &mut Random, most: u64) -> Script {
    let bytes = if rng.chance(0.2) { 0 } else { rng.log_range(1..=most) };
    let mut script = Script::send(bytes).chunk(rng.log_range(1_000..=200_000) as usize).finish(*rng.pick(&[
        Finish::AfterSending,
        Finish::AfterSending,
        Finish::AfterPeer,
    ]));
    if rng.chance(0.2) {
        script.start = rng.duration(FAULTS);
    }
    if rng.chance(0.1) {
        script.send_rate = Some((bytes / 10).max(100));
    }
    match rng.range(0..=9) {
        0 => script.reading = Reading::Rate((most / 10).max(1_000)),
        1 => script.reading = Reading::Pause(rng.range(0..=most), rng.duration(FAULTS * 2)),
        _ => {}
    }
    script
}

/// Whether what was promised came true.
fn judge(world: &World, conns: &[(ConnId, HostId)], traits: &[Traits], liar: Option<HostId>) -> Outcome {
    let mut outcome = Outcome {
        time: world.now(),
        datagrams: world.datagrams(),
        trace_hash: world.trace_hash(),
        ..Outcome::default()
    };
    for &(conn, accepting) in conns {
        let (dialer, acceptor) = (world.dialer(conn), world.accepted(conn));
        outcome.delivered += dialer.read + acceptor.map_or(0, |side| side.read);
        for (side, peer) in [(Some(dialer), accepting.0), (acceptor, dialer.host)] {
            if matches!(side.and_then(|side| side.closed), Some((_, CloseReason::Violation))) {
                outcome.violations += 1;
                if liar.is_none_or(|liar| liar.0 != peer) {
                    world.fail(&format!("connection {} was ended for a lie that nobody told", conn.0));
                }
            }
        }
        if liar.is_some_and(|liar| liar == accepting || liar.0 == dialer.host) {
            outcome.lied_to += 1;
            continue;
        }
        let given_up = dialer.script.ending.is_some()
            || acceptor.is_none_or(|acceptor| acceptor.script.ending.is_some());
        if dialer.script.ending.is_none() && acceptor.is_none() {
            // All that a dialer which says nothing repeats a few times can get lost.
            if dialer.written > 0 || dialer.finished.is_some() {
                world.fail("nobody accepted, and nobody gave up");
            }
            outcome.unconfirmed += 1;
            continue;
        }
        if given_up {
            outcome.broken += 1;
            continue;
        }
        let sides = [dialer, acceptor.unwrap_or(dialer)];
        // An acceptor that speaks first and hears nothing at all for as long as it is patient.
        if acceptor.is_some_and(|side| side.closed.is_some() && side.stats.packets_received == 0) {
            outcome.unconfirmed += 1;
            continue;
        }
        let mut unconfirmed = false;
        for (side, peer) in [(sides[0], sides[1]), (sides[1], sides[0])] {
            if !side.is_clean() && peer.is_clean() && side.finished.is_some() && peer.read == side.written {
                unconfirmed = true;
            } else if !side.is_clean() {
                world.fail(&format!("nobody gave connection {} up, yet it broke", conn.0));
            }
            if side.written != side.script.send || peer.read != side.written {
                world.fail(&format!("connection {} ended cleanly without having moved all", conn.0));
            }
            let (ours, theirs) = (traits[side.host], traits[peer.host]);
            // One or two: a window that was told may have been overtaken by an older one. And eight questions that
            // came behind a gap.
            if theirs.max_packets <= ours.reorder_window && side.stats.overflow_packets > 2 + 8 {
                world.fail(&format!("the peer of connection {} overran the window", conn.0));
            }
        }
        outcome.clean += u64::from(!unconfirmed);
        outcome.unconfirmed += u64::from(unconfirmed);
    }
    if let Some((host, handle)) = world.strangers().first() {
        world.fail(&format!("host {} has accepted {handle:?}, whom nobody dialed", host.0));
    }
    outcome
}

/// After a while nothing is left.
fn rest(world: &mut World, hosts: &[HostId]) {
    world.run_for(REST);
    for &host in hosts {
        let endpoint = &world.at(host).endpoint;
        if !endpoint.is_idle() || endpoint.poll_timeout().is_some() {
            let stats = endpoint.stats();
            world.fail(&format!("host {} is not at rest: {stats:#?}", host.0));
        }
    }
}

/// See [`Config::max_packets_proven`].
const MAX_PACKETS: u16 = 30_000;

/// Random choices that were added later.
const LATER_STREAM: u64 = 1 << 40;

/// Attackers, and controllers.
const HOSTILE_STREAM: u64 = 1 << 41;

/// How long links have faults.
pub const FAULTS: Duration = Duration::from_secs(20);

/// After that, enough for anything to end: twice the time-out of a whole connection, and data.
const LIMIT: Duration = Duration::from_secs(400);

/// Longer than half-open connections and ended ones are kept.
const REST: Duration = Duration::from_secs(60);
