//! What people see: all of it on stderr, because stdout may carry data.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};

use crate::progress::Progress;

/// Where to talk, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    quiet: bool,
    terminal: bool,
}

impl Console {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal() }
    }

    /// Why the command failed, on one line.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        say(format_args!("{}", one_line(&format!("{error:#}"))));
    }

    /// Something that went wrong without making the command fail.
    pub(crate) fn warn(&self, message: impl Display) {
        if !self.quiet {
            say(format_args!("{}", one_line(&message.to_string())));
        }
    }

    /// Where peers find us. Scripts read this line, so it comes without a terminal too, and if the
    /// system chose the port even with `--quiet`: nobody else knows it.
    pub(crate) fn listening(&self, at: impl Display, chosen: bool) {
        if chosen || !self.quiet {
            say(format_args!("listening on {at}"));
        }
    }

    /// What somebody who watches wants to know.
    pub(crate) fn note(&self, message: impl Display) {
        if self.is_watched() {
            say(message);
        }
    }

    /// A progress bar towards `total` bytes, if that is known.
    pub(crate) fn progress(&self, doing: &'static str, total: Option<u64>) -> Progress {
        Progress::new(self.is_watched(), doing, total)
    }

    fn is_watched(&self) -> bool {
        self.terminal && !self.quiet
    }
}

/// Nobody is left to be told if stderr is closed.
fn say(message: impl Display) {
    let _ = writeln!(stderr().lock(), "utp: {message}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
