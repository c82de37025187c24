//! More packets in flight than deployed peers take, towards those that have proven that they keep them, and the old
//! limit for all others: what asking costs, and what a proof that does not hold.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::FixedWindow;
use utp_proto::{Config, ConnectionStats};
use utp_tests::puppet::{Kind, Puppet, Seen, ms, seconds, state};
use utp_tests::sim::{ConnId, HostId, Link, Script, World};

const FULL: usize = 1000;

fn sender() -> Config {
    let mut config = Config::default();
    config.congestion(Arc::new(FixedWindow { bytes: 6 << 20 }));
    config
}

/// A peer of large buffer, whose ring holds so many packets.
fn ring(packets: u16) -> Config {
    let mut config = Config::default();
    config.receive_buffer(8 << 20).unwrap().reorder_window(packets).unwrap();
    config
}

struct Outcome {
    time: Duration,
    sender: ConnectionStats,
    receiver: ConnectionStats,
    /// The highest limit that was in force.
    limit: u64,
}

/// 60 MB over 400 Mbit/s and 40 ms, of which a few packets get lost.
fn transfer(sender: Config, receiver: Config, loss: f64) -> Outcome {
    let mut world = World::new(5);
    let (a, b) = (world.host(sender), world.host(receiver));
    let forth = world.link(Link::new(400_000_000, ms(20)).queue(8 << 20).loss(loss));
    let back = world.link(Link::wire(ms(20)));
    world.route(a, b, &[forth]);
    world.route(b, a, &[back]);
    let c = world.dial(a, b, Script::send(60_000_000).chunk(1 << 20), Script::receive());
    let mut limit = 0;
    while !world.is_over() && world.now() < seconds(120) {
        world.run_for(ms(10));
        limit = limit.max(stats(&mut world, a, c).map_or(0, |stats| stats.packet_limit));
    }
    assert!(world.all_sides().all(|side| side.is_clean()), "{}", world.dialer(c));
    let (dialer, acceptor) = (world.dialer(c), world.acceptor(c));
    let outcome = Outcome { time: acceptor.last_read, sender: dialer.stats, receiver: acceptor.stats, limit };
    println!(
        "{:?}, limit {limit}, then {}; resent {}, lost {}, time-outs {}, dropped by the peer {}",
        outcome.time,
        outcome.sender.packet_limit,
        outcome.sender.retransmits,
        outcome.sender.packets_lost,
        outcome.sender.timeouts,
        outcome.receiver.overflow_packets,
    );
    outcome
}

fn stats(world: &mut World, host: HostId, conn: ConnId) -> Option<ConnectionStats> {
    let handle = world.dialer(conn).handle;
    world.at(host).endpoint.connection(handle).map(|connection| connection.stats())
}

fn never_asked() -> Config {
    let mut config = sender();
    config.max_packets_proven(950).unwrap();
    config
}

#[test]
fn a_peer_that_drops_what_is_1024_ahead_costs_a_packet_for_each_question_and_no_time() {
    // libutp's ring, and the largest that no question can tell from it.
    // A test of honesty that falls into one of the two would cost a round trip of that one.
    let trusting = |mut config: Config| config.distrust(false).clone();
    for (loss, packets) in [(0.0, 1023), (0.0005, 1023), (0.0, 1087)] {
        let before = transfer(trusting(never_asked()), ring(packets), loss);
        let after = transfer(trusting(sender()), ring(packets), loss);
        assert_eq!(after.limit, 950);
        assert!((1..=8).contains(&after.receiver.overflow_packets), "{}", after.receiver.overflow_packets);
        assert!(
            after.time <= before.time * 101 / 100,
            "{:?}, without questions {:?}",
            after.time,
            before.time
        );
        assert_eq!(after.sender.timeouts, 0);
    }
}

#[test]
fn a_peer_that_keeps_it_gets_as_many_as_its_window_would_give_it_places() {
    let before = transfer(never_asked(), ring(16_000), 0.0);
    let after = transfer(sender(), ring(16_000), 0.0);
    assert_eq!((after.limit, after.receiver.overflow_packets), (7_623, 0));
    assert_eq!((after.sender.retransmits, after.receiver.duplicate_packets), (0, 0), "nothing went twice");
    assert!(after.time < before.time, "{:?}, without questions {:?}", after.time, before.time);
    // With losses, it drops nothing either.
    let lossy = transfer(sender(), ring(7_626), 0.0005);
    assert_eq!((lossy.receiver.overflow_packets, lossy.sender.timeouts), (0, 0));
}

#[test]
fn a_proof_that_does_not_hold_is_void_at_the_first_loss() {
    let before = transfer(never_asked(), ring(1100), 0.0005);
    let after = transfer(sender(), ring(1100), 0.0005);
    assert!(after.limit > 7_000, "it was proven: {}", after.limit);
    assert_eq!(after.sender.packet_limit, 950, "and is void");
    assert!(after.time <= before.time * 11 / 10, "{:?}, without questions {:?}", after.time, before.time);
    assert_eq!(after.sender.timeouts, 0);
}

/// Full packets of [`FULL`] bytes, no pacing, no congestion control.
fn plain() -> Config {
    let mut config = Config::default();
    config.initial_datagram(FULL + 20).unwrap().max_datagram(FULL + 20, FULL + 20).unwrap().pacing(false);
    config.congestion(Arc::new(FixedWindow { bytes: 1 << 30 })).send_buffer(4 << 20).unwrap();
    config.distrust(false); // every other packet in its turn
    config
}

/// The number of the packet that came ahead of its turn, and those of the others.
fn question(seen: &[Seen]) -> (Option<i32>, Vec<i32>) {
    let data: Vec<i32> =
        seen.iter().filter(|seen| seen.raw.kind == Kind::Data).map(|seen| seen.number).collect();
    let far = data.windows(2).find(|pair| pair[1] > pair[0] + 1).map(|pair| pair[1]);
    (far, data.into_iter().filter(|number| Some(*number) != far).collect())
}

/// An endpoint that has asked: which packet instead of which.
fn asked() -> (Puppet, i32, i32) {
    let mut p = Puppet::initiator(plain());
    p.send(state().window(4 << 20));
    p.write(&vec![1; 3 << 20]);
    let (far, rest) = question(&p.take());
    let far = far.expect("a question");
    assert!(rest.iter().copied().eq(0..950));
    assert_eq!(far, 512 + 1088);
    (p, far, 512)
}

#[test]
fn the_packet_that_went_ahead_is_not_sent_again_if_it_was_kept() {
    let (mut p, far, _) = asked();
    p.wait(ms(10));
    let mut mask = [0; 136]; // bit 0 is packet 513
    mask[135] = 0x80;
    assert_eq!(far, 513 + 8 * 136 - 1);
    p.send(state().ack(512).mask(&mask).window(4 << 20));
    assert_eq!(u64::from((4u32 << 20) / 1_100 - 3), p.stats().packet_limit);
    let rest: Vec<i32> = p.take().iter().map(|seen| seen.number).collect();
    let last = *rest.last().expect("more was sent");
    assert!(last > far && last - 512 > 950, "{last}");
    assert!(rest.iter().copied().eq((950..=last).filter(|number| *number != far)), "all the others");
    // All of it is acknowledged in the end, the early one with the others.
    p.wait(ms(10));
    p.send(state().ack(last + 1).window(4 << 20));
    let tail = (3 << 20) % FULL as u64;
    assert_eq!((p.stats().bytes_in_flight, p.stats().packets_in_flight), (tail, 1));
    assert_eq!((p.stats().retransmits, p.stats().packets_lost), (0, 0));
}

#[test]
fn what_is_reported_when_libutp_would_keep_it_too_proves_nothing() {
    let (mut p, far, _) = asked();
    p.wait(ms(10));
    // It may have come late, when it was that near: the network reorders.
    let acked = far - 1023;
    let bit = (far - acked - 1) as usize;
    let mut mask = vec![0; 128];
    mask[bit / 8] = 1 << (bit % 8);
    p.send(state().ack(acked).mask(&mask).window(4 << 20));
    assert_eq!(p.stats().packet_limit, 950);
    // It is there all the same, and need not go again.
    p.take();
    p.send(state().ack(900).window(4 << 20));
    p.send(state().ack(1500).window(4 << 20));
    let seen = p.take();
    assert!(seen.iter().any(|seen| seen.number > far) && seen.iter().all(|seen| seen.number != far));
}

#[test]
fn the_packet_that_went_ahead_goes_again_in_its_turn_if_it_was_dropped() {
    let (mut p, far, _) = asked();
    p.wait(ms(10));
    p.send(state().ack(512).window(4 << 20));
    assert_eq!(p.stats().packet_limit, 950);
    p.take();
    p.send(state().ack(700).window(4 << 20));
    p.send(state().ack(1400).window(4 << 20));
    let seen = p.take();
    assert!(seen.iter().any(|seen| seen.number == far), "it goes again");
    assert!(seen.iter().all(|seen| seen.raw.payload.len() == FULL));
    assert_eq!(p.stats().packet_limit, 950);
}

#[test]
fn a_window_that_is_no_larger_than_libutps_is_never_worth_a_question() {
    let mut p = Puppet::initiator(plain());
    p.send(state().window(1 << 20));
    p.write(&vec![1; 3 << 20]);
    let (far, rest) = question(&p.take());
    assert_eq!((far, rest.len()), (None, 950));
}

#[test]
fn packets_keep_the_size_that_was_assumed_while_one_is_ahead() {
    let (mut p, far, _) = asked();
    // The path is said to have become smaller: what follows must not be cut anew, or the packet that the peer may
    // have kept would not fit its place in the stream.
    let at = p.instant();
    p.endpoint.handle_path_error(at, utp_tests::puppet::addr(), utp_proto::PathError::TooBig(Some(600)));
    p.wait(ms(10));
    p.send(state().ack(600).window(4 << 20));
    p.send(state().ack(1500).window(4 << 20));
    p.send(state().ack(1530).window(4 << 20));
    let seen: Vec<Seen> = p.take().into_iter().filter(|seen| seen.number >= 950).collect();
    assert!(seen.iter().any(|seen| seen.number > far), "{}", seen.len());
    for seen in seen.iter().filter(|seen| seen.number <= far) {
        assert_eq!((seen.number, seen.raw.payload.len()), (seen.number, FULL));
    }
}
