//! What a test may look at, and how a run fails.

use std::net::SocketAddr;
use std::time::Duration;

use utp_proto::ConnectionHandle;

use super::{ConnId, HostId, World};
use crate::sim::app::Side;
use crate::sim::host::Host;
use crate::sim::link::{Link, LinkStats};
use crate::sim::network::LinkId;

/// Looking.
impl World {
    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// A host.
    #[must_use]
    pub fn at(&mut self, host: HostId) -> &mut Host {
        self.hosts[host.0].dirty = true;
        &mut self.hosts[host.0]
    }

    /// A host's address.
    #[must_use]
    pub fn addr(&self, host: HostId) -> SocketAddr {
        self.hosts[host.0].addr
    }

    /// What a link has done.
    #[must_use]
    pub fn link_stats(&self, link: LinkId) -> &LinkStats {
        self.network.stats(link)
    }

    /// Takes what a link has done so far, and counts from zero.
    pub fn take_link_stats(&mut self, link: LinkId) -> LinkStats {
        std::mem::take(self.network.stats_mut(link))
    }

    /// A link, to be changed.
    pub fn link_mut(&mut self, link: LinkId) -> &mut Link {
        self.network.link_mut(link)
    }

    /// The dialing side of a connection.
    ///
    /// # Panics
    /// Never: a connection has one from the start.
    #[must_use]
    pub fn dialer(&self, conn: ConnId) -> &Side {
        self.conns[conn.0].sides[0].as_ref().expect("dialed")
    }

    /// The accepting side of a connection, if it got that far.
    #[must_use]
    pub fn accepted(&self, conn: ConnId) -> Option<&Side> {
        self.conns[conn.0].sides[1].as_ref()
    }

    /// The accepting side of a connection.
    ///
    /// # Panics
    /// If nobody accepted.
    #[must_use]
    pub fn acceptor(&self, conn: ConnId) -> &Side {
        self.accepted(conn).unwrap_or_else(|| self.fail("nobody accepted"))
    }

    /// All connections.
    pub fn conns(&self) -> impl Iterator<Item = ConnId> + use<> {
        (0..self.conns.len()).map(ConnId)
    }

    /// The ids of a connection's side, on which it receives and with which it sends, while it lives.
    #[must_use]
    pub fn ids(&mut self, conn: ConnId, acceptor: bool) -> Option<(u16, u16)> {
        let side = self.conns[conn.0].sides[usize::from(acceptor)].as_ref()?;
        let connection = self.hosts[side.host].endpoint.connection(side.handle)?;
        connection.close_reason().is_none().then(|| connection.ids())
    }

    /// The last number of DATA or FIN that a host has used towards another with this id.
    #[must_use]
    pub fn highest(&self, from: HostId, to: HostId, id: u16) -> Option<u16> {
        self.monitor.as_ref()?.highest(from.0, to.0, id)
    }

    /// Whether a connection between two hosts was ever dialed with an id this near: packets that either of
    /// them sends with it, or answers that it provokes, may belong to that one.
    #[must_use]
    pub fn is_near(&self, a: HostId, b: HostId, id: u16) -> bool {
        (0..=4).any(|by| {
            let id = id.wrapping_add(by).wrapping_sub(2);
            self.dialed.contains_key(&(a.0, b.0, id)) || self.dialed.contains_key(&(b.0, a.0, id))
        })
    }

    /// Both sides of every connection, so far as they exist.
    pub fn all_sides(&self) -> impl Iterator<Item = &Side> {
        self.conns.iter().flat_map(|conn| &conn.sides).flatten()
    }

    /// Whether a side's connection has been reported closed, or has never been.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.open_sides == 0
    }

    /// Connections that were accepted although nobody dialed them.
    #[must_use]
    pub fn strangers(&self) -> Vec<(HostId, ConnectionHandle)> {
        self.strangers.iter().map(|stranger| (stranger.host, stranger.handle)).collect()
    }

    /// A hash of everything that was sent: when, by whom, to whom, what, and what became of it.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.network.trace.hash()
    }

    /// Datagrams sent.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.network.trace.count()
    }

    /// Ends the test with the seed, the connections and the last packets.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&self, what: &str) -> ! {
        let mut sides = String::new();
        for (i, conn) in self.conns.iter().enumerate().take(FEW) {
            for (name, side) in ["dialer", "acceptor"].iter().zip(&conn.sides) {
                match side {
                    Some(side) => sides += &format!("connection {i}, {name}: {side}\n"),
                    None => sides += &format!("connection {i}, {name}: none\n"),
                }
            }
        }
        panic!("at {:?}, seed {}: {what}\n{sides}{}", self.now, self.seed, self.network.trace);
    }
}

/// Connections shown in a message of failure.
const FEW: usize = 10;
