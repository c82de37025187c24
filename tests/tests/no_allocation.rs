//! Moving data allocates nothing once it is under way: memory is taken when a transfer starts or meets its first
//! losses, and kept while it goes on.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::congestion::FixedWindow;
use utp_proto::{Config, ConnectionHandle, Endpoint, Event};
use utp_tests::counting::{self, Counting};

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// Counts what is allocated inside.
fn counted<R>(f: impl FnOnce() -> R) -> R {
    let before = counting::calls();
    let result = f();
    COUNTED.set(COUNTED.get() + counting::calls() - before);
    result
}

/// Two endpoints and a wire of 5 ms between them. Only calls of the endpoints are counted.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    handles: [ConnectionHandle; 2],
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    buf: Vec<u8>,
    data: Vec<u8>,
    packets: u64,
    received: u64,
    /// One of so many datagrams is lost.
    loses: Option<u64>,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, end as u8], 1))
}

impl Pair {
    fn connected(config: Config) -> Self {
        let now = Instant::now();
        let config = Arc::new(config);
        let mut ends = [0, 1].map(|i| Endpoint::new(Arc::clone(&config), [i; 32], now));
        let dialed = ends[0].connect(now, address(1)).expect("it can");
        let mut pair = Self {
            now,
            ends,
            handles: [dialed; 2],
            flying: VecDeque::new(),
            spare: Vec::new(),
            buf: Vec::with_capacity(1 << 17),
            data: vec![7; 64 << 10],
            packets: 0,
            received: 0,
            loses: None,
        };
        let accepted = (0..100).find_map(|_| {
            pair.step();
            pair.ends[1].accept()
        });
        pair.handles[1] = accepted.expect("accepted");
        pair
    }

    fn drain(&mut self) {
        for end in 0..2 {
            self.events(end);
            let max = NonZeroUsize::new(32).expect("not 0");
            loop {
                self.buf.clear();
                let Self { ends, buf, now, .. } = self;
                let Some(transmit) = counted(|| ends[end].poll_transmit(*now, max, buf)) else { break };
                let chunks = self.buf.len().div_ceil(transmit.segment_size);
                for i in 0..chunks {
                    self.packets += 1;
                    if self.loses.is_some_and(|n| self.packets.is_multiple_of(n)) {
                        continue;
                    }
                    let from = i * transmit.segment_size;
                    let datagram = &self.buf[from..self.buf.len().min(from + transmit.segment_size)];
                    let mut copy = self.spare.pop().unwrap_or_default();
                    copy.clear();
                    copy.extend_from_slice(datagram);
                    self.flying.push_back((self.now + Duration::from_millis(5), 1 - end, copy));
                }
            }
            self.events(end);
        }
    }

    fn events(&mut self, end: usize) {
        while let Some((handle, event)) = counted(|| self.ends[end].poll_event()) {
            match event {
                Event::Writable => self.write(),
                Event::Readable if end == 1 => {
                    let Self { ends, received, .. } = self;
                    counted(|| {
                        let mut connection = ends[1].connection(handle).expect("open");
                        while connection.readable() > 0 {
                            let n = connection.chunk().len();
                            connection.consume(n);
                            *received += n as u64;
                        }
                    });
                }
                _ => {}
            }
        }
    }

    fn write(&mut self) {
        let Self { ends, handles, data, .. } = self;
        counted(|| while ends[0].connection(handles[0]).expect("open").write(data).is_ok() {});
    }

    fn step(&mut self) {
        self.drain();
        let deadline = self.ends.iter().filter_map(Endpoint::poll_timeout).min();
        let arrival = self.flying.front().map(|(at, ..)| *at);
        self.now = self.now.max(deadline.into_iter().chain(arrival).min().expect("something is to happen"));
        while self.flying.front().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, to, datagram) = self.flying.pop_front().expect("looked at");
            let Self { ends, now, .. } = self;
            let _ = counted(|| ends[to].handle_datagram(*now, address(1 - to), &datagram));
            self.spare.push(datagram);
        }
        for end in 0..2 {
            let Self { ends, now, .. } = self;
            counted(|| ends[end].handle_timeout(*now));
        }
    }

    /// Moves so many bytes on; gives allocations and packets.
    fn transfer(&mut self, bytes: u64) -> (u64, u64) {
        let until = self.received + bytes;
        let packets = self.packets;
        COUNTED.set(0);
        self.write();
        while self.received < until {
            self.step();
        }
        (COUNTED.get(), self.packets - packets)
    }
}

/// Every packet in its turn, unless it got lost; windows and buffers as large as they will be and not full: those that grow take
/// memory when they do.
fn config() -> Config {
    let mut config = Config::default();
    config.send_buffer(1 << 20).unwrap().receive_buffer(4 << 20).unwrap().distrust(false);
    config.congestion(Arc::new(FixedWindow { bytes: 500_000 }));
    config
}

#[test]
fn a_transfer_under_way_allocates_nothing() {
    let mut pair = Pair::connected(config());
    let (warm, _) = pair.transfer(30 << 20);
    assert!(warm > 0, "the counter counts");
    let (allocations, packets) = pair.transfer(100 << 20);
    assert!(packets > 70_000);
    assert_eq!(allocations, 0, "in {packets} packets");
}

#[test]
fn losses_allocate_nothing_either() {
    let mut pair = Pair::connected(config());
    pair.loses = Some(101);
    pair.transfer(200 << 20); // until as much has waited behind a gap as ever does
    let (allocations, packets) = pair.transfer(20 << 20);
    assert!(packets > 15_000);
    assert_eq!(allocations, 0, "in {packets} packets, of which one of 101 was lost");
}

/// A test of honesty makes a whole flight wait behind a gap and then arrive at once, which may take a few blocks.
#[test]
fn tests_of_honesty_allocate_a_block_now_and_then() {
    let mut pair = Pair::connected(Config::default());
    pair.transfer(100 << 20);
    let (allocations, packets) = pair.transfer(200 << 20);
    println!("{allocations} in {packets} packets");
    assert!(allocations <= packets / 5_000, "{allocations} in {packets} packets");
}
