//! Nobody can be made to send more than was sent to him (S4, S5 of SECURITY.md).

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use utp_proto::{Config, Endpoint};
use utp_tests::counting::{self, Counting};
use utp_tests::puppet::{Kind, Raw};
use utp_tests::sim::Random;

#[global_allocator]
static COUNTING: Counting = Counting;

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// What somebody sends who does not see the answers, or sees them and does not use the one number that
/// proves it.
#[derive(Debug, Clone)]
struct Step {
    /// Microseconds before it.
    wait: u64,
    kind: Kind,
    id: u16,
    seq: u16,
    ack: Ack,
    extensions: Vec<(u8, Vec<u8>)>,
    payload: usize,
    /// Cut off so much of the datagram.
    cut: usize,
    /// The application looks for connections, and the endpoint is drained: else it waits for the next step.
    drain: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ack {
    Any(u16),
    /// So far from the number of the last answer; never what acknowledges it.
    Near(i8),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        3 => Just(Kind::Syn),
        2 => Just(Kind::Data),
        1 => Just(Kind::Fin),
        2 => Just(Kind::State),
        1 => Just(Kind::Reset),
    ];
    let ack = prop_oneof![any::<u16>().prop_map(Ack::Any), (-5i8..=5).prop_map(Ack::Near)];
    let wait = prop_oneof![4 => 0..2_000u64, 1 => 0..60_000_000u64];
    let extension = (1..4u8, prop::collection::vec(any::<u8>(), 0..40));
    (
        (wait, kind, 0..4u16, 0..4u16, ack),
        prop::collection::vec(extension, 0..3),
        (prop_oneof![Just(0), 0..1400usize], prop_oneof![9 => Just(0), 1 => 0..30usize], any::<bool>()),
    )
        .prop_map(|((wait, kind, id, seq, ack), extensions, (payload, cut, drain))| Step {
            wait,
            kind,
            id,
            seq,
            ack,
            extensions,
            payload,
            cut,
            drain,
        })
}

/// An endpoint, and what went to and fro.
struct Reflector {
    endpoint: Endpoint,
    now: Instant,
    bytes: [usize; 2],
    packets: [usize; 2],
    answered: Option<u16>,
    most: usize,
}

impl Reflector {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let endpoint = Endpoint::new(Arc::new(config), [5; 32], now);
        Self { endpoint, now, bytes: [0; 2], packets: [0; 2], answered: None, most: 0 }
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.bytes[0] += datagram.len();
        self.packets[0] += 1;
        let _ = self.endpoint.handle_datagram(self.now, from, datagram);
    }

    /// Everything is sent that the endpoint wants to send; what it answers is never more than what came.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.endpoint.handle_timeout(self.now);
        while self.endpoint.poll_event().is_some() {}
        let mut buf = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, SEGMENTS, &mut buf) {
            for segment in buf.chunks(transmit.segment_size) {
                let raw = Raw::decode(segment).expect("a uTP packet");
                self.answered = (raw.kind == Kind::State).then_some(raw.seq).or(self.answered);
                self.bytes[1] += segment.len();
                self.packets[1] += 1;
                self.most = self.most.max(segment.len());
            }
            buf.clear();
            prop_assert!(self.bytes[1] <= self.bytes[0], "{:?} bytes in and out", self.bytes);
            prop_assert!(self.packets[1] <= self.packets[0], "{:?} packets in and out", self.packets);
        }
        Ok(())
    }

    fn act(&mut self, from: SocketAddr, step: &Step) -> Result<(), TestCaseError> {
        self.now += Duration::from_micros(step.wait);
        let ack = match (step.ack, self.answered) {
            // What proves that the answer was seen: its number less one, or less two (a keep-alive).
            (Ack::Near(-2 | -1), Some(seq)) => seq.wrapping_add(7),
            (Ack::Near(by), Some(seq)) => seq.wrapping_add_signed(by.into()),
            (Ack::Near(by), None) => 0u16.wrapping_add_signed(by.into()),
            (Ack::Any(ack), _) => ack,
        };
        let raw = Raw {
            id: step.id,
            seq: step.seq,
            ack,
            extensions: step.extensions.clone(),
            payload: vec![7; step.payload],
            ..Raw::new(step.kind)
        };
        let datagram = raw.encode();
        self.receive(from, &datagram[..datagram.len().saturating_sub(step.cut)]);
        if step.drain {
            self.drain()?;
        }
        Ok(())
    }
}

fn config(half_open: usize, resets: u32, listen: bool) -> Config {
    let mut config = Config::default();
    config.half_open_limit(half_open).expect("a limit").resets_per_second(resets).listen(listen);
    config
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x54),
        ..ProptestConfig::default()
    })]

    /// S4: whatever comes in whatever order from an address that has not proven itself, what goes to it is not
    /// more, in bytes and in packets, at any time. Entries and cookies, listening or not.
    #[test]
    fn an_address_that_has_not_proven_itself_gets_no_more_than_it_sent(
        steps in prop::collection::vec(step(), 1..60),
        half_open in prop_oneof![Just(1usize), Just(4096)],
        listen in any::<bool>(),
    ) {
        let from = SocketAddr::from(([198, 51, 100, 7], 6881));
        let mut reflector = Reflector::new(config(half_open, 1_000_000, listen));
        if half_open == 1 {
            // Somebody else has the only entry: from here on cookies.
            let other = Raw { id: 9, seq: 9, ..Raw::new(Kind::Syn) }.encode();
            let _ = reflector.endpoint.handle_datagram(reflector.now, ([192, 0, 2, 1], 1).into(), &other);
            let mut sink = Vec::new();
            while reflector.endpoint.poll_transmit(reflector.now, SEGMENTS, &mut sink).is_some() {}
        }
        for step in &steps {
            reflector.act(from, step)?;
            // Guessing the number, once in 32 768 tries, would be proof.
            if reflector.endpoint.open_connections() > 0 {
                return Ok(());
            }
        }
        reflector.drain()?;
        for _ in 0..10 {
            reflector.now += Duration::from_secs(20);
            reflector.drain()?;
        }
        prop_assert!(reflector.most <= 20);
        prop_assert!(reflector.endpoint.is_idle());
    }
}

/// S5: a million random datagrams within a second, from anywhere.
#[test]
fn a_million_random_datagrams_in_a_second_get_a_hundred_resets_and_cost_no_memory() {
    const COUNT: u64 = 1_000_000;
    let mut reflector = Reflector::new(Config::default());
    let mut rng = Random::new(5, 1);
    let mut datagram = [0; 64];
    let mut sent = Vec::with_capacity(64 << 10);
    let mut before = 0;
    let mut out = 0;
    for n in 0..COUNT {
        if n == 1_000 {
            before = counting::held(); // the limiter has its table
        }
        let len = rng.range(0..=64) as usize;
        for chunk in datagram.chunks_mut(8) {
            chunk.copy_from_slice(&rng.bits().to_le_bytes());
        }
        if n % 2 == 0 {
            datagram[0] = (datagram[0] & 3) << 4 | 1; // uTP, and no SYN: those have a test of their own
            datagram[1] = 0;
        } else if datagram[0] == 0x41 {
            datagram[0] = 0x42;
        }
        let from = SocketAddr::from(((rng.bits() as u32).to_be_bytes(), 1 + rng.bits() as u16 % 60_000));
        reflector.receive(from, &datagram[..len]);
        if n % 64 == 63 {
            reflector.now += Duration::from_micros(64);
            while reflector.endpoint.poll_transmit(reflector.now, SEGMENTS, &mut sent).is_some() {
                out += 1;
                sent.clear();
            }
        }
    }
    let grown = counting::held() - before;
    let stats = reflector.endpoint.stats();
    println!("{out} RESETs for {COUNT} datagrams in a second, {} suppressed", stats.resets_suppressed);
    println!("{grown} bytes of memory more");
    // What one second's worth of tokens holds at the start, and one second of the rate.
    assert!((100..=200).contains(&out), "{out}");
    assert_eq!((out, grown), (stats.resets_sent, 0));
}
