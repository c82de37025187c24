//! Sockets: one to listen on, or those to connect from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use tokio::sync::OnceCell;
use utp_tokio::{SocketConfig, UtpSocket, UtpStream, race};

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

    /// Connects to the address of `to` that answers first, one attempt after another (RFC 8305).
    ///
    /// # Errors
    /// The name does not resolve; otherwise the most telling of what its addresses said.
    pub(crate) async fn connect(&self, to: &Address) -> anyhow::Result<(UtpSocket, UtpStream)> {
        let peers = to.resolve_remote().await?;
        let connected = race(&peers[..], |peer| self.connect_to(peer)).await;
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
