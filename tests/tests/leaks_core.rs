//! Nothing stays of a connection that is over, however it ended: two endpoints go through the same again and again, and
//! hold no more afterwards, to the byte, than they did the time before. Virtual time; what adapters add:
//! `leaks_adapters`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint, Event, PathError};
use utp_tests::counting::{self, Counting};
use utp_tests::puppet::{Kind, Raw};
use utp_tests::sim::Random;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Two endpoints; what one sends, the other has at once, unless it is lost.
struct Net {
    now: Instant,
    /// Their clocks, ahead of `now` by so much.
    ahead: [Duration; 2],
    ends: [Endpoint; 2],
    config: Arc<Config>,
    buf: Vec<u8>,
    data: Vec<u8>,
    random: Random,
    /// One of so many datagrams is lost; 0: none, 1: all.
    loses: u64,
    /// Larger ones are as well.
    mtu: usize,
    /// What the senders' systems say, once each, with every datagram that is lost.
    error: Option<PathError>,
    restarts: u8,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, end as u8], 6881))
}

impl Net {
    fn new() -> Self {
        let mut config = Config::default();
        config.connect_timeout(Duration::from_secs(40)).unwrap().backlog(CONNECTIONS).unwrap();
        let config = Arc::new(config);
        let now = Instant::now();
        Self {
            now,
            ahead: [Duration::ZERO; 2],
            ends: [1, 2].map(|seed| Endpoint::new(Arc::clone(&config), [seed; 32], now)),
            config,
            buf: Vec::with_capacity(1 << 17),
            data: vec![7; LENGTH],
            random: Random::new(1, 1),
            loses: 0,
            mtu: usize::MAX,
            error: None,
            restarts: 2,
        }
    }

    /// The network is a good one again.
    fn mend(&mut self) {
        (self.loses, self.mtu, self.error) = (0, usize::MAX, None);
    }

    fn clock(&self, end: usize) -> Instant {
        self.now + self.ahead[end]
    }

    /// Lets everything happen that happens at once.
    fn settle(&mut self) {
        loop {
            let mut sent = 0;
            for from in 0..2 {
                sent += self.carry(from);
            }
            if sent == 0 {
                return;
            }
        }
    }

    fn carry(&mut self, from: usize) -> usize {
        let (max, to) = (NonZeroUsize::new(64).unwrap(), 1 - from);
        let clocks = [self.clock(0), self.clock(1)];
        let Self { ends, buf, random, loses, mtu, error, .. } = self;
        let mut sent = 0;
        loop {
            buf.clear();
            let Some(transmit) = ends[from].poll_transmit(clocks[from], max, buf) else { break };
            sent += 1;
            for datagram in buf.chunks(transmit.segment_size) {
                let is_lost = *loses > 0 && random.range(0..=*loses - 1) == 0;
                if !is_lost && (datagram.len() <= *mtu || transmit.may_fragment) {
                    if transmit.destination == address(to) {
                        let _ = ends[to].handle_datagram(clocks[to], address(from), datagram);
                    }
                } else if let Some(error) = *error {
                    ends[from].handle_path_error(clocks[from], transmit.destination, error);
                }
            }
        }
        while let Some((handle, event)) = ends[from].poll_event() {
            // Whoever reads, reads at once.
            if matches!(event, Event::Readable)
                && let Some(mut connection) = ends[from].connection(handle)
            {
                while connection.readable() > 0 {
                    let ready = connection.chunk().len();
                    connection.consume(ready);
                }
            }
        }
        sent
    }

    /// Lets time pass until `done`; panics if that takes longer than `limit`.
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return;
            }
            assert!(
                self.now < end,
                "not done after {limit:?}: {:?}",
                self.ends.each_ref().map(Endpoint::stats)
            );
            let due = (0..2).filter_map(|end| self.ends[end].poll_timeout()?.checked_sub(self.ahead[end]));
            let next = due.min().map_or(end, |at| at.min(end));
            self.now = self.now.max(next) + Duration::from_micros(1);
            for end in 0..2 {
                let clock = self.clock(end);
                self.ends[end].handle_timeout(clock);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.until(time + Duration::from_secs(1), |net| net.now >= end);
    }

    /// So many connections, with something to send in both directions.
    fn dial(&mut self) -> Vec<ConnectionHandle> {
        let now = self.clock(0);
        let dialed = (0..CONNECTIONS).map(|_| self.ends[0].connect(now, address(1)).unwrap()).collect();
        self.write(0, &dialed);
        dialed
    }

    fn write(&mut self, end: usize, handles: &Vec<ConnectionHandle>) {
        for handle in handles {
            let written = self.ends[end].connection(*handle).unwrap().write(&self.data);
            assert!(written.is_ok_and(|written| written > 0));
        }
    }

    fn accept(&mut self) -> Vec<ConnectionHandle> {
        let mut accepted = Vec::new();
        self.until(Duration::from_secs(60), |net| {
            while let Some(handle) = net.ends[1].accept() {
                accepted.push(handle);
            }
            accepted.len() == CONNECTIONS
        });
        self.write(1, &accepted);
        accepted
    }

    fn each(&mut self, end: usize, handles: &[ConnectionHandle], act: fn(&mut utp_proto::Connection<'_>)) {
        for handle in handles {
            if let Some(mut connection) = self.ends[end].connection(*handle) {
                act(&mut connection);
            }
        }
    }

    /// Everything that still can be done by itself is done, and forgotten.
    fn rest(&mut self) {
        self.until(Duration::from_secs(3_600), |net| {
            while let Some(handle) = net.ends[1].accept() {
                net.each(1, &[handle], abort);
            }
            net.ends.iter().all(|end| {
                let stats = end.stats();
                stats.connections + stats.half_open + stats.lingering + stats.backlog == 0
            })
        });
        assert_eq!(self.ends.each_ref().map(|end| end.stats().memory), [0, 0]);
        // What is known of ended connections, against late copies of their SYNs, goes with the cookies' periods.
        self.pass(Duration::from_secs(300));
    }

    /// A SYN from an address of its own.
    fn syn(&mut self, from: SocketAddr, id: u16) {
        let syn = Raw { id, seq: id, ..Raw::new(Kind::Syn) }.encode();
        let clock = self.clock(1);
        let _ = self.ends[1].handle_datagram(clock, from, &syn);
    }
}

/// Goes through `scenario` a few times. Spare blocks differ with the losses, and tables grow to what they need; beside
/// that, not a byte for each connection may stay.
fn leaves_nothing(scenario: impl Fn(&mut Net)) {
    let mut net = Net::new();
    let mut left = Vec::with_capacity(ROUNDS);
    let mut before = 0;
    for _ in 0..ROUNDS {
        scenario(&mut net);
        net.mend();
        net.rest();
        let spare = net.ends.iter().map(|end| end.stats().spare as isize).sum::<isize>();
        let held = counting::held() - spare;
        left.push(held - before);
        before = held;
    }
    println!("bytes left by each round of {CONNECTIONS} connections, beside spare blocks: {:?}", &left[1..]);
    let sum = left[WARM..].iter().sum::<isize>();
    assert!(sum < CONNECTIONS as isize, "something is left every time: {left:?}");
}

fn close(connection: &mut utp_proto::Connection<'_>) {
    connection.close();
}

fn abort(connection: &mut utp_proto::Connection<'_>) {
    connection.abort();
}

fn transfer(net: &mut Net) {
    let dialed = net.dial();
    let accepted = net.accept();
    net.each(0, &dialed, close);
    net.each(1, &accepted, close);
}

#[test]
fn transfers_over_a_network_of_any_kind() {
    leaves_nothing(transfer);
    for loses in [10, 3] {
        leaves_nothing(|net| {
            net.loses = loses;
            transfer(net);
            net.rest();
        });
    }
    for mtu in [1280 - 28, 576 - 28] {
        leaves_nothing(|net| {
            net.mtu = mtu;
            transfer(net);
            net.rest();
        });
    }
}

/// The same again and again, in an order that losses make another one each time, needs no more blocks than before.
#[test]
fn spare_blocks_are_soon_as_many_as_are_needed() {
    let mut net = Net::new();
    let mut spare = Vec::new();
    for _ in 0..2 * ROUNDS {
        net.loses = 10;
        transfer(&mut net);
        net.rest();
        spare.push(net.ends.each_ref().map(|end| end.stats().spare));
    }
    println!("bytes of spare blocks after each round: {spare:?}");
    for end in 0..2 {
        let (first, last) = (spare[0][end], spare[2 * ROUNDS - 1][end]);
        assert!(last <= first * 3 / 2, "more and more are kept: {spare:?}");
    }
}

#[test]
fn transfers_on_a_system_whose_calls_fail() {
    let errors = [None, Some(1000), Some(0)].map(PathError::TooBig);
    for error in errors.into_iter().chain([PathError::Unreachable]) {
        leaves_nothing(|net| {
            let dialed = net.dial();
            // Some are not even open yet.
            (net.loses, net.error) = (4, Some(error));
            net.pass(Duration::from_secs(5));
            let accepted: Vec<_> = std::iter::from_fn(|| net.ends[1].accept()).collect();
            net.each(0, &dialed, close);
            net.each(1, &accepted, close);
            net.rest();
        });
    }
}

#[test]
fn clocks_that_jump() {
    for (jump, end) in [20, 8 * 3_600].into_iter().flat_map(|secs| [(secs, 0), (secs, 1)]) {
        leaves_nothing(|net| {
            let dialed = net.dial();
            let accepted = net.accept();
            net.ahead[end] += Duration::from_secs(jump);
            net.pass(Duration::from_secs(1));
            net.each(0, &dialed, close);
            net.each(1, &accepted, close);
        });
    }
}

#[test]
fn connections_that_are_reset_in_any_state() {
    leaves_nothing(|net| {
        let dialed = net.dial();
        let accepted = net.accept();
        // Half of them by this side, half by the other, some by both; data is on its way in both directions.
        net.loses = 2;
        net.pass(Duration::from_millis(300));
        net.each(0, &dialed[..CONNECTIONS / 2], abort);
        net.each(1, &accepted[CONNECTIONS / 3..], abort);
        net.mend();
        net.pass(Duration::from_secs(1));
        net.each(0, &dialed, close);
        net.each(1, &accepted, close);
    });
}

#[test]
fn attempts_that_are_given_up_refused_or_not_answered() {
    leaves_nothing(|net| {
        let dialed = net.dial();
        net.each(0, &dialed, abort);
    });
    leaves_nothing(|net| {
        // The SYN has gone, its answer comes too late.
        let dialed = net.dial();
        net.loses = 1;
        net.settle();
        net.each(0, &dialed, abort);
        net.mend();
    });
    leaves_nothing(|net| {
        net.loses = 1;
        net.dial();
        net.rest();
    });
    leaves_nothing(|net| {
        net.ends[1].stop_listening();
        net.dial();
        net.rest();
        net.ends[1].start_listening();
    });
    leaves_nothing(|net| {
        // Nobody accepts.
        let dialed = net.dial();
        net.pass(Duration::from_secs(1));
        net.each(0, &dialed, abort);
        net.pass(Duration::from_secs(1));
        assert!(net.ends[1].accept().is_none(), "what was reset has left the backlog");
    });
}

#[test]
fn a_peer_that_is_killed_and_comes_back_at_its_address() {
    leaves_nothing(|net| {
        let dialed = net.dial();
        net.accept();
        net.loses = 2;
        net.pass(Duration::from_millis(300));
        net.mend();
        // Its memory went with it; the new one has as much as the one before it had.
        net.restarts = net.restarts.wrapping_add(1);
        net.ends[1] = Endpoint::new(Arc::clone(&net.config), [net.restarts; 32], net.now);
        net.each(0, &dialed, |connection| {
            let _ = connection.write(&[7; 100]);
        });
        net.until(Duration::from_secs(10), |net| net.ends[0].open_connections() == 0);
        transfer(net);
    });
}

#[test]
fn a_day_of_silence() {
    leaves_nothing(|net| {
        let dialed = net.dial();
        let accepted = net.accept();
        net.pass(Duration::from_secs(60));
        let held = counting::held();
        net.pass(Duration::from_secs(24 * 3_600));
        assert_eq!(net.ends.each_ref().map(Endpoint::open_connections), [CONNECTIONS; 2]);
        assert_eq!(net.ends.each_ref().map(|end| end.stats().memory), [0, 0]);
        assert!(counting::held() <= held, "{} bytes more than at its beginning", counting::held() - held);
        net.each(0, &dialed, close);
        net.each(1, &accepted, close);
    });
}

#[test]
fn floods_of_syns_and_of_what_nobody_sent() {
    leaves_nothing(|net| {
        for n in 0..FLOOD {
            net.syn(SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 1 + n as u16)), n as u16);
        }
        assert!(net.ends[1].stats().half_open > 0);
        // Some of them go on, without knowing the number that they were answered with.
        for n in 0..FLOOD {
            let from = SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 1 + n as u16));
            let raw = Raw { id: (n as u16).wrapping_add(1), ack: n as u16, ..Raw::new(Kind::Data) };
            let clock = net.clock(1);
            let _ = net.ends[1].handle_datagram(clock, from, &raw.encode());
        }
        net.settle();
    });
    leaves_nothing(|net| {
        let dialed = net.dial();
        let accepted = net.accept();
        // Of these, those with an id of a connection look like its packets.
        for _ in 0..FLOOD {
            let bits = net.random.bits();
            let kind = [Kind::Data, Kind::Fin, Kind::State, Kind::Reset][(bits >> 48) as usize % 4];
            let ids = net.ends[1].connection(accepted[bits as usize % CONNECTIONS]).map(|c| c.ids());
            let id = ids.map_or(0, |(receive, _)| receive);
            let (seq, ack) = ((bits >> 16) as u16, (bits >> 32) as u16);
            let raw = Raw { id, seq, ack, payload: vec![1; 500], ..Raw::new(kind) };
            let clock = net.clock(1);
            let _ = net.ends[1].handle_datagram(clock, address(0), &raw.encode());
        }
        net.pass(Duration::from_secs(1));
        net.each(0, &dialed, close);
        net.each(1, &accepted, close);
    });
}

/// Connections of a round.
const CONNECTIONS: usize = 30;

/// Bytes in each direction of a connection.
const LENGTH: usize = 50_000;

/// Rounds that fill tables.
const WARM: usize = 6;

/// All rounds: so many that a list which grows with each of them has to ask for more room after the first.
const ROUNDS: usize = 2 * WARM + 2;

/// Datagrams of a flood.
const FLOOD: u32 = 20_000;
