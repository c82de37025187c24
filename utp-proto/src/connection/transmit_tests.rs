use super::*;
use crate::congestion::{Ack, Controller, FixedWindow, Loss};
use crate::connection::lab_tests::{Lab, OURS, plain};
use crate::connection::outstanding::Evidence;
use crate::pacer::Pacer;
use crate::wire::Packet;

#[test]
fn the_peers_window_takes_a_packet_whole_or_half_of_all_it_ever_buffers() {
    let mut lab = Lab::connected(plain());
    lab.window(10_000, 10_000);
    assert_eq!(lab.c.fits(1_000), 1_000);
    lab.sent(0, &[5_000]);
    assert_eq!((lab.c.fits(5_000), lab.c.fits(6_000)), (5_000, 5_000), "half of it");
    lab.sent(0, &[1]);
    assert_eq!((lab.c.fits(4_999), lab.c.fits(5_000)), (4_999, 0), "less than half of it");
    lab.sent(0, &[6_000]);
    assert_eq!(lab.c.fits(1), 0);
    lab.c.largest_window = 0;
    assert_eq!(lab.c.fits(1), 0);
}

#[test]
fn a_closed_window_matters_if_it_holds_back_what_is_to_be_sent_and_nothing_else_is_out() {
    let mut lab = Lab::connected(plain());
    lab.window(0, 10_000);
    assert!(!lab.c.is_window_closed(), "nothing to send");
    lab.c.out.write(&mut lab.pools, &[7; 100]);
    assert!(lab.c.is_window_closed());
    lab.c.peer_window = 100;
    assert!(!lab.c.is_window_closed());
    lab.c.peer_window = 99;
    assert!(lab.c.is_window_closed());
    lab.c.sent = 100;
    assert!(!lab.c.is_window_closed(), "all was sent");
    lab.c.peer_window = 0;
    lab.sent(0, &[10]);
    lab.c.out.write(&mut lab.pools, &[7; 100]);
    assert!(!lab.c.is_window_closed(), "an answer is still to come");
}

#[test]
fn it_rests_only_if_nothing_is_left_to_be_done() {
    let mut lab = Lab::connected(plain());
    assert!(lab.c.may_rest());
    lab.c.out.write(&mut lab.pools, &[7]);
    assert!(!lab.c.may_rest(), "something to send");
    lab.c.sent = 1;
    assert!(lab.c.may_rest());
    lab.sent(0, &[1]);
    assert!(!lab.c.may_rest(), "something is not acknowledged");
    let mut lab = Lab::connected(plain());
    lab.c.finish();
    assert!(!lab.c.may_rest(), "the FIN is to be sent");
    lab.at(0, |c, cx| c.abort(cx));
    assert!(lab.c.may_rest(), "closed");
    assert!(!Lab::opening(plain()).c.may_rest(), "opening");
}

#[test]
fn what_the_congestion_window_takes_goes_and_one_packet_always() {
    let mut lab = Lab::connected(plain());
    let allows = |lab: &Lab, len| {
        let mut obstacles = Obstacles::default();
        (lab.c.congestion_allows(Time(0), len, &mut obstacles), obstacles.window)
    };
    assert_eq!(allows(&lab, 20_000), (true, false), "nothing in flight");
    lab.sent(0, &[9_000]);
    assert_eq!(allows(&lab, 1_000), (true, false));
    assert_eq!(allows(&lab, 1_001), (false, true));
    lab.c.timers.after_rto = Some(1);
    assert_eq!(allows(&lab, 1_000), (true, false));
    lab.c.timers.after_rto = Some(0);
    assert_eq!(allows(&lab, 1_000), (false, false), "the time-out allows no more");
}

#[test]
fn what_is_sent_again_may_be_fragmented_if_it_goes_alone_and_large_packets_may_not_pass() {
    let may_fragment = |sizes: &[usize], f: &dyn Fn(&mut Lab)| {
        let mut lab = Lab::connected(plain());
        lab.sent(0, sizes);
        f(&mut lab);
        lab.c.resend_plan(lab.c.outstanding.una()).unwrap().may_fragment
    };
    let mss = Lab::connected(plain()).c.mss();
    let prove = |lab: &mut Lab| {
        let evidence = Evidence { now: Time(10), min_rtt: 0, echo: None };
        lab.c.outstanding.acknowledge(&evidence, 1, None);
        assert!(lab.c.outstanding.is_large_proven());
    };
    let large = [mss; 3];
    assert!(!may_fragment(&large, &|_| {}));
    let tail = |lab: &mut Lab, probes| (lab.c.timers.tail_due, lab.c.timers.tail_probes) = (true, probes);
    assert!(may_fragment(&large, &|lab| tail(lab, 1)), "none was ever taken");
    assert!(!may_fragment(&large, &|lab| (prove(lab), tail(lab, 1)).1));
    assert!(!may_fragment(&large, &|lab| lab.c.timers.tail_probes = 2), "goes with others");
    let prove_and_sent = |lab: &mut Lab, probes| {
        prove(lab);
        lab.sent(20, &large);
        tail(lab, probes);
    };
    assert!(!may_fragment(&large, &|lab| prove_and_sent(lab, 1)));
    assert!(may_fragment(&large, &|lab| prove_and_sent(lab, 2)), "another probe was lost");
    assert!(may_fragment(&large, &|lab| lab.c.timers.after_rto = Some(1)));
    assert!(!may_fragment(&large[..1], &|lab| tail(lab, 1)), "one alone is no reason");
    assert!(may_fragment(&large[..2], &|lab| tail(lab, 1)));
    let size = |len| [len, mss, mss];
    assert!(!may_fragment(&size(ALWAYS_PASSES), &|lab| tail(lab, 1)));
    assert!(may_fragment(&size(ALWAYS_PASSES + 1), &|lab| tail(lab, 1)));
    assert!(may_fragment(&[mss + 1], &|_| {}), "cut for a path that took more");
}

#[test]
fn a_path_mtu_probe_that_a_tail_loss_probe_repeats_is_lost_and_the_search_goes_on() {
    let mut lab = Lab::connected(plain());
    let mss = lab.c.mss();
    lab.sent(0, &[mss]);
    lab.c.mtu.on_probe_sent(OURS, 1_472);
    assert_eq!(lab.c.mtu.probe_size(Time(10)), None, "its fate is awaited");
    lab.c.timers.tail_due = true;
    let run = lab.at(10, |c, cx| c.transmit(cx, 1, &mut Vec::new()));
    assert_eq!(run.unwrap().segment_size, 20 + mss);
    assert_eq!(lab.c.mtu.counts(), (1, 1));
    assert!(lab.c.mtu.probe_size(Time(10)).is_some());
}

#[test]
fn no_window_is_told_that_takes_less_than_a_packet() {
    let mut lab = Lab::connected(plain());
    let mss = lab.c.mss();
    for (room, told) in [(mss - 1, 0), (mss, mss), (20_000, 20_000)] {
        lab.c.incoming.set_capacity(room);
        assert_eq!(lab.c.advertised_window() as usize, told);
    }
    // Nor less than half of a buffer that has no room for two of them.
    let mut config = plain();
    config
        .max_datagram(8_952, 8_952)
        .unwrap()
        .initial_datagram(8_952)
        .unwrap()
        .receive_buffer(16 << 10)
        .unwrap();
    let mut lab = Lab::connected(config);
    for (room, told) in [((8 << 10) - 1, 0), (8 << 10, 8 << 10)] {
        let fill = lab.c.incoming.window() - room;
        let next = lab.c.incoming.next();
        lab.c.incoming.insert(&mut lab.pools, next, &vec![7; fill], false);
        assert_eq!(lab.c.advertised_window() as usize, told);
        lab.c.consume(&mut lab.pools, fill);
    }
}

#[test]
fn what_comes_before_a_packet_that_went_ahead_has_its_size_whatever_the_path_takes_since() {
    let plan = |before: &dyn Fn(usize) -> usize, f: &dyn Fn(&mut Lab)| {
        let mut lab = Lab::connected(plain());
        let len = before(lab.c.mss());
        lab.window(1 << 20, 1 << 20);
        lab.c.out.write(&mut lab.pools, &[7; 9_000]);
        f(&mut lab);
        lab.c.ask(Time(0), len);
        let plan = lab.c.data(Time(0), &mut Obstacles::default()).unwrap();
        assert_eq!(plan.size, len + HEADER_LEN);
        plan.may_fragment
    };
    assert!(!plan(&|mss| mss - 1, &|_| {}) && !plan(&|mss| mss, &|_| {}));
    assert!(plan(&|mss| mss + 1, &|_| {}), "the path took more then");
    let probe = |lab: &mut Lab| {
        lab.window(0, 1 << 20);
        lab.c.timers.persist_due = true;
        let plan = lab.c.data(Time(0), &mut Obstacles::default()).unwrap();
        assert_eq!(plan.size, PERSIST_BYTES + HEADER_LEN, "a closed window is probed with little");
    };
    assert!(!plan(&|mss| mss, &probe));
}

#[test]
fn each_syn_waits_half_as_long_again_up_to_four_seconds() {
    let mut lab = Lab::opening(plain());
    let (mut now, mut buf) = (0, Vec::new());
    for wait in [1_000_000, 1_500_000, 2_250_000, 3_375_000, 4_000_000, 4_000_000] {
        buf.clear();
        lab.at(now, |c, cx| c.transmit(cx, 1, &mut buf)).unwrap();
        let header = Packet::parse(&buf).unwrap().header;
        assert_eq!((header.kind, header.connection_id), (PacketType::Syn, 5));
        assert_eq!((header.seq_nr, header.ack_nr), (OURS.minus(1), SeqNr(0)));
        let at = lab.c.timers.syn_at;
        assert_eq!(at, Time(now + wait));
        assert!(lab.at(at.0 - 1, |c, cx| c.transmit(cx, 1, &mut buf)).is_err());
        now = at.0;
    }
    assert_eq!((lab.c.timers.syns, lab.c.stats.packets_sent), (6, 6));
    assert_eq!(lab.c.stats.wire_bytes_sent, 6 * HEADER_LEN as u64);
}

/// A window that still doubles, or not.
#[derive(Debug)]
struct Doubling(u64);

impl Controller for Doubling {
    fn on_ack(&mut self, _: &Ack) {}

    fn on_loss(&mut self, _: &Loss) {}

    fn window(&self) -> u64 {
        10_000
    }

    fn ssthresh(&self) -> u64 {
        self.0
    }
}

#[test]
fn the_pace_is_a_little_more_than_a_window_per_round_trip_and_twice_that_at_first() {
    let mut config = crate::Config::default();
    config.congestion(std::sync::Arc::new(FixedWindow { bytes: 10_000 }));
    let mut lab = Lab::connected(config);
    let paced = |rate, mss| {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time(0), rate, mss);
        format!("{pacer:?}")
    };
    let mss = lab.c.mss();
    lab.c.update_pacing(Time(0));
    assert_eq!(format!("{:?}", lab.c.pacer), paced(0, mss), "no round trip is known");
    lab.c.rtt.sample(Time(0), 50_000);
    for (ssthresh, rate) in [(9_999, 250_000), (10_000, 250_000), (10_001, 400_000)] {
        lab.c.controller = Box::new(Doubling(ssthresh));
        lab.c.pacer = Pacer::default();
        lab.c.update_pacing(Time(0));
        assert_eq!(format!("{:?}", lab.c.pacer), paced(rate, mss), "{ssthresh}");
    }
}

#[test]
fn a_keep_alive_acknowledges_one_packet_too_few_after_the_time_asked_for() {
    let mut lab = Lab::connected(plain());
    let mut buf = Vec::new();
    let limit = 29_000_000;
    lab.c.acks = crate::connection::Acks::default();
    assert!(lab.at(limit - 1, |c, cx| c.transmit(cx, 1, &mut buf)).is_err());
    lab.at(limit, |c, cx| c.transmit(cx, 1, &mut buf)).unwrap();
    let header = Packet::parse(&buf).unwrap().header;
    assert_eq!((header.kind, header.seq_nr), (PacketType::State, OURS));
    assert_eq!(header.ack_nr, lab.c.incoming.ack_nr().minus(1));
    assert_eq!((lab.c.stats.acks_sent, lab.c.timers.packet_sent), (1, Time(limit)));
    assert!(lab.at(2 * limit - 1, |c, cx| c.transmit(cx, 1, &mut buf)).is_err());
}

#[test]
fn a_run_of_packets_ends_at_what_was_asked_for_at_a_shorter_one_and_at_the_largest_datagram() {
    let mut config = plain();
    config.congestion(std::sync::Arc::new(FixedWindow { bytes: 1 << 20 })).distrust(false).nagle(false);
    let mut lab = Lab::connected(config);
    lab.window(1 << 20, 1 << 20);
    lab.c.mtu.on_too_big(None);
    let mss = lab.c.mss();
    lab.c.out.write(&mut lab.pools, &vec![7; 100 * mss + 1]);
    let mut run = |max| {
        let mut buf = Vec::new();
        let run = lab.at(0, |c, cx| c.transmit(cx, max, &mut buf)).unwrap();
        (run.segment_size, run.segments, buf.len())
    };
    let (size, segments, _) = run(1);
    assert!(segments == 1 && size >= mss + HEADER_LEN, "perhaps a probe of the path");
    let mut full = run(3);
    while full.0 > mss + HEADER_LEN {
        full = run(3);
    }
    assert_eq!(full, (mss + HEADER_LEN, 3, 3 * (mss + HEADER_LEN)));
    let most = MAX_RUN / (mss + HEADER_LEN);
    assert_eq!(run(1_000).1, most);
    let (size, last, len) = run(1_000);
    assert!(last < most);
    assert_eq!((size, len % size), (mss + HEADER_LEN, 1 + HEADER_LEN), "the rest, and a shorter one");
}

#[test]
fn a_run_may_fill_the_largest_datagram_to_its_last_byte() {
    let mut config = plain();
    config.congestion(std::sync::Arc::new(FixedWindow { bytes: 1 << 20 })).distrust(false).nagle(false);
    config.initial_datagram(1_400).unwrap().max_datagram(1_400, 1_400).unwrap();
    let rest = MAX_RUN % 1_400 - HEADER_LEN;
    for (rest, len) in [(rest, MAX_RUN), (rest + 1, MAX_RUN / 1_400 * 1_400)] {
        let mut lab = Lab::connected(config.clone());
        lab.window(1 << 20, 1 << 20);
        lab.c.out.write(&mut lab.pools, &vec![7; MAX_RUN / 1_400 * lab.c.mss() + rest]);
        let mut buf = Vec::new();
        lab.at(0, |c, cx| c.transmit(cx, 1_000, &mut buf)).unwrap();
        assert_eq!(buf.len(), len);
    }
}

#[test]
fn what_goes_again_fits_the_congestion_window_and_is_counted_by_why_it_goes() {
    for (len, fits) in [(1_000, true), (1_001, false)] {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[len, 9_000]);
        assert_eq!(lab.c.outstanding.oldest_lost().packets, 1);
        assert_eq!(lab.c.resend(Time(0), OURS, &mut Obstacles::default()).is_some(), fits, "{len}");
    }
    let counts = |f: &dyn Fn(&mut Lab)| {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[1_000]);
        lab.c.outstanding.all_lost();
        f(&mut lab);
        lab.at(10, |c, cx| c.transmit(cx, 1, &mut Vec::new())).unwrap();
        let stats = &lab.c.stats;
        (stats.retransmits, stats.fast_retransmits, stats.data_packets_sent)
    };
    assert_eq!(counts(&|_| {}), (1, 1, 1));
    assert_eq!(counts(&|lab| lab.c.timers.after_rto = Some(1)), (1, 0, 1));
    assert_eq!(counts(&|lab| lab.c.timers.tail_due = true), (1, 0, 1));
}

#[test]
fn a_packet_ahead_of_its_turn_is_data_and_counted_as_such() {
    let mut lab = Lab::connected(plain());
    lab.c.out.write(&mut lab.pools, &vec![7; 1_089 * 100]);
    let mut buf = Vec::new();
    let header = Packet::parse(&{
        lab.at(0, |c, cx| c.transmit(cx, 1, &mut buf)).unwrap();
        buf.clone()
    })
    .unwrap()
    .header;
    let before = lab.c.stats.data_packets_sent;
    lab.c.sent = 0;
    lab.c.build_early(Time(0), header, 100, &mut buf);
    lab.c.build_early(Time(0), header, 100, &mut buf);
    assert_eq!(lab.c.stats.data_packets_sent, before + 2);
    buf.clear();
    lab.c.build_early(Time(0), Header { kind: PacketType::State, ..header }, 100, &mut buf);
    let header = Packet::parse(&buf).unwrap().header;
    assert_eq!((header.kind, header.seq_nr), (PacketType::Data, lab.c.outstanding.next().plus(1_088)));
}

#[test]
fn after_a_fin_each_acknowledgement_goes_with_both_numbers_until_the_peer_shows_its_kind() {
    for (peer_counts_fin, numbers) in [(false, &[OURS.plus(1), OURS][..]), (true, &[OURS.plus(1)])] {
        let mut lab = Lab::connected(plain());
        lab.c.acks = crate::connection::Acks::default();
        lab.c.peer_counts_fin = peer_counts_fin;
        lab.c.finish();
        let next = |lab: &mut Lab| {
            let mut buf = Vec::new();
            lab.at(0, |c, cx| c.transmit(cx, 1, &mut buf)).ok()?;
            Packet::parse(&buf).ok().map(|packet| (packet.header.kind, packet.header.seq_nr))
        };
        assert_eq!(next(&mut lab), Some((PacketType::Fin, OURS)));
        assert_eq!(next(&mut lab), None);
        lab.c.acks.on_urgent();
        for &number in numbers {
            assert_eq!(next(&mut lab), Some((PacketType::State, number)));
        }
        assert_eq!(next(&mut lab), None);
    }
}

/// Counts the rests it is told of.
#[derive(Debug)]
struct Rests(std::sync::Arc<std::sync::atomic::AtomicU32>);

impl Controller for Rests {
    fn on_ack(&mut self, _: &Ack) {}

    fn on_loss(&mut self, _: &Loss) {}

    fn on_restart(&mut self, _: std::time::Instant) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn window(&self) -> u64 {
        10_000
    }
}

#[test]
fn who_was_idle_for_more_than_a_time_out_begins_anew() {
    for (idle, restarts) in [(499_999, 0), (500_000, 0), (500_001, 1)] {
        let mut lab = Lab::connected(plain());
        let count = std::sync::Arc::default();
        lab.c.controller = Box::new(Rests(std::sync::Arc::clone(&count)));
        lab.c.rtt.sample(Time(0), 100_000);
        assert_eq!(lab.c.rtt.rto(), 500_000);
        lab.c.out.write(&mut lab.pools, &[7; 10]);
        lab.at(idle, |c, cx| c.transmit(cx, 1, &mut Vec::new())).unwrap();
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), restarts, "{idle}");
    }
}
