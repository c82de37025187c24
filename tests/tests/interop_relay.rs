//! The relay between the peers of the interop tests: it has to do what its counters say and nothing
//! else, and must not be the bottleneck.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use utp_tests::interop::faults::Faults;
use utp_tests::interop::relay::Relay;

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// Everything that arrives within the read timeout of the last datagram.
fn drain(socket: &UdpSocket) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 2048];
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(20), "datagrams keep coming");
        match socket.recv(&mut buffer) {
            Ok(_) => numbers.push(u32::from_be_bytes(buffer[..4].try_into().unwrap())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return numbers;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn both_directions_pass_and_are_counted() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (dialer, target) = (socket(address), socket(address));
        let relay = Relay::start(target.local_addr().unwrap(), &Faults::none(1), 16).unwrap();
        dialer.send_to(&7_u32.to_be_bytes(), relay.addr()).unwrap();
        let mut buffer = [0; 64];
        let (length, back) = target.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], 7_u32.to_be_bytes());
        target.send_to(&[8; 50], back).unwrap();
        let (length, from) = dialer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[8; 50][..], relay.addr()));
        let counts = relay.counts();
        assert_eq!((counts.forth.received, counts.forth.bytes), (1, 4));
        assert_eq!((counts.back.received, counts.back.bytes), (1, 50));
        assert_eq!(relay.trace().len(), 2);
    }
}

#[test]
fn what_it_loses_and_repeats_is_what_it_counts() {
    let (dialer, target) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let relay = Relay::start(target.local_addr().unwrap(), &Faults::mixed(9, 0.1), 0).unwrap();
    // In portions that fit any socket buffer, so that only the relay can lose.
    let mut arrived = Vec::new();
    for portion in 0..5 {
        for number in 0..200 {
            dialer.send_to(&(portion * 200_u32 + number).to_be_bytes(), relay.addr()).unwrap();
        }
        arrived.extend(drain(&target));
    }
    let forth = relay.counts().forth;
    assert_eq!(forth.received, 1_000);
    assert!(forth.dropped > 50 && forth.delayed > 5 && forth.doubled > 5, "{forth}");
    assert_eq!(arrived.len() as u64, 1_000 - forth.dropped + forth.doubled, "{forth}");
    let in_order = arrived.is_sorted();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len() as u64, 1_000 - forth.dropped, "{forth}");
    assert!(!in_order);
}

#[test]
fn a_cut_line_passes_nothing() {
    let (dialer, target) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let relay = Relay::start(target.local_addr().unwrap(), &Faults::none(1), 0).unwrap();
    dialer.send_to(&1_u32.to_be_bytes(), relay.addr()).unwrap();
    assert_eq!(drain(&target), [1]);
    relay.cut();
    dialer.send_to(&2_u32.to_be_bytes(), relay.addr()).unwrap();
    assert!(drain(&target).is_empty());
    assert_eq!(relay.counts().forth.cut, 1);
}
