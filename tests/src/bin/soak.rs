//! Random worlds, as many as time allows: every fault, oracles on.
//!
//! ```text
//! cargo run --release -p utp-tests --bin soak [-- [--seeds N] [--hours H] [--from SEED] [--threads N]]
//! ```
//!
//! Ends after so many seeds or so many hours of wall clock, whichever is first. A seed that fails is named, with
//! the command that runs it alone, and the run goes on; the exit code is 1 then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use utp_tests::sim::random::{self, Outcome};

fn main() -> ExitCode {
    let options = Options::parse();
    let started = Instant::now();
    let limit = Duration::from_secs_f64(options.hours * 3600.0);
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    let all = Mutex::new((Outcome::default(), 0u64, 0u64));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while started.elapsed() < limit {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| random::run(seed)));
                    let mut all = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    match outcome {
                        Ok(outcome) => {
                            all.0 = all.0.plus(outcome);
                            all.1 += 1;
                        }
                        Err(_) => {
                            all.2 += 1;
                            println!(
                                "seed {seed} fails; replay: \
                                 cargo run --release -p utp-tests --bin soak -- --from {seed} --seeds 1"
                            );
                        }
                    }
                }
            });
        }
    });
    let (sum, good, failed) = all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let wall = started.elapsed();
    println!("seeds           {good} good, {failed} failed");
    println!("connections     {} clean, {} given up, {} unconfirmed", sum.clean, sum.broken, sum.unconfirmed);
    println!(
        "attacks         {} packets forged, {} guessed a cookie; {} connections with a liar, {} ended for it",
        sum.forged, sum.guesses, sum.lied_to, sum.violations
    );
    println!("moved           {} datagrams, {:.1} MB delivered", sum.datagrams, sum.delivered as f64 / 1e6);
    println!(
        "virtual time    {:.1} h in {:.1} s on {} threads: {:.0} times as fast per thread",
        sum.time.as_secs_f64() / 3600.0,
        wall.as_secs_f64(),
        options.threads,
        sum.time.as_secs_f64() / wall.as_secs_f64() / options.threads as f64
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Options {
    seeds: u64,
    hours: f64,
    from: u64,
    threads: usize,
}

impl Options {
    fn parse() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { seeds: 10_000, hours: f64::from(u16::MAX), from: 0, threads };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let number: f64 =
                args.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("a number after {arg}"));
            match arg.as_str() {
                "--seeds" => options.seeds = number as u64,
                "--hours" => options.hours = number,
                "--from" => options.from = number as u64,
                "--threads" => options.threads = (number as usize).max(1),
                _ => panic!("{arg}? Known: --seeds, --hours, --from, --threads"),
            }
        }
        options
    }
}
