//! Clocks that jump, and machines that sleep, under mio: times are the caller's there, so a test can make up what it
//! likes. Real sockets on the loopback, on which a datagram has arrived by the time that it was sent.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use utp_mio::{Config, ConnectionEvent, ConnectionHandle, Event, SocketConfig, Turn, UtpSocket};
use utp_tests::conformance::tools::loopback;
use utp_tests::interop::pattern::{Checker, Pattern};

/// Two sockets in one loop, whose time passes when nothing else happens.
struct Hosts {
    /// Since the beginning.
    now: Duration,
    hosts: [Host; 2],
}

struct Host {
    socket: UtpSocket,
    /// The host's clock when `now` was 0.
    clock: Instant,
    /// Whether it sleeps: it takes no turns.
    asleep: bool,
    stream: Option<ConnectionHandle>,
    pattern: Pattern,
    /// Bytes still to be written, and some of them that are ready.
    left: u64,
    ready: Vec<u8>,
    checker: Checker,
    closed: Option<utp_mio::CloseReason>,
}

impl Host {
    fn new(number: u64, length: u64, config: &SocketConfig) -> Self {
        Self {
            socket: UtpSocket::bind_with(loopback(), config.clone()).unwrap(),
            clock: Instant::now() + 24 * HOUR,
            asleep: false,
            stream: None,
            pattern: Pattern::new(number),
            left: length,
            ready: Vec::new(),
            checker: Checker::new(1 - number, length),
            closed: None,
        }
    }

    /// One turn and all that follows from it. Whether there may be more to do at once.
    fn go_round(&mut self, now: Duration) -> bool {
        if self.asleep {
            return false;
        }
        let sent = self.socket.stats().send.bytes_sent;
        let turn = self.socket.turn(self.clock + now).unwrap();
        // What has left has arrived, too.
        let mut eventful = self.socket.stats().send.bytes_sent > sent;
        while let Some(event) = self.socket.poll_event() {
            eventful = true;
            if let Event::Connection(handle, ConnectionEvent::Closed { reason }) = event
                && self.stream == Some(handle)
            {
                self.closed = Some(reason);
            }
        }
        self.stream = self.stream.or_else(|| self.socket.accept());
        self.talk();
        turn == Turn::More || eventful
    }

    /// Reads all there is, and writes what there is room for.
    fn talk(&mut self) {
        let Some(mut connection) = self.stream.and_then(|stream| self.socket.connection(stream)) else {
            return;
        };
        while connection.readable() > 0 {
            self.checker.feed(connection.chunk()).expect("what was sent");
            let read = connection.chunk().len();
            connection.consume(read);
        }
        // (A write for which there is no room asks for another turn all the same.)
        while self.left > 0 && connection.writable() > 0 {
            if self.ready.is_empty() {
                self.ready.resize(self.left.min(64 << 10) as usize, 0);
                self.pattern.fill(&mut self.ready);
            }
            let Ok(written) = connection.write(&self.ready) else { return };
            self.ready.drain(..written);
            self.left -= written as u64;
            if self.left == 0 {
                connection.finish();
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        if self.asleep {
            return None;
        }
        self.socket.deadline().map(|at| at.saturating_duration_since(self.clock))
    }
}

impl Hosts {
    /// A connection between two hosts, each of which has `length` bytes to send.
    fn new(length: u64) -> Self {
        let mut config = Config::default();
        config.send_buffer(64 << 10).unwrap();
        let config = SocketConfig::from(config);
        let mut hosts = [0, 1].map(|number| Host::new(number, length, &config));
        let to = hosts[0].socket.local_addr();
        let now = hosts[1].clock;
        hosts[1].stream = Some(hosts[1].socket.connect(now, to).unwrap());
        Self { now: Duration::ZERO, hosts }
    }

    /// Goes on until `done`, for `limit` at most.
    fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        loop {
            let mut more = true;
            while more {
                more = false;
                for host in &mut self.hosts {
                    more |= host.go_round(self.now);
                }
                if done(self) {
                    return;
                }
            }
            assert!(self.now < end, "not done after {limit:?}");
            let next = self.hosts.iter().filter_map(Host::deadline).min();
            self.now = next.unwrap_or(end).clamp(self.now + Duration::from_micros(1), end);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run(time, |hosts| hosts.now >= end);
    }

    fn run_to_the_end(&mut self) {
        self.run(HOUR, |hosts| hosts.hosts.iter().all(|host| host.closed.is_some()));
        for host in &self.hosts {
            assert_eq!(host.closed, Some(utp_mio::CloseReason::Finished));
            assert!(host.checker.complete(), "{} bytes are missing", host.checker.left());
        }
        let ended = self.now;
        self.run(HOUR, |hosts| hosts.hosts.iter().all(|host| host.socket.is_idle()));
        println!("over after {ended:?}, idle after {:?}", self.now);
    }

    fn read(&self) -> u64 {
        self.hosts.iter().map(|host| host.checker.checked()).sum()
    }
}

/// (They never jump back: an `Instant` does not.)
#[test]
fn clocks_that_jump_lose_no_byte() {
    for jump in [SECOND, 20 * SECOND, 50 * SECOND] {
        for host in 0..2 {
            let mut hosts = Hosts::new(LENGTH);
            hosts.run(HOUR, |hosts| hosts.read() > LENGTH / 2);
            hosts.hosts[host].clock += jump;
            println!("{jump:?} at {host}");
            hosts.run_to_the_end();
        }
    }
}

#[test]
fn clocks_that_jump_all_the_time_lose_no_byte() {
    let mut hosts = Hosts::new(LENGTH);
    for n in 1..=40 {
        let enough = LENGTH * n / 40;
        hosts.run(HOUR, |hosts| hosts.read() > enough || hosts.hosts.iter().any(|h| h.closed.is_some()));
        hosts.hosts[n as usize % 2].clock += 3 * SECOND;
    }
    hosts.run_to_the_end();
}

/// Of a laptop whose lid is closed, whether its clock goes on meanwhile (Windows) or not (Linux, macOS).
#[test]
fn a_sleep_of_seconds_loses_no_byte() {
    for (host, goes_on) in [(0, true), (1, true), (0, false), (1, false)] {
        let mut hosts = Hosts::new(LENGTH);
        hosts.run(HOUR, |hosts| hosts.read() > LENGTH / 2);
        hosts.hosts[host].asleep = true;
        hosts.pass(20 * SECOND);
        hosts.hosts[host].asleep = false;
        if !goes_on {
            let clock = &mut hosts.hosts[host].clock;
            *clock -= 20 * SECOND;
        }
        hosts.run_to_the_end();
    }
}

/// A night: the other end has given up. The one that slept learns it, and the sockets are as good as new.
#[test]
fn a_sleep_of_hours_ends_the_connection_and_nothing_else() {
    for goes_on in [true, false] {
        let mut hosts = Hosts::new(LENGTH);
        hosts.run(HOUR, |hosts| hosts.read() > LENGTH / 2);
        hosts.hosts[0].asleep = true;
        hosts.pass(8 * HOUR);
        assert_eq!(hosts.hosts[1].closed, Some(utp_mio::CloseReason::TimedOut));
        hosts.hosts[0].asleep = false;
        if !goes_on {
            hosts.hosts[0].clock -= 8 * HOUR;
        }
        hosts.run(HOUR, |hosts| hosts.hosts[0].closed.is_some());
        println!("goes on {goes_on}: {:?} after {:?}", hosts.hosts[0].closed, hosts.now);
        for (number, host) in hosts.hosts.iter_mut().enumerate() {
            (host.stream, host.closed, host.left) = (None, None, LENGTH);
            (host.pattern, host.checker) =
                (Pattern::new(number as u64), Checker::new(1 - number as u64, LENGTH));
            host.ready.clear();
        }
        let (to, now) = (hosts.hosts[0].socket.local_addr(), hosts.hosts[1].clock + hosts.now);
        let stream = hosts.hosts[1].socket.connect(now, to).unwrap();
        hosts.hosts[1].stream = Some(stream);
        hosts.run_to_the_end();
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Bytes in each direction.
const LENGTH: u64 = 4 << 20;
