//! Deployed peers as they are: each of these was read in a peer's source, and breaks implementations that know
//! only BEP 29.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::FixedWindow;
use utp_proto::{CloseReason, Config, Event};
use utp_tests::puppet::{
    Flavour, Kind, Measured, Puppet, data, fin, ms, piece, pieces, reset, seconds, state, syn,
};

const ALL: [Flavour; 5] =
    [Flavour::Plain, Flavour::Libutp, Flavour::Libtorrent, Flavour::Maskless, Flavour::RustUtp];

/// The puppet has dialed.
fn called_by(flavour: Flavour) -> Puppet {
    let mut p = Puppet::of(flavour, Config::default());
    p.initiate();
    p
}

/// The endpoint has dialed.
fn caller_of(flavour: Flavour) -> Puppet {
    let mut p = Puppet::of(flavour, Config::default());
    p.accept();
    p
}

#[test]
fn acknowledgements_after_our_fin_reach_peers_of_both_numberings() {
    for flavour in [Flavour::Libutp, Flavour::Libtorrent] {
        for open in [called_by, caller_of] {
            let mut p = open(flavour);
            p.write(&piece(0));
            p.finish();
            p.expect_data(0);
            p.expect_fin(1);
            p.send(state().ack(2));
            p.take();
            // The peer goes on: libutp looks only at what is numbered beyond our FIN, libtorrent only at what
            // is not. What the puppet sees is what its flavour looks at.
            for number in 0..6 {
                p.send(data(number));
                p.wait(ms(5));
                let ack = p.expect_ack(number + 1);
                assert_eq!(ack.number, if flavour == Flavour::Libutp { 2 } else { 1 }, "{flavour:?}");
            }
            // Out of order too, with the mask.
            p.send(data(7));
            assert_eq!(p.expect_ack(6).sacked, [7]);
            p.send(data(6));
            p.expect_ack(8);
            p.send(fin(8));
            p.expect_ack(9);
            assert_eq!(p.read(), pieces(0..8));
            assert_eq!(p.closed(), Some(CloseReason::Finished), "{flavour:?}");
            // Our last acknowledgement was lost: one of two answers is looked at, whatever the peer.
            p.send(fin(8).timestamp(1_000));
            p.send(fin(8).timestamp(1_001));
            p.expect_ack(9);
        }
    }
}

#[test]
fn once_a_peer_has_shown_that_it_counts_its_fin_it_gets_one_acknowledgement_each() {
    for (flavour, answers) in [(Flavour::Plain, 1), (Flavour::RustUtp, 2)] {
        let mut p = called_by(flavour);
        p.finish();
        p.send(fin(0));
        p.take();
        // Numbered beyond its FIN, or not.
        p.send(state());
        p.send(fin(0));
        assert_eq!(p.take().len(), answers, "{flavour:?}");
    }
}

#[test]
fn what_a_peer_says_after_its_fin_counts_in_either_numbering() {
    for flavour in ALL {
        let mut p = called_by(flavour);
        p.send(fin(0));
        p.expect_ack(1);
        p.write(&piece(0));
        p.expect_data(0);
        p.send(state().ack(1).window(5_000));
        assert_eq!((p.connection().bytes_acked(), p.stats().peer_window), (100, 5_000), "{flavour:?}");
        p.finish();
        p.send(state().ack(2));
        assert_eq!(p.closed(), Some(CloseReason::Finished), "{flavour:?}");
    }
}

#[test]
fn libutp_acceptors_hear_data_from_us_before_they_say_anything() {
    // They stay half-open until the first DATA, and answer the bare STATE with nothing.
    let mut p = Puppet::of(Flavour::Libutp, Config::default());
    p.dial();
    p.write(&piece(0));
    p.expect(Kind::Syn);
    p.send(state());
    assert_eq!(p.expect_data(0).acked, 0); // no bare STATE before it, which it would not hear
    p.expect_nothing();
}

#[test]
fn a_libutp_acceptor_that_never_had_data_ignores_our_fin_and_we_end_all_the_same() {
    let mut p = caller_of(Flavour::Libutp);
    p.close();
    p.expect_fin(0);
    p.wait(seconds(61));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
    let sent = p.take().len();
    assert!(sent <= 20, "within reason: {sent}");
}

#[test]
fn libutp_says_where_it_stands_with_one_less_than_it_has() {
    let mut p = called_by(Flavour::Libutp);
    p.write(&piece(0));
    p.expect_data(0);
    p.send(state().ack(1));
    for _ in 0..5 {
        p.wait(seconds(20));
        p.send(state().ack(0)); // a keep-alive
        assert_eq!(p.take().len(), 1);
    }
    let stats = p.stats();
    assert_eq!((stats.retransmits, stats.packets_lost, stats.invalid_packets), (0, 0, 0));
}

#[test]
fn libutp_goes_on_sending_into_a_closed_window_every_fifteen_seconds() {
    let mut config = Config::default();
    config.receive_buffer(8 << 10).unwrap();
    let mut p = Puppet::of(Flavour::Libutp, config);
    p.initiate();
    p.send_batch((0..8).map(|number| data(number).payload(&[1; 1_000])));
    assert_eq!(p.expect_ack(8).raw.window, 0);
    for number in 8..13 {
        p.wait(seconds(15));
        p.take();
        p.send(data(number).payload(&[1; 1_400]));
        p.wait(ms(5));
        let acked = p.take().last().map(|seen| seen.acked);
        assert_eq!(acked, Some(number + 1), "it would give up");
    }
}

#[test]
fn libtorrents_syn_with_a_window_of_nothing_does_not_silence_us() {
    let mut p = called_by(Flavour::Libtorrent);
    p.write(&vec![1; 5_000]);
    assert!(p.take().len() >= 4, "its first packet has told a window");
    let mut config = Config::default();
    config.speak_first(true);
    let mut p = Puppet::of(Flavour::Libtorrent, config);
    p.send(syn());
    p.expect_state();
    p.write(&piece(0));
    p.expect_data(0);
}

#[test]
fn masks_of_any_length_are_understood() {
    for (mask, lost) in [
        (&[0b111][..], vec![0]),
        (&[0b111, 0][..], vec![0]),
        (&[0b1110, 0, 0][..], vec![0, 1]),
        (&[0xff, 0xff, 0xff, 0xff, 0xff][..], vec![0]),
        (&[0][..], vec![]),
        (&[0, 0, 0][..], vec![]),
        (&[][..], vec![]),
    ] {
        let mut config = Config::default();
        config.pacing(false).congestion(Arc::new(FixedWindow { bytes: 1 << 20 }));
        let mut p = Puppet::of(Flavour::Libtorrent, config);
        p.rtt = ms(50);
        p.initiate();
        p.write(&vec![1; 9 * 1_212]);
        let sent = p.take().len();
        assert_eq!(sent, 9);
        p.wait(ms(50));
        p.send(state().mask(mask));
        let again: Vec<i32> = p
            .take()
            .iter()
            .filter(|seen| seen.raw.kind == Kind::Data && seen.number < 9)
            .map(|s| s.number)
            .collect();
        assert_eq!(again, lost, "{mask:?}");
        p.wait(ms(50));
        p.send(state().ack(9));
        assert_eq!(p.stats().invalid_packets, 0);
    }
}

#[test]
fn masks_on_data_count_although_repeated_acknowledgements_on_data_do_not() {
    let mut p = called_by(Flavour::Libtorrent);
    p.write(&vec![1; 9 * 1_212]);
    p.take();
    p.wait(ms(20));
    p.send(data(0).sack([1, 2, 3]));
    let again = p.take();
    assert!(again.iter().any(|seen| seen.number == 0 && seen.raw.kind == Kind::Data), "{again:?}");
    let mut p = called_by(Flavour::Libtorrent);
    p.write(&vec![1; 9 * 1_212]);
    p.take();
    p.wait(ms(20));
    p.send_batch((0..9).map(data));
    assert!(p.take().iter().all(|seen| seen.raw.kind != Kind::Data));
}

#[test]
fn a_fin_may_lead_with_extension_3_and_carry_the_last_bytes() {
    let mut p = called_by(Flavour::Libtorrent);
    p.send(data(0));
    p.send(fin(1).payload(b"the end"));
    p.expect_ack(2);
    assert_eq!(p.read(), [piece(0), b"the end".to_vec()].concat());
    assert!(p.events.contains(&Event::Finished));
    // Any packet may, with or without a mask before or after it.
    let mut p = called_by(Flavour::Plain);
    p.send(data(0).extension(3, &[0, 0, 0, 1]));
    p.send(data(2).extension(2, &[0; 8]).extension(3, &[1]).extension(77, &[0; 255]));
    p.send(data(1).mask(&[0; 4]).extension(3, &[0, 0, 0, 2]));
    assert_eq!(p.read(), pieces(0..3));
    assert_eq!(p.stats().invalid_packets, 0);
}

#[test]
fn we_never_lead_with_an_extension_that_libutp_takes_for_another_protocol() {
    let mut config = Config::default();
    config.distrust(false); // every packet in its turn
    let mut p = Puppet::initiator(config);
    p.write(&vec![1; 200_000]);
    let mut acked = 0;
    let mut seen = 0;
    while p.connection().bytes_acked() < 200_000 {
        p.wait(ms(10));
        for packet in p.take() {
            let first = packet.raw.extensions.first().map_or(0, |(id, _)| *id);
            assert!(first <= 2, "{}", packet.raw);
            assert!(packet.raw.kind == Kind::State || packet.raw.mask().is_none());
            acked = acked.max(packet.number + 1);
            seen += 1;
        }
        p.send(state().ack(acked));
    }
    assert!(seen > 130);
    assert_eq!(p.stats().mtu, 1472, "a probe was among them");
}

#[test]
fn clocks_of_every_kind_keep_the_flow_going() {
    for measured in [
        Measured::Honest,
        Measured::Constant(0),
        Measured::Constant(1_000_000),
        Measured::Constant(0x7fff_ffff),
        Measured::Constant(u32::MAX),
        Measured::Absolute,
    ] {
        let mut p = Puppet::new(Config::default());
        p.measured = measured;
        p.accept();
        let outcome = p.download(2_000_000, ms(20), |_| false);
        println!("{measured:?}: {outcome:?}");
        assert!(outcome.time < seconds(10), "{measured:?}: {outcome:?}");
        assert_eq!((p.stats().retransmits, p.stats().timeouts), (0, 0));
    }
}

#[test]
fn a_peer_without_timestamps_is_served() {
    let mut p = called_by(Flavour::Plain);
    p.write(&vec![1; 20_000]);
    let mut acked = 0;
    for _ in 0..40 {
        p.wait(ms(20));
        acked += p.take().len() as i32;
        p.send(state().ack(acked).timestamp(0).difference(0));
    }
    assert_eq!(p.connection().bytes_acked(), 20_000);
    // And is not told a difference to a time that it never gave.
    let mut p = Puppet::new(Config::default());
    p.send(syn().timestamp(0));
    assert_eq!(p.expect_state().raw.difference, 0);
}

#[test]
fn a_reset_instead_of_the_last_acknowledgement_is_a_clean_end() {
    // libutp destroys its socket as soon as its own FIN is acknowledged, and answers ours with a RESET that
    // names our packet; librqbit-utp's author saw the same "in real-world packets".
    let mut p = called_by(Flavour::Libutp);
    p.write(&piece(0));
    p.expect_data(0);
    p.send(state().ack(1));
    p.send(fin(0));
    p.expect_ack(1);
    p.finish();
    let ours = p.expect_fin(1);
    p.send(reset().id(ours.raw.id).ack(ours.number + 1).number(12_345));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
}

#[test]
fn a_peer_that_cuts_a_packet_anew_under_an_old_number_cannot_change_what_was_received() {
    // uTorrent resends with a different amount of data, librqbit-utp re-cuts lost probes.
    let mut p = called_by(Flavour::Plain);
    p.send_batch([data(0), data(2)]);
    p.send_batch([data(0).payload(&[9; 40]), data(2).payload(&[9; 140]), data(1)]);
    assert_eq!(p.read(), pieces(0..3));
}

#[test]
fn whoever_acknowledges_transfers_complete_with_no_more_packets_out_than_he_keeps() {
    for flavour in ALL {
        let mut config = Config::default();
        config.send_buffer(4 << 20).unwrap().distrust(false); // every packet in its turn
        config.congestion(Arc::new(FixedWindow { bytes: 4 << 20 }));
        let mut p = Puppet::of(flavour, config);
        p.window = 8 << 20;
        p.rtt = ms(60);
        p.accept();
        let outcome = p.download(6_000_000, ms(30), |n| n % 997 == 500);
        println!("{flavour:?}: {outcome:?}");
        // libtorrent's ring is as large as its buffer asks for, and its masks show that. The others' masks are too
        // short to tell.
        let most = if flavour == Flavour::Libtorrent { 2_000..=7_600 } else { 900..=950 };
        assert!(most.contains(&outcome.most_outstanding), "{flavour:?}: {outcome:?}");
        assert!((1..=4).contains(&outcome.early), "{flavour:?}: {outcome:?}");
        assert!(outcome.time < Duration::from_secs(20), "{flavour:?}: {outcome:?}");
    }
}
