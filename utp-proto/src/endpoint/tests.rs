//! Two endpoints joined by a wire with a delay, in virtual time.

mod application;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::{ReadError, WriteError};

/// Which datagrams are lost, by number and content.
type Drops = Box<dyn FnMut(u64, &[u8]) -> bool>;

/// Both ends and what is on its way between them.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    delay: Duration,
    /// By arrival: to whom and what.
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// Datagrams to be lost, by the order in which they are sent.
    drop: Drops,
    events: [Vec<(ConnectionHandle, Event)>; 2],
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + end as u8], 4000))
}

/// A send buffer that takes what a test writes.
fn roomy() -> Config {
    let mut config = Config::default();
    config.send_buffer(1 << 20).expect("within range");
    config
}

impl Pair {
    #[allow(clippy::disallowed_methods)]
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let config = Arc::new(config);
        Self {
            now,
            ends: [0, 1].map(|i| Endpoint::new(Arc::clone(&config), [i; 32], now)),
            delay: Duration::from_millis(10),
            flying: BTreeMap::new(),
            sent: 0,
            drop: Box::new(|_, _| false),
            events: Default::default(),
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            loop {
                let mut buf = Vec::new();
                let end = &mut self.ends[from];
                let Some(t) = end.poll_transmit(self.now, NonZeroUsize::new(64).unwrap(), &mut buf) else {
                    break;
                };
                assert_eq!(t.len, buf.len());
                assert_eq!(t.destination, address(1 - from));
                for segment in buf.chunks(t.segment_size) {
                    self.sent += 1;
                    if !(self.drop)(self.sent, segment) {
                        let at = (self.now + self.delay, self.sent);
                        self.flying.insert(at, (1 - from, segment.to_vec()));
                    }
                }
            }
            while let Some(event) = self.ends[from].poll_event() {
                self.events[from].push(event);
            }
        }
    }

    /// Goes on to the next thing that happens; false if nothing will.
    fn step(&mut self, until: Instant) -> bool {
        self.drain();
        let arrival = self.flying.keys().next().map(|k| k.0);
        let timer = self.ends.iter().filter_map(Endpoint::poll_timeout).min();
        let Some(next) = [arrival, timer].into_iter().flatten().min().filter(|&at| at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, datagram) = entry.remove();
            assert_eq!(
                self.ends[to].handle_datagram(self.now, address(1 - to), &datagram),
                Verdict::Consumed
            );
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.drain();
    }

    fn connected(&mut self) -> [ConnectionHandle; 2] {
        let a = self.ends[0].connect(self.now, address(1)).unwrap();
        self.run(Duration::from_millis(100));
        let b = self.ends[1].accept().expect("accepted");
        [a, b]
    }

    /// The same for so many, in less time; the ends that asked for them.
    fn connected_at_once(&mut self, count: usize) -> Vec<ConnectionHandle> {
        let mut handles = Vec::new();
        while handles.len() < count {
            // Not more than may wait to be accepted.
            let some = (count - handles.len()).min(100);
            handles.extend((0..some).map(|_| self.ends[0].connect(self.now, address(1)).unwrap()));
            self.run(Duration::from_millis(100));
            assert!((0..some).all(|_| self.ends[1].accept().is_some()), "accepted");
        }
        handles
    }

    fn at(&mut self, end: usize, handle: ConnectionHandle) -> Connection<'_> {
        self.ends[end].connection(handle).expect("a live handle")
    }

    /// Moves `total` bytes from end 0 to end 1 and checks each of them.
    fn transfer(&mut self, [a, b]: [ConnectionHandle; 2], total: usize, limit: Duration) {
        let pattern = |i: usize| (i * 7 + i / 251) as u8;
        let until = self.now + limit;
        let (mut written, mut read) = (0, 0);
        let mut buf = vec![0; 16 << 10];
        while read < total {
            while written < total {
                // A little more than fits: Miri needs its time for each byte.
                let len = (self.at(0, a).writable() + 1).min(10_000);
                let chunk: Vec<u8> = (written..total.min(written + len)).map(pattern).collect();
                match self.at(0, a).write(&chunk) {
                    Ok(n) => written += n,
                    Err(WriteError::Blocked) => break,
                    Err(e) => panic!("{e}"),
                }
            }
            loop {
                match self.at(1, b).read(&mut buf) {
                    Ok(n) => {
                        assert!(n > 0, "early end");
                        for &byte in &buf[..n] {
                            assert_eq!(byte, pattern(read), "at {read}");
                            read += 1;
                        }
                    }
                    Err(ReadError::Blocked) => break,
                    Err(e) => panic!("{e} after {read}"),
                }
            }
            if read < total {
                assert!(self.step(until), "stuck at {read}: {:#?}", self.at(0, a).stats());
            }
        }
    }
}

#[test]
fn a_connection_opens_moves_data_and_ends_cleanly() {
    let mut pair = Pair::new(Config::default());
    let [a, b] = pair.connected();
    assert_eq!(pair.events[0], [(a, Event::Connected)]);
    assert_eq!(pair.events[1], [(b, Event::Incoming)]);
    pair.transfer([a, b], if cfg!(miri) { 60_000 } else { 3_000_000 }, Duration::from_secs(60));
    let stats = pair.at(0, a).stats();
    assert_eq!((stats.retransmits, stats.timeouts, stats.packets_lost), (0, 0, 0), "{stats:#?}");
    assert_eq!(stats.mtu, 1472);
    pair.at(0, a).finish();
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.at(1, b).read(&mut [0; 8]), Ok(0));
    pair.at(1, b).write(b"half-open").unwrap();
    pair.run(Duration::from_millis(100));
    let mut buf = [0; 16];
    assert_eq!(pair.at(0, a).read(&mut buf), Ok(9));
    pair.at(1, b).finish();
    pair.run(Duration::from_millis(100));
    for (end, handle) in [(0, a), (1, b)] {
        assert_eq!(pair.events[end].last(), Some(&(handle, Event::Closed { reason: CloseReason::Finished })));
        assert!(pair.ends[end].connection(handle).is_none());
    }
    let until = pair.ends[1].lingers_until().expect("an end just now");
    pair.run(until - pair.now - Duration::from_micros(1));
    assert_eq!((pair.ends[1].stats().lingering, pair.ends[1].lingers_until()), (1, Some(until)));
    pair.run(Duration::from_micros(1));
    assert_eq!((pair.ends[1].stats().lingering, pair.ends[1].lingers_until()), (0, None));
    pair.run(Duration::from_secs(60));
    assert!(pair.ends.iter().all(Endpoint::is_idle));
    assert!(pair.ends.iter().all(|e| e.poll_timeout().is_none()));
}

#[test]
fn a_lossy_path_delivers_every_byte() {
    let moduli: &[u64] = if cfg!(miri) { &[10] } else { &[50, 20, 10, 5] };
    for &modulus in moduli {
        let mut pair = Pair::new(Config::default());
        let ends = pair.connected();
        let mut x = modulus;
        pair.drop = Box::new(move |_, _| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % modulus == 0
        });
        let start = pair.now;
        pair.transfer(ends, if cfg!(miri) { 50_000 } else { 1_000_000 }, Duration::from_secs(600));
        let stats = pair.at(0, ends[0]).stats();
        println!("1/{modulus}: {:?} {stats:?}", pair.now - start);
    }
}

#[test]
fn the_handle_is_good_for_one_last_look_at_a_closed_connection() {
    let mut pair = Pair::new(Config::default());
    let [a, b] = pair.connected();
    pair.transfer([a, b], 10_000, Duration::from_secs(10));
    assert!(!pair.ends[0].has_events());
    pair.at(0, a).abort();
    assert!(pair.ends[0].has_events());
    assert_eq!(pair.ends[0].poll_event(), Some((a, Event::Closed { reason: CloseReason::Aborted })));
    assert_eq!(pair.at(0, a).bytes_written(), 10_000);
    assert_eq!(pair.ends[0].open_connections(), 0);
    assert_eq!(pair.ends[0].poll_event(), None);
    assert!(pair.ends[0].connection(a).is_none());
}

#[test]
fn a_refused_and_a_silent_peer_end_the_attempt() {
    let mut pair = Pair::new(Config::default());
    pair.ends[1].stop_listening();
    let a = pair.ends[0].connect(pair.now, address(1)).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(
        pair.events[0],
        [(a, Event::Readable), (a, Event::Writable), (a, Event::Closed { reason: CloseReason::Refused })]
    );
    pair.drop = Box::new(|_, _| true);
    let b = pair.ends[0].connect(pair.now, address(1)).unwrap();
    pair.run(Duration::from_secs(29));
    assert_eq!(pair.events[0].len(), 3);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.events[0].last(), Some(&(b, Event::Closed { reason: CloseReason::TimedOut })));
}

#[test]
fn an_abort_resets_the_peer() {
    let mut pair = Pair::new(Config::default());
    let [a, b] = pair.connected();
    pair.at(0, a).write(b"last words").unwrap();
    pair.run(Duration::from_millis(100));
    pair.at(0, a).abort();
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.events[0].last(), Some(&(a, Event::Closed { reason: CloseReason::Aborted })));
    // What arrived before can still be read, then the error.
    let mut buf = [0; 32];
    assert_eq!(pair.at(1, b).read(&mut buf), Ok(10));
    assert_eq!(pair.at(1, b).read(&mut buf), Err(ReadError::Closed(CloseReason::Reset)));
    pair.drain();
    assert_eq!(pair.events[1].last(), Some(&(b, Event::Closed { reason: CloseReason::Reset })));
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_both_go_on() {
    let mut config = Config::default();
    config.receive_buffer(20_000).unwrap().send_buffer(30_000).unwrap();
    let mut pair = Pair::new(config);
    let [a, b] = pair.connected();
    let (writes, reads) = if cfg!(miri) { (20, 60) } else { (100, 1_000) };
    let mut written = 0;
    for _ in 0..writes {
        written += pair.at(0, a).write(&[7; 5000]).unwrap_or(0);
        pair.run(Duration::from_millis(200));
    }
    assert!(written <= 30_000 + 20_000 + 8_192, "{written}");
    pair.run(Duration::from_secs(600));
    let mut read = 0;
    let mut buf = [0; 4096];
    for _ in 0..reads {
        match pair.at(1, b).read(&mut buf) {
            Ok(n) => read += n,
            Err(ReadError::Blocked) => {}
            Err(e) => panic!("{e}"),
        }
        pair.run(Duration::from_millis(20));
    }
    assert_eq!(read, written);
}

#[test]
fn a_burst_of_losses_longer_than_any_mask_costs_no_time_out() {
    // Under Miri one that is longer than the shorter mask.
    let masks: &[u8] = if cfg!(miri) { &[4] } else { &[4, 128] };
    let (lost, bytes) = if cfg!(miri) { (40..80, 160_000) } else { (1_000..1_300, 3_000_000) };
    for &max_sack in masks {
        let lost = lost.clone();
        let mut config = roomy();
        config.max_sack(max_sack).unwrap().pacing(false);
        config.congestion(Arc::new(crate::congestion::FixedWindow { bytes: 1 << 20 }));
        let mut pair = Pair::new(config);
        let ends = pair.connected();
        let retransmits = lost.end - lost.start;
        pair.drop = Box::new(move |n, _| lost.contains(&n));
        pair.transfer(ends, bytes, Duration::from_secs(60));
        let stats = pair.at(0, ends[0]).stats();
        assert_eq!((stats.timeouts, stats.retransmits), (0, retransmits), "{max_sack}: {stats:#?}");
    }
}

#[test]
fn closing_while_opening_with_data_delivers_it_and_ends_whatever_the_peer_sends() {
    let mut pair = Pair::new(Config::default());
    let a = pair.ends[0].connect(pair.now, address(1)).unwrap();
    assert_eq!(pair.at(0, a).write(b"last words"), Ok(10));
    pair.at(0, a).close();
    pair.run(Duration::from_millis(100));
    let b = pair.ends[1].accept().expect("accepted");
    assert_eq!(pair.at(1, b).write(b"an answer that nobody will read"), Ok(31));
    pair.at(1, b).finish();
    let mut buf = [0; 16];
    assert_eq!(pair.at(1, b).read(&mut buf), Ok(10));
    pair.run(Duration::from_secs(10));
    assert!(
        pair.events[0].contains(&(a, Event::Closed { reason: CloseReason::Finished })),
        "{:?}",
        pair.events
    );
    assert_eq!(pair.ends[0].open_connections(), 0);
}

#[test]
fn each_connection_may_have_a_controller_of_its_own() {
    let mut pair = Pair::new(roomy());
    let [a, b] = [0, 1].map(|_| pair.ends[0].connect(pair.now, address(1)).unwrap());
    let fixed = crate::congestion::FixedWindow { bytes: 5_000 };
    pair.ends[0].connection(a).unwrap().set_congestion(&fixed);
    for handle in [a, b] {
        assert_eq!(pair.ends[0].connection(handle).unwrap().write(&[7; 500_000]).unwrap(), 500_000);
    }
    let until = pair.now + Duration::from_millis(100);
    while pair.step(until) {
        let flight = pair.ends[0].connection(a).unwrap().stats().bytes_in_flight;
        assert!(flight <= 5_000, "{flight}");
    }
    let [a, b] = [a, b].map(|handle| pair.ends[0].connection(handle).unwrap().stats().cwnd);
    assert_eq!(a, 5_000);
    assert!(b > 20_000, "{b}");
}

#[test]
fn a_silence_shorter_than_the_time_out_costs_none() {
    let (step, bytes) = if cfg!(miri) { (600, 150_000) } else { (3, 400_000) };
    for start in (30..630).step_by(step) {
        let mut pair = Pair::new(roomy());
        let ends = pair.connected();
        // Losses before it, so that there are some that the window holds back when it comes.
        let silent = std::rc::Rc::new(std::cell::Cell::new(None));
        let seen = std::rc::Rc::clone(&silent);
        let mut x: u64 = start;
        pair.drop = Box::new(move |n, _| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if n == start {
                seen.set(Some(true));
            }
            match seen.get() {
                None => (x >> 33).is_multiple_of(20),
                Some(silent) => silent,
            }
        });
        let [a, b] = ends;
        pair.at(0, a).write(&vec![7; bytes]).unwrap();
        let mut read = 0;
        let mut buf = vec![0; 64 << 10];
        let mut end = None;
        let until = pair.now + Duration::from_secs(60);
        while read < bytes {
            assert!(pair.step(until), "{start}: stuck at {read}: {:#?}", pair.at(0, a).stats());
            if silent.get() == Some(true) && pair.now >= *end.get_or_insert(pair.now + SILENCE) {
                silent.set(Some(false));
            }
            while let Ok(n) = pair.at(1, b).read(&mut buf) {
                read += n;
            }
        }
        let stats = pair.at(0, a).stats();
        assert_eq!(stats.timeouts, 0, "{start}: {stats:#?}");
    }
}

const SILENCE: Duration = Duration::from_millis(150);

#[test]
fn where_many_have_something_to_send_their_turns_are_shorter() {
    let mut runs = Vec::new();
    // Under Miri so many that their number just cuts the longest run short, and after all the first turns one second turn.
    let (many, bytes, turns) = if cfg!(miri) { (170, 80_000, 171) } else { (1_200, 30_000, usize::MAX) };
    for count in [1, many] {
        let mut config = roomy();
        config.pacing(false).congestion(Arc::new(crate::congestion::FixedWindow { bytes: 200_000 }));
        let mut pair = Pair::new(config);
        let handles = pair.connected_at_once(count);
        for (n, handle) in handles.iter().enumerate() {
            // That turn is the first one's: for the others something to send is enough.
            let bytes = if cfg!(miri) && n > 0 { 2_000 } else { bytes };
            assert_eq!(pair.at(0, *handle).write(&vec![7; bytes]), Ok(bytes));
        }
        let (mut longest, mut left) = (0, turns);
        let mut buf = Vec::new();
        for _ in 0..20 {
            while left > 0
                && let Some(sent) = pair.ends[0].poll_transmit(pair.now, NonZeroUsize::MAX, &mut buf)
            {
                longest = longest.max(sent.len.div_ceil(sent.segment_size));
                left -= 1;
            }
            buf.clear();
            pair.now += Duration::from_millis(1);
            pair.ends[0].handle_timeout(pair.now);
        }
        runs.push(longest);
    }
    assert!(runs[0] > longest_run(many), "{runs:?}");
    assert_eq!(runs[1], longest_run(many), "{runs:?}");
    assert_eq!([1, 128, 256, 1_000, 100_000].map(longest_run), [64, 64, 32, 8, 8]);
}
