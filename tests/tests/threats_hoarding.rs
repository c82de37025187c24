//! Peers that take nothing of what is sent to them, and make us keep it (S15 of SECURITY.md).

use std::time::Duration;

use utp_proto::{CloseReason, Config};
use utp_tests::puppet::{Kind, Puppet, data, ms, seconds, state};
use utp_tests::sim::{Link, Reading, Script, World};

/// A connection that its owner has closed, towards a peer that answers every probe and has no room, ever, or next to
/// none.
#[test]
fn a_closed_connection_is_given_up_when_its_peer_takes_nothing_or_next_to_nothing() {
    for trickles in [false, true] {
        let mut p = Puppet::initiator(Config::default());
        p.send(data(0).window(0));
        let room = p.connection().writable();
        p.write(&vec![7; room]);
        for _ in 0..200 {
            p.wait(seconds(1));
            p.send(state().window(0));
        }
        assert_eq!(p.closed(), None, "the owner may wait for as long as it likes");
        // What was written, and the block with what came.
        let held = p.endpoint.stats().memory as usize;
        assert!((room + (4 << 10)..room + (5 << 10)).contains(&held), "{held}");
        p.take();
        p.close();
        let mut left = 0;
        let mut acked = 0;
        for second in 0..200 {
            p.wait(seconds(1));
            for seen in p.take() {
                if seen.raw.kind == Kind::Data && trickles {
                    acked = acked.max(seen.number + 1);
                }
            }
            if p.closed().is_some() {
                left = second;
                break;
            }
            p.send(state().ack(acked).window(0));
        }
        assert_eq!(p.closed(), Some(CloseReason::Aborted), "{trickles}");
        assert!((55..125).contains(&left), "after {left} s");
        p.wait(ms(1));
        assert_eq!(p.endpoint.stats().memory, 0);
    }
}

/// A peer that is slow, and not malicious: it gets all of it.
#[test]
fn a_closed_connection_serves_a_slow_peer_to_the_end() {
    let mut world = World::new(15);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(16_000, ms(300)));
    let size = 250_000;
    let sender = Script::send(size).ending(seconds(2), utp_tests::sim::Ending::Close);
    let conn = world.dial(a, b, sender, Script::receive());
    world.run_to_the_end(seconds(600));
    assert_eq!(world.acceptor(conn).read, size);
    assert!(world.now() > seconds(125), "{:?}", world.now());
}

/// Ten thousand peers that open a connection, ask for something, and take no more than fits into their smallest window.
#[test]
fn ten_thousand_shut_windows_keep_within_the_budget_and_disturb_nobody() {
    const PEERS: usize = 10_000;
    const BUDGET: usize = 32 << 20;
    let mut world = World::new(16);
    world.without_monitor();
    let mut config = Config::default();
    config.memory_budget(BUDGET).expect("a budget").backlog(PEERS).expect("a backlog");
    let server = world.host(config);
    let mut small = Config::default();
    small.receive_buffer(4 << 10).expect("a size");
    let hoarder = world.host(small);
    let honest = world.host_default();
    world.join(server, hoarder, Link::new(1_000_000_000, ms(10)).queue(64 << 20));
    world.join(server, honest, Link::new(20_000_000, ms(10)));
    let forever = seconds(1 << 20);
    for _ in 0..PEERS {
        world.dial(
            hoarder,
            server,
            Script::receive().reading(Reading::Pause(0, forever)),
            Script::send(1 << 20),
        );
    }
    let mut most = 0;
    for _ in 0..60 {
        world.run_for(ms(500));
        most = most.max(world.at(server).endpoint.stats().memory as usize);
    }
    assert_eq!(world.at(server).endpoint.open_connections(), PEERS);
    println!("{most} bytes held for {PEERS} peers with a budget of {BUDGET}");
    // Every one may have a share of 16 KiB, and the write that used the budget up was one of 64 KiB.
    assert!(most > BUDGET && most <= BUDGET + PEERS * (16 << 10) + (64 << 10), "{most}");
    let start = world.now();
    let conn = world.dial(honest, server, Script::receive(), Script::send(10_000_000));
    world.run_while(seconds(60), |world| world.dialer(conn).closed.is_none());
    let took = world.now() - start;
    println!("an honest peer gets 10 MB in {took:.2?}");
    // 4 s at the rate of the link; with 16 KiB at a time, 20 ms each and the time that the link takes for them, 13.4.
    assert!(world.dialer(conn).is_clean() && took < Duration::from_secs(14), "{took:?}");
}
