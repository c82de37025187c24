//! What a peer can make one connection hold, whatever it sends, as the allocator counts it (S10 of SECURITY.md).

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint};
use utp_tests::counting::{self, Counting};
use utp_tests::puppet::{Kind, Raw};
use utp_tests::sim::Random;

#[global_allocator]
static COUNTING: Counting = Counting;

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// An endpoint with one connection, whose peer sends what it likes, and whose application reads little.
struct Victim {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    now: Instant,
    raw: Raw,
    /// The last packet that it has acknowledged.
    acked: u16,
    /// Bytes that the endpoint holds more than with the connection open and idle, empty blocks for the next data not
    /// counted: now, and at any time at most, the middle of a call included.
    held: isize,
    most: isize,
}

impl Victim {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(Arc::new(config), [10; 32], now);
        let mut buf = Vec::new();
        let syn = Raw { id: 7, seq: 99, ..Raw::new(Kind::Syn) };
        let _ = endpoint.handle_datagram(now, Self::addr(), &syn.encode());
        let _ = endpoint.poll_transmit(now, SEGMENTS, &mut buf).expect("a SYN-ACK");
        let answer = Raw::decode(&buf).expect("uTP");
        let raw = Raw { id: 8, seq: 100, ack: answer.seq.wrapping_sub(1), ..Raw::new(Kind::State) };
        let _ = endpoint.handle_datagram(now, Self::addr(), &raw.encode());
        let handle = endpoint.accept().expect("a connection");
        let raw = Raw { kind: Kind::Data, ..raw };
        let mut victim = Self { endpoint, handle, now, raw, acked: 99, held: 0, most: 0 };
        victim.drain();
        (victim.held, victim.most) = (0, 0);
        victim
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 6881))
    }

    /// Counts what the endpoint allocates while it does something.
    fn counted<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let (before, spare) = (counting::held(), self.endpoint.stats().spare as isize);
        let (result, most) = counting::most(|| f(self));
        let given = self.endpoint.stats().spare as isize - spare;
        // While blocks are given back, the endpoint's list of them may grow: that is no connection's.
        let most = if given > 0 { 0 } else { most - given };
        self.most = self.most.max(self.held + most);
        self.held += counting::held() - before - given;
        result
    }

    /// DATA so far from the first, of this many bytes.
    fn data(&mut self, offset: u32, len: usize) {
        let raw = Raw { seq: 100u16.wrapping_add(offset as u16), payload: vec![7; len], ..self.raw.clone() };
        let datagram = raw.encode();
        self.counted(|v| {
            let _ = v.endpoint.handle_datagram(v.now, Self::addr(), &datagram);
        });
        self.drain();
    }

    fn drain(&mut self) {
        self.now += Duration::from_micros(10);
        let mut buf = Vec::with_capacity(1 << 16);
        self.counted(|v| {
            while v.endpoint.poll_event().is_some() {}
            while let Some(transmit) = v.endpoint.poll_transmit(v.now, SEGMENTS, &mut buf) {
                v.acked = u16::from_be_bytes([buf[18], buf[19]]);
                assert!(buf.len() <= transmit.segment_size, "only acknowledgements");
                buf.clear();
            }
        });
    }

    /// Who reads all gets what is missing, whatever has come before.
    fn gets_on(&mut self) {
        for n in 0..20 {
            self.read(2 << 20);
            self.wait();
            let acked = self.acked;
            self.data(u32::from(acked.wrapping_sub(99)), 1_452);
            self.wait();
            assert_ne!(self.acked, acked, "packet {n} finds no room");
        }
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(200);
        self.counted(|v| v.endpoint.handle_timeout(v.now));
        self.drain();
    }

    fn read(&mut self, bytes: usize) {
        let mut buf = vec![0; bytes];
        self.counted(|v| {
            if let Some(mut connection) = v.endpoint.connection(v.handle) {
                let _ = connection.read(&mut buf);
            }
        });
    }
}

/// What a connection with this receive buffer may hold: nothing is added for what it takes to find the bytes again.
fn bound(buffer: usize) -> isize {
    (buffer + (8 << 10)) as isize
}

type Attack = fn(&mut Victim, usize);

const ATTACKS: [(&str, Attack); 13] = [
    ("single bytes, every other one missing", |v, _| (0..1024).step_by(2).for_each(|n| v.data(n + 1, 1))),
    ("the same backwards", |v, _| (0..1024).step_by(2).rev().for_each(|n| v.data(n + 1, 1))),
    ("single bytes, the first missing", |v, _| (1..1025).for_each(|n| v.data(n, 1))),
    ("no bytes at all, every other one missing", |v, _| (0..1024).step_by(2).for_each(|n| v.data(n + 1, 0))),
    ("short packets, the first missing", |v, _| (1..1025).for_each(|n| v.data(n, 500))),
    ("full packets, the first missing", |v, _| (1..1025).for_each(|n| v.data(n, 1_452))),
    ("huge packets, every other one missing", |v, _| {
        (0..1024).step_by(2).for_each(|n| v.data(n + 1, 60_000));
    }),
    ("more than is read", |v, buffer| (0..buffer as u32 / 1_000 + 100).for_each(|n| v.data(n, 1_000))),
    ("single bytes, more than is read", |v, buffer| (0..buffer as u32 + 10_000).for_each(|n| v.data(n, 1))),
    ("half of it in order, the rest ahead", |v, buffer| {
        let half = buffer as u32 / 2 / 1_000 + 3;
        (0..half).for_each(|n| v.data(n, 1_000));
        (half + 1..half + 1_025).for_each(|n| v.data(n, 600));
    }),
    ("all of it in order, most of that read, the rest ahead", |v, buffer| {
        let all = buffer as u32 / 1_000;
        (0..all).for_each(|n| v.data(n, 1_000));
        v.read(buffer - 3_000);
        (all + 1..all + 1_025).for_each(|n| v.data(n, 1_100));
    }),
    ("pairs the wrong way round, all but a byte read", |v, buffer| {
        for n in (0..buffer as u32 / 300).step_by(2) {
            v.data(n + 1, 300);
            v.data(n, 300);
            v.read(599);
        }
    }),
    ("one byte far ahead for each block in order, which is read", |v, buffer| {
        let mut next = 0;
        for far in 0..500 {
            v.data(next + 500, 1);
            for _ in 0..buffer / 20_000 + 1 {
                v.data(next, 1_452);
                next += u32::from(far < 499);
                v.read(1_452);
            }
        }
    }),
];

#[test]
fn no_peer_makes_a_connection_hold_more_than_its_buffer_and_8_kib() {
    let mut worst = 0.0f64;
    for buffer in [4 << 10, 16 << 10, 64 << 10, 200_000, 1 << 20] {
        for (name, attack) in ATTACKS {
            let mut config = Config::default();
            config.receive_buffer(buffer).expect("a size");
            let mut victim = Victim::new(config);
            attack(&mut victim, buffer);
            println!("{buffer} bytes of buffer, {name}: {} held", victim.most);
            assert!(victim.most <= bound(buffer), "{name}: {} of {buffer}", victim.most);
            worst = worst.max(victim.most as f64 / bound(buffer) as f64);
            victim.gets_on();
        }
    }
    println!("at most {worst:.3} of the bound");
}

/// Anything in any order, read now and then, or only in part; and then what is missing, which always finds room.
#[test]
fn nor_does_anything_random() {
    let mut worst = (0.0f64, 0);
    for seed in 0..300 {
        let mut rng = Random::new(seed, 10);
        let buffer = rng.log_range(4 << 10..=512 << 10) as usize;
        let window = rng.log_range(16..=4_096) as u16;
        let mut config = Config::default();
        config.receive_buffer(buffer).expect("a size").reorder_window(window).expect("a window");
        let mut victim = Victim::new(config);
        let mut next = 0;
        let sizes = [0, 1, 100, 511, 512, 700, 1_124, 1_125, 1_452, 4_000, 8_000];
        let sizes = &sizes[..rng.range(2..=sizes.len() as u64) as usize];
        for _ in 0..4_000 {
            let size = *rng.pick(sizes);
            match rng.range(0..=9) {
                0 => victim.read(rng.log_range(1..=buffer as u64) as usize),
                1..=3 => {
                    victim.data(next, size);
                    next += 1; // if it was taken; else this one stays missing
                }
                4 => next = next.saturating_sub(1),
                _ => victim.data(next + rng.log_range(1..=u64::from(window)) as u32, size),
            }
        }
        let part = victim.most as f64 / bound(buffer) as f64;
        if part > worst.0 {
            worst = (part, seed);
        }
        assert!(part <= 1.0, "seed {seed}: {} with {buffer} of buffer, window {window}", victim.most);
        victim.gets_on();
        assert!(victim.most <= bound(buffer), "seed {seed}: {} with {buffer} of buffer", victim.most);
    }
    println!("at most {:.3} of it, seed {}", worst.0, worst.1);
}
