//! Connection ids and initial numbers cannot be foreseen, and those that were used rest (S8 of SECURITY.md).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, Endpoint, Event};
use utp_tests::puppet::{Kind, Puppet, Raw, addr, data, fin, piece, pieces, seconds, state, syn};

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// An endpoint under a clock of its own.
struct Rig {
    endpoint: Endpoint,
    now: Instant,
}

impl Rig {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        Self { endpoint: Endpoint::new(Arc::new(config), [8; 32], now), now }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.endpoint.handle_timeout(self.now);
    }

    fn drain(&mut self) -> Vec<Raw> {
        let (mut out, mut buf) = (Vec::new(), Vec::new());
        while self.endpoint.poll_event().is_some() {}
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, SEGMENTS, &mut buf) {
            out.extend(buf.chunks(transmit.segment_size).map(|segment| Raw::decode(segment).expect("uTP")));
            buf.clear();
        }
        out
    }

    /// Opens a connection and gives it up: the id and the number of its SYN.
    fn attempt(&mut self, to: SocketAddr) -> (u16, u16) {
        let handle = self.endpoint.connect(self.now, to).expect("an id");
        let sent = self.drain();
        self.endpoint.connection(handle).expect("open").abort();
        self.drain();
        (sent[0].id, sent[0].seq)
    }

    /// The number of the answer to a SYN.
    fn answer(&mut self, from: SocketAddr, id: u16, seq: u16) -> u16 {
        let raw = Raw { id, seq, ..Raw::new(Kind::Syn) };
        let _ = self.endpoint.handle_datagram(self.now, from, &raw.encode());
        self.drain()[0].seq
    }
}

/// Whether values are spread evenly: over 256 buckets by their high and by their low bits, and so are the steps
/// from each to the next, and the parity of each together with the next one's. Chi-square of 255 degrees has a mean
/// of 255 and a deviation of 22.6; beyond 368, five of them, an even source comes once in a million.
fn assert_even(what: &str, values: &[u16]) {
    let steps: Vec<u16> = values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let pairs: Vec<u16> = values.windows(2).map(|pair| (pair[0] & 15) << 4 | pair[1] & 15).collect();
    let mut worst = 0.0f64;
    for (values, shift) in [(values, 8), (values, 0), (&steps, 8), (&steps, 0), (&pairs, 0)] {
        let mut buckets = [0u32; 256];
        values.iter().for_each(|value| buckets[usize::from(value >> shift & 255)] += 1);
        let expected = values.len() as f64 / 256.0;
        let chi: f64 = buckets.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        worst = worst.max(chi);
    }
    println!("{what}: chi-square of {} values in 256 buckets at most {worst:.0}", values.len());
    assert!(worst < 368.0, "{what}: {worst}");
}

#[test]
fn ids_and_numbers_of_our_connections_are_spread_evenly() {
    let mut rig = Rig::new(Config::default());
    let (ids, seqs): (Vec<u16>, Vec<u16>) = (0..1u32 << 16)
        .map(|n| {
            rig.wait(Duration::from_micros(100));
            rig.attempt(SocketAddr::from(((0x0a00_0000 | n).to_be_bytes(), 6881)))
        })
        .unzip();
    assert_even("ids", &ids);
    assert_even("numbers of SYNs", &seqs);
    let sums: Vec<u16> = ids.iter().zip(&seqs).map(|(id, seq)| id.wrapping_add(*seq)).collect();
    assert_even("both together", &sums);
}

/// What an attacker sees who asks as often as he likes, in every manner he likes.
#[test]
fn numbers_of_our_answers_are_spread_evenly() {
    let mut rig = Rig::new(Config::default());
    let here = SocketAddr::from(([192, 0, 2, 1], 6881));
    let at = |n: u32| SocketAddr::from(((0x0a00_0000 | n).to_be_bytes(), 6881));
    let ids: Vec<u16> = (0..=u16::MAX).map(|id| rig.answer(here, id, 1)).collect();
    assert_even("one id after the other", &ids);
    let seqs: Vec<u16> = (0..=u16::MAX).map(|seq| rig.answer(here, 7, seq)).collect();
    assert_even("one number after the other", &seqs);
    let addresses: Vec<u16> = (0..1 << 16).map(|n| rig.answer(at(n), 7, 1)).collect();
    assert_even("one address after the other", &addresses);
    let times: Vec<u16> = (0..1 << 14)
        .map(|_| {
            rig.wait(Duration::from_secs(45));
            rig.answer(here, 7, 1)
        })
        .collect();
    assert_even("one time after the other", &times);
}

#[test]
fn an_id_and_its_neighbours_rest_after_use() {
    const LINGER: Duration = Duration::from_secs(3);
    let mut rig = Rig::new(Config::default());
    let to = SocketAddr::from(([192, 0, 2, 1], 6881));
    let mut used: HashMap<u16, Instant> = HashMap::new();
    let (mut again, mut soonest) = (0, Duration::MAX);
    for _ in 0..100_000 {
        rig.wait(Duration::from_micros(500)); // 6000 of 65 536 rest at a time, each with its neighbours
        let (id, _) = rig.attempt(to);
        for near in [id.wrapping_sub(1), id, id.wrapping_add(1)] {
            if let Some(before) = used.get(&near) {
                again += 1;
                soonest = soonest.min(rig.now - *before);
            }
        }
        used.insert(id, rig.now);
    }
    println!("{again} times one of them again, {soonest:?} later at the soonest");
    assert!(again > 50_000 && soonest >= LINGER, "{again} {soonest:?}");
}

/// A connection that the puppet opened and that has ended in good order; its SYN and its first DATA.
fn ended(config: Config) -> (Puppet, Vec<Vec<u8>>) {
    let mut p = Puppet::new(config);
    let first = [syn(), data(0)].map(|packet| p.build(packet));
    p.send(syn());
    let answer = p.expect_state();
    let copies: Vec<Vec<u8>> = first
        .into_iter()
        .map(|raw| match raw.kind {
            // As it went: it acknowledges the SYN-ACK.
            Kind::Data => Raw { ack: answer.raw.seq.wrapping_sub(1), ..raw }.encode(),
            _ => raw.encode(),
        })
        .collect();
    p.send(data(0));
    p.finish();
    p.send(state().ack(1));
    p.send(fin(1).ack(1));
    assert_eq!(p.read(), piece(0));
    p.wait(Duration::from_millis(10));
    assert!(p.closed().is_some(), "{:?}", p.events);
    p.take();
    (p, copies)
}

/// Late copies of a SYN and of the first DATA behind it, at any time after the end: the numbers of both are still
/// good, for 45 to 90 s, and only memory of the end keeps them from opening the connection again.
#[test]
fn what_is_over_is_not_opened_again_by_late_copies() {
    for cookies in [false, true] {
        for after in [0, 2, 4, 10, 30, 44, 46, 60, 80, 89, 91, 120] {
            let mut config = Config::default();
            config.half_open_limit(if cookies { 1 } else { 4096 }).expect("a limit");
            let (mut p, copies) = ended(config);
            if cookies {
                // Somebody else has the only entry.
                let other = Raw { id: 9, seq: 9, ..Raw::new(Kind::Syn) }.encode();
                let _ = p.send_from(SocketAddr::from(([192, 0, 2, 9], 1)), &other);
                let other = Raw { id: 19, seq: 9, ..Raw::new(Kind::Syn) }.encode();
                let _ = p.send_from(SocketAddr::from(([192, 0, 2, 9], 1)), &other);
            }
            p.wait(seconds(after));
            for copy in [0, 1, 0, 1, 1] {
                let _ = p.send_bytes(&copies[copy]);
                p.wait(Duration::from_millis(30));
            }
            let opened = p.events.iter().filter(|event| **event == Event::Incoming).count();
            assert_eq!((opened, p.endpoint.open_connections()), (1, 0), "{after} s later, {cookies}");
        }
    }
}

/// The same peer, the same id and the same number once more, when the copies are too old to do any harm.
#[test]
fn the_same_numbers_open_a_connection_again_after_two_periods() {
    let (mut p, _) = ended(Config::default());
    p.wait(seconds(91));
    p.take();
    let again = Raw { id: 7_000, seq: 65_529, ..Raw::new(Kind::Syn) };
    let _ = p.send_bytes(&again.encode());
    let answer = p.take().pop().expect("a SYN-ACK").raw;
    let first = Raw { id: 7_001, seq: 65_530, ack: answer.seq.wrapping_sub(1), ..Raw::new(Kind::Data) };
    let _ = p.send_bytes(&Raw { payload: pieces(0..1), ..first }.encode());
    let handle = p.endpoint.accept().expect("another connection");
    assert_eq!(p.endpoint.connection(handle).expect("open").remote_addr(), addr());
}
