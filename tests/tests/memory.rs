//! What connections cost, counted by the allocator, and the budget of an endpoint.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint};
use utp_tests::counting::{Counting, held};
use utp_tests::sim::{Link, Reading, Script, World};

#[global_allocator]
static COUNTING: Counting = Counting;

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

fn addr(end: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end], 6881))
}

/// Lets each of two endpoints take what the other one sends, until both are silent.
fn exchange(ends: &mut [Endpoint; 2], now: Instant) {
    let mut buf = Vec::new();
    loop {
        let mut sent = 0;
        for from in 0..2 {
            while let Some(transmit) = ends[from].poll_transmit(now, SEGMENTS, &mut buf) {
                for segment in buf.chunks(transmit.segment_size) {
                    let _ = ends[1 - from].handle_datagram(now, addr(from as u8), segment);
                    sent += 1;
                }
                buf.clear();
            }
            while ends[from].poll_event().is_some() {}
        }
        if sent == 0 {
            return;
        }
    }
}

fn connect_all(count: usize) -> (Instant, [Endpoint; 2], Vec<[ConnectionHandle; 2]>) {
    let mut now = Instant::now();
    let mut config = Config::default();
    config.backlog(count).unwrap().half_open_limit(count).unwrap();
    let config = Arc::new(config);
    let mut ends = [1, 2].map(|seed| Endpoint::new(Arc::clone(&config), [seed; 32], now));
    let dialed: Vec<_> = (0..count).map(|_| ends[0].connect(now, addr(1)).unwrap()).collect();
    exchange(&mut ends, now);
    now += Duration::from_millis(20);
    exchange(&mut ends, now);
    let pairs = dialed.into_iter().map(|dialed| [dialed, ends[1].accept().unwrap()]).collect();
    (now, ends, pairs)
}

#[test]
fn an_idle_connection_takes_less_than_two_kibibytes_and_gives_back_what_it_used() {
    const COUNT: usize = 1_000;
    /// What both endpoints keep for the next transfer, whoever that is.
    const SPARE: isize = 1 << 20;
    let before = held();
    let (mut now, mut ends, pairs) = connect_all(COUNT);
    let each = |what: &str, ends: &[Endpoint; 2], shared: isize| {
        assert!(ends.iter().all(|end| end.open_connections() == COUNT));
        let each = (held() - before - shared) / (2 * COUNT as isize);
        println!("{what}: {each} bytes of heap each");
        assert!(each <= 2048, "{what}: {each} bytes each");
    };
    each("new", &ends, 0);
    // Traffic on all of them, and rest.
    let mut buf = vec![0; 100_000];
    for [dialed, accepted] in &pairs {
        let mut left = buf.len();
        assert_eq!(ends[0].connection(*dialed).unwrap().write(&buf.clone()).unwrap(), left);
        while left > 0 {
            now += Duration::from_millis(6);
            exchange(&mut ends, now);
            ends.iter_mut().for_each(|end| end.handle_timeout(now));
            if let Ok(read) = ends[1].connection(*accepted).unwrap().read(&mut buf) {
                left -= read;
            }
        }
    }
    for _ in 0..20 {
        now += Duration::from_millis(200);
        ends.iter_mut().for_each(|end| end.handle_timeout(now));
        exchange(&mut ends, now);
    }
    drop(buf);
    each("after traffic", &ends, SPARE);
}

#[test]
fn readers_that_stop_cannot_make_an_endpoint_hold_more_than_its_budget() {
    const BUDGET: usize = 4 << 20;
    const CONNECTIONS: usize = 100;
    let mut world = World::new(11);
    let a = world.host_default();
    let mut config = Config::default();
    config.memory_budget(BUDGET).unwrap();
    let b = world.host(config);
    world.join(a, b, Link::new(1_000_000_000, Duration::from_millis(5)));
    let resume = Duration::from_secs(30);
    for _ in 0..CONNECTIONS {
        world.dial(a, b, Script::send(1 << 20), Script::receive().reading(Reading::Pause(0, resume)));
    }
    let mut most = 0;
    while world.now() < resume {
        world.run_for(Duration::from_millis(100));
        most = most.max(world.at(b).endpoint.stats().memory as usize);
    }
    // 24 KiB: a share of 16 KiB, and what is always accepted beyond a window.
    assert!(most > BUDGET && most <= BUDGET + CONNECTIONS * (24 << 10), "{most}");
    world.run_to_the_end(Duration::from_secs(300));
    assert!(world.all_sides().all(|side| side.is_clean()));
    assert_eq!(world.at(b).endpoint.stats().memory, 0);
}

#[test]
fn writers_cannot_make_an_endpoint_hold_more_than_its_budget() {
    const BUDGET: usize = 4 << 20;
    let mut world = World::new(12);
    let mut config = Config::default();
    config.memory_budget(BUDGET).unwrap();
    let a = world.host(config);
    let b = world.host_default();
    world.join(a, b, Link::new(50_000_000, Duration::from_millis(20)));
    for _ in 0..50 {
        world.dial(a, b, Script::send(1 << 20), Script::receive());
    }
    let mut most = 0;
    while !world.is_over() && world.now() < Duration::from_secs(120) {
        world.run_for(Duration::from_millis(50));
        most = most.max(world.at(a).endpoint.stats().memory as usize);
    }
    // The write that uses the budget up may be a whole send buffer.
    assert!(most > BUDGET / 2 && most <= BUDGET + (1 << 20) + 50 * (16 << 10), "{most}");
    assert!(world.all_sides().all(|side| side.is_clean()));
}
