use super::*;
use crate::connection::lab_tests::{Lab, OURS, THEIRS, plain};
use crate::wire::Timestamp;

fn header(kind: PacketType, seq_nr: SeqNr, ack_nr: SeqNr) -> Header {
    let (timestamp, timestamp_difference) = (Timestamp(0), 0);
    Header { kind, connection_id: 5, timestamp, timestamp_difference, wnd_size: 50_000, seq_nr, ack_nr }
}

impl Lab {
    fn takes(&mut self, micros: u64, header: Header, payload: &[u8]) -> bool {
        let mut datagram = header.encode(0).to_vec();
        datagram.extend_from_slice(payload);
        let packet = Packet::parse(&datagram).unwrap();
        self.at(micros, |c, cx| c.handle_packet(cx, &packet, datagram.len()))
    }
}

#[test]
fn numbers_count_within_twice_the_window_ahead_and_the_history_behind() {
    let lab = Lab::connected(plain());
    let window = lab.c.incoming.reorder_window();
    let place = |kind, seq| lab.c.check_seq(&header(kind, seq, OURS));
    let [data, fin, state] = [PacketType::Data, PacketType::Fin, PacketType::State];
    for kind in [data, fin, state] {
        assert_eq!(place(kind, THEIRS.plus(window)), Place::Fits);
        assert_eq!(place(kind, THEIRS.minus(window.max(MIN_HISTORY))), Place::Fits);
        assert_eq!(place(kind, THEIRS.minus(window.max(MIN_HISTORY) + 1)), Place::Impossible);
        assert_eq!(place(kind, THEIRS.plus(2 * window + 1)), Place::Impossible);
    }
    for seq in [THEIRS.plus(window + 1), THEIRS.plus(2 * window)] {
        assert_eq!(place(data, seq), Place::TooFar);
        assert_eq!(place(fin, seq), Place::TooFar);
        assert_eq!(place(state, seq), Place::Impossible);
    }
}

#[test]
fn an_acknowledgement_names_what_was_sent_or_is_a_little_old() {
    let mut lab = Lab::connected(plain());
    lab.sent(0, &[100; 2]);
    let last = OURS.minus(1);
    assert_eq!(lab.c.check_ack(last), Some(AckPlace::New(0)));
    assert_eq!(lab.c.check_ack(last.plus(2)), Some(AckPlace::New(2)));
    assert_eq!(lab.c.check_ack(last.plus(3)), None);
    assert_eq!(lab.c.check_ack(last.minus(1)), Some(AckPlace::Old(1)));
    lab.c.reach = 10;
    assert_eq!(lab.c.check_ack(last.minus(13)), Some(AckPlace::Old(13)));
    assert_eq!(lab.c.check_ack(last.minus(14)), None);
}

#[test]
fn a_window_is_old_if_it_was_told_before_the_one_known() {
    let mut lab = Lab::connected(plain());
    let mut is_overtaken = |told, theirs| {
        lab.c.window_told = Timestamp(told);
        lab.c
            .is_overtaken(&Header { timestamp: Timestamp(theirs), ..header(PacketType::State, THEIRS, OURS) })
    };
    assert!(!is_overtaken(0, u32::MAX) && !is_overtaken(1_000, 0));
    assert!(!is_overtaken(1_000, 1_000) && !is_overtaken(1_000, 1_001) && is_overtaken(1_000, 999));
    assert!(is_overtaken(1_000, 1_000 + (1 << 31)) && !is_overtaken(1_000, 999 + (1 << 31)));
}

#[test]
fn an_echo_tells_when_the_packet_left_that_the_peer_had_last() {
    let mut lab = Lab::connected(plain());
    let now = 100_000_000;
    let mut echo = |difference, theirs| {
        let told = Header {
            timestamp: Timestamp(theirs),
            timestamp_difference: difference,
            ..header(PacketType::State, THEIRS, OURS)
        };
        lab.at(now, |c, cx| c.echo(cx, &told))
    };
    // What the peer's clock shows less the difference is ours when it left.
    let left = |age: u64| (now - age) as u32;
    assert_eq!(echo(500, left(30_000) + 500), Some(Time(now - 30_000)));
    assert_eq!(echo(500, left(1) + 500), Some(Time(now - 1)));
    assert_eq!(echo(500, left(0) + 500), None, "it cannot have left just now");
    assert_eq!(echo(500, left(OLDEST_ECHO - 1) + 500), Some(Time(now - OLDEST_ECHO + 1)));
    assert_eq!(echo(500, left(OLDEST_ECHO) + 500), None);
    assert_eq!(echo(0, left(30_000)), None);
    assert_eq!(echo(NO_SAMPLE, left(30_000).wrapping_add(NO_SAMPLE)), None);
    assert_eq!(echo(0u32.wrapping_sub(left(30_000)), 0), None);
}

#[test]
fn the_window_in_a_syn_lowers_what_is_assumed_and_zero_means_nothing() {
    let mut lab = Lab::connected(plain());
    let assumed = lab.c.peer_window;
    lab.c.hint_window(0);
    assert_eq!(lab.c.peer_window, assumed);
    lab.c.hint_window(assumed + 1);
    assert_eq!(lab.c.peer_window, assumed);
    lab.c.hint_window(1_000);
    assert_eq!(lab.c.peer_window, 1_000);
}

#[test]
fn each_packet_is_counted_as_taken_or_as_invalid() {
    let mut lab = Lab::connected(plain());
    let last = OURS.minus(1);
    assert!(lab.takes(0, header(PacketType::Data, THEIRS, last), &[7; 30]));
    assert!(lab.takes(0, header(PacketType::State, THEIRS, last), &[]));
    let counts = |lab: &Lab| {
        let stats = &lab.c.stats;
        (stats.packets_received, stats.wire_bytes_received, stats.invalid_packets, stats.overflow_packets)
    };
    assert_eq!(counts(&lab), (2, 70, 0, 0));
    assert!(!lab.takes(0, header(PacketType::Syn, THEIRS, last), &[]));
    assert!(!lab.takes(0, header(PacketType::State, THEIRS, OURS), &[]), "never sent");
    assert_eq!(counts(&lab), (2, 70, 2, 0));
    let far = lab.c.incoming.next().plus(lab.c.incoming.reorder_window() + 1);
    for n in 1..=3 {
        assert!(lab.takes(0, header(PacketType::Data, far, last), &[7; 30]));
        assert_eq!(lab.c.stats.overflow_packets, n);
    }
    lab.at(0, |c, cx| c.abort(cx));
    assert!(!lab.takes(0, header(PacketType::State, THEIRS, last), &[]), "closed");
    assert_eq!(lab.c.stats.invalid_packets, 3);
}

#[test]
fn a_reset_counts_if_it_names_what_is_outstanding_or_came_a_little_before() {
    let oldest = OURS.minus(1 + MIN_RESET_REACH);
    for (ack, counts) in
        [(oldest.minus(1), false), (oldest, true), (OURS.plus(2), true), (OURS.plus(3), false)]
    {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[100; 2]);
        assert_eq!(lab.takes(0, header(PacketType::Reset, THEIRS, ack), &[]), counts, "{ack:?}");
        assert_eq!(lab.c.state.is_closed(), counts);
    }
}

#[test]
fn a_reset_that_names_what_was_not_sent_last_is_asked_about() {
    let reset = |lab: &mut Lab, at, n| lab.takes(at, header(PacketType::Reset, THEIRS, OURS.plus(n)), &[]);
    let doubted = || {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[100; 5]);
        lab.c.acks = crate::connection::acks::Acks::default();
        assert!(!reset(&mut lab, 10, 2) && !lab.c.state.is_closed());
        assert!(lab.c.acks.is_due(Time(10)), "a question");
        lab.c.acks = crate::connection::acks::Acks::default();
        assert!(!reset(&mut lab, 20, 3) && !lab.c.acks.is_due(Time(20)), "one is enough");
        lab
    };
    // Whoever has forgotten us answers that, or the packet that went last.
    for number in [4, 5] {
        assert!(reset(&mut doubted(), 30, number));
    }
}

#[test]
fn a_doubtful_reset_is_believed_after_three_questions_without_an_answer() {
    let reset = |lab: &mut Lab, at, n| lab.takes(at, header(PacketType::Reset, THEIRS, OURS.plus(n)), &[]);
    let doubted = || {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[100; 5]);
        assert!(!reset(&mut lab, 10, 2));
        lab
    };
    // The last of some time-outs. Whether it has asked again, and is over.
    let time_outs = |lab: &mut Lab, count| {
        let mut asked = false;
        for _ in 0..count {
            lab.c.acks = crate::connection::acks::Acks::default();
            let at = lab.c.retransmit_at();
            lab.at(at.0, |c, cx| c.handle_timeout(cx));
            asked = lab.c.acks.is_due(at);
        }
        (asked, lab.c.state.is_closed())
    };
    let over = [1, 2, 3].map(|count| time_outs(&mut doubted(), count));
    assert_eq!(over, [(true, false), (true, false), (false, true)]);
    // Who says anything meanwhile is there, and it all begins anew.
    let mut lab = doubted();
    assert_eq!(time_outs(&mut lab, 2), (true, false));
    let now = lab.c.retransmit_at().0 - 1;
    assert!(lab.takes(now, header(PacketType::State, THEIRS, OURS.minus(1)), &[]));
    assert!(!reset(&mut lab, now, 2));
    assert_eq!(time_outs(&mut lab, 2), (true, false));
    assert_eq!(time_outs(&mut lab, 1), (false, true));
    // Without a doubt, nothing is asked.
    let mut lab = doubted();
    assert!(lab.takes(20, header(PacketType::State, THEIRS, OURS.minus(1)), &[]));
    assert_eq!(time_outs(&mut lab, 3), (false, false));
}

#[test]
fn a_keep_alive_is_answered_if_nothing_else_was_said_for_a_second() {
    let answered = |at, kind, ack: SeqNr, sent: &[usize]| {
        let mut lab = Lab::connected(plain());
        lab.c.acks = crate::connection::acks::Acks::default();
        lab.sent(0, sent);
        assert!(lab.takes(at, header(kind, THEIRS, ack), &[]));
        lab.c.acks.is_due(Time(at))
    };
    let asks = OURS.minus(2);
    assert!(answered(KEEP_ALIVE_ANSWER, PacketType::State, asks, &[]));
    assert!(!answered(KEEP_ALIVE_ANSWER - 1, PacketType::State, asks, &[]));
    assert!(!answered(KEEP_ALIVE_ANSWER, PacketType::State, asks.minus(1), &[]));
    assert!(!answered(KEEP_ALIVE_ANSWER, PacketType::State, OURS.minus(1), &[]));
    assert!(!answered(KEEP_ALIVE_ANSWER, PacketType::State, asks, &[100]));
}

#[test]
fn a_syn_ack_that_comes_again_has_its_answer_again_and_anything_else_ends_that() {
    let repeated = |f: &dyn Fn(&mut Lab) -> Header| {
        let mut lab = Lab::connected(plain());
        lab.c.acks = crate::connection::acks::Acks::default();
        lab.c.timers.confirm_at = Some(Time(5_000_000));
        let header = f(&mut lab);
        assert!(lab.takes(0, header, &[]));
        (lab.c.acks.is_due(Time(0)), lab.c.timers.confirm_at.is_some())
    };
    let syn_ack = header(PacketType::State, THEIRS, OURS.minus(1));
    assert_eq!(repeated(&|_| syn_ack), (true, true));
    assert_eq!(repeated(&|_| Header { seq_nr: THEIRS.plus(1), ..syn_ack }), (false, false));
    assert_eq!(repeated(&|_| Header { ack_nr: OURS.minus(2), ..syn_ack }), (false, false));
    let acked = |lab: &mut Lab| {
        lab.c.acked = 1;
        syn_ack
    };
    assert_eq!(repeated(&acked), (false, false));
    let known = |lab: &mut Lab| {
        lab.c.timers.confirm_at = None;
        syn_ack
    };
    assert_eq!(repeated(&known), (false, false));
}

#[test]
fn a_round_trip_is_measured_by_what_was_sent_once_or_newest_or_echoed() {
    let mut lab = Lab::connected(plain());
    let mut sample = |resent, sent: Option<u64>, newest, sacks, echo: Option<u64>| {
        lab.c.peer_sacks = sacks;
        let acked = Acked { resent, sample: sent.map(Time), newest: Time(newest), ..Acked::default() };
        lab.c.sample(&acked, &Evidence { now: Time(1_000), min_rtt: 0, echo: echo.map(Time) })
    };
    assert_eq!(sample(false, Some(400), 500, false, Some(900)), Some(600));
    assert_eq!(sample(false, None, 500, false, Some(900)), None);
    assert_eq!(sample(true, Some(400), 500, true, None), None);
    assert_eq!(sample(true, Some(500), 500, true, None), Some(500));
    assert_eq!(sample(true, Some(500), 500, false, None), None);
    assert_eq!(sample(true, Some(400), 500, true, Some(900)), Some(100));
}

/// Delay and reverse delay of an acknowledgement.
type Delays = (Option<u32>, Option<u32>);

/// Keeps the delays that it is told.
#[derive(Debug, Default)]
struct Record(std::sync::Arc<std::sync::Mutex<Vec<Delays>>>);

impl crate::congestion::Controller for Record {
    fn on_ack(&mut self, ack: &Ack) {
        self.0.lock().unwrap().push((ack.delay, ack.reverse_delay));
    }

    fn on_loss(&mut self, _: &Loss) {}

    fn window(&self) -> u64 {
        10_000
    }
}

#[test]
fn the_controller_learns_the_delays_that_were_measured_and_no_others() {
    for (difference, timestamp, delays) in [
        (300, 400, (Some(300), Some(600))),
        (0, 400, (None, Some(600))),
        (NO_SAMPLE, 400, (None, Some(600))),
        (300, 0, (Some(300), None)),
    ] {
        let mut lab = Lab::connected(plain());
        let record = Record::default();
        let told = std::sync::Arc::clone(&record.0);
        lab.c.controller = Box::new(record);
        lab.sent(0, &[100]);
        let answer = header(PacketType::State, THEIRS, OURS);
        let (timestamp, timestamp_difference) = (Timestamp(timestamp), difference);
        assert!(lab.takes(1_000, Header { timestamp, timestamp_difference, ..answer }, &[]));
        assert_eq!(*told.lock().unwrap(), [delays]);
    }
}

#[test]
fn a_recovery_ends_with_what_was_out_when_it_began_and_an_unchanged_window_is_no_event() {
    let mut lab = Lab::connected(plain());
    lab.sent(0, &[100; 3]);
    let losses = lab.c.outstanding.oldest_lost();
    lab.at(10, |c, cx| c.note_losses(cx, &losses, (300, 0), 0));
    lab.at(10, |c, cx| c.note_losses(cx, &losses, (300, 0), 0));
    let recovery = lab.c.recovery.unwrap();
    assert_eq!((recovery.lost, recovery.end), (2, OURS.plus(3)));
    assert_eq!((lab.c.stats.packets_lost, lab.c.stats.congestion_events), (2, 0));
    lab.sent(20, &[100; 3]);
    assert!(lab.takes(30, header(PacketType::State, THEIRS, OURS.plus(1)), &[]));
    assert!(lab.c.recovery.is_some());
    assert!(lab.takes(30, header(PacketType::State, THEIRS, OURS.plus(3)), &[]));
    assert!(lab.c.recovery.is_none());
}

#[test]
fn a_new_acknowledgement_tells_the_window_whenever_it_was_sent() {
    let mut lab = Lab::connected(plain());
    lab.sent(0, &[100; 2]);
    lab.c.window_told = Timestamp(1_000);
    let old = |ack| Header { timestamp: Timestamp(999), ..header(PacketType::State, THEIRS, ack) };
    lab.window(40_000, 50_000);
    assert!(lab.takes(0, old(OURS.minus(1)), &[]));
    assert_eq!(lab.c.peer_window, 40_000, "overtaken");
    assert!(lab.takes(0, old(OURS), &[]));
    assert_eq!(lab.c.peer_window, 50_000);
}

#[test]
fn the_application_is_told_of_bytes_and_of_the_end() {
    let mut lab = Lab::connected(plain());
    let last = OURS.minus(1);
    lab.c.pending = Pending::default();
    assert!(lab.takes(0, header(PacketType::Data, THEIRS, last), &[]));
    assert_eq!(lab.c.pending.0, 0, "nothing to read");
    assert!(lab.takes(0, header(PacketType::Data, THEIRS.plus(1), last), &[7]));
    assert_eq!((lab.c.pending.0, lab.c.stats.data_packets_received), (Pending::READABLE, 2));
    assert!(lab.takes(0, header(PacketType::Fin, THEIRS.plus(2), last), &[]));
    assert_eq!(lab.c.pending.0, Pending::READABLE | Pending::FINISHED);
    assert_eq!(lab.c.stats.data_packets_received, 2);
}

#[test]
fn who_only_receives_learns_the_round_trip_from_both_clocks() {
    let mut lab = Lab::connected(plain());
    let mut round_trip = |timestamp, forth, back| {
        lab.c.reply_micro = back;
        let timestamp = Timestamp(timestamp);
        let header = header(PacketType::Data, THEIRS, OURS);
        lab.c.round_trip(&Header { timestamp, timestamp_difference: forth, ..header })
    };
    assert_eq!(round_trip(1, 30_000, 20_000), Some(50_000));
    assert_eq!(round_trip(1, 30_000u32.wrapping_sub(1 << 31), 1 << 31), Some(30_000), "clocks apart");
    assert_eq!(round_trip(0, 30_000, 20_000), None);
    assert_eq!(round_trip(1, 0, 20_000), None);
    assert_eq!(round_trip(1, NO_SAMPLE, 0u32.wrapping_sub(NO_SAMPLE) + 20_000), None);
    assert_eq!(round_trip(1, 30_000, 0u32.wrapping_sub(30_000)), None);
}

#[test]
fn a_syn_ack_without_a_window_leaves_what_is_assumed() {
    for window in [0, 1, 30_000] {
        let mut lab = Lab::opening(plain());
        let assumed = lab.c.peer_window;
        lab.at(0, |c, cx| c.transmit(cx, 1, &mut Vec::new())).unwrap();
        let answer = header(PacketType::State, THEIRS, OURS.minus(1));
        assert!(lab.takes(10_000, Header { wnd_size: window, ..answer }, &[]));
        assert!(lab.c.is_connected());
        assert_eq!(lab.c.peer_window, if window == 0 { assumed } else { window });
    }
}

#[test]
fn a_silent_answer_hurries_the_syn_until_eight_went() {
    let hurried = |since, syns, kind| {
        let mut lab = Lab::opening(plain());
        lab.at(0, |c, cx| c.transmit(cx, 1, &mut Vec::new())).unwrap();
        lab.c.timers.syns = syns;
        assert!(lab.takes(since, header(kind, THEIRS, OURS.minus(1)), &[]));
        lab.c.timers.syn_at == Time(since)
    };
    assert!(hurried(HURRIED_SYN, 1, PacketType::Data) && hurried(HURRIED_SYN, 7, PacketType::Data));
    assert!(!hurried(HURRIED_SYN - 1, 1, PacketType::Data) && !hurried(HURRIED_SYN, 8, PacketType::Data));
    assert!(hurried(HURRIED_SYN, 1, PacketType::Fin));
}

#[test]
fn a_peer_that_has_sent_a_mask_is_not_judged_by_repetitions() {
    let inferred = |peer_sacks, mask: Option<&[u8]>| {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[100; 8]);
        lab.c.peer_sacks = peer_sacks;
        (0..DUPLICATE_ACKS)
            .map(|_| lab.c.infer_without_sack(&Acked::default(), mask.map(SackMask), true).packets)
            .sum::<u32>()
    };
    assert_eq!(inferred(false, None), 1);
    assert_eq!(
        (inferred(true, None), inferred(false, Some(&[0; 4])), inferred(true, Some(&[0; 4]))),
        (0, 0, 0)
    );
}

#[test]
fn the_stream_of_a_peer_that_speaks_before_its_syn_ack_begins_no_later_than_what_it_said() {
    let opens = |said: &[u16], syn_ack| {
        let mut lab = Lab::opening(plain());
        lab.at(0, |c, cx| c.transmit(cx, 1, &mut Vec::new())).unwrap();
        for &n in said {
            assert!(lab.takes(1, header(PacketType::Data, THEIRS.plus(n), OURS.minus(1)), &[7]));
        }
        assert!(lab.takes(2, header(PacketType::State, THEIRS.plus(syn_ack), OURS.minus(1)), &[]));
        lab.c.is_connected()
    };
    assert!(opens(&[2, 5], 2) && opens(&[5, 2], 2) && opens(&[5, 2], 0));
    assert!(!opens(&[2, 5], 3) && !opens(&[5, 2], 3) && opens(&[], 3));
}

#[test]
fn a_mask_that_reports_something_shows_once_for_all_that_the_peer_sends_masks() {
    let lost = |masks: &[&[u8]]| {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[100; 3]);
        let last = header(PacketType::State, THEIRS, OURS.minus(1));
        lab.window(last.wnd_size, last.wnd_size);
        let mut repeats = |mask: Option<&[u8]>| {
            lab.at(10, |c, cx| c.handle_ack(cx, &last, 0, mask.map(SackMask), true));
            lab.c.stats.packets_lost
        };
        masks.iter().for_each(|mask| _ = repeats(Some(mask)));
        (0..DUPLICATE_ACKS).map(|_| repeats(None)).last()
    };
    assert_eq!((lost(&[]), lost(&[&[0; 4]])), (Some(1), Some(1)));
    assert_eq!(lost(&[&[1, 0, 0, 0]]), Some(0));
    assert_eq!(lost(&[&[1, 0, 0, 0], &[0; 4]]), Some(0));
}

#[test]
fn what_arrives_in_order_or_ahead_begins_a_round_and_what_fills_a_gap_does_not() {
    let begins = |first: u16, second: u16| {
        let mut lab = Lab::connected(plain());
        let data = |n| header(PacketType::Data, THEIRS.plus(n), OURS.minus(1));
        assert!(lab.takes(1_000_000, data(first), &[7]));
        lab.c.tuning.ends = Time(1);
        assert!(lab.takes(2_000_000, data(second), &[7]));
        lab.c.tuning.ends > Time(2_000_000)
    };
    assert!(begins(0, 1) && begins(0, 2) && begins(2, 1));
    assert!(!begins(1, 0), "it comes when it comes again, and not at the rate of the path");
    assert!(!begins(0, 0));
}
