//! Receivers that lie, about what they have got or about how long it took, to be sent more than their share (S1, S2,
//! S3 of SECURITY.md). The liar is a host whose acknowledgements are changed on their way out, and the change knows
//! all that the sender has sent: no real one could do better.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{ControllerFactory, CubicConfig, EbbConfig, LedbatConfig, LedbatPpConfig};
use utp_proto::{CloseReason, Config};
use utp_tests::puppet::{Kind, Raw, mask};
use utp_tests::sim::{Link, Random, Script, World};

/// What a receiver says instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// Acknowledges all that has been sent, the moment it says anything.
    Everything,
    /// Acknowledges so many packets more than it has.
    Ahead(u16),
    /// Acknowledges up to the last packet that came, as if none before it had been lost.
    NoLoss,
    /// Reports everything behind the first gap as received.
    FullMask,
    /// One acknowledgement of ten goes out.
    Seldom,
    /// The delay it reports is always this.
    Constant(u32),
    /// It falls by so many nanoseconds per microsecond, faster than a queue grows.
    Falling(u64),
    /// It falls for a second and jumps back.
    Saw,
    /// Any value.
    Random,
    /// Any value of this many microseconds above the true one.
    Noise(u64),
    /// One single time so many microseconds too little: what is measured from then on seems to be queueing.
    Once(u32),
}

/// What a lie has brought.
#[derive(Debug)]
struct Outcome {
    /// Bytes that the sender has sent into the path, and those that an honest flow beside it has.
    sent: u64,
    other: u64,
    /// Queueing at the bottleneck, in milliseconds.
    mean: f64,
    p95: f64,
    /// When the connection ended, and why.
    closed: Option<(Duration, CloseReason)>,
}

const RATE: u64 = 20_000_000;
const DELAY: Duration = Duration::from_millis(20);
const RTT: Duration = Duration::from_millis(40);

/// A long transfer to somebody who lies from `from` on; `beside`: an honest one shares the bottleneck, as well
/// established by then.
fn run(
    controller: &Arc<dyn ControllerFactory>,
    lie: Lie,
    from: Duration,
    beside: bool,
    secs: u64,
) -> Outcome {
    let mut world = World::new(11);
    let mut config = Config::default();
    config.congestion(Arc::clone(controller)).receive_buffer(4 << 20).expect("a size");
    config.send_buffer(4 << 20).expect("a size").max_packets_in_flight(2_000).expect("a limit");
    // What the liar's host does not get it goes on acknowledging all the same.
    config.reorder_window(16_384).expect("a window");
    let hosts = [(); 4].map(|()| world.host(config.clone()));
    let bottleneck = world.link(Link::new(RATE, DELAY).queue(RATE as usize / 8 / 4));
    let access = world.link(Link::wire(Duration::ZERO));
    for (sender, receiver) in [(0, 1), (2, 3)] {
        let own = world.link(Link::wire(Duration::ZERO));
        world.route(hosts[sender], hosts[receiver], &[own, bottleneck]);
        let back = world.link(Link::wire(DELAY));
        world.route(hosts[receiver], hosts[sender], &[back, access]);
    }
    world.forge(Box::new(forger(lie, from)));
    let size = RATE / 8 * secs * 4;
    let conn = world.dial(hosts[0], hosts[1], Script::send(size), Script::receive());
    let other = beside.then(|| world.dial(hosts[2], hosts[3], Script::send(size), Script::receive()));
    world.run_for(Duration::from_secs(secs));
    let waits = &world.link_stats(bottleneck).waits;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let sent = |conn| world.dialer(conn).stats.wire_bytes_sent;
    Outcome {
        sent: sent(conn),
        other: other.map_or(0, sent),
        mean: millis(waits.mean()),
        p95: millis(waits.quantile(0.95)),
        closed: world.dialer(conn).closed,
    }
}

/// Changes what host 1 sends to host 0.
fn forger(lie: Lie, from: Duration) -> impl FnMut(usize, usize, &mut Vec<u8>) {
    let mut highest = None;
    let mut rng = Random::new(12, 1);
    let mut count = 0u32;
    let mut start = None;
    move |sender, receiver, datagram| {
        let Some(mut raw) = Raw::decode(datagram) else { return };
        if (sender, receiver) == (0, 1) && raw.kind == Kind::Data {
            let newer = highest.is_none_or(|known: u16| raw.seq.wrapping_sub(known) < 0x8000);
            highest = if newer { Some(raw.seq) } else { highest };
        }
        let (1, 0, Kind::State, Some(highest)) = (sender, receiver, raw.kind, highest) else { return };
        let first = *start.get_or_insert(raw.timestamp);
        let now = Duration::from_micros(raw.timestamp.wrapping_sub(first).into());
        if now < from {
            return;
        }
        count += 1;
        if matches!(lie, Lie::Once(_)) && count > 1 {
            return;
        }
        tell(lie, &mut raw, highest, now, &mut rng);
        *datagram = raw.encode();
        if lie == Lie::Seldom && !count.is_multiple_of(10) {
            datagram[0] = 0x20; // nothing that anybody understands
        }
    }
}

fn tell(lie: Lie, raw: &mut Raw, highest: u16, now: Duration, rng: &mut Random) {
    let under_way = highest.wrapping_sub(raw.ack);
    let micros = now.as_micros() as u64;
    match lie {
        Lie::None | Lie::Seldom => {}
        Lie::Everything => {
            (raw.ack, raw.window) = (highest, 4 << 20);
            raw.extensions.clear();
        }
        Lie::Ahead(by) => {
            raw.ack = raw.ack.wrapping_add(by.min(under_way));
            raw.window = 4 << 20;
            raw.extensions.clear();
        }
        Lie::NoLoss => {
            if let Some(last) = raw.sacked().last() {
                (raw.ack, raw.window) = (*last, 4 << 20);
            }
            raw.extensions.clear();
        }
        Lie::FullMask => {
            let all: Vec<u16> = (2..=under_way).map(|n| raw.ack.wrapping_add(n)).collect();
            if raw.mask().is_some() {
                raw.extensions = vec![(1, mask(raw.ack, &all, 128))];
                raw.window = 4 << 20;
            }
        }
        Lie::Constant(delay) => raw.difference = delay,
        Lie::Falling(by) => raw.difference = raw.difference.wrapping_sub((micros * by / 1_000) as u32),
        Lie::Saw => raw.difference = raw.difference.wrapping_sub((micros % 1_000_000 / 5) as u32),
        Lie::Random => raw.difference = rng.bits() as u32,
        Lie::Once(by) => raw.difference = raw.difference.wrapping_sub(by),
        Lie::Noise(most) => raw.difference = raw.difference.wrapping_add(rng.range(0..=most) as u32),
    }
}

fn controllers() -> Vec<(&'static str, Arc<dyn ControllerFactory>)> {
    vec![
        ("LEDBAT", Arc::new(LedbatConfig::default())),
        ("LEDBAT++", Arc::new(LedbatPpConfig::default())),
        ("Ebb", Arc::new(EbbConfig::default())),
        ("CUBIC", Arc::new(CubicConfig::default())),
    ]
}

/// S1: a receiver that lies about what it has got from the start on, alone on the path. Found out within ten round
/// trips and before it was sent half a megabyte; the queue is never longer than an honest receiver's.
#[test]
fn whoever_acknowledges_what_he_has_not_got_is_found_out_within_ten_round_trips() {
    for (name, controller) in controllers() {
        let honest = run(&controller, Lie::None, Duration::ZERO, false, 10);
        assert!(honest.closed.is_none() && honest.sent > 10 * RATE / 8 * 8 / 10, "{name}: {honest:?}");
        for lie in [Lie::Everything, Lie::Ahead(20), Lie::NoLoss, Lie::FullMask] {
            let liar = run(&controller, lie, Duration::ZERO, false, 10);
            println!(
                "{name}, {lie:?}: {:?} after {} bytes, queue {:.1} ms",
                liar.closed, liar.sent, liar.p95
            );
            let Some((at, CloseReason::Violation)) = liar.closed else { panic!("{name} {lie:?}: {liar:?}") };
            // LEDBAT++ opens its window so slowly to a liar that it takes seconds until there is anything to test.
            let limit = if name == "LEDBAT++" { Duration::from_secs(10) } else { 10 * RTT };
            assert!(at <= limit && liar.p95 <= 1.2 * honest.p95.max(25.0), "{name} {lie:?}: {liar:?}");
            assert!(liar.sent <= honest.sent / 10 || name == "LEDBAT++", "{name} {lie:?}: {liar:?}");
            assert!(liar.sent * 10 <= honest.sent * 11);
        }
    }
}

/// S1: the same by a receiver that was honest for five seconds, beside one that stays so. What it gains until it is
/// found out is little; most are, within seconds.
#[test]
fn whoever_begins_to_lie_later_gains_less_than_a_tenth() {
    for (name, controller) in controllers().into_iter().filter(|(name, _)| *name != "LEDBAT++") {
        let from = Duration::from_secs(5);
        let honest = run(&controller, Lie::None, from, true, 20);
        for lie in [Lie::Everything, Lie::Ahead(20), Lie::NoLoss, Lie::FullMask] {
            let liar = run(&controller, lie, from, true, 20);
            println!("{name}, {lie:?}: {:?}, {} bytes, queue {:.1} ms", liar.closed, liar.sent, liar.p95);
            let found_out = matches!(liar.closed, Some((_, CloseReason::Violation)));
            assert!(found_out || liar.sent <= honest.sent, "{name} {lie:?}: {liar:?}");
            expect_no_gain(name, lie, &liar, &honest);
        }
    }
}

/// A tenth more than an honest receiver in its place, or than its half of the path, and a fifth more queue, at most.
fn expect_no_gain(name: &str, lie: Lie, liar: &Outcome, honest: &Outcome) {
    let share = honest.sent.max((honest.sent + honest.other) / 2);
    assert!(liar.sent * 10 <= share * 11, "{name} {lie:?}: {liar:?}, honest {honest:?}");
    assert!(liar.mean <= 1.2 * honest.mean + 1.0, "{name} {lie:?}: {liar:?}, honest {honest:?}");
    assert!(liar.p95 <= 1.2 * honest.p95 + 1.0, "{name} {lie:?}: {liar:?}, honest {honest:?}");
}

/// S2: delays that are reported too low, in every manner, with the path for oneself and shared; and acknowledgements
/// that seldom come.
#[test]
fn whoever_reports_false_delays_gains_less_than_a_tenth() {
    for (name, controller) in controllers().into_iter().filter(|(name, _)| *name != "CUBIC") {
        for beside in [false, true] {
            let honest = run(&controller, Lie::None, Duration::ZERO, beside, 30);
            for lie in [
                Lie::Constant(1),
                Lie::Constant(u32::MAX - 7),
                Lie::Falling(10),
                Lie::Falling(100),
                Lie::Saw,
                Lie::Random,
                Lie::Noise(100_000),
                Lie::Seldom,
            ] {
                let from = Duration::from_secs(u64::from(lie == Lie::Seldom));
                let liar = run(&controller, lie, from, beside, 30);
                println!(
                    "{name}, {lie:?}, beside {beside}: {} bytes, honest {}, queue {:.1} ({:.1}) ms, honest {:.1} ({:.1}) ms",
                    liar.sent, honest.sent, liar.p95, liar.mean, honest.p95, honest.mean
                );
                expect_no_gain(name, lie, &liar, &honest);
            }
        }
    }
}

/// S3: one forged sample says that the empty path is 300 ms shorter than it is. LEDBAT believes it for as long as its
/// base lasts, 13 minutes, and is back after that; the others do not even notice.
#[test]
fn one_forged_minimum_costs_nothing_once_the_base_is_forgotten() {
    for (name, controller) in controllers() {
        let mut world = World::new(13);
        world.without_monitor();
        let mut config = Config::default();
        config.congestion(controller);
        let hosts = [(); 2].map(|()| world.host(config.clone()));
        let (forth, _) = world.join(hosts[0], hosts[1], Link::new(4_000_000, Duration::from_millis(100)));
        world.forge(Box::new(forger(Lie::Once(300_000), Duration::from_secs(20))));
        let conn = world.dial(hosts[0], hosts[1], Script::send(4_000_000 / 8 * 2_000), Script::receive());
        let mut rates = Vec::new();
        for secs in [20, 60, 780, 40] {
            world.run_for(Duration::from_secs(secs));
            rates.push(world.take_link_stats(forth).bytes as f64 * 8.0 / secs as f64 / 4e6);
        }
        println!(
            "{name}: part of the link before, a minute after, until the base is forgotten, afterwards {rates:.2?}"
        );
        assert!(world.dialer(conn).closed.is_none());
        assert!(rates[3] >= 0.9, "{name}: {rates:?}");
        assert!(rates[1] >= 0.9 || name == "LEDBAT", "{name}: {rates:?}");
    }
}
