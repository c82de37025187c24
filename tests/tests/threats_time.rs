//! Clocks that wrap, drift, jump and stand still, for hours (S16 of SECURITY.md), and news of the path that nobody should
//! believe (S17).

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{ControllerFactory, EbbConfig, LedbatConfig};
use utp_proto::{Config, PathError};
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{ConnId, Finish, HostId, Link, Script, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn pair(
    seed: u64,
    controller: Arc<dyn ControllerFactory>,
    ppm: [i64; 2],
    link: Link,
) -> (World, [HostId; 2]) {
    let mut world = World::new(seed);
    world.without_monitor();
    let mut config = Config::default();
    config.congestion(controller);
    let addr = |n: u8| std::net::SocketAddr::from(([10, 9, 0, n], 6881));
    let hosts = [0, 1].map(|n| world.host_at(addr(n as u8), config.clone(), ppm[n]));
    world.join(hosts[0], hosts[1], link);
    (world, hosts)
}

/// A day on which nobody says anything: the connection lives, holds nothing, and goes on as if nothing had been.
#[test]
fn a_day_of_silence_ends_nothing_and_costs_nothing() {
    let (mut world, hosts) =
        pair(24, Arc::new(EbbConfig::default()), [100, -100], Link::new(10_000_000, ms(20)));
    let script = |bytes| Script::send(bytes).finish(Finish::Never);
    let conn = world.dial(hosts[0], hosts[1], script(1_000_000), script(0));
    let held = |world: &mut World| {
        hosts.map(|host| world.at(host).endpoint.stats()).map(|s| (s.memory, s.connections))
    };
    world.run_for(seconds(60));
    assert_eq!((world.acceptor(conn).read, held(&mut world)), (1_000_000, [(0, 1); 2]));
    let sent = world.dialer(conn).stats.packets_sent;
    world.run_for(24 * HOUR);
    assert_eq!(world.dialer(conn).stats.packets_sent, sent, "keep-alives were not asked for");
    assert_eq!(held(&mut world), [(0, 1); 2]);
    world.rescript(conn, false, |script| script.send = 2_000_000);
    world.run_for(seconds(20));
    assert_eq!((world.acceptor(conn).read, held(&mut world)), (2_000_000, [(0, 1); 2]));
    let stats = world.dialer(conn).stats;
    assert_eq!((stats.timeouts, stats.retransmits), (0, 0), "{stats:?}");
    assert!(world.all_sides().all(|side| side.closed.is_none()));
}

/// Three hours of a steady stream in both directions, two wraps of the 32-bit clock of microseconds and many of the
/// 16-bit numbers: nothing that happens then is different from what happens at other times.
#[test]
fn hours_pass_and_nothing_is_lost_late_or_repeated() {
    let controllers: [Arc<dyn ControllerFactory>; 2] =
        [Arc::new(LedbatConfig::default()), Arc::new(EbbConfig::default())];
    for (controller, ppm) in controllers.into_iter().zip([[0, 0], [200, -300]]) {
        let (mut world, hosts) = pair(16, controller, ppm, Link::new(4_000_000, ms(30)));
        let size = 3 * 3_600 * 40_000;
        let script = Script::send(size).send_rate(40_000).chunk(400);
        let conn = world.dial(hosts[0], hosts[1], script, script);
        let mut worst = Duration::ZERO;
        for _ in 0..3 * 12 {
            world.run_for(HOUR / 12);
            for side in [world.dialer(conn), world.acceptor(conn)] {
                worst = worst.max(side.stats.rtt);
            }
        }
        world.run_to_the_end(seconds(600));
        for side in [world.dialer(conn), world.acceptor(conn)] {
            assert!(side.is_clean() && side.read == size);
            let s = side.stats;
            let wraps = s.data_packets_sent / 65_536;
            println!(
                "{} packets, {wraps} wraps of the number, longest round trip {worst:?}",
                s.data_packets_sent
            );
            assert!(wraps >= 2 && s.timeouts == 0 && s.packets_lost == 0 && s.retransmits == 0, "{s:?}");
            assert!(worst < ms(75), "{worst:?}");
        }
    }
}

/// A transfer of two minutes at the rate of the link, and something that happens to the receiver's or the sender's clock
/// once a quarter of it is over.
fn disturbed(
    at: usize,
    controller: &Arc<dyn ControllerFactory>,
    what: impl Fn(&mut World, HostId),
) -> Duration {
    let (mut world, hosts) = pair(17, Arc::clone(controller), [0, 0], Link::new(8_000_000, ms(20)));
    let conn = world.dial(hosts[0], hosts[1], Script::send(120_000_000), Script::receive());
    world.run_for(seconds(30));
    what(&mut world, hosts[at]);
    world.run_to_the_end(seconds(900));
    assert!(world.all_sides().all(|side| side.is_clean()));
    assert_eq!(world.acceptor(conn).read, 120_000_000);
    world.now()
}

#[test]
fn clocks_jump_and_hosts_sleep_and_transfers_go_on() {
    type What = fn(&mut World, HostId);
    let events: [(&str, What); 6] = [
        ("nothing", |_, _| {}),
        ("a jump of 20 s", |w, h| w.step_clock(h, seconds(20), false)),
        ("a jump of 20 s back", |w, h| w.step_clock(h, seconds(20), true)),
        ("half the range of the wire clock", |w, h| {
            // In steps that no time-out minds: as if it ran very fast for a while.
            for _ in 0..72 {
                w.step_clock(h, seconds(30), false);
                w.run_for(ms(100));
            }
        }),
        ("20 s of sleep", |w, h| {
            w.suspend(h, true);
            w.run_for(seconds(20));
            w.suspend(h, false);
        }),
        ("many small jumps to and fro", |w, h| {
            for n in 0..200 {
                w.step_clock(h, ms(80), n % 2 == 1);
                w.run_for(ms(100));
            }
        }),
    ];
    let controllers: [(&str, Arc<dyn ControllerFactory>); 2] =
        [("LEDBAT", Arc::new(LedbatConfig::default())), ("Ebb", Arc::new(EbbConfig::default()))];
    for (name, controller) in &controllers {
        for (event, what) in events {
            for (at, end) in ["sender", "receiver"].into_iter().enumerate() {
                let took = disturbed(at, controller, what);
                println!("{name}, {event} at the {end}: {took:.1?}");
                // 125 s at the rate of the link; what it takes longer is the sleep, or what LEDBAT loses while jumps
                // look like delay, which its base forgets after 13 minutes at most.
                assert!(
                    took < seconds(if event == "nothing" { 135 } else { 400 }),
                    "{name} {event} {end}: {took:?}"
                );
            }
        }
    }
}

/// A laptop that sleeps for a night: both ends give up, nothing is left, and the next connection works.
#[test]
fn a_long_sleep_ends_connections_and_nothing_else() {
    for jumps in [false, true] {
        let (mut world, hosts) =
            pair(18, Arc::new(LedbatConfig::default()), [0, 0], Link::new(8_000_000, ms(20)));
        let conns: Vec<ConnId> = (0..4)
            .map(|_| world.dial(hosts[0], hosts[1], Script::send(50_000_000), Script::receive()))
            .collect();
        world.run_for(seconds(10));
        world.suspend(hosts[0], true);
        world.run_for(8 * HOUR);
        world.suspend(hosts[0], false);
        if jumps {
            world.step_clock(hosts[0], 8 * HOUR, false);
        }
        world.run_for(seconds(300));
        // The receiver had nothing on its way, and no idle time-out: it does not know yet. The sender knows.
        assert!(conns.iter().all(|conn| world.dialer(*conn).closed.is_some()), "{jumps}");
        let conn = world.dial(hosts[0], hosts[1], Script::send(1_000_000), Script::receive());
        world.run_while(seconds(60), |world| world.dialer(conn).closed.is_none());
        assert!(world.dialer(conn).is_clean() && world.acceptor(conn).read == 1_000_000);
    }
}

/// S17: forged "too big" messages of every size, all the time: packets do not get smaller, and the transfer takes no
/// longer than it would.
#[test]
fn forged_news_of_the_path_make_no_packet_smaller() {
    let run = |forged: bool| {
        let link = Link::new(20_000_000, ms(20));
        let (mut world, hosts) = pair(19, Arc::new(LedbatConfig::default()), [0, 0], link);
        let conn = world.dial(hosts[0], hosts[1], Script::send(10_000_000), Script::receive());
        let remote = world.addr(hosts[1]);
        let (mut n, mut least) = (0, u64::MAX);
        while world.dialer(conn).closed.is_none() {
            world.run_for(ms(1));
            if world.now() > ms(500) && world.dialer(conn).closed.is_none() {
                least = least.min(world.dialer(conn).stats.mtu);
            }
            if forged {
                let now = std::time::Instant::now(); // earlier than any time of the world that counts
                let error = PathError::TooBig((n % 9 != 0).then_some(n * 37 % 1_600));
                world.at(hosts[0]).endpoint.handle_path_error(now, remote, error);
                if world.dialer(conn).connected.is_some() {
                    world.at(hosts[0]).endpoint.handle_path_error(now, remote, PathError::Unreachable);
                }
                n += 1;
            }
        }
        assert!(world.dialer(conn).is_clean());
        (world.now(), least, world.dialer(conn).stats.retransmits)
    };
    let (honest, forged) = (run(false), run(true));
    println!("time, smallest packet size and resends: {honest:?}, with forged news {forged:?}");
    assert!(forged.1 >= 1_232, "what the connection began with");
    assert!(forged.0 < honest.0 + honest.0 / 5, "{forged:?} {honest:?}");
}
