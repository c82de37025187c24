//! Peer: this project, through its tokio adapter.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use utp_tokio::{CloseReason, Config, ConnectionStats, OwnedWriteHalf, UtpSocket, UtpStream};

use super::peer::{Boxed, Connection, Peer, Sink};
use super::tokio_io::{PeerRuntime, Reader};

pub(super) struct Ours {
    socket: UtpSocket,
    runtime: PeerRuntime,
}

impl Ours {
    pub(super) async fn bind(addr: SocketAddr, config: Config) -> io::Result<Self> {
        let runtime = PeerRuntime::new("ours")?;
        let socket = runtime.run(async move { UtpSocket::bind_with(addr, config).await }).await?;
        Ok(Self { socket, runtime })
    }
}

impl Peer for Ours {
    fn addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Connection>> {
        let socket = self.socket.clone();
        Box::pin(self.runtime.run(async move { socket.connect(to).await.map(halves) }))
    }

    fn accept(&self) -> Boxed<'_, io::Result<Connection>> {
        let socket = self.socket.clone();
        Box::pin(self.runtime.run(async move { socket.accept().await.map(|(stream, _)| halves(stream)) }))
    }

    fn kill(self: Box<Self>) {
        self.runtime.stop();
    }
}

fn halves(stream: UtpStream) -> Connection {
    let (read, write) = stream.into_split();
    Connection { source: Box::new(Reader(read)), sink: Box::new(Writer(write)) }
}

struct Writer(OwnedWriteHalf);

impl Sink for Writer {
    fn write_all<'a>(&'a mut self, data: &'a [u8]) -> Boxed<'a, io::Result<()>> {
        Box::pin(self.0.write_all(data))
    }

    fn finish(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(self.0.shutdown())
    }

    fn delivered(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(self.0.as_ref().acked())
    }

    fn closed(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async {
            let ending = self.0.as_ref().closed().await;
            match ending.reason {
                CloseReason::Finished if ending.is_delivered() => Ok(()),
                CloseReason::Finished => {
                    Err(io::Error::other(format!("not everything was delivered: {ending:?}")))
                }
                reason => Err(reason.into()),
            }
        })
    }

    fn stats(&self) -> Option<ConnectionStats> {
        Some(self.0.as_ref().stats())
    }

    fn abort(&mut self) -> io::Result<()> {
        self.0.as_ref().abort();
        Ok(())
    }
}
