//! `utp cat`: stdin and stdout over a connection, like netcat.

use std::path::Path;

use clap::Args;

use crate::Env;
use crate::address::Address;
use crate::dial::{self, Dialer};
use crate::link::Link;
use crate::options::Transport;
use crate::payload::Payload;
use crate::progress::Progress;
use crate::sink::Sink;

/// Connect stdin and stdout to a peer, both ways.
///
/// The end of stdin is passed on while what the peer still sends goes to stdout, and the other way
/// round. The command ends when both directions have.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Whom to connect to: HOST:PORT.
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    address: Option<Address>,
    /// Wait for one peer to connect to HOST:PORT instead.
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<Address>,
    /// With --listen, serve the peer as soon as it knocks, before it has proven that the address is its
    /// own. Needed if the listener speaks first and the peer, as libutp does, waits in silence.
    #[arg(long, requires = "listen")]
    speak_first: bool,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Cat {
    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        // What somebody types should not wait for an acknowledgement.
        env.settings.protocol.nagle(false).speak_first(self.speak_first);
        let mut link = match (&self.address, &self.listen) {
            (Some(address), _) => {
                let dialer = Dialer::new(&env.settings);
                let (socket, stream) = env.interrupt.or(dialer.connect(address)).await?;
                Link::new(socket, stream)
            }
            (None, Some(listen)) => {
                let socket = dial::listen(listen, &env.settings).await?;
                env.console.listening(format_args!("utp://{}", socket.local_addr()), listen.is_any_port());
                env.interrupt.or(dial::accept_one(socket)).await?
            }
            (None, None) => unreachable!("the command line requires one of them"),
        };
        env.console.note(format_args!("connected to {}", link.stream().peer_addr()));
        let sink = Sink::create(Path::new("-")).await?;
        let none = Progress::none();
        let both = async {
            let Link { read, write, .. } = &mut link;
            tokio::try_join!(Payload::stdin().send(write, &none), sink.fill(read, &none))
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
}
