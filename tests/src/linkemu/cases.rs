//! What is measured over the emulated link, and what others had there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::flows::{Control, Flow, Speaks};
use super::host::Host;
use super::link::{self, Link, Waits};

/// One link, and who is on it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is.
    pub name: &'static str,
    link: Link,
    /// What is moved; no bound if there is none.
    bytes: Option<u64>,
    /// Whether a TCP flow joins.
    against_tcp: bool,
    /// libutp, librqbit-utp and TCP (CUBIC) in the same place, as measured in October 2026 with the same emulator.
    pub others: [&'static str; 3],
}

/// What was measured. A figure that the case is not about is `None`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    /// Of the flow: payload, Mbit/s.
    pub goodput: f64,
    /// Queueing delay of all packets towards the receiver, milliseconds.
    pub queueing_mean: f64,
    /// See `queueing_mean`.
    pub queueing_p95: f64,
    /// Part of both flows' goodput that TCP had.
    pub tcp_share: Option<f64>,
}

const fn case(
    name: &'static str,
    (mbit, rtt, queue_kib, loss): (u64, u64, usize, f64),
    others: [&'static str; 3],
) -> Case {
    let link = Link { rate: mbit * 1_000_000, rtt: Duration::from_millis(rtt), queue: queue_kib << 10, loss };
    Case { name, link, bytes: None, against_tcp: false, others }
}

/// The cases.
pub const CASES: [Case; 6] = [
    case(
        "20 Mbit/s, 50 ms, 512 KiB",
        (20, 50, 512, 0.0),
        ["15.4, 22/45 ms", "13.8, 116/208 ms", "18.9, 124/208 ms"],
    ),
    case("the same, 1 % lost", (20, 50, 512, 0.01), ["3.8", "2.4", "2.3"]),
    case("5 % lost, 256 KiB", (20, 50, 256, 0.05), ["0.8", "1.0", "0.8"]),
    Case {
        bytes: Some(40 << 20),
        ..case("100 Mbit/s, 100 ms, 2 MiB: 40 MiB", (100, 100, 2048, 0.0), ["19", "52", "83"])
    },
    Case {
        against_tcp: true,
        ..case("against TCP: 20 Mbit/s, 30 ms, 256 KiB", (20, 30, 256, 0.0), ["TCP 0.78", "TCP 0.72", ""])
    },
    Case {
        against_tcp: true,
        ..case("against TCP: 20 Mbit/s, 80 ms, 512 KiB", (20, 80, 512, 0.0), ["TCP 0.89", "TCP 0.71", ""])
    },
];

impl Case {
    /// Whether TCP beside itself says nothing.
    #[must_use]
    pub fn is_against_tcp(&self) -> bool {
        self.against_tcp
    }

    /// Measures it, in about half a minute; TCP that joins uses `beside`.
    ///
    /// # Errors
    /// If there can be no hosts, or TCP has no such control.
    pub fn measure(&self, speaks: Speaks, beside: Control) -> io::Result<Measured> {
        let (a, b) = (Host::new(1)?, Host::new(2)?);
        for speaks in [speaks, Speaks::Tcp(beside)] {
            if let Speaks::Tcp(control) = speaks {
                a.ask(move || control.socket().map(drop))??;
            }
        }
        let (waits, stop) = (Waits::default(), AtomicBool::new(false));
        Ok(thread::scope(|scope| {
            scope.spawn(|| link::run(self.link, [&a.tun, &b.tun], &waits, &stop, 1));
            let measured = if self.against_tcp {
                self.beside_tcp([speaks, Speaks::Tcp(beside)], [&a, &b], &waits)
            } else {
                self.alone(speaks, [&a, &b], &waits)
            };
            stop.store(true, Ordering::Relaxed);
            measured
        }))
    }

    #[allow(clippy::disallowed_methods)] // this is about real time
    fn alone(&self, speaks: Speaks, hosts: [&Host; 2], waits: &Waits) -> Measured {
        let time = self.bytes.map_or(ALONE, |_| MOST);
        let flow = Flow::start(speaks, hosts, self.bytes, time + ALONE);
        while flow.received() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        while start.elapsed() < time && self.bytes.is_none_or(|bytes| flow.received() < bytes) {
            thread::sleep(Duration::from_millis(2));
        }
        let goodput = flow.received() as f64 * 8e-6 / start.elapsed().as_secs_f64();
        let (queueing_mean, queueing_p95) = waits.take();
        Measured { goodput, queueing_mean, queueing_p95, tcp_share: None }
    }

    fn beside_tcp(&self, [ours, tcp]: [Speaks; 2], hosts: [&Host; 2], waits: &Waits) -> Measured {
        let ours = Flow::start(ours, hosts, None, 2 * SETTLE + SHARED);
        thread::sleep(SETTLE);
        let tcp = Flow::start(tcp, hosts, None, SETTLE + SHARED);
        thread::sleep(SETTLE);
        let before = [ours.received(), tcp.received()];
        waits.take();
        thread::sleep(SHARED);
        let (ours, tcp) = (ours.received() - before[0], tcp.received() - before[1]);
        let (queueing_mean, queueing_p95) = waits.take();
        let goodput = ours as f64 * 8e-6 / SHARED.as_secs_f64();
        let share = tcp as f64 / (ours + tcp).max(1) as f64;
        Measured { goodput, queueing_mean, queueing_p95, tcp_share: Some(share) }
    }
}

/// Alone on the link.
const ALONE: Duration = Duration::from_secs(20);

/// For a transfer, at most.
const MOST: Duration = Duration::from_secs(60);

/// Before the next flow comes, and before both are measured...
const SETTLE: Duration = Duration::from_secs(5);

/// ...for so long.
const SHARED: Duration = Duration::from_secs(30);
