//! Sockets: one to listen on, or those to connect from.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use utp_tokio::{SocketConfig, UtpSocket, UtpStream};

use crate::address::Address;
use crate::link::Link;
use crate::options::Settings;

/// A socket that accepts connections at `address`.
///
/// # Errors
/// The name does not resolve, or none of its addresses can be bound.
pub(crate) async fn listen(address: &Address, settings: &Settings) -> anyhow::Result<UtpSocket> {
    let candidates = address.resolve_local().await?;
    UtpSocket::bind_with(&candidates[..], settings.socket())
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// The first peer to come; everybody else is refused from then on. Cancel-safe.
///
/// # Errors
/// None that is known.
pub(crate) async fn accept_one(socket: UtpSocket) -> anyhow::Result<Link> {
    let (stream, _) = socket.accept().await.context("cannot accept a connection")?;
    let others = socket.clone();
    tokio::spawn(async move { others.close().await });
    Ok(Link::new(socket, stream))
}

/// Opens connections, all of them from one port per address family.
#[derive(Debug)]
pub(crate) struct Dialer {
    config: SocketConfig,
    v4: OnceCell<UtpSocket>,
    v6: OnceCell<UtpSocket>,
}

impl Dialer {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut settings = settings.clone();
        settings.protocol.listen(false);
        Self { config: settings.socket(), v4: OnceCell::new(), v6: OnceCell::new() }
    }

    /// Connects to the first address of `to` that answers.
    ///
    /// # Errors
    /// The name does not resolve; otherwise what the last of its addresses said.
    pub(crate) async fn connect(&self, to: &Address) -> anyhow::Result<(UtpSocket, UtpStream)> {
        let peers = to.resolve_remote().await?;
        let connected = first(peers, |peer| self.connect_to(peer)).await;
        connected.with_context(|| format!("cannot connect to {to}"))
    }

    /// The sockets that were needed so far.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UtpSocket> {
        [&self.v4, &self.v6].into_iter().filter_map(OnceCell::get)
    }

    async fn connect_to(&self, peer: SocketAddr) -> io::Result<(UtpSocket, UtpStream)> {
        let (cell, any): (_, SocketAddr) = match peer {
            SocketAddr::V4(_) => (&self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let socket = cell.get_or_try_init(|| self.bind(any)).await?;
        let stream = socket.connect(peer).await?;
        Ok((socket.clone(), stream))
    }

    async fn bind(&self, any: SocketAddr) -> io::Result<UtpSocket> {
        UtpSocket::bind_with(any, self.config.clone()).await
    }
}

/// The first of `peers` to answer. The next one is tried as soon as the one before has failed or has kept
/// us waiting: over UDP, an address where nobody listens is as silent as one that is far away, and a name
/// may well have two addresses and a listener at the second only.
///
/// # Errors
/// That of the attempt that failed last, when all have.
pub(crate) async fn first<T, F>(peers: Vec<SocketAddr>, attempt: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut peers = peers.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "no address");
    loop {
        attempts.extend(peers.next().map(&attempt));
        let ended = tokio::select! {
            ended = attempts.next() => ended,
            () = sleep(ATTEMPT_DELAY), if peers.len() > 0 => continue,
        };
        match ended {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => failure = error,
            None => return Err(failure),
        }
    }
}

/// RFC 8305 5: the recommended delay between attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::pending;
    use tokio::time::Instant;

    fn peers(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect()
    }

    /// Ports below 10 refuse at once, those below 100 never answer, others answer at once.
    async fn attempt(peer: SocketAddr) -> io::Result<u16> {
        match peer.port() {
            0..10 => Err(io::ErrorKind::ConnectionRefused.into()),
            10..100 => pending().await,
            port => Ok(port),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_delays_the_next_attempt_and_a_refusal_does_not() {
        let begin = Instant::now();
        assert_eq!(first(peers(&[1, 2, 100]), attempt).await.unwrap(), 100);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(first(peers(&[10, 1, 11, 100]), attempt).await.unwrap(), 100);
        assert_eq!(begin.elapsed().as_millis(), 2 * ATTEMPT_DELAY.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_attempts_go_on() {
        let late = |peer: SocketAddr| async move {
            if peer.port() == 1 {
                sleep(ATTEMPT_DELAY * 3 / 2).await;
                Ok(1)
            } else {
                pending().await
            }
        };
        assert_eq!(first(peers(&[1, 10]), late).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_search() {
        let tried = RefCell::new(Vec::new());
        let note = |peer: SocketAddr| {
            tried.borrow_mut().push(peer.port());
            attempt(peer)
        };
        first(peers(&[1, 100, 101]), note).await.unwrap();
        assert_eq!(*tried.borrow(), [1, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer() {
        let error = first(peers(&[1, 2]), attempt).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = first(peers(&[]), attempt).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
