//! What the application is told of a connection, and what it may hold.

use bytes::Bytes;

use super::*;

/// Nobody accepts. Peers that break off make room for others, but what one has said to its end is kept.
#[test]
fn connections_that_break_before_they_are_accepted_leave_the_backlog() {
    let mut config = roomy();
    config.backlog(2).unwrap();
    let mut pair = Pair::new(config);
    let open = |pair: &mut Pair, data: &[u8]| {
        let handle = pair.ends[0].connect(pair.now, address(1)).unwrap();
        pair.at(0, handle).write(data).unwrap();
        pair.run(Duration::from_millis(200));
        handle
    };
    for round in 0..3 {
        let handles = [open(&mut pair, b"half of"), open(&mut pair, b"")];
        assert_eq!(pair.ends[1].stats().backlog, 2, "{round}");
        handles.iter().for_each(|handle| pair.at(0, *handle).abort());
        pair.run(Duration::from_millis(200));
        let stats = pair.ends[1].stats();
        assert_eq!((stats.backlog, stats.connections, stats.memory), (0, 0, 0), "{round}");
    }
    let whole = open(&mut pair, b"all of it");
    pair.at(0, whole).finish();
    pair.run(Duration::from_millis(200));
    pair.at(0, whole).abort();
    pair.run(Duration::from_millis(200));
    let b = pair.ends[1].accept().expect("one that can be read");
    let mut buf = [0; 16];
    assert_eq!(pair.at(1, b).read(&mut buf), Ok(9));
    assert!(pair.ends[1].accept().is_none());
}

/// A controller of somebody else's may say anything.
#[test]
fn a_window_of_nothing_is_one_packet_and_one_without_end_is_paced() {
    for bytes in [0, 1, u64::MAX] {
        let mut config = roomy();
        config.congestion(Arc::new(crate::congestion::FixedWindow { bytes }));
        let mut pair = Pair::new(config);
        pair.delay = Duration::from_micros(1);
        let ends = pair.connected();
        pair.transfer(ends, if cfg!(miri) { 20_000 } else { 100_000 }, Duration::from_secs(20));
    }
}
use crate::PathError;

#[test]
fn a_path_that_does_not_exist_ends_what_is_opening_and_nothing_else() {
    let mut pair = Pair::new(Config::default());
    let opening = pair.ends[0].connect(pair.now, address(1)).unwrap();
    assert!(!pair.at(0, opening).is_connected());
    pair.ends[0].handle_path_error(pair.now, address(1), PathError::TooBig(Some(1000)));
    pair.ends[0].handle_path_error(pair.now, address(1), PathError::Unreachable);
    pair.drain();
    // Whoever waits to read or write is woken first.
    let told = [Event::Readable, Event::Writable, Event::Closed { reason: CloseReason::Unreachable }];
    assert_eq!(pair.events[0], told.map(|event| (opening, event)));

    let mut pair = Pair::new(Config::default());
    let [a, b] = pair.connected();
    assert!(pair.at(0, a).is_connected());
    pair.ends[0].handle_path_error(pair.now, address(1), PathError::Unreachable);
    pair.transfer([a, b], 10_000, Duration::from_secs(10));
}

#[test]
fn the_application_is_told_how_far_each_byte_has_got() {
    let mut config = Config::default();
    config.nagle(false);
    let mut pair = Pair::new(config);
    let [a, b] = pair.connected();
    pair.at(0, a).write(&[7; 2_000]).unwrap();
    let mut bytes = Bytes::from(vec![8; 2_000]);
    assert_eq!(pair.at(0, a).write_bytes(&mut bytes), Ok(2_000));
    assert_eq!((pair.at(0, a).bytes_written(), pair.at(0, a).bytes_sent()), (4_000, 0));
    assert_eq!(pair.ends[0].stats().memory, 4_000);
    pair.drain();
    assert_eq!((pair.at(0, a).bytes_sent(), pair.at(0, a).bytes_acked()), (4_000, 0));
    let stats = pair.at(0, a).stats();
    assert_eq!((stats.bytes_in_flight, stats.packets_in_flight), (4_000, 4));
    pair.run(Duration::from_millis(100));
    assert_eq!((pair.at(0, a).bytes_acked(), pair.ends[0].stats().memory), (4_000, 0));
    // The blocks that hold it, and their list.
    let held = |unread: u64| unread..unread + 1_500;
    assert_eq!(pair.at(1, b).readable(), 4_000);
    assert!(held(4_000).contains(&pair.ends[1].stats().memory));
    assert_eq!(pair.at(1, b).read(&mut [0; 1_000]), Ok(1_000));
    assert_eq!((pair.at(1, b).bytes_read(), pair.at(1, b).readable()), (1_000, 3_000));
    assert!(held(3_000).contains(&pair.ends[1].stats().memory));
    // The end of the stream is told apart from the end of the connection.
    assert!(!pair.at(0, a).is_finish_acked() && !pair.at(1, b).is_peer_finished());
    pair.at(0, a).finish();
    assert!(!pair.at(0, a).is_finish_acked());
    pair.run(Duration::from_millis(100));
    assert!(pair.at(0, a).is_finish_acked() && pair.at(0, a).is_connected());
    assert_eq!((pair.at(0, a).writable(), pair.at(0, a).write(b"x")), (0, Err(WriteError::Finished)));
    // Given up with data unread, nothing is held for it.
    pair.at(1, b).abort();
    pair.drain();
    assert_eq!(pair.ends[1].stats().memory, 0);
}

#[test]
fn a_write_cut_short_is_followed_by_word_of_new_room_and_a_full_one_by_none() {
    for (len, is_cut) in [(64 << 10, false), ((64 << 10) + 1, true)] {
        for is_shared in [false, true] {
            let mut config = Config::default();
            config.send_buffer(64 << 10).unwrap();
            let mut pair = Pair::new(config);
            let [a, _] = pair.connected();
            pair.events[0].clear();
            let mut data = Bytes::from(vec![7; len]);
            let taken =
                if is_shared { pair.at(0, a).write_bytes(&mut data) } else { pair.at(0, a).write(&data) };
            assert_eq!(taken, Ok(64 << 10));
            assert!(!is_shared || data.len() == len - (64 << 10));
            pair.run(Duration::from_secs(2));
            let told = pair.events[0].iter().filter(|(_, event)| *event == Event::Writable).count();
            assert_eq!(told, usize::from(is_cut), "{len}, {is_shared}");
        }
    }
}

#[test]
fn the_figures_of_a_connection_are_those_of_its_path() {
    let mut config = roomy();
    config.receive_congestion(Some(Arc::new(crate::congestion::FixedWindow { bytes: 40_000 })));
    let mut pair = Pair::new(config);
    let ends @ [a, b] = pair.connected();
    let first = pair.at(0, a).stats();
    assert!(first.rtt_var >= Duration::from_millis(9), "half of the first sample: {:?}", first.rtt_var);
    pair.transfer(ends, if cfg!(miri) { 50_000 } else { 1_000_000 }, Duration::from_secs(60));
    pair.run(Duration::from_millis(50));
    let (sender, receiver) = (pair.at(0, a).stats(), pair.at(1, b).stats());
    assert!(sender.min_rtt == Duration::from_millis(20) && sender.rtt >= sender.min_rtt);
    assert!(sender.rto >= sender.rtt && sender.rtt_var < first.rtt_var);
    assert_eq!((sender.bytes_in_flight, sender.packets_in_flight), (0, 0));
    assert_eq!(receiver.receive_cwnd, 40_000);
    assert_eq!((sender.peer_window, receiver.receive_window), (40_000, 40_000), "no more than it allows");
    assert!(receiver.receive_limit >= 40_000 && sender.send_limit >= 1 << 20);
    assert_eq!(sender.packet_limit, u64::from(Config::default().max_packets_in_flight));
}

#[test]
fn what_is_refused_asks_for_no_turn() {
    let mut pair = Pair::new(Config::default());
    let [a, b] = pair.connected();
    pair.run(Duration::from_secs(20));
    let before = pair.ends[1].poll_timeout();
    assert!(before.is_none_or(|at| at > pair.now));
    assert_eq!(pair.at(1, b).read(&mut [0; 10]), Err(ReadError::Blocked));
    assert_eq!(pair.ends[1].poll_timeout(), before);
    while pair.at(0, a).write(&[0; 10_000]).is_ok() {}
    assert_eq!(pair.ends[0].poll_timeout(), Some(pair.now), "what was taken does");
    pair.drain();
    let before = pair.ends[0].poll_timeout();
    assert!(before.is_some_and(|at| at > pair.now));
    assert_eq!(pair.at(0, a).write(&[0; 10]), Err(WriteError::Blocked));
    assert_eq!(pair.at(0, a).write_bytes(&mut Bytes::from_static(b"more")), Err(WriteError::Blocked));
    assert_eq!(pair.ends[0].poll_timeout(), before);
}
