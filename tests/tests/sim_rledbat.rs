//! rLEDBAT: a receiver that keeps greedy senders from filling the queue in front of its access link, by the window
//! that it tells and nothing else.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::Config;
use utp_proto::congestion::{ControllerFactory, CubicConfig, FixedWindow, LedbatConfig, LedbatPpConfig};
use utp_tests::puppet::{Puppet, data, ms, seconds};
use utp_tests::sim::{ConnId, HostId, Link, LinkId, Script, World};

type Factory = Arc<dyn ControllerFactory>;

fn greedy() -> Vec<(&'static str, Factory)> {
    vec![("cubic", Arc::new(CubicConfig::default())), ("fixed", Arc::new(FixedWindow { bytes: 4 << 20 }))]
}

fn receivers() -> Vec<(&'static str, Factory, Duration)> {
    let (pp, plain) = (LedbatPpConfig::default(), LedbatConfig::default());
    vec![("ledbat++", Arc::new(pp), pp.target), ("ledbat", Arc::new(plain), plain.target)]
}

fn config(sender: Option<Factory>, receiver: Option<Factory>) -> Config {
    let mut config = Config::default();
    if let Some(sender) = sender {
        config.congestion(sender);
    }
    config.receive_congestion(receiver);
    config
}

/// An access link of 20 Mbit/s and 40 ms with a queue of 400 ms, and who sends over it.
struct Access {
    world: World,
    link: LinkId,
    conns: Vec<ConnId>,
}

impl Access {
    fn new() -> Self {
        let mut world = World::new(3);
        world.without_monitor();
        let link = world.link(Link::new(RATE, ms(20)).queue(1_000_000));
        Self { world, link, conns: Vec::new() }
    }

    fn dial(&mut self, sender: &Factory, receiver: Option<&Factory>) {
        let world = &mut self.world;
        let a = world.host(config(Some(sender.clone()), None));
        let b = world.host(config(None, receiver.cloned()));
        let back = world.link(Link::wire(ms(20)));
        world.route(a, b, &[self.link]);
        world.route(b, a, &[back]);
        self.conns.push(world.dial(a, b, Script::send(1 << 40), Script::receive()));
    }

    /// Goodput of each in bits per second, mean and 95th percentile of the queueing delay, of so many seconds.
    fn run(&mut self, time: u64) -> (Vec<f64>, Duration, Duration) {
        let read = |world: &World, conns: &[ConnId]| -> Vec<u64> {
            conns.iter().map(|c| world.accepted(*c).map_or(0, |side| side.read)).collect()
        };
        let before = read(&self.world, &self.conns);
        self.world.take_link_stats(self.link);
        self.world.run_for(seconds(time));
        let after = read(&self.world, &self.conns);
        let waits = self.world.take_link_stats(self.link).waits;
        let goodput = after.iter().zip(before).map(|(a, b)| (a - b) as f64 * 8.0 / time as f64).collect();
        (goodput, waits.mean(), waits.quantile(0.95))
    }
}

const RATE: u64 = 20_000_000;

#[test]
fn a_greedy_sender_leaves_the_queue_alone_and_the_link_full() {
    for (name, sender) in greedy() {
        let mut alone = Access::new();
        alone.dial(&sender, None);
        alone.run(10);
        let (without, mean, p95) = alone.run(50);
        println!("{name}, not held back: {:.1} Mbit/s, {mean:?}, {p95:?}", without[0] / 1e6);
        assert!(mean > ms(150), "a sender to be held back: {mean:?}");
        for (control, receiver, target) in receivers() {
            let mut access = Access::new();
            access.dial(&sender, Some(&receiver));
            access.run(80); // LEDBAT takes long to get back from where its slow start ended
            let (goodput, mean, p95) = access.run(30);
            println!("{name} held back by {control}: {:.1} Mbit/s, {mean:?}, {p95:?}", goodput[0] / 1e6);
            assert!(mean <= target + ms(10), "{name}, {control}: {mean:?}");
            assert!(goodput[0] >= 0.8 * without[0], "{name}, {control}: {goodput:?} of {without:?}");
        }
    }
}

#[test]
fn a_foreground_flow_keeps_the_link() {
    let cubic: Factory = Arc::new(CubicConfig::default());
    let mut alone = Access::new();
    alone.dial(&cubic, None);
    alone.run(10);
    let (without, ..) = alone.run(50);
    for (name, sender) in greedy() {
        for (control, receiver, _) in receivers() {
            let mut access = Access::new();
            access.dial(&sender, Some(&receiver));
            access.run(10);
            access.dial(&cubic, None);
            access.run(20);
            let (goodput, ..) = access.run(50);
            let share = goodput[1] / without[0];
            println!(
                "{name} held back by {control}: {:.3} Mbit/s, cubic beside it {share:.3}",
                goodput[0] / 1e6
            );
            assert!(share >= 0.85, "{name}, {control}: {share:.3}");
            // When it stops, the held-back one has the link again.
            let other = access.conns[1];
            access.world.end(other, false, utp_tests::sim::Ending::Abort);
            access.run(20);
            let (goodput, ..) = access.run(20);
            println!("    and {:.1} Mbit/s afterwards", goodput[0] / 1e6);
            assert!(goodput[0] >= 0.7 * without[0], "{name}, {control}: {goodput:?}");
        }
    }
}

/// The window that each acknowledgement tells, and how much had arrived by then.
fn told(world: &mut World, b: HostId, conn: ConnId, time: Duration) -> Vec<(u64, u64)> {
    let handle = world.acceptor(conn).handle;
    let mut seen: Vec<(u64, u64)> = Vec::new();
    let until = world.now() + time;
    while world.now() < until {
        world.run_for(Duration::from_micros(200));
        let stats = world.at(b).endpoint.connection(handle).expect("open").stats();
        let now = (stats.receive_window, world.acceptor(conn).read);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    seen
}

#[test]
fn the_window_never_shrinks_by_more_than_what_has_arrived() {
    let mut world = World::new(9);
    let a = world.host(config(Some(Arc::new(FixedWindow { bytes: 4 << 20 })), None));
    let b = world.host(config(None, Some(Arc::new(LedbatPpConfig::default()))));
    let link = Link::new(RATE, ms(20)).queue(100_000).loss(0.002);
    world.join(a, b, link);
    let c = world.dial(a, b, Script::send(1 << 40), Script::receive());
    world.run_for(ms(200));
    let seen = told(&mut world, b, c, seconds(20));
    let mut shrunk = 0;
    for pair in seen.windows(2) {
        let [(window, read), (window_then, read_then)] = [pair[0], pair[1]];
        // Two packets may wait behind a gap that is filled later, and count when they came.
        assert!(window_then + (read_then - read) + 64 * 1452 >= window, "{pair:?}");
        shrunk += usize::from(window_then < window);
    }
    assert!(shrunk > 100, "{shrunk} of {}", seen.len());
    let stats = world.dialer(c).handle;
    let stats = world.at(a).endpoint.connection(stats).expect("open").stats();
    assert_eq!(stats.timeouts, 0, "{stats:?}");
}

#[test]
fn the_answer_to_a_syn_tells_a_first_window() {
    let mut world = World::new(2);
    let a = world.host_default();
    let b = world.host(config(None, Some(Arc::new(LedbatPpConfig::default()))));
    world.join(a, b, Link::wire(ms(10)));
    let c = world.dial(a, b, Script::send(10), Script::receive().start(seconds(1)));
    world.run_for(ms(21));
    let handle = world.dialer(c).handle;
    assert_eq!(world.at(a).endpoint.connection(handle).expect("open").stats().peer_window, 10 * 1212);
}

#[test]
fn a_retransmission_shrinks_the_window_once_in_two_round_trips() {
    let mut p = Puppet::initiator(config(None, Some(Arc::new(CubicConfig::default()))));
    let window = |p: &mut Puppet| p.stats().receive_cwnd;
    // Sent 20 ms before they arrive: the round trip, since what the endpoint sends is there at once.
    let packet = |p: &Puppet, number: i32| {
        data(number).payload(&[1; 1000]).timestamp(p.wire_clock().wrapping_sub(20_000))
    };
    for number in 0..100 {
        p.send(packet(&p, number));
        p.read();
        p.wait(ms(1));
    }
    let before = window(&mut p);
    assert!(before > 20_000, "{before}");
    // A packet comes late, but had left before those that overtook it: reordered, not lost.
    let late = packet(&p, 100);
    p.wait(ms(1));
    p.send(packet(&p, 101));
    p.send(late);
    assert!(window(&mut p) >= before);
    // Packets are missing, and come later, sent after those beyond them.
    for number in [103, 105, 107, 109] {
        p.send(packet(&p, number));
    }
    p.wait(ms(20));
    let before = window(&mut p);
    p.send(packet(&p, 102));
    assert!(window(&mut p) >= before, "one alone may be a test of honesty");
    p.send(packet(&p, 104));
    let shrunk = window(&mut p);
    assert!(shrunk < before, "{shrunk} after {before}");
    p.wait(ms(38));
    p.send(packet(&p, 106));
    assert_eq!(window(&mut p), shrunk, "what the sender has heard of the first may not show yet");
    p.wait(ms(4));
    p.send(packet(&p, 108));
    assert!(window(&mut p) < shrunk);
}

#[test]
fn it_can_be_switched_on_and_off_per_connection() {
    let mut p = Puppet::initiator(Config::default());
    p.send(data(0).payload(&[1; 1000]));
    p.read();
    assert_eq!(p.stats().receive_cwnd, 0);
    p.connection().set_receive_congestion(Some(&LedbatPpConfig::default()));
    let told = p.stats().receive_window;
    for number in 1..20 {
        p.send(data(number).payload(&[1; 1000]));
        p.read();
        p.wait(ms(6));
    }
    assert!(p.stats().receive_cwnd > 0);
    let window = p.stats().receive_window;
    assert!(window < told && window + 19_000 >= told, "{window} after {told}");
    p.connection().set_receive_congestion(None);
    p.send(data(20).payload(&[1; 1000]));
    p.read();
    p.wait(ms(6));
    assert!(p.stats().receive_window >= told - 1000);
}
