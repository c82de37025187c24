//! What the cases have in common.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use futures_util::future::join;
use utp_tokio::{Config, SocketConfig};

use super::Adapter;
use crate::interop::pattern::{Checker, Pattern};

/// A port of 127.0.0.1 that the system chooses.
#[must_use]
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The default configuration, changed by `change`.
#[must_use]
pub fn config(change: impl FnOnce(&mut Config)) -> SocketConfig {
    let mut config = Config::default();
    change(&mut config);
    config.into()
}

/// A socket on 127.0.0.1 with the default configuration.
pub async fn bind<A: Adapter>() -> A::Socket {
    bind_with::<A>(SocketConfig::default()).await
}

/// A socket on 127.0.0.1.
pub async fn bind_with<A: Adapter>(config: SocketConfig) -> A::Socket {
    A::bind(loopback(), config).await.expect("bind")
}

/// A connection between two sockets: the accepted stream and the connected one.
pub async fn connection<S: Adapter, C: Adapter>(
    server: &S::Socket,
    client: &C::Socket,
) -> (S::Stream, C::Stream) {
    let to = S::local_addr(server);
    let (accepted, connected) = join(S::accept(server), C::connect(client, to)).await;
    let (accepted, peer) = accepted.expect("accept");
    let connected = connected.expect("connect");
    assert_eq!(peer, C::local_addr(client));
    assert_eq!(S::peer_addr(&accepted), peer);
    assert_eq!(C::peer_addr(&connected), to);
    (accepted, connected)
}

/// Writes all of `data`.
pub async fn write_all<A: Adapter>(writer: &mut A::Writer, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match A::write(writer, data).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => data = &data[written..],
        }
    }
    Ok(())
}

/// Writes the first `length` bytes of stream `seed` in pieces of odd sizes. Does not finish.
pub async fn send<A: Adapter>(writer: &mut A::Writer, seed: u64, length: usize) {
    let mut pattern = Pattern::new(seed);
    let mut buf = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let piece = left.min(1 + (left * 7919) % PIECE);
        pattern.fill(&mut buf[..piece]);
        write_all::<A>(writer, &buf[..piece]).await.expect("write");
        left -= piece;
    }
}

/// Reads and checks the first `length` bytes of stream `seed`, and no more.
pub async fn receive<A: Adapter>(reader: &mut A::Reader, seed: u64, length: usize) {
    let mut checker = Checker::new(seed, length as u64);
    let mut buf = vec![0; PIECE];
    while !checker.complete() {
        let room = (checker.left() as usize).min(PIECE);
        let read = A::read(reader, &mut buf[..room]).await.expect("read");
        assert_ne!(read, 0, "the stream ended after {} of {length} bytes", checker.checked());
        checker.feed(&buf[..read]).expect("what was sent");
    }
}

/// Reads the end of the stream, twice: it stays.
pub async fn expect_end<A: Adapter>(reader: &mut A::Reader) {
    for _ in 0..2 {
        assert_eq!(A::read(reader, &mut [0; 16]).await.expect("end of stream"), 0);
    }
}

/// Polls `future` until it is ready or was pending `polls` times; then it is dropped.
pub async fn give_up_after<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Waits for something that nothing announces.
pub async fn until<A: Adapter>(mut condition: impl FnMut() -> bool) {
    while !condition() {
        A::pause().await;
    }
}

/// Bytes written and read at a time at most.
const PIECE: usize = 64 << 10;
