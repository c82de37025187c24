//! Long fat pipes, self to self, with the default configuration: more packets in flight than deployed peers take,
//! buffers that grow with the path, and recovery although masks show a part of the flight only.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::EbbConfig;
use utp_proto::{Config, ConnectionStats};
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{Link, Script, World};

fn config() -> Config {
    let mut config = Config::default();
    config.congestion(Arc::new(EbbConfig::default()));
    config
}

struct Figures {
    /// Bits of payload per second, in steady state.
    rate: f64,
    sender: ConnectionStats,
    receiver: ConnectionStats,
}

/// What a transfer without end reaches between these seconds.
fn steady(config: Config, link: Link, from: u64, to: u64) -> Figures {
    let mut world = World::new(7);
    world.without_monitor();
    let (a, b) = (world.host(config.clone()), world.host(config));
    world.join(a, b, link);
    let c = world.dial(a, b, Script::send(1 << 50).chunk(1 << 20), Script::receive());
    let mut last = 0;
    for second in 1..=from {
        world.run_for(seconds(1));
        let read = world.acceptor(c).read;
        println!("{second} s: {:.0} Mbit/s", (read - last) as f64 * 8.0 / 1e6);
        last = read;
    }
    let before = world.acceptor(c).read;
    world.run_for(seconds(to - from));
    let rate = (world.acceptor(c).read - before) as f64 * 8.0 / (to - from) as f64;
    let stats = |world: &mut World, host, handle| {
        world.at(host).endpoint.connection(handle).map(|connection| connection.stats()).expect("still open")
    };
    let (dialer, acceptor) = (world.dialer(c).handle, world.acceptor(c).handle);
    let (sender, receiver) = (stats(&mut world, a, dialer), stats(&mut world, b, acceptor));
    println!("{:.1} Mbit/s\n  {sender:?}\n  {receiver:?}", rate / 1e6);
    Figures { rate, sender, receiver }
}

#[test]
fn a_gigabit_over_100_ms_is_filled_by_default() {
    let seen = steady(config(), Link::new(1_000_000_000, ms(50)), 5, 10);
    assert!(seen.rate >= 900e6, "{:.1} Mbit/s", seen.rate / 1e6);
    assert!(seen.sender.packet_limit > 8_000, "{:?}", seen.sender);
    assert_eq!(seen.receiver.overflow_packets, 0);
}

#[test]
fn losses_there_cost_little() {
    let seen = steady(config(), Link::new(1_000_000_000, ms(50)).loss(0.0001), 5, 10);
    assert!(seen.rate >= 300e6, "{:.1} Mbit/s", seen.rate / 1e6);
    assert_eq!((seen.sender.timeouts, seen.receiver.overflow_packets), (0, 0));
}

#[test]
fn ten_gigabits_over_10_ms_are_filled_by_default() {
    let seen = steady(config(), Link::new(10_000_000_000, ms(5)), 1, 2);
    assert!(seen.rate >= 9e9, "{:.1} Mbit/s", seen.rate / 1e6);
}

#[test]
fn forty_mebibytes_over_100_mbit_and_100_ms() {
    let mut world = World::new(1);
    let (a, b) = (world.host(config()), world.host(config()));
    world.join(a, b, Link::new(100_000_000, ms(50)));
    let c = world.dial(a, b, Script::send(40 << 20).chunk(256 << 10), Script::receive());
    world.run_to_the_end(seconds(60));
    let (connected, last) = (world.dialer(c).connected.unwrap(), world.acceptor(c).last_read);
    let rate = f64::from(40 << 20) * 8.0 / (last - connected).max(Duration::from_micros(1)).as_secs_f64();
    println!("{:.1} Mbit/s\n  {:?}", rate / 1e6, world.dialer(c).stats);
    assert!(rate >= 90e6, "{:.1} Mbit/s", rate / 1e6);
}
