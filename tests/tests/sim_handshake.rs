//! Opening: who sends what, how often, and what is believed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use utp_proto::{CloseReason, Config, ConnectError, Event, Verdict};
use utp_tests::puppet::{Kind, Puppet, Raw, Seen, data, fin, ms, piece, pieces, reset, seconds, state, syn};
use utp_tests::sim::{Link, Script, World};

/// A packet of another peer.
fn foreign(kind: Kind, id: u16, seq: u16, ack: u16) -> Raw {
    Raw { id, seq, ack, ..Raw::new(kind) }
}

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 9, n], 6881))
}

/// Everything but the timestamp.
fn timeless(seen: &Seen) -> Raw {
    Raw { timestamp: 0, difference: 0, ..seen.raw.clone() }
}

#[test]
fn syns_are_repeated_with_growing_gaps_until_the_attempt_times_out() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.wait(seconds(29));
    let syns = p.take();
    assert!(syns.iter().all(|seen| seen.raw.kind == Kind::Syn && timeless(seen) == timeless(&syns[0])));
    let gaps: Vec<_> = syns.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    assert_eq!(gaps, [1000, 1500, 2250, 3375, 4000, 4000, 4000, 4000, 4000]);
    assert_eq!(syns[1].raw.timestamp.wrapping_sub(syns[0].raw.timestamp), 1_000_000, "a fresh timestamp");
    assert_eq!(p.closed(), None);
    p.wait(seconds(1));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
    p.expect_silence(seconds(600));
    assert!(p.endpoint.is_idle() && p.endpoint.poll_timeout().is_none());
}

#[test]
fn a_syn_carries_the_receive_id_and_nothing_that_a_peer_could_trip_over() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.write(b"does not ride on the SYN");
    let syn = p.expect(Kind::Syn).raw;
    p.expect_nothing();
    let (receive, send) = p.connection().ids();
    assert_eq!((syn.id, syn.id.wrapping_add(1)), (receive, send));
    assert_eq!((syn.ack, syn.difference, syn.extensions.len(), syn.payload.len()), (0, 0, 0, 0));
    assert_ne!(syn.timestamp, 0);
}

#[test]
fn only_a_state_that_acknowledges_the_syn_completes_the_opening() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.expect(Kind::Syn);
    p.send(state().ack(1));
    p.send(state().ack(-1));
    let receive = p.connection().ids().0;
    p.send(syn().id(receive.wrapping_sub(1)).ack(0));
    assert_eq!((p.events.len(), p.stats().invalid_packets), (0, 3));
    p.expect_nothing();
    p.send(state().ack(0));
    assert_eq!(p.events, [Event::Connected]);
    p.expect_ack(0);
}

#[test]
fn the_number_of_the_syn_ack_is_that_of_the_first_data() {
    let mut p = Puppet::acceptor(Config::default());
    p.send(data(0));
    p.expect_silence(ms(4));
    p.wait(ms(1));
    p.expect_ack(1);
    let mut p = Puppet::initiator(Config::default());
    p.write(&piece(5));
    assert_eq!(p.expect_data(0).raw.payload, piece(5));
}

#[test]
fn the_first_acknowledgement_is_repeated_while_the_peer_is_silent() {
    let mut p = Puppet::acceptor(Config::default());
    let opened = p.now();
    p.wait(seconds(20));
    let repeated: Vec<_> =
        p.take().iter().map(|seen| (seen.raw.kind, seen.acked, (seen.at - opened).as_secs())).collect();
    assert_eq!(
        repeated,
        [(Kind::State, 0, 1), (Kind::State, 0, 3), (Kind::State, 0, 7), (Kind::State, 0, 15)]
    );
    let mut p = Puppet::acceptor(Config::default());
    p.send(data(0));
    p.wait(ms(5));
    p.expect_ack(1);
    p.expect_silence(seconds(20)); // it has spoken
}

#[test]
fn the_same_syn_gets_the_same_answer_and_another_one_a_new_one() {
    let mut p = Puppet::new(Config::default());
    p.send(syn());
    let first = p.expect_state();
    p.wait(seconds(3));
    p.send(syn());
    let second = p.expect_state();
    assert_eq!(timeless(&first), timeless(&second));
    assert_eq!(p.endpoint.stats().half_open, 1);
    // The same id, another number: the peer has forgotten the first attempt.
    p.send(syn().number(-2));
    let third = p.expect_state();
    assert_eq!(third.acked, -1);
    assert_ne!(third.raw.seq, first.raw.seq);
    assert_eq!(p.endpoint.stats().half_open, 1);
}

#[test]
fn lost_syns_and_syn_acks_cost_no_byte() {
    for lost in 1..=4 {
        let mut world = World::new(lost);
        let (a, b) = (world.host_default(), world.host_default());
        world.join(a, b, Link::wire(ms(20)));
        // The first packets of the acceptor: SYN-ACKs, as long as the dialer has none.
        world.drop_if(Box::new(move |from, _, number, _| from == 1 && number < lost));
        let c = world.dial(a, b, Script::send(50_000), Script::send(50_000));
        world.run_to_the_end(seconds(60));
        assert!(world.all_sides().all(|side| side.is_clean() && side.read == 50_000));
        let opened = world.dialer(c).connected.unwrap();
        assert!(opened >= seconds(1), "the SYN had to be repeated: {opened:?}");
    }
}

#[test]
fn a_syn_on_an_established_connection_changes_nothing() {
    let mut p = Puppet::initiator(Config::default());
    p.send(syn());
    p.send(syn().number(-77));
    p.expect_nothing();
    assert_eq!(p.stats().invalid_packets, 2);
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);
    assert_eq!(p.read(), pieces(0..2));
    assert!(p.events.contains(&Event::Readable) && p.closed().is_none());
}

#[test]
fn a_late_copy_of_the_syn_opens_nothing_after_the_end() {
    let mut p = Puppet::initiator(Config::default());
    p.send(fin(0));
    p.finish();
    p.take();
    p.send(state().ack(1));
    assert_eq!(p.closed(), Some(CloseReason::Finished));
    p.send(syn());
    p.expect_nothing();
    assert_eq!((p.endpoint.stats().half_open, p.endpoint.stats().connections), (0, 0));
}

#[test]
fn half_open_connections_are_forgotten_after_their_time() {
    let mut config = Config::default();
    config.half_open_timeout(seconds(5)).unwrap();
    let mut p = Puppet::new(config);
    p.send(syn());
    p.expect_state();
    p.expect_silence(ms(4_900)); // nothing is repeated to somebody who may not exist
    assert_eq!(p.endpoint.stats().half_open, 1);
    p.wait(ms(200));
    assert_eq!(p.endpoint.stats().half_open, 0);
    assert!(p.endpoint.is_idle());
    p.send(state());
    p.expect(Kind::Reset);
    assert_eq!(p.events, []);
}

#[test]
fn an_acceptor_is_told_and_sends_only_when_the_initiator_is_proven() {
    let mut p = Puppet::new(Config::default());
    p.send(syn());
    p.expect_state();
    assert_eq!((p.events.len(), p.endpoint.stats().connections), (0, 0));
    // Not by guessing the acknowledgement.
    for ack in [1, 2, 40, -2] {
        p.send(data(0).ack(ack));
    }
    p.expect_nothing();
    assert_eq!((p.endpoint.stats().connections, p.endpoint.stats().datagrams_unmatched), (0, 4));
    // What confirms may carry data already, and come in any order.
    p.send_batch([data(1).ack(0), data(0)]);
    assert_eq!(p.events, [Event::Incoming, Event::Readable]);
    assert_eq!(p.read(), pieces(0..2));
    p.expect_ack(2);
    p.write(&piece(9));
    p.expect_data(0);
}

#[test]
fn a_silent_initiator_is_heard_by_its_keep_alive() {
    let mut p = Puppet::new(Config::default());
    p.send(syn());
    p.expect_state();
    p.wait(seconds(29));
    p.send(state().ack(-1)); // libutp: one less than it has
    assert_eq!(p.events, [Event::Incoming]);
}

#[test]
fn the_backlog_is_bounded_and_a_repeated_confirmation_gets_in_later() {
    let mut config = Config::default();
    config.backlog(2).unwrap();
    let mut p = Puppet::new(config);
    p.accepts = false;
    for n in 0..3 {
        let _ = p.send_from(peer(n), &foreign(Kind::Syn, 100, 1, 0).encode());
    }
    let answers: Vec<_> = p.take().iter().map(|seen| seen.raw.seq).collect();
    let confirm = |p: &mut Puppet, n: usize| {
        let raw = foreign(Kind::State, 101, 2, answers[n].wrapping_sub(1));
        let _ = p.send_from(peer(n as u8), &raw.encode());
    };
    (0..3).for_each(|n| confirm(&mut p, n));
    let stats = p.endpoint.stats();
    assert_eq!((stats.backlog, stats.half_open, stats.syns_dropped), (2, 1, 1));
    // Full: a SYN finds no room either, and no RESET tells the peer to give up.
    let _ = p.send_from(peer(9), &foreign(Kind::Syn, 100, 1, 0).encode());
    p.expect_nothing();
    assert_eq!(p.endpoint.stats().syns_dropped, 2);
    assert!(p.endpoint.accept().is_some());
    confirm(&mut p, 2);
    assert_eq!((p.endpoint.stats().backlog, p.endpoint.stats().half_open), (2, 0));
    assert!(p.endpoint.accept().is_some() && p.endpoint.accept().is_some() && p.endpoint.accept().is_none());
}

#[test]
fn half_open_and_open_connections_are_bounded() {
    let mut config = Config::default();
    config.half_open_limit(10).unwrap().max_connections(3).unwrap();
    let mut p = Puppet::new(config);
    for id in 0..20 {
        let _ = p.send_bytes(&foreign(Kind::Syn, 10 * id, 1, 0).encode());
    }
    // One network gets 8 of these, the other SYNs are answered with cookies.
    let stats = p.endpoint.stats();
    assert_eq!((p.take().len(), stats.half_open, stats.cookies_sent, stats.syns_dropped), (20, 8, 12, 0));
    for _ in 0..3 {
        p.endpoint.connect(p.instant(), peer(1)).unwrap();
    }
    assert_eq!(p.endpoint.connect(p.instant(), peer(1)), Err(ConnectError::TooManyConnections));
    p.drain();
    p.take();
    let _ = p.send_from(peer(5), &foreign(Kind::Syn, 1, 1, 0).encode());
    p.expect_nothing();
}

#[test]
fn ids_towards_one_peer_run_out_without_two_that_could_be_confused() {
    let mut config = Config::default();
    config.max_connections(1 << 20).unwrap();
    let mut p = Puppet::new(config);
    let mut ids = HashSet::new();
    let error = loop {
        match p.endpoint.connect(p.instant(), peer(1)) {
            Ok(handle) => ids.insert(p.endpoint.connection(handle).unwrap().ids().0),
            Err(error) => break error,
        };
    };
    assert_eq!(error, ConnectError::IdsExhausted);
    assert!(ids.len() > 65_536 / 3, "{}", ids.len());
    assert!(ids.iter().all(|id| !ids.contains(&id.wrapping_add(1))), "neighbours");
    assert!(p.endpoint.connect(p.instant(), peer(2)).is_ok());
}

#[test]
fn an_endpoint_can_connect_to_itself() {
    let mut world = World::new(8);
    let a = world.host_default();
    let link = world.link(Link::wire(ms(1)));
    world.route(a, a, &[link]);
    let c = world.dial(a, a, Script::send(300_000), Script::send(200_000));
    world.run_to_the_end(seconds(10));
    assert_eq!((world.dialer(c).read, world.acceptor(c).read), (200_000, 300_000));
    assert!(world.all_sides().all(|side| side.is_clean()));
}

#[test]
fn both_ends_write_first() {
    let mut world = World::new(9);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::wire(ms(30)));
    let c = world.dial(a, b, Script::send(10_000), Script::send(10_000));
    world.run_to_the_end(seconds(10));
    assert!(world.all_sides().all(|side| side.is_clean() && side.read == 10_000));
    // The dialer's first packets have crossed after one and a half round trips.
    assert!(world.acceptor(c).last_read < ms(200), "{:?}", world.acceptor(c).last_read);
}

#[test]
fn two_ends_that_dial_each_other_get_two_connections() {
    let mut world = World::new(10);
    let (a, b) = (world.host_default(), world.host_default());
    world.join(a, b, Link::wire(ms(30)));
    let forth = world.dial(a, b, Script::send(20_000), Script::receive());
    let back = world.dial(b, a, Script::send(30_000), Script::receive());
    world.run_to_the_end(seconds(10));
    assert_eq!((world.acceptor(forth).read, world.acceptor(back).read), (20_000, 30_000));
}

#[test]
fn a_connection_closed_before_use_leaves_nothing() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.expect(Kind::Syn);
    p.close();
    assert_eq!(p.closed(), Some(CloseReason::Aborted));
    p.send(state()); // the peer had accepted: it learns that nobody is there
    p.expect(Kind::Reset);
    p.wait(seconds(60));
    assert!(p.endpoint.is_idle());

    for first in [Puppet::acceptor, Puppet::initiator] {
        let mut p = first(Config::default());
        p.finish();
        p.expect_fin(0);
        p.send(fin(0).ack(1));
        p.expect_state();
        assert_eq!(p.closed(), Some(CloseReason::Finished));
    }
}

#[test]
fn a_refusal_ends_the_attempt_only_if_it_answers_this_syn() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.expect(Kind::Syn);
    p.send(reset().ack(3));
    assert_eq!(p.closed(), None);
    p.send(reset().ack(0));
    assert_eq!(p.closed(), Some(CloseReason::Refused));
    p.expect_silence(seconds(60));

    // And so does ours answer the SYN of somebody who is refused.
    let mut p = Puppet::new(Config::default());
    p.endpoint.stop_listening();
    p.send(syn());
    let refusal = p.expect(Kind::Reset);
    assert_eq!((refusal.raw.id, refusal.acked), (7_000, 0));
    assert_eq!(p.endpoint.stats().syns_refused, 1);
}

#[test]
fn data_before_the_syn_ack_is_dropped_and_asks_for_the_syn_ack() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.expect(Kind::Syn);
    p.wait(ms(50));
    p.send(data(0).ack(0));
    p.expect_nothing(); // too soon after the last SYN
    p.wait(ms(100));
    p.send(data(0));
    p.expect(Kind::Syn);
    assert_eq!(p.events, []);
    // In a row they do not draw more SYNs than eight.
    for _ in 0..50 {
        p.wait(ms(150));
        p.send(data(0));
    }
    assert!(p.take().len() <= 8 + 4);
    p.send(state().number(0));
    assert_eq!(p.events, [Event::Connected]);
    p.take();
    p.send_batch([data(0), data(1)]);
    p.expect_ack(2);
    assert_eq!(p.read(), pieces(0..2));
}

#[test]
fn a_state_numbered_beyond_data_that_came_before_the_syn_ack_is_not_taken_for_it() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.expect(Kind::Syn);
    // The SYN-ACK is lost, DATA 0 and what the peer says after it arrive. Taking that STATE for the SYN-ACK
    // would put the start of the stream behind DATA 0, and nobody would ever know.
    p.wait(ms(150));
    p.send_batch([data(0).ack(0), state().number(1)]);
    assert_eq!(p.events, []);
    p.expect(Kind::Syn);
    p.send(state().number(0));
    assert_eq!(p.events, [Event::Connected]);
    p.send(data(0));
    assert_eq!(p.read(), piece(0));
}

#[test]
fn whoever_may_speak_first_repeats_the_syn_ack_before_its_data_until_it_is_confirmed() {
    let mut config = Config::default();
    config.speak_first(true);
    let mut p = Puppet::new(config);
    p.send(syn());
    assert_eq!(p.events, [Event::Incoming]);
    p.expect_state();
    p.write(&piece(0));
    p.expect_data(0);
    // Whatever is sent again, the SYN-ACK goes before it, with its own number.
    for _ in 0..3 {
        let again = p.next(seconds(10), Kind::State);
        assert_eq!((again.number, again.acked), (0, 0));
        p.expect_data(0);
    }
    p.send(syn());
    assert_eq!(p.expect_state().number, 0);
    p.take();
    p.send(state().ack(1));
    p.send_batch([data(0), data(1)]);
    assert_eq!(p.expect_ack(2).number, 1);
}

#[test]
fn a_peer_is_told_no_more_than_it_could_buffer_when_it_opened() {
    let mut p = Puppet::new(Config::default());
    p.dial();
    p.write(&[1; 20_000]);
    p.expect(Kind::Syn);
    p.expect_silence(ms(900)); // its window is not known
    p.send(state().window(3_000));
    let sent: usize = p.take().iter().map(|seen| seen.raw.payload.len()).sum();
    assert!((1..=3_000).contains(&sent), "{sent}");
}

#[test]
fn what_is_not_utp_goes_back_to_the_caller_and_opens_nothing() {
    let mut p = Puppet::new(Config::default());
    assert_eq!(p.send_bytes(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"), Verdict::NotUtp);
    assert_eq!(p.send_bytes(b""), Verdict::NotUtp);
    p.expect_nothing();
    assert_eq!(p.endpoint.stats().datagrams_not_utp, 2);
}

#[test]
fn invalid_addresses_are_not_dialed() {
    let mut p = Puppet::new(Config::default());
    for addr in ["10.0.0.1:0", "0.0.0.0:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1"] {
        let addr: SocketAddr = addr.parse().unwrap();
        assert_eq!(p.endpoint.connect(p.instant(), addr), Err(ConnectError::InvalidAddress));
    }
    assert_eq!(p.endpoint.poll_timeout(), None::<std::time::Instant>);
    assert_eq!(p.now(), Duration::ZERO);
}
