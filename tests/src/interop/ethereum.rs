//! Peer: utp-rs of Ethereum's Portal network.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::sync::Mutex;
use utp_rs::conn::ConnectionConfig;
use utp_rs::peer::Peer as Remote;
use utp_rs::socket::UtpSocket;
use utp_rs::stream::UtpStream;

use super::peer::{Boxed, Connection, Peer, Sink, Source};
use super::socket;
use super::tokio_io::PeerRuntime;

pub(super) struct Ethereum {
    addr: SocketAddr,
    socket: Arc<UtpSocket<SocketAddr>>,
    runtime: PeerRuntime,
}

impl Ethereum {
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let runtime = PeerRuntime::new("utp-rs")?;
        let udp = socket::bind(addr)?;
        let addr = udp.local_addr()?;
        let inside = runtime.enter();
        let socket = Arc::new(UtpSocket::with_socket(tokio::net::UdpSocket::from_std(udp)?));
        drop(inside);
        Ok(Self { addr, socket, runtime })
    }
}

impl Peer for Ethereum {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Connection>> {
        let socket = Arc::clone(&self.socket);
        Box::pin(self.runtime.run(async move {
            socket.connect(Remote::new(to), ConnectionConfig::default()).await.map(halves)
        }))
    }

    fn accept(&self) -> Boxed<'_, io::Result<Connection>> {
        let socket = Arc::clone(&self.socket);
        Box::pin(
            self.runtime.run(async move { socket.accept(ConnectionConfig::default()).await.map(halves) }),
        )
    }

    fn kill(self: Box<Self>) {
        self.runtime.stop();
    }
}

fn halves(stream: UtpStream<SocketAddr>) -> Connection {
    let stream = Arc::new(Mutex::new(stream));
    Connection {
        source: Box::new(Reader { stream: Arc::clone(&stream), end: None }),
        sink: Box::new(Writer(stream)),
    }
}

/// Both halves share the stream, which has none of its own: a write locks it for as long as it takes.
type Shared = Arc<Mutex<UtpStream<SocketAddr>>>;

struct Reader {
    stream: Shared,
    /// How the stream ended, if it came together with the last data.
    end: Option<io::Result<()>>,
}

impl Source for Reader {
    /// There is only `read_to_eof`, but it appends each piece before it waits for the next, so that
    /// polling it once and dropping it loses nothing.
    fn read<'a>(&'a mut self, to: &'a mut Vec<u8>) -> Boxed<'a, io::Result<usize>> {
        Box::pin(async move {
            if let Some(end) = self.end.take() {
                return end.map(|()| 0);
            }
            let start = to.len();
            let mut lock = Box::pin(Arc::clone(&self.stream).lock_owned());
            let end = poll_fn(|cx| {
                let mut stream = ready!(lock.as_mut().poll(cx));
                let end = match pin!(stream.read_to_eof(to)).poll(cx) {
                    Poll::Ready(result) => Some(result.map(drop)),
                    Poll::Pending => None,
                };
                drop(stream);
                lock.set(Arc::clone(&self.stream).lock_owned());
                if end.is_none() && to.len() == start { Poll::Pending } else { Poll::Ready(end) }
            })
            .await;
            match (end, to.len() - start) {
                (Some(end), 0) => end.map(|()| 0),
                (end, read) => {
                    self.end = end;
                    Ok(read)
                }
            }
        })
    }
}

struct Writer(Shared);

impl Sink for Writer {
    fn write_all<'a>(&'a mut self, data: &'a [u8]) -> Boxed<'a, io::Result<()>> {
        Box::pin(async move {
            match self.0.lock().await.write(data).await? {
                n if n == data.len() => Ok(()),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
    }

    /// `close` waits until the FIN is acknowledged, and with that the connection is over. It is over
    /// already if the other side finished before.
    fn finish(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async move {
            match self.0.lock().await.close().await {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                result => result,
            }
        })
    }
}
