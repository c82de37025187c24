use super::losses::Losses;
use super::*;
use crate::Config;
use crate::rtt::Rtt;

const LEN: usize = 1000;

struct Flight {
    out: Outstanding,
    rtt: Rtt,
    end: u64,
}

/// Sends `n` packets a millisecond apart on a path of 100 ms.
fn flight(n: u64) -> Flight {
    let mut rtt = Rtt::new(&Config::default());
    rtt.sample(Time(0), 100_000);
    let mut flight = Flight { out: Outstanding::new(SeqNr(0xfffd)), rtt, end: 0 };
    for i in 0..n {
        flight.send(Time(i * 1000));
    }
    flight
}

fn seq(i: u16) -> SeqNr {
    SeqNr(0xfffd).plus(i)
}

/// A mask that reports these offsets from `ack_nr`.
fn mask(offsets: &[u16]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for &offset in offsets {
        let bit = usize::from(offset - 2);
        bytes[bit / 8] |= 1 << (bit % 8);
    }
    bytes
}

impl Flight {
    fn send(&mut self, now: Time) -> SeqNr {
        self.end += LEN as u64;
        self.out.push(now, self.end, LEN, false, false)
    }

    fn ack(&mut self, now: Time, cumulative: u16, offsets: &[u16]) -> (Acked, Losses) {
        let bytes = mask(offsets);
        let sack = (!offsets.is_empty()).then_some(SackMask(&bytes));
        let evidence = Evidence { now, min_rtt: self.rtt.min(), echo: None };
        let acked = self.out.acknowledge(&evidence, cumulative, sack);
        (acked, self.out.detect_losses(now, &self.rtt))
    }
}

#[test]
fn cumulative_acknowledgement_frees_in_order_across_the_wrap() {
    let mut f = flight(10);
    assert_eq!((f.out.in_flight(), f.out.unacked(), f.out.next()), (10_000, 10_000, SeqNr(7)));
    let (acked, losses) = f.ack(Time(100_000), 4, &[]);
    assert_eq!((acked.bytes, acked.packets, acked.offset), (4000, 4, Some(4000)));
    assert_eq!(acked.sample, Some(Time(3000)));
    assert_eq!((f.out.in_flight(), f.out.una(), losses.packets), (6000, seq(4), 0));
}

#[test]
fn three_later_deliveries_mean_a_loss_and_two_do_not() {
    let mut f = flight(10);
    let (acked, losses) = f.ack(Time(102_000), 0, &[2, 3]);
    assert_eq!((acked.bytes, losses.packets), (2000, 0));
    let (_, losses) = f.ack(Time(103_000), 0, &[2, 3, 4]);
    assert_eq!((losses.packets, losses.bytes, losses.newest), (1, 1000, Time(0)));
    assert_eq!(f.out.first_lost(), Some(seq(0)));
    assert_eq!((f.out.in_flight(), f.out.unacked()), (6000, 7000));
}

#[test]
fn age_alone_means_a_loss_after_a_round_trip_and_the_reordering_window() {
    let mut f = flight(2);
    let (_, losses) = f.ack(Time(101_000), 0, &[2]);
    assert_eq!(losses.packets, 0);
    // One round trip and a quarter, from when it was sent.
    assert_eq!(f.out.loss_deadline(&f.rtt), Some(Time(125_000)));
    assert_eq!(f.out.detect_losses(Time(124_999), &f.rtt).packets, 0);
    assert_eq!(f.out.detect_losses(Time(125_000), &f.rtt).packets, 1);
}

#[test]
fn a_lost_retransmission_is_found_again_without_a_time_out() {
    let mut f = flight(10);
    f.ack(Time(104_000), 0, &[2, 3, 4]);
    f.out.resend(Time(104_000), seq(0), false);
    assert_eq!(f.out.first_lost(), None);
    for i in 0..3 {
        f.send(Time(105_000 + i * 1000));
    }
    // Everything sent after the retransmission arrives, the retransmission does not.
    let (_, losses) = f.ack(Time(207_000), 0, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!((losses.packets, losses.newest), (1, Time(104_000)));
    assert_eq!(f.out.first_lost(), Some(seq(0)));
}

#[test]
fn reordering_raises_the_threshold() {
    let mut f = flight(20);
    let (_, losses) = f.ack(Time(105_000), 0, &[2, 3, 4, 5, 6, 7]);
    assert_eq!(losses.packets, 1);
    // The packet was late, not lost: six later ones may overtake from now on.
    let (acked, _) = f.ack(Time(106_000), 7, &[]);
    assert_eq!((acked.spurious, acked.spurious_resends, acked.resent), (1, 0, false));
    let (_, losses) = f.ack(Time(112_000), 0, &[2, 3, 4, 5, 6]);
    assert_eq!(losses.packets, 0);
    assert_eq!(f.out.in_flight(), 8000);
}

#[test]
fn an_answer_sooner_than_a_round_trip_belongs_to_the_original() {
    let mut f = flight(10);
    f.ack(Time(104_000), 0, &[2, 3, 4]);
    f.out.resend(Time(104_000), seq(0), false);
    let (acked, _) = f.ack(Time(110_000), 4, &[]);
    assert_eq!((acked.spurious, acked.spurious_resends, acked.resent), (1, 1, true));
}

#[test]
fn a_time_out_loses_all_but_what_was_reported() {
    let mut f = flight(10);
    f.ack(Time(102_000), 0, &[3, 4]);
    let losses = f.out.all_lost();
    // The oldest one was known to be lost already.
    assert_eq!((losses.packets, f.out.in_flight(), f.out.unacked()), (7, 0, 8000));
    let mut order = Vec::new();
    while let Some(seq) = f.out.first_lost() {
        f.out.resend(Time(700_000), seq, false);
        order.push(seq);
    }
    assert_eq!(order, [0, 1, 4, 5, 6, 7, 8, 9].map(seq));
    assert_eq!(f.out.in_flight(), 8000);
    let (acked, _) = f.ack(Time(900_000), 10, &[]);
    assert_eq!((acked.bytes, f.out.in_flight(), f.out.unacked(), f.out.len()), (8000, 0, 0, 0));
}

#[test]
fn a_peer_that_forgets_what_it_reported_gets_it_again() {
    let mut f = flight(4);
    f.ack(Time(101_000), 0, &[2, 3]);
    f.ack(Time(150_000), 1, &[]);
    // The oldest packet was reported, but the acknowledgement does not move past it.
    let losses = f.out.all_lost();
    assert_eq!((losses.packets, f.out.unacked()), (3, 3000));
}

#[test]
fn a_premature_time_out_is_taken_back() {
    let mut f = flight(10);
    f.out.all_lost();
    f.out.resend(Time(600_000), seq(0), false);
    let (acked, _) = f.ack(Time(600_010), 1, &[]);
    assert_eq!(acked.spurious_resends, 1);
    f.out.none_lost();
    assert_eq!((f.out.first_lost(), f.out.in_flight()), (None, 9000));
    let (acked, _) = f.ack(Time(601_000), 9, &[]);
    assert_eq!((acked.bytes, f.out.in_flight()), (9000, 0));
}

#[test]
fn duplicate_acknowledgements_lose_the_oldest_packet_only() {
    let mut f = flight(5);
    let losses = f.out.oldest_lost();
    assert_eq!((losses.packets, f.out.first_lost()), (1, Some(seq(0))));
    assert_eq!(f.out.oldest_lost().packets, 0);
}

#[test]
fn a_lost_probe_is_not_counted_as_loss() {
    let mut f = flight(1);
    f.end += LEN as u64;
    let probe = f.out.push(Time(1000), f.end, LEN, false, true);
    for i in 2..6 {
        f.send(Time(i * 1000));
    }
    let (_, losses) = f.ack(Time(105_000), 1, &[2, 3, 4, 5]);
    assert_eq!((losses.packets, losses.probes), (0, 1));
    assert_eq!(f.out.first_lost(), Some(probe));
}

#[test]
fn a_late_probe_does_not_take_a_loss_back() {
    let probe_and_loss = || {
        let mut f = flight(0);
        f.end += LEN as u64;
        f.out.push(Time(0), f.end, LEN, false, true);
        for i in 1..8 {
            f.send(Time(i * 1000));
        }
        let (_, losses) = f.ack(Time(106_000), 0, &[3, 4, 5, 6]);
        assert_eq!((losses.packets, losses.probes), (1, 1), "the probe and the packet behind it");
        f
    };
    let mut f = probe_and_loss();
    let (acked, _) = f.ack(Time(107_000), 1, &[]);
    assert_eq!((acked.packets, acked.spurious), (1, 0));
    // The same if it was sent again.
    let mut f = probe_and_loss();
    f.out.resend(Time(106_000), seq(0), false);
    let (acked, _) = f.ack(Time(107_000), 1, &[]);
    assert_eq!((acked.spurious, acked.spurious_resends), (0, 1));
    // A time-out that is taken back gives no more packets back than it took.
    let mut f = probe_and_loss();
    let losses = f.out.all_lost();
    assert_eq!((losses.packets, f.out.none_lost()), (2, 3), "one was lost before");
}

#[test]
fn masks_beyond_what_was_sent_change_nothing() {
    let mut f = flight(3);
    let bytes = [0xff; 255];
    let evidence = Evidence { now: Time(100_000), min_rtt: 100_000, echo: None };
    let acked = f.out.acknowledge(&evidence, 0, Some(SackMask(&bytes)));
    assert_eq!((acked.bytes, f.out.unacked()), (2000, 1000));
    let acked = f.out.acknowledge(&evidence, 0, Some(SackMask(&bytes)));
    assert_eq!(acked.packets, 0);
}

#[test]
fn an_empty_list_gives_its_memory_back() {
    let mut f = flight(500);
    f.ack(Time(200_000), 500, &[]);
    assert!(f.out.is_empty());
    f.out.shrink();
    assert_eq!(f.out.packets.capacity() + f.out.log.capacity() + f.out.lost.capacity(), 0);
    assert_eq!((f.out.una(), f.out.next()), (seq(500), seq(500)));
}

#[test]
fn a_lost_retransmission_is_found_behind_hundreds_of_packets_beyond_the_mask() {
    let mut f = flight(300);
    let reported: Vec<u16> = (3..=65).collect();
    assert_eq!(f.ack(Time(300_000), 0, &reported).1.packets, 2); // 0 and 1
    f.out.resend(Time(300_000), seq(0), false);
    f.out.resend(Time(300_001), seq(1), false);
    let reported: Vec<u16> = (2..=65).collect();
    let (acked, losses) = f.ack(Time(400_001), 0, &reported);
    assert_eq!((acked.packets, losses.packets), (1, 0));
    // The first was overtaken by the second; of those beyond the mask nothing is known.
    assert_eq!(f.out.loss_deadline(&f.rtt), Some(Time(425_000)));
    assert_eq!(f.out.detect_losses(Time(424_999), &f.rtt).packets, 0);
    let losses = f.out.detect_losses(Time(425_000), &f.rtt);
    assert_eq!((losses.packets, f.out.first_lost(), losses.run), (1, Some(seq(0)), 1));
    assert_eq!(f.out.detect_losses(Time(560_000), &f.rtt).packets, 0);
    // It arrives: the mask shows what is missing up to its end, all of it older than what was delivered.
    f.out.resend(Time(425_000), seq(0), false);
    let (acked, losses) = f.ack(Time(525_000), 66, &[6, 7, 8]);
    assert_eq!((acked.packets, losses.packets, losses.run), (5, 62, 57));
    assert_eq!(f.out.first_lost(), Some(seq(66)));
}

#[test]
fn what_was_kept_ahead_of_its_turn_is_delivered_and_in_nobodys_way() {
    let mut f = flight(3);
    f.end += LEN as u64;
    f.out.push_kept(Time(500), f.end, LEN);
    assert!(f.out.has_sacked());
    assert_eq!((f.out.in_flight(), f.out.unacked(), f.out.next()), (3000, 3000, seq(4)));
    f.send(Time(4000));
    assert_eq!(f.ack(Time(104_000), 0, &[]).1.packets, 0);
    let (acked, _) = f.ack(Time(104_000), 5, &[]);
    assert_eq!((acked.packets, acked.bytes, acked.offset), (4, 4000, Some(5000)));
    assert!(!f.out.has_sacked() && f.out.in_flight() == 0);
}

#[test]
fn what_the_peer_cannot_tell_about_is_lost_after_a_time_out_only() {
    // No mask was ever seen: they may be as short as 32 packets.
    for (at, lost) in [(533_999, 0), (534_000, 1), (535_999, 2), (600_000, 26)] {
        let mut f = flight(60);
        f.out.resend(Time(300_000), seq(0), false);
        let (_, losses) = f.ack(Time(400_000), 1, &[]);
        assert_eq!(losses.packets, 33);
        assert_eq!(f.out.loss_deadline(&f.rtt), Some(Time(500_000 + 34_000)));
        assert_eq!(f.out.detect_losses(Time(at), &f.rtt).packets, lost);
        assert_eq!(f.out.in_flight(), (26 - u64::from(lost)) * LEN as u64);
    }
}

#[test]
fn what_left_long_ago_does_not_hold_up_the_repair_of_what_is_known_to_be_lost() {
    let torn = || {
        let mut f = flight(100);
        f.out.resend(Time(300_000), seq(0), false);
        f.ack(Time(400_000), 1, &[2]);
        // The first one beyond the mask is known to be lost, those behind it are not.
        let mut losses = Losses::default();
        f.out.mark_lost(seq(66), &mut losses);
        f.out.trim();
        f
    };
    let mut f = torn();
    assert_eq!(f.out.detect_losses(Time(600_000), &f.rtt).packets, 33);
    assert_eq!((f.out.in_flight(), f.out.loss_deadline(&f.rtt)), (0, None));
    // Nor does it once that one was sent again and overtaken: it is young.
    let mut f = torn();
    f.out.resend(Time(590_000), seq(66), false);
    f.out.resend(Time(590_001), seq(5), false);
    f.ack(Time(690_001), 0, &[2, 5]);
    assert_eq!((f.out.in_flight(), f.out.is_lost(seq(66))), (LEN as u64, false));
}

#[test]
fn what_the_peer_can_tell_about_waits_for_others_to_be_overtaken_by_on_a_long_path_too() {
    let mut f = flight(35);
    (0..100).for_each(|_| f.rtt.sample(Time(0), 1_000_000));
    f.out.resend(Time(300_000), seq(0), false);
    assert_eq!(f.ack(Time(1_000_000), 1, &[]).1.packets, 32);
    // The first packet beyond a mask is as late as a time-out; the one before it was overtaken by two.
    let time_out = 34_000 + f.rtt.plain_rto();
    assert!(time_out < 1_250_000);
    let losses = f.out.detect_losses(Time(time_out), &f.rtt);
    assert_eq!((losses.packets, losses.newest), (1, Time(34_000)));
    assert_eq!(f.out.detect_losses(Time(33_000 + 1_250_000), &f.rtt).newest, Time(33_000));
}

#[test]
fn a_denied_answer_is_not_too_soon() {
    for (echo, spurious) in [(None, 1), (Some(Time(3_000)), 1), (Some(Time(104_000)), 0)] {
        let mut f = flight(10);
        f.ack(Time(104_000), 0, &[2, 3, 4]);
        f.out.resend(Time(104_000), seq(0), false);
        let evidence = Evidence { now: Time(110_000), min_rtt: 100_000, echo };
        assert_eq!(f.out.acknowledge(&evidence, 4, None).spurious, spurious, "{echo:?}");
    }
}

#[test]
fn an_answer_to_what_left_before_the_fragments_is_none_to_them() {
    for (echo, fragmented) in [(None, 1000), (Some(Time(150_000)), 1000), (Some(Time(149_999)), 0)] {
        let mut f = flight(6);
        f.out.resend(Time(150_000), seq(0), true);
        let evidence = Evidence { now: Time(400_000), min_rtt: 100_000, echo };
        let acked = f.out.acknowledge(&evidence, 1, None);
        assert_eq!((acked.fragmented, f.out.is_large_proven()), (fragmented, fragmented == 0), "{echo:?}");
    }
}

#[test]
fn large_packets_are_in_doubt_until_one_arrives_in_one_piece() {
    let mut f = flight(0);
    for (i, len) in [ALWAYS_PASSES, ALWAYS_PASSES + 1, LEN, 10].into_iter().enumerate() {
        f.end += len as u64;
        f.out.push(Time(i as u64 * 1000), f.end, len, false, false);
    }
    assert_eq!((f.out.oldest_len(), f.out.large_in_doubt(), f.out.large_missing()), (488, 2, 2));
    assert!(!f.out.is_large_proven() && !f.out.is_torn());
    // Sent again in one piece they are in doubt again; in fragments, or small, they are not.
    f.out.all_lost();
    assert!(f.out.is_torn());
    f.out.resend(Time(500_000), seq(0), false);
    f.out.resend(Time(500_000), seq(1), true);
    f.out.resend(Time(500_000), seq(2), false);
    assert_eq!((f.out.large_in_doubt(), f.out.large_missing()), (3, 1));
    // A fragmented one that arrives proves nothing; nothing is missing that others do not overtake.
    let (acked, _) = f.ack(Time(600_000), 1, &[]);
    assert_eq!((acked.fragmented, f.out.large_in_doubt()), (0, 3));
    let (acked, _) = f.ack(Time(600_000), 1, &[]);
    assert_eq!((acked.fragmented, f.out.large_in_doubt(), f.out.is_large_proven()), (489, 3, false));
    let (acked, _) = f.ack(Time(600_001), 1, &[]);
    assert_eq!((acked.fragmented, f.out.large_in_doubt(), f.out.is_large_proven()), (0, 0, true));
}

#[test]
fn what_was_reported_makes_nobody_miss_large_packets() {
    let mut f = flight(20);
    assert_eq!(f.out.large_missing(), 16, "of the first few");
    f.ack(Time(101_000), 0, &[2]);
    assert_eq!(f.out.large_missing(), 0);
    assert!(f.out.is_torn() && f.out.has_sacked());
}

#[test]
fn a_packet_held_back_goes_when_it_is_missed_and_is_forged_if_acknowledged_before() {
    let mut f = flight(3);
    assert_eq!(f.out.held(), None);
    f.end += LEN as u64;
    f.out.hold(Time(3_000), f.end, LEN);
    f.send(Time(3_000));
    assert_eq!((f.out.held(), f.out.first_lost(), f.out.in_flight()), (Some(seq(3)), None, 4000));
    // What came before it says nothing of it.
    let (acked, _) = f.ack(Time(101_000), 1, &[2]);
    assert_eq!((acked.missed, acked.forged, f.out.held()), (false, false, Some(seq(3))));
    let (acked, _) = f.ack(Time(103_000), 2, &[2]);
    assert_eq!((acked.missed, acked.forged, f.out.held()), (true, false, None));
    assert_eq!(f.out.first_lost(), Some(seq(3)));
    // Released and sent, it is a packet like any other...
    f.out.resend(Time(103_000), seq(3), false);
    let (acked, _) = f.ack(Time(203_000), 2, &[]);
    assert_eq!((acked.forged, acked.packets, f.out.unacked()), (false, 1, 0));
    // ...and not sent, nobody can have it.
    f.end += LEN as u64;
    f.out.hold(Time(204_000), f.end, LEN);
    assert!(f.ack(Time(304_000), 1, &[]).0.forged);
}

#[test]
fn an_original_is_told_from_what_was_sent_again() {
    // Sent twice and answered too soon: it can only have been the first one.
    let mut f = flight(3);
    f.out.all_lost();
    f.out.resend(Time(600_000), seq(0), false);
    assert!(f.ack(Time(600_010), 1, &[]).0.premature);
    // Sent three times, it may have been the second, unless the peer has received nothing since the newest packet.
    for (echo, premature) in [(None, false), (Some(Time(2_000)), true), (Some(Time(2_001)), false)] {
        let mut f = flight(3);
        f.out.all_lost();
        f.out.resend(Time(600_000), seq(0), false);
        f.out.all_lost();
        f.out.resend(Time(900_000), seq(0), false);
        let evidence = Evidence { now: Time(900_010), min_rtt: 100_000, echo };
        assert_eq!(f.out.acknowledge(&evidence, 1, None).premature, premature, "{echo:?}");
    }
    // In time it was the last one.
    let mut f = flight(3);
    f.out.all_lost();
    f.out.resend(Time(600_000), seq(0), false);
    let (acked, _) = f.ack(Time(700_000), 1, &[]);
    assert!(!acked.premature && acked.resent && acked.spurious == 0);
}

#[test]
fn an_acknowledgement_that_moves_to_the_next_gap_loses_it_if_later_packets_arrived() {
    let mut f = flight(3);
    let evidence = Evidence { now: Time(400_000), min_rtt: f.rtt.min(), echo: None };
    assert_eq!(f.out.oldest_lost().packets, 1);
    f.out.resend(Time(200_000), seq(0), false);
    f.out.acknowledge(&evidence, 1, None);
    assert_eq!((f.out.oldest_lost_if_overtaken().packets, f.out.first_lost()), (1, Some(seq(1))));
    let mut f = flight(3);
    f.out.acknowledge(&evidence, 1, None);
    assert_eq!((f.out.oldest_lost_if_overtaken().packets, f.out.first_lost()), (0, None));
}

#[test]
fn what_a_peer_reported_and_dropped_again_is_lost_with_the_others() {
    let mut f = flight(4);
    f.ack(Time(101_000), 0, &[2, 3]);
    assert!(f.out.has_sacked());
    f.ack(Time(101_000), 1, &[]);
    let losses = f.out.all_lost();
    assert_eq!((losses.packets, losses.bytes), (3, 3_000));
    assert_eq!((f.out.has_sacked(), f.out.in_flight(), f.out.unacked()), (false, 0, 3_000));
}

#[test]
fn what_is_in_flight_after_all_is_watched_like_the_rest() {
    let mut f = flight(10);
    f.ack(Time(104_000), 4, &[]);
    assert_eq!(f.out.all_lost().packets, 6);
    assert_eq!((f.out.none_lost(), f.out.in_flight(), f.out.first_lost()), (6, 6_000, None));
    let (_, losses) = f.ack(Time(105_000), 0, &[2, 3, 4]);
    assert_eq!((losses.packets, f.out.first_lost()), (1, Some(seq(4))));
}

#[test]
fn large_packets_that_go_whole_are_in_doubt_each_time() {
    for (len, fragmented, more) in [
        (ALWAYS_PASSES, false, 0),
        (ALWAYS_PASSES + 1, false, 1),
        (ALWAYS_PASSES + 1, true, 0),
        (LEN, false, 1),
    ] {
        let mut out = Outstanding::new(seq(0));
        out.push(Time(0), len as u64, len, false, false);
        let before = out.large_in_doubt();
        out.resend(Time(10), seq(0), fragmented);
        assert_eq!(out.large_in_doubt(), before + more, "{len}, {fragmented}");
    }
}

#[test]
fn what_is_lost_is_sent_again_in_its_turn_though_another_goes_first() {
    let mut f = flight(10);
    assert_eq!(f.ack(Time(110_000), 0, &[4, 5, 6, 7]).1.packets, 3);
    f.out.resend(Time(110_000), seq(2), false);
    assert_eq!(f.out.first_lost(), Some(seq(0)));
    f.out.resend(Time(110_000), seq(0), false);
    assert_eq!(f.out.first_lost(), Some(seq(1)));
}

#[test]
fn a_packet_that_was_not_lost_after_all_gives_others_a_quarter_of_a_round_trip_more() {
    let patience = |overtaken_by: u16, resent| {
        let mut f = flight(20);
        f.ack(Time(105_000), 0, &[2, 3, 4][..usize::from(overtaken_by)]);
        if resent {
            f.out.resend(Time(105_000), seq(0), false);
        }
        f.ack(Time(106_000), 1 + overtaken_by, &[2]);
        f.out.loss_deadline(&f.rtt).unwrap().0 - f.out.get(f.out.una()).unwrap().at.0 - f.rtt.current()
    };
    assert_eq!(patience(2, false), 25_000, "not taken for lost");
    assert_eq!(patience(3, false), 50_000);
    assert_eq!(patience(3, true), 50_000, "it was sent again, but that is not what has arrived");
}
