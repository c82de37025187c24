//! What the endpoint tells its peer of what has arrived: when, how often, in which form.

use std::time::Duration;

use utp_proto::Config;
use utp_tests::puppet::{Kind, Puppet, data, fin, ms, piece, pieces, seconds, state};

fn plain() -> Puppet {
    Puppet::initiator(Config::default())
}

#[test]
fn a_single_packet_is_acknowledged_once_and_within_ten_milliseconds() {
    let mut p = plain();
    let arrived = p.now();
    p.send(data(0));
    p.expect_nothing();
    let ack = p.next(ms(10), Kind::State);
    assert_eq!((ack.acked, ack.at - arrived), (1, ms(5)));
    p.expect_silence(seconds(20));
}

#[test]
fn the_delay_is_what_was_configured() {
    for micros in [0, 1_000, 10_000] {
        let mut config = Config::default();
        config.ack_delay(Duration::from_micros(micros)).unwrap();
        let mut p = Puppet::initiator(config);
        let arrived = p.now();
        p.send(data(0));
        let ack = p.next(ms(10), Kind::State);
        assert_eq!(ack.at - arrived, Duration::from_micros(micros));
    }
    assert!(Config::default().ack_delay(ms(11)).is_err(), "deployed peers measure delay");
}

#[test]
fn every_second_packet_is_acknowledged_at_once() {
    let mut p = plain();
    for pair in 0..10 {
        p.send(data(2 * pair));
        p.expect_nothing();
        p.send(data(2 * pair + 1));
        p.expect_ack(2 * pair + 2);
    }
    p.expect_silence(seconds(1));
}

#[test]
fn one_acknowledgement_answers_a_whole_batch() {
    let mut p = plain();
    p.send_batch((0..64).map(data));
    p.expect_ack(64);
    // In any order.
    p.send_batch((64..128).rev().map(data));
    p.expect_ack(128);
    assert_eq!(p.stats().acks_sent, 2);
}

#[test]
fn what_comes_out_of_order_is_acknowledged_at_once_with_a_mask() {
    let mut p = plain();
    p.send(data(0));
    p.wait(ms(5));
    p.expect_ack(1);
    p.send(data(2));
    assert_eq!(p.expect_ack(1).sacked, [2]);
    p.send(data(4));
    assert_eq!(p.expect_ack(1).sacked, [2, 4]);
    p.send(data(36));
    let ack = p.expect_ack(1);
    assert_eq!(ack.sacked, [2, 4, 36]);
    // Bit 0 of byte 0 is `ack_nr + 2`, which is number 2.
    assert_eq!(ack.raw.mask(), Some(&[0b101, 0, 0, 0, 0b100, 0, 0, 0][..]));
    // A gap that is filled, wholly or not, too.
    p.send(data(1));
    assert_eq!(p.expect_ack(3).sacked, [4, 36]);
    p.send(data(3));
    assert_eq!(p.expect_ack(5).sacked, [36]);
    p.send_batch((5..36).map(data));
    let ack = p.expect_ack(37);
    assert_eq!((ack.raw.mask(), ack.sacked.len()), (None, 0));
    assert_eq!(p.read(), pieces(0..37));
}

#[test]
fn masks_have_whole_words_a_set_bit_and_the_configured_length_at_most() {
    for most in [4, 8, 128, 252] {
        let mut config = Config::default();
        config.max_sack(most).unwrap().reorder_window(4_000).unwrap();
        let mut p = Puppet::initiator(config);
        for ahead in [1, 31, 32, 33, 64, 500, 1_000, 1_500, 2_000, 2_017] {
            p.send(data(ahead));
            let ack = p.expect_ack(0);
            let mask = ack.raw.mask().expect("a mask");
            assert!(
                mask.len().is_multiple_of(4) && (4..=usize::from(most)).contains(&mask.len()),
                "{}",
                mask.len()
            );
            assert!(mask.iter().any(|byte| *byte != 0));
            assert_eq!(
                ack.sacked.contains(&ahead),
                (ahead as usize) <= 8 * usize::from(most),
                "{ahead} in {most}"
            );
        }
    }
    // Longer ones by default only, and only towards a peer that sends far ahead.
    let mut config = Config::default();
    config.reorder_window(4_000).unwrap();
    let mut p = Puppet::initiator(config);
    for (ahead, longest) in [(1_024, 128), (1_025, 132), (2_016, 252), (2_030, 252)] {
        p.send(data(ahead));
        assert_eq!(p.expect_ack(0).raw.mask().map(<[u8]>::len), Some(longest), "{ahead}");
    }
    // Beyond its reach there is nothing to be shown, and no empty mask either.
    let mut config = Config::default();
    config.max_sack(4).unwrap();
    let mut p = Puppet::initiator(config);
    p.send(data(40));
    assert_eq!(p.expect_ack(0).raw.extensions, []);
}

#[test]
fn duplicates_are_acknowledged_at_once_and_change_nothing() {
    let mut p = plain();
    p.send_batch((0..4).map(data));
    p.expect_ack(4);
    for number in [0, 3, -1] {
        p.send(data(number).payload(b"something else under an old number"));
        p.expect_ack(4);
    }
    p.send(data(6));
    p.expect_ack(4);
    p.send(data(6).payload(b"the first copy counts"));
    p.expect_ack(4);
    p.send_batch([data(4), data(5)]);
    p.expect_ack(7);
    assert_eq!((p.read(), p.stats().duplicate_packets), (pieces(0..7), 4));
}

#[test]
fn data_carries_the_acknowledgement_but_no_mask() {
    let mut p = plain();
    p.send(data(0));
    p.write(&piece(0));
    assert_eq!(p.expect_data(0).acked, 1);
    p.expect_silence(ms(20)); // nothing is owed any more
    p.send(state().ack(1));
    // A mask must not wait for DATA, and goes ahead of it.
    p.send(data(2));
    assert_eq!(p.expect_ack(1).sacked, [2]);
    p.connection().write(&piece(1)).unwrap();
    p.send(data(3));
    assert_eq!(p.expect_state().sacked, [2, 3]);
    assert_eq!(p.expect_data(1).raw.extensions, []);
    p.expect_nothing();
}

#[test]
fn a_fin_is_acknowledged_at_once() {
    let mut p = plain();
    p.send(fin(0));
    p.expect_ack(1);
}

#[test]
fn the_difference_is_of_the_arrival_not_of_the_answer() {
    let mut p = plain();
    p.clock = 5;
    p.send(data(0).timestamp(0xffff_ff00)); // just before its clock wraps
    let arrived = p.now().as_micros() as u32;
    p.wait(ms(5));
    let ack = p.expect_ack(1).raw;
    let ours = ack.timestamp.wrapping_sub(5_000); // the endpoint's clock at the arrival
    assert_eq!(ack.difference, ours.wrapping_sub(0xffff_ff00), "{arrived}");
    // Of the last packet, of whatever type, that had a timestamp.
    p.send(state().timestamp(1000));
    p.send(state().timestamp(0));
    p.send_batch([data(1).timestamp(0), data(2).timestamp(0)]);
    let ack = p.expect_ack(3).raw;
    assert_eq!(ack.difference, ack.timestamp.wrapping_sub(1000));
}

#[test]
fn keep_alives_go_out_after_a_while_of_silence_and_acknowledge_one_less() {
    let mut p = plain();
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);
    let last = p.now();
    for n in 1..4 {
        let keep_alive = p.next(seconds(30), Kind::State);
        assert_eq!((keep_alive.acked, keep_alive.at - last), (1, seconds(29) * n));
        p.expect_nothing();
    }
    let mut config = Config::default();
    config.keep_alive(None).unwrap();
    Puppet::initiator(config).expect_silence(seconds(600));
}

#[test]
fn keep_alives_are_answered_at_most_once_a_second() {
    let mut p = plain();
    p.wait(seconds(10));
    for _ in 0..20 {
        p.send(state().ack(-1));
        p.expect_ack(0);
        p.send(state().ack(-1));
        p.expect_nothing(); // two ends must not chat
        p.wait(seconds(1));
    }
    assert_eq!((p.stats().invalid_packets, p.stats().retransmits), (0, 0));
    // A plain repetition of an acknowledgement asks for nothing.
    p.send(state().ack(0));
    p.expect_nothing();
}

#[test]
fn packets_far_off_are_counted_and_not_answered() {
    let mut p = plain();
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);
    // Ahead of what is kept, but not impossible: the peer learns where the stream stands.
    p.send(data(2 + 1025));
    p.expect_ack(2);
    assert_eq!((p.stats().overflow_packets, p.stats().invalid_packets), (1, 0));
    for number in [2 + 2_049, 10_000, 20_000, -1_100, -20_000] {
        p.send(data(number).window(1));
        p.expect_nothing();
    }
    let stats = p.stats();
    assert_eq!((stats.invalid_packets, stats.duplicate_packets), (5, 0));
    assert_eq!(stats.peer_window, 1 << 20, "nothing that they say counts");
    p.send_batch([data(2), data(3)]);
    p.expect_ack(4);
    assert_eq!(p.read(), pieces(0..4));
}

#[test]
fn packets_in_random_order_arrive_in_order() {
    let mut p = plain();
    // 29 is a generator of the numbers below 211: a fixed order that looks like chance.
    let mut number = 1;
    for _ in 0..210 {
        p.send(data(number - 1));
        number = number * 29 % 211;
    }
    assert_eq!(p.take().last().map(|seen| seen.acked), Some(210));
    assert_eq!(p.read(), pieces(0..210));
    assert_eq!(p.stats().duplicate_packets, 0);
}

#[test]
fn empty_data_counts_but_carries_nothing() {
    let mut p = plain();
    p.send_batch([data(0), data(1).payload(b""), data(2)]);
    p.expect_ack(3);
    assert_eq!(p.read(), [piece(0), piece(2)].concat());
}
