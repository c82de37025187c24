//! The test of a peer's honesty (`connection/honesty.rs` of the core), packet by packet: what honest peers of every kind
//! see of it, and that nothing but a lie fails it.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::FixedWindow;
use utp_proto::{CloseReason, Config};
use utp_tests::puppet::{Flavour, Kind, Puppet, ms, seconds, state};
use utp_tests::sim::{Link, Script, World};

const FULL: usize = 1_000;

fn config() -> Config {
    let mut config = Config::default();
    config.initial_datagram(FULL + 20).unwrap().max_datagram(FULL + 20, FULL + 20).unwrap().pacing(false);
    config.congestion(Arc::new(FixedWindow { bytes: 60_000 })).send_buffer(1 << 20).unwrap();
    config
}

/// A flight of 60 packets is out, one of which was held back: the puppet, that one, and the last.
fn tested(flavour: Flavour) -> (Puppet, i32, i32) {
    let mut p = Puppet::of(flavour, config());
    p.initiate();
    p.write(&vec![7; 400 * FULL]);
    let numbers: Vec<i32> = p.take().iter().map(|seen| seen.number).collect();
    let held = (0..).zip(&numbers).find(|(n, number)| n != *number).expect("one is left out").0;
    let last = *numbers.last().expect("a flight");
    assert_eq!(numbers.len() as i32, last, "one and no more");
    assert!((16..24).contains(&held) && p.stats().withheld == 1, "{held}");
    p.wait(ms(50));
    (p, held, last)
}

#[test]
fn what_was_held_back_goes_as_soon_as_the_gap_is_reported_and_was_neither_lost_nor_sent_again() {
    let (mut p, held, _) = tested(Flavour::Plain);
    p.send(state().ack(held));
    assert!(p.take().iter().all(|seen| seen.number > held), "that it came so far says nothing");
    p.send(state().ack(held).sack([held + 1]));
    assert_eq!(p.take()[0].number, held);
    let stats = p.stats();
    assert_eq!((stats.packets_lost, stats.retransmits, stats.congestion_events), (0, 0, 0));
    // It is in order again, and a good sample of the round trip.
    p.wait(ms(50));
    p.send(state().ack(held + 2));
    assert_eq!((p.closed(), p.stats().rtt), (None, ms(50)));
}

#[test]
fn peers_without_masks_report_it_by_repeating_themselves() {
    let (mut p, held, _) = tested(Flavour::Maskless);
    for _ in 0..4 {
        assert!(p.take().iter().all(|seen| seen.number > held));
        p.send(state().ack(held));
    }
    assert_eq!(p.take()[0].number, held);
    let stats = p.stats();
    assert_eq!((stats.packets_lost, stats.retransmits, stats.congestion_events), (0, 0, 0));
}

#[test]
fn a_peer_that_falls_silent_gets_it_with_the_rest() {
    let (mut p, held, last) = tested(Flavour::Plain);
    p.send(state().ack(held));
    p.take();
    p.wait(seconds(5));
    let numbers: Vec<i32> = p.take().iter().map(|seen| seen.number).collect();
    assert!(numbers.contains(&held), "{numbers:?}");
    p.send(state().ack(last));
    assert_eq!(p.closed(), None);
}

#[test]
fn whoever_acknowledges_what_was_held_back_is_told_so() {
    for selectively in [false, true] {
        let (mut p, held, last) = tested(Flavour::Plain);
        match selectively {
            false => p.send(state().ack(held + 1)),
            true => p.send(state().ack(held - 1).sack(held..=last)),
        }
        assert_eq!(p.closed(), Some(CloseReason::Violation));
        p.expect(Kind::Reset);
        p.expect_nothing();
    }
}

/// What is not acknowledged and cannot be is nobody's proof: anybody may have sent it.
#[test]
fn acknowledgements_of_what_has_no_number_yet_are_ignored() {
    let (mut p, held, last) = tested(Flavour::Plain);
    for n in 1..1_000 {
        p.send(state().ack(last + 1 + n));
    }
    assert_eq!((p.closed(), p.stats().invalid_packets), (None, 999));
    p.send(state().ack(held).sack([held + 1]));
    assert_eq!(p.take()[0].number, held);
}

#[test]
fn it_can_be_turned_off() {
    let mut config = config();
    config.distrust(false);
    let mut p = Puppet::initiator(config);
    p.write(&vec![7; 400 * FULL]);
    p.expect_all(0..60);
}

/// What it costs honest peers: over lossy and reordering paths nobody is taken for a liar, and a clean transfer takes
/// no longer.
#[test]
fn honest_peers_pass_on_any_path_and_lose_no_time() {
    let links = [
        Link::new(20_000_000, ms(20)),
        Link::new(50_000_000, ms(5)).loss(0.02),
        Link::new(10_000_000, ms(40)).reorder(0.1, ms(15)).duplicate(0.05).jitter(ms(3)),
        Link::new(4_000_000, ms(100)).burst(0.002, 0.1, 0.5).queue(30_000),
    ];
    for (at, link) in links.into_iter().enumerate() {
        let run = |distrust: bool| -> (Duration, u64, u64) {
            let mut world = World::new(14);
            let mut config = Config::default();
            config.distrust(distrust);
            let hosts = [(); 2].map(|()| world.host(config.clone()));
            world.join(hosts[0], hosts[1], link.clone());
            let conn = world.dial(hosts[0], hosts[1], Script::send(20_000_000), Script::receive());
            world.run_to_the_end(seconds(900));
            assert!(world.all_sides().all(|side| side.is_clean()));
            let stats = world.dialer(conn).stats;
            (world.now(), stats.withheld, stats.data_packets_sent)
        };
        let (without, none, _) = run(false);
        let (with, withheld, packets) = run(true);
        println!(
            "path {at}: {with:.2?} with {withheld} of {packets} packets held back, {without:.2?} with none"
        );
        assert!(none == 0 && withheld > 0 && withheld * 100 < packets, "{withheld} of {packets}");
        assert!(at > 0 || with < without + without / 50, "{with:?} {without:?}");
    }
}
