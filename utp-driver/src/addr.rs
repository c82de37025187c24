//! The addresses that users and the core see, and those that the socket wants.
//!
//! A dual-stack socket speaks of IPv4 peers as `::ffff:a.b.c.d`. Nobody above the driver shall meet
//! that form: one peer has one address, or one connection would look like two.

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

#[cfg(test)]
mod tests {
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
}
