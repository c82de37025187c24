//! `utp recv`: one file from one sender.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use utp_tokio::UtpStream;

use crate::Env;
use crate::address::Address;
use crate::console::Console;
use crate::dial;
use crate::link::Link;
use crate::options::{Settings, Transport};
use crate::progress::summary;
use crate::sink::Sink;

/// Receive one file from `utp send`, and end.
///
/// The file is written under a temporary name in its directory and gets its own when the sender has
/// finished and the disk has it all. A transfer that breaks leaves nothing (only if this command is
/// killed or the machine crashes, the temporary file); a file that stood there before stays until then.
#[derive(Debug, Args)]
pub(crate) struct Recv {
    /// Where to wait for a sender: HOST:PORT. The first that connects is served; others are refused.
    #[arg(long, value_name = "ADDRESS")]
    listen: Address,
    /// Where to put what comes; '-' is stdout.
    #[arg(short, long, value_name = "FILE|-", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Recv {
    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        let (sink, mut link) = env.interrupt.or(self.open(&env.settings, env.console)).await?;
        let peer = link.stream().peer_addr();
        let progress = env.console.progress("receiving", None);
        let stored = env
            .interrupt
            .or(progress.during(sink.fill(&mut link.read), link.write.as_ref(), UtpStream::bytes_read))
            .await;
        drop(progress);
        let elapsed = link.elapsed();
        if stored.is_ok() {
            confirm(&link).await;
        }
        env.report.link(&link, elapsed);
        let bytes = link.stream().bytes_read();
        match stored {
            Ok(()) => {
                env.console.note(format_args!("received {} from {peer}", summary(bytes, elapsed)));
                // The sender knows that all is well, or it has gone.
                link.done();
                Ok(())
            }
            Err(error) => {
                link.reset().await;
                Err(error)
            }
        }
    }

    async fn open(&self, settings: &Settings, console: Console) -> anyhow::Result<(Sink, Link)> {
        // Before a sender comes: if it cannot be written, nobody needs to.
        let sink = Sink::create(&self.out).await?;
        let socket = dial::listen(&self.listen, settings).await?;
        console.listening(format_args!("utp://{}", socket.local_addr()), self.listen.is_any_port());
        Ok((sink, dial::accept_one(socket).await?))
    }
}

/// Tells the sender, which may have gone already: what it sent is safe all the same.
async fn confirm(link: &Link) {
    let told = async {
        link.stream().finish()?;
        link.stream().acked().await
    };
    let _ = timeout(CONFIRM_LIMIT, told).await;
}

/// Four repetitions of a lost FIN at the default time-outs.
const CONFIRM_LIMIT: Duration = Duration::from_secs(8);
