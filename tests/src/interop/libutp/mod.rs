//! Peer: libutp, the C++ reference. libutp is a state machine without a socket; the loop it needs runs
//! on a thread of its own and takes orders from the halves through a channel.

mod driver;
mod ffi;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use self::driver::Order;
use super::peer::{Boxed, Connection, Peer, Sink, Source};
use super::socket;

pub(super) struct Libutp {
    addr: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Libutp {
    pub(super) fn bind(addr: SocketAddr, seed: u64) -> io::Result<Self> {
        let udp = socket::bind(addr)?;
        let addr = udp.local_addr()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("libutp".into()).spawn(move || {
            runtime.block_on(async move {
                let udp = tokio::net::UdpSocket::from_std(udp).expect("a socket that tokio takes");
                driver::run(&udp, inbox, seed).await;
            });
        })?;
        Ok(Self { addr, orders, thread: Some(thread) })
    }

    async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<io::Result<u64>>) -> Order,
    ) -> io::Result<Connection> {
        let stream = ask(&self.orders, order).await?;
        let handle = Arc::new(Handle { stream, orders: self.orders.clone() });
        Ok(Connection { source: Box::new(Half(Arc::clone(&handle))), sink: Box::new(Half(handle)) })
    }
}

impl Peer for Libutp {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Connection>> {
        Box::pin(self.ask(move |reply| Order::Connect(to, reply)))
    }

    fn accept(&self) -> Boxed<'_, io::Result<Connection>> {
        Box::pin(self.ask(Order::Accept))
    }

    fn kill(self: Box<Self>) {}
}

impl Drop for Libutp {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        // The thread returns at its next turn; a panic in it has been printed and fails the case by itself.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The application's end of a connection; closes it when both halves are gone.
struct Handle {
    stream: u64,
    orders: mpsc::UnboundedSender<Order>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Close(self.stream));
    }
}

struct Half(Arc<Handle>);

impl Source for Half {
    fn read<'a>(&'a mut self, to: &'a mut Vec<u8>) -> Boxed<'a, io::Result<usize>> {
        Box::pin(async move {
            let data = ask(&self.0.orders, |reply| Order::Read(self.0.stream, reply)).await?;
            to.extend_from_slice(&data);
            Ok(data.len())
        })
    }
}

impl Sink for Half {
    fn write_all<'a>(&'a mut self, data: &'a [u8]) -> Boxed<'a, io::Result<()>> {
        Box::pin(ask(&self.0.orders, |reply| Order::Write(self.0.stream, data.to_vec(), reply)))
    }

    fn finish(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(ask(&self.0.orders, |reply| Order::Finish(self.0.stream, reply)))
    }
}

async fn ask<T>(
    orders: &mpsc::UnboundedSender<Order>,
    order: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Order,
) -> io::Result<T> {
    let (reply, answer) = oneshot::channel();
    let gone = || io::Error::new(io::ErrorKind::ConnectionAborted, "the libutp peer was killed");
    orders.send(order(reply)).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
