//! The core alone: two endpoints joined by memory, a stream in full packets from one to the other. The two
//! functions that are measured take the whole of what one side does for a batch of packets.

use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint, Verdict};

/// Two endpoints with an established connection, warmed up.
#[derive(Debug)]
pub struct Bench {
    now: Instant,
    sender: Endpoint,
    receiver: Endpoint,
    /// The sender's and the receiver's end.
    handles: (ConnectionHandle, ConnectionHandle),
    /// What is written, a batch of full packets.
    payload: Vec<u8>,
    read: Vec<u8>,
    data: Wire,
    acks: Wire,
}

/// Datagrams of one direction, in one arena.
#[derive(Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    /// Length and segment size of each run.
    runs: Vec<(usize, usize)>,
}

impl Wire {
    fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.runs.iter().flat_map(move |&(len, segment)| {
            let run = &self.bytes[at..at + len];
            at += len;
            run.chunks(segment)
        })
    }
}

impl Bench {
    /// With the default configuration.
    ///
    /// # Panics
    /// If the two do not find each other.
    #[must_use]
    pub fn new() -> Self {
        Self::beside(0)
    }

    /// The same beside so many connections of the same endpoints that do nothing.
    ///
    /// # Panics
    /// If the two do not find each other.
    #[must_use]
    pub fn beside(idle: usize) -> Self {
        let now = Instant::now();
        let mut config = Config::default();
        config.backlog(65_536).and_then(|c| c.half_open_limit(65_536)).expect("within range");
        let config = Arc::new(config);
        let mut sender = Endpoint::new(Arc::clone(&config), [1; 32], now);
        let mut receiver = Endpoint::new(config, [2; 32], now);
        let (mut data, mut acks) = (Wire::default(), Wire::default());
        let mut handles = Vec::new();
        let mut accepted = Vec::new();
        while handles.len() <= idle {
            // No more at a time than are answered at once.
            let some = (idle + 1 - handles.len()).min(500);
            handles.extend((0..some).map(|_| sender.connect(now, addr(1)).expect("a free id")));
            for _ in 0..4 {
                collect(&mut sender, now, &mut data);
                feed(&mut receiver, now, addr(0), &data);
                collect(&mut receiver, now, &mut acks);
                feed(&mut sender, now, addr(1), &acks);
            }
            accepted.extend(std::iter::from_fn(|| receiver.accept()));
        }
        assert_eq!(accepted.len(), idle + 1, "{:?}", receiver.stats());
        let handle = *handles.last().expect("one at least");
        let ids = sender.connection(handle).expect("open").ids();
        let is_other_end = |&&end: &&ConnectionHandle| {
            receiver.connection(end).is_some_and(|connection| connection.ids() == (ids.1, ids.0))
        };
        let accepted = *accepted.iter().find(is_other_end).expect("the other end");
        let mut bench = Self {
            now,
            sender,
            receiver,
            handles: (handle, accepted),
            payload: Vec::new(),
            read: vec![0; 256 << 10],
            data,
            acks,
        };
        // Slow start, path-MTU discovery, and every list at the size that it keeps.
        bench.payload = vec![7; 32 << 10];
        bench.run(200);
        let mtu = bench.sender.connection(handle).expect("open").stats().mtu as usize;
        bench.payload = vec![7; PACKETS * (mtu - HEADER)];
        bench.run(200);
        bench
    }

    /// Moves so many batches. Gives data packets, and what sender and receiver needed for them.
    pub fn run(&mut self, batches: usize) -> (u64, Duration, Duration) {
        let mut packets = 0;
        let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..batches {
            let started = Instant::now();
            self.send();
            sending += started.elapsed();
            packets += self.data.segments().count() as u64;
            self.now += Duration::from_micros(100);
            let started = Instant::now();
            self.receive();
            receiving += started.elapsed();
            self.now += Duration::from_micros(100);
            let started = Instant::now();
            self.acknowledge();
            sending += started.elapsed();
        }
        (packets, sending, receiving)
    }

    /// The sender: write, hand out packets.
    #[inline(never)]
    fn send(&mut self) {
        let now = self.now;
        if let Some(mut connection) = self.sender.connection(self.handles.0) {
            let _ = black_box(connection.write(&self.payload));
        }
        collect(&mut self.sender, now, &mut self.data);
    }

    /// The receiver: take packets, read, hand out acknowledgements.
    #[inline(never)]
    fn receive(&mut self) {
        feed(&mut self.receiver, self.now, addr(0), &self.data);
        if let Some(mut connection) = self.receiver.connection(self.handles.1) {
            while connection.read(&mut self.read).is_ok_and(|n| n > 0) {}
        }
        collect(&mut self.receiver, self.now, &mut self.acks);
    }

    /// The sender: take acknowledgements.
    #[inline(never)]
    fn acknowledge(&mut self) {
        feed(&mut self.sender, self.now, addr(1), &self.acks);
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

fn collect(endpoint: &mut Endpoint, now: Instant, wire: &mut Wire) {
    wire.clear();
    while endpoint.poll_event().is_some() {}
    while let Some(transmit) = endpoint.poll_transmit(now, SEGMENTS, &mut wire.bytes) {
        wire.runs.push((transmit.len, transmit.segment_size));
    }
}

fn feed(endpoint: &mut Endpoint, now: Instant, from: SocketAddr, wire: &Wire) {
    for segment in wire.segments() {
        let verdict = endpoint.handle_datagram(now, from, segment);
        debug_assert_eq!(verdict, Verdict::Consumed);
    }
    while endpoint.poll_event().is_some() {}
    endpoint.handle_timeout(now);
}

fn addr(end: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end], 6881))
}

/// Data packets of a batch: what one receive call of the driver brings at most.
const PACKETS: usize = 44;

/// Of a datagram.
const HEADER: usize = 20;

/// As the driver asks for.
const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
