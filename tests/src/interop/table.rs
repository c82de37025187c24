//! Reports as compact Markdown tables: what README.md shows.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::case::{Case, Failure, Flow, Report};
use super::endings::{Ending, EndingCase};
use super::faults::{Direction, Faults};
use super::matrix;
use super::peer::Kind;

/// The transfers: a row for each peer and sender, a column for each path. A cell has the seconds when we
/// dial and when they dial.
#[must_use]
pub fn transfers(reports: &[Report]) -> String {
    let mut grid = Grid::default();
    for report in reports {
        grid.put(row(&report.case), column(&report.case), report);
    }
    grid.markdown("peer | who sends")
}

/// The endings: a row for each, a column for each peer. A cell has what was seen when we dial and when they
/// dial.
#[must_use]
pub fn endings(results: &[(EndingCase, Result<String, String>)]) -> String {
    let mut rows: BTreeMap<usize, BTreeMap<usize, [Option<String>; 2]>> = BTreeMap::new();
    for (case, result) in results {
        let seen = match result {
            Ok(seen) => seen.clone(),
            Err(_) => matrix::peer_does_not_end(case).unwrap_or("**failed**").into(),
        };
        let column = Kind::FOREIGN.iter().position(|&kind| kind == case.kind).unwrap_or_default();
        let row = Ending::ALL.iter().position(|&ending| ending == case.ending).unwrap_or_default();
        rows.entry(row).or_default().entry(column).or_default()[usize::from(!case.we_dial)] = Some(seen);
    }
    let mut table = String::from("| what happens |");
    Kind::FOREIGN.iter().for_each(|kind| _ = write!(table, " {kind} |"));
    table += "\n|---|---|---|---|\n";
    for (row, cells) in rows {
        let _ = write!(table, "| {} |", Ending::ALL[row]);
        for column in 0..Kind::FOREIGN.len() {
            let [we, they] = cells.get(&column).cloned().unwrap_or_default();
            let both = we.is_some() && without_time(&we) == without_time(&they);
            let text = match (we, they) {
                (None, None) => "-".into(),
                (Some(we), Some(they)) if !both => format!("we dial: {we}; they: {they}"),
                (Some(one), _) | (None, Some(one)) => one,
            };
            let _ = write!(table, " {text} |");
        }
        table.push('\n');
    }
    table
}

/// "TimedOut after 5.0 s" and "TimedOut after 5.1 s" are the same.
fn without_time(seen: &Option<String>) -> Option<&str> {
    seen.as_deref().map(|seen| seen.split(" after ").next().unwrap_or_default())
}

#[derive(Default)]
struct Grid {
    /// Rows in the order of their first case.
    rows: Vec<String>,
    cells: BTreeMap<(usize, usize), [String; 2]>,
    /// Why something is not possible, and how that showed.
    notes: Vec<(&'static str, Vec<String>)>,
}

impl Grid {
    fn put(&mut self, row: String, column: usize, report: &Report) {
        let index = self.rows.iter().position(|known| *known == row).unwrap_or(self.rows.len());
        if index == self.rows.len() {
            self.rows.push(row);
        }
        let case = &report.case;
        let seconds = report.elapsed.as_secs_f64();
        let mut text = match (&report.result, matrix::peer_cannot(case)) {
            (Ok(()), _) if seconds < 10.0 => format!("{seconds:.2}"),
            (Ok(()), _) => format!("{seconds:.0}"),
            (Err(failure), Some(why)) => self.note(why, failure),
            (Err(_), None) => "**failed**".into(),
        };
        let amount = if case.dialer == Kind::Ethereum || case.acceptor == Kind::Ethereum { 1 } else { 16 };
        if report.result.is_ok() && case.bytes != amount << 20 && case.faults.drop_exactly.is_empty() {
            let _ = write!(text, " ({})", size(case.bytes));
        }
        self.cells.entry((index, column)).or_default()[usize::from(case.dialer != Kind::Ours)] = text;
    }

    /// A reference to a note.
    fn note(&mut self, why: &'static str, failure: &Failure) -> String {
        let index = self.notes.iter().position(|(known, _)| *known == why).unwrap_or(self.notes.len());
        if index == self.notes.len() {
            self.notes.push((why, Vec::new()));
        }
        let seen = match failure {
            Failure::TooLate(text) => text.split(':').next(),
            Failure::PeerGaveUp(text) | Failure::Wrong(text) => text.rsplit(": ").next(),
        };
        let seen = seen.unwrap_or_default().to_owned();
        if !self.notes[index].1.contains(&seen) {
            self.notes[index].1.push(seen);
        }
        format!("no [{}]", index + 1)
    }

    fn markdown(&self, head: &str) -> String {
        let mut table = format!("| {head} |");
        COLUMNS.iter().for_each(|name| _ = write!(table, " {name} |"));
        table += "\n|---|---|";
        COLUMNS.iter().for_each(|_| table += "---|");
        table.push('\n');
        for (index, row) in self.rows.iter().enumerate() {
            let _ = write!(table, "| {row} |");
            for column in 0..COLUMNS.len() {
                match self.cells.get(&(index, column)) {
                    None => table += " |",
                    Some([we, they]) => {
                        let dash = |text: &String| if text.is_empty() { "-".into() } else { text.clone() };
                        let _ = write!(table, " {} / {} |", dash(we), dash(they));
                    }
                }
            }
            table.push('\n');
        }
        for (index, (why, seen)) in self.notes.iter().enumerate() {
            let _ = write!(table, "\n[{}] {why}. Seen: {}.\n", index + 1, seen.join("; "));
        }
        table
    }
}

fn row(case: &Case) -> String {
    let we_dial = case.dialer == Kind::Ours;
    let peer = if we_dial { case.acceptor } else { case.dialer };
    let who = match case.flow {
        Flow::DialerSends if we_dial => "we",
        Flow::AcceptorSends if !we_dial => "we",
        Flow::DialerSends | Flow::AcceptorSends => "they",
        Flow::BothSend => "both at once",
        Flow::DialerHalfCloses if we_dial => "we, half-close, they",
        Flow::AcceptorHalfCloses if !we_dial => "we, half-close, they",
        Flow::DialerHalfCloses | Flow::AcceptorHalfCloses => "they, half-close, we",
    };
    format!("{peer} | {who}{}", if case.v6 { ", IPv6" } else { "" })
}

fn column(case: &Case) -> usize {
    let Faults { loss, reorder, drop_exactly, .. } = &case.faults;
    match drop_exactly.first() {
        Some((Direction::Forth, _)) => 5,
        Some((Direction::Back, _)) => 6,
        None if *loss >= 0.1 => 4,
        None => 2 * usize::from(*loss > 0.0) + usize::from(*reorder > 0.0),
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}

/// See [`column`].
const COLUMNS: [&str; 7] =
    ["0 %", "0 %, disorder", "2 %", "2 %, disorder", "10 %", "SYN lost", "SYN-ACK lost"];
