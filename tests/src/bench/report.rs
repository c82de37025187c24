//! Runs the two processes of a measurement, in rounds that take turns, and prints medians.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::transport::Transport;
use super::work::{Outcome, Work};

/// One measurement of one transport.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub scenario: String,
    /// Of what.
    pub transport: &'static str,
    /// How many streams, beside how many idle ones; empty for one alone.
    pub streams: String,
    /// Medians over the rounds.
    pub rate_mb: f64,
    /// Processor seconds per 10^9 bytes, both processes.
    pub cpu_s_per_gb: f64,
    /// System calls per 10^6 bytes, both processes; 0 where they are not counted.
    pub calls_per_mb: f64,
    /// Datagrams that the receiver sent for each that the sender sent; 0 where they are not counted.
    pub acks_per_datagram: f64,
    /// Jain's index.
    pub fairness: f64,
    /// Operations per second.
    pub per_second: f64,
    /// Microseconds.
    pub p50_us: f64,
    /// Microseconds.
    pub p99_us: f64,
    /// Rounds that failed, with the last one's reason.
    pub failures: Vec<String>,
}

/// Runs every transport `rounds` times, taking turns.
#[must_use]
pub fn measure(scenario: &str, jobs: &[(Transport, Work)], rounds: usize) -> Vec<Row> {
    let mut outcomes: BTreeMap<usize, Vec<(Outcome, Outcome)>> = BTreeMap::new();
    let mut failures: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, (transport, work)) in jobs.iter().enumerate() {
            match run(*transport, *work) {
                Ok(pair) => outcomes.entry(index).or_default().push(pair),
                Err(error) => failures.entry(index).or_default().push(error),
            }
        }
    }
    jobs.iter()
        .enumerate()
        .map(|(index, (transport, work))| {
            let failed = failures.remove(&index).unwrap_or_default();
            row(scenario, (*transport, *work), outcomes.get(&index).map_or(&[][..], Vec::as_slice), failed)
        })
        .collect()
}

fn row(
    scenario: &str,
    (transport, work): (Transport, Work),
    pairs: &[(Outcome, Outcome)],
    failures: Vec<String>,
) -> Row {
    let median = |f: &dyn Fn(&(Outcome, Outcome)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(f).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    // Raw UDP loses what the receiver does not take in time: what counts is what arrived, and when.
    let by_receiver = matches!(transport, Transport::RawBatched | Transport::RawSingle);
    let moved =
        |(server, client): &(Outcome, Outcome)| if by_receiver { server.bytes } else { client.bytes } as f64;
    let seconds =
        |(server, client): &(Outcome, Outcome)| if by_receiver { server.seconds } else { client.seconds };
    Row {
        scenario: scenario.to_owned(),
        transport: transport.name(),
        streams: work.streams(),
        rate_mb: median(&|pair| moved(pair) / seconds(pair) / 1e6),
        cpu_s_per_gb: median(&|pair| (pair.0.cpu + pair.1.cpu) / moved(pair) * 1e9),
        calls_per_mb: median(&|pair| (pair.0.calls + pair.1.calls) as f64 / moved(pair) * 1e6),
        acks_per_datagram: median(&|pair| pair.0.datagrams as f64 / pair.1.datagrams as f64),
        fairness: median(&|pair| pair.0.fairness),
        per_second: median(&|pair| pair.1.operations as f64 / pair.1.seconds),
        p50_us: median(&|pair| pair.1.p50),
        p99_us: median(&|pair| pair.1.p99),
        failures,
    }
}

/// One measurement: this program again, twice.
fn run(transport: Transport, work: Work) -> Result<(Outcome, Outcome), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let work = serde_json::to_string(&work).map_err(|error| error.to_string())?;
    let start = |role: &[&str]| {
        let command =
            Command::new(&program).args(role).args([transport.name(), &work]).stdout(Stdio::piped()).spawn();
        command.map_err(|error| error.to_string())
    };
    let mut server = start(&["--serve"])?;
    let mut lines = BufReader::new(server.stdout.take().ok_or("no output")?).lines();
    let result = (|| {
        let addr = lines.next().ok_or("the server has not started")?.map_err(|error| error.to_string())?;
        let client = start(&["--work", &addr])?.wait_with_output().map_err(|error| error.to_string())?;
        if !client.status.success() {
            return Err(format!("the client failed: {}", client.status));
        }
        let client = serde_json::from_slice(&client.stdout).map_err(|error| error.to_string())?;
        let last = lines.next().ok_or("the server has failed")?.map_err(|error| error.to_string())?;
        let server = serde_json::from_str(&last).map_err(|error| error.to_string())?;
        Ok((server, client))
    })();
    if result.is_err() {
        let _ = server.kill();
    }
    let _ = server.wait();
    result
}

/// Prints the rows of one scenario as a Markdown table, with what matters for it.
pub fn print(title: &str, rows: &[Row]) {
    println!("\n### {title}\n");
    let value = |name, transport: &str| {
        rows.iter().find(|row| row.transport == transport).map(|row: &Row| match name {
            "rate" => row.rate_mb,
            _ => row.p50_us,
        })
    };
    let ratio = |mine: f64, other: Option<f64>| match other {
        Some(other) if other > 0.0 => format!("{:.2}", mine / other),
        _ => String::new(),
    };
    if rows.iter().any(|row| row.p50_us > 0.0) {
        println!("| transport | per second | p50 us | p99 us | p50 / raw UDP's |\n|---|---|---|---|---|");
        for row in rows {
            let against = ratio(row.p50_us, value("p50", "raw-udp"));
            println!(
                "| {} | {:.0} | {:.0} | {:.0} | {against} |{}",
                row.transport,
                row.per_second,
                row.p50_us,
                row.p99_us,
                failed(row)
            );
        }
        return;
    }
    println!(
        "| transport | streams | MB/s | CPU s/GB | calls/MB | acks/datagram | Jain | / TCP | / librqbit-utp | / first |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let number = |value: f64, digits| match value > 0.0 {
            true => format!("{value:.digits$}"),
            false => String::new(),
        };
        println!(
            "| {} | {} | {:.0} | {:.2} | {} | {} | {} | {} | {} | {} |{}",
            row.transport,
            row.streams,
            row.rate_mb,
            row.cpu_s_per_gb,
            number(row.calls_per_mb, 1),
            number(row.acks_per_datagram, 3),
            number(row.fairness, 3),
            ratio(row.rate_mb, value("rate", "tcp")),
            ratio(row.rate_mb, value("rate", "librqbit-utp")),
            ratio(row.rate_mb, rows.first().map(|first| first.rate_mb)),
            failed(row)
        );
    }
}

fn failed(row: &Row) -> String {
    row.failures.last().map_or(String::new(), |last| format!(" {} rounds failed: {last}", row.failures.len()))
}
