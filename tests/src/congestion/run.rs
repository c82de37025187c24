//! Flows over one bottleneck, in virtual time, looked at every tenth of a second.

use std::time::Duration;

use utp_proto::Config;

use super::Kind;
use crate::sim::{ConnId, Ending, Finish, HostId, Link, LinkId, LinkStats, Random, Script, Waits, World};

/// Flows over one bottleneck.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is, for file names and headings.
    pub name: String,
    /// Of the bottleneck, bits per second with IP and UDP headers.
    pub rate: u64,
    /// Round trip of the empty path.
    pub rtt: Duration,
    /// Of the bottleneck.
    pub queue: Queue,
    /// Probability that a datagram is lost, each way.
    pub loss: f64,
    /// The round trip changes to this, at this time.
    pub step: Option<(Duration, Duration)>,
    /// Who sends.
    pub flows: Vec<Flow>,
    /// How long.
    pub length: Duration,
    /// Buffers and packets in flight as by default, instead of large enough for the path.
    pub default_buffers: bool,
    /// Of everything random.
    pub seed: u64,
}

/// Drop-tail queue in front of the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Queue {
    /// So many bandwidth-delay products, 64 KiB at least: a queue of a few packets is a case of its own.
    Bdp(f64),
    /// Bytes.
    Bytes(usize),
    /// Datagrams.
    Packets(usize),
}

/// One sender.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Its congestion control.
    pub kind: Kind,
    /// When it connects.
    pub start: Duration,
    /// When it stops dead.
    pub stop: Option<Duration>,
    /// What it has to send; `None`: always something.
    pub bytes: Option<u64>,
}

impl Flow {
    /// One that always has something to send.
    #[must_use]
    pub fn new(kind: Kind, start: Duration) -> Self {
        Self { kind, start, stop: None, bytes: None }
    }
}

impl Scenario {
    /// A link with a queue of one bandwidth-delay product and nobody on it.
    #[must_use]
    pub fn new(name: impl Into<String>, mbit: u64, rtt_ms: u64) -> Self {
        Self {
            name: name.into(),
            rate: mbit * 1_000_000,
            rtt: Duration::from_millis(rtt_ms),
            queue: Queue::Bdp(1.0),
            loss: 0.0,
            step: None,
            flows: Vec::new(),
            length: Duration::from_secs(60),
            default_buffers: false,
            seed: 1,
        }
    }

    /// The same with other randomness, and, but for seed 1, other phases: each flow starts up to a second later.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        for flow in self.flows.iter_mut().filter(|_| seed != 1) {
            flow.start += random.duration(Duration::from_secs(1));
        }
        self.seed = seed;
        self
    }

    /// Bytes in flight that fill the path and leave the queue empty.
    #[must_use]
    pub fn bdp(&self) -> usize {
        (self.rate as f64 / 8.0 * self.rtt.as_secs_f64()) as usize
    }

    fn link(&self) -> Link {
        let link = Link::new(self.rate, self.rtt / 2).loss(self.loss);
        let mut link = match self.queue {
            Queue::Bdp(n) => link.queue(((self.bdp() as f64 * n) as usize).max(64 << 10)),
            Queue::Bytes(bytes) => link.queue(bytes),
            Queue::Packets(packets) => link.queue(usize::MAX).queue_packets(packets),
        };
        if let Some((at, rtt)) = self.step {
            link.delay_steps.push((at, rtt.saturating_sub(self.rtt / 2)));
        }
        link
    }

    /// Twice what path and queue hold, within reason: memory, not congestion control, is what the defaults
    /// limit on long fat paths.
    fn config(&self, kind: Kind) -> Config {
        let mut config = Config::default();
        config.congestion(kind.factory()).keep_alive(None).expect("none is allowed");
        if !self.default_buffers {
            let rtt = self.rtt.max(self.step.map_or(Duration::ZERO, |(_, rtt)| rtt));
            let path = self.rate as f64 / 8.0 * rtt.as_secs_f64();
            let queue = match self.queue {
                Queue::Bdp(n) => path * n,
                Queue::Bytes(bytes) => bytes as f64,
                Queue::Packets(_) => path,
            };
            let buffer = (2.0 * (path + queue)).clamp(2e6, 1e8) as usize;
            let set = |config: &mut Config| {
                config.send_buffer(buffer)?.receive_buffer(buffer)?;
                config.max_packets_in_flight(16_383)?.reorder_window(16_384)?.max_sack(252)?;
                Ok::<(), utp_proto::ConfigError>(())
            };
            set(&mut config).expect("within range");
        }
        config
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Run {
        let mut world = World::new(self.seed);
        world.without_monitor();
        let bottleneck = world.link(self.link());
        let mut under_way: Vec<Running> = self.flows.iter().map(|_| Running::default()).collect();
        let hosts: Vec<(HostId, HostId)> = self
            .flows
            .iter()
            .map(|flow| {
                let (a, b) = (world.host(self.config(flow.kind)), world.host(self.config(flow.kind)));
                let back = world.link(Link::wire(self.rtt / 2).loss(self.loss));
                world.route(a, b, &[bottleneck]);
                world.route(b, a, &[back]);
                (a, b)
            })
            .collect();
        let mut samples = Vec::new();
        while world.now() < self.length {
            for ((flow, running), (a, b)) in self.flows.iter().zip(&mut under_way).zip(&hosts) {
                if running.conn.is_none() && world.now() >= flow.start {
                    running.conn = Some(world.dial(*a, *b, flow.script(), Script::receive()));
                }
            }
            world.run_for(TICK);
            samples.push(self.look(&mut world, bottleneck, &hosts, &mut under_way));
            let over =
                |(flow, running): (&Flow, &Running)| flow.bytes.is_some_and(|bytes| running.read >= bytes);
            if self.flows.iter().zip(&under_way).all(over) {
                break;
            }
        }
        let ends = under_way.iter().map(|running| running.end(&world)).collect();
        Run { scenario: self.clone(), samples, ends }
    }

    fn look(
        &self,
        world: &mut World,
        bottleneck: LinkId,
        hosts: &[(HostId, HostId)],
        under_way: &mut [Running],
    ) -> Sample {
        let mut sample = Sample {
            at: world.now(),
            cwnd: Vec::new(),
            base: Vec::new(),
            goodput: Vec::new(),
            resent: Vec::new(),
            link: world.take_link_stats(bottleneck),
        };
        for (running, (a, _)) in under_way.iter_mut().zip(hosts) {
            let Some(conn) = running.conn else {
                sample.cwnd.push(0);
                sample.base.push(0);
                sample.goodput.push(0.0);
                sample.resent.push(0);
                continue;
            };
            let read = world.accepted(conn).map_or(0, |side| side.read);
            sample.goodput.push((read - running.read) as f64 * 8.0 / TICK.as_secs_f64());
            running.read = read;
            let handle = world.dialer(conn).handle;
            let stats = world.at(*a).endpoint.connection(handle).map(|connection| connection.stats());
            sample.cwnd.push(stats.map_or(0, |stats| stats.cwnd));
            sample.base.push(stats.map_or(0, |stats| stats.base_delay.as_micros() as u64));
            let resent = stats.map_or(running.resent, |stats| stats.retransmits);
            sample.resent.push(resent - running.resent);
            running.resent = resent;
        }
        sample
    }
}

impl Flow {
    fn script(&self) -> Script {
        let script = Script::send(self.bytes.unwrap_or(1 << 50)).chunk(256 << 10);
        match self.stop {
            Some(stop) => script.finish(Finish::Never).ending(stop, Ending::Abort),
            None => script,
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    conn: Option<ConnId>,
    read: u64,
    resent: u64,
}

impl Running {
    fn end(&self, world: &World) -> (Duration, Duration, u64) {
        let Some(conn) = self.conn else { return Default::default() };
        let last = world.accepted(conn).map_or(Duration::ZERO, |side| side.last_read);
        (world.dialer(conn).connected.unwrap_or_default(), last, self.read)
    }
}

/// What was seen in a tenth of a second.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its end.
    pub at: Duration,
    /// Congestion window of each flow at its end, bytes.
    pub cwnd: Vec<u64>,
    /// What each flow takes for the delay of the empty path, microseconds; in a frame of its own.
    pub base: Vec<u64>,
    /// Payload delivered to each flow's receiver, bits per second.
    pub goodput: Vec<f64>,
    /// Packets that each flow sent again.
    pub resent: Vec<u64>,
    /// What the bottleneck did.
    pub link: LinkStats,
}

/// What was seen of a scenario.
#[derive(Debug, Clone)]
pub struct Run {
    /// Which.
    pub scenario: Scenario,
    /// One per tenth of a second.
    pub samples: Vec<Sample>,
    /// Of each flow: when it was connected, when its receiver last read something, and how much in all.
    pub ends: Vec<(Duration, Duration, u64)>,
}

impl Run {
    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Sample> {
        let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
        self.samples.iter().filter(move |sample| sample.at > from && sample.at <= to)
    }

    /// Payload bits per second of a flow in these seconds.
    #[must_use]
    pub fn goodput(&self, flow: usize, from: u64, to: u64) -> f64 {
        let (sum, n) = self.between(from, to).fold((0.0, 0), |(s, n), x| (s + x.goodput[flow], n + 1));
        sum / f64::from(n.max(1))
    }

    /// Part of the bottleneck's capacity that was used in these seconds.
    #[must_use]
    pub fn utilisation(&self, from: u64, to: u64) -> f64 {
        let (bytes, n) = self.between(from, to).fold((0, 0), |(s, n), x| (s + x.link.bytes, n + 1));
        bytes as f64 * 8.0 / (f64::from(n.max(1)) * TICK.as_secs_f64()) / self.scenario.rate as f64
    }

    /// Queueing delays in these seconds.
    #[must_use]
    pub fn waits(&self, from: u64, to: u64) -> Waits {
        self.between(from, to).fold(Waits::default(), |mut all, sample| {
            all.merge(&sample.link.waits);
            all
        })
    }

    /// Part of the datagrams offered to the bottleneck in these seconds that it dropped because it was full.
    #[must_use]
    pub fn overflow(&self, from: u64, to: u64) -> f64 {
        let (dropped, offered) =
            self.between(from, to).fold((0, 0), |(d, o), x| (d + x.link.overflows, o + x.link.offered));
        dropped as f64 / offered.max(1) as f64
    }

    /// From second `from` on, how long until one flow's goodput, averaged over a second, is this many bits
    /// per second.
    #[must_use]
    pub fn time_to(&self, flow: usize, from: u64, goodput: f64) -> Option<Duration> {
        let from = Duration::from_secs(from);
        let later: Vec<&Sample> = self.samples.iter().filter(|sample| sample.at > from).collect();
        let window = (1.0 / TICK.as_secs_f64()) as usize;
        later
            .windows(window)
            .find(|w| w.iter().map(|s| s.goodput[flow]).sum::<f64>() / w.len() as f64 >= goodput)
            .map(|w| w[window - 1].at - from)
    }

    /// Jain's index of the flows' goodput in these seconds, and the smallest share in parts of a fair one.
    #[must_use]
    pub fn fairness(&self, from: u64, to: u64) -> (f64, f64) {
        let flows: Vec<f64> =
            (0..self.scenario.flows.len()).map(|flow| self.goodput(flow, from, to)).collect();
        let (sum, squares) = flows.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        let n = flows.len() as f64;
        let least = flows.iter().copied().fold(f64::INFINITY, f64::min);
        (sum * sum / (n * squares).max(1.0), least / (sum / n).max(1.0))
    }

    /// Payload bits per second of a flow that has come to its end, from its connection to the last byte.
    #[must_use]
    pub fn transfer_rate(&self, flow: usize) -> f64 {
        let (connected, last, bytes) = self.ends[flow];
        bytes as f64 * 8.0 / last.saturating_sub(connected).as_secs_f64().max(1e-6)
    }
}

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
