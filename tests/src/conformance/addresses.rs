//! Cases: where sockets are bound and where they connect to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use futures_util::future::join;
use utp_driver::SocketConfig;

use super::Adapter;
use super::tools::{bind, connection, expect_end, loopback, receive, send};

/// Sends something from one end to the other.
async fn use_it<A: Adapter, B: Adapter>(from: A::Stream, to: B::Stream) {
    let (_reader, mut writer) = A::split(from);
    let (mut reader, _writer) = B::split(to);
    send::<A>(&mut writer, 1, 5_000).await;
    A::finish(&mut writer).await.expect("finish");
    receive::<B>(&mut reader, 1, 5_000).await;
    expect_end::<B>(&mut reader).await;
}

/// Without a host, a server takes any IPv4 address and a client `localhost`; port 0 is the system's choice.
pub async fn a_port_alone_is_any_ipv4_address_and_localhost<S: Adapter, C: Adapter>() {
    let server = S::bind_port(0).await.expect("bind");
    let client = C::bind_port(0).await.expect("bind");
    let at = S::local_addr(&server);
    assert!(at.is_ipv4());
    assert_eq!(at.ip(), Ipv4Addr::UNSPECIFIED);
    assert_ne!(at.port(), 0);
    let (accepted, connected) = join(S::accept(&server), C::connect_port(&client, at.port())).await;
    let ((accepted, peer), connected) = (accepted.expect("accept"), connected.expect("connect"));
    assert_eq!(peer, SocketAddr::from((Ipv4Addr::LOCALHOST, C::local_addr(&client).port())));
    assert_eq!(C::peer_addr(&connected), SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())));
    use_it::<C, S>(connected, accepted).await;

    // From a socket that speaks IPv6 alone, it is that.
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let server = S::bind(v6, SocketConfig::default()).await.expect("bind");
    let client = C::bind(v6, SocketConfig::default()).await.expect("bind");
    let at = S::local_addr(&server);
    let (accepted, connected) = join(S::accept(&server), C::connect_port(&client, at.port())).await;
    let ((accepted, peer), connected) = (accepted.expect("accept"), connected.expect("connect"));
    assert!(peer.is_ipv6());
    assert_eq!(C::peer_addr(&connected), at);
    use_it::<C, S>(connected, accepted).await;
}

/// Address, family and port, of both ends and at both ends.
pub async fn both_ends_know_both_addresses<S: Adapter, C: Adapter>() {
    for ip in ["127.0.0.1", "::1"] {
        let at = SocketAddr::new(ip.parse().expect("an address"), 0);
        let server = S::bind(at, SocketConfig::default()).await.expect("bind");
        let client = C::bind(at, SocketConfig::default()).await.expect("bind");
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        let (here, there) = (C::local_addr(&client), S::local_addr(&server));
        assert_eq!((here.ip(), there.ip()), (at.ip(), at.ip()));
        assert_eq!((here.is_ipv4(), here.is_ipv6()), (at.is_ipv4(), at.is_ipv6()));
        assert!(here.port() != 0 && there.port() != 0 && here.port() != there.port());
        assert_eq!((C::stream_local_addr(&connected), C::peer_addr(&connected)), (here, there));
        assert_eq!((S::stream_local_addr(&accepted), S::peer_addr(&accepted)), (there, here));
    }
}

/// The error comes in place of the socket, so that there is nothing to be closed.
pub async fn a_taken_port_is_an_error_and_no_socket<S: Adapter, C: Adapter>() {
    let server = bind::<S>().await;
    let Err(error) = C::bind(S::local_addr(&server), SocketConfig::default()).await else {
        panic!("two sockets on one port")
    };
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    // An address of nobody (RFC 5737).
    let elsewhere = "192.0.2.1:0".parse().expect("an address");
    let Err(error) = C::bind(elsewhere, SocketConfig::default()).await else {
        panic!("bound to an address of another machine")
    };
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    // The first one is none the worse for it.
    let client = bind::<C>().await;
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    use_it::<C, S>(connected, accepted).await;
}

/// Both sides take over what somebody else has bound; what is not a UDP socket is refused.
pub async fn over_an_existing_descriptor<S: Adapter, C: Adapter>() {
    let [one, other] = [0, 1].map(|_| UdpSocket::bind(loopback()).expect("bind"));
    let addrs = [&one, &other].map(|socket| socket.local_addr().expect("an address"));
    #[cfg(unix)]
    let [one, other] = [one, other].map(|socket| UdpSocket::from(std::os::fd::OwnedFd::from(socket)));
    let server = S::from_std(one, SocketConfig::default()).await.expect("a socket");
    let client = C::from_std(other, SocketConfig::default()).await.expect("a socket");
    assert_eq!([S::local_addr(&server), C::local_addr(&client)], addrs);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    use_it::<C, S>(connected, accepted).await;

    #[cfg(unix)]
    {
        let stream = std::net::TcpListener::bind(loopback()).expect("bind");
        let stream = UdpSocket::from(std::os::fd::OwnedFd::from(stream));
        let Err(error) = S::from_std(stream, SocketConfig::default()).await else { panic!("uTP over TCP") };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
