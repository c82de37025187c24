//! The bottleneck: moves packets between two TUN devices, and looks at what waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::{TimeSpec, TimeValLike};

use crate::sim::Random;

/// Both directions of a link.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Bits per second, of IP packets.
    pub rate: u64,
    /// Round trip of the empty path.
    pub rtt: Duration,
    /// Bytes that may wait, each way.
    pub queue: usize,
    /// Probability that a packet is lost, each way.
    pub loss: f64,
}

/// Queueing delays of the packets of one protocol from the first host to the second, in milliseconds.
#[derive(Debug, Default)]
pub struct Waits {
    waits: Mutex<Vec<f32>>,
}

impl Waits {
    /// Mean and 95th percentile, of those from now on next time.
    pub fn take(&self) -> (f64, f64) {
        let mut waits = self.waits.lock().map(|mut waits| std::mem::take(&mut *waits)).unwrap_or_default();
        waits.sort_by(f32::total_cmp);
        let mean = waits.iter().map(|&wait| f64::from(wait)).sum::<f64>() / waits.len().max(1) as f64;
        let p95 = waits.get(waits.len() * 95 / 100).copied().unwrap_or(0.0);
        (mean, f64::from(p95))
    }

    fn add(&self, wait: Duration) {
        if let Ok(mut waits) = self.waits.lock() {
            waits.push(wait.as_secs_f32() * 1e3);
        }
    }
}

/// When, a number that tells packets apart, to which side, what.
type Flying = (Instant, u64, usize, Vec<u8>);

/// Moves packets until told to stop.
#[allow(clippy::disallowed_methods)] // this is about real time
pub fn run(link: Link, mut tuns: [&File; 2], waits: &Waits, stop: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed, 0);
    let mut free_at = [Instant::now(); 2];
    let mut flying: BinaryHeap<Reverse<Flying>> = BinaryHeap::new();
    let mut serial = 0;
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while flying.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, to, packet))) = flying.pop() else { break };
            // A full device loses packets, as any does.
            let _ = tuns[to].write(&packet);
        }
        for from in 0..2 {
            for _ in 0..BATCH {
                let Ok(len) = tuns[from].read(&mut buffer) else { break };
                let now = Instant::now();
                let waiting = free_at[from].saturating_duration_since(now);
                let queued = waiting.as_secs_f64() * link.rate as f64 / 8.0;
                if random.chance(link.loss) || queued + len as f64 > link.queue as f64 {
                    continue;
                }
                if from == 0 {
                    waits.add(waiting);
                }
                let takes = Duration::from_nanos(len as u64 * 8_000_000_000 / link.rate);
                free_at[from] = free_at[from].max(now) + takes;
                serial += 1;
                let at = free_at[from] + link.rtt / 2;
                flying.push(Reverse((at, serial, 1 - from, buffer[..len].to_vec())));
            }
        }
        let next =
            flying.peek().map_or(IDLE, |Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
        let mut readable = tuns.map(|tun| PollFd::new(tun.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut readable, Some(TimeSpec::nanoseconds(next.min(IDLE).as_nanos() as i64)), None);
    }
}

/// Packets taken from one side at a time.
const BATCH: usize = 64;

/// How often to look whether to stop.
const IDLE: Duration = Duration::from_millis(50);
