//! The delay signal when clocks drift and wrap, and when peers report nonsense: the link is used all the same, and its
//! queue stays bounded. With every controller that may be the default one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use utp_proto::Config;
use utp_proto::congestion::{EbbConfig, LedbatConfig};
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{ConnId, Finish, Link, LinkId, Script, World};

/// Name, configuration and target of queueing delay.
fn controllers() -> [(&'static str, Config, Duration); 2] {
    let mut ledbat = Config::default();
    ledbat.congestion(Arc::new(LedbatConfig::default()));
    let mut ebb = Config::default();
    ebb.congestion(Arc::new(EbbConfig::default()));
    [("LEDBAT", ledbat, ms(100)), ("Ebb", ebb, ms(25))]
}

/// A transfer without end between hosts whose clocks gain so many parts per million.
fn world(config: &Config, link: Link, ppm: (i64, i64)) -> (World, ConnId, LinkId) {
    let mut world = World::new(1);
    let a = world.host_at("10.0.0.1:1".parse().unwrap(), config.clone(), ppm.0);
    let b = world.host_at("10.0.0.2:1".parse().unwrap(), config.clone(), ppm.1);
    let (forth, _) = world.join(a, b, link);
    let script = Script::send(1 << 40).finish(Finish::Never);
    let c = world.dial(a, b, script, Script::send(0).finish(Finish::Never));
    (world, c, forth)
}

/// Part of the link used in the time that comes, and mean and longest queueing delay.
fn run(world: &mut World, c: ConnId, link: LinkId, time: Duration) -> (f64, Duration, Duration) {
    let before = world.acceptor(c).read;
    let rate = world.link_mut(link).rate.expect("a rate");
    world.take_link_stats(link);
    world.run_for(time);
    let waits = world.take_link_stats(link).waits;
    let used = (world.acceptor(c).read - before) as f64 * 8.0 / (rate as f64 * time.as_secs_f64());
    (used, waits.mean(), waits.max())
}

#[test]
fn clocks_that_drift_apart_by_200_ppm_neither_slow_down_nor_fill_the_queue() {
    let mut wrong = Vec::new();
    for (name, config, target) in controllers() {
        for ppm in [(0, 0), (0, 200), (0, -200), (200, -200), (-200, 200)] {
            let link = Link::new(2_000_000, ms(25)).queue(1 << 20);
            let (mut world, c, forth) = world(&config, link, ppm);
            world.without_monitor();
            world.run_for(seconds(30));
            // LEDBAT, of all things, forgets the empty queue in 13 minutes, whatever the clocks do: it never empties
            // it.
            for minutes in [5, 10, 15, 20].into_iter().take(if name == "LEDBAT" { 2 } else { 4 }) {
                let (used, mean, max) = run(&mut world, c, forth, seconds(300));
                // 200 ppm are 12 ms a minute, which LEDBAT cannot tell from a queue that grows as slowly.
                let drift = seconds(60 * minutes) * (ppm.1 - ppm.0).unsigned_abs() as u32 / 1_000_000;
                let asked = target + ms(50) + if name == "LEDBAT" { drift } else { Duration::ZERO };
                let line = format!(
                    "{name}, {ppm:?} ppm, {minutes} min: asked 90 % and {asked:?} on the mean, measured {used:.3}, \
                     {mean:?} (max {max:?})"
                );
                println!("{line}");
                if used < 0.9 || mean > asked {
                    wrong.push(line);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn both_clocks_of_the_wire_wrap_without_being_noticed() {
    for (name, config, target) in controllers() {
        let (mut world, c, forth) = world(&config, Link::new(1_000_000, ms(25)).queue(1 << 20), (0, 0));
        world.without_monitor();
        // 2^32 microseconds are 71.6 minutes. A pause in every three lets the queue run empty.
        for minute in (3..=75).step_by(3) {
            world.rescript(c, false, |script| script.send = 0);
            world.run_for(seconds(10));
            world.rescript(c, false, |script| script.send = 1 << 40);
            let (used, mean, max) = run(&mut world, c, forth, seconds(170));
            assert!(used >= 0.9, "{name}, minute {minute}: asked 90 %, measured {used}");
            // The first burst of ten packets is 120 ms long.
            assert!(
                mean <= target + ms(10),
                "{name}, minute {minute}: asked {:?}, measured {mean:?}",
                target + ms(10)
            );
            assert!(max <= target * 2 + ms(120), "{name}, minute {minute}: {max:?}");
        }
    }
}

#[test]
fn a_path_that_is_never_seen_empty_is_used_all_the_same() {
    // The round trip of the first, smaller packets cannot come back: a full one takes 12 ms at this rate, and comes
    // in pairs.
    for (name, config, _) in controllers() {
        let (mut world, c, forth) = world(&config, Link::new(1_000_000, ms(25)).queue(1 << 20), (0, 0));
        world.rescript(c, false, |script| script.send = 0);
        world.run_for(seconds(10));
        world.rescript(c, false, |script| script.send = 1 << 40);
        let (used, ..) = run(&mut world, c, forth, seconds(60));
        assert!(used >= 0.9, "{name}: asked 90 %, measured {used}");
    }
}

/// What a peer reports instead of the difference that it measured.
type Lie = fn(&mut VecDeque<u32>, u32) -> u32;

#[test]
fn peers_that_report_nonsense_are_served_and_fill_no_queue() {
    let lies: [(&str, Lie); 8] = [
        ("the truth", |_, d| d),
        ("0", |_, _| 0),
        ("0x7fffffff", |_, _| 0x7fff_ffff),
        ("always 1", |_, _| 1),
        ("always a second", |_, _| 1_000_000),
        ("always 0xffffffff", |_, _| u32::MAX),
        ("what was true 100 packets ago", |old, d| {
            old.push_back(d);
            if old.len() > 100 { old.pop_front().unwrap_or(d) } else { old[0] }
        }),
        ("milliseconds", |_, d| d / 1000),
    ];
    let mut wrong = Vec::new();
    for (name, config, target) in controllers() {
        for (lie, report) in lies {
            let link = Link::new(10_000_000, ms(25)).queue(4 << 20);
            let (mut world, c, forth) = world(&config, link, (0, 0));
            let mut old = VecDeque::new();
            world.forge(Box::new(move |from, _, datagram| {
                if from == 1 {
                    let measured = u32::from_be_bytes([datagram[8], datagram[9], datagram[10], datagram[11]]);
                    datagram[8..12].copy_from_slice(&report(&mut old, measured).to_be_bytes());
                }
            }));
            world.run_for(seconds(30));
            let (used, mean, max) = run(&mut world, c, forth, seconds(90));
            // LEDBAT keeps to its target, of what it is told or of what round trips show; Ebb to its share of the queue.
            let asked = if name == "LEDBAT" { target + ms(20) } else { target + ms(10) };
            let line = format!(
                "{name}, {lie}: asked 90 % and {asked:?}, measured {used:.3}, {mean:?} (max {max:?})"
            );
            println!("{line}");
            if used < 0.9 || mean > asked {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
