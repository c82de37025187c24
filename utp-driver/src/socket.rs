//! Making a UDP socket ready: binding, dual stack, kernel buffers.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::SocketConfig;
use crate::addr::{Family, canonical};

/// Kernel buffers of a socket, in bytes, as granted by the system: often less than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferSizes {
    /// Send buffer.
    pub send: usize,
    /// Receive buffer.
    pub receive: usize,
}

/// A non-blocking UDP socket bound to `addr`; port 0 lets the system choose. `[::]` serves IPv4
/// peers as well, unless [`SocketConfig::only_v6`] says otherwise.
///
/// # Errors
/// Those of `socket(2)` and `bind(2)`: the address is in use or not of this machine, no permission,
/// no IPv6.
pub fn bind(addr: SocketAddr, config: &SocketConfig) -> io::Result<UdpSocket> {
    let addr = canonical(addr);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        let dual = addr.ip().is_unspecified() && !config.only_v6;
        // OpenBSD has no dual-stack sockets and refuses; the socket then serves IPv6 alone.
        match socket.set_only_v6(!dual) {
            Err(error) if !dual => return Err(error),
            _ => {}
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Asks for the configured buffers and checks that `socket` is what this crate can drive.
pub(crate) fn prepare(socket: &UdpSocket, config: &SocketConfig) -> io::Result<Prepared> {
    let options = SockRef::from(socket);
    // `UdpSocket` can be made from any descriptor.
    if options.r#type()? != Type::DGRAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a datagram socket"));
    }
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    let family = match local {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && !options.only_v6()? => Family::Dual,
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => Family::Dual,
        SocketAddr::V6(_) => Family::V6,
    };
    // A request that is refused leaves the default, which `buffers` then tells.
    if let Some(bytes) = config.send_buffer {
        let _ = options.set_send_buffer_size(bytes.min(LARGEST_REQUEST));
    }
    if let Some(bytes) = config.receive_buffer {
        let _ = options.set_recv_buffer_size(bytes.min(LARGEST_REQUEST));
    }
    let buffers = BufferSizes {
        send: options.send_buffer_size()? / BOOKKEEPING,
        receive: options.recv_buffer_size()? / BOOKKEEPING,
    };
    Ok(Prepared { family, local: canonical(local), buffers })
}

/// What [`prepare`] found out.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) family: Family,
    pub(crate) local: SocketAddr,
    pub(crate) buffers: BufferSizes,
}

/// Linux doubles a requested size to leave room for its bookkeeping, and reports the double (socket(7)).
const BOOKKEEPING: usize = if cfg!(any(target_os = "linux", target_os = "android")) { 2 } else { 1 };

/// The option is a C `int` everywhere, and Linux doubles it.
const LARGEST_REQUEST: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn port_zero_is_chosen_by_the_system() {
        let socket = bind(addr("127.0.0.1:0"), &SocketConfig::default()).unwrap();
        assert_ne!(socket.local_addr().unwrap().port(), 0);
        let mut byte = [0];
        assert_eq!(socket.recv(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let config = SocketConfig::default();
        let first = bind(addr("127.0.0.1:0"), &config).unwrap();
        let error = bind(first.local_addr().unwrap(), &config).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_unspecified_ipv6_address_is_dual_stack_unless_forbidden() {
        let mut config = SocketConfig::default();
        let family = |config: &SocketConfig, at: &str| {
            prepare(&bind(addr(at), config).unwrap(), config).unwrap().family
        };
        assert_eq!(family(&config, "[::]:0"), Family::Dual);
        assert_eq!(family(&config, "[::1]:0"), Family::V6);
        assert_eq!(family(&config, "0.0.0.0:0"), Family::V4);
        assert_eq!(family(config.only_v6(true), "[::]:0"), Family::V6);
    }

    #[test]
    fn a_mapped_address_binds_an_ipv4_socket() {
        let socket = bind(addr("[::ffff:127.0.0.1]:0"), &SocketConfig::default()).unwrap();
        assert!(socket.local_addr().unwrap().is_ipv4());
    }

    #[test]
    fn granted_buffers_are_reported_in_the_unit_of_the_request() {
        let mut config = SocketConfig::default();
        config.send_buffer(Some(64 << 10)).receive_buffer(Some(96 << 10));
        let socket = bind(addr("127.0.0.1:0"), &config).unwrap();
        let granted = prepare(&socket, &config).unwrap().buffers;
        assert_eq!((granted.send, granted.receive), (64 << 10, 96 << 10));
    }

    #[test]
    fn an_impossible_request_is_not_an_error() {
        let mut config = SocketConfig::default();
        config.receive_buffer(Some(usize::MAX >> 1));
        let socket = bind(addr("127.0.0.1:0"), &config).unwrap();
        assert!(prepare(&socket, &config).unwrap().buffers.receive > 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_descriptor_that_is_no_datagram_socket_is_refused() {
        use std::os::fd::OwnedFd;

        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::from(OwnedFd::from(stream));
        let error = prepare(&socket, &SocketConfig::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
