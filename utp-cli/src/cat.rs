//! `utp cat`: stdin and stdout over a connection, like netcat.

use std::path::Path;

use clap::{ArgGroup, Args};

use crate::Env;
use crate::address::Address;
use crate::console::Console;
use crate::dial::{self, Dialer};
use crate::link::Link;
use crate::options::{Settings, Transport};
use crate::payload::Payload;
use crate::sink::Sink;

/// Connect stdin and stdout to a peer, both ways.
///
/// The end of stdin is passed on while what the peer still sends goes to stdout, and the other way
/// round. The command ends when both directions have.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("peer").required(true).args(["address", "listen"]))]
pub(crate) struct Cat {
    /// Whom to connect to: HOST:PORT.
    address: Option<Address>,
    /// Wait for one peer to connect to HOST:PORT instead.
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<Address>,
    /// With --listen, serve the peer as soon as it knocks, before it has proven that the address is its
    /// own. Needed if the listener speaks first and the peer, as libutp does, waits in silence.
    #[arg(long, conflicts_with = "address")]
    speak_first: bool,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Cat {
    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        // What somebody types should not wait for an acknowledgement.
        env.settings.protocol.nagle(false).speak_first(self.speak_first);
        let mut link = env.interrupt.or(self.open(&env.settings, env.console)).await?;
        env.console.note(format_args!("connected to {}", link.stream().peer_addr()));
        let sink = Sink::create(Path::new("-")).await?;
        let both = async {
            let Link { read, write, .. } = &mut link;
            tokio::try_join!(Payload::stdin().send(write), sink.fill(read))
        };
        let result = env.interrupt.or(both).await;
        env.report.link(&link, link.elapsed());
        match result {
            Ok(_) => {
                link.linger().await;
                Ok(())
            }
            Err(error) => {
                link.reset().await;
                Err(error)
            }
        }
    }

    async fn open(&self, settings: &Settings, console: Console) -> anyhow::Result<Link> {
        match (&self.address, &self.listen) {
            (Some(address), _) => {
                let (socket, stream) = Dialer::new(settings).connect(address).await?;
                Ok(Link::new(socket, stream))
            }
            (None, Some(listen)) => {
                let socket = dial::listen(listen, settings).await?;
                console.listening(format_args!("utp://{}", socket.local_addr()), listen.is_any_port());
                dial::accept_one(socket).await
            }
            (None, None) => unreachable!("the command line requires one of them"),
        }
    }
}
