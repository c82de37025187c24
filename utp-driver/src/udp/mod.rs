//! Batched UDP I/O: an [`Inbox`] receives many datagrams with one call, an [`Outbox`] sends runs of
//! them; [`Intake`] and [`Outlet`] do so for an endpoint. Nothing here knows of tasks, locks or connections, so that
//! an adapter without any of these (mio) uses it as it is.

mod datagrams;
mod fragment;
mod inbox;
mod intake;
mod outbox;
mod outlet;
#[cfg(test)]
mod side_tests;
mod singles;
#[cfg(test)]
mod tests;

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

pub use datagrams::Datagrams;
pub use inbox::{Datagram, Inbox, Moment};
pub use intake::{Intake, Received};
pub use outbox::{Flushed, Outbox, PathErrors};
pub use outlet::Outlet;

use crate::addr::Family;
use crate::runtime::{Direction, UdpSocket};
use crate::socket::{self, BufferSizes, Prepared};
use crate::{SocketConfig, addr};

/// A UDP socket with what the system can do for it.
#[derive(Debug)]
pub struct Udp<S> {
    socket: S,
    state: UdpSocketState,
    family: Family,
    local: SocketAddr,
    buffers: BufferSizes,
    /// Segments that one send call may carry.
    send_segments: usize,
    #[cfg(feature = "faults")]
    faults: Option<std::sync::Arc<dyn crate::faults::Faults>>,
}

impl<S> Udp<S> {
    /// The socket itself.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket itself, to register it with an event loop.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Which peers it reaches.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Its kernel buffers.
    pub fn buffers(&self) -> BufferSizes {
        self.buffers
    }
}

impl<S: UdpSocket> Udp<S> {
    /// Sets `socket` up and hands it to `register`, which puts it into an event loop.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a UDP socket; those of `register` and of socket options without
    /// which the socket is of no use.
    pub fn new(
        socket: std::net::UdpSocket,
        config: &SocketConfig,
        register: impl FnOnce(std::net::UdpSocket) -> io::Result<S>,
    ) -> io::Result<Self> {
        let Prepared { family, local, buffers } = socket::prepare(&socket, config)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        if !config.receive_offload {
            receive_offload_off(&socket);
        }
        let offload = config.send_offload && !has_traffic_class(&socket);
        let send_segments = if offload { state.max_gso_segments() } else { 1 };
        let socket = register(socket)?;
        Ok(Self {
            socket,
            state,
            family,
            local,
            buffers,
            send_segments,
            #[cfg(feature = "faults")]
            faults: config.faults.clone(),
        })
    }

    /// Sends one datagram that is none of the protocol's.
    ///
    /// # Errors
    /// `WouldBlock`, `InvalidInput` for a peer of the other address family, and whatever the system says.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        let destination = self.destination(to).ok_or_else(unreachable_family)?;
        let datagram =
            quinn_udp::Transmit { destination, ecn: None, contents: data, segment_size: None, src_ip: None };
        self.send(&datagram, false)
    }

    /// `peer` in the one form that the endpoint knows it by.
    ///
    /// # Errors
    /// `InvalidInput` if the socket does not reach that address family.
    pub fn peer(&self, peer: SocketAddr) -> io::Result<SocketAddr> {
        match self.destination(peer) {
            Some(_) => Ok(addr::canonical(peer)),
            None => Err(unreachable_family()),
        }
    }

    /// `localhost`, as far as this socket can reach it: by IPv4 if it speaks that.
    pub fn localhost(&self, port: u16) -> SocketAddr {
        let v4 = (Ipv4Addr::LOCALHOST, port).into();
        let v6 = (Ipv6Addr::LOCALHOST, port).into();
        if self.destination(v4).is_some() { v4 } else { v6 }
    }

    /// The form of `peer` that the socket takes, if it reaches that peer.
    pub(crate) fn destination(&self, peer: SocketAddr) -> Option<SocketAddr> {
        self.family.to_wire(addr::canonical(peer))
    }

    /// One system call. `may_fragment`: the network may cut the datagram.
    fn send(&self, transmit: &quinn_udp::Transmit<'_>, may_fragment: bool) -> io::Result<()> {
        let send =
            || self.call(Direction::Write, |socket| self.state.try_send(UdpSockRef::from(socket), transmit));
        if may_fragment { fragment::allowed(&self.socket, transmit.destination, send) } else { send() }
    }

    /// One system call, for as many of `datagrams` as the socket takes.
    fn send_many(&self, datagrams: &singles::Singles<'_>) -> io::Result<usize> {
        self.call(Direction::Write, |socket| singles::send(socket, datagrams))
    }

    /// One system call.
    fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        let received =
            self.call(Direction::Read, |socket| self.state.recv(UdpSockRef::from(socket), buffers, meta))?;
        #[cfg(feature = "faults")]
        if let Some(faults) = &self.faults {
            for meta in &mut meta[..received] {
                meta.timestamp = meta.timestamp.map(|stamp| faults.arrived(stamp));
            }
        }
        Ok(received)
    }

    fn call<R>(&self, direction: Direction, call: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        #[cfg(feature = "faults")]
        if let Some(faults) = &self.faults {
            faults.before(direction)?;
        }
        self.socket.try_io(direction, || call(&self.socket))
    }
}

/// `InvalidInput`: an IPv6 peer on an IPv4 socket, or the reverse.
pub(crate) fn unreachable_family() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket does not reach this address family")
}

/// Whether the application has marked `socket` with a traffic class (DSCP). `quinn-udp`, which sends runs, writes
/// one of its own into each, zero.
#[cfg(target_os = "linux")]
fn has_traffic_class(socket: &std::net::UdpSocket) -> bool {
    let options = socket2::SockRef::from(socket);
    let classes = [options.tos_v4(), options.tclass_v6()];
    classes.into_iter().flatten().any(|class| class & DSCP != 0)
}

/// Elsewhere `quinn-udp` sends everything.
#[cfg(not(target_os = "linux"))]
fn has_traffic_class(_: &std::net::UdpSocket) -> bool {
    false
}

/// The part of a traffic class that is not ECN.
#[cfg(target_os = "linux")]
const DSCP: u32 = 0xfc;

/// Switches receive offload off where `quinn-udp` has switched it on. A kernel that does not know the
/// option has no offload either.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_offload_off(socket: &std::net::UdpSocket) {
    use nix::sys::socket::{setsockopt, sockopt};

    let _ = setsockopt(socket, sockopt::UdpGroSegment, &false);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive_offload_off(_: &std::net::UdpSocket) {}
