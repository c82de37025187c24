//! The `utp` command: files, pipes and TCP connections over uTP.
//!
//! This file holds the command line and the exit codes; each subcommand has a file of its own, with its
//! arguments and what it does. What they share: [`address`] (where), [`options`] (how), [`dial`] and
//! [`link`] (a connection whose failure the peer cannot mistake for its end), [`payload`] and [`sink`]
//! (where data comes from and goes to), [`console`] and [`progress`] (what people see), [`stats`] (what
//! programs see).
#![forbid(unsafe_code)]

mod address;
mod cat;
mod console;
mod demo;
mod dial;
mod link;
mod options;
mod payload;
mod progress;
mod proxy;
mod recv;
mod relay;
mod send;
mod signal;
mod sink;
mod stats;

use std::fmt::Display;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use console::Console;
use options::{Settings, Transport};
use signal::Interrupt;
use stats::{Report, StatsOut};

/// Move data over uTP (BEP 29): reliable streams over UDP that step aside for other traffic.
///
/// An ADDRESS is HOST:PORT; HOST is a name or an IP address, IPv6 in brackets. Without HOST, a listener
/// takes any IPv4 address and a connection goes to this machine. Port 0 lets the system choose; the
/// choice is announced on stderr.
///
/// uTP neither encrypts nor authenticates: use it inside of something that does, or for what is public.
#[derive(Debug, Parser)]
#[command(name = "utp", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    general: General,
}

#[derive(Debug, Args)]
struct General {
    /// Print errors only (and the address listened on if the system chose the port).
    #[arg(short, long, global = true)]
    quiet: bool,
    /// At the end, print one line of JSON with counters to stderr, or write it to FILE.
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = "-")]
    stats: Option<StatsOut>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Send(send::Send),
    Recv(recv::Recv),
    Cat(cat::Cat),
    Proxy(proxy::Proxy),
}

impl Command {
    fn transport(&self) -> &Transport {
        match self {
            Self::Demo(args) => &args.transport,
            Self::Send(args) => &args.transport,
            Self::Recv(args) => &args.transport,
            Self::Cat(args) => &args.transport,
            Self::Proxy(args) => &args.transport,
        }
    }

    /// Whether the arguments make sense together.
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Proxy(args) => args.check(),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Send(_) => "send",
            Self::Recv(_) => "recv",
            Self::Cat(_) => "cat",
            Self::Proxy(_) => "proxy",
        }
    }

    async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        match self {
            Self::Demo(args) => args.run(env).await,
            Self::Send(args) => args.run(env).await,
            Self::Recv(args) => args.run(env).await,
            Self::Cat(args) => args.run(env).await,
            Self::Proxy(args) => args.run(env).await,
        }
    }
}

/// What every subcommand works with.
struct Env<'a> {
    /// Of every uTP socket.
    settings: Settings,
    console: Console,
    interrupt: Interrupt,
    /// What `--stats` shows at the end, also of a run that failed.
    report: &'a mut Report,
}

fn main() -> ExitCode {
    let Cli { command, general } = Cli::parse();
    let settings = command.transport().settings().unwrap_or_else(|error| usage(&command, error));
    command.check().unwrap_or_else(|error| usage(&command, error));
    let console = Console::new(general.quiet);
    // Before anything is moved: a report that cannot be written should not cost a transfer.
    let out = match general.stats.as_ref().map(StatsOut::open).transpose() {
        Ok(out) => out,
        Err(error) => return fail(console, &error),
    };
    let mut report = Report::new(command.name());
    let result = run(&command, settings, console, &mut report);
    report.conclude(result.as_ref().err());
    let code = result.map_or_else(|error| fail(console, &error), |()| ExitCode::SUCCESS);
    match out.map_or(Ok(()), |mut out| out.write(&report)) {
        Ok(()) => code,
        Err(error) => fail(console, &error),
    }
}

fn fail(console: Console, error: &anyhow::Error) -> ExitCode {
    console.error(error);
    ExitCode::FAILURE
}

fn usage(command: &Command, error: impl Display) -> ! {
    let mut cli = Cli::command();
    cli.build();
    // It is there: it was just parsed.
    let mut command = cli.find_subcommand(command.name()).cloned().unwrap_or(cli);
    command.error(ErrorKind::ValueValidation, error).exit()
}

fn run(command: &Command, settings: Settings, console: Console, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut env = Env { settings, console, interrupt: Interrupt::new()?, report };
        command.run(&mut env).await
    });
    // A read of stdin that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    result
}

const EXIT_CODES: &str = "\
Exit codes: 0 all done, 1 failed (stderr says why, in one line), 2 wrong usage.
'utp help COMMAND' tells more about a command.";
