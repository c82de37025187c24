//! Datagrams that no run can hold together: each of its own size or to a peer of its own, or all of them where runs
//! are not to be had (no segmentation offload). One `sendmmsg(2)` takes a whole list of them.

use std::io;
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::runtime::AsUdp;

/// Datagrams for one call, none of which may be fragmented.
pub(super) type Singles<'a> = SmallVec<[(SocketAddr, &'a [u8]); MOST]>;

/// Datagrams of one call. More would only delay the first ones' arrival: what a call costs by itself is a
/// small part by then.
#[cfg(target_os = "linux")]
pub(super) const MOST: usize = 32;

/// No such call.
#[cfg(not(target_os = "linux"))]
pub(super) const MOST: usize = 1;

/// One system call. Gives how many of `datagrams` were sent, from the front: at least 1.
///
/// # Errors
/// What kept the first one from being sent; an error about a later one is met when that is the first.
#[cfg(target_os = "linux")]
pub(super) fn send(socket: &impl AsUdp, datagrams: &Singles<'_>) -> io::Result<usize> {
    use std::io::IoSlice;

    use rustix::net::addr::SocketAddrArg;
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sendto};

    if let [(to, data)] = datagrams[..] {
        return Ok(sendto(socket, data, SendFlags::empty(), &to).map(|_| 1)?);
    }
    let peers: SmallVec<[_; MOST]> = datagrams.iter().map(|(to, _)| to.as_any()).collect();
    let contents: SmallVec<[_; MOST]> = datagrams.iter().map(|(_, data)| [IoSlice::new(data)]).collect();
    let mut nothing: SmallVec<[_; MOST]> = datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: SmallVec<[_; MOST]> = peers
        .iter()
        .zip(&contents)
        .zip(&mut nothing)
        .map(|((peer, contents), nothing)| MMsgHdr::new_with_addr(peer, contents, nothing))
        .collect();
    Ok(sendmmsg(socket, &mut messages, SendFlags::empty())?)
}

/// There is no such call.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(_: &impl AsUdp, _: &Singles<'_>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::time::Instant;

    use super::super::outbox::SystemCalls;
    use super::super::{Flushed, Inbox, Moment, Outbox, PathErrors, Udp};
    use super::*;
    use crate::{SocketConfig, socket};

    /// Takes so many datagrams with each call, as scripted: 0 stands for an error.
    struct Scripted {
        script: Vec<usize>,
        calls: usize,
        sent: Vec<(SocketAddr, Vec<u8>)>,
    }

    impl SystemCalls for Scripted {
        fn one(&mut self, transmit: &quinn_udp::Transmit<'_>, _: bool) -> io::Result<()> {
            assert!(transmit.segment_size.is_none());
            let takes = self.next();
            if takes == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.sent.push((transmit.destination, transmit.contents.to_vec()));
            Ok(())
        }

        fn many(&mut self, datagrams: &mut Singles<'_>) -> io::Result<usize> {
            let takes = self.next().min(datagrams.len());
            if takes == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.sent.extend(datagrams[..takes].iter().map(|(to, data)| (*to, data.to_vec())));
            Ok(takes)
        }
    }

    impl Scripted {
        fn next(&mut self) -> usize {
            let at = self.calls;
            self.calls += 1;
            self.script.get(at).copied().unwrap_or(usize::MAX)
        }
    }

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// An outbox without offload, with `runs`: a peer, packets, the size of each. And what should come of it.
    fn outbox(runs: &[(u16, usize, usize)]) -> (Outbox, Vec<(SocketAddr, Vec<u8>)>) {
        let mut outbox = Outbox::with_segments(1, Instant::now());
        let mut expected = Vec::new();
        for (port, packets, size) in runs {
            for number in 0..*packets {
                let packet = vec![number as u8; *size];
                outbox.append_for_test(&packet);
                expected.push((peer(*port), packet));
            }
            outbox.push(peer(*port), packets * size, *size, false);
        }
        (outbox, expected)
    }

    #[test]
    fn what_is_taken_in_parts_goes_out_in_order_and_once() {
        let runs = [(1, 3, 700), (2, 50, 1452), (1, 1, 20), (3, 1, 20), (3, 30, 1000)];
        let whole = 85usize.div_ceil(MOST);
        for (script, calls) in [(vec![], whole), (vec![2, 1, 4], 6), (vec![MOST, 5], 4)] {
            let (mut outbox, expected) = outbox(&runs);
            let mut system = Scripted { script, calls: 0, sent: Vec::new() };
            assert_eq!(outbox.flush_with(&mut PathErrors::new(), &mut system), Flushed::All);
            assert_eq!(system.sent, expected);
            assert_eq!(system.calls, calls);
            let stats = outbox.stats();
            assert_eq!((stats.send_calls, stats.datagrams_sent), (calls as u64, 85));
            assert_eq!(stats.bytes_sent as usize, expected.iter().map(|(_, data)| data.len()).sum::<usize>());
        }
    }

    #[test]
    fn a_blocked_socket_gets_the_rest_later() {
        let (mut outbox, expected) = outbox(&[(1, 40, 1000), (2, 2, 600)]);
        let mut errors = PathErrors::new();
        let mut system = Scripted { script: vec![7, 0, 0, 3, 0, 0], calls: 0, sent: Vec::new() };
        assert_eq!(outbox.flush_with(&mut errors, &mut system), Flushed::Blocked);
        assert_eq!(system.sent, expected[..7]);
        assert_eq!(outbox.flush_with(&mut errors, &mut system), Flushed::Blocked);
        assert_eq!(system.sent, expected[..10]);
        assert_eq!(outbox.flush_with(&mut errors, &mut system), Flushed::All);
        assert_eq!(system.sent, expected);
        assert!(errors.is_empty() && outbox.stats().datagrams_dropped == 0);
    }

    fn udp(at: &str, config: &SocketConfig) -> Udp<std::net::UdpSocket> {
        Udp::new(socket::bind(at.parse().unwrap(), config).unwrap(), config, Ok).unwrap()
    }

    #[test]
    fn a_list_for_several_peers_takes_one_call_on_either_family() {
        for at in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let mut config = SocketConfig::default();
            let receivers = [(); 2].map(|()| udp(if at == "[::]:0" { "127.0.0.1:0" } else { at }, &config));
            let sender = udp(at, config.send_offload(false));
            let mut outbox = Outbox::new(&sender, Instant::now());
            for (number, receiver) in receivers.iter().enumerate().cycle().take(20) {
                outbox.append_for_test(&[number as u8; 900]);
                outbox.push(receiver.local_addr(), 900, 900, false);
            }
            assert_eq!(outbox.flush(&sender, &mut PathErrors::new()), Flushed::All);
            assert_eq!(outbox.stats().send_calls, 1, "{at}");
            for (number, receiver) in receivers.iter().enumerate() {
                let mut inbox = Inbox::default();
                let mut received = 0;
                while received < 10 {
                    if inbox.receive(receiver, || Moment::of(Instant::now())).is_ok() {
                        assert!(inbox.datagrams().all(|datagram| datagram.data == [number as u8; 900]));
                        received += inbox.datagrams().count();
                    }
                }
                assert_eq!(received, 10);
            }
        }
    }

    #[test]
    fn a_datagram_that_fails_is_told_apart_from_those_around_it() {
        let mut config = SocketConfig::default();
        let receiver = udp("127.0.0.1:0", &config);
        let sender = udp("127.0.0.1:0", config.send_offload(false));
        let mut outbox = Outbox::new(&sender, Instant::now());
        // 255.255.255.255 is forbidden without SO_BROADCAST.
        let nobody: SocketAddr = ([255, 255, 255, 255], 9).into();
        for to in [receiver.local_addr(), nobody, receiver.local_addr()] {
            outbox.append_for_test(&[1; 100]);
            outbox.push(to, 100, 100, false);
        }
        let mut errors = PathErrors::new();
        assert_eq!(outbox.flush(&sender, &mut errors), Flushed::All);
        assert_eq!((outbox.stats().bytes_sent, outbox.stats().datagrams_dropped), (200, 1));
        assert!(errors.is_empty(), "a firewall's or the system's word is no word about the path");
    }

    #[test]
    fn a_traffic_class_of_the_application_stays_on_all_packets() {
        let mut config = SocketConfig::default();
        let plain = udp("127.0.0.1:0", &config);
        let bound = socket::bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        socket2::SockRef::from(&bound).set_tos_v4(8 << 2).unwrap();
        let marked = Udp::new(bound, config.send_offload(true), Ok).unwrap();
        assert_eq!(marked.send_segments, 1, "runs would be sent without it");
        assert_eq!(plain.send_segments > 1, plain.state.max_gso_segments() > 1);
    }
}
