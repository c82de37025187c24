//! Rows as text.

use std::fmt::Write;

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
    format!("{mark}{}{target}", number(figure.value))
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
