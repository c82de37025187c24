use super::*;
use crate::Config;
use crate::connection::lab_tests::{Lab, OURS, THEIRS, plain};
use crate::wire::{PacketType, Timestamp};

const SECOND: u64 = 1_000_000;

#[test]
fn the_peer_is_full_below_half_of_its_largest_window_and_below_a_packet() {
    let mut lab = Lab::connected(plain());
    let mss = lab.c.mss() as u32;
    for (now, largest, full) in
        [(499, 1_000, true), (500, 1_000, false), (mss - 1, 1 << 20, true), (mss, 1 << 20, false)]
    {
        lab.window(now, largest);
        assert_eq!(lab.c.is_peer_full(), full, "{now} of {largest}");
    }
}

#[test]
fn a_closed_window_is_probed_ever_less_often_down_to_every_15_seconds() {
    let mut lab = Lab::connected(plain());
    lab.c.timers.data_sent = Time(5 * SECOND);
    lab.c.timers.rto_from = Time(2 * SECOND);
    for (backoff, wait) in [(0, 1), (1, 2), (3, 8), (4, 15), (8, 15), (40, 15)] {
        lab.c.timers.persist_backoff = backoff;
        assert_eq!(lab.c.persist_at(), Time((5 + wait) * SECOND), "{backoff}");
    }
    lab.c.timers.rto_from = Time(9 * SECOND);
    assert_eq!(lab.c.persist_at(), Time(24 * SECOND));
    // A short path does not make it more often than each second.
    lab.c.rtt.sample(Time(0), 10_000);
    lab.c.timers.persist_backoff = 0;
    assert_eq!(lab.c.persist_at(), Time(10 * SECOND));
}

#[test]
fn a_tail_is_probed_after_a_silence_that_doubles() {
    let mut lab = Lab::connected(plain());
    lab.c.timers.data_sent = Time(SECOND);
    assert_eq!(lab.c.tail_loss_at(), None, "no round trip is known");
    lab.c.rtt.sample(Time(0), 100_000);
    let silence = lab.c.rtt.probe_timeout();
    assert_eq!(lab.c.tail_loss_at(), Some(Time(SECOND + silence)));
    lab.c.timers.rto_from = Time(SECOND + silence);
    assert_eq!(lab.c.tail_loss_at(), Some(Time(SECOND + silence + silence / 4)), "answers come");
    lab.c.timers.tail_probes = 2;
    assert_eq!(lab.c.tail_loss_at(), Some(Time(SECOND + 4 * silence)));
    lab.c.timers.tail_probes = MAX_TAIL_PROBES - 1;
    assert!(lab.c.tail_loss_at().is_some());
    lab.c.timers.tail_probes = MAX_TAIL_PROBES;
    assert_eq!(lab.c.tail_loss_at(), None);
    let nothing: [fn(&mut Lab); 3] = [
        |lab| lab.c.timers.tail_due = true,
        |lab| lab.c.timers.after_rto = Some(1),
        |lab| lab.window(0, 1 << 20),
    ];
    for f in nothing {
        let mut lab = Lab::connected(plain());
        lab.c.rtt.sample(Time(0), 100_000);
        assert!(lab.c.tail_loss_at().is_some());
        f(&mut lab);
        assert_eq!(lab.c.tail_loss_at(), None);
    }
}

#[test]
fn several_first_packets_are_asked_after_without_time_for_held_back_answers() {
    let mut lab = Lab::connected(plain());
    // The variation of a long path allows for late answers as it is; on a short one, some time is left for them.
    for (rtt, slack) in [(100_000, 0), (15_000, 20_000), (5_000, 10_000), (1_000, 10_000)] {
        lab.c.rtt = crate::rtt::Rtt::new(&Config::default());
        lab.c.rtt.sample(Time(0), rtt);
        assert_eq!(lab.c.rtt.prompt_timeout(), 3 * rtt + slack, "{rtt}");
    }
    let silence = |lab: &Lab| lab.c.tail_loss_at().map_or(0, |at| at.0 - SECOND);
    lab.c.timers.data_sent = Time(SECOND);
    lab.sent(SECOND, &[1_000; 3]);
    assert_eq!(silence(&lab), lab.c.rtt.probe_timeout(), "too few");
    lab.sent(SECOND, &[1_000; 2]);
    assert_eq!(silence(&lab), lab.c.rtt.prompt_timeout());
    lab.c.timers.tail_probes = 1;
    assert_eq!(silence(&lab), 2 * lab.c.rtt.probe_timeout());
    lab.c.timers.tail_probes = 0;
    let evidence = crate::connection::outstanding::Evidence { now: Time(SECOND), min_rtt: 0, echo: None };
    lab.c.outstanding.acknowledge(&evidence, 1, None);
    assert_eq!(silence(&lab), lab.c.rtt.probe_timeout(), "large packets pass");
}

#[test]
fn packets_that_were_too_large_from_the_beginning_are_no_loss() {
    for proven in [false, true] {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &[1_000; 6]);
        if proven {
            let evidence = crate::connection::outstanding::Evidence { now: Time(5), min_rtt: 0, echo: None };
            lab.c.outstanding.acknowledge(&evidence, 1, None);
        }
        lab.c.outstanding.resend(Time(10), OURS.plus(u16::from(proven)), true);
        lab.c.note_fragmented(Time(20), 1_020);
        assert_eq!(lab.c.mtu.current(), if proven { 1_232 } else { 508 });
        let losses = lab.c.outstanding.all_lost();
        assert_eq!((losses.packets, losses.probes), if proven { (5, 0) } else { (1, 5) });
    }
}

#[test]
fn the_time_out_waits_for_the_answer_to_the_first_probe_but_no_more_than_twice_as_long() {
    let mut lab = Lab::connected(plain());
    lab.c.rtt.sample(Time(0), 100_000);
    let (rto, silence) = (lab.c.rtt.rto(), lab.c.rtt.probe_timeout());
    assert!(silence < rto);
    lab.c.timers.rto_from = Time(SECOND);
    lab.c.timers.data_sent = Time(SECOND + rto - 10);
    for (probes, at) in [(0, rto), (1, rto - 10 + silence), (2, rto)] {
        lab.c.timers.tail_probes = probes;
        assert_eq!(lab.c.retransmit_at(), Time(SECOND + at), "{probes}");
    }
    lab.c.timers.tail_probes = 1;
    lab.c.timers.data_sent = Time(SECOND + 3 * rto);
    assert_eq!(lab.c.retransmit_at(), Time(SECOND + 2 * rto));
}

#[test]
fn of_deadlines_at_the_same_time_the_first_kind_counts() {
    let mut config = plain();
    config.idle_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut lab = Lab::connected(config);
    assert_eq!(lab.c.next_timer(), Some((Time(30 * SECOND), Timer::Idle)));
    lab.c.timers.confirm_at = Some(Time(30 * SECOND));
    lab.c.timers.linger_until = Some(Time(30 * SECOND));
    assert_eq!(lab.c.next_timer(), Some((Time(30 * SECOND), Timer::Confirm)));
    lab.c.timers.linger_until = Some(Time(29 * SECOND));
    assert_eq!(lab.c.next_timer(), Some((Time(29 * SECOND), Timer::Linger)));
}

#[test]
fn a_closed_window_is_probed_once_each_time() {
    let mut lab = Lab::connected(plain());
    lab.window(0, 1 << 20);
    assert_eq!(lab.c.next_timer(), None);
    lab.c.out.write(&mut lab.pools, &[7; 100]);
    assert_eq!(lab.c.next_timer(), Some((Time(SECOND), Timer::Persist)));
    lab.at(SECOND - 1, |c, cx| c.handle_timeout(cx));
    assert_eq!((lab.c.timers.persist_due, lab.c.timers.persist_backoff), (false, 0));
    lab.at(SECOND, |c, cx| c.handle_timeout(cx));
    assert_eq!((lab.c.timers.persist_due, lab.c.timers.persist_backoff), (true, 1));
    assert_eq!(lab.c.next_timer(), None, "it is due");
    lab.at(SECOND, |c, cx| c.fire(cx, Timer::Persist));
    assert_eq!(lab.c.timers.persist_backoff, 2);
}

#[test]
fn the_first_acknowledgement_is_repeated_four_times() {
    let mut lab = Lab::connected(plain());
    for (n, wait) in [(1, Some(2)), (2, Some(4)), (3, Some(8)), (4, None)] {
        lab.c.acks = crate::connection::Acks::default();
        lab.at(SECOND, |c, cx| c.fire(cx, Timer::Confirm));
        assert!(lab.c.acks.is_owed() && lab.c.timers.confirms == n);
        assert_eq!(lab.c.timers.confirm_at, wait.map(|wait| Time((1 + wait) * SECOND)));
    }
}

#[test]
fn a_closed_connection_is_given_up_unless_the_peer_takes_eight_packets_in_the_time() {
    let mss = Lab::connected(plain()).c.mss() as u64;
    let limit = 60 * SECOND;
    for (taken, received, reason) in [
        (8 * mss, 0, None),
        (8 * mss - 1, 0, Some(CloseReason::TimedOut)),
        (8 * mss - 1, 1, Some(CloseReason::Aborted)),
        (0, limit, Some(CloseReason::Aborted)),
    ] {
        let mut lab = Lab::connected(plain());
        lab.c.timers.orphan = Some((Time(0), 1_000_000));
        lab.c.acked = 1_000_000 + taken;
        lab.c.timers.received = Time(received);
        assert_eq!(lab.c.next_timer(), Some((Time(limit), Timer::Orphan)));
        lab.at(limit, |c, cx| c.handle_timeout(cx));
        assert_eq!(lab.c.state.closed(), reason, "{taken}");
        if reason.is_none() {
            assert_eq!(lab.c.timers.orphan, Some((Time(limit), 1_000_000 + taken)));
        }
    }
}

#[test]
fn a_time_out_that_large_packets_alone_explain_makes_them_smaller() {
    let mss = Lab::connected(plain()).c.mss();
    for (packets, timeouts, shrinks) in
        [(6, 1, false), (5, 2, false), (6, 2, true), (1, 2, false), (1, 3, true)]
    {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &vec![mss; packets]);
        for _ in 0..timeouts {
            lab.at(SECOND, |c, cx| c.fire(cx, Timer::Retransmit));
        }
        assert_eq!(lab.c.mss() < mss, shrinks, "{packets} packets, {timeouts} time-outs");
        assert_eq!((lab.c.stats.timeouts, lab.c.timers.after_rto), (timeouts, Some(1)));
    }
    // Behind a closed window it means nothing.
    let mut lab = Lab::connected(plain());
    lab.sent(0, &[mss; 6]);
    lab.window(0, 1 << 20);
    (0..5).for_each(|_| lab.at(SECOND, |c, cx| c.fire(cx, Timer::Retransmit)));
    assert_eq!((lab.c.mss(), lab.c.stats.timeouts), (mss, 0));
    assert_eq!(lab.c.rto(), 15 * SECOND);
}

#[test]
fn an_answer_to_a_fragmented_packet_shrinks_them_if_large_ones_are_missing() {
    let size = Lab::connected(plain()).c.mtu.current();
    for (missing, of, shrinks) in [(0, size, false), (1, size, true), (1, size + 1, false)] {
        let mut lab = Lab::connected(plain());
        lab.sent(0, &vec![size - HEADER_LEN; missing]);
        lab.c.note_fragmented(Time(0), of);
        assert_eq!(lab.c.mtu.current() < size, shrinks, "{missing}, {of}");
    }
}

#[test]
fn what_a_full_peer_dropped_goes_again_when_it_has_room_unless_an_answer_may_still_come() {
    for (waited, window, again, lost) in
        [(100_000, 50_000, true, None), (100_001, 50_000, true, Some(OURS)), (100_001, 0, false, None)]
    {
        let mut lab = Lab::connected(plain());
        lab.c.rtt.sample(Time(0), 100_000);
        lab.sent(0, &[100]);
        lab.window(0, 50_000);
        lab.c.timers.after_rto = Some(0);
        let header = Header {
            kind: PacketType::State,
            connection_id: 5,
            timestamp: Timestamp(1),
            timestamp_difference: 0,
            wnd_size: window,
            seq_nr: THEIRS,
            ack_nr: OURS.minus(1),
        };
        lab.at(waited, |c, cx| c.set_peer_window(cx, &header));
        assert_eq!((lab.c.timers.after_rto.is_none(), lab.c.outstanding.first_lost()), (again, lost));
        assert_eq!(lab.c.timers.progress, Time(if again { 0 } else { waited }), "it lives");
    }
}

#[test]
fn before_what_a_peer_may_have_missed_of_the_first_data_the_syn_ack_goes_again() {
    let mut lab = Lab::opening(plain());
    let (config, ids) = (std::sync::Arc::clone(&lab.c.config), lab.c.ids);
    lab.c = lab.at(0, |c, cx| Connection::accept(cx, &config, c.remote, ids, (OURS, THEIRS.minus(1)), false));
    lab.c.write(&mut lab.pools, b"first").unwrap();
    let kinds = |lab: &mut Lab, now| {
        let mut next = || {
            let mut buf = Vec::new();
            lab.at(now, |c, cx| c.transmit(cx, 1, &mut buf)).ok()?;
            crate::wire::Packet::parse(&buf).ok().map(|packet| (packet.header.kind, packet.header.seq_nr))
        };
        std::iter::from_fn(&mut next).collect::<Vec<_>>()
    };
    let both = [(PacketType::State, OURS), (PacketType::Data, OURS)];
    assert_eq!(kinds(&mut lab, 0), both);
    assert_eq!(kinds(&mut lab, SECOND - 1), []);
    assert_eq!(lab.c.next_timer(), Some((Time(SECOND), Timer::Retransmit)));
    lab.at(SECOND, |c, cx| c.handle_timeout(cx));
    assert_eq!(kinds(&mut lab, SECOND), both);
}
