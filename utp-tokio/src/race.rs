//! [`race`](race()): Happy Eyeballs for whatever connects.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{ToSocketAddrs, lookup_host};

use crate::runtime::Tokio;

/// Races attempts at the addresses that `addr` resolves to, as RFC 8305 (Happy Eyeballs) has it, and gives
/// the first success: for programs that have sockets of their own for each address family, that connect by
/// TCP as well, or whose attempts take more than opening a connection.
/// [`UtpSocket::connect_any`](crate::UtpSocket::connect_any) and
/// [`UtpStream::connect_any`](crate::UtpStream::connect_any) are simpler.
///
/// The next attempt begins when one has failed, or when the latest has been under way for 250 ms. The
/// families take turns, beginning with that of the first address. The futures of the attempts still under way
/// are dropped at the first success.
///
/// Cancel-safe if the futures that `attempt` gives are: they are dropped with the race.
///
/// # Errors
/// The name does not resolve, or to nothing (`InvalidInput`). If all attempts have failed, the error of the
/// one that tells most: `TimedOut` comes after most others, `HostUnreachable` after that, `InvalidInput` last.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::net::SocketAddr;
/// use utp_tokio::{UtpListener, UtpSocket};
///
/// # if UtpSocket::bind("[::1]:0").await.is_err() { return Ok(()) } // no IPv6 on this machine
/// let (v4, v6) = (UtpSocket::bind("0.0.0.0:0").await?, UtpSocket::bind("[::]:0").await?);
/// let listener = UtpListener::bind("127.0.0.1:0").await?;
/// let silent = tokio::net::UdpSocket::bind("[::1]:0").await?;
///
/// let addrs = [silent.local_addr()?, listener.local_addr()];
/// let connect = |addr: SocketAddr| if addr.is_ipv4() { v4.connect(addr) } else { v6.connect(addr) };
/// let stream = utp_tokio::race(&addrs[..], connect).await?;
/// assert_eq!(stream.peer_addr(), listener.local_addr());
/// # Ok(()) }
/// ```
///
/// # Panics
/// Outside of a tokio runtime, or in one without time.
pub async fn race<T, F>(addr: impl ToSocketAddrs, attempt: impl FnMut(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    utp_driver::race::race::<Tokio, _, _>(lookup_host(addr).await?, attempt).await
}
