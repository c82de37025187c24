//! A congestion controller of one's own, outside of the crate: first by itself, as a unit test would have it, then on a
//! connection over a path that loses packets, in virtual time.
//!
//! ```text
//! cargo run -p utp-proto --example own_controller
//! ```
#![allow(clippy::disallowed_methods)] // the clock is read once, for an origin

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::congestion::{Ack, Controller, ControllerFactory, Loss};
use utp_proto::{Config, ConnectionStats, Endpoint, Event};

/// Additive increase, multiplicative decrease: a packet more per round trip, half of it after a loss.
#[derive(Debug)]
struct Aimd {
    window: u64,
    mss: u64,
    /// When the window was halved last.
    halved: Option<Instant>,
}

impl Controller for Aimd {
    fn on_ack(&mut self, ack: &Ack) {
        if !ack.app_limited {
            self.window += self.mss * ack.bytes / self.window;
        }
    }

    fn on_loss(&mut self, loss: &Loss) {
        // What had been sent before that is lost to the old window: once per round trip is enough.
        if self.halved.is_none_or(|at| loss.sent > at) {
            self.window = (self.window / 2).max(2 * self.mss);
            self.halved = Some(loss.now);
        }
    }

    fn on_mss(&mut self, mss: usize) {
        self.mss = mss as u64;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn ssthresh(&self) -> u64 {
        self.window // there is no slow start
    }
}

/// Makes one for each connection.
#[derive(Debug)]
struct AimdConfig {
    initial_packets: u64,
}

impl ControllerFactory for AimdConfig {
    fn build(&self, _now: Instant, mss: usize) -> Box<dyn Controller> {
        let mss = mss as u64;
        Box::new(Aimd { window: self.initial_packets * mss, mss, halved: None })
    }
}

/// As in a unit test: told what a connection would tell it.
fn alone(start: Instant) {
    let mut controller = AimdConfig { initial_packets: 10 }.build(start, 1000);
    let mut ack = Ack::new(start + Duration::from_millis(20));
    (ack.bytes, ack.in_flight) = (10_000, 10_000);
    controller.on_ack(&ack);
    assert_eq!(controller.window(), 11_000);
    let mut loss = Loss::new(start + Duration::from_millis(40));
    (loss.bytes, loss.sent) = (1_000, start + Duration::from_millis(20));
    controller.on_loss(&loss);
    controller.on_loss(&loss);
    assert_eq!(controller.window(), 5_500);
}

/// 1 MB over 40 ms there and back; each `nth` datagram of the sender is lost. Its counters in the end.
fn transfer(start: Instant, nth: u64) -> ConnectionStats {
    const TOTAL: usize = 1_000_000;
    let one_way = Duration::from_millis(20);
    let mut config = Config::default();
    config.congestion(Arc::new(AimdConfig { initial_packets: 10 }));
    config.send_buffer(TOTAL).expect("within range");
    let config = Arc::new(config);
    let addresses = [SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 1))];
    let mut ends = [1, 2].map(|seed| Endpoint::new(Arc::clone(&config), [seed; 32], start));
    let mut wire: VecDeque<(Instant, usize, Vec<u8>)> = VecDeque::new();
    let (mut now, mut sent, mut received) = (start, 0, 0);

    let client = ends[0].connect(now, addresses[1]).expect("a valid address");
    let mut connection = ends[0].connection(client).expect("just made");
    assert_eq!(connection.write(&vec![7; TOTAL]).expect("an empty send queue"), TOTAL);
    connection.finish();
    loop {
        for (from, end) in ends.iter_mut().enumerate() {
            let mut buf = Vec::new();
            while end.poll_transmit(now, NonZeroUsize::MIN, &mut buf).is_some() {
                let datagram = std::mem::take(&mut buf);
                sent += u64::from(from == 0);
                if from == 1 || sent % nth != 0 {
                    wire.push_back((now + one_way, 1 - from, datagram));
                }
            }
            while let Some((handle, event)) = end.poll_event() {
                let Some(mut connection) = end.connection(handle) else { continue };
                match event {
                    Event::Incoming => drop(end.accept()),
                    Event::Readable => {
                        let mut buf = [0; 4096];
                        while let Ok(n @ 1..) = connection.read(&mut buf) {
                            received += n;
                        }
                    }
                    Event::Finished => connection.finish(),
                    Event::Closed { .. } if from == 0 => {
                        assert_eq!(received, TOTAL);
                        let stats = connection.stats();
                        println!(
                            "{received} bytes in {:?}, {} packets lost",
                            now - start,
                            stats.packets_lost
                        );
                        return stats;
                    }
                    _ => {}
                }
            }
        }
        let timers = ends.iter().filter_map(Endpoint::poll_timeout);
        let next = timers.chain(wire.front().map(|(at, ..)| *at)).min().expect("it is not over");
        now = now.max(next);
        while wire.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, to, datagram) = wire.pop_front().expect("there is one");
            let _ = ends[to].handle_datagram(now, addresses[1 - to], &datagram);
        }
        ends.iter_mut().for_each(|end| end.handle_timeout(now));
    }
}

fn main() {
    let start = Instant::now();
    alone(start);
    let (clean, lossy) = (transfer(start, u64::MAX), transfer(start, 50));
    println!("windows in the end: {} and {} bytes", clean.cwnd, lossy.cwnd);
    assert_eq!(clean.packets_lost, 0);
    assert!(clean.cwnd > 10 * 1_000, "it grew");
    assert!(lossy.packets_lost > 0 && lossy.cwnd < clean.cwnd, "and was halved");
}
