//! The tables. Each is a list of jobs; a job runs a scenario (and what it is compared with) and gives a row.

use std::time::Duration;

use serde::Serialize;

use super::{Flow, Kind, Queue, Run, Scenario};

/// One row of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which table.
    pub table: &'static str,
    /// Controller.
    pub controller: &'static str,
    /// Link and circumstances.
    pub case: String,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// A figure beside its target.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// In `unit`; the median if there are several runs.
    pub value: f64,
    /// The lowest and the highest of several runs.
    pub range: Option<(f64, f64)>,
    /// Of value and target.
    pub unit: &'static str,
    /// What it should be, if that is laid down.
    pub target: Option<Target>,
}

/// A bound.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Target {
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
}

impl Figure {
    fn at_least(name: &'static str, value: f64, unit: &'static str, bound: f64) -> Self {
        Self { name, value, range: None, unit, target: Some(Target::AtLeast(bound)) }
    }

    fn at_most(name: &'static str, value: f64, unit: &'static str, bound: f64) -> Self {
        Self { name, value, range: None, unit, target: Some(Target::AtMost(bound)) }
    }

    fn plain(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, range: None, unit, target: None }
    }

    /// Whether the target is met, in the worst run; `None` without one.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        let (low, high) = self.range.unwrap_or((self.value, self.value));
        self.target.map(|target| match target {
            Target::AtLeast(bound) => low >= bound,
            Target::AtMost(bound) => high <= bound,
        })
    }
}

/// Rows of the same job from different seeds as one.
///
/// # Panics
/// Without any row.
#[must_use]
pub fn merge(rows: Vec<Row>) -> Row {
    let mut merged = rows[0].clone();
    if rows.len() > 1 {
        for (i, figure) in merged.figures.iter_mut().enumerate() {
            let mut values: Vec<f64> = rows.iter().map(|row| row.figures[i].value).collect();
            values.sort_by(f64::total_cmp);
            figure.value = values[values.len() / 2];
            figure.range = Some((values[0], values[values.len() - 1]));
        }
    }
    merged
}

/// One row to be found out.
pub struct Job {
    /// Which table it belongs to.
    pub table: &'static str,
    /// Its controller.
    pub kind: Kind,
    /// Of the bottleneck, Mbit/s.
    pub mbit: u64,
    /// Of the empty path, milliseconds.
    pub rtt: u64,
    /// Link and circumstances.
    pub case: String,
    scenario: Scenario,
    work: Work,
}

type Work = Box<dyn Fn(Kind, &Scenario) -> (Vec<Figure>, Run) + Send>;

impl Job {
    fn new(
        table: &'static str,
        kind: Kind,
        scenario: Scenario,
        case: String,
        measure: impl Fn(Kind, &Scenario) -> (Vec<Figure>, Run) + Send + 'static,
    ) -> Self {
        let (mbit, rtt) = (scenario.rate / 1_000_000, scenario.rtt.as_millis() as u64);
        let scenario = Scenario { name: format!("{table}: {} {case}", kind.name()), ..scenario };
        Self { table, kind, mbit, rtt, case, scenario, work: Box::new(measure) }
    }

    /// Does it. Seed 1 starts flows at full seconds, others up to a second later.
    #[must_use]
    pub fn run(&self, seed: u64) -> (Row, Run) {
        let (figures, run) = (self.work)(self.kind, &self.scenario.clone().seeded(seed));
        (Row { table: self.table, controller: self.kind.name(), case: self.case.clone(), figures }, run)
    }
}

/// Names of the tables, in order.
pub const TABLES: [&str; 9] =
    ["alone", "cubic", "strangers", "several", "equals", "short-queue", "step", "loss", "transfer"];

/// All jobs of a controller.
#[must_use]
pub fn jobs(kind: Kind) -> Vec<Job> {
    let mut jobs = Vec::new();
    alone(kind, &mut jobs);
    against_cubic(kind, &mut jobs);
    strangers(kind, &mut jobs);
    several(kind, &mut jobs);
    equals(kind, &mut jobs);
    short_queue(kind, &mut jobs);
    step(kind, &mut jobs);
    loss(kind, &mut jobs);
    transfer(kind, &mut jobs);
    jobs
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The figures of a queue that one kind of controller has to itself.
fn queue_figures(kind: Kind, run: &Run, from: u64, to: u64) -> Vec<Figure> {
    let waits = run.waits(from, to);
    let (mean, p95) = (millis(waits.mean()), millis(waits.quantile(0.95)));
    match kind.target(run.scenario.rtt) {
        Some(target) => vec![
            Figure::at_most("queueing, mean", mean, "ms", millis(target)),
            Figure::at_most("p95", p95, "ms", millis(target) + 10.0),
        ],
        None => vec![Figure::plain("queueing, mean", mean, "ms"), Figure::plain("p95", p95, "ms")],
    }
}

fn alone(kind: Kind, jobs: &mut Vec<Job>) {
    for mbit in [10, 100, 1000] {
        for rtt in [5, 30, 100, 200] {
            let mut scenario = Scenario::new("", mbit, rtt);
            scenario.flows.push(Flow::new(kind, Duration::ZERO));
            let to = if mbit < 1000 { 60 } else { 45 };
            scenario.length = Duration::from_secs(to);
            let case = format!("{mbit} Mbit/s x {rtt} ms");
            jobs.push(Job::new("alone", kind, scenario, case, move |kind, scenario| {
                let run = scenario.run();
                let used = 100.0 * run.utilisation(30, to);
                let mut figures = vec![Figure::at_least("used after 30 s", used, "%", 95.0)];
                figures.extend(queue_figures(kind, &run, 30, to));
                figures.push(Figure::plain("used in 30 s", 100.0 * run.utilisation(0, 30), "%"));
                figures.push(Figure::plain("dropped", 100.0 * run.overflow(30, to), "%"));
                (figures, run)
            }));
        }
    }
}

fn against_cubic(kind: Kind, jobs: &mut Vec<Job>) {
    for (mbit, rtt, bdp) in [
        (1000, 30, 1.0),
        (1000, 30, 4.0),
        (1000, 80, 1.0),
        (1000, 80, 4.0),
        (100, 30, 1.0),
        (100, 30, 4.0),
        (100, 80, 1.0),
        (100, 80, 4.0),
        (20, 30, 1.0),
        (20, 30, 4.0),
        (20, 80, 1.0),
        (20, 80, 4.0),
        (10, 30, 1.0),
        (10, 80, 4.0),
    ] {
        for first in [true, false] {
            let mut scenario = Scenario::new("", mbit, rtt);
            scenario.queue = Queue::Bdp(bdp);
            let (ours, cubic) = if first { (0, 10) } else { (10, 0) };
            scenario.flows.push(Flow::new(kind, Duration::from_secs(ours)));
            let stop = Some(Duration::from_secs(STOP));
            scenario.flows.push(Flow { stop, ..Flow::new(Kind::Cubic, Duration::from_secs(cubic)) });
            scenario.length = Duration::from_secs(STOP + 20);
            let order = if first { "we first" } else { "CUBIC first" };
            let case = format!("{mbit} Mbit/s x {rtt} ms, {bdp} BDP, {order}");
            jobs.push(Job::new("cubic", kind, scenario, case, |_, scenario| shared(scenario)));
        }
    }
}

/// One flow of ours and one of CUBIC, beside CUBIC alone.
fn shared(scenario: &Scenario) -> (Vec<Figure>, Run) {
    let run = scenario.run();
    let mut alone = scenario.clone();
    alone.flows.remove(0);
    alone.length = Duration::from_secs(STOP);
    let reference = alone.run().goodput(0, 20, STOP);
    let kept = 100.0 * run.goodput(1, 20, STOP) / reference.max(1.0);
    let link = scenario.rate as f64 * PAYLOAD;
    let back = run.time_to(0, STOP, 0.9 * link).map_or(f64::INFINITY, |time| time.as_secs_f64());
    let figures = vec![
        Figure::at_least("CUBIC keeps", kept, "%", 90.0),
        Figure::at_most("back at 90 % after", back, "s", 10.0),
        Figure::plain("our share", 100.0 * run.goodput(0, 20, STOP) / link, "%"),
    ];
    (figures, run)
}

/// One flow beside one of another background transport.
fn strangers(kind: Kind, jobs: &mut Vec<Job>) {
    let cases = [(20, 30, 200), (20, 80, 200), (100, 30, 200), (100, 100, 200), (20, 50, 60), (100, 100, 60)];
    for other in [Kind::Ledbat, Kind::LedbatPp].into_iter().filter(|other| *other != kind) {
        for (mbit, rtt, queue) in cases {
            for first in [true, false] {
                let mut scenario = Scenario::new("", mbit, rtt);
                scenario.queue = Queue::Bytes((mbit * 125 * queue) as usize);
                let starts = if first { [0, 10] } else { [10, 0] };
                for (kind, start) in [kind, other].into_iter().zip(starts) {
                    scenario.flows.push(Flow::new(kind, Duration::from_secs(start)));
                }
                scenario.length = Duration::from_secs(190);
                let order = if first { "we first" } else { "we later" };
                let case =
                    format!("{}, {mbit} Mbit/s x {rtt} ms, queue of {queue} ms, {order}", other.name());
                jobs.push(Job::new("strangers", kind, scenario, case, move |_, scenario| {
                    let run = scenario.run();
                    let (ours, theirs) = (run.goodput(0, 70, 190), run.goodput(1, 70, 190));
                    let waits = run.waits(70, 190);
                    let figures = vec![
                        Figure::plain("our share", 100.0 * ours / (ours + theirs).max(1.0), "%"),
                        Figure::plain("used", 100.0 * run.utilisation(70, 190), "%"),
                        Figure::plain("queueing, mean", millis(waits.mean()), "ms"),
                        Figure::plain("p95", millis(waits.quantile(0.95)), "ms"),
                    ];
                    (figures, run)
                }));
            }
        }
    }
}

/// Two or four flows, as a program with several peers has, beside one LEDBAT or one CUBIC that comes after them or was
/// there before. Nothing was asked for.
fn several(kind: Kind, jobs: &mut Vec<Job>) {
    for (other, mbit, rtt, queue) in [
        (Kind::Ledbat, 20, 50, 200),
        (Kind::Ledbat, 100, 30, 200),
        (Kind::Cubic, 20, 50, 100),
        (Kind::Cubic, 100, 30, 60),
    ] {
        for (flows, first) in [(2, true), (2, false), (4, true), (4, false)] {
            if other == kind {
                continue;
            }
            let mut scenario = Scenario::new("", mbit, rtt);
            scenario.queue = Queue::Bytes((mbit * 125 * queue) as usize);
            let (ours, theirs) = if first { (0, 10) } else { (10, 0) };
            let flow = |kind, start| Flow::new(kind, Duration::from_secs(start));
            scenario.flows.extend((0..flows).map(|i| flow(kind, ours + i)));
            scenario.flows.push(flow(other, theirs));
            scenario.length = Duration::from_secs(190);
            let order = if first { "we first" } else { "we later" };
            let case = format!(
                "{flows} flows, {}, {mbit} Mbit/s x {rtt} ms, queue of {queue} ms, {order}",
                other.name()
            );
            jobs.push(Job::new("several", kind, scenario, case, move |_, scenario| {
                let run = scenario.run();
                let each: Vec<f64> = (0..flows as usize).map(|flow| run.goodput(flow, 70, 190)).collect();
                let (ours, theirs) = (each.iter().sum::<f64>(), run.goodput(flows as usize, 70, 190));
                let least = each.iter().copied().fold(f64::INFINITY, f64::min);
                let waits = run.waits(70, 190);
                let figures = vec![
                    Figure::plain("our share", 100.0 * ours / (ours + theirs).max(1.0), "%"),
                    Figure::plain(
                        "the least of ours, of its part",
                        100.0 * least * flows as f64 / ours.max(1.0),
                        "%",
                    ),
                    Figure::plain("used", 100.0 * run.utilisation(70, 190), "%"),
                    Figure::plain("queueing, mean", millis(waits.mean()), "ms"),
                    Figure::plain("p95", millis(waits.quantile(0.95)), "ms"),
                ];
                (figures, run)
            }));
        }
    }
}

fn equals(kind: Kind, jobs: &mut Vec<Job>) {
    for (flows, mbit, rtt) in [
        (2, 1000, 5),
        (2, 1000, 30),
        (2, 1000, 100),
        (2, 1000, 200),
        (8, 1000, 5),
        (8, 1000, 30),
        (8, 1000, 100),
        (8, 1000, 200),
        (2, 100, 5),
        (2, 100, 30),
        (2, 100, 100),
        (2, 100, 200),
        (8, 100, 5),
        (8, 100, 30),
        (8, 100, 100),
        (8, 100, 200),
        (2, 20, 50),
        (8, 20, 50),
        (2, 10, 5),
        (2, 10, 30),
        (2, 10, 100),
        (2, 10, 200),
        (8, 10, 5),
        (8, 10, 30),
        (8, 10, 100),
        (8, 10, 200),
    ] {
        let mut scenario = Scenario::new("", mbit, rtt);
        scenario.flows.extend((0..flows).map(|i| Flow::new(kind, Duration::from_secs(10 * i))));
        let last = 10 * (flows - 1);
        scenario.length = Duration::from_secs(last + 60);
        let case = format!("{flows} flows, {mbit} Mbit/s x {rtt} ms");
        jobs.push(Job::new("equals", kind, scenario, case, move |_, scenario| {
            let run = scenario.run();
            let (jain, least) = run.fairness(last + 40, last + 60);
            let waits = run.waits(last + 30, last + 60);
            let figures = vec![
                Figure::at_least("Jain", jain, "", 0.95),
                Figure::at_least("smallest share of a fair one", 100.0 * least, "%", 50.0),
                Figure::at_least("used", 100.0 * run.utilisation(last + 30, last + 60), "%", 95.0),
                Figure::plain("queueing, mean", millis(waits.mean()), "ms"),
                Figure::plain("p95", millis(waits.quantile(0.95)), "ms"),
            ];
            (figures, run)
        }));
    }
}

fn short_queue(kind: Kind, jobs: &mut Vec<Job>) {
    for mbit in [10, 100, 1000] {
        let mut scenario = Scenario::new("", mbit, 100);
        scenario.queue = Queue::Packets(10);
        scenario.flows.push(Flow::new(kind, Duration::ZERO));
        let case = format!("{mbit} Mbit/s x 100 ms, 10 packets");
        jobs.push(Job::new("short-queue", kind, scenario, case, |_, scenario| {
            let run = scenario.run();
            let mut cubic = scenario.clone();
            cubic.flows[0].kind = Kind::Cubic;
            let cubic = cubic.run().goodput(0, 10, 60);
            let ours = run.goodput(0, 10, 60);
            let figures = vec![
                Figure::at_least("of CUBIC's", 100.0 * ours / cubic.max(1.0), "%", 60.0),
                Figure::plain("goodput", ours / 1e6, "Mbit/s"),
                Figure::plain("CUBIC", cubic / 1e6, "Mbit/s"),
                Figure::plain("dropped", 100.0 * run.overflow(10, 60), "%"),
            ];
            (figures, run)
        }));
    }
}

fn step(kind: Kind, jobs: &mut Vec<Job>) {
    for mbit in [20, 100] {
        for (from, to, bound) in [(50, 100, 60.0), (100, 50, 5.0)] {
            let mut scenario = Scenario::new("", mbit, from);
            scenario.queue = Queue::Bytes((mbit * 125 * from.max(to)) as usize);
            scenario.step = Some((Duration::from_secs(30), Duration::from_millis(to)));
            scenario.length = Duration::from_secs(110);
            scenario.flows.push(Flow::new(kind, Duration::ZERO));
            let case = format!("{mbit} Mbit/s, {from} to {to} ms");
            jobs.push(Job::new("step", kind, scenario, case, move |_, scenario| {
                let run = scenario.run();
                // Not what is still on its way at the moment of the step.
                let link = scenario.rate as f64 * PAYLOAD;
                let time = run.time_to(0, 31, 0.9 * link).map_or(f64::INFINITY, |t| t.as_secs_f64() + 1.0);
                let figures = vec![
                    Figure::at_most("back at 90 % after", time, "s", bound),
                    Figure::plain("used in the last 10 s", 100.0 * run.utilisation(100, 110), "%"),
                    Figure::plain("queueing, mean, from then", millis(run.waits(90, 110).mean()), "ms"),
                ];
                (figures, run)
            }));
        }
    }
}

fn loss(kind: Kind, jobs: &mut Vec<Job>) {
    // The first two are libutp's over a real kernel, times three; the others have nothing to be compared with.
    for (mbit, rtt, queue, loss, bound) in [
        (20, 50, 512 << 10, 0.01, Some(11.4)),
        (20, 50, 256 << 10, 0.05, Some(2.4)),
        (100, 100, 2 << 20, 0.01, None),
        (100, 100, 2 << 20, 0.05, None),
    ] {
        let mut scenario = Scenario::new("", mbit, rtt);
        scenario.queue = Queue::Bytes(queue);
        scenario.loss = loss;
        scenario.flows.push(Flow::new(kind, Duration::ZERO));
        let case = format!("{mbit} Mbit/s x {rtt} ms, {} % lost", loss * 100.0);
        jobs.push(Job::new("loss", kind, scenario, case, move |_, scenario| {
            let run = scenario.run();
            let goodput = run.goodput(0, 5, 60) / 1e6;
            let figures = vec![
                match bound {
                    Some(bound) => Figure::at_least("goodput", goodput, "Mbit/s", bound),
                    None => Figure::plain("goodput", goodput, "Mbit/s"),
                },
                Figure::plain("queueing, mean", millis(run.waits(5, 60).mean()), "ms"),
            ];
            (figures, run)
        }));
    }
}

fn transfer(kind: Kind, jobs: &mut Vec<Job>) {
    for default_buffers in [false, true] {
        let mut scenario = Scenario::new("", 100, 100);
        scenario.queue = Queue::Bytes(2 << 20);
        scenario.default_buffers = default_buffers;
        scenario.flows.push(Flow { bytes: Some(40 << 20), ..Flow::new(kind, Duration::ZERO) });
        let buffers = if default_buffers { ", default buffers" } else { "" };
        let case = format!("40 MiB, 100 Mbit/s x 100 ms{buffers}");
        jobs.push(Job::new("transfer", kind, scenario, case, |_, scenario| {
            let run = scenario.run();
            let waits = run.waits(0, 60);
            let figures = vec![
                Figure::at_least("goodput", run.transfer_rate(0) / 1e6, "Mbit/s", 90.0),
                Figure::plain("queueing, mean", millis(waits.mean()), "ms"),
                Figure::plain("p95", millis(waits.quantile(0.95)), "ms"),
                Figure::plain("dropped", 100.0 * run.overflow(0, 60), "%"),
            ];
            (figures, run)
        }));
    }
}

/// Seconds after which CUBIC stops.
const STOP: u64 = 60;

/// Payload in a full datagram with its IP and UDP headers: 1452 bytes of 1500.
const PAYLOAD: f64 = 1452.0 / 1500.0;
