//! The simulated network itself: what it promises to the tests that stand on it.

use std::time::Duration;

use utp_proto::{CloseReason, Config};
use utp_tests::sim::{Ending, Link, Reading, Script, World};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn lossy(seed: u64) -> World {
    let mut world = World::new(seed);
    let (a, b) = (world.host_default(), world.host_default());
    let link = Link::new(10_000_000, Duration::from_millis(20))
        .loss(0.03)
        .reorder(0.02, Duration::from_millis(7))
        .duplicate(0.01)
        .jitter(Duration::from_millis(3));
    world.join(a, b, link);
    world.dial(a, b, Script::send(500_000), Script::send(300_000));
    world.run_to_the_end(seconds(60));
    world
}

#[test]
fn the_same_seed_gives_the_same_packets_and_another_seed_others() {
    let (a, b, c) = (lossy(1), lossy(1), lossy(2));
    assert_eq!((a.trace_hash(), a.datagrams()), (b.trace_hash(), b.datagrams()));
    assert_ne!(a.trace_hash(), c.trace_hash());
    assert!(a.all_sides().all(|side| side.is_clean()));
}

#[test]
fn a_clean_link_is_used_to_its_capacity_and_nothing_is_sent_twice() {
    let mut world = World::new(3);
    let (a, b) = (world.host_default(), world.host_default());
    let (forth, _) = world.join(a, b, Link::new(20_000_000, Duration::from_millis(15)).queue(1 << 20));
    let c = world.dial(a, b, Script::send(10 << 20), Script::receive());
    world.run_to_the_end(seconds(10));
    let stats = world.dialer(c).stats;
    assert_eq!((stats.retransmits, stats.timeouts, stats.packets_lost, stats.invalid_packets), (0, 0, 0, 0));
    let received = world.acceptor(c).stats;
    assert_eq!((received.duplicate_packets, received.overflow_packets, received.invalid_packets), (0, 0, 0));
    let link = world.link_stats(forth);
    assert_eq!((link.overflows, link.losses), (0, 0));
}

#[test]
fn applications_follow_their_scripts() {
    let mut world = World::new(4);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::wire(Duration::from_millis(10)));
    let paused =
        world.dial(a, b, Script::send(8 << 20), Script::receive().reading(Reading::Pause(1000, seconds(20))));
    let slow = world.dial(a, b, Script::send(100_000), Script::receive().reading(Reading::Rate(10_000)));
    let late = world.dial(a, b, Script::send(1000).start(seconds(5)), Script::receive());
    let dropped = world.dial(
        a,
        b,
        Script::send(1 << 30).ending(Duration::from_millis(300), Ending::Abort),
        Script::receive(),
    );
    world.run_for(seconds(19));
    assert_eq!(world.acceptor(paused).read, 1000);
    assert!(world.dialer(paused).written < 5 << 20, "bounded by both buffers");
    assert!(world.acceptor(late).is_clean());
    assert_eq!(world.acceptor(dropped).closed.map(|(_, reason)| reason), Some(CloseReason::Reset));
    assert_eq!(world.dialer(dropped).closed.map(|(_, reason)| reason), Some(CloseReason::Aborted));
    world.run_to_the_end(seconds(60));
    assert_eq!(world.acceptor(paused).read, 8 << 20);
    let (end, _) = world.acceptor(slow).closed.unwrap();
    assert!((seconds(9)..seconds(12)).contains(&end), "{end:?}");
}

#[test]
fn a_host_that_dies_and_comes_back_answers_with_a_reset() {
    let mut world = World::new(5);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(8_000_000, Duration::from_millis(10)));
    let c = world.dial(a, b, Script::send(100 << 20), Script::receive());
    world.run_for(seconds(2));
    world.kill(b);
    world.run_for(seconds(2));
    assert!(world.dialer(c).closed.is_none());
    world.restart(b, Config::default());
    world.run_to_the_end(seconds(20));
    assert_eq!(world.dialer(c).closed.map(|(_, reason)| reason), Some(CloseReason::Reset));
}
