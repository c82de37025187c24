//! Peer: librqbit-utp.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use librqbit_utp::{SocketOpts, UtpSocketUdp, UtpSocketUdpOpts, UtpStream, UtpStreamWriteHalf};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::peer::{Boxed, Connection, Peer, Sink};
use super::tokio_io::{PeerRuntime, Reader};

pub(super) struct Librqbit {
    addr: SocketAddr,
    socket: Arc<UtpSocketUdp>,
    runtime: PeerRuntime,
}

impl Librqbit {
    pub(super) async fn bind(addr: SocketAddr, patient: bool) -> io::Result<Self> {
        let runtime = PeerRuntime::new("librqbit")?;
        let opts = if patient { self::patient() } else { SocketOpts::default() };
        let open = async move {
            let udp = UtpSocketUdpOpts::default();
            UtpSocketUdp::new_udp_with_opts(addr, opts, udp).await.map_err(io::Error::other)
        };
        let socket = runtime.run(open).await?;
        Ok(Self { addr: socket.bind_addr(), socket, runtime })
    }
}

impl Peer for Librqbit {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Connection>> {
        let socket = Arc::clone(&self.socket);
        Box::pin(async move {
            self.runtime
                .run(async move { socket.connect(to).await.map(halves).map_err(io::Error::other) })
                .await
        })
    }

    fn accept(&self) -> Boxed<'_, io::Result<Connection>> {
        let socket = Arc::clone(&self.socket);
        Box::pin(async move {
            self.runtime.run(async move { socket.accept().await.map(halves).map_err(io::Error::other) }).await
        })
    }

    fn kill(self: Box<Self>) {
        self.runtime.stop();
    }
}

/// See [`Kind::LibrqbitPatient`](super::peer::Kind::LibrqbitPatient).
fn patient() -> SocketOpts {
    SocketOpts {
        link_mtu: NonZeroUsize::new(576), // both ends of the search
        max_retransmissions: NonZeroUsize::new(20),
        remote_inactivity_timeout: Some(Duration::from_secs(60)),
        ..SocketOpts::default()
    }
}

fn halves(stream: UtpStream) -> Connection {
    let (reader, writer) = stream.split();
    Connection { source: Box::new(Reader(reader)), sink: Box::new(Writer(Some(writer))) }
}

struct Writer(Option<UtpStreamWriteHalf>);

impl Sink for Writer {
    fn write_all<'a>(&'a mut self, data: &'a [u8]) -> Boxed<'a, io::Result<()>> {
        Box::pin(async move {
            match &mut self.0 {
                Some(writer) => writer.write_all(data).await,
                None => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
    }

    /// `shutdown` returns only when the connection is over, and does not wake the task that has to send
    /// the FIN. So: wait until all is sent, ask for the shutdown once, and drop the half, which wakes it.
    fn finish(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async move {
            let Some(mut writer) = self.0.take() else { return Ok(()) };
            // The other side's FIN ends both directions: there is nothing left to finish.
            let _ = writer.flush().await;
            poll_fn(|cx| {
                let _ = Pin::new(&mut writer).poll_shutdown(cx);
                std::task::Poll::Ready(())
            })
            .await;
            Ok(())
        })
    }
}
