//! Windows: what the peer's allows, what ours tells, and what goes when it is too small to be worth it.

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::FixedWindow;
use utp_proto::{CloseReason, Config, Event, WriteError};
use utp_tests::puppet::{Kind, Puppet, data, fin, ms, seconds, state};
use utp_tests::sim::{Link, Reading, Script, World};

/// Full packets of this size; neither congestion control nor pacing is in the way.
const FULL: usize = 1000;

fn config() -> Config {
    let mut config = Config::default();
    config.initial_datagram(FULL + 20).unwrap().max_datagram(FULL + 20, FULL + 20).unwrap().pacing(false);
    config.distrust(false); // every packet in its turn
    config.congestion(Arc::new(FixedWindow { bytes: 1 << 30 }));
    config
}

/// Payload of what was sent for the first time.
fn sent(p: &mut Puppet) -> usize {
    p.take().iter().map(|seen| seen.raw.payload.len()).sum()
}

#[test]
fn no_more_is_outstanding_than_the_peer_has_room_for() {
    let mut p = Puppet::initiator(config());
    p.send(state().window(10_000));
    p.write(&vec![1; 100 * FULL]);
    p.expect_all(0..10);
    // Acknowledged, but not read: the window closes by as much.
    p.send(state().ack(4).window(6_000));
    p.expect_nothing();
    // Read: it opens.
    p.send(state().ack(4).window(8_000));
    p.expect_all(10..12);
    p.send(state().ack(12).window(10_000));
    p.expect_all(12..22);
    // What is reported selectively is buffered by the peer, who has taken it off its window.
    p.send(state().ack(12).sack([13, 14]).window(8_000));
    p.expect_nothing();
}

#[test]
fn a_window_that_shrinks_below_what_is_out_sends_nothing_and_breaks_nothing() {
    let mut p = Puppet::initiator(config());
    p.send(state().window(20_000));
    p.write(&vec![1; 100 * FULL]);
    p.expect_all(0..20);
    p.send(state().ack(5).window(3_000));
    p.expect_nothing();
    p.send(state().ack(20).window(3_000));
    p.expect_all(20..23);
    p.send(state().ack(23).window(u32::MAX));
    assert_eq!(sent(&mut p), 77 * FULL);
}

#[test]
fn crumbs_are_not_sent_unless_the_peer_never_has_more() {
    let mut p = Puppet::initiator(config());
    p.send(state().window(10_000));
    p.write(&vec![1; 30 * FULL]);
    p.expect_all(0..10);
    p.send(state().ack(10).window(999));
    p.expect_nothing();
    p.send(state().ack(10).window(1_000));
    p.expect_all([10]);
    // A peer that buffers less than a packet gets what it has room for.
    let mut p = Puppet::new(config());
    p.dial();
    p.write(&vec![1; 3 * FULL]);
    p.send(state().window(600));
    p.expect(Kind::Syn);
    assert_eq!(p.expect_data(0).raw.payload.len(), 600);
    p.send(state().ack(1).window(600));
    assert_eq!(p.expect_data(1).raw.payload.len(), 600);
    p.expect_nothing();
}

#[test]
fn a_closed_window_is_probed_with_growing_gaps_for_as_long_as_it_takes() {
    let mut p = Puppet::initiator(config());
    p.write(&vec![1; 10 * FULL]);
    p.take();
    p.send(state().ack(10).window(0));
    let closed = p.now();
    p.write(&vec![2; 10 * FULL]);
    p.expect_nothing();
    let first = p.next(seconds(2), Kind::Data);
    assert_eq!((first.number, first.at - closed), (10, seconds(1)));
    assert!(first.raw.payload.len() <= 64, "it can never be cut again");
    // A peer that drops it tells that it is there.
    let mut gaps = Vec::new();
    let mut last = first.at;
    for _ in 0..60 {
        p.wait(ms(10));
        p.send(state().window(0));
        let probe = p.next(seconds(16), Kind::Data);
        assert_eq!(probe.number, 10);
        gaps.push((probe.at - last).as_millis());
        last = probe.at;
    }
    assert_eq!(gaps[..6], [500, 1_000, 2_000, 4_000, 8_000, 15_000]);
    assert!(gaps[6..].iter().all(|gap| *gap == 15_000), "{gaps:?}");
    assert_eq!(p.closed(), None, "after {:?}", p.now());
    assert_eq!(p.stats().timeouts, 0, "no packet was lost");
    // It opens: everything goes at once, the probe first, and does not wait for the next time-out.
    p.wait(ms(20));
    p.send(state().window(1 << 20));
    p.expect_all(10..20); // and less than a packet is left (Nagle)
}

#[test]
fn a_probe_that_is_taken_is_followed_by_the_next_and_not_held_back_by_congestion() {
    let mut config = config();
    config.congestion(Arc::new(FixedWindow { bytes: 1 }));
    let mut p = Puppet::initiator(config);
    p.send(state().window(0));
    p.write(&vec![1; 3 * FULL]);
    for number in 0..5 {
        p.next(seconds(16), Kind::Data);
        p.wait(ms(10));
        p.send(state().ack(number + 1).window(0));
        p.expect_nothing();
    }
    p.send(state().window(10 * FULL as u32));
    p.expect_data(5);
}

#[test]
fn a_peer_that_falls_silent_behind_its_closed_window_is_given_up() {
    let mut p = Puppet::initiator(config());
    p.send(state().window(0));
    p.write(&[1; FULL]);
    p.wait(seconds(62));
    assert_eq!(p.closed(), Some(CloseReason::TimedOut));
}

#[test]
fn the_window_told_is_what_is_free_and_nothing_below_a_packet() {
    let mut config = config();
    config.receive_buffer(10_000).unwrap();
    let mut p = Puppet::initiator(config);
    let payload = [5; FULL];
    for number in 0..10 {
        p.send_batch([
            data(2 * number).payload(&payload[..500]),
            data(2 * number + 1).payload(&payload[..500]),
        ]);
        let window = p.expect_ack(2 * number + 2).raw.window;
        let free = 9_000 - 1_000 * number as u32;
        assert_eq!(window, if free < FULL as u32 { 0 } else { free });
    }
    assert_eq!(p.stats().receive_window, 0);
    // What waits behind a gap takes room too.
    let mut p = Puppet::initiator(self::config());
    p.send(data(3));
    assert_eq!(p.expect_ack(0).raw.window, (1 << 20) - 100);
}

#[test]
fn a_window_that_opens_again_is_told_at_once() {
    let mut config = config();
    config.receive_buffer(10_000).unwrap();
    let mut p = Puppet::initiator(config);
    p.send_batch((0..10).map(|number| data(number).payload(&[5; FULL])));
    assert_eq!(p.expect_ack(10).raw.window, 0);
    // Not by every byte that is read...
    let mut buf = [0; FULL];
    assert_eq!(p.connection().read(&mut buf[..999]), Ok(999));
    p.drain();
    p.expect_nothing();
    // ...but when a packet fits.
    assert_eq!(p.connection().read(&mut buf[..1]), Ok(1));
    p.drain();
    assert_eq!(p.expect_ack(10).raw.window, 1000);
    // And again when it has grown by much.
    assert_eq!(p.connection().read(&mut buf), Ok(1000));
    assert_eq!(p.connection().read(&mut buf), Ok(1000));
    p.drain();
    p.expect_nothing();
    p.read();
    assert_eq!(p.expect_ack(10).raw.window, 10_000);
}

#[test]
fn no_window_is_told_when_nothing_more_will_come() {
    let mut config = config();
    config.receive_buffer(10_000).unwrap();
    let mut p = Puppet::initiator(config);
    p.send_batch((0..10).map(|number| data(number).payload(&[5; FULL])));
    p.send(fin(10));
    p.take();
    assert_eq!(p.read().len(), 10 * FULL);
    p.expect_nothing();
}

#[test]
fn what_comes_beyond_the_window_is_taken_as_far_as_libutp_goes_and_then_dropped() {
    let mut config = config();
    config.receive_buffer(10_000).unwrap();
    let mut p = Puppet::initiator(config);
    p.send_batch((0..30).map(|number| data(number).payload(&[5; FULL])));
    // 8 KiB more than was told: libutp sends a packet every 15 s into a closed window, and gives up if it is
    // not acknowledged.
    let ack = p.expect_ack(18);
    assert_eq!((ack.raw.window, p.stats().overflow_packets), (0, 12));
    assert_eq!(p.read().len(), 18 * FULL);
    p.take();
    p.send_batch((18..30).map(|number| data(number).payload(&[5; FULL])));
    assert_eq!(p.read().len(), 12 * FULL);
}

#[test]
fn what_an_overtaken_packet_says_of_the_window_is_old() {
    let mut p = Puppet::initiator(config());
    let early = p.wire_clock();
    p.wait(ms(10));
    p.send(state().window(500));
    p.write(&vec![1; 5 * FULL]);
    p.expect_nothing();
    p.send(state().timestamp(early).window(1 << 20));
    p.expect_nothing();
    assert_eq!(p.stats().peer_window, 500);
    p.wait(ms(1));
    p.send(state().window(1 << 20));
    p.expect_all(0..5);
}

#[test]
fn small_writes_wait_for_company_while_something_is_out() {
    let mut p = Puppet::initiator(config());
    p.write(b"first");
    assert_eq!(p.expect_data(0).raw.payload, b"first"); // nothing is out: it goes at once
    for _ in 0..10 {
        p.write(b"more");
    }
    p.expect_nothing();
    p.send(state().ack(1));
    assert_eq!(p.expect_data(1).raw.payload, b"more".repeat(10));
    // A packet that is full goes without waiting.
    p.write(&vec![1; 2 * FULL + 1]);
    p.expect_all(2..4);
    // The last one too: nothing will be added to it.
    p.finish();
    assert_eq!(p.expect_data(4).raw.payload.len(), 1);
    p.expect_fin(5);
}

#[test]
fn small_writes_go_at_once_if_nagle_is_off() {
    let mut config = config();
    config.nagle(false);
    let mut p = Puppet::initiator(config);
    for number in 0..10 {
        p.write(b"byte");
        assert_eq!(p.expect_data(number).raw.payload, b"byte");
    }
}

#[test]
fn a_full_send_buffer_blocks_the_writer_and_tells_when_there_is_room() {
    let mut config = config();
    config.send_buffer(8_000).unwrap();
    let mut p = Puppet::initiator(config);
    assert_eq!(p.connection().write(&vec![1; 20_000]), Ok(8_000));
    assert_eq!(p.connection().write(&[1]), Err(WriteError::Blocked));
    assert_eq!((p.connection().write(&[]), p.connection().writable()), (Err(WriteError::Blocked), 0));
    p.drain();
    p.expect_all(0..8);
    p.send(state().ack(1));
    assert!(!p.events.contains(&Event::Writable), "few wake-ups");
    p.send(state().ack(2));
    assert!(p.events.contains(&Event::Writable));
    assert_eq!(p.connection().writable(), 2_000);
}

#[test]
fn an_empty_write_sends_nothing() {
    let mut p = Puppet::initiator(config());
    assert_eq!(p.connection().write(&[]), Ok(0));
    assert_eq!(p.connection().write_bytes(&mut bytes::Bytes::new()), Ok(0));
    p.drain();
    p.expect_silence(ms(500));
}

#[test]
fn at_most_950_packets_are_out_towards_any_peer_that_has_not_proven_more() {
    let mut p = Puppet::initiator(config());
    p.send(state().window(u32::MAX));
    let (mut most, mut early) = (0, Vec::new());
    let (mut acked, mut next) = (0, 0);
    let mut look = |p: &mut Puppet, acked: i32| {
        for seen in p.take() {
            match seen.number - next {
                0 => next += 1,
                jump if jump > 0 => early.push((jump, seen.number)),
                _ => {}
            }
        }
        most = most.max(next - acked);
        next
    };
    for round in 0..40 {
        let room = p.connection().writable();
        p.write(&vec![1; room]);
        let next = look(&mut p, acked);
        p.wait(ms(1));
        // Selectively acknowledged packets lie in the peer's ring as others do.
        p.send(state().ack(acked).sack(acked + 1..next.min(acked + 200)));
        let next = look(&mut p, acked);
        acked += [1, 300, 950, 7][round % 4].min(next - acked);
        p.send(state().ack(acked));
    }
    assert_eq!(most, 950);
    assert!(
        early.iter().all(|(jump, _)| *jump == 1088),
        "asked a few times, and nothing else is left out: {early:?}"
    );
    assert!((1..=4).contains(&early.len()), "{early:?}");
}

#[test]
fn a_slow_reader_slows_the_writer_down_and_nothing_is_dropped() {
    let mut config = Config::default();
    config.receive_buffer(64 << 10).unwrap();
    let mut world = World::new(1);
    let (a, b) = (world.host_default(), world.host(config));
    world.join(a, b, Link::new(50_000_000, ms(10)));
    let c = world.dial(a, b, Script::send(2 << 20), Script::receive().reading(Reading::Rate(500_000)));
    world.run_to_the_end(seconds(30));
    let (sender, receiver) = (world.dialer(c).stats, world.acceptor(c).stats);
    assert_eq!((sender.retransmits, sender.timeouts, receiver.overflow_packets), (0, 0, 0));
    let (end, _) = world.acceptor(c).closed.unwrap();
    assert!((seconds(4)..seconds(5)).contains(&end), "{end:?}");
}

#[test]
fn a_reader_that_pauses_for_minutes_loses_nothing() {
    let mut config = Config::default();
    config.receive_buffer(64 << 10).unwrap();
    let mut world = World::new(2);
    let (a, b) = (world.host_default(), world.host(config));
    world.join(a, b, Link::new(50_000_000, ms(10)));
    let pause = Reading::Pause(10_000, Duration::from_secs(400));
    let c = world.dial(a, b, Script::send(1 << 20), Script::receive().reading(pause));
    world.run_to_the_end(seconds(420));
    assert!(world.all_sides().all(|side| side.is_clean()));
    assert_eq!((world.acceptor(c).read, world.dialer(c).stats.timeouts), (1 << 20, 0));
}
