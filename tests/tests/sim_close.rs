//! Endings: in every order, with everything that can be lost on the way, and by RESET.

use utp_proto::{CloseReason, Config, Event, ReadError, WriteError};
use utp_tests::puppet::{Kind, Puppet, addr, data, fin, ms, piece, pieces, reset, seconds, state};
use utp_tests::sim::{Link, Script, World};

fn plain() -> Puppet {
    Puppet::initiator(Config::default())
}

/// Nothing is left, now or later.
#[track_caller]
fn expect_rest(p: &mut Puppet) {
    p.wait(seconds(70));
    p.take();
    assert!(p.endpoint.is_idle() && p.endpoint.poll_timeout().is_none());
    p.expect_silence(seconds(3_600));
}

#[test]
fn a_fin_comes_after_the_data_and_ends_the_stream_once_all_is_read() {
    let mut p = plain();
    p.send_batch([data(0), data(1), fin(2)]);
    p.expect_ack(3);
    assert_eq!(p.events, [Event::Readable, Event::Finished]);
    assert_eq!(p.read_state(), Ok(true));
    assert_eq!(p.read(), pieces(0..2));
    for _ in 0..3 {
        assert_eq!((p.read_state(), p.connection().read(&mut [0; 9])), (Ok(false), Ok(0)));
    }
    assert_eq!(p.closed(), None, "our direction is open");
}

#[test]
fn a_fin_out_of_order_waits_for_what_is_missing_and_nothing_behind_it_counts() {
    let mut p = plain();
    p.send_batch([fin(3), data(1), data(5), data(4)]);
    p.expect_ack(0);
    assert_eq!((p.read_state(), p.events.len()), (Err(ReadError::Blocked), 0));
    p.send_batch([data(0), data(2)]);
    assert_eq!(p.expect_ack(4).sacked, [0; 0]);
    assert_eq!((p.read(), p.read_state()), (pieces(0..3), Ok(false)));
    p.send(data(4));
    assert_eq!(p.connection().bytes_read(), 300);
    // A second end does not count either.
    p.send(fin(6));
    assert_eq!(p.read_state(), Ok(false));
}

#[test]
fn our_fin_waits_for_all_data_and_is_repeated_until_it_is_acknowledged() {
    let mut p = plain();
    p.send(state().window(150));
    p.write(&piece(0));
    p.write(&piece(1));
    p.finish();
    p.expect_data(0);
    p.expect_nothing(); // no window for the rest, and no FIN before it
    p.send(state().ack(1));
    p.expect_data(1);
    let first = p.expect_fin(2);
    assert!(first.raw.payload.is_empty() && first.raw.extensions.is_empty());
    p.send(state().ack(2));
    for _ in 0..3 {
        assert_eq!(p.next(seconds(10), Kind::Fin).number, 2);
    }
    p.send(state().ack(3));
    assert!(p.connection().is_finish_acked());
    p.expect_silence(seconds(20));
    assert_eq!(p.closed(), None, "the other direction is open");
}

#[test]
fn after_our_fin_the_peer_may_go_on_for_as_long_as_it_likes() {
    let mut p = plain();
    p.finish();
    p.expect_fin(0);
    p.send(state().ack(1));
    assert_eq!(p.connection().write(b"late"), Err(WriteError::Finished));
    for number in 0..20 {
        p.wait(seconds(20));
        p.send(data(number));
    }
    assert_eq!(p.read(), pieces(0..20));
    p.send(fin(20));
    assert!(p.events.contains(&Event::Finished));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    assert_eq!(p.events.iter().filter(|event| matches!(event, Event::Closed { .. })).count(), 1);
}

#[test]
fn after_the_peers_fin_we_may_go_on_for_as_long_as_we_like() {
    let mut p = plain();
    p.send(fin(0));
    p.expect_ack(1);
    p.wait(seconds(300));
    p.take();
    for number in 0..3 {
        p.write(&piece(number));
        assert_eq!(p.expect_data(number).acked, 1);
        p.send(state().ack(number + 1));
    }
    p.finish();
    p.expect_fin(3);
    p.send(state().ack(4));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    expect_rest(&mut p);
}

#[test]
fn both_ends_finish_at_the_same_time() {
    let mut p = plain();
    p.finish();
    p.expect_fin(0);
    p.send(fin(0)); // it has not seen ours
    let ack = p.expect_state();
    assert_eq!(ack.acked, 1);
    assert_eq!(p.closed(), None);
    p.take();
    p.send(state().ack(1));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    expect_rest(&mut p);
}

#[test]
fn a_repeated_fin_is_acknowledged_again_while_we_linger() {
    let mut p = plain();
    p.finish();
    p.expect_fin(0);
    p.send(fin(0).ack(1));
    p.take();
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    assert_eq!(p.endpoint.stats().lingering, 1);
    // Our last acknowledgement was lost: the peer asks again, and ever more slowly.
    for (wait, parity) in [(500, 0), (1_000, 1), (2_000, 0), (4_000, 1), (8_000, 0)] {
        p.wait(ms(wait));
        p.send(fin(0).timestamp(1_000_000 + parity));
        let again = p.expect_ack(1);
        // In both numberings in turn: libutp takes only what is beyond our FIN, libtorrent what is not.
        assert_eq!(again.number, 1 - parity as i32);
    }
    // Long after it has stopped asking, nobody remembers.
    expect_rest(&mut p);
    p.send(fin(0));
    p.expect(Kind::Reset);
}

#[test]
fn what_repeats_itself_after_the_end_draws_no_more_than_it_costs() {
    let mut p = plain();
    p.finish();
    p.send(fin(0).ack(1));
    p.take();
    for _ in 0..100 {
        p.send(fin(0));
    }
    assert_eq!(p.take().len(), 100);
    for packet in [state(), reset(), state().ack(0)] {
        p.send(packet);
    }
    p.expect_nothing();
}

#[test]
fn a_reset_with_either_id_ends_a_connection_and_its_acknowledgement_has_to_fit() {
    for other_id in [false, true] {
        let mut p = plain();
        p.write(&piece(0));
        p.take();
        p.send(data(0));
        let (receive, send) = p.connection().ids();
        let id = if other_id { send } else { receive };
        for wrong in [3, 4, 500, -4, -30_000, 30_000] {
            p.send(reset().id(id).ack(wrong));
        }
        assert_eq!((p.closed(), p.endpoint.stats().resets_ignored), (None, 6));
        p.send(reset().id(id).ack(0));
        let mut buf = [0; 200];
        assert_eq!(p.connection().read(&mut buf), Ok(100), "what had arrived is not lost");
        assert_eq!(p.read_state(), Err(ReadError::Closed(CloseReason::Reset)));
        p.drain();
        assert_eq!(p.closed(), Some(CloseReason::Reset));
        p.expect_nothing();
        expect_rest(&mut p);
    }
}

#[test]
fn a_reset_in_libutps_form_names_the_packet_that_it_answers() {
    let mut p = plain();
    p.write(&piece(0));
    let cause = p.expect_data(0);
    // The id that the packet came with, its sequence number as `ack_nr`, and a number by chance.
    assert_ne!(cause.raw.id, p.connection().ids().0);
    p.send(reset().id(cause.raw.id).ack(cause.number + 1).number(31_000));
    assert_eq!(p.closed(), Some(CloseReason::Reset));
}

#[test]
fn a_reset_after_all_of_ours_has_arrived_is_a_clean_end() {
    // Our FIN is acknowledged: the peer's state is gone, and it answers what is still on its way.
    let mut p = plain();
    p.write(&piece(0));
    p.finish();
    p.send(state().ack(2));
    p.take();
    p.send(reset());
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    expect_rest(&mut p);
    // The data is, and only the FIN is open.
    let mut p = plain();
    p.write(&piece(0));
    p.finish();
    p.send(state().ack(1));
    p.take();
    p.send(reset().ack(2));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    // Data is open: that is no end to be glad of.
    let mut p = plain();
    p.write(&piece(0));
    p.finish();
    p.take();
    p.send(reset().ack(0));
    assert_eq!(p.closed(), Some(CloseReason::Reset));
}

#[test]
fn an_abort_resets_the_peer_at_once_and_forgets() {
    let mut p = plain();
    p.write(&piece(0));
    p.send_batch([data(0), data(1)]);
    p.take();
    let (_, send) = p.connection().ids();
    p.abort();
    let end = p.expect(Kind::Reset);
    assert_eq!((end.raw.id, end.acked), (send, 2));
    p.expect_nothing();
    assert_eq!(p.closed(), Some(CloseReason::Aborted));
    // Whatever the peer still has on its way is answered with a RESET, a RESET with nothing.
    p.send(data(2));
    p.expect(Kind::Reset);
    p.send(reset());
    p.expect_nothing();
    expect_rest(&mut p);
}

#[test]
fn a_dropped_reader_acknowledges_and_forgets_what_comes_until_the_peer_finishes() {
    let mut p = plain();
    p.write(&piece(0));
    p.events.clear();
    p.close();
    p.expect_data(0);
    p.expect_fin(1);
    p.send_batch([data(0), data(1).ack(2)]);
    let ack = p.expect_state();
    assert_eq!((ack.acked, ack.raw.window), (2, 1 << 20));
    p.take();
    p.send(fin(2));
    assert_eq!(p.events, [Event::Closed { reason: CloseReason::Finished }], "nobody is told anything else");
}

#[test]
fn a_dropped_reader_does_not_wait_for_ever() {
    let mut p = plain();
    p.close();
    p.expect_fin(0);
    p.send(data(0).ack(1));
    let start = p.now();
    for number in 1..20 {
        p.wait(ms(200));
        p.send(data(number));
    }
    assert_eq!(p.closed(), Some(CloseReason::Finished), "all that we wrote has arrived");
    let told = p.take().into_iter().find(|seen| seen.raw.kind == Kind::Reset).expect("the peer is told");
    assert!((seconds(3)..ms(3_300)).contains(&(told.at - start)), "{:?}", told.at - start);
}

#[test]
fn an_end_into_silence_times_out() {
    let mut p = plain();
    p.write(&piece(0));
    p.finish();
    p.take();
    p.wait(seconds(62));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
    expect_rest(&mut p);
    // A FIN alone too, and for somebody who has dropped the connection.
    let mut p = plain();
    p.close();
    p.wait(seconds(62));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
    expect_rest(&mut p);
}

#[test]
fn an_idle_connection_lives_and_one_with_a_time_out_ends() {
    let mut p = plain();
    p.wait(seconds(36_000));
    p.take();
    assert_eq!(p.closed(), None);
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);

    let mut config = Config::default();
    config.idle_timeout(Some(seconds(100))).unwrap();
    let mut p = Puppet::initiator(config);
    for number in 0..5 {
        p.wait(seconds(99));
        p.send(data(number));
    }
    assert_eq!(p.closed(), None);
    p.read();
    p.wait(seconds(101));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
}

#[test]
fn what_the_application_does_after_the_end_fails_with_the_reason() {
    let mut p = plain();
    p.send(data(0));
    p.send(reset());
    assert_eq!(p.connection().write(b"x"), Err(WriteError::Closed(CloseReason::Reset)));
    assert_eq!(p.connection().writable(), 0);
    p.finish();
    let handle = p.handle.unwrap();
    p.connection().close();
    assert_eq!(p.endpoint.poll_event(), Some((handle, Event::Closed { reason: CloseReason::Reset })));
    assert!(p.endpoint.connection(handle).is_some(), "one last look");
    assert!(p.endpoint.poll_event().is_none() && p.endpoint.connection(handle).is_none());
    // Its slot may be taken again, the handle stays dead.
    let again = p.endpoint.connect(p.instant(), addr()).unwrap();
    assert_ne!(again, handle);
    assert!(p.endpoint.connection(handle).is_none());
}

#[test]
fn whatever_is_lost_at_the_end_both_ends_end_cleanly() {
    // The last packets of each end, one and all of the first few transmissions of them.
    for (who, kinds, times) in [
        (0, vec![1], 1),
        (1, vec![1], 1),
        (0, vec![1], 4),
        (1, vec![1], 4),
        (0, vec![2], 1),
        (1, vec![2], 1),
        (1, vec![2], 5),
        (0, vec![1, 2], 3),
        (1, vec![1, 2], 3),
    ] {
        let mut world = World::new(7);
        let (a, b) = (world.host_default(), world.host_default());
        world.join(a, b, Link::wire(ms(20)));
        let mut finished = false;
        let (mut left, lost) = (times, kinds.clone());
        world.drop_if(Box::new(move |from, _, _, datagram| {
            let kind = datagram[0] >> 4;
            finished |= kind == 1;
            let drop = finished && from == who && lost.contains(&kind) && left > 0;
            left -= u32::from(drop);
            drop
        }));
        let c = world.dial(a, b, Script::send(30_000), Script::send(10_000));
        world.run_to_the_end(seconds(60));
        for side in [world.dialer(c), world.acceptor(c)] {
            assert!(side.is_clean(), "host {who} loses {times} of {kinds:?}: {side}");
        }
        assert_eq!((world.dialer(c).read, world.acceptor(c).read), (10_000, 30_000));
    }
}

#[test]
fn if_the_last_acknowledgement_is_lost_for_good_one_end_cannot_know() {
    let mut p = plain();
    p.send(fin(0));
    p.take();
    p.finish();
    p.expect_fin(0);
    // The peer has got it, and is gone: its acknowledgement and everything after it is lost.
    p.wait(seconds(62));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
}

#[test]
fn a_fin_may_carry_the_last_bytes() {
    let mut p = plain();
    p.send_batch([data(0), fin(1).payload(b"last")]);
    p.expect_ack(2);
    assert_eq!(p.read(), [piece(0), b"last".to_vec()].concat());
    assert_eq!(p.read_state(), Ok(false));
}
