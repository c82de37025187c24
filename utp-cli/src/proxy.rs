//! `utp proxy`: lets programs that speak TCP use uTP, many connections at a time.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use utp_tokio::UtpSocket;

use crate::Env;
use crate::address::{Address, Scheme, Url};
use crate::console::Console;
use crate::dial::{self, Dialer};
use crate::options::{Settings, Transport};
use crate::relay::{Moved, Relay, Stream};
use crate::stats::Connections;

/// Carry TCP connections over uTP, or uTP connections over TCP.
///
/// A pair of these lets any TCP program use uTP: near the client
/// `utp proxy --listen tcp://127.0.0.1:2222 --to utp://HOST:7777`, and near the server
/// `utp proxy --listen utp://:7777 --to tcp://127.0.0.1:22`. The end of either direction is passed on by
/// itself, and so is a reset.
///
/// Ctrl-C (or SIGTERM) takes no more connections and waits for those that are open; a second one breaks
/// them.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Where to take connections: tcp://HOST:PORT or utp://HOST:PORT.
    #[arg(long, value_name = "URL")]
    listen: Url,
    /// Where to connect each of them to: utp://HOST:PORT or tcp://HOST:PORT.
    #[arg(long, value_name = "URL")]
    to: Url,
    /// Connections at a time; more have to wait.
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    max_connections: NonZeroUsize,
    /// Serve uTP clients as soon as they knock, before they have proven that their address is their own.
    /// Needed if the server speaks first and clients, as libutp does, wait in silence.
    #[arg(long)]
    speak_first: bool,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Proxy {
    /// What the command line's own rules cannot say.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match (self.listen.scheme, self.to.scheme) {
            (Scheme::Tcp, Scheme::Tcp) => Err("at least one of --listen and --to must be utp://"),
            _ => Ok(()),
        }
    }

    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        // Programs have their own ideas of when a message is complete.
        env.settings.protocol.nagle(false).speak_first(self.speak_first);
        let listener = env.interrupt.or(Listener::bind(&self.listen, &env.settings)).await?;
        let at = format!("{}://{}", self.listen.scheme, listener.local_addr()?);
        env.console.listening(at, self.listen.address.is_any_port());
        let target = Arc::new(Target {
            url: self.to.clone(),
            dialer: Dialer::new(&env.settings),
            connect_timeout: self.transport.connect_timeout,
            closed: CancellationToken::new(),
        });
        let started = Instant::now();
        let mut house = House { console: env.console, totals: Totals::default(), relays: JoinSet::new() };

        loop {
            let full = house.relays.len() >= self.max_connections.get();
            tokio::select! {
                accepted = listener.accept(), if !full => match accepted {
                    Ok((client, peer)) => house.admit(client, peer, Arc::clone(&target)),
                    Err(error) => house.turned_away(&error).await,
                },
                Some(ended) = house.relays.join_next() => house.count(ended),
                () = env.interrupt.wait() => break,
            }
        }
        let listening = listener.close();
        let result = house.empty(env, listening.as_ref(), &target).await;
        let Totals { connections, moved } = house.totals;
        env.report.moved(moved.forth, moved.back, started.elapsed());
        env.report.connections = Some(connections);
        for socket in listening.iter().chain(target.dialer.sockets()) {
            env.report.socket(&socket.stats());
        }
        result
    }
}

/// All connections under way.
struct House {
    console: Console,
    totals: Totals,
    relays: JoinSet<Served>,
}

#[derive(Debug, Default)]
struct Totals {
    connections: Connections,
    moved: Moved,
}

/// What became of a connection.
struct Served {
    peer: SocketAddr,
    moved: Moved,
    ending: Ending,
}

enum Ending {
    Finished,
    Broken(io::Error),
    Unreachable(anyhow::Error),
    /// By whoever runs this.
    Interrupted,
}

impl House {
    fn admit(&mut self, client: Stream, peer: SocketAddr, target: Arc<Target>) {
        self.totals.connections.accepted += 1;
        self.relays.spawn(serve(client, peer, target));
    }

    /// Accepting failed: one client has gone again, or the process is out of descriptors, which only
    /// time cures.
    async fn turned_away(&self, error: &io::Error) {
        self.console.warn(format_args!("cannot accept a connection: {error}"));
        sleep(ACCEPT_PAUSE).await;
    }

    fn count(&mut self, ended: Result<Served, JoinError>) {
        let Totals { connections, moved } = &mut self.totals;
        let served = match ended {
            Ok(served) => served,
            Err(error) => {
                connections.broken += 1;
                self.console.warn(format_args!("a connection failed: {error}"));
                return;
            }
        };
        moved.forth += served.moved.forth;
        moved.back += served.moved.back;
        connections.retransmits += served.moved.retransmits;
        connections.timeouts += served.moved.timeouts;
        let peer = served.peer;
        match served.ending {
            Ending::Finished => {
                let Moved { forth, back, .. } = served.moved;
                self.console.note(format_args!("{peer} finished, {forth} bytes forth and {back} back"));
            }
            Ending::Broken(error) => {
                connections.broken += 1;
                self.console.warn(format_args!("{peer} broken off: {error}"));
            }
            Ending::Interrupted => connections.broken += 1,
            Ending::Unreachable(error) => {
                connections.unreachable += 1;
                self.console.warn(format_args!("{peer} not served: {error:#}"));
            }
        }
    }

    /// Lets nobody in any more and waits until everybody has left, or is thrown out.
    async fn empty(
        &mut self,
        env: &mut Env<'_>,
        listening: Option<&UtpSocket>,
        target: &Target,
    ) -> anyhow::Result<()> {
        if !self.relays.is_empty() {
            let open = self.relays.len();
            self.console.note(format_args!("waiting for {open} connections; interrupt again to break them"));
        }
        let left = async {
            while let Some(ended) = self.relays.join_next().await {
                self.count(ended);
            }
            // What was written before the streams were dropped is still on its way.
            for socket in listening.into_iter().chain(target.dialer.sockets()) {
                socket.idle().await?;
            }
            anyhow::Ok(())
        };
        let result = env.interrupt.or(left).await;
        if result.is_err() {
            target.closed.cancel();
            while let Some(ended) = self.relays.join_next().await {
                self.count(ended);
            }
            sleep(RESET_TIME).await;
        }
        result
    }
}

/// A client, from its coming to its end.
async fn serve(client: Stream, peer: SocketAddr, target: Arc<Target>) -> Served {
    let mut relay = Relay::new(client);
    let work = async {
        match target.connect().await {
            Ok(upstream) => relay.run(upstream).await.map_or_else(Ending::Broken, |()| Ending::Finished),
            Err(error) => Ending::Unreachable(error),
        }
    };
    let ending = tokio::select! {
        ending = work => ending,
        () = target.closed.cancelled() => Ending::Interrupted,
    };
    Served { peer, moved: relay.moved(), ending }
}

/// Where clients come in.
enum Listener {
    Tcp(TcpListener),
    Utp(UtpSocket),
}

impl Listener {
    async fn bind(url: &Url, settings: &Settings) -> anyhow::Result<Self> {
        match url.scheme {
            Scheme::Utp => dial::listen(&url.address, settings).await.map(Self::Utp),
            Scheme::Tcp => {
                let candidates = url.address.resolve_local().await?;
                let listener = TcpListener::bind(&candidates[..]).await;
                listener.map(Self::Tcp).with_context(|| format!("cannot listen on {url}"))
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Utp(socket) => Ok(socket.local_addr()),
        }
    }

    /// Cancel-safe.
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Either::Left(eager(stream)), peer))
            }
            Self::Utp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((Either::Right(stream), peer))
            }
        }
    }

    /// Lets nobody in any more. A uTP socket stays for the connections that it has.
    fn close(self) -> Option<UtpSocket> {
        match self {
            Self::Tcp(_) => None,
            Self::Utp(socket) => {
                let closing = socket.clone();
                tokio::spawn(async move { closing.close().await });
                Some(socket)
            }
        }
    }
}

/// Where clients are connected to.
struct Target {
    url: Url,
    dialer: Dialer,
    /// For TCP; uTP's is in the dialer.
    connect_timeout: Duration,
    /// Breaks connections and attempts to connect.
    closed: CancellationToken,
}

impl Target {
    async fn connect(&self) -> anyhow::Result<Stream> {
        let address = &self.url.address;
        match self.url.scheme {
            Scheme::Utp => {
                let (_, stream) = self.dialer.connect(address).await?;
                Ok(Either::Right(stream))
            }
            Scheme::Tcp => {
                let connected = tcp_connect(address, self.connect_timeout).await;
                connected.map(Either::Left).with_context(|| format!("cannot connect to {}", self.url))
            }
        }
    }
}

/// Connects to the address that answers first, within `limit`.
async fn tcp_connect(address: &Address, limit: Duration) -> anyhow::Result<TcpStream> {
    let peers = address.resolve_remote().await?;
    let attempt = |peer| async move {
        timeout(limit, TcpStream::connect(peer))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out")))
    };
    Ok(eager(utp_tokio::race(&peers[..], attempt).await?))
}

/// Without Nagle's algorithm, as on the other side.
fn eager(stream: TcpStream) -> TcpStream {
    // Fails only if the connection is gone already, which the relay will find out.
    let _ = stream.set_nodelay(true);
    stream
}

/// For descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the driver to hand resets to the kernel.
const RESET_TIME: Duration = Duration::from_millis(200);
