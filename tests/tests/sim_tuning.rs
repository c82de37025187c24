//! Buffers that grow with the path: as far as it takes and no further, and only when that is asked for.

use std::sync::Arc;

use utp_proto::congestion::FixedWindow;
use utp_proto::{Config, ConnectionStats};
use utp_tests::puppet::{Measured, Puppet, data, ms, seconds};
use utp_tests::sim::{ConnId, HostId, Link, Reading, Script, World};

const MIB: u64 = 1 << 20;

fn config() -> Config {
    let mut config = Config::default();
    config.congestion(Arc::new(FixedWindow { bytes: 3 << 20 }));
    config
}

/// 100 Mbit/s and 200 ms, which hold 2.5 MB.
fn path() -> Link {
    Link::new(100_000_000, ms(100)).queue(2 << 20)
}

struct Pair {
    world: World,
    hosts: (HostId, HostId),
    conn: ConnId,
}

fn pair(sender: Config, receiver: Config, bytes: u64, reading: Reading) -> Pair {
    let mut world = World::new(8);
    let (a, b) = (world.host(sender), world.host(receiver));
    world.join(a, b, path());
    let conn = world.dial(a, b, Script::send(bytes).chunk(1 << 20), Script::receive().reading(reading));
    Pair { world, hosts: (a, b), conn }
}

impl Pair {
    fn stats(&mut self) -> [ConnectionStats; 2] {
        let Self { world, hosts: (a, b), conn } = self;
        let handles = [(*a, world.dialer(*conn).handle), (*b, world.acceptor(*conn).handle)];
        handles.map(|(host, handle)| world.at(host).endpoint.connection(handle).expect("open").stats())
    }
}

#[test]
fn limits_grow_to_twice_what_the_path_holds() {
    let mut p = pair(config(), config(), 1 << 40, Reading::All);
    p.world.run_for(ms(500));
    let mut last = [0; 2];
    for _ in 0..50 {
        p.world.run_for(ms(100));
        let [sender, receiver] = p.stats();
        let now = [sender.send_limit, receiver.receive_limit];
        assert!(now[0] >= last[0] && now[1] >= last[1], "they never shrink while data flows: {now:?}");
        last = now;
    }
    let [sender, receiver] = p.stats();
    println!("{} {}", receiver.receive_limit, sender.send_limit);
    assert!((5_000_000..=11_000_000).contains(&receiver.receive_limit), "{receiver:?}");
    assert!((5_000_000..=8_000_000).contains(&sender.send_limit), "{sender:?}");
    assert_eq!((sender.timeouts, receiver.overflow_packets), (0, 0));
    let before = p.world.acceptor(p.conn).read;
    p.world.run_for(seconds(2));
    let rate = (p.world.acceptor(p.conn).read - before) * 8 / 2;
    assert!(rate >= 95_000_000, "{rate}");
}

#[test]
fn an_application_that_does_not_keep_up_gets_no_more() {
    // 4 Mbit/s of 100: a fifth of what the buffer holds in a round trip.
    let mut p = pair(config(), config(), 1 << 40, Reading::Rate(500_000));
    p.world.run_for(seconds(10));
    assert_eq!(p.stats()[1].receive_limit, MIB);
    // One that stops cannot be made to hold more either.
    let mut p = pair(config(), config(), 1 << 40, Reading::Pause(100_000, seconds(60)));
    p.world.run_for(seconds(10));
    let [sender, receiver] = p.stats();
    assert_eq!((receiver.receive_limit, receiver.receive_window), (MIB, 0));
    assert!(p.world.at(p.hosts.1).endpoint.stats().memory <= MIB + (8 << 10));
    assert!(sender.send_limit <= 3 * MIB + (16 << 10), "{sender:?}");
}

/// What waits behind a gap has come as well: who has lost or held back a packet must not run into a window that knows
/// nothing of the rest. But what nobody can read does not make it grow for ever.
#[test]
fn what_waits_behind_a_gap_makes_it_three_times_as_large_at_most() {
    let mut p = Puppet::initiator(Config::default());
    let mut next = 1; // 0 never comes
    for _ in 0..100 {
        while next == 1 || p.stats().receive_window >= 60 << 10 {
            p.send_batch((next..next + 40).map(|n| data(n).payload(&[1; 1400])));
            next += 40;
        }
        p.wait(ms(10));
        p.take();
    }
    let limit = p.stats().receive_limit;
    println!("{limit}, {next} packets");
    assert!((2 * MIB..=3 * MIB).contains(&limit) && p.stats().overflow_packets == 0, "{limit}");
    assert!(p.endpoint.stats().memory <= 3 * MIB + (8 << 10));
}

#[test]
fn what_is_set_is_not_exceeded() {
    let mut fixed = config();
    fixed.receive_buffer(256 << 10).unwrap().send_buffer(512 << 10).unwrap();
    let mut p = pair(fixed.clone(), fixed, 1 << 40, Reading::All);
    p.world.run_for(seconds(5));
    let [sender, receiver] = p.stats();
    assert_eq!((sender.send_limit, receiver.receive_limit), (512 << 10, 256 << 10));
    let mut bounded = config();
    bounded.receive_buffer(64 << 10).unwrap().receive_buffer_max(2 << 20).unwrap();
    bounded.send_buffer(64 << 10).unwrap().send_buffer_max(3 << 20).unwrap();
    let mut p = pair(bounded.clone(), bounded, 1 << 40, Reading::All);
    p.world.run_for(seconds(20));
    let [sender, receiver] = p.stats();
    assert_eq!(receiver.receive_limit, 2 * MIB);
    assert!((2 * MIB..=3 * MIB).contains(&sender.send_limit), "{sender:?}");
    // A quarter of the endpoint's memory at most.
    let mut poor = config();
    poor.memory_budget(6 << 20).unwrap();
    let mut p = pair(config(), poor, 1 << 40, Reading::All);
    p.world.run_for(seconds(10));
    assert_eq!(p.stats()[1].receive_limit, 6 * MIB / 4);
}

#[test]
fn the_send_buffer_begins_anew_after_a_rest() {
    let mut p = pair(config(), config(), 20 << 20, Reading::All);
    p.world.rescript(p.conn, false, |script| script.finish = utp_tests::sim::Finish::Never);
    p.world.run_for(seconds(2));
    assert!(p.stats()[0].send_limit > 2 * MIB);
    p.world.run_for(seconds(5));
    assert_eq!((p.world.acceptor(p.conn).read, p.stats()[0].send_limit), (20 * MIB, 256 << 10));
}

#[test]
fn a_clock_that_makes_no_sense_makes_no_limit_grow_beyond_what_was_read() {
    for measured in [
        Measured::Constant(0),
        Measured::Constant(u32::MAX),
        Measured::Constant(1_000_000),
        Measured::Absolute,
    ] {
        let mut p = Puppet::initiator(Config::default());
        p.measured = measured;
        // 60 kB in each 10 ms: 600 kB in 100 ms, which is taken for the round trip where nobody knows it, and
        // 12 MB in the longest one that is believed.
        let mut number = 0;
        for _ in 0..600 {
            p.send_batch((number..number + 60).map(|n| data(n).payload(&[1; 1000])));
            p.read();
            p.wait(ms(10));
            p.take();
            number += 60;
        }
        let limit = p.stats().receive_limit;
        println!("{measured:?}: {limit}");
        assert!(limit <= 2 * 12_100_000, "{measured:?}: {limit}");
    }
}
