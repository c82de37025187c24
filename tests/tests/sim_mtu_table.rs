//! Path MTU in figures: how long the search takes on links as they are, what it costs, how a black hole is repaired,
//! and what forged messages can do.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{EbbConfig, LedbatConfig};
use utp_proto::{Config, ConnectionStats, PathError};
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{ConnId, Finish, HostId, Link, Script, World};

const RTT: Duration = ms(50);

/// IPv4 and UDP headers.
const HEADERS: usize = 28;

fn headers(v6: bool) -> usize {
    if v6 { 48 } else { HEADERS }
}

fn controllers() -> [(&'static str, Config); 2] {
    let mut ledbat = Config::default();
    ledbat.congestion(Arc::new(LedbatConfig::default()));
    let mut ebb = Config::default();
    ebb.congestion(Arc::new(EbbConfig::default()));
    [("LEDBAT", ledbat), ("Ebb", ebb)]
}

/// A transfer without end over a link.
fn world(config: &Config, link: Link, ceiling: usize) -> (World, HostId, ConnId) {
    world_of(config, link, ceiling, false)
}

fn world_of(config: &Config, link: Link, ceiling: usize, v6: bool) -> (World, HostId, ConnId) {
    let mut config = config.clone();
    config.max_datagram(ceiling, ceiling).unwrap();
    let mut world = World::new(1);
    let [a, b] = [0, 1].map(|n| {
        let addr = if v6 { format!("[fd00::{n}]:6881") } else { format!("10.0.0.{n}:6881") };
        world.host_at(addr.parse().unwrap(), config.clone(), 0)
    });
    for host in [a, b] {
        world.max_datagram(host, ceiling);
    }
    world.join(a, b, link);
    let script = Script::send(1 << 40).finish(Finish::Never);
    let c = world.dial(a, b, script, Script::send(0).finish(Finish::Never));
    (world, a, c)
}

fn link() -> Link {
    Link::new(50_000_000, RTT / 2).queue(32 << 20)
}

/// The counters as they are now.
fn stats(world: &mut World, c: ConnId) -> ConnectionStats {
    world.rescript(c, false, |_| ());
    world.dialer(c).stats
}

/// A path to be searched.
#[derive(Debug, Clone, Copy)]
struct Path {
    mtu: usize,
    /// Of the devices at its ends.
    device: usize,
    v6: bool,
    rtt: Duration,
}

/// Searches a path, and checks that no probe costs anything else. Gives when sizes were found, in round trips.
fn search(name: &str, config: &Config, path: Path) -> Vec<(f64, u64)> {
    let Path { mtu, device, v6, rtt } = path;
    let headers = headers(v6);
    let link = Link::new(50_000_000, rtt / 2).queue(32 << 20).mtu(mtu - headers);
    let (mut world, _, c) = world_of(config, link, device - headers, v6);
    while world.dialer(c).connected.is_none() {
        world.run_for(ms(1));
    }
    let start = world.now();
    let (mut steps, mut window, mut filled) = (Vec::new(), 0, false);
    while world.now() < start + 20 * rtt {
        world.run_for(rtt / 50);
        let stats = stats(&mut world, c);
        if steps.last().is_none_or(|(_, size)| *size != stats.mtu) {
            let rtts = (world.now() - start).as_secs_f64() / rtt.as_secs_f64();
            steps.push(((rtts * 10.0).round() / 10.0, stats.mtu));
        }
        // Until the window itself fills a queue.
        filled |= stats.rtt > rtt + rtt / 20 || !stats.queueing_delay.is_zero();
        if !filled {
            assert!(stats.cwnd >= window, "{name}, {path:?}: {window} shrank to {}", stats.cwnd);
            window = stats.cwnd;
        }
    }
    let stats = stats(&mut world, c);
    assert_eq!(
        (stats.packets_lost, stats.congestion_events, stats.timeouts),
        (0, 0, 0),
        "{name}, {path:?}: {stats:?}"
    );
    let (rtts, size) = *steps.last().expect("one");
    let (size, payload) = (size as usize, mtu - headers);
    assert!(size <= payload && payload - size < 16.max(payload / 96), "{name}, {path:?}: {steps:?}");
    assert!(rtts <= 10.0, "{name}, {path:?}: asked 10 round trips, measured {rtts}: {steps:?}");
    println!("{name}, {path:?}: {} of {} lost, {steps:?}", stats.mtu_probes_lost, stats.mtu_probes_sent);
    steps
}

#[test]
fn mtus_of_links_are_found_within_ten_round_trips_and_cost_no_window() {
    for (name, config) in controllers() {
        for (mtu, device) in [576, 1280, 1400, 1464, 1492, 1500]
            .map(|mtu| (mtu, 1500))
            .into_iter()
            .chain([576, 1280, 1400, 1464, 1492, 1500, 4000, 9000].map(|mtu| (mtu, 9000)))
        {
            let found = search(name, &config, Path { mtu, device, v6: false, rtt: RTT });
            let payload = (mtu - HEADERS) as u64;
            assert!(
                mtu == 4000 || found.last().is_some_and(|(_, size)| *size == payload),
                "{mtu}: {found:?}"
            );
        }
    }
}

#[test]
fn any_mtu_is_found_within_ten_round_trips_and_costs_no_window() {
    // Of links, next to those, and others.
    const SMALL: [usize; 11] = [576, 580, 600, 650, 700, 800, 900, 1000, 1128, 1200, 1259];
    const ETHERNET: [usize; 11] = [1280, 1290, 1320, 1350, 1377, 1390, 1420, 1450, 1480, 1499, 1500];
    const LARGE: [usize; 20] = [
        1501, 1542, 1590, 1700, 1800, 2000, 2156, 2500, 3000, 4000, 4352, 5000, 6000, 6500, 7000, 8000, 8215,
        8300, 8900, 8990,
    ];
    let with = |device| move |mtu| (mtu, device);
    let both = SMALL.into_iter().chain(ETHERNET);
    let paths = both.clone().map(with(1500)).chain(both.chain(LARGE).map(with(9000)));
    for (name, config) in controllers() {
        for rtt in [5, 50, 200].map(ms) {
            for v6 in [false, true] {
                let mut worst = (0.0, 0);
                for (mtu, device) in paths.clone().filter(|(mtu, _)| !v6 || *mtu >= 1280) {
                    let found = search(name, &config, Path { mtu, device, v6, rtt });
                    let (rtts, _) = *found.last().expect("one");
                    worst = if rtts > worst.0 { (rtts, mtu) } else { worst };
                }
                println!("{name}, {rtt:?}, IPv{}: at worst {worst:?}", if v6 { 6 } else { 4 });
            }
        }
    }
}

#[test]
fn a_black_hole_that_opens_after_a_minute_is_repaired() {
    for (name, config) in controllers() {
        for (mtu, v6, limit) in
            [(1400, false, 3), (1280, false, 3), (576, false, 5), (1400, true, 3), (1280, true, 3)]
        {
            let headers = headers(v6);
            let link = link().mtu_from(seconds(60), mtu - headers);
            let (mut world, _, c) = world_of(&config, link, 1500 - headers, v6);
            world.run_for(seconds(60));
            let before = world.acceptor(c).read;
            assert_eq!(stats(&mut world, c).mtu as usize, 1500 - headers);
            // What left before arrives in the first 25 ms; what comes a second later does by being repaired.
            world.run_for(ms(500));
            let stood = world.acceptor(c).read;
            assert!(stood - before < 1_500_000);
            world.run_while(seconds(60), |world| world.acceptor(c).read < stood + 5_000_000);
            let took = world.now() - seconds(60);
            let stats = stats(&mut world, c);
            println!(
                "{name}, {mtu}, IPv{}: 5 MB more {took:?} later, size {}, {} time-outs",
                if v6 { 6 } else { 4 },
                stats.mtu,
                stats.timeouts
            );
            assert!(stats.mtu as usize <= mtu - headers, "{name}, {mtu}: {stats:?}");
            assert!(took < seconds(limit), "{name}, {mtu}: asked {limit} s, measured {took:?}; {stats:?}");
        }
    }
}

/// What is to be fragmented is padded to more than the device is thought to take. If it takes that whole, the path does not.
#[test]
fn an_outage_on_ipv6_is_survived_where_devices_take_more_than_assumed() {
    for (name, config) in controllers() {
        let link = link().mtu(1452).blackout(seconds(5), seconds(4), None);
        let (mut world, a, c) = world_of(&config, link, 1452, true);
        world.max_datagram(a, 8952);
        world.run_for(seconds(9));
        let stood = world.acceptor(c).read;
        world.run_while(seconds(40), |world| world.acceptor(c).read < stood + 5_000_000);
        let took = world.now() - seconds(9);
        println!("{name}: 5 MB more {took:?} after the outage");
        assert!(took < seconds(15), "{name}: {took:?}; {:?}", stats(&mut world, c));
    }
}

#[test]
fn forged_messages_that_something_is_too_big_have_no_effect() {
    for (name, config) in controllers() {
        for forged in [None, Some(0), Some(68), Some(548), Some(1_240), Some(1_471), Some(usize::MAX)] {
            let (mut world, a, c) = world(&config, link(), 1472);
            let peer = "10.0.0.1:6881".parse().unwrap();
            while world.now() < seconds(5) {
                world.run_for(ms(5));
                world.path_error(a, peer, PathError::TooBig(forged));
            }
            let stats = stats(&mut world, c);
            assert_eq!(
                (stats.mtu, stats.mtu_probes_sent, stats.mtu_probes_lost),
                (1472, 1, 0),
                "{name}, {forged:?}"
            );
            assert_eq!(
                (stats.retransmits, stats.packets_lost, stats.timeouts),
                (0, 0, 0),
                "{name}, {forged:?}"
            );
        }
    }
}

#[test]
fn a_forged_message_about_a_probe_that_is_lost_costs_that_probe() {
    let (_, config) = controllers().into_iter().next().expect("one");
    for forged in [None, Some(0), Some(548)] {
        let (mut world, a, c) = world(&config, link(), 1472);
        let mut lost = false;
        world.drop_if(Box::new(move |from, _, _, datagram| {
            let hit = from == 0 && datagram.len() == 1472 && !lost;
            lost |= hit;
            hit
        }));
        let peer = "10.0.0.1:6881".parse().unwrap();
        while world.now() < seconds(5) {
            world.run_for(ms(5));
            world.path_error(a, peer, PathError::TooBig(forged));
        }
        // The second try succeeds, whatever was said of the first.
        let stats = stats(&mut world, c);
        assert_eq!((stats.mtu, stats.mtu_probes_lost), (1472, 1), "{forged:?}: {stats:?}");
        assert_eq!((stats.packets_lost, stats.timeouts), (0, 0), "{forged:?}");
    }
}

/// The path does not take the largest packets, so some probes are lost, and for each of them somebody says that much
/// smaller ones are the most that passes. It does not end the search there.
#[test]
fn forged_messages_about_probes_that_are_too_large_do_not_end_the_search() {
    for (name, config) in controllers() {
        for (mtu, forged) in [(1464, 1300), (1464, 1240), (1464, 1448), (1400, 1300), (1300, 1299)] {
            let (mut world, a, c) = world(&config, link().mtu(mtu), 1472);
            let peer = "10.0.0.1:6881".parse().unwrap();
            while world.now() < seconds(5) {
                world.run_for(ms(1));
                world.path_error(a, peer, PathError::TooBig(Some(forged)));
            }
            let stats = stats(&mut world, c);
            println!("{name}: {} of {mtu}, said to be {forged}", stats.mtu);
            assert!(
                (mtu as u64 - 15..=mtu as u64).contains(&stats.mtu),
                "{name}, {mtu}, {forged}: {stats:?}"
            );
            assert_eq!((stats.packets_lost, stats.timeouts), (0, 0), "{name}, {mtu}, {forged}");
        }
    }
}
