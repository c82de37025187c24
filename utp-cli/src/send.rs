//! `utp send`: one file to one receiver.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use utp_tokio::{OwnedReadHalf, UtpStream};

use crate::Env;
use crate::address::Address;
use crate::console::Console;
use crate::dial::Dialer;
use crate::link::Link;
use crate::options::{Settings, Transport, duration};
use crate::payload::Payload;
use crate::progress::summary;

/// Send a file, or what comes in on stdin, to `utp recv`.
///
/// Succeeds only if the receiver has acknowledged all of it and its end. Then waits for the receiver to
/// confirm: `utp recv` does when it has stored the file, and resets the connection if it cannot, which
/// makes this command fail.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// What to send; '-' is stdin.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Where to: HOST:PORT.
    address: Address,
    /// How long to wait for the confirmation of a receiver that has acknowledged everything; receivers
    /// other than utp may never give it.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    confirm_timeout: Duration,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Send {
    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        let (payload, mut link) = env.interrupt.or(self.open(&env.settings)).await?;
        let peer = link.stream().peer_addr();
        let progress = env.console.progress("sending", payload.len());
        let sent = env
            .interrupt
            .or(progress.during(payload.send(&mut link.write), link.read.as_ref(), UtpStream::bytes_acked))
            .await;
        drop(progress);
        let elapsed = link.elapsed();
        env.report.link(&link, elapsed);
        let result = match sent {
            Ok(()) => env.interrupt.or(self.confirmed(&mut link, env.console)).await,
            Err(error) => Err(error),
        };
        let bytes = link.stream().bytes_acked();
        match result {
            Ok(()) => {
                env.console.note(format_args!("sent {} to {peer}", summary(bytes, elapsed)));
                link.linger().await;
                Ok(())
            }
            Err(error) => {
                link.reset().await;
                Err(error)
            }
        }
    }

    async fn open(&self, settings: &Settings) -> anyhow::Result<(Payload, Link)> {
        let payload = Payload::open(&self.file).await?;
        let (socket, stream) = Dialer::new(settings).connect(&self.address).await?;
        Ok((payload, Link::new(socket, stream)))
    }

    /// Waits for the receiver to say that it is content: its FIN.
    async fn confirmed(&self, link: &mut Link, console: Console) -> anyhow::Result<()> {
        let peer = link.stream().peer_addr();
        if self.confirm_timeout.is_zero() {
            return Ok(());
        }
        match timeout(self.confirm_timeout, drain(&mut link.read)).await {
            Ok(drained) => {
                drained.with_context(|| format!("{peer} has received everything, but did not keep it"))
            }
            Err(_) => {
                console.warn(format_args!("{peer} has acknowledged everything, but did not confirm it"));
                Ok(())
            }
        }
    }
}

/// Reads to the end and throws away what comes: a sender expects no answer.
async fn drain(read: &mut OwnedReadHalf) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while read.read(&mut buffer).await? > 0 {}
    Ok(())
}
