//! Rows as text.

use std::fmt::Write;

use super::Run;
use super::tables::{Figure, Row, Target};

/// A table as text, figures beside their targets. A figure that misses its target is marked with `!`.
#[must_use]
pub fn text(title: &str, rows: &[&Row]) -> String {
    let mut out = format!("{title}\n");
    let Some(first) = rows.first() else { return out };
    let mut lines = vec![vec!["controller".to_owned(), "case".to_owned()]];
    lines[0].extend(first.figures.iter().map(heading));
    for row in rows {
        let mut line = vec![row.controller.to_owned(), row.case.clone()];
        line.extend(row.figures.iter().map(cell));
        lines.push(line);
    }
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            // Writing to a `String` cannot fail.
            let _ = match column {
                0 | 1 => write!(out, "{cell:width$}  "),
                _ => write!(out, "{cell:>width$}  "),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A run, second by second: windows, what flows take for the empty path's delay, goodput, queueing.
#[must_use]
pub fn series(run: &Run) -> String {
    let mut out = format!("{}\n", run.scenario.name);
    for (second, samples) in run.samples.chunks(10).enumerate() {
        let Some(last) = samples.last() else { continue };
        let wait: f64 = samples.iter().map(|sample| sample.link.waits.mean().as_secs_f64()).sum();
        let _ = write!(out, "{:>4} s  queueing {:6.1} ms", second + 1, wait * 1e3 / samples.len() as f64);
        for flow in 0..last.cwnd.len() {
            let goodput: f64 = samples.iter().map(|sample| sample.goodput[flow]).sum();
            let (cwnd, base) = (last.cwnd[flow] / 1024, last.base[flow] / 1000);
            let mbit = goodput / samples.len() as f64 / 1e6;
            let _ = write!(out, "  | {cwnd:>6} KiB, base {base:>4} ms, {mbit:7.2} Mbit/s");
        }
        out.push('\n');
    }
    out
}

fn heading(figure: &Figure) -> String {
    match figure.unit {
        "" => figure.name.to_owned(),
        unit => format!("{}, {unit}", figure.name),
    }
}

fn cell(figure: &Figure) -> String {
    let target = match figure.target {
        Some(Target::AtLeast(bound)) => format!(" (>= {})", number(bound)),
        Some(Target::AtMost(bound)) => format!(" (<= {})", number(bound)),
        None => String::new(),
    };
    let mark = if figure.is_met() == Some(false) { "!" } else { "" };
    let range = match figure.range {
        Some((low, high)) if low != high => format!(" [{}..{}]", number(low), number(high)),
        _ => String::new(),
    };
    format!("{mark}{}{range}{target}", number(figure.value))
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        "never".to_owned()
    } else if value != 0.0 && value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}
