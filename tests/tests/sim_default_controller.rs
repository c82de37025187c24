//! What is promised of the default congestion control, on a few of the links on which the `congestion` command measures
//! all of it.

use std::time::Duration;

use utp_tests::congestion::{Flow, Kind, Queue, Run, Scenario};

/// The default of `Config`.
const OURS: Kind = Kind::ALL[0];

/// Payload in a full datagram with its IP and UDP headers.
const PAYLOAD: f64 = 1452.0 / 1500.0;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn scenario(mbit: u64, rtt: u64, length: u64) -> Scenario {
    let mut scenario = Scenario::new("", mbit, rtt);
    scenario.length = seconds(length);
    scenario
}

fn ours(start: u64) -> Flow {
    Flow::new(OURS, seconds(start))
}

#[test]
fn the_default_is_ebb() {
    let config = utp_proto::Config::default();
    assert!(format!("{config:?}").contains("EbbConfig"), "{config:?}");
    assert_eq!(OURS, Kind::Ebb);
}

fn alone(mbit: u64, rtt: u64, seed: u64) {
    let mut link = scenario(mbit, rtt, 40);
    link.flows.push(ours(0));
    let run = link.seeded(seed).run();
    let (used, waits) = (run.utilisation(30, 40), run.waits(30, 40));
    let target = OURS.target(Duration::from_millis(rtt)).expect("it has one");
    println!("{mbit} Mbit/s x {rtt} ms: {used:.3}, {:?} of {target:?}", waits.mean());
    assert!(used >= 0.95, "{used:.3} of {mbit} Mbit/s x {rtt} ms");
    assert!(waits.mean() <= target, "{:?}, not {target:?}", waits.mean());
    let p95 = waits.quantile(0.95);
    assert!(p95 <= target + Duration::from_millis(10), "{p95:?}, not {target:?}");
}

#[test]
fn alone_it_fills_the_link_and_keeps_the_queue_at_its_target() {
    alone(10, 30, 1);
    alone(10, 200, 2);
    alone(100, 5, 3);
}

/// CUBIC from 5 to 40 s, we from 0 on.
fn beside_cubic(mbit: u64, rtt: u64, bdp: f64) {
    let mut link = scenario(mbit, rtt, 55);
    link.queue = Queue::Bdp(bdp);
    let cubic = Flow { stop: Some(seconds(40)), ..Flow::new(Kind::Cubic, seconds(5)) };
    let mut reference = link.clone();
    reference.flows.push(cubic);
    reference.length = seconds(40);
    let reference = reference.run().goodput(0, 15, 40);
    link.flows.extend([ours(0), cubic]);
    let run = link.run();
    let kept = run.goodput(1, 15, 40) / reference;
    let back = run.time_to(0, 40, 0.9 * link.rate as f64 * PAYLOAD).expect("we come back");
    println!("{mbit} Mbit/s x {rtt} ms, {bdp} BDP: CUBIC keeps {kept:.3}, we are back after {back:?}");
    assert!(kept >= 0.9, "CUBIC keeps {kept:.3}");
    assert!(back <= seconds(10), "{back:?}");
}

#[test]
fn cubic_keeps_nine_tenths_and_what_it_leaves_is_taken_within_ten_seconds() {
    beside_cubic(20, 30, 1.0);
    beside_cubic(20, 80, 4.0);
}

fn equals(run: &Run, from: u64, to: u64) {
    let (jain, least) = run.fairness(from, to);
    println!("Jain {jain:.3}, {least:.3}");
    assert!(jain >= 0.95, "{jain:.3}");
    assert!(least >= 0.5, "{least:.3}");
}

#[test]
fn equals_share_alike_and_late_ones_have_no_advantage() {
    let mut link = scenario(20, 50, 80);
    link.flows.extend([ours(0), ours(10)]);
    equals(&link.seeded(4).run(), 50, 80);
}

/// `flows` that start 10 s apart, looked at from 40 to 60 s after the last of them.
fn staggered(flows: u64, mbit: u64, rtt: u64, seed: u64) {
    let last = 10 * (flows - 1);
    let mut link = scenario(mbit, rtt, last + 60);
    link.flows.extend((0..flows).map(|i| ours(10 * i)));
    println!("{flows} flows, {mbit} Mbit/s x {rtt} ms, seed {seed}");
    equals(&link.seeded(seed).run(), last + 40, last + 60);
}

#[test]
fn two_and_eight_share_alike_on_links_of_a_few_packets_and_on_long_ones() {
    // A latecomer takes the queue that it finds for the path until the path was seen empty.
    for seed in 1..=2 {
        staggered(2, 10, 5, seed);
        staggered(8, 10, 5, seed);
        staggered(2, 10, 200, seed);
        staggered(8, 10, 30, seed);
        staggered(8, 10, 200, seed);
    }
    staggered(8, 100, 200, 1);
}

#[test]
fn a_queue_of_ten_packets_costs_less_than_two_fifths_of_what_cubic_has() {
    let mut link = scenario(10, 100, 40);
    link.queue = Queue::Packets(10);
    link.flows.push(ours(0));
    let ours = link.run().goodput(0, 10, 40);
    link.flows[0].kind = Kind::Cubic;
    let cubic = link.run().goodput(0, 10, 40);
    assert!(ours >= 0.6 * cubic, "{ours} {cubic}");
}

fn step(from: u64, to: u64, bound: u64) {
    let mut link = scenario(20, from, 15 + bound + 5);
    link.queue = Queue::Bytes(20 * 125 * from.max(to) as usize);
    link.step = Some((seconds(15), Duration::from_millis(to)));
    link.flows.push(ours(0));
    // Not what is still on its way at the moment of the step.
    let back =
        link.run().time_to(0, 16, 0.9 * link.rate as f64 * PAYLOAD).expect("it comes back") + seconds(1);
    println!("{from} to {to} ms: {back:?}");
    assert!(back <= seconds(bound), "{back:?}");
}

#[test]
fn a_path_that_becomes_longer_is_filled_within_a_minute_a_shorter_one_within_five_seconds() {
    step(50, 100, 60);
    step(100, 50, 5);
}

#[test]
fn loss_that_is_no_congestion_costs_little() {
    // Three times what libutp has there: 3.8 and 0.8 Mbit/s.
    for (loss, queue, least) in [(0.01, 512, 11.4), (0.05, 256, 2.4)] {
        let mut link = scenario(20, 50, 30);
        (link.queue, link.loss) = (Queue::Bytes(queue << 10), loss);
        link.flows.push(ours(0));
        let goodput = link.seeded(5).run().goodput(0, 5, 30) / 1e6;
        println!("{loss}: {goodput:.1} Mbit/s");
        assert!(goodput >= least, "{goodput:.1} Mbit/s at {loss}");
    }
}

#[test]
fn deployed_ledbat_and_we_get_along() {
    // LEDBAT keeps 100 ms; we give way to that and take our place once it stands still.
    let mut link = scenario(20, 30, 180);
    link.queue = Queue::Bytes(20 * 125 * 200);
    link.flows.extend([ours(0), Flow::new(Kind::Ledbat, seconds(5))]);
    let run = link.run();
    let (ours, theirs) = (run.goodput(0, 120, 180), run.goodput(1, 120, 180));
    let share = ours / (ours + theirs);
    println!("our share: {share:.3}");
    assert!((0.33..=0.67).contains(&share), "{share:.3}");
}
