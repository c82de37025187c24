//! The event source over real loopback sockets: edges, blocked sends, many connections, ends.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::{
    CloseReason, Config, ConnectionEvent, ConnectionHandle, Ending, Event, SocketConfig, Turn, UtpSocket,
};

/// Sockets in one event loop.
struct Loop {
    poll: Poll,
    events: Events,
    sockets: Vec<UtpSocket>,
    limit: Instant,
}

impl Loop {
    /// So many sockets on 127.0.0.1.
    fn new(sockets: usize, config: &SocketConfig) -> Self {
        let poll = Poll::new().unwrap();
        let sockets = (0..sockets).map(|number| {
            let mut socket = UtpSocket::bind_with(loopback(), config.clone()).unwrap();
            poll.registry().register(&mut socket, Token(number), Interest::READABLE).unwrap();
            socket
        });
        let sockets = sockets.collect();
        Self { poll, events: Events::with_capacity(64), sockets, limit: Instant::now() + LIMIT }
    }

    /// Waits until mio has something to say, at most until `deadline`. Gives what it said.
    fn wait(&mut self, deadline: Option<Instant>) -> Vec<(usize, bool, bool)> {
        let now = Instant::now();
        assert!(now < self.limit, "not done in time");
        let until = deadline.map_or(self.limit, |deadline| deadline.min(self.limit));
        self.poll.poll(&mut self.events, Some(until.saturating_duration_since(now))).unwrap();
        let told = self.events.iter().map(|e| (e.token().0, e.is_readable(), e.is_writable()));
        told.collect()
    }

    /// Lets all sockets go round until `app` says that it has seen enough. It is given each event, and
    /// with `None` a chance to look around after each round.
    fn run(&mut self, mut app: impl FnMut(&mut [UtpSocket], Option<(usize, Event)>) -> bool) {
        loop {
            let mut deadline = None;
            for number in 0..self.sockets.len() {
                let _ = self.sockets[number].turn(Instant::now()).unwrap();
                while let Some(event) = self.sockets[number].poll_event() {
                    if app(&mut self.sockets, Some((number, event))) {
                        return;
                    }
                }
            }
            if app(&mut self.sockets, None) {
                return;
            }
            for socket in &self.sockets {
                deadline = deadline.into_iter().chain(socket.deadline()).min();
            }
            self.wait(deadline);
        }
    }

    /// A connection from socket 1 to socket 0, both of which have nothing more to do for now; and when
    /// that was.
    fn connection(&mut self) -> (ConnectionHandle, ConnectionHandle, Instant) {
        let to = self.sockets[0].local_addr();
        let connected = self.sockets[1].connect(Instant::now(), to).unwrap();
        let mut accepted = None;
        let mut now = Instant::now();
        self.run(|sockets, _| {
            now = Instant::now();
            accepted = accepted.or_else(|| sockets[0].accept());
            let established = sockets[1].connection(connected).unwrap().is_connected();
            let quiet = sockets.iter().all(|s| s.deadline().is_none_or(|at| at > now));
            accepted.is_some() && established && quiet
        });
        (accepted.unwrap(), connected, now)
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn config(change: impl FnOnce(&mut Config)) -> SocketConfig {
    let mut config = Config::default();
    change(&mut config);
    config.into()
}

/// Turns until there is no more to do at once. Gives how many it took.
fn drain(socket: &mut UtpSocket, now: Instant) -> usize {
    let mut turns = 1;
    while socket.turn(now).unwrap() == Turn::More {
        turns += 1;
    }
    turns
}

fn foreign(socket: &mut UtpSocket) -> Vec<Vec<u8>> {
    let mut buf = [0; 2000];
    let mut received = Vec::new();
    loop {
        match socket.recv_from(&mut buf) {
            Ok((len, _)) => received.push(buf[..len].to_vec()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return received;
            }
        }
    }
}

#[test]
fn one_readiness_event_is_enough_for_a_burst_of_many_batches() {
    const BURST: usize = 200;

    let mut config = SocketConfig::default();
    config.receive_offload(false);
    let mut here = Loop::new(1, &config);
    let to = here.sockets[0].local_addr();
    let sent: Vec<_> = (0..BURST).map(|number| format!("d{number}").into_bytes()).collect();
    let stranger = std::net::UdpSocket::bind(loopback()).unwrap();
    for datagram in &sent {
        stranger.send_to(datagram, to).unwrap();
    }
    assert_eq!(here.wait(None), [(0, true, false)]);

    let turns = drain(&mut here.sockets[0], Instant::now());
    assert!(turns > 2, "{BURST} datagrams in {turns} turns are no burst");
    assert_eq!(here.sockets[0].poll_event(), Some(Event::Datagrams));
    assert_eq!(here.sockets[0].poll_event(), None);
    assert_eq!(foreign(&mut here.sockets[0]), sent);

    // The edge is used up, and the next one comes.
    assert!(here.wait(Some(Instant::now())).is_empty());
    assert_eq!(here.sockets[0].deadline(), None);
    stranger.send_to(b"d once more", to).unwrap();
    assert_eq!(here.wait(None), [(0, true, false)]);
    drain(&mut here.sockets[0], Instant::now());
    assert_eq!(foreign(&mut here.sockets[0]), [b"d once more"]);
}

#[test]
fn who_waits_between_two_turns_of_a_burst_is_not_kept_waiting() {
    let mut config = SocketConfig::default();
    config.receive_offload(false);
    let mut here = Loop::new(1, &config);
    let stranger = std::net::UdpSocket::bind(loopback()).unwrap();
    for number in 0..100 {
        stranger.send_to(&[b'd', number], here.sockets[0].local_addr()).unwrap();
    }
    here.wait(None);
    let mut received = 0;
    while here.sockets[0].turn(Instant::now()).unwrap() == Turn::More {
        received += foreign(&mut here.sockets[0]).len();
        while here.sockets[0].poll_event().is_some() {}
        let deadline = here.sockets[0].deadline();
        assert!(deadline.unwrap() <= Instant::now());
        here.wait(deadline);
    }
    assert_eq!(received, 100);
    assert_eq!(here.sockets[0].deadline(), None);
}

#[test]
fn a_socket_that_is_full_keeps_everything_and_asks_mio_for_room() {
    let mut here = Loop::new(2, &SocketConfig::default());
    let (accepted, connected, now) = here.connection();
    let before = here.sockets[1].stats();
    here.sockets[1].set_full(true);
    let data: Vec<u8> = (0..20_000_u32).map(|number| (number / 7) as u8).collect();
    let taken = here.sockets[1].connection(connected).unwrap().write(&data).unwrap();
    assert_eq!(taken, data.len());
    assert_eq!(here.sockets[1].turn(now).unwrap(), Turn::Wait, "there is nothing to do but wait");
    assert!(here.sockets[1].asks_for_writability());
    let deadline = here.sockets[1].deadline().unwrap();
    assert!(deadline > now, "a full socket is no reason to spin");

    // Time passes; what waits is stamped anew. mio said at once that there is room, in vain here.
    assert!(here.wait(None).iter().any(|(number, _, writable)| *number == 1 && *writable));
    assert_eq!(here.sockets[1].turn(deadline).unwrap(), Turn::Wait);
    assert!(here.sockets[1].asks_for_writability());

    here.sockets[1].set_full(false);
    let mut received = Vec::new();
    here.run(|sockets, _| {
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = sockets[0].connection(accepted).unwrap().read(&mut buf) {
            received.extend_from_slice(&buf[..read]);
        }
        received.len() == data.len()
    });
    assert!(received == data);
    assert!(!here.sockets[1].asks_for_writability(), "room is no news any more");
    let after = here.sockets[1].stats();
    assert!(after.send.send_blocked >= before.send.send_blocked + 2);
    assert!(after.send.restamped > before.send.restamped);
    assert_eq!(after.send.datagrams_dropped, 0);
}

#[test]
fn a_datagram_of_another_protocol_that_finds_no_room_is_announced_when_it_does() {
    let mut here = Loop::new(1, &SocketConfig::default());
    let stranger = std::net::UdpSocket::bind(loopback()).unwrap();
    stranger.set_read_timeout(Some(LIMIT)).unwrap();
    let to = stranger.local_addr().unwrap();
    drain(&mut here.sockets[0], Instant::now());
    here.sockets[0].set_full(true);
    let error = here.sockets[0].send_to(b"d", to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(here.sockets[0].poll_event(), None, "no turn was taken yet");
    here.sockets[0].set_full(false);

    assert_eq!(here.wait(None), [(0, false, true)]);
    drain(&mut here.sockets[0], Instant::now());
    assert_eq!(here.sockets[0].poll_event(), Some(Event::Sendable));
    assert_eq!(here.sockets[0].poll_event(), None);
    assert!(!here.sockets[0].asks_for_writability());
    here.sockets[0].send_to(b"d", to).unwrap();
    assert_eq!(stranger.recv(&mut [0; 16]).unwrap(), 1);
    assert_eq!(here.sockets[0].stats().foreign_sent, 1);

    let error = here.sockets[0].send_to(b"d", "[::1]:9".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_answer_takes_the_acknowledgement_along() {
    let mut here = Loop::new(2, &SocketConfig::default());
    // Time stands still from here on, so that nothing is sent for another reason.
    let (accepted, connected, now) = here.connection();
    // Three packets, which have to be acknowledged at once.
    here.sockets[1].connection(connected).unwrap().write(&[1; 4000]).unwrap();
    drain(&mut here.sockets[1], now);
    while !here.wait(None).iter().any(|(number, readable, _)| *number == 0 && *readable) {}

    let sent = here.sockets[0].stats().send.datagrams_sent;
    assert_eq!(here.sockets[0].turn(now).unwrap(), Turn::More);
    assert_eq!(here.sockets[0].stats().send.datagrams_sent, sent, "the application is heard first");
    while here.sockets[0].poll_event().is_some() {}
    let mut connection = here.sockets[0].connection(accepted).unwrap();
    let read = connection.read(&mut [0; 4000]).unwrap();
    connection.write(b"pong").unwrap();
    drain(&mut here.sockets[0], now);
    assert_eq!(here.sockets[0].stats().send.datagrams_sent, sent + 1);

    here.run(|sockets, _| {
        let connection = sockets[1].connection(connected).unwrap();
        connection.bytes_acked() >= read as u64 && connection.readable() == 4
    });
}

/// What a connection has told about itself, and how far its transfer is.
#[derive(Default)]
struct Side {
    told: Vec<ConnectionEvent>,
    received: Vec<u8>,
    to_send: VecDeque<u8>,
}

impl Side {
    /// Echoes, or sends what it has; finishes after the peer, or when everything is sent.
    fn handle(
        &mut self,
        socket: &mut UtpSocket,
        handle: ConnectionHandle,
        event: ConnectionEvent,
        echo: bool,
    ) {
        assert!(self.told.last().is_none_or(|last| !is_closed(last)), "{event:?} after the end");
        self.told.push(event);
        let mut connection = socket.connection(handle).expect("good until the next event");
        if is_closed(&event) {
            let ending = Ending::of(&connection).expect("an ended connection");
            assert!(ending.is_delivered(), "{ending:?}");
            assert!(connection.stats().packets_received > 0);
            return;
        }
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = connection.read(&mut buf) {
            self.received.extend_from_slice(&buf[..read]);
            if echo {
                self.to_send.extend(&buf[..read]);
            }
        }
        while !self.to_send.is_empty() {
            let Ok(written) = connection.write(self.to_send.make_contiguous()) else { return };
            self.to_send.drain(..written);
        }
        if !echo || event == ConnectionEvent::Finished {
            connection.finish();
        }
    }
}

fn is_closed(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Closed { .. })
}

#[test]
fn two_hundred_connections_of_one_socket_tell_everything_once_and_in_order() {
    const CONNECTIONS: usize = 200;
    const LENGTH: usize = 30_000;

    let mut here = Loop::new(2, &SocketConfig::default());
    let to = here.sockets[0].local_addr();
    let mut sides: [BTreeMap<ConnectionHandle, Side>; 2] = Default::default();
    let mut sent = BTreeMap::new();
    for number in 0..CONNECTIONS {
        let handle = here.sockets[1].connect(Instant::now(), to).unwrap();
        let data: Vec<u8> = (0..LENGTH).map(|byte| (byte * (number + 3) / 11) as u8).collect();
        sides[1].insert(handle, Side { to_send: data.clone().into(), ..Side::default() });
        sent.insert(handle, data);
    }
    let mut closed = 0;
    here.run(|sockets, event| {
        let Some((number, Event::Connection(handle, event))) = event else { return false };
        if event == ConnectionEvent::Incoming {
            while let Some(accepted) = sockets[0].accept() {
                assert!(sides[0].insert(accepted, Side::default()).is_none());
            }
        }
        let side = sides[number].get_mut(&handle).expect("a known connection");
        side.handle(&mut sockets[number], handle, event, number == 0);
        closed += usize::from(is_closed(&event));
        closed == 2 * CONNECTIONS
    });
    assert_eq!(sides[0].len(), CONNECTIONS);
    for (number, first) in [ConnectionEvent::Incoming, ConnectionEvent::Connected].iter().enumerate() {
        for side in sides[number].values() {
            let count = |event: &ConnectionEvent| side.told.iter().filter(|told| *told == event).count();
            assert_eq!((side.told.first(), count(first)), (Some(first), 1));
            assert_eq!(count(&ConnectionEvent::Finished), 1);
            let end = ConnectionEvent::Closed { reason: CloseReason::Finished };
            assert_eq!((side.told.last(), count(&end)), (Some(&end), 1));
        }
    }
    for (handle, data) in sent {
        assert!(sides[1][&handle].received == data);
        assert!(here.sockets[1].connection(handle).is_none_or(|c| c.close_reason().is_some()));
    }
    assert_eq!((here.sockets[0].open_connections(), here.sockets[1].open_connections()), (0, 0));
}

#[test]
fn the_work_of_a_turn_is_bounded() {
    const LENGTH: usize = 8 << 20;
    const BATCH: u64 = 32 << 16;
    const ARENA: u64 = (256 << 10) + (64 << 10);

    let roomy = config(|config| {
        config.send_buffer(4 << 20).unwrap().receive_buffer(4 << 20).unwrap();
    });
    let mut here = Loop::new(2, &roomy);
    let (accepted, connected, _) = here.connection();
    let mut seen = here.sockets.iter().map(UtpSocket::stats).collect::<Vec<_>>();
    let data = vec![7; LENGTH];
    let (mut written, mut read) = (0, 0);
    let mut buf = vec![0; 1 << 20];
    here.run(|sockets, event| {
        if event.is_some() {
            return false;
        }
        for (socket, seen) in sockets.iter().zip(&mut seen) {
            let stats = socket.stats();
            assert!(stats.send.bytes_sent - seen.send.bytes_sent <= ARENA);
            assert!(stats.receive.bytes_received - seen.receive.bytes_received <= BATCH);
            assert!(stats.receive.receive_calls - seen.receive.receive_calls <= 1);
            *seen = stats;
        }
        if written < LENGTH {
            written += sockets[1].connection(connected).unwrap().write(&data[written..]).unwrap_or(0);
        }
        while let Ok(got @ 1..) = sockets[0].connection(accepted).unwrap().read(&mut buf) {
            read += got;
        }
        read == LENGTH
    });
}

#[test]
fn an_event_that_the_application_causes_is_not_kept_waiting() {
    let mut here = Loop::new(2, &SocketConfig::default());
    let (accepted, connected, _) = here.connection();
    here.sockets[0].connection(accepted).unwrap().finish();
    let mut connection = here.sockets[1].connection(connected).unwrap();
    connection.write(b"last words").unwrap();
    connection.finish();
    here.run(|sockets, event| {
        // It is over, but for the reading.
        let quiet = sockets[0].deadline().is_none_or(|at| at > Instant::now());
        event.is_none() && quiet && sockets[0].connection(accepted).unwrap().close_reason().is_some()
    });
    let mut connection = here.sockets[0].connection(accepted).unwrap();
    assert_eq!(connection.read(&mut [0; 16]), Ok(10));
    assert!(here.sockets[0].deadline().unwrap() <= Instant::now());
    let end = Event::Connection(accepted, ConnectionEvent::Closed { reason: CloseReason::Finished });
    assert_eq!((here.sockets[0].poll_event(), here.sockets[0].poll_event()), (Some(end), None));
    let later = here.sockets[0].deadline();
    assert!(later.is_none_or(|at| at > Instant::now()));
}

#[test]
fn deadlines_are_kept_in_the_callers_time() {
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    silent.set_nonblocking(true).unwrap();
    let impatient = config(|config| {
        config.connect_timeout(Duration::from_secs(10)).unwrap();
    });
    let mut socket = UtpSocket::bind_with(loopback(), impatient).unwrap();
    assert_eq!(socket.deadline(), None);
    let start = Instant::now();
    let handle = socket.connect(start, silent.local_addr().unwrap()).unwrap();
    assert!(socket.deadline().unwrap() <= start, "the SYN is due");

    // Real time stands still meanwhile: nobody waits for ten seconds.
    let mut now = start;
    let mut syns = 0;
    let reason = loop {
        assert_eq!(socket.turn(now).unwrap(), Turn::Wait);
        while silent.recv(&mut [0; 64]).is_ok() {
            syns += 1;
        }
        let told: Vec<_> = std::iter::from_fn(|| socket.poll_event()).collect();
        if let Some(Event::Connection(about, ConnectionEvent::Closed { reason })) = told.last() {
            assert_eq!(*about, handle);
            break *reason;
        }
        assert_eq!(told, []);
        let deadline = socket.deadline().expect("a time-out is to come");
        assert!(deadline > now, "a deadline that does not move on");
        let sent = socket.stats().send.datagrams_sent;
        assert_eq!(socket.turn(deadline - Duration::from_millis(1)).unwrap(), Turn::Wait);
        assert_eq!(socket.stats().send.datagrams_sent, sent, "too early");
        now = deadline;
    };
    assert_eq!(reason, CloseReason::TimedOut);
    let rest = (start + Duration::from_secs(10)).checked_duration_since(now);
    assert!(rest.unwrap() < Duration::from_micros(2), "the protocol's clock counts microseconds");
    assert!(syns > 2, "the SYN was repeated {syns} times");
    assert_eq!(socket.poll_event(), None);
    assert!(socket.connection(handle).is_none());
}

#[test]
fn closing_refuses_new_connections_keeps_the_others_and_tells_when_the_last_has_ended() {
    let short = config(|config| {
        config.linger(Duration::from_millis(100)).unwrap();
    });
    let mut here = Loop::new(2, &short);
    let (accepted, connected, _) = here.connection();
    let to = here.sockets[0].local_addr();
    let waiting = here.sockets[1].connect(Instant::now(), to).unwrap();
    here.run(|sockets, _| sockets[0].stats().endpoint.backlog == 1);
    here.sockets[0].close();
    assert!(here.sockets[0].accept().is_none());
    let late = here.sockets[1].connect(Instant::now(), to).unwrap();
    let mut ends = BTreeMap::new();
    here.run(|_, event| {
        assert_ne!(event, Some((0, Event::Closed)), "closed with a connection open");
        if let Some((1, Event::Connection(handle, ConnectionEvent::Closed { reason }))) = event {
            ends.insert(handle, reason);
        }
        ends.len() == 2
    });
    assert_eq!(ends, BTreeMap::from([(waiting, CloseReason::Reset), (late, CloseReason::Refused)]));

    here.sockets[0].connection(accepted).unwrap().write(b"still here").unwrap();
    let mut told = Vec::new();
    here.run(|sockets, event| {
        if let Some((1, Event::Connection(handle, ConnectionEvent::Readable))) = event {
            assert_eq!(sockets[1].connection(handle).unwrap().read(&mut [0; 16]), Ok(10));
            sockets[1].connection(connected).unwrap().close();
            sockets[0].connection(accepted).unwrap().close();
        }
        told.extend(event.filter(|(number, _)| *number == 0).map(|(_, event)| event));
        told.last() == Some(&Event::Closed)
    });
    let end = Event::Connection(accepted, ConnectionEvent::Closed { reason: CloseReason::Finished });
    assert_eq!(told[told.len() - 2..], [end, Event::Closed]);
    assert!(!here.sockets[0].is_idle(), "the peer may still ask for the last acknowledgement");
    here.run(|sockets, event| {
        assert_ne!(event, Some((0, Event::Closed)), "closed twice");
        sockets.iter().all(UtpSocket::is_idle)
    });

    let mut unused = UtpSocket::bind(loopback()).unwrap();
    unused.close();
    assert_eq!((unused.poll_event(), unused.poll_event()), (Some(Event::Closed), None));
}

#[cfg(unix)]
#[test]
fn a_descriptor_is_taken_over_and_must_be_a_udp_socket() {
    use std::os::fd::OwnedFd;

    let socket = std::net::UdpSocket::bind(loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    let descriptor = OwnedFd::from(socket);
    let socket = UtpSocket::from_std(descriptor.into(), Config::default()).unwrap();
    assert_eq!(socket.local_addr(), addr);

    let stream = OwnedFd::from(std::net::TcpListener::bind(loopback()).unwrap());
    let error = UtpSocket::from_std(stream.into(), Config::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_socket_can_move_to_another_poll_while_it_waits_for_room() {
    let mut here = Loop::new(1, &SocketConfig::default());
    let stranger = std::net::UdpSocket::bind(loopback()).unwrap();
    here.sockets[0].set_full(true);
    here.sockets[0].send_to(b"d", stranger.local_addr().unwrap()).unwrap_err();
    here.poll.registry().reregister(&mut here.sockets[0], Token(5), Interest::READABLE).unwrap();
    assert_eq!(here.wait(None), [(5, false, true)]);

    here.poll.registry().deregister(&mut here.sockets[0]).unwrap();
    assert!(!here.sockets[0].asks_for_writability());
    here.poll.registry().reregister(&mut here.sockets[0], Token(5), Interest::READABLE).unwrap_err();
    let other = Poll::new().unwrap();
    other.registry().register(&mut here.sockets[0], Token(6), Interest::READABLE).unwrap();
    here.poll = other;
    assert!(here.sockets[0].asks_for_writability());
    assert_eq!(here.wait(None), [(6, false, true)]);
}

/// What a test may take at most, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(60);
