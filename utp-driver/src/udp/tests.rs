//! The I/O layer over real loopback sockets, and against scripted errors.

use std::net::SocketAddr;
use std::time::Duration;

use utp_proto::PathError;

use super::outbox::Fault;
use super::*;

type StdUdp = Udp<std::net::UdpSocket>;

fn udp(at: &str, config: &SocketConfig) -> StdUdp {
    let socket = socket::bind(at.parse().unwrap(), config).unwrap();
    Udp::new(socket, config, Ok).unwrap()
}

fn this_moment() -> Moment {
    Moment::of(std::time::Instant::now())
}

/// Receives until `count` datagrams are there; fails after two seconds.
fn receive(udp: &StdUdp, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut inbox = Inbox::default();
    let mut received = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    while received.len() < count {
        assert!(std::time::Instant::now() < deadline, "{} of {count} datagrams came", received.len());
        match inbox.receive(udp, this_moment) {
            Ok(_) => received.extend(inbox.datagrams().map(|d| (d.from, d.data.to_vec()))),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    received
}

/// `count` packets of `size` bytes, each numbered, the last one shorter.
fn packets(count: usize, size: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let len = if number + 1 == count { size - 100 } else { size };
            let mut packet = vec![number as u8; len];
            packet[4..8].copy_from_slice(b"old!");
            packet
        })
        .collect()
}

fn stage(outbox: &mut Outbox, to: SocketAddr, packets: &[Vec<u8>], may_fragment: bool) {
    for packet in packets {
        outbox.append_for_test(packet);
    }
    outbox.push(to, packets.iter().map(Vec::len).sum(), packets[0].len(), may_fragment);
}

#[test]
fn runs_cross_the_loopback_intact_with_every_combination_of_offloads() {
    for (send, receive_offload) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut config = SocketConfig::default();
        config.send_offload(send).receive_offload(receive_offload);
        let (from, to) = (udp("127.0.0.1:0", &config), udp("127.0.0.1:0", &config));
        let mut outbox = Outbox::new(&from, std::time::Instant::now());
        let sent = packets(100, 1472);
        stage(&mut outbox, to.local_addr(), &sent, false);
        let mut errors = PathErrors::new();
        assert_eq!(outbox.flush(&from, &mut errors), Flushed::All);
        assert!(errors.is_empty());

        let calls = outbox.stats().send_calls;
        if from.send_segments > 1 {
            assert!(calls <= 3, "{calls} calls for 100 packets with offload");
            assert_eq!(outbox.stats().send_calls_offloaded, calls);
        }
        if !send {
            let expected = sent.len().div_ceil(singles::MOST);
            assert_eq!(calls, expected as u64, "without offload a call takes a list, or one packet");
            assert_eq!(outbox.stats().send_calls_offloaded, 0);
        }
        let received = receive(&to, sent.len());
        assert!(received.iter().all(|(peer, _)| *peer == from.local_addr()));
        assert!(received.iter().map(|(_, data)| data).eq(&sent), "send {send}, receive {receive_offload}");
    }
}

#[test]
fn a_dual_stack_socket_knows_ipv4_peers_by_their_plain_address() {
    let config = SocketConfig::default();
    let both = udp("[::]:0", &config);
    let four = udp("127.0.0.1:0", &config);
    let six = udp("[::1]:0", &config);
    let port = both.local_addr().port();
    for (peer, ip) in [(&four, "127.0.0.1"), (&six, "::1")] {
        let at = SocketAddr::new(ip.parse().unwrap(), port);
        peer.send_to(b"ping", at).unwrap();
        let (from, data) = receive(&both, 1).remove(0);
        assert_eq!((from, &data[..]), (peer.local_addr(), &b"ping"[..]));
        both.send_to(b"pong", from).unwrap();
        assert_eq!(receive(peer, 1).remove(0), (at, b"pong".to_vec()));
    }
}

#[test]
fn empty_and_the_largest_datagrams_come_whole() {
    let config = SocketConfig::default();
    let (from, to) = (udp("127.0.0.1:0", &config), udp("127.0.0.1:0", &config));
    from.send_to(&[], to.local_addr()).unwrap();
    from.send_to(&[7; 65_507], to.local_addr()).unwrap();
    let lens: Vec<_> = receive(&to, 2).iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lens, [0, 65_507]);
}

#[test]
fn an_arrival_lies_between_sending_and_now() {
    let config = SocketConfig::default();
    let (from, to) = (udp("127.0.0.1:0", &config), udp("127.0.0.1:0", &config));
    let sent = std::time::Instant::now();
    from.send_to(b"x", to.local_addr()).unwrap();
    // Let it grow older, so that "now" would be a wrong answer.
    let later = sent + Duration::from_millis(20);
    while std::time::Instant::now() < later {
        std::thread::yield_now();
    }
    let mut inbox = Inbox::default();
    inbox.receive(&to, this_moment).unwrap();
    let arrived = inbox.datagrams().next().unwrap().arrived;
    // Two clocks are read one after the other, so allow for what lies between.
    assert!(arrived + Duration::from_millis(5) >= sent);
    assert!(arrived <= std::time::Instant::now());
    if cfg!(target_os = "linux") {
        assert!(arrived < later, "the kernel's timestamp was not used");
    }
}

#[test]
fn a_coalesced_batch_arrived_when_the_kernel_got_it() {
    let config = SocketConfig::default();
    let (from, to) = (udp("127.0.0.1:0", &config), udp("127.0.0.1:0", &config));
    let mut outbox = Outbox::new(&from, std::time::Instant::now());
    stage(&mut outbox, to.local_addr(), &packets(20, 1472), false);
    let sent = std::time::Instant::now();
    assert_eq!(outbox.flush(&from, &mut PathErrors::new()), Flushed::All);
    let later = sent + Duration::from_millis(20);
    while std::time::Instant::now() < later {
        std::thread::yield_now();
    }
    let mut inbox = Inbox::default();
    let mut arrivals = Vec::new();
    while arrivals.len() < 20 {
        inbox.receive(&to, this_moment).unwrap();
        arrivals.extend(inbox.datagrams().map(|datagram| datagram.arrived));
    }
    assert!(arrivals.iter().all(|at| *at + Duration::from_millis(5) >= sent));
    if cfg!(target_os = "linux") {
        assert!(arrivals.iter().all(|at| *at < later), "the kernel's timestamp was not used");
    }
}

#[test]
fn a_blocked_socket_keeps_the_rest_which_is_stamped_anew_and_sent_once() {
    let now = std::time::Instant::now();
    let peer = "127.0.0.1:9".parse().unwrap();
    let mut outbox = Outbox::with_segments(4, now);
    let staged = packets(10, 1000);
    stage(&mut outbox, peer, &staged, false);
    let mut sent = Vec::new();
    let mut room = 1;
    let mut errors = PathErrors::new();
    let flushed = outbox.flush_with(&mut errors, &mut |transmit: &quinn_udp::Transmit<'_>, _: bool| {
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        room -= 1;
        sent.extend(transmit.contents.chunks(1000).map(<[u8]>::to_vec));
        Ok(())
    });
    assert_eq!(flushed, Flushed::Blocked);
    assert_eq!(sent, staged[..4]);
    assert_eq!(outbox.stats().datagrams_dropped, 0, "waiting is no loss");

    outbox.restamp(*b"new!", now + Duration::from_millis(1));
    let flushed = outbox.flush_with(&mut errors, &mut |transmit: &quinn_udp::Transmit<'_>, _: bool| {
        sent.extend(transmit.contents.chunks(1000).map(<[u8]>::to_vec));
        Ok(())
    });
    assert_eq!(flushed, Flushed::All);
    assert!(outbox.is_empty() && errors.is_empty());
    assert_eq!(sent.len(), 10);
    for (number, packet) in sent.iter().enumerate() {
        let stamp = if number < 4 { b"old!" } else { b"new!" };
        assert_eq!(&packet[4..8], stamp);
        assert_eq!(packet[..4], staged[number][..4]);
        assert_eq!(packet[8..], staged[number][8..]);
    }
}

/// Flushes a run of five packets to each of two peers, the first of which fails with `error` for as
/// long as `fails(segments in the call)` holds. Gives the number of packets that each peer got.
fn flush_against(
    error: fn() -> io::Error,
    mut fails: impl FnMut(usize) -> bool,
) -> (Outbox, PathErrors, [usize; 2]) {
    let peers: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
    let mut outbox = Outbox::with_segments(64, std::time::Instant::now());
    for peer in peers {
        stage(&mut outbox, peer, &packets(5, 1000), false);
    }
    let mut errors = PathErrors::new();
    let mut got = [0; 2];
    let flushed = outbox.flush_with(&mut errors, &mut |transmit: &quinn_udp::Transmit<'_>, _: bool| {
        let segments = transmit.contents.len().div_ceil(transmit.segment_size.unwrap_or(usize::MAX));
        if transmit.destination == peers[0] && fails(segments) {
            return Err(error());
        }
        got[usize::from(transmit.destination == peers[1])] += segments;
        Ok(())
    });
    assert_eq!(flushed, Flushed::All);
    (outbox, errors, got)
}

fn first_peer(error: PathError) -> PathErrors {
    vec![("127.0.0.1:1".parse().unwrap(), error)]
}

#[test]
fn an_unreachable_peer_is_reported_and_disturbs_no_other() {
    let no_host = || io::ErrorKind::HostUnreachable.into();
    let no_network = || io::ErrorKind::NetworkUnreachable.into();
    for error in [no_host as fn() -> io::Error, no_network] {
        let (outbox, errors, got) = flush_against(error, |_| true);
        assert_eq!(got, [0, 5]);
        assert_eq!(errors, first_peer(PathError::Unreachable));
        assert_eq!((outbox.stats().send_unreachable, outbox.stats().datagrams_dropped), (1, 5));
    }
}

#[cfg(unix)]
#[test]
fn a_datagram_that_is_too_big_is_reported_as_such() {
    let (outbox, errors, got) = flush_against(too_big, |_| true);
    assert_eq!(got, [0, 5]);
    assert_eq!(errors, first_peer(PathError::TooBig(None)));
    assert_eq!((outbox.stats().send_too_big, outbox.stats().datagrams_dropped), (1, 5));
}

#[test]
fn an_icmp_error_about_an_earlier_datagram_costs_only_a_second_try() {
    let mut first = true;
    let (outbox, errors, got) =
        flush_against(|| io::ErrorKind::ConnectionRefused.into(), |_| std::mem::take(&mut first));
    assert_eq!(got, [5, 5]);
    assert!(errors.is_empty());
    assert_eq!(outbox.stats().datagrams_dropped, 0);
}

#[test]
fn a_peer_that_refuses_every_time_is_unreachable() {
    let (_, errors, got) = flush_against(|| io::ErrorKind::ConnectionRefused.into(), |_| true);
    assert_eq!(got, [0, 5]);
    assert_eq!(errors, first_peer(PathError::Unreachable));
}

#[cfg(unix)]
#[test]
fn a_shortage_of_buffers_drops_what_it_hits_and_blames_nobody() {
    for error in [no_buffers as fn() -> io::Error, no_memory, not_permitted] {
        let (outbox, errors, got) = flush_against(error, |_| true);
        assert_eq!(got, [0, 5]);
        assert!(errors.is_empty());
        assert_eq!(outbox.stats().datagrams_dropped, 5);
    }
}

#[cfg(unix)]
#[test]
fn offload_that_a_device_refuses_is_given_up_for_good_without_loss() {
    for error in [io_error as fn() -> io::Error, invalid] {
        let (outbox, errors, got) = flush_against(error, |segments| segments > 1);
        assert_eq!(got, [5, 5]);
        assert!(errors.is_empty());
        assert_eq!(outbox.stats().send_offload_refused, 1);
        assert_eq!(outbox.stats().send_calls, 1 + 5 + 5, "the second run goes out in single packets at once");
    }
}

#[cfg(unix)]
#[test]
fn an_address_that_takes_not_even_one_packet_does_not_end_offload() {
    let (outbox, errors, got) = flush_against(invalid, |_| true);
    assert_eq!(got, [0, 5]);
    assert!(errors.is_empty());
    assert_eq!(outbox.stats().send_offload_refused, 0);
    assert_eq!(outbox.stats().send_calls, 2 + 1);
}

#[test]
fn an_interrupted_call_is_repeated() {
    let mut times = 3;
    let (_, errors, got) = flush_against(
        || io::ErrorKind::Interrupted.into(),
        |_| {
            times -= 1;
            times >= 0
        },
    );
    assert_eq!(got, [5, 5]);
    assert!(errors.is_empty());
}

#[test]
fn a_run_that_may_be_fragmented_goes_out_alone_and_says_so() {
    let peer = "127.0.0.1:9".parse().unwrap();
    let mut outbox = Outbox::with_segments(64, std::time::Instant::now());
    stage(&mut outbox, peer, &packets(1, 1100)[..1], false);
    stage(&mut outbox, peer, &packets(1, 1100)[..1], true);
    stage(&mut outbox, peer, &packets(1, 1100)[..1], false);
    let mut seen = Vec::new();
    let flushed = outbox.flush_with(
        &mut PathErrors::new(),
        &mut |transmit: &quinn_udp::Transmit<'_>, may_fragment: bool| {
            seen.push((transmit.contents.len(), may_fragment));
            Ok(())
        },
    );
    assert_eq!(flushed, Flushed::All);
    assert_eq!(seen, [(1000, false), (1000, true), (1000, false)]);
}

#[test]
fn runs_of_one_peer_and_size_become_one_and_no_call_is_too_long() {
    let peer = "127.0.0.1:9".parse().unwrap();
    let mut outbox = Outbox::with_segments(64, std::time::Instant::now());
    let full = vec![vec![1; 1472]; 64];
    for _ in 0..2 {
        stage(&mut outbox, peer, &full, false);
    }
    let mut calls = Vec::new();
    let flushed =
        outbox.flush_with(&mut PathErrors::new(), &mut |transmit: &quinn_udp::Transmit<'_>, _: bool| {
            calls.push(transmit.contents.len() / 1472);
            Ok(())
        });
    assert_eq!(flushed, Flushed::All);
    assert_eq!(calls, [44, 44, 40]);
}

#[test]
fn errors_are_told_apart() {
    use io::ErrorKind::*;

    for (kind, fault) in [
        (WouldBlock, Fault::Blocked),
        (Interrupted, Fault::Interrupted),
        (NetworkDown, Fault::Unreachable),
        (ConnectionReset, Fault::Earlier),
        (InvalidInput, Fault::Offload),
        (PermissionDenied, Fault::Dropped),
        (OutOfMemory, Fault::Dropped),
        (BrokenPipe, Fault::Dropped),
        (Other, Fault::Dropped),
    ] {
        assert_eq!(Fault::of(&kind.into()), fault);
    }
}

#[cfg(unix)]
mod os {
    use std::io;

    use nix::libc;

    pub(super) fn too_big() -> io::Error {
        io::Error::from_raw_os_error(libc::EMSGSIZE)
    }
    pub(super) fn no_buffers() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOBUFS)
    }
    pub(super) fn no_memory() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOMEM)
    }
    pub(super) fn not_permitted() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }
    pub(super) fn io_error() -> io::Error {
        io::Error::from_raw_os_error(libc::EIO)
    }
    pub(super) fn invalid() -> io::Error {
        io::Error::from_raw_os_error(libc::EINVAL)
    }
}
#[cfg(unix)]
use os::*;
