use super::*;
use crate::congestion::{Ack, Controller, FixedWindow, Loss};
use crate::connection::Acks;
use crate::connection::lab_tests::{Lab, plain};

#[test]
fn the_peer_is_told_of_room_when_it_is_a_good_part_of_the_buffer() {
    let mss = Lab::connected(plain()).c.mss();
    // A quarter, but two packets at least, and half at most.
    for (capacity, step) in [(1 << 20, 1 << 18), (5 * mss, 2 * mss), (4 << 10, 2 << 10)] {
        for (advertised, tells) in [(capacity - step, true), (capacity - step + 1, false)] {
            let mut config = plain();
            config.receive_buffer(capacity).unwrap();
            let mut lab = Lab::connected(config);
            lab.c.acks = Acks::default();
            lab.c.acks.advertised = advertised as u32;
            lab.c.consume(&mut lab.pools, 0);
            assert_eq!(lab.c.acks.is_owed(), tells, "{advertised} of {capacity}");
        }
    }
}

#[test]
fn a_peer_that_has_no_room_is_told_of_less_than_a_packet_of_ours_if_we_hold_it_back_to_that() {
    let (mut config, little) = (plain(), FixedWindow { bytes: 1_000 });
    config.max_datagram(8_952, 8_952).unwrap();
    let mut lab = Lab::connected(config.clone());
    let packet = lab.c.mss() as u32;
    lab.c.acks.advertised = packet;
    lab.at(0, |c, cx| c.set_receive_congestion(cx, Some(&little)));
    // The path takes larger packets of ours since; the peer's are as they were.
    config.initial_datagram(8_952).unwrap();
    lab.c.mtu = crate::mtu::Mtu::new(&config, false);
    assert!((lab.c.advertised_window() as usize) < lab.c.mss());
    for (advertised, tells) in [(0, true), (packet, false), (2 * packet, false)] {
        lab.c.acks = Acks::default();
        lab.c.acks.advertised = advertised;
        lab.c.consume(&mut lab.pools, 0);
        assert_eq!((lab.c.acks.is_owed(), lab.c.advertised_window()), (tells, 2 * packet));
    }
}

#[test]
fn whoever_closes_tells_a_peer_that_waits_for_room() {
    let mss = Lab::connected(plain()).c.mss() as u32;
    for (advertised, tells) in [(mss - 1, true), (mss, false), (mss + 1, false)] {
        let mut lab = Lab::connected(plain());
        lab.c.acks = Acks::default();
        lab.c.acks.advertised = advertised;
        lab.at(0, |c, cx| c.close(cx));
        assert_eq!(lab.c.acks.is_owed(), tells, "{advertised}");
    }
    let mut lab = Lab::opening(plain());
    lab.c.write(&mut lab.pools, b"x").unwrap();
    lab.at(0, |c, cx| c.close(cx));
    assert!(!lab.c.acks.is_owed(), "nothing came from it yet");
}

/// Its figures.
#[derive(Debug)]
struct Figures;

impl Controller for Figures {
    fn on_ack(&mut self, _: &Ack) {}

    fn on_loss(&mut self, _: &Loss) {}

    fn window(&self) -> u64 {
        10_000
    }

    fn ssthresh(&self) -> u64 {
        20_000
    }

    fn delays(&self) -> (Duration, Duration) {
        (Duration::from_millis(3), Duration::from_millis(4))
    }
}

#[test]
fn the_figures_of_the_controller_and_of_the_path_are_told() {
    let mut lab = Lab::connected(plain());
    lab.c.controller = Box::new(Figures);
    let stats = lab.c.stats();
    assert_eq!((stats.cwnd, stats.ssthresh), (10_000, 20_000));
    assert_eq!((stats.base_delay.as_millis(), stats.queueing_delay.as_millis()), (3, 4));
    (0..2).for_each(|_| lab.c.mtu.on_probe_sent(crate::wire::SeqNr(1), 1_472));
    lab.c.mtu.on_probe_lost(crate::time::Time(0), crate::wire::SeqNr(1));
    let stats = lab.c.stats();
    assert_eq!((stats.mtu_probes_sent, stats.mtu_probes_lost), (2, 1));
    let mut lab = Lab::connected(plain());
    lab.at(0, |c, cx| c.set_congestion(cx, &FixedWindow { bytes: 7_000 }));
    assert_eq!(lab.c.stats().cwnd, 7_000);
}

#[test]
fn whoever_waits_is_told_of_the_end_unless_both_directions_had_theirs() {
    let told = |reason, has_ended| {
        let mut lab = Lab::connected(plain());
        if has_ended {
            let next = lab.c.incoming.next();
            lab.c.incoming.insert(&mut lab.pools, next, &[], true);
            assert!(lab.c.incoming.is_finished());
        }
        lab.c.pending = Pending::default();
        lab.at(0, |c, cx| c.close_with(cx, reason));
        lab.c.pending.0
    };
    let all = Pending::READABLE | Pending::WRITABLE | Pending::CLOSED;
    assert_eq!(told(CloseReason::Finished, true), Pending::CLOSED);
    assert_eq!(told(CloseReason::Finished, false), all);
    assert_eq!(told(CloseReason::Reset, true), all);
    assert_eq!(told(CloseReason::Reset, false), all);
}

#[test]
fn little_is_held_while_memory_is_short_and_nothing_once_it_is_given_back() {
    let mut lab = Lab::connected(plain());
    let (whole, share) = (lab.c.incoming.window(), 16 << 10);
    assert!(whole > share);
    lab.c.set_short(false);
    assert_eq!(lab.c.incoming.window(), whole);
    lab.c.set_short(true);
    assert_eq!((lab.c.incoming.window(), lab.c.stats().receive_limit), (share, share as u64));
    lab.c.set_short(false);
    assert_eq!(lab.c.incoming.window(), whole);
    lab.c.write(&mut lab.pools, b"x").unwrap();
    let next = lab.c.incoming.next();
    lab.c.incoming.insert(&mut lab.pools, next, b"y", false);
    assert!(lab.c.memory() > 1);
    lab.c.release(&mut lab.pools);
    assert_eq!(lab.c.memory(), 0);
}

#[test]
fn events_are_told_once_each_in_their_order() {
    use crate::Event;
    let mut lab = Lab::connected(plain());
    lab.at(0, |c, cx| c.abort(cx));
    lab.c.pending.0 = u8::MAX >> 1;
    let told: Vec<_> = std::iter::from_fn(|| lab.c.take_event()).collect();
    let reason = CloseReason::Aborted;
    let (data, end) =
        ([Event::Readable, Event::Acked, Event::Writable], [Event::Finished, Event::Closed { reason }]);
    assert_eq!(told, [&[Event::Incoming, Event::Connected][..], &data, &end].concat());
    for bit in [Pending::ACKED, Pending::FINISHED] {
        lab.c.pending.0 = bit;
        assert!(matches!(lab.c.take_event(), Some(Event::Acked | Event::Finished)));
        assert_eq!(lab.c.take_event(), None);
    }
}
