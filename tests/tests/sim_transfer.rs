//! Data paths as whole transfers: numbers that wrap, packets in any order, many connections at once.

use std::time::Duration;

use bytes::Bytes;
use utp_proto::{Config, WriteError};
use utp_tests::puppet::{Kind, Puppet, ms, seconds, state};
use utp_tests::sim::{Link, Reading, Script, World};

#[test]
fn more_packets_than_there_are_numbers_cross_in_both_directions_with_losses() {
    // 65 536 numbers: ethereum/utp ends here, rust-utp has a test for it.
    let mut world = World::new(11);
    let (a, b) = (world.host_default(), world.host_default());
    let link = Link::new(1_000_000_000, ms(2)).queue(4 << 20).loss(0.0005).reorder(0.001, ms(1));
    world.join(a, b, link);
    let bytes = 110_000_000;
    let c = world.dial(a, b, Script::send(bytes), Script::send(bytes));
    world.run_to_the_end(seconds(300));
    for (side, peer) in [(world.dialer(c), world.acceptor(c)), (world.acceptor(c), world.dialer(c))] {
        assert!(side.is_clean() && peer.read == bytes);
        assert!(side.stats.data_packets_sent > 75_000, "{:?}", side.stats);
        assert!(side.stats.retransmits > 0);
    }
}

#[test]
fn two_hundred_connections_share_a_link_and_all_arrive() {
    let mut world = World::new(12);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(100_000_000, ms(10)).queue(1 << 20).loss(0.01));
    let conns: Vec<_> =
        (0..200).map(|_| world.dial(a, b, Script::send(100_000), Script::receive())).collect();
    world.run_to_the_end(seconds(120));
    for c in conns {
        assert!(world.dialer(c).is_clean() && world.acceptor(c).is_clean());
        assert_eq!(world.acceptor(c).read, 100_000);
    }
}

#[test]
fn connections_of_many_hosts_to_one_do_not_mix() {
    let mut world = World::new(13);
    let server = world.host_default();
    let conns: Vec<_> = (0..20)
        .flat_map(|n| {
            let client = world.host_default();
            world.join(
                client,
                server,
                Link::new(10_000_000 + n * 1_000_000, ms(5 + n)).loss(0.02).duplicate(0.05),
            );
            [
                world.dial(client, server, Script::send(60_000 + n), Script::send(1_000 * n)),
                world.dial(server, client, Script::send(500 * n), Script::receive()),
            ]
        })
        .collect();
    world.run_to_the_end(seconds(60));
    assert!(world.all_sides().all(|side| side.is_clean()));
    for pair in conns.chunks(2) {
        assert!(world.acceptor(pair[0]).read >= 60_000);
    }
}

#[test]
fn evil_sequences_arrive_in_order_and_once() {
    // Half of all packets are late, half of them come twice, in both directions.
    for seed in 0..10 {
        let mut world = World::new(seed);
        let (a, b) = (world.host_default(), world.host_default());
        let link = Link::new(20_000_000, ms(10)).reorder(0.5, ms(30)).duplicate(0.5).jitter(ms(3));
        world.join(a, b, link);
        let c = world.dial(a, b, Script::send(300_000), Script::send(300_000));
        world.run_to_the_end(seconds(60));
        assert!(world.all_sides().all(|side| side.is_clean() && side.read == 300_000));
        assert!(world.acceptor(c).stats.duplicate_packets > 0);
    }
}

#[test]
fn a_path_that_only_reorders_costs_few_needless_resends() {
    let mut world = World::new(14);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(50_000_000, ms(20)).queue(2 << 20).reorder(0.2, ms(4)));
    let c = world.dial(a, b, Script::send(20 << 20), Script::receive());
    world.run_to_the_end(seconds(60));
    let stats = world.dialer(c).stats;
    println!("{:?} {stats:?}", world.now());
    assert!(stats.retransmits * 100 < stats.data_packets_sent, "{stats:?}");
    assert_eq!(stats.timeouts, 0);
    assert!(world.now() < seconds(6), "{:?}", world.now());
}

#[test]
fn single_bytes_and_large_pieces_are_the_same_stream() {
    let mut world = World::new(15);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(10_000_000, ms(10)).loss(0.01));
    let slow = world.dial(a, b, Script::send(20_000).chunk(1).send_rate(10_000), Script::receive());
    let fast = world.dial(
        a,
        b,
        Script::send(2_000_000).chunk(1 << 20),
        Script::receive().reading(Reading::Rate(700_000)),
    );
    world.run_to_the_end(seconds(60));
    assert_eq!((world.acceptor(slow).read, world.acceptor(fast).read), (20_000, 2_000_000));
}

#[test]
fn buffers_handed_over_are_not_copied_and_not_cut_short() {
    let mut config = Config::default();
    config.send_buffer(50_000).unwrap();
    let mut p = Puppet::acceptor(config);
    let whole = Bytes::from((0..120_000u32).map(|i| (i ^ i >> 8) as u8).collect::<Vec<_>>());
    let mut left = whole.clone();
    let mut received = Vec::new();
    let mut acked = 0;
    while received.len() < whole.len() {
        match p.connection().write_bytes(&mut left) {
            Ok(n) => assert!(n > 0 || left.is_empty()),
            Err(WriteError::Blocked) => {}
            Err(error) => panic!("{error}"),
        }
        p.drain();
        for seen in p.take() {
            if seen.raw.kind == Kind::Data && seen.number == acked {
                received.extend(seen.raw.payload);
                acked += 1;
            }
        }
        p.wait(ms(10));
        p.send(state().ack(acked));
    }
    assert!(left.is_empty() && received == whole);
}

#[test]
fn a_transfer_survives_hours_of_rest_and_the_wrap_of_the_clock() {
    // The wire clock has 32 bits of microseconds: it wraps every 71.6 minutes.
    let mut world = World::new(16);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(10_000_000, ms(20)));
    let c = world.dial(a, b, Script::send(4 * 3_600 * 100).send_rate(100), Script::receive());
    world.run_to_the_end(Duration::from_secs(5 * 3_600));
    let stats = world.dialer(c).stats;
    assert_eq!((world.acceptor(c).read, stats.retransmits, stats.timeouts), (4 * 3_600 * 100, 0, 0));
    assert!(stats.queueing_delay < ms(5), "{stats:?}");
}
