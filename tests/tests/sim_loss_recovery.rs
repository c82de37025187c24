//! How the endpoint finds out what was lost, and what it sends again.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{ControllerFactory, EbbConfig, FixedWindow, LedbatConfig};
use utp_proto::{CloseReason, Config};
use utp_tests::puppet::{Flavour, Kind, Puppet, Seen, data, ms, seconds, state};

/// Full packets of this size, a window that is never in the way, no pacing: what goes out is decided by
/// loss recovery alone.
const FULL: usize = 1000;

fn config() -> Config {
    let mut config = Config::default();
    config.initial_datagram(FULL + 20).unwrap().max_datagram(FULL + 20, FULL + 20).unwrap().pacing(false);
    config.congestion(Arc::new(FixedWindow { bytes: 100_000 }));
    config
}

/// So many full packets have left, and the path has a round trip of 50 ms.
fn flight(flavour: Flavour, config: Config, packets: i32) -> Puppet {
    let mut p = Puppet::of(flavour, config);
    p.rtt = ms(50);
    p.accept();
    p.write(&[1; FULL]);
    p.expect_data(0);
    p.wait(ms(50));
    p.send(state().ack(1));
    p.write(&vec![2; FULL * packets as usize]);
    p.expect_all(1..=packets);
    p.wait(ms(50));
    p
}

fn resent(p: &mut Puppet) -> Vec<i32> {
    p.take().iter().filter(|seen| seen.raw.kind == Kind::Data).map(|seen| seen.number).collect()
}

#[test]
fn three_packets_reported_beyond_a_gap_mean_that_it_was_lost() {
    let mut p = flight(Flavour::Plain, config(), 10);
    p.send(state().ack(1).sack([2]));
    p.send(state().sack([2, 3]));
    p.expect_nothing();
    p.send(state().sack([2, 3, 4]));
    p.expect_all([1]);
    // Once: what is reported further on says nothing new about it.
    for last in 5..=10 {
        p.send(state().sack(2..=last));
    }
    p.expect_nothing();
    p.wait(ms(50));
    p.send(state().ack(11));
    let stats = p.stats();
    assert_eq!((stats.retransmits, stats.fast_retransmits, stats.packets_lost, stats.timeouts), (1, 1, 1, 0));
}

#[test]
fn every_gap_of_a_mask_is_filled_once_and_oldest_first() {
    let mut p = flight(Flavour::Plain, config(), 40);
    // Lost: 1, 5, 9, ... 37; reported: all others.
    p.send(state().ack(1).sack((1..=40).filter(|n| n % 4 != 1)));
    let gaps: Vec<i32> = (1..=37).filter(|n| n % 4 == 1).collect();
    assert_eq!(resent(&mut p), gaps);
    p.send(state().sack((1..=40).filter(|n| n % 4 != 1)));
    assert_eq!(resent(&mut p), [0; 0]);
    p.wait(ms(50));
    p.send(state().ack(41));
    assert_eq!((p.stats().retransmits, p.stats().timeouts, p.stats().bytes_in_flight), (10, 0, 0));
}

#[test]
fn two_overtakers_and_a_quarter_of_a_round_trip_mean_it_too() {
    let mut p = flight(Flavour::Plain, config(), 2);
    let sent = p.now() - ms(50);
    p.send(state().ack(1).sack([2]));
    p.expect_nothing();
    let again = p.next(ms(100), Kind::Data);
    assert_eq!((again.number, again.at - sent), (1, Duration::from_micros(62_500)));
}

#[test]
fn without_masks_three_repeated_acknowledgements_mean_a_loss() {
    let mut p = flight(Flavour::Maskless, config(), 10);
    p.send(state().ack(1));
    p.send(state());
    p.expect_nothing();
    p.send(state());
    p.expect_all([1]);
    for _ in 0..6 {
        p.send(state());
    }
    p.expect_nothing(); // once
    // A partial acknowledgement of the recovery shows the next gap (RFC 6582).
    p.wait(ms(50));
    p.send(state().ack(4));
    p.expect_all([4]);
    p.wait(ms(50));
    p.send(state().ack(11));
    assert_eq!((p.stats().retransmits, p.stats().timeouts), (2, 0));
}

#[test]
fn without_masks_what_goes_again_in_order_after_a_time_out_is_not_lost_again() {
    let mut p = flight(Flavour::Maskless, config(), 12);
    p.wait(ms(460));
    assert_eq!(p.stats().timeouts, 1);
    p.take();
    p.send(state().ack(2));
    p.expect_all(2..=12);
    p.wait(ms(50));
    for number in 3..=13 {
        p.send(state().ack(number));
        p.expect_nothing();
    }
    assert_eq!((p.stats().packets_lost, p.stats().timeouts), (12, 1));
}

#[test]
fn repeated_acknowledgements_count_on_state_only_and_with_an_unchanged_window() {
    let mut p = flight(Flavour::Maskless, config(), 10);
    // The peer sends data: its acknowledgement repeats because nothing new has arrived yet.
    p.send_batch((0..8).map(|n| data(n).ack(1)));
    assert_eq!(resent(&mut p), [0; 0]);
    // The peer reads: its window updates repeat the acknowledgement too.
    for window in [50_000, 60_000, 70_000, 80_000] {
        p.send(state().window(window));
    }
    assert_eq!(resent(&mut p), [0; 0]);
    // Keep-alives and overtaken ones acknowledge less.
    for _ in 0..4 {
        p.send(state().ack(0));
    }
    assert_eq!(resent(&mut p), [0; 0]);
    assert_eq!(p.stats().packets_lost, 0);
}

#[test]
fn a_retransmission_lost_again_is_found_without_a_time_out() {
    let mut p = flight(Flavour::Plain, config(), 10);
    for last in 4..=10 {
        p.send(state().ack(1).sack(2..=last));
    }
    p.expect_all([1]);
    p.write(&vec![3; 4 * FULL]);
    p.expect_all(11..=14);
    p.wait(ms(50));
    // Everything that left after the retransmission arrives, the retransmission does not.
    p.send(state().ack(1).sack(2..=12));
    p.expect_nothing();
    p.send(state().sack(2..=13));
    p.expect_all([1]);
    // And again.
    p.write(&vec![3; 4 * FULL]);
    p.expect_all(15..=18);
    p.wait(ms(50));
    p.send(state().sack(2..=18));
    p.expect_all([1]);
    p.wait(ms(50));
    p.send(state().ack(19));
    let stats = p.stats();
    assert_eq!((stats.retransmits, stats.packets_lost, stats.timeouts), (3, 3, 0));
}

#[test]
fn what_is_sent_again_is_the_same_but_for_its_timestamp_and_acknowledgement() {
    let mut p = Puppet::acceptor(config());
    p.write(&[7; FULL]);
    let original = p.expect_data(0).raw;
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);
    let again = p.next(seconds(2), Kind::Data).raw;
    assert_eq!((again.seq, &again.payload), (original.seq, &original.payload));
    assert_eq!(again.ack.wrapping_sub(original.ack), 2);
    assert_eq!(again.timestamp.wrapping_sub(original.timestamp), 50_000);
    assert_eq!(again.window, (1 << 20) - 200);
}

#[test]
fn the_tail_of_a_flight_is_probed_before_the_time_out() {
    let mut p = flight(Flavour::Plain, config(), 5);
    let sent = p.now() - ms(50);
    // All of it is lost. The round trip is 50 ms with a variation of 25.
    let probe = p.next(seconds(1), Kind::Data);
    let waited = probe.at - sent;
    assert!((ms(100)..ms(250)).contains(&waited), "{waited:?}");
    assert_eq!(probe.number, 1, "the oldest");
    // Again after twice the silence; then it is up to the time-out.
    let second = p.next(seconds(1), Kind::Data);
    assert_eq!((second.number, second.at - probe.at), (1, 2 * waited));
    let timeout = p.next(seconds(1), Kind::Data);
    assert_eq!((timeout.number, timeout.at - sent), (1, ms(500)));
    assert_eq!(p.stats().timeouts, 1);
}

#[test]
fn the_answer_to_the_tail_probe_shows_all_that_was_lost_before_it() {
    let mut p = flight(Flavour::Plain, config(), 5);
    p.next(seconds(1), Kind::Data);
    p.wait(ms(50));
    p.send(state().ack(2));
    p.expect_all(2..=5);
    assert_eq!((p.stats().timeouts, p.stats().packets_lost), (0, 4));
}

#[test]
fn the_time_out_is_a_second_at_first_doubles_and_has_a_bound() {
    let mut config = config();
    config.max_rto(seconds(4)).unwrap().give_up_after(seconds(30)).unwrap();
    let mut p = flight(Flavour::Plain, config, 0);
    // Four times the variation is less than the minimum.
    assert_eq!(p.stats().rto, ms(500));
    let start = p.now();
    p.write(&[1; FULL]);
    p.expect_data(1);
    let probes = [(); 2].map(|()| p.next(seconds(1), Kind::Data).at - start);
    assert!(probes[1] < ms(500), "{probes:?}");
    let times: Vec<_> = (0..8).map(|_| (p.next(seconds(5), Kind::Data).at - start).as_millis()).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500]);
    assert_eq!((p.stats().timeouts, p.stats().rto), (8, seconds(4)));
    // An answer that does not tell to which transmission it is leaves it (Karn), a sample resets it.
    p.send(state().ack(2));
    assert_eq!(p.stats().rto, seconds(4));
    p.write(&[1; 10]); // full packets look as if they did not pass
    p.expect_data(2);
    p.wait(ms(50));
    p.send(state().ack(3));
    assert_eq!(p.stats().rto, ms(500));
    p.expect_silence(seconds(20));
}

#[test]
fn before_any_sample_the_time_out_is_the_initial_one() {
    let mut p = Puppet::new(config());
    p.dial();
    p.wait(seconds(2)); // the SYN is repeated: its answer is no sample (Karn)
    p.send(state());
    p.take();
    assert_eq!((p.stats().rtt, p.stats().rto), (Duration::ZERO, seconds(1)));
    let start = p.now();
    p.write(&[1; FULL]);
    p.expect_data(0);
    assert_eq!(p.next(seconds(2), Kind::Data).at - start, seconds(1));
}

#[test]
fn an_answer_to_a_packet_sent_twice_is_no_sample() {
    let mut p = Puppet::acceptor(config());
    let before = p.stats().rtt;
    p.write(&[1; FULL]);
    p.wait(ms(700));
    assert_eq!(resent(&mut p), [0; 5]); // the original, three probes, a time-out
    p.send(state().ack(1));
    assert_eq!((p.stats().rtt, p.stats().min_rtt), (before, before));
}

#[test]
fn one_packet_goes_per_time_out_whatever_the_window_says() {
    let mut p = flight(Flavour::Plain, config(), 20);
    p.wait(seconds(2));
    let numbers = resent(&mut p);
    assert!(numbers.len() <= 4 && numbers.iter().all(|n| *n == 1), "{numbers:?}");
    let mut tiny = config();
    tiny.congestion(Arc::new(FixedWindow { bytes: 1 }));
    let mut p = Puppet::acceptor(tiny);
    p.write(&[1; 3 * FULL]);
    p.expect_data(0);
    p.expect_nothing(); // less than a packet counts as one
    p.wait(ms(600));
    assert_eq!(resent(&mut p), [0; 4]); // nor does it block three probes and the time-out
}

#[test]
fn an_answer_after_a_time_out_sends_the_rest_again_without_waiting() {
    let mut p = flight(Flavour::Plain, config(), 20);
    p.wait(ms(460));
    assert_eq!(p.stats().timeouts, 1);
    p.take();
    p.wait(ms(50));
    p.send(state().ack(2));
    p.expect_all(2..=20);
    // Its progress restarts the clock, and the last acknowledgement stops it.
    p.wait(ms(400));
    p.send(state().ack(20));
    p.take();
    p.wait(ms(150));
    assert_eq!(p.stats().timeouts, 1);
    p.send(state().ack(21));
    p.take();
    p.expect_silence(seconds(20));
}

#[test]
fn a_time_out_that_was_premature_is_taken_back() {
    let mut p = flight(Flavour::Plain, config(), 20);
    let sent = p.now() - ms(50);
    p.wait(ms(451));
    assert_eq!(p.stats().timeouts, 1);
    let probe = p.take().remove(0);
    let original = probe.raw.timestamp.wrapping_sub((probe.at - sent).as_micros() as u32);
    // The answer comes sooner after the retransmission than any round trip, and says that the peer has received no
    // packet since the originals: it is to one of those.
    p.send(state().ack(2).difference(p.wire_clock().wrapping_sub(original)));
    p.expect_nothing();
    let stats = p.stats();
    assert_eq!((stats.spurious_retransmits, stats.bytes_in_flight), (1, 19 * FULL as u64));
}

#[test]
fn a_time_out_whose_answer_is_to_a_probe_is_not_taken_back() {
    let mut p = flight(Flavour::Plain, config(), 20);
    p.wait(ms(451));
    assert_eq!(p.stats().timeouts, 1);
    let probe = p.take().remove(1);
    // Sooner after the time-out's retransmission than any round trip, but the peer has received a probe sent before
    // that: of the others of the flight, nothing is known, and they go again.
    p.send(state().ack(2).difference(p.wire_clock().wrapping_sub(probe.raw.timestamp)));
    p.expect_all(2..=20);
    assert_eq!(p.stats().spurious_retransmits, 1);
}

/// A window of a few hundred kilobytes, all of it out on a path of 40 ms: number of the first packet, and of the last.
fn full_window(controller: Arc<dyn ControllerFactory>) -> (Puppet, i32, i32) {
    let mut config = Config::default();
    config.congestion(controller).pacing(false);
    let mut p = Puppet::acceptor(config);
    p.download(300_000, ms(20), |_| false);
    p.write(&vec![1; 300_000]);
    let sent = p.take();
    p.wait(ms(40));
    (p, sent.first().expect("some").number, sent.last().expect("some").number)
}

#[test]
fn a_loss_that_was_none_gives_the_window_back() {
    for controller in controllers() {
        let name = format!("{controller:?}");
        let (mut p, first, last) = full_window(controller);
        let before = p.stats().cwnd;
        p.send(state().ack(first).sack((first..=last).filter(|n| n % 2 == 0 && *n > first)));
        let after = p.stats();
        assert!(after.cwnd < before && after.congestion_events == 1, "{name}: {before}, {after:?}");
        // They were only late: the answer comes sooner than any to what was sent again.
        p.send(state().ack(last + 1));
        let stats = p.stats();
        assert!(stats.cwnd >= before && stats.spurious_retransmits > 0, "{name}: {before}, then {stats:?}");
    }
}

#[test]
fn one_time_out_halves_the_window_and_persistent_congestion_closes_it() {
    for controller in controllers() {
        let name = format!("{controller:?}");
        let (mut p, ..) = full_window(controller);
        let before = p.stats().cwnd;
        p.wait(ms(700));
        let one = p.stats();
        assert!(one.timeouts == 1 && one.cwnd >= before * 2 / 5, "{name}: {before}, then {one:?}");
        p.wait(ms(1_500));
        let two = p.stats();
        assert!(two.timeouts == 2 && two.cwnd <= 2 * 1452, "{name}: {before}, then {two:?}");
    }
}

/// The controllers that may be the default one.
fn controllers() -> [Arc<dyn ControllerFactory>; 2] {
    [Arc::new(LedbatConfig::default()), Arc::new(EbbConfig::default())]
}

#[test]
fn a_path_that_became_slower_than_the_time_out_is_measured_all_the_same() {
    // Each packet is sent again before its answer can come, so that no answer is clear (Karn); but the peer tells
    // to which of them it is the answer.
    let mut p = flight(Flavour::Plain, config(), 0);
    let rtt = ms(1_300);
    for number in 1..=6 {
        let before = p.stats();
        p.write(&[1; FULL]);
        let original = p.expect_data(number).raw.timestamp;
        p.wait(rtt);
        p.take();
        p.send(state().ack(number + 1).difference(p.wire_clock().wrapping_sub(original)));
        assert_eq!(p.stats().timeouts > before.timeouts, number <= 1, "{number}: {:?}", p.stats());
        p.wait(rtt); // the copies are gone
    }
    assert!(p.stats().rtt > ms(600), "{:?}", p.stats());
}

#[test]
fn a_peer_that_tells_nothing_gets_time_outs_that_grow_until_an_answer_is_clear() {
    let mut p = Puppet::of(Flavour::Maskless, config());
    p.rtt = ms(50);
    p.accept();
    for number in 0..6 {
        p.write(&[1; FULL]);
        p.wait(ms(1_300));
        p.take();
        p.send(state().ack(number + 1));
    }
    // 500 ms and 1 s were too short; 2 s are not. Before that, the tail is probed.
    assert_eq!((p.stats().timeouts, p.stats().rto), (2, seconds(2)));
}

#[test]
fn a_path_that_reorders_teaches_patience() {
    let mut p = flight(Flavour::Plain, config(), 20);
    p.send(state().ack(1).sack([2, 3, 4, 5, 6, 7]));
    p.expect_all([1]);
    p.send(state().ack(8)); // it was only late
    for last in 9..=13 {
        p.send(state().sack(9..=last));
    }
    p.expect_nothing(); // five may overtake now
    assert_eq!(p.stats().packets_lost, 1);
}

#[test]
fn after_a_minute_without_any_answer_the_connection_is_given_up() {
    let mut p = flight(Flavour::Plain, config(), 5);
    let last = p.now() - ms(50);
    while p.closed().is_none() {
        p.wait(ms(100));
    }
    let given_up = p.now() - last;
    assert!((seconds(60)..seconds(61)).contains(&given_up), "{given_up:?}");
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
    assert_eq!(p.endpoint.open_connections(), 0);
    p.take();
    p.expect_silence(seconds(600));
    assert!(p.endpoint.is_idle());
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    let mut p = flight(Flavour::Plain, config(), 5);
    for ack in [7, 8, 1_000, 20_000, -30_000, -1_000] {
        p.send(state().ack(ack).window(1).sack([]));
    }
    p.expect_nothing();
    let stats = p.stats();
    assert_eq!((stats.invalid_packets, stats.peer_window, stats.packets_in_flight), (6, 1 << 20, 5));
    assert_eq!(p.closed(), None);
    p.send(state().ack(6));
    assert_eq!(p.stats().packets_in_flight, 0);
}

#[test]
fn masks_that_report_what_was_never_sent_change_nothing() {
    let mut p = flight(Flavour::Plain, config(), 3);
    p.send(state().ack(1).mask(&[0; 4]));
    p.send(state().mask(&[]));
    assert_eq!(p.stats().bytes_in_flight, 3 * FULL as u64);
    p.send(state().mask(&[0xff; 252]));
    let numbers = resent(&mut p);
    assert!(numbers.is_empty() || numbers == [1], "{numbers:?}");
    p.wait(ms(50));
    p.send(state().ack(4));
    assert_eq!((p.stats().bytes_in_flight, p.stats().invalid_packets), (0, 0));
}

#[test]
fn a_peer_that_forgets_what_it_reported_gets_it_again() {
    let mut p = flight(Flavour::Plain, config(), 4);
    p.send(state().ack(1).sack([3, 4]));
    p.send(state().ack(3)); // up to 3, and does not know of 3 and 4 any more
    p.wait(seconds(1));
    let again: Vec<Seen> = p.take();
    assert!(again.iter().any(|seen| seen.number == 3), "{again:?}");
    p.send(state().ack(4));
    p.wait(ms(10));
    assert!(p.take().iter().any(|seen| seen.number == 4));
    p.send(state().ack(5));
    assert_eq!(p.stats().bytes_in_flight, 0);
}

#[test]
fn losses_of_every_kind_cost_no_byte_whoever_acknowledges() {
    for flavour in [Flavour::Plain, Flavour::Libutp, Flavour::Libtorrent, Flavour::Maskless, Flavour::RustUtp]
    {
        for (name, lost) in [
            ("one of ten", (|n| n % 10 == 3) as fn(u64) -> bool),
            ("a burst", |n| (50..90).contains(&n)),
            ("every other one of a burst", |n| (50..150).contains(&n) && n % 2 == 0),
            ("the first ones", |n| n < 6),
        ] {
            let mut config = Config::default();
            config.distrust(false); // what is lost is counted in packets
            let mut p = Puppet::of(flavour, config);
            p.accept();
            let outcome = p.download(400_000, ms(20), lost);
            println!("{flavour:?}, {name}: {outcome:?} {:?}", p.stats());
            assert!(outcome.time < seconds(60), "{flavour:?}, {name}: {outcome:?}");
        }
    }
}
