//! Congestion control on simulated links. The counters are exact: the simulation is deterministic, so that any
//! change of behaviour moves them. Whoever moves them looks at why, and writes down the new ones (as in
//! libtorrent's simulation/test_utp.cpp, whose five scenarios come first, with LEDBAT and with the default; the fifth,
//! in which congestion control has no part, is in `sim_mtu.rs`). The new ones are on the left of the message:
//! `cargo test -p utp-tests --no-default-features --test sim_congestion --no-fail-fast 2>&1 | grep -A2 panicked`.

use std::time::Duration;

use utp_proto::congestion::{CubicConfig, LedbatConfig};
use utp_proto::{Config, ConnectionStats};
use utp_tests::puppet::{Kind, Measured, Puppet, ms, seconds, state};
use utp_tests::sim::{Ending, Link, LinkStats, Script, World};

/// What a transfer of a megabyte was like: sender, receiver, link and time.
struct Run {
    sender: ConnectionStats,
    receiver: ConnectionStats,
    link: LinkStats,
    time: Duration,
}

fn megabyte(link: Link, send_buffer: Option<usize>) -> Run {
    let mut config = Config::default();
    config.congestion(std::sync::Arc::new(LedbatConfig::default()));
    megabyte_with(config, link, send_buffer)
}

fn megabyte_with(mut config: Config, link: Link, send_buffer: Option<usize>) -> Run {
    // Exact counts of packets: without those of the honesty tests (`threats_receivers.rs`).
    config.distrust(false);
    let mut world = World::new(1);
    let (a, b) = (world.host(config.clone()), world.host(config));
    world.send_buffer(a, send_buffer);
    let (forth, _) = world.join(a, b, link);
    let c = world.dial(a, b, Script::send(1_000_000), Script::receive());
    world.run_to_the_end(seconds(600));
    assert!(world.all_sides().all(|side| side.is_clean()));
    assert_eq!(world.acceptor(c).read, 1_000_000);
    let run = Run {
        sender: world.dialer(c).stats,
        receiver: world.acceptor(c).stats,
        link: world.link_stats(forth).clone(),
        time: world.now(),
    };
    println!(
        "{:?}, queue mean {:?} max {:?}\n{:?}\n{:?}",
        run.time,
        run.link.waits.mean(),
        run.link.waits.max(),
        run.sender,
        run.receiver
    );
    run
}

impl Run {
    /// Losses, time-outs, fast retransmits, resends.
    fn troubles(&self) -> (u64, u64, u64, u64) {
        let s = &self.sender;
        (s.packets_lost, s.timeouts, s.fast_retransmits, s.retransmits)
    }

    /// Invalid packets at either end, and redundant ones.
    fn waste(&self) -> (u64, u64, u64) {
        (self.sender.invalid_packets, self.receiver.invalid_packets, self.receiver.duplicate_packets)
    }
}

#[test]
fn on_a_clean_pipe_nothing_is_lost_resent_or_redundant() {
    // libtorrent's utp_plain.
    let run = megabyte(Link::new(1_000_000_000, ms(25)), None);
    assert_eq!((run.troubles(), run.waste()), ((0, 0, 0, 0), (0, 0, 0)));
    assert_eq!((run.sender.packets_sent, run.sender.packets_received), (695, 348));
    assert_eq!((run.link.overflows, run.link.losses), (0, 0));
}

#[test]
fn a_buffer_of_ten_seconds_is_not_filled() {
    // libtorrent's utp_buffer_bloat: 50 kB/s before a queue of 500 kB.
    let run = megabyte(Link::new(400_000, ms(25)).queue(500_000), None);
    assert_eq!((run.troubles(), run.waste()), ((0, 0, 0, 0), (0, 0, 0)));
    assert_eq!((run.sender.packets_sent, run.sender.packets_received), (695, 692));
    assert!(run.link.waits.quantile(0.5) < ms(130), "{:?}", run.link.waits.quantile(0.5));
    assert!(run.link.waits.max() < ms(500), "{:?}", run.link.waits.max());
    assert!(run.time < seconds(23), "the link is used: {:?}", run.time);
}

#[test]
fn a_queue_of_one_packet_is_survived() {
    // libtorrent's utp_straw: 50 kB/s before 1500 bytes (besides what is being sent); 64 losses and 32 time-outs
    // there, 130 of 531 packets resent.
    let run = megabyte(Link::new(400_000, ms(25)).queue(3_000), None);
    assert_eq!((run.troubles(), run.waste()), ((196, 0, 196, 196), (0, 0, 0)));
    assert!(run.time < seconds(25), "of 20 that it takes at least: {:?}", run.time);
}

#[test]
fn a_small_kernel_buffer_stalls_and_is_not_taken_for_loss() {
    // libtorrent's utp_small_kernel_send_buf: 50 MB/s, 5000 bytes; 190 resends there.
    let run = megabyte(Link::new(400_000_000, ms(10)).queue(1 << 20), Some(5_000));
    assert_eq!((run.troubles(), run.waste()), ((0, 0, 0, 0), (0, 0, 0)));
    assert_eq!((run.link.overflows, run.sender.congestion_events), (0, 0));
    assert!(run.link.waits.max() < ms(1), "{:?}", run.link.waits.max());
}

/// The same with the default: losses and what they cost, packets sent and received, reductions of the window; queueing
/// at the bottleneck, mean and longest, and time, all in milliseconds.
#[test]
fn the_same_four_with_the_default_to_the_last_packet() {
    let links = [
        (Link::new(1_000_000_000, ms(25)), None),
        (Link::new(400_000, ms(25)).queue(500_000), None),
        (Link::new(400_000, ms(25)).queue(3_000), None),
        (Link::new(400_000_000, ms(10)).queue(1 << 20), Some(5_000)),
    ];
    let seen = links.map(|(link, send_buffer)| {
        let run = megabyte_with(Config::default(), link, send_buffer);
        assert_eq!(run.waste(), (0, 0, 0));
        let s = &run.sender;
        let packets = (s.packets_sent, s.packets_received, s.congestion_events);
        let waits = (run.link.waits.mean().as_millis(), run.link.waits.max().as_millis());
        (run.troubles(), packets, waits, run.time.as_millis())
    });
    let pinned = [
        ((0, 0, 0, 0), (695, 348, 0), (0, 0), 241),
        ((0, 0, 0, 0), (695, 692, 0), (38, 354), 20_953),
        ((60, 0, 60, 60), (755, 692, 47), (6, 30), 21_729),
        ((0, 0, 0, 0), (695, 348, 0), (0, 0), 100),
    ];
    assert_eq!(seen, pinned);
}

/// Five seconds of the default alone on 20 Mbit/s x 50 ms and ten beside CUBIC, which stops dead then.
#[test]
fn a_life_of_the_default_to_the_last_packet() {
    let mut world = World::new(4);
    let bottleneck = world.link(Link::new(20_000_000, ms(25)).queue(1 << 18));
    let back = world.link(Link::wire(ms(25)));
    let mut cubic = Config::default();
    cubic.congestion(std::sync::Arc::new(CubicConfig::default()));
    let hosts = [Config::default(), Config::default(), cubic.clone(), cubic].map(|mut config| {
        config.distrust(false);
        world.host(config)
    });
    for (from, to) in [(0, 1), (2, 3)] {
        world.route(hosts[from], hosts[to], &[bottleneck]);
        world.route(hosts[to], hosts[from], &[back]);
    }
    let ours = world.dial(hosts[0], hosts[1], Script::send(1 << 40), Script::receive());
    let mut seen = Vec::new();
    let mut look = |world: &mut World| {
        let handle = world.dialer(ours).handle;
        let stats = world.at(hosts[0]).endpoint.connection(handle).expect("still open").stats();
        seen.push((stats.packets_sent, stats.retransmits, stats.congestion_events, stats.cwnd));
    };
    world.run_for(seconds(5));
    look(&mut world);
    let theirs = world.dial(hosts[2], hosts[3], Script::send(1 << 40), Script::receive());
    world.run_for(seconds(10));
    look(&mut world);
    world.end(theirs, false, Ending::Abort);
    world.run_for(seconds(5));
    look(&mut world);
    let pinned = [(8_095, 0, 0, 144_468), (8_897, 1, 1, 2_904), (15_700, 1, 1, 143_852)];
    assert_eq!(seen, pinned, "packets, resends, reductions, window");
}

#[test]
fn the_window_grows_while_it_is_used_and_not_otherwise() {
    let mut world = World::new(2);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::new(100_000_000, ms(20)).queue(4 << 20));
    let idle = world.dial(a, b, Script::send(2_000_000).send_rate(100_000), Script::receive());
    world.run_for(seconds(10));
    let unused = world.dialer(idle).stats.cwnd;
    assert!(unused <= 20 * 1452, "{unused}");
    let busy = world.dial(a, b, Script::send(20_000_000), Script::receive());
    world.run_for(seconds(1));
    assert!(world.dialer(busy).stats.cwnd > 300_000, "{:?}", world.dialer(busy).stats);
    world.run_to_the_end(seconds(60));
}

#[test]
fn the_window_shrinks_when_others_fill_the_queue() {
    let mut world = World::new(3);
    let hosts: Vec<_> = (0..4).map(|_| world.host_default()).collect();
    let (forth, back) =
        (world.link(Link::new(10_000_000, ms(20)).queue(1 << 20)), world.link(Link::wire(ms(20))));
    for (from, to) in [(0, 1), (2, 3)] {
        world.route(hosts[from], hosts[to], &[forth]);
        world.route(hosts[to], hosts[from], &[back]);
    }
    let ours = world.dial(hosts[0], hosts[1], Script::send(1 << 30), Script::receive());
    world.run_for(seconds(20));
    let alone = world.dialer(ours).stats.cwnd;
    let others = Script::send(1 << 30).send_rate(800_000).start(seconds(20));
    world.dial(hosts[2], hosts[3], others, Script::receive());
    world.run_for(seconds(60));
    let beside = world.dialer(ours).stats.cwnd;
    println!("{alone} {beside}");
    assert!(beside < alone, "{alone} {beside}");
    assert!(world.link_stats(forth).overflows == 0);
}

#[test]
fn a_window_in_which_many_packets_are_lost_is_halved_once() {
    let mut p = Puppet::acceptor(Config::default());
    p.download(200_000, ms(20), |_| false);
    let before = p.stats().cwnd;
    p.write(&vec![1; 200_000]);
    p.wait(ms(40));
    let sent = p.take();
    let (first, last) = (sent[0].number, sent.last().unwrap().number);
    assert!(last - first > 20);
    p.send(state().ack(first).sack((first..=last).filter(|number| number % 3 == 0)));
    let stats = p.stats();
    assert!(stats.packets_lost > 10 && stats.congestion_events == 1, "{stats:?}");
    assert!(stats.cwnd <= before * 3 / 4 + 20_000, "{before} {}", stats.cwnd);
    // What is lost of the next window costs another half.
    p.wait(ms(40));
    let next: Vec<i32> = p.take().iter().filter(|s| s.raw.kind == Kind::Data).map(|s| s.number).collect();
    let newest = *next.iter().max().unwrap();
    p.send(state().ack(last + 1));
    p.wait(ms(100));
    p.take();
    assert!(p.stats().congestion_events <= 2, "{newest}");
}

#[test]
fn delays_that_say_nothing_do_not_wedge_the_window() {
    for difference in [0, 1, 1_000_000, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut p = Puppet::new(Config::default());
        p.measured = Measured::Constant(difference);
        p.accept();
        let lossy = p.download(1_000_000, ms(20), |n| n == 100);
        assert!(lossy.time < seconds(5), "{difference:#x}: {lossy:?}");
        assert!(p.stats().cwnd >= 20_000, "{difference:#x}: {:?}", p.stats());
    }
}
