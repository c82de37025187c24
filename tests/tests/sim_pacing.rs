//! How packets are spread over time: bursts are bounded, idle senders do not make up for lost time, and short queues
//! are not overrun.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::Config;
use utp_proto::congestion::{ControllerFactory, CubicConfig, EbbConfig, FixedWindow, LedbatConfig};
use utp_tests::puppet::{Kind, Puppet, ms, seconds, state};
use utp_tests::sim::{Link, Script, World};

/// DATA packets that left within `span` of each other, at most.
fn burst(p: &mut Puppet, span: Duration) -> usize {
    let seen = p.take();
    let at: Vec<_> = seen.iter().filter(|seen| seen.raw.kind == Kind::Data).map(|seen| seen.at).collect();
    (0..at.len()).map(|i| at[i..].iter().take_while(|t| **t - at[i] <= span).count()).max().unwrap_or(0)
}

/// A window of so many packets of 1000 bytes on a path of 100 ms.
fn paced(packets: u64) -> Puppet {
    let mut config = Config::default();
    config.initial_datagram(1020).unwrap().max_datagram(1020, 1020).unwrap();
    config.congestion(Arc::new(FixedWindow { bytes: packets * 1000 })).distrust(false);
    let mut p = Puppet::new(config);
    p.rtt = ms(100);
    p.accept();
    p
}

#[test]
fn ten_packets_go_together_at_most_and_the_rest_at_the_pace() {
    let mut p = paced(100);
    p.write(&[1; 100_000]);
    p.wait(ms(100));
    let seen: Vec<_> = p.inbox.iter().map(|seen| seen.at).collect();
    assert_eq!(burst(&mut p, Duration::ZERO), 10);
    assert_eq!(seen.len(), 100);
    // 1.25 windows per round trip, RFC 9002 7.7: the 90 others take 72 ms.
    let took = *seen.last().unwrap() - seen[0];
    assert!((ms(70)..=ms(76)).contains(&took), "asked 72 ms, measured {took:?}");
}

#[test]
fn an_idle_sender_restarts_paced() {
    let mut p = paced(100);
    p.write(&[1; 50_000]);
    p.wait(ms(200));
    p.send(state().ack(50));
    p.take();
    p.wait(seconds(10));
    p.take();
    p.write(&[1; 100_000]);
    p.wait(ms(100));
    let most = burst(&mut p, ms(1));
    assert!(
        most <= 13,
        "asked 10 packets and what 1 ms is worth, measured {most} after ten seconds of silence"
    );
}

#[test]
fn losses_shorten_the_bursts() {
    let mut p = paced(20);
    p.write(&[1; 20_000]);
    p.wait(ms(100));
    assert_eq!(burst(&mut p, Duration::ZERO), 10);
    for round in 1..6 {
        let first = 20 * round;
        p.write(&[1; 20_000]);
        p.send(state().ack(first - 20).sack(first - 19..first)); // the first of 20 is lost
        p.wait(ms(100));
        p.send(state().ack(first));
        p.wait(ms(100));
        p.take();
        p.write(&[]);
    }
    p.wait(ms(100));
    p.send(state().ack(120));
    p.take();
    p.write(&[1; 20_000]);
    p.wait(ms(100));
    assert_eq!(burst(&mut p, Duration::ZERO), 1);
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let controllers: [(&str, Arc<dyn ControllerFactory>); 3] = [
        ("LEDBAT", Arc::new(LedbatConfig::default())),
        ("Ebb", Arc::new(EbbConfig::default())),
        ("CUBIC", Arc::new(CubicConfig::default())),
    ];
    for (name, controller) in controllers {
        let mut config = Config::default();
        config.congestion(controller);
        let mut world = World::new(1);
        let (a, b) = (world.host(config.clone()), world.host(config));
        world.join(a, b, Link::new(100_000_000, ms(20)).queue(4 << 20));
        // 4 kB in a round trip.
        let c = world.dial(a, b, Script::send(6_000_000).send_rate(100_000), Script::receive());
        world.run_for(seconds(30));
        let cwnd = world.dialer(c).stats.cwnd;
        assert!(cwnd <= 20 * 1452, "{name}: asked 20 packets, measured {cwnd}");
    }
}

#[test]
fn a_queue_of_one_packet_is_not_overrun_for_ever() {
    // Queue in bytes, what is being sent counted; what it takes at least; with bursts of ten throughout it took 56 s
    // before 1500 bytes at 400 kbit/s, and 72 to 135 s before 3000 bytes at 10 Mbit/s.
    let controllers: [(&str, Arc<dyn ControllerFactory>); 3] = [
        ("LEDBAT", Arc::new(LedbatConfig::default())),
        ("Ebb", Arc::new(EbbConfig::default())),
        ("CUBIC", Arc::new(CubicConfig::default())),
    ];
    for (name, controller) in controllers {
        let mut config = Config::default();
        config.congestion(controller);
        for (rate, queue, bytes, limit) in [
            (400_000, 1_500, 1_000_000, 35),
            (400_000, 3_000, 1_000_000, 23),
            (10_000_000, 3_000, 20_000_000, 33),
        ] {
            let mut world = World::new(1);
            let (a, b) = (world.host(config.clone()), world.host(config.clone()));
            world.join(a, b, Link::new(rate, ms(25)).queue(queue));
            let c = world.dial(a, b, Script::send(bytes), Script::receive());
            world.run_to_the_end(seconds(600));
            let (took, stats) = (world.now(), world.dialer(c).stats);
            println!(
                "{name}, {rate}, {queue}: {took:?}, {} lost, {} time-outs",
                stats.packets_lost, stats.timeouts
            );
            assert_eq!((world.acceptor(c).read, stats.timeouts), (bytes, 0), "{name}, {rate}, {queue}");
            assert!(
                took < seconds(limit),
                "{name}, {rate}, {queue}: asked {limit} s, measured {took:?}; {stats:?}"
            );
        }
    }
}
