//! Two endpoints joined by nothing but memory and a clock that the program turns itself: how to test a
//! protocol on top of the core, deterministically and far faster than real time.
//!
//! ```text
//! cargo run -p utp-proto --example in_memory
//! ```
#![allow(clippy::disallowed_methods)] // the clock is read once, for an origin

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, Endpoint, Event, Verdict};

const ONE_WAY: Duration = Duration::from_millis(20);

fn main() {
    let start = Instant::now();
    let mut now = start; // from here on only the loop below moves it
    let config = Arc::new(Config::default());
    let addresses = [SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 1))];
    let mut ends = [1, 2].map(|seed| Endpoint::new(Arc::clone(&config), [seed; 32], now));
    let mut wire: VecDeque<(Instant, usize, Vec<u8>)> = VecDeque::new();

    let client = ends[0].connect(now, addresses[1]).expect("a valid address");
    let message = b"all of this happened in no time";
    let mut connection = ends[0].connection(client).expect("just made");
    connection.write(message).expect("an empty send queue");
    connection.finish();

    let mut received = Vec::new();
    loop {
        for from in 0..2 {
            let mut buf = Vec::new();
            while let Some(transmit) = ends[from].poll_transmit(now, NonZeroUsize::MIN, &mut buf) {
                assert_eq!(transmit.destination, addresses[1 - from]);
                wire.push_back((now + ONE_WAY, 1 - from, std::mem::take(&mut buf)));
            }
            while let Some((handle, event)) = ends[from].poll_event() {
                println!("{:>9?} end {from}: {event:?}", now - start);
                match event {
                    Event::Incoming => drop(ends[from].accept()),
                    Event::Readable => {
                        let Some(mut connection) = ends[from].connection(handle) else { continue };
                        let mut buf = [0; 64];
                        while let Ok(n @ 1..) = connection.read(&mut buf) {
                            received.extend_from_slice(&buf[..n]);
                        }
                    }
                    Event::Finished => ends[from].connection(handle).into_iter().for_each(|mut c| c.finish()),
                    _ => {}
                }
            }
        }
        let arrival = wire.front().map(|(at, ..)| *at);
        let timers = ends.iter().filter_map(Endpoint::poll_timeout);
        let Some(next) = timers.chain(arrival).min() else { break };
        now = now.max(next);
        while wire.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, to, datagram) = wire.pop_front().expect("there is one");
            assert_eq!(ends[to].handle_datagram(now, addresses[1 - to], &datagram), Verdict::Consumed);
        }
        ends.iter_mut().for_each(|end| end.handle_timeout(now));
    }
    assert_eq!(received, message);
    println!("{:?} of protocol time, {} bytes", now - start, received.len());
}
