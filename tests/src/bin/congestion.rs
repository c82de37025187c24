//! Runs the tables of congestion control on simulated links and prints them, each figure beside its target.
//!
//! ```text
//! cargo run --release -p utp-tests --bin congestion -- --controller ledbat --table alone --max-rate 100
//! cargo run --release -p utp-tests --bin congestion -- --json figures.json --svg plots
//! ```

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use utp_tests::congestion::tables::{self, Job, Row, TABLES};
use utp_tests::congestion::{Kind, plot, report};

/// Congestion control on simulated links, in figures.
#[derive(Debug, Parser)]
struct Options {
    /// Only these tables (alone, cubic, strangers, several, equals, short-queue, step, loss, transfer).
    #[arg(long, value_delimiter = ',')]
    table: Vec<String>,
    /// Only these controllers (see the first column).
    #[arg(long, value_delimiter = ',')]
    controller: Vec<String>,
    /// Only links of at most so many Mbit/s: those of 1000 take most of the time.
    #[arg(long)]
    max_rate: Option<u64>,
    /// Only cases whose description contains this.
    #[arg(long)]
    case: Option<String>,
    /// Writes all rows to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws every run into this directory.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// So many runs of each case, with different seeds: medians and ranges.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Prints what was seen of every run, second by second.
    #[arg(long)]
    series: bool,
    /// Threads; as many as there are processors by default.
    #[arg(long)]
    threads: Option<usize>,
}

impl Options {
    fn kinds(&self) -> Result<Vec<Kind>, String> {
        if self.controller.is_empty() {
            return Ok(Kind::ALL.to_vec());
        }
        let named = |name: &String| Kind::named(name).ok_or_else(|| format!("no controller {name}"));
        self.controller.iter().map(named).collect()
    }

    fn wants(&self, job: &Job) -> bool {
        (self.table.is_empty() || self.table.iter().any(|table| table == job.table))
            && self.max_rate.is_none_or(|most| job.mbit <= most)
            && self.case.as_ref().is_none_or(|case| job.case.contains(case))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if let Some(table) = options.table.iter().find(|table| !TABLES.contains(&table.as_str())) {
        return Err(format!("no table {table}").into());
    }
    let jobs: Vec<Job> =
        options.kinds()?.into_iter().flat_map(tables::jobs).filter(|job| options.wants(job)).collect();
    if let Some(dir) = &options.svg {
        std::fs::create_dir_all(dir)?;
    }
    let rows = run(jobs, &options);
    for table in TABLES {
        let mut of_table: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
        of_table.sort_by_key(|row| Kind::ALL.iter().position(|kind| kind.name() == row.controller));
        if !of_table.is_empty() {
            println!("{}", report::text(table, &of_table));
        }
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

/// Runs all jobs on all processors; rows in the order of the jobs.
fn run(jobs: Vec<Job>, options: &Options) -> Vec<Row> {
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let count = jobs.len();
    let jobs: Vec<Mutex<Job>> = jobs.into_iter().map(Mutex::new).collect();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or(1).max(1) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    // Each is locked once: a job is `Send`, but not `Sync`.
                    let Some(Ok(job)) = jobs.get(i).map(Mutex::lock) else { return };
                    let seeds = (1..=options.seeds.max(1)).map(|seed| one(&job, seed, options));
                    let row = tables::merge(seeds.collect());
                    eprintln!("{}/{count} {}: {}, {}", i + 1, row.table, row.controller, row.case);
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((i, row));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(i, _)| *i);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// One run, drawn if that is wanted.
fn one(job: &Job, seed: u64, options: &Options) -> Row {
    let (row, run) = job.run(seed);
    if options.series {
        print!("{}", report::series(&run));
    }
    if let Some(dir) = options.svg.as_ref().filter(|_| seed == 1)
        && let Err(error) = plot::draw(&run, &dir.join(plot::file_name(&run)))
    {
        eprintln!("no picture: {error}");
    }
    row
}
