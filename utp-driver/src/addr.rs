//! The addresses that users and the core see, and those that the socket wants.
//!
//! A dual-stack socket speaks of IPv4 peers as `::ffff:a.b.c.d`. Nobody above the driver shall meet
//! that form: one peer has one address, or one connection would look like two.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Which peers a socket reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// An IPv4 socket.
    V4,
    /// An IPv6 socket that does not reach IPv4 peers.
    V6,
    /// An IPv6 socket that reaches IPv4 peers through mapped addresses.
    Dual,
}

impl Family {
    /// The form of a [`canonical`] `peer` that a socket of this family takes; `None` if it cannot
    /// reach that peer.
    #[must_use]
    pub fn to_wire(self, peer: SocketAddr) -> Option<SocketAddr> {
        match (self, peer) {
            (Self::V4, SocketAddr::V4(_)) | (Self::V6 | Self::Dual, SocketAddr::V6(_)) => Some(peer),
            (Self::Dual, SocketAddr::V4(v4)) => {
                Some(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
            }
            (Self::V4, SocketAddr::V6(_)) | (Self::V6, SocketAddr::V4(_)) => None,
        }
    }
}

/// The one form of an address that is used above the socket: IPv4 is never mapped into IPv6, there
/// is no flow label, and a scope only where it is part of the address (link-local).
#[must_use]
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = addr else { return addr };
    match v6.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), v6.port()),
        IpAddr::V6(ip) => {
            let scope = if ip.is_unicast_link_local() { v6.scope_id() } else { 0 };
            SocketAddrV6::new(ip, v6.port(), 0, scope).into()
        }
    }
}

/// Makes an attempt with one address after another, until one succeeds.
///
/// # Errors
/// That of the last attempt. An address that cannot be tried at all from the socket at hand
/// (`InvalidInput`) is not worth hiding a better reason. `InvalidInput` if there is no address.
pub async fn try_each<T, F>(
    addrs: impl IntoIterator<Item = SocketAddr>,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last: Option<io::Error> = None;
    for addr in addrs {
        match attempt(addr).await {
            Ok(success) => return Ok(success),
            Err(error) if last.is_some() && error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address")))
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_ipv4_above_and_mapped_below() {
        let plain = addr("10.1.2.3:4");
        assert_eq!(canonical(addr("[::ffff:10.1.2.3]:4")), plain);
        assert_eq!(Family::Dual.to_wire(plain), Some(addr("[::ffff:10.1.2.3]:4")));
        assert_eq!(Family::V4.to_wire(plain), Some(plain));
    }

    #[test]
    fn only_a_link_local_address_keeps_its_scope_and_none_its_flow() {
        let global = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 9, 7, 3).into();
        assert_eq!(canonical(global), addr("[2001:db8::1]:9"));
        let local: SocketAddr = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 7, 3).into();
        assert_eq!(canonical(local), SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, 3).into());
    }

    #[test]
    fn a_socket_of_one_family_does_not_reach_the_other() {
        assert_eq!(Family::V4.to_wire(addr("[::1]:1")), None);
        assert_eq!(Family::V6.to_wire(addr("127.0.0.1:1")), None);
        assert_eq!(Family::V6.to_wire(addr("[::1]:1")), Some(addr("[::1]:1")));
    }

    /// Tries ports 0, 1, ... with these outcomes.
    fn tried(outcomes: &[Result<(), io::ErrorKind>]) -> Result<u16, io::ErrorKind> {
        let addrs = (0..outcomes.len() as u16).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let attempt = |addr: SocketAddr| {
            ready(outcomes[usize::from(addr.port())].map(|()| addr.port()).map_err(io::Error::from))
        };
        match pin!(try_each(addrs, attempt)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map_err(|error| error.kind()),
            Poll::Pending => panic!("nothing to wait for"),
        }
    }

    #[test]
    fn addresses_are_tried_in_turn_and_the_best_reason_is_given() {
        use io::ErrorKind::{ConnectionRefused, InvalidInput, TimedOut};

        assert_eq!(tried(&[Err(TimedOut), Ok(()), Ok(())]), Ok(1));
        assert_eq!(tried(&[Err(TimedOut), Err(ConnectionRefused)]), Err(ConnectionRefused));
        assert_eq!(tried(&[Err(InvalidInput), Err(TimedOut)]), Err(TimedOut));
        assert_eq!(tried(&[Err(TimedOut), Err(InvalidInput)]), Err(TimedOut));
        assert_eq!(tried(&[Err(InvalidInput)]), Err(InvalidInput));
        assert_eq!(tried(&[]), Err(InvalidInput));
    }
}
