//! Flows from the first host to the second: uTP of this project, TCP of the kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use utp_tokio::{Config, UtpListener, UtpStream};

use super::host::Host;
use crate::congestion::Kind;

/// What a flow speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// uTP, with this congestion control.
    Utp(Kind),
    /// TCP of the kernel, with this one.
    Tcp(Control),
}

/// A congestion control of the kernel. Which one it takes by itself differs from machine to machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control(&'static str);

impl Control {
    /// The default of Linux, unless somebody changed it.
    pub const CUBIC: Self = Self("cubic");
    /// Goes by rate and round trip rather than by loss.
    pub const BBR: Self = Self("bbr");

    /// The one that has this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::CUBIC, Self::BBR].into_iter().find(|control| control.0 == name)
    }

    /// A socket that uses it.
    ///
    /// # Errors
    /// If the kernel has not got it.
    pub fn socket(self) -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let missing = |error| std::io::Error::other(format!("TCP cannot use {}: {error}", self.0));
        socket.set_tcp_congestion(self.0.as_bytes()).map_err(missing)?;
        Ok(socket)
    }
}

/// A flow that goes on until its time is up or its bytes are sent.
#[derive(Debug, Clone)]
pub struct Flow {
    received: Arc<AtomicU64>,
}

impl Flow {
    /// Starts it. `bytes`: what it has to send, always something if there is no bound.
    #[must_use]
    pub fn start(speaks: Speaks, [from, to]: [&Host; 2], bytes: Option<u64>, time: Duration) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let flow = Self { received: Arc::clone(&received) };
        #[allow(clippy::disallowed_methods)] // this is about real time
        let until = Instant::now() + time;
        let bytes = bytes.unwrap_or(u64::MAX);
        match speaks {
            Speaks::Utp(kind) => {
                to.run(move || utp(until, receive_utp(config(kind), received)));
                from.run(move || utp(until, send_utp(config(kind), bytes)));
            }
            Speaks::Tcp(control) => {
                to.run(move || drop(receive_tcp(&received, until)));
                from.run(move || drop(send_tcp(control, bytes, until)));
            }
        }
        flow
    }

    /// Payload bytes that the receiving application has had.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// As by default.
fn config(kind: Kind) -> Config {
    let mut config = Config::default();
    config.congestion(kind.factory());
    config
}

fn utp(until: Instant, work: impl Future<Output = std::io::Result<()>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let _ = runtime.block_on(async { tokio::time::timeout_at(until.into(), work).await });
}

async fn receive_utp(config: Config, received: Arc<AtomicU64>) -> std::io::Result<()> {
    let listener = UtpListener::bind_with(server(UTP_PORT), config).await?;
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => received.fetch_add(n as u64, Ordering::Relaxed),
        };
    }
}

async fn send_utp(config: Config, mut bytes: u64) -> std::io::Result<()> {
    let mut stream = UtpStream::connect_with(server(UTP_PORT), config).await?;
    let chunk = vec![0x5a; CHUNK];
    while bytes > 0 {
        let n = stream.write(&chunk[..bytes.min(CHUNK as u64) as usize]).await?;
        bytes -= n as u64;
    }
    stream.shutdown().await?;
    // Until the time is up: what was written is still on its way.
    std::future::pending().await
}

#[allow(clippy::disallowed_methods)] // this is about real time
fn receive_tcp(received: &AtomicU64, until: Instant) -> std::io::Result<()> {
    let listener = TcpListener::bind(server(TCP_PORT))?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut buffer = vec![0; CHUNK];
    while Instant::now() < until {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => drop(received.fetch_add(n as u64, Ordering::Relaxed)),
            Err(_) => {} // nothing yet
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // this is about real time
fn send_tcp(control: Control, mut bytes: u64, until: Instant) -> std::io::Result<()> {
    let mut stream = loop {
        let socket = control.socket()?;
        match socket.connect(&server(TCP_PORT).into()) {
            Ok(()) => break TcpStream::from(socket),
            // The other side is not there yet.
            Err(_) if Instant::now() < until => thread::sleep(LOOK / 10),
            Err(error) => return Err(error),
        }
    };
    stream.set_write_timeout(Some(LOOK))?;
    let chunk = vec![0x5a; CHUNK];
    while bytes > 0 && Instant::now() < until {
        bytes -= stream.write(&chunk[..bytes.min(CHUNK as u64) as usize]).unwrap_or(0) as u64;
    }
    Ok(())
}

fn server(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), port)
}

const UTP_PORT: u16 = 6881;
const TCP_PORT: u16 = 5001;

const CHUNK: usize = 64 << 10;

/// How often a blocked call looks whether its time is up.
const LOOK: Duration = Duration::from_millis(200);
