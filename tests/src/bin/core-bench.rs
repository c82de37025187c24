//! The core alone, without sockets: time and instructions per data packet.
//!
//! ```text
//! cargo run --release -p utp-tests --bin core-bench                # nanoseconds
//! cargo run --release -p utp-tests --bin core-bench -- --check     # instructions beside the stored baseline
//! cargo run --release -p utp-tests --bin core-bench -- --store     # a new baseline, with the reason in the commit
//! ```
//!
//! `--check` and `--store` run this program in valgrind (Debian: `valgrind`). Counts depend on the compiler:
//! the baseline names the one that it was made with, and with another one `--check` only prints. It fails if
//! either side needs over 3 % more than the baseline, and names the functions that grew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};
use utp_tests::core_bench::Bench;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            time();
            Ok(())
        }
        ["--batches", count] => {
            let (packets, ..) = Bench::new().run(count.parse().unwrap_or(0));
            println!("{packets}");
            Ok(())
        }
        ["--check"] => check(),
        ["--store"] => store(),
        _ => Err("usage: core-bench [--check | --store]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn time() {
    let mut bench = Bench::new();
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let (packets, sending, receiving) = bench.run(TIMED_BATCHES);
        let per_packet = |time: std::time::Duration| time.as_nanos() as f64 / packets as f64;
        best = (best.0.min(per_packet(sending)), best.1.min(per_packet(receiving)));
    }
    println!("send and take its acknowledgement    {:6.1} ns per data packet", best.0);
    println!("receive, read and acknowledge        {:6.1} ns per data packet", best.1);
    println!("(best of {ROUNDS} rounds; copying the payload in and out is included)");
}

/// What one data packet costs.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    compiler: String,
    sides: BTreeMap<String, Side>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Side {
    /// Instructions per data packet.
    instructions: f64,
    /// The functions that take the most, by themselves.
    functions: BTreeMap<String, f64>,
}

fn check() -> Result<(), String> {
    let stored = std::fs::read_to_string(baseline_file()).map_err(|error| error.to_string())?;
    let stored: Baseline = serde_json::from_str(&stored).map_err(|error| error.to_string())?;
    let now = measure()?;
    let comparable = stored.compiler == now.compiler;
    if !comparable {
        println!("the baseline is of {}, this is {}: not compared", stored.compiler, now.compiler);
    }
    let mut grown = Vec::new();
    for (name, side) in &now.sides {
        let Some(before) = stored.sides.get(name) else { continue };
        let change = side.instructions / before.instructions - 1.0;
        println!(
            "{name:8} {:7.1} instructions per data packet, baseline {:7.1}: {:+.1} %",
            side.instructions,
            before.instructions,
            change * 100.0
        );
        if change > TOLERANCE {
            let mut growth: Vec<_> = side
                .functions
                .iter()
                .map(|(function, cost)| (cost - before.functions.get(function).unwrap_or(&0.0), function))
                .collect();
            growth.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (more, function) in growth.iter().take(5).filter(|(more, _)| *more > 0.5) {
                println!("         {more:+7.1} {function}");
            }
            grown.push(name.clone());
        }
    }
    if grown.is_empty() || !comparable {
        return Ok(());
    }
    Err(format!(
        "{} takes over {:.0} % more instructions than the baseline",
        grown.join(" and "),
        TOLERANCE * 100.0
    ))
}

fn store() -> Result<(), String> {
    let baseline = measure()?;
    for (name, side) in &baseline.sides {
        println!("{name:8} {:7.1} instructions per data packet", side.instructions);
    }
    let text = serde_json::to_string_pretty(&baseline).map_err(|error| error.to_string())? + "\n";
    std::fs::write(baseline_file(), text).map_err(|error| error.to_string())
}

fn measure() -> Result<Baseline, String> {
    let compiler = Command::new("rustc").arg("--version").output().map_err(|error| error.to_string())?;
    let compiler = String::from_utf8_lossy(&compiler.stdout).trim().to_owned();
    let sides = [("send", &["send", "acknowledge"][..]), ("receive", &["receive"])]
        .into_iter()
        .map(|(name, functions)| Ok((name.to_owned(), side(functions)?)))
        .collect::<Result<_, String>>()?;
    Ok(Baseline { compiler, sides })
}

/// Counts what is done inside of these methods of [`Bench`].
fn side(methods: &[&str]) -> Result<Side, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = dir.path().join("callgrind.out");
    // The difference of a longer and a shorter run leaves the warm-up out.
    let count = |batches: usize| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--quiet"]);
        command.arg(format!("--callgrind-out-file={}", out.display()));
        command.args(methods.iter().map(|method| format!("--toggle-collect=*core_bench*Bench*{method}*")));
        let run = command.arg(&program).args(["--batches", &batches.to_string()]).output();
        let run = run.map_err(|error| format!("valgrind: {error}"))?;
        if !run.status.success() {
            return Err(String::from_utf8_lossy(&run.stderr).into_owned());
        }
        let packets: f64 =
            String::from_utf8_lossy(&run.stdout).trim().parse().map_err(|_| "no count of packets")?;
        Ok::<_, String>((packets, costs(&out)?))
    };
    let (few, before) = count(COUNTED_BATCHES)?;
    let (many, after) = count(3 * COUNTED_BATCHES)?;
    let packets = many - few;
    let per_packet = |(function, cost): (&String, &u64)| {
        let cost = cost.saturating_sub(before.get(function).copied().unwrap_or(0));
        (function.clone(), cost as f64 / packets)
    };
    // Copying the payload costs what the C library makes of this processor, and is no business of ours.
    let ours = |(function, _): &(&String, &u64)| !function.starts_with("__mem");
    let all: BTreeMap<String, f64> = after.iter().filter(ours).map(per_packet).collect();
    let instructions = round(all.values().sum());
    let functions =
        all.into_iter().filter(|(_, cost)| *cost >= 0.5).map(|(f, cost)| (f, round(cost))).collect();
    Ok(Side { instructions, functions })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Own cost of each function, from a file of callgrind's (its manual describes the format).
fn costs(file: &Path) -> Result<BTreeMap<String, u64>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut costs = BTreeMap::new();
    let (mut function, mut is_call) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = plain(name);
        } else if line.starts_with("calls=") {
            is_call = true; // the next line is the cost of what was called
        } else if let Some(cost) = cost(line)
            && !std::mem::take(&mut is_call)
        {
            *costs.entry(function.clone()).or_default() += cost;
        }
    }
    Ok(costs)
}

/// The cost on a line of positions and costs.
fn cost(line: &str) -> Option<u64> {
    let positions = |first: char| first.is_ascii_digit() || "+-*".contains(first);
    line.starts_with(positions).then(|| line.split_whitespace().last()?.parse().ok()).flatten()
}

/// Without the hash that differs from build to build.
fn plain(name: &str) -> String {
    let name = name.split_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(name, _)| name);
    name.trim_end_matches("'2").to_owned()
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

const ROUNDS: usize = 20;

/// Batches of one round of timing.
const TIMED_BATCHES: usize = 1_000;

/// Batches of the shorter of two counted runs.
const COUNTED_BATCHES: usize = 100;

/// More than this is a regression.
const TOLERANCE: f64 = 0.03;
