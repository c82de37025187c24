//! Path MTU: what is lost while it is searched for, what is not, and what happens when it shrinks.

use std::time::Duration;

use utp_proto::{Config, PathError};
use utp_tests::puppet::{Kind, Puppet, Seen, ms, seconds, state};
use utp_tests::sim::{ConnId, Link, Script, World};

/// Two megabytes over a link; the sender's connection.
fn transfer(link: Link, v6: bool) -> (World, ConnId) {
    let mut world = World::new(1);
    let hosts: Vec<_> = (1..=2)
        .map(|n| {
            let addr = if v6 { format!("[fd00::{n}]:1") } else { format!("10.0.0.{n}:1") };
            world.host_at(addr.parse().unwrap(), Config::default(), 0)
        })
        .collect();
    world.join(hosts[0], hosts[1], link);
    let c = world.dial(hosts[0], hosts[1], Script::send(2 << 20), Script::receive());
    world.run_to_the_end(seconds(120));
    (world, c)
}

fn ethernet() -> Link {
    Link::new(50_000_000, ms(15)).queue(1 << 20)
}

#[test]
fn an_ethernet_path_costs_one_probe() {
    for (v6, mtu) in [(false, 1472), (true, 1452)] {
        let (world, c) = transfer(ethernet(), v6);
        let stats = world.dialer(c).stats;
        assert_eq!((stats.mtu, stats.mtu_probes_sent, stats.mtu_probes_lost), (mtu, 1, 0));
        assert_eq!((stats.retransmits, stats.timeouts), (0, 0));
    }
}

#[test]
fn on_a_path_of_1464_bytes_only_probes_are_lost_and_that_costs_nothing() {
    // libtorrent's utp_pmtud: 2 fast retransmits, 2 resends, no loss event, no time-out, nothing redundant.
    let (world, c) = transfer(ethernet().mtu(1464), false);
    let (stats, peer) = (world.dialer(c).stats, world.acceptor(c).stats);
    assert_eq!((stats.mtu_probes_sent, stats.mtu_probes_lost, stats.mtu), (6, 2, 1464));
    assert_eq!((stats.retransmits, stats.fast_retransmits), (2, 2));
    assert_eq!((stats.packets_lost, stats.congestion_events, stats.timeouts), (0, 0, 0));
    assert_eq!((peer.duplicate_packets, peer.invalid_packets, stats.invalid_packets), (0, 0, 0));
}

#[test]
fn any_limit_is_found_to_within_sixteen_bytes_without_a_loss_or_a_time_out() {
    // 1252: the IPv6 minimum, and many tunnels. 1400: VPNs. 1444: PPPoE in GRE.
    for limit in [1232, 1252, 1300, 1350, 1400, 1444, 1456, 1463, 1471] {
        let (world, c) = transfer(ethernet().mtu(limit), false);
        let stats = world.dialer(c).stats;
        let mtu = stats.mtu as usize;
        println!("{limit}: {mtu}, {} probes, {} lost", stats.mtu_probes_sent, stats.mtu_probes_lost);
        assert!(mtu <= limit && mtu + 2 * 16 > limit, "{limit}: {mtu}");
        assert_eq!((stats.packets_lost, stats.timeouts, stats.congestion_events), (0, 0, 0), "{limit}");
        assert_eq!(stats.retransmits, stats.mtu_probes_lost);
    }
}

#[test]
fn random_loss_is_not_taken_for_a_small_path() {
    let (world, c) = transfer(ethernet().loss(0.03), false);
    let stats = world.dialer(c).stats;
    assert_eq!(stats.mtu, 1472, "{stats:?}");
}

#[test]
fn what_the_network_says_spares_probes() {
    let quiet = transfer(ethernet().mtu(1300), false);
    let mut link = ethernet().mtu(1300);
    link.tells_mtu = true;
    let told = transfer(link, false);
    let (quiet, told) = (quiet.0.dialer(quiet.1).stats, told.0.dialer(told.1).stats);
    println!(
        "{} probes lost, and {} where the network says nothing",
        told.mtu_probes_lost, quiet.mtu_probes_lost
    );
    assert!(told.mtu_probes_lost < quiet.mtu_probes_lost, "{told:?} {quiet:?}");
    // The first, and the next larger size than what was told, twice.
    assert_eq!((told.mtu, told.mtu_probes_lost), (1300, 3), "{told:?}");
    assert_eq!((told.packets_lost, told.timeouts), (0, 0));
}

#[test]
fn what_the_network_says_is_only_a_hint() {
    let mut p = Puppet::acceptor(Config::default());
    p.download(500_000, ms(10), |_| false);
    assert_eq!(p.stats().mtu, 1472);
    let addr = utp_tests::puppet::addr();
    for size in [None, Some(0), Some(68), Some(576), Some(1471), Some(usize::MAX)] {
        let now = p.instant();
        p.endpoint.handle_path_error(now, addr, PathError::TooBig(size));
        p.drain();
    }
    p.download(500_000, ms(10), |_| false);
    let stats = p.stats();
    assert_eq!((stats.mtu, stats.retransmits), (1472, 0));
}

/// Sends until a probe has left; gives it and what left with it.
fn until_a_probe(p: &mut Puppet) -> (Seen, Vec<Seen>) {
    p.write(&vec![1; 200_000]);
    let sent = p.take();
    let probe = sent.iter().find(|seen| !seen.raw.extensions.is_empty()).expect("a probe").clone();
    (probe, sent)
}

#[test]
fn a_lost_probe_is_sent_again_with_the_same_payload_and_without_the_padding() {
    let mut p = Puppet::acceptor(Config::default());
    let (probe, sent) = until_a_probe(&mut p);
    assert_eq!((probe.size, probe.raw.payload.len(), probe.may_fragment), (1472, 1212, false));
    assert_eq!(probe.raw.extensions[0].0, 2, "libutp takes a leading id of 3 and more for another protocol");
    assert!(probe.raw.extensions[1..].iter().all(|(id, _)| *id == 0x50));
    let window = p.stats().cwnd;
    p.wait(ms(10));
    let highest = sent.last().unwrap().number;
    p.send(state().ack(probe.number).sack(probe.number + 1..=highest));
    let again = p.take().into_iter().find(|seen| seen.number == probe.number && seen.raw.kind == Kind::Data);
    let again = again.expect("sent again");
    assert_eq!((again.raw.payload, again.raw.extensions), (probe.raw.payload, vec![]));
    let stats = p.stats();
    assert_eq!((stats.mtu_probes_lost, stats.packets_lost, stats.congestion_events), (1, 0, 0));
    assert!(stats.cwnd >= window);
}

#[test]
fn a_probe_that_the_kernel_refuses_is_not_lost_as_a_packet() {
    let mut config = Config::default();
    config.distrust(false); // every packet in its turn
    let mut p = Puppet::acceptor(config);
    let (probe, sent) = until_a_probe(&mut p);
    // EMSGSIZE: the probe has not left, everything else has.
    let (now, addr) = (p.instant(), utp_tests::puppet::addr());
    p.endpoint.handle_path_error(now, addr, PathError::TooBig(Some(1400)));
    p.drain();
    p.wait(ms(10));
    let highest = sent.last().unwrap().number;
    p.send(state().ack(probe.number).sack(probe.number + 1..=highest));
    let sent = p.take();
    assert!(sent.iter().any(|seen| seen.number == probe.number && seen.size == 1232));
    let mut next = sent.iter().map(|seen| seen.number + 1).max();
    // The next probe keeps to it. That passes, and then those that show that it was not true.
    let sizes_of =
        |sent: &[Seen]| sent.iter().map(|s| s.size).filter(|size| *size > 1232).collect::<Vec<_>>();
    assert_eq!(sizes_of(&sent), [1400]);
    let mut sizes = Vec::new();
    for _ in 0..20 {
        p.wait(ms(40));
        p.send(state().ack(next.expect("something was sent")));
        let sent = p.take();
        sizes.extend(sizes_of(&sent));
        next = sent.iter().map(|seen| seen.number + 1).max().max(next);
    }
    assert!(sizes.contains(&1416) && p.stats().mtu == 1472, "{sizes:?}");
    assert_eq!((p.stats().timeouts, p.stats().packets_lost), (0, 0));
}

#[test]
fn a_path_that_shrinks_is_noticed_and_the_transfer_goes_on() {
    for (to, fragments) in
        [(1400, true), (1400, false), (1000, true), (1000, false), (600, false), (548, true)]
    {
        let mut link = Link::new(10_000_000, ms(15)).queue(1 << 20).mtu_from(ms(500), to);
        link.drops_fragments = !fragments;
        let (world, c) = transfer(link, false);
        let (stats, side) = (world.dialer(c).stats, world.dialer(c));
        println!("{to}, fragments pass: {fragments}: {:?} {stats:?}", side.closed);
        if fragments {
            assert!(side.is_clean() && stats.mtu as usize <= to, "{to}: {stats:?}");
            assert!(world.now() < seconds(30), "{to}: {:?}", world.now());
        } else {
            // What was sent in larger packets cannot be cut again (BEP 29 counts packets, not bytes): without
            // fragments it never arrives, and the connection says so in the end.
            assert_eq!(side.closed.map(|(_, reason)| reason), Some(utp_proto::CloseReason::TimedOut));
        }
    }
}

#[test]
fn a_path_smaller_than_the_safe_start_is_lived_with() {
    for limit in [1200, 1000, 576, 548, 508] {
        let (world, c) = transfer(ethernet().mtu(limit), false);
        let stats = world.dialer(c).stats;
        assert!(world.dialer(c).is_clean() && stats.mtu as usize <= limit, "{limit}: {stats:?}");
        assert!(world.now() < seconds(60), "{limit}: {:?}", world.now());
    }
}

#[test]
fn a_small_path_that_widens_is_used_again() {
    let mut world = World::new(3);
    let (a, b) = (world.host_default(), world.host_default());
    let link = Link::new(2_000_000, ms(15)).queue(1 << 20).mtu(1300).mtu_from(seconds(60), usize::MAX);
    world.join(a, b, link);
    let c = world.dial(a, b, Script::send(400_000_000).send_rate(200_000), Script::receive());
    world.run_for(seconds(50));
    let before = world.dialer(c).stats.mtu;
    world.run_for(seconds(650));
    assert!(before <= 1300 && world.dialer(c).stats.mtu == 1472, "{before} {:?}", world.dialer(c).stats);
    assert_eq!(world.dialer(c).stats.timeouts, 0);
    assert!(world.now() > Duration::from_secs(600));
}
