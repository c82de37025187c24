//! Sending one datagram that the network may fragment.
//!
//! Sockets forbid fragmentation (`quinn-udp` sets that), or the path's true MTU would stay unknown.
//! A packet that was sent as a path-MTU probe, or before the path narrowed, cannot be cut again in
//! uTP; it goes out once more with the prohibition lifted. That is rare, so a few more system calls
//! around the send do not matter. Another thread's datagram that slips out meanwhile may be
//! fragmented as well, which harms nobody.

use std::net::SocketAddr;

use crate::runtime::AsUdp;

/// Runs `send` (one datagram to `destination`) with fragmentation allowed, as far as the system has
/// a switch for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn allowed<T>(socket: &impl AsUdp, destination: SocketAddr, send: impl FnOnce() -> T) -> T {
    use nix::libc::{IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_PROBE};
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};

    // A failed switch is not an error: the datagram is then too big, or not.
    if is_native_ipv6(destination) {
        // An IPv6 sender fragments only what exceeds the route's MTU as the kernel knows it, which the core sees to, and
        // only when both switches allow it; into pieces that every path takes.
        let _ = setsockopt(socket, Ipv6DontFrag, &false);
        let _ = setsockopt(socket, linux::Ipv6MtuDiscover, &IPV6_PMTUDISC_DONT);
        let _ = setsockopt(socket, linux::Ipv6Mtu, &IPV6_LEAST_MTU);
        let sent = send();
        let _ = setsockopt(socket, linux::Ipv6Mtu, &0);
        let _ = setsockopt(socket, linux::Ipv6MtuDiscover, &IPV6_PMTUDISC_PROBE);
        let _ = setsockopt(socket, Ipv6DontFrag, &true);
        sent
    } else {
        let _ = setsockopt(socket, linux::IpMtuDiscover, &IP_PMTUDISC_DONT);
        let sent = send();
        let _ = setsockopt(socket, linux::IpMtuDiscover, &IP_PMTUDISC_PROBE);
        sent
    }
}

/// Runs `send` (one datagram to `destination`) with fragmentation allowed.
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
pub(super) fn allowed<T>(socket: &impl AsUdp, destination: SocketAddr, send: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "freebsd")]
    use freebsd as sockopt;
    use nix::sys::socket::setsockopt;
    #[cfg(not(target_os = "freebsd"))]
    use nix::sys::socket::sockopt;

    if is_native_ipv6(destination) {
        let _ = setsockopt(socket, sockopt::Ipv6DontFrag, &false);
        let sent = send();
        let _ = setsockopt(socket, sockopt::Ipv6DontFrag, &true);
        sent
    } else {
        let _ = setsockopt(socket, sockopt::IpDontFrag, &false);
        let sent = send();
        let _ = setsockopt(socket, sockopt::IpDontFrag, &true);
        sent
    }
}

/// Runs `send`. No safe wrapper offers the switch here; what is too big stays so.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
)))]
pub(super) fn allowed<T>(_: &impl AsUdp, _: SocketAddr, send: impl FnOnce() -> T) -> T {
    send()
}

/// A mapped address leaves the machine as IPv4 and obeys the options of IPv4.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
))]
fn is_native_ipv6(destination: SocketAddr) -> bool {
    matches!(destination, SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none())
}

/// RFC 8200 5.
#[cfg(any(target_os = "linux", target_os = "android"))]
const IPV6_LEAST_MTU: nix::libc::c_int = 1280;

/// Options that `nix` does not have by name, declared the way it offers for that.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    #![allow(unreachable_pub, missing_docs)] // the macros declare `pub` types

    use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

    sockopt_impl!(IpMtuDiscover, Both, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int);
    sockopt_impl!(Ipv6MtuDiscover, Both, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::c_int);
    sockopt_impl!(Ipv6Mtu, Both, libc::IPPROTO_IPV6, libc::IPV6_MTU, libc::c_int);
}

/// The same for two that it has on Apple's systems only.
#[cfg(target_os = "freebsd")]
mod freebsd {
    #![allow(unreachable_pub, missing_docs)] // the macros declare `pub` types

    use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

    sockopt_impl!(IpDontFrag, Both, libc::IPPROTO_IP, libc::IP_DONTFRAG, bool);
    sockopt_impl!(Ipv6DontFrag, Both, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, bool);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::libc::{IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_PROBE};
    use nix::sys::socket::{getsockopt, sockopt::Ipv6DontFrag};
    use quinn_udp::UdpSocketState;

    use super::linux::{IpMtuDiscover, Ipv6MtuDiscover};
    use super::*;

    #[test]
    fn ipv4_is_allowed_during_the_send_only() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let _state = UdpSocketState::new((&socket).into()).unwrap();
        let mode = || getsockopt(&socket, IpMtuDiscover).unwrap();

        assert_eq!(mode(), IP_PMTUDISC_PROBE);
        assert_eq!(allowed(&socket, "127.0.0.1:9".parse().unwrap(), mode), IP_PMTUDISC_DONT);
        assert_eq!(mode(), IP_PMTUDISC_PROBE);
    }

    #[test]
    fn ipv6_is_allowed_during_the_send_only() {
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let _state = UdpSocketState::new((&socket).into()).unwrap();
        let mode =
            || (getsockopt(&socket, Ipv6MtuDiscover).unwrap(), getsockopt(&socket, Ipv6DontFrag).unwrap());

        assert_eq!(mode(), (IPV6_PMTUDISC_PROBE, true));
        assert_eq!(allowed(&socket, "[::1]:9".parse().unwrap(), mode), (IPV6_PMTUDISC_DONT, false));
        assert_eq!(mode(), (IPV6_PMTUDISC_PROBE, true));
    }

    #[test]
    fn a_mapped_destination_obeys_the_ipv4_switch() {
        let config = crate::SocketConfig::default();
        let socket = crate::socket::bind("[::]:0".parse().unwrap(), &config).unwrap();
        let _state = UdpSocketState::new((&socket).into()).unwrap();
        let mode = || getsockopt(&socket, IpMtuDiscover).unwrap();

        let mapped = "[::ffff:127.0.0.1]:9".parse().unwrap();
        assert_eq!(allowed(&socket, mapped, mode), IP_PMTUDISC_DONT);
        assert_eq!(mode(), IP_PMTUDISC_PROBE);
    }
}
