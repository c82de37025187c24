//! Cases: a peer with several addresses, the first of which that answers is taken (RFC 8305).
//!
//! When which address is tried is a matter of the unit tests of `utp_driver::race`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures_util::future::join;
use utp_driver::SocketConfig;

use super::Adapter;
use super::tools::{bind, bind_with, config, expect_end, loopback, receive, send, until};

/// Somebody who gets everything and answers nothing.
pub(super) fn silent(at: SocketAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(at).expect("bind");
    let addr = socket.local_addr().expect("an address");
    (socket, addr)
}

/// A socket that refuses.
async fn refusing<A: Adapter>() -> A::Socket {
    bind_with::<A>(config(|config| {
        config.listen(false);
    }))
    .await
}

/// Races `client` to `addrs`, of which `server` is the one that answers. That connection is a good one, and
/// nothing is left of the other attempts.
async fn server_wins<S: Adapter, C: Adapter>(server: &S::Socket, client: &C::Socket, addrs: &[SocketAddr]) {
    let (accepted, connected) = join(S::accept(server), C::connect_any(client, addrs)).await;
    let ((accepted, _), connected) = (accepted.expect("accept"), connected.expect("connect"));
    assert_eq!(C::peer_addr(&connected), S::local_addr(server));
    until::<C>(|| C::socket_stats(client).endpoint.connections == 1).await;
    let (_reader, mut writer) = C::split(connected);
    let (mut reader, _writer) = S::split(accepted);
    send::<C>(&mut writer, 1, 5_000).await;
    C::finish(&mut writer).await.expect("finish");
    receive::<S>(&mut reader, 1, 5_000).await;
    expect_end::<S>(&mut reader).await;
}

/// It gets a head start, and goes on while the next one is tried.
pub async fn a_silent_address_is_not_waited_for<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (one, first) = silent(loopback());
    let (_other, second) = silent(loopback());
    server_wins::<S, C>(&server, &client, &[first, second, S::local_addr(&server)]).await;
    // It was tried, and is forgotten.
    one.set_nonblocking(true).expect("an option");
    assert!(one.recv(&mut [0; 100]).expect("a SYN") >= 20);
}

/// So does an address that cannot be reached from the socket at all.
pub async fn a_refusal_leads_to_the_next_address<S: Adapter, C: Adapter>() {
    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (one, other) = (refusing::<S>().await, refusing::<S>().await);
    let unreachable = (Ipv6Addr::LOCALHOST, 9).into();
    let addrs = [S::local_addr(&one), unreachable, S::local_addr(&other), S::local_addr(&server)];
    server_wins::<S, C>(&server, &client, &addrs).await;
}

/// Addresses of either family from a socket that reaches both.
pub async fn families_take_turns<S: Adapter, C: Adapter>() {
    let both = C::bind((Ipv6Addr::UNSPECIFIED, 0).into(), SocketConfig::default()).await.expect("bind");
    for (here, there) in [
        (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))),
        ((Ipv6Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into()),
    ] {
        let server = S::bind(here, SocketConfig::default()).await.expect("bind");
        let (_silent, silent) = silent(there);
        server_wins::<S, C>(&server, &both, &[silent, S::local_addr(&server)]).await;
        until::<C>(|| C::socket_stats(&both).endpoint.connections == 0).await;
    }
}

/// And nothing is left of any attempt.
pub async fn when_all_have_failed_the_most_telling_error_is_given<S: Adapter, C: Adapter>() {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, TimedOut};

    let refuser = refusing::<S>().await;
    let refusing = S::local_addr(&refuser);
    let (_silent, silent) = silent(loopback());
    let unreachable = (Ipv6Addr::LOCALHOST, 9).into();
    let client = bind_with::<C>(config(|config| {
        config.connect_timeout(Duration::from_millis(500)).expect("a valid time");
    }))
    .await;
    for (addrs, expected) in [
        (&[refusing, silent][..], ConnectionRefused),
        (&[silent, refusing, unreachable], ConnectionRefused),
        (&[silent, unreachable], TimedOut),
        (&[unreachable], InvalidInput),
        (&[], InvalidInput),
    ] {
        match C::connect_any(&client, addrs).await {
            Ok(_) => panic!("connected to one of {addrs:?}"),
            Err(error) => assert_eq!(error.kind(), expected, "{addrs:?}"),
        }
        assert_eq!(C::socket_stats(&client).endpoint.connections, 0);
    }
}
