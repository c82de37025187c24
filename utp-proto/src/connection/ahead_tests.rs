use super::*;
use crate::connection::lab_tests::{Lab, plain};

fn proven() -> Lab {
    let mut lab = Lab::connected(plain());
    lab.c.ahead.proven = true;
    lab.c.ahead.limit = 2_000;
    lab
}

#[test]
fn a_long_run_of_losses_voids_the_proof_for_ever_longer() {
    let void = |lab: &mut Lab, run| {
        lab.at(5_000_000, |c, cx| c.note_lost_run(cx, run));
        !lab.c.ahead.proven
    };
    let mut lab = proven();
    lab.sent(0, &[10; 950]);
    assert!(!void(&mut lab, VOID_RUN), "no more is out than anybody takes");
    lab.sent(0, &[10]);
    assert!(!void(&mut lab, VOID_RUN - 1), "too short a run");
    assert!(void(&mut lab, VOID_RUN));
    assert_eq!((lab.c.ahead.limit, lab.c.ahead.failures, lab.c.ahead.ask_at), (950, 2, Time(7_000_000)));
    void(&mut lab, VOID_RUN);
    assert_eq!(lab.c.ahead.failures, 2, "nothing to be voided");
    lab.c.ahead.proven = true;
    assert!(void(&mut lab, VOID_RUN));
    assert_eq!((lab.c.ahead.failures, lab.c.ahead.ask_at), (4, Time(9_000_000)));
}

#[test]
fn what_a_window_shrinks_by_behind_a_gap_has_arrived() {
    let mut lab = proven();
    lab.sent(0, &[1_000; 5]);
    lab.window(50_000, 50_000);
    lab.c.note_promise();
    assert_eq!((lab.c.ahead.promised, lab.c.unreported()), (50_000, 0));
    let end = lab.c.sent + 1_000;
    lab.c.sent = end;
    lab.c.outstanding.push_kept(Time(0), end, 1_000);
    lab.window(46_000, 50_000);
    lab.c.note_promise();
    assert_eq!((lab.c.ahead.promised, lab.c.unreported()), (50_000, 3_000));
    assert_eq!(lab.c.fits(50_000), 44_000, "which are in the window of before, and not on the way");
    lab.c.ahead.proven = false;
    lab.window(20_000, 50_000);
    lab.c.note_promise();
    assert_eq!(lab.c.unreported(), 3_000, "nobody else is believed");
}

#[test]
fn nobody_is_asked_in_vain_for_ever_nor_where_the_answer_does_not_matter() {
    let mut lab = Lab::connected(plain());
    lab.window(10_000_000, 10_000_000);
    assert!(lab.c.is_curious());
    lab.c.ahead.failures = MAX_FAILURES - 1;
    assert!(lab.c.is_curious());
    lab.c.ahead.failures = MAX_FAILURES;
    assert!(!lab.c.is_curious());
    for (packets, asks) in [(LIBUTP - MARGIN - 1, true), (LIBUTP - MARGIN, false), (LIBUTP, false)] {
        let mut config = plain();
        config.max_packets_in_flight(packets).unwrap();
        let mut lab = Lab::connected(config);
        lab.window(10_000_000, 10_000_000);
        assert_eq!(lab.c.is_curious(), asks, "{packets}");
    }
}

#[test]
fn a_question_needs_the_bytes_up_to_its_place() {
    let mut lab = Lab::connected(plain());
    lab.window(10_000_000, 10_000_000);
    lab.sent(0, &[10; ASK_FROM as usize]);
    let (mss, asks) = (lab.c.mss(), Some(lab.c.mss()));
    lab.c.out.write(&mut lab.pools, &vec![7; 1_089 * mss - 1]);
    assert_eq!(lab.c.question(Time(0)), None);
    lab.c.out.write(&mut lab.pools, &[7]);
    assert_eq!(lab.c.question(Time(0)), asks);
    let (seq, start) = lab.c.ask(Time(0), mss);
    assert_eq!((seq, start), (lab.c.outstanding.next().plus(1_088), lab.c.sent + 1_088 * mss as u64));
}

#[test]
fn a_question_without_an_answer_is_asked_again_later_and_later() {
    let mut lab = Lab::connected(plain());
    lab.c.rtt.sample(Time(0), 100_000);
    for (failures, wait) in [(2, 800_000), (4, 1_600_000), (6, 3_200_000)] {
        let (seq, _) = lab.c.ask(Time(0), 1_000);
        lab.c.note_answer(Time(7), seq.minus(LIBUTP + 1), None);
        assert_eq!(lab.c.ahead.failures, failures - 2, "it may still come");
        lab.c.note_answer(Time(7), seq.minus(LIBUTP), None);
        assert_eq!((lab.c.ahead.failures, lab.c.ahead.ask_at), (failures, Time(7 + wait)));
    }
}
