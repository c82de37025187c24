//! Long fat pipes, self to self, with the default configuration: more packets in flight than deployed peers take,
//! buffers that grow with the path, and recovery although masks show a part of the flight only.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{EbbConfig, FixedWindow};
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

/// What a transfer without end reaches after `start`, in `time`.
fn steady(config: Config, link: Link, start: Duration, time: Duration) -> Figures {
    let mut world = World::new(7);
    world.without_monitor(); // it looks at shorter ones of the same kind
    let (a, b) = (world.host(config.clone()), world.host(config));
    world.join(a, b, link);
    let c = world.dial(a, b, Script::send(1 << 50).chunk(1 << 20), Script::receive());
    world.run_for(start);
    let before = world.acceptor(c).read;
    world.run_for(time);
    let rate = (world.acceptor(c).read - before) as f64 * 8.0 / time.as_secs_f64();
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
    let seen = steady(config(), Link::new(1_000_000_000, ms(50)), seconds(3), seconds(2));
    assert!(seen.rate >= 900e6, "{:.1} Mbit/s", seen.rate / 1e6);
    assert!(seen.sender.packet_limit > 8_000, "{:?}", seen.sender);
    assert_eq!((seen.sender.retransmits, seen.receiver.overflow_packets), (0, 0));
    // Twice what the path holds, and no more than the default allows.
    let limits = 20 << 20..=32 << 20;
    assert!(limits.contains(&seen.receiver.receive_limit) && limits.contains(&seen.sender.send_limit));
}

#[test]
fn losses_there_cost_little_beyond_what_congestion_control_makes_of_them() {
    // Masks show up to 2016 packets of the 8600 in flight, and each hole beyond waits for those before it. A
    // window that does not shrink shows that this is all that is lost.
    let mut config = Config::default();
    config.congestion(Arc::new(FixedWindow { bytes: 14 << 20 }));
    let link = Link::new(1_000_000_000, ms(50)).queue(16 << 20);
    let few = steady(config.clone(), link.clone().loss(0.000_02), seconds(2), seconds(2));
    assert!(few.rate >= 900e6, "{:.1} Mbit/s", few.rate / 1e6);
    let many = steady(config, link.loss(0.0001), seconds(2), seconds(2));
    assert!(many.rate >= 700e6, "{:.1} Mbit/s", many.rate / 1e6);
    for seen in [few, many] {
        let Figures { sender, receiver, .. } = seen;
        assert_eq!((sender.timeouts, sender.spurious_retransmits, receiver.overflow_packets), (0, 0, 0));
        // Nothing goes again without need; the last found lost may wait for the pacer at this moment.
        let waiting = sender.packets_lost.checked_sub(sender.retransmits);
        assert!(
            waiting.is_some_and(|waiting| waiting <= 1) && receiver.duplicate_packets == 0,
            "{waiting:?}"
        );
    }
}

#[test]
fn ten_gigabits_over_10_ms_are_filled_by_default() {
    let seen = steady(config(), Link::new(10_000_000_000, ms(5)), ms(700), ms(300));
    assert!(seen.rate >= 9e9, "{:.1} Mbit/s", seen.rate / 1e6);
}

/// 90 are asked for, with the default configuration: slow start included, and a test of the peer's honesty that falls into
/// it. Its packet is another one with every seed; that there is a test is expected.
#[test]
fn forty_mebibytes_over_100_mbit_and_100_ms() {
    let seeds = (1..=6).chain([10]);
    for (distrust, seed) in [(false, 1)].into_iter().chain(seeds.map(|seed| (true, seed))) {
        let mut config = config();
        config.distrust(distrust);
        let mut world = World::new(seed);
        let (a, b) = (world.host(config.clone()), world.host(config));
        world.join(a, b, Link::new(100_000_000, ms(50)));
        let c = world.dial(a, b, Script::send(40 << 20).chunk(256 << 10), Script::receive());
        world.run_to_the_end(seconds(60));
        let (connected, last) = (world.dialer(c).connected.unwrap(), world.acceptor(c).last_read);
        let rate = f64::from(40 << 20) * 8.0 / (last - connected).max(Duration::from_micros(1)).as_secs_f64();
        let stats = world.dialer(c).stats;
        println!("{distrust}, seed {seed}: {:.2} Mbit/s\n  {stats:?}", rate / 1e6);
        assert!(rate >= 90e6, "{distrust}, seed {seed}: {:.2} Mbit/s", rate / 1e6);
        assert_eq!(stats.withheld > 0, distrust, "{stats:?}");
    }
}
