//! Time that the core takes, without sockets: `cargo bench -p utp-tests`. Instructions, which do not depend on the
//! machine, are the `core-bench` program's.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use utp_proto::{Config, Endpoint};
use utp_tests::core_bench::Bench;

fn main() {
    divan::main();
}

/// Full packets from one endpoint to the other and their acknowledgements back, beside so many idle connections; an
/// item is a DATA packet, both sides taken together.
#[divan::bench(args = [0, 1_000, 10_000])]
fn bulk_beside(bencher: Bencher<'_, '_>, idle: usize) {
    let mut bench = Bench::beside(idle);
    let (packets, ..) = bench.run(1);
    bencher.counter(ItemsCount::new(packets)).bench_local(|| bench.run(1));
}

/// From the SYN to a connection accepted and confirmed, and its abrupt end.
#[divan::bench]
fn handshake(bencher: Bencher<'_, '_>) {
    let (mut now, mut pair) = pair();
    bencher.bench_local(|| {
        now += Duration::from_millis(1);
        let handle = pair[0].connect(now, addr(1)).expect("a free id");
        exchange(&mut pair, now);
        let accepted = pair[1].accept().expect("a connection");
        pair[0].connection(handle).expect("open").abort();
        exchange(&mut pair, now);
        accepted
    });
}

/// A datagram that belongs to nobody, and is answered with a RESET within the limit.
#[divan::bench]
fn stray_datagram(bencher: Bencher<'_, '_>) {
    let (now, mut pair) = pair();
    let mut datagram = [0u8; 20];
    datagram[0] = 0x21;
    let mut out = Vec::new();
    bencher.bench_local(|| {
        let verdict = pair[1].handle_datagram(now, addr(0), &datagram);
        out.clear();
        while pair[1].poll_transmit(now, SEGMENTS, &mut out).is_some() {}
        verdict
    });
}

fn pair() -> (Instant, [Endpoint; 2]) {
    let now = Instant::now();
    let config = Arc::new(Config::default());
    (now, [1, 2].map(|seed| Endpoint::new(Arc::clone(&config), [seed; 32], now)))
}

/// Until neither has anything to say.
fn exchange(pair: &mut [Endpoint; 2], now: Instant) {
    let mut out = Vec::new();
    loop {
        let mut quiet = true;
        for from in [0, 1] {
            out.clear();
            while let Some(transmit) = pair[from].poll_transmit(now, SEGMENTS, &mut out) {
                quiet = false;
                for datagram in out.chunks(transmit.segment_size) {
                    let _ = pair[1 - from].handle_datagram(now, addr(from as u8), datagram);
                }
                out.clear();
            }
            for end in &mut *pair {
                while end.poll_event().is_some() {}
            }
        }
        if quiet {
            return;
        }
    }
}

fn addr(end: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end], 6881))
}

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
