//! How fast losses are repaired, in figures: each test says what is asked and shows what was measured, with every
//! controller that may be the default one. What the network does is decided by tests, not by chance, where a
//! figure is of one loss.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use utp_proto::Config;
use utp_proto::congestion::{EbbConfig, LedbatConfig};
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{ConnId, Finish, Link, LinkId, Script, World};

/// The controllers that the figures are asked of.
fn controllers() -> [(&'static str, Config); 2] {
    let mut ledbat = Config::default();
    ledbat.congestion(Arc::new(LedbatConfig::default()));
    let mut ebb = Config::default();
    ebb.congestion(Arc::new(EbbConfig::default()));
    [("LEDBAT", ledbat), ("Ebb", ebb)]
}

/// A world of two hosts on `link`, and a connection over which `bytes` have to go.
fn world(config: &Config, link: Link, bytes: u64) -> (World, ConnId, LinkId) {
    let mut world = World::new(1);
    let (a, b) = (world.host(config.clone()), world.host(config.clone()));
    let (forth, _) = world.join(a, b, link);
    let script = Script::send(bytes).finish(Finish::Never);
    let c = world.dial(a, b, script, Script::send(0).finish(Finish::Never));
    (world, c, forth)
}

/// Runs until the acceptor has read `bytes` in all; gives how long that took.
fn until_read(world: &mut World, c: ConnId, bytes: u64, limit: Duration) -> Duration {
    let start = world.now();
    world.run_while(limit, |world| world.accepted(c).is_none_or(|side| side.read < bytes));
    assert!(world.acceptor(c).read >= bytes, "{} of {bytes} after {limit:?}", world.acceptor(c).read);
    world.now() - start
}

/// Bytes read in the time that comes, as a part of what the link carries.
fn share(world: &mut World, c: ConnId, rate: u64, time: Duration) -> f64 {
    let before = world.acceptor(c).read;
    world.run_for(time);
    (world.acceptor(c).read - before) as f64 * 8.0 / (rate as f64 * time.as_secs_f64())
}

/// Sequence number of a DATA packet.
fn data_number(datagram: &[u8]) -> Option<u16> {
    (datagram[0] >> 4 == 0).then(|| u16::from_be_bytes([datagram[16], datagram[17]]))
}

/// From the third DATA with new numbers on after `armed` is set, the first `times` transmissions of that one are
/// lost. Counts how many were.
fn lose(world: &mut World, nth: u64, times: u64) -> (Rc<Cell<bool>>, Rc<Cell<u64>>) {
    let (armed, lost) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let (arm, count) = (Rc::clone(&armed), Rc::clone(&lost));
    let (mut highest, mut fresh, mut victim) = (None::<u16>, 0, None);
    world.drop_if(Box::new(move |from, _, _, datagram| {
        let Some(number) = data_number(datagram).filter(|_| from == 0) else { return false };
        if highest.is_none_or(|high| (1..0x8000).contains(&number.wrapping_sub(high))) {
            highest = Some(number);
            fresh += u64::from(arm.get());
            if fresh == nth && victim.is_none() {
                victim = Some(number);
            }
        }
        let hit = victim == Some(number) && count.get() < times;
        count.set(count.get() + u64::from(hit));
        hit
    }));
    (armed, lost)
}

#[test]
fn a_single_tail_loss_is_repaired_within_two_round_trips_and_50_ms() {
    for (name, config) in controllers() {
        for rtt in [2, 10, 50, 100, 200, 400] {
            for packets in [1, 2, 3, 5, 10] {
                let link = Link::new(100_000_000, ms(rtt) / 2).queue(1 << 20);
                let (mut world, c, _) = world(&config, link, 300_000);
                let (armed, lost) = lose(&mut world, packets, 1);
                until_read(&mut world, c, 300_000, seconds(30));
                world.run_for(seconds(1));
                armed.set(true);
                let all = 300_000 + packets * 1_452;
                world.rescript(c, false, |script| script.send = all);
                world.run_while(seconds(10), |_| lost.get() == 0);
                let srtt = world.dialer(c).stats.rtt;
                let took = until_read(&mut world, c, all, seconds(30));
                let asked = 2 * srtt + ms(50);
                println!("{name}, {rtt} ms, {packets} packets: {took:?} of {asked:?}");
                assert_eq!(lost.get(), 1);
                assert!(
                    took <= asked,
                    "{name}, {rtt} ms, {packets} packets: asked {asked:?}, measured {took:?}"
                );
                world.run_for(seconds(1));
                let stats = world.dialer(c).stats;
                assert_eq!(
                    (stats.timeouts, stats.spurious_retransmits),
                    (0, 0),
                    "{name}, {rtt} ms: {stats:?}"
                );
            }
        }
    }
}

#[test]
fn a_retransmission_lost_again_is_repaired_within_three_round_trips_and_without_a_time_out() {
    for (name, config) in controllers() {
        for rtt in [10, 50, 200] {
            let link = Link::new(20_000_000, ms(rtt) / 2).queue(256 << 10);
            let (mut world, c, _) = world(&config, link, 1 << 40);
            let (armed, lost) = lose(&mut world, 1, 2);
            world.run_for(seconds(10));
            let before = world.dialer(c).stats;
            armed.set(true);
            world.run_while(seconds(10), |_| lost.get() == 0);
            let (start, srtt) = (world.now(), world.dialer(c).stats.rtt);
            // The application stands at the gap when the packet is lost again, and gets on when that is filled.
            world.run_while(seconds(10), |_| lost.get() < 2);
            let stood = world.acceptor(c).read;
            world.run_while(seconds(10), |world| world.acceptor(c).read == stood);
            let took = world.now() - start;
            let stats = world.dialer(c).stats;
            println!(
                "{name}, {rtt} ms: {took:?} of {:?}, {} round trips",
                3 * srtt,
                took.as_secs_f64() / srtt.as_secs_f64()
            );
            assert_eq!((lost.get(), stats.timeouts), (2, before.timeouts), "{name}, {rtt} ms: {stats:?}");
            assert!(took <= 3 * srtt, "{name}, {rtt} ms: asked {:?}, measured {took:?}", 3 * srtt);
        }
    }
}

#[test]
fn a_quarter_of_all_packets_5_ms_late_at_200_ms_cost_a_tenth_at_most_and_no_needless_resends() {
    for (name, config) in controllers() {
        for rate in [5_000_000, 20_000_000, 50_000_000] {
            let link = Link::new(rate, ms(100)).queue(2 << 20);
            let run = |link: Link| {
                let (mut world, c, _) = world(&config, link, 1 << 40);
                world.run_for(seconds(30));
                let side = world.dialer(c);
                (world.acceptor(c).read, side.stats)
            };
            let (clean, _) = run(link.clone());
            let (late, stats) = run(link.reorder(0.25, ms(5)));
            let goodput = late as f64 / clean as f64;
            // Nothing is lost on the way: every resend is needless.
            let needless = stats.retransmits as f64 / stats.data_packets_sent as f64;
            println!("{name}, {rate}: {:.1} % of clean, {:.2} % needless", goodput * 100.0, needless * 100.0);
            assert!(
                goodput >= 0.9,
                "{name}, {rate}: asked 90 % of the clean goodput, measured {goodput}; {stats:?}"
            );
            assert!(needless <= 0.01, "{name}, {rate}: asked 1 % needless, measured {needless}; {stats:?}");
        }
    }
}

#[test]
fn eight_time_outs_at_135_ms_are_made_up_for_within_15_seconds() {
    for (name, mut config) in controllers() {
        config.give_up_after(seconds(600)).unwrap();
        for rate in [10_000_000, 50_000_000] {
            for in_a_row in [false, true] {
                let link = Link::new(rate, Duration::from_micros(67_500)).queue(1 << 20);
                let (mut world, c, forth) = world(&config, link, 1 << 40);
                world.run_for(seconds(10));
                if in_a_row {
                    world.link_mut(forth).loss = 1.0;
                    // What the eighth sends again arrives.
                    while timeouts(&mut world, c) < 7 {
                        world.run_for(ms(1));
                    }
                    world.link_mut(forth).loss = 0.0;
                    while timeouts(&mut world, c) < 8 {
                        world.run_for(ms(1));
                    }
                } else {
                    // With a moment to get on between them.
                    while timeouts(&mut world, c) < 8 {
                        world.link_mut(forth).loss = 1.0;
                        world.run_for(ms(1_000));
                        world.link_mut(forth).loss = 0.0;
                        world.run_for(ms(700));
                    }
                }
                let first = (1..=15).find(|_| share(&mut world, c, rate, seconds(1)) >= 0.8);
                let then = share(&mut world, c, rate, seconds(10));
                println!("{name}, {rate}, in a row: {in_a_row}: 80 % in second {first:?}, then {then:.2}");
                let stats = world.dialer(c).stats;
                assert!(first.is_some(), "{name}, {rate}, {in_a_row}: asked 80 % within 15 s; {stats:?}");
                assert!(then >= 0.8, "{name}, {rate}, {in_a_row}: asked 80 %, then {then}; {stats:?}");
            }
        }
    }
}

/// Time-outs so far, with the counters brought up to date.
fn timeouts(world: &mut World, c: ConnId) -> u64 {
    world.rescript(c, false, |_| ());
    world.dialer(c).stats.timeouts
}

/// Ten megabytes each way over the link of the QUIC interop runner (10 Mbit/s, 15 ms, 25 packets), with faults.
fn interop_runner(name: &str, bytes: u64, change: impl Fn(Link) -> Link, limit: Duration) {
    for (controller, config) in controllers() {
        let mut world = World::new(1);
        let (a, b) = (world.host(config.clone()), world.host(config));
        world.join(a, b, change(Link::new(10_000_000, ms(15)).queue(1 << 20).queue_packets(25)));
        let c = world.dial(a, b, Script::send(bytes), Script::send(bytes));
        world.run_to_the_end(limit);
        let (dialer, acceptor) = (world.dialer(c), world.acceptor(c));
        println!("{name}, {controller}: {:?}, {:?}", world.now(), dialer.stats);
        // Every byte read is compared with what was written, as it is read.
        assert_eq!((dialer.read, acceptor.read), (bytes, bytes), "{name}, {controller}");
        assert!(dialer.is_clean() && acceptor.is_clean(), "{name}, {controller}: {dialer}\n{acceptor}");
    }
}

#[test]
fn interop_runner_long_rtt() {
    interop_runner("750 ms each way", 2_000_000, |link| Link { delay: ms(750), ..link }, seconds(120));
}

#[test]
fn interop_runner_transfer_loss() {
    interop_runner("2 % lost both ways", 10_000_000, |link| link.loss(0.02), seconds(120));
}

#[test]
fn interop_runner_transfer_corruption() {
    interop_runner("2 % corrupted both ways", 10_000_000, |link| link.corrupt(0.02), seconds(120));
}

#[test]
fn interop_runner_headers_that_lie_past_the_checksum() {
    interop_runner("2 % of the headers lie", 10_000_000, |link| link.lie(0.02), seconds(300));
}

#[test]
fn interop_runner_blackhole() {
    let dark = |link: Link| link.blackout(seconds(5), seconds(2), Some(seconds(5)));
    interop_runner("5 s on, 2 s off", 20_000_000, dark, seconds(300));
}

#[test]
fn interop_runner_handshake_loss_fifty_of_fifty_connect() {
    for (controller, config) in controllers() {
        for (name, change) in [
            ("lost", (|link| Link::loss(link, 0.3)) as fn(Link) -> Link),
            ("corrupted", |link| link.corrupt(0.3)),
        ] {
            let mut world = World::new(1);
            let (a, b) = (world.host(config.clone()), world.host(config.clone()));
            world.join(a, b, change(Link::new(10_000_000, ms(15)).queue(1 << 20).queue_packets(25)));
            let conns: Vec<_> =
                (0..50).map(|_| world.dial(a, b, Script::send(1_024), Script::send(1_024))).collect();
            world.run_to_the_end(seconds(300));
            let whole = |c: &&ConnId| {
                let acceptor = world.accepted(**c);
                world.dialer(**c).read == 1_024 && acceptor.is_some_and(|side| side.read == 1_024)
            };
            let slowest = conns.iter().filter_map(|c| world.dialer(*c).connected).max();
            let connected = conns.iter().filter(whole).count();
            println!("{controller}, 30 % {name}: {connected} of 50, the last after {slowest:?}");
            assert_eq!(connected, 50, "{controller}: of 50 with 30 % {name}");
        }
    }
}
