//! What is measured, as the code of either process. The serving process announces its address on a line of its
//! own, the other one does the work and reports; both print one line of JSON at the end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::shares::Shares;
use super::transport::{End, Node, Transport};
use super::{cpu, raw};
use crate::sim::tape;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// So many bytes over each of so many connections at the same time; checked if so asked. The clock starts
    /// when all are open and quiet.
    Bulk {
        /// Connections.
        connections: usize,
        /// Bytes each.
        bytes: u64,
        /// Whether every byte is compared with what was sent.
        check: bool,
        /// Connections besides that do nothing.
        idle: usize,
    },
    /// Connect, one byte each way, close; so many times, so many at a time.
    Handshakes {
        /// In all.
        count: usize,
        /// At a time.
        at_once: usize,
    },
    /// A message of 64 bytes there and back, so many times.
    PingPong {
        /// Messages.
        count: usize,
    },
}

impl Work {
    /// How many streams, beside how many idle ones; empty for one alone.
    #[must_use]
    pub fn streams(&self) -> String {
        match *self {
            Self::Bulk { connections, idle: 0, .. } => connections.to_string(),
            Self::Bulk { connections, idle, .. } => format!("{connections} beside {idle} idle"),
            _ => String::new(),
        }
    }
}

/// What one process has to say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Payload bytes moved.
    pub bytes: u64,
    /// In so many seconds.
    pub seconds: f64,
    /// Processor seconds, of this process.
    pub cpu: f64,
    /// System calls for datagrams, where they are counted.
    pub calls: u64,
    /// Datagrams sent, where they are counted.
    pub datagrams: u64,
    /// Jain's index of what the connections brought while all were under way; 0 if they never were.
    pub fairness: f64,
    /// Times of single operations in microseconds: median, 99th percentile.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
    /// Operations.
    pub operations: u64,
}

/// The serving process.
///
/// # Errors
/// Those of the transport.
pub async fn serve(transport: Transport, work: Work) -> io::Result<()> {
    if transport.is_raw() {
        return serve_raw(transport, work);
    }
    let node = transport.listen().await?;
    announce(node.addr()?);
    let before = cpu::used();
    let outcome = match work {
        Work::Bulk { connections, bytes, check, idle } => {
            take_bulk(&node, (connections, idle), (bytes, check)).await?
        }
        Work::Handshakes { count, .. } => {
            let mut tasks = Vec::new();
            for _ in 0..count {
                let opening = node.accept().await?;
                tasks.push(tokio::spawn(async move {
                    let mut end = opening.await?;
                    let mut buf = Vec::new();
                    end.read(&mut buf).await?;
                    end.write(&[1]).await?;
                    end.finish().await?;
                    let _ = end.read(&mut buf).await;
                    io::Result::Ok(())
                }));
            }
            for task in tasks {
                task.await.map_err(io::Error::other)??;
            }
            Outcome { bytes: count as u64, ..Outcome::default() }
        }
        Work::PingPong { count } => {
            let mut end = node.accept().await?.await?;
            let mut buf = Vec::new();
            for _ in 0..count {
                let mut left = MESSAGE;
                while left > 0 {
                    left -= end.read(&mut buf).await?.min(left);
                }
                end.write(&[7; MESSAGE]).await?;
            }
            let _ = end.read(&mut buf).await;
            Outcome { bytes: (count * MESSAGE) as u64, ..Outcome::default() }
        }
    };
    let cpu = if outcome.cpu > 0.0 { outcome.cpu } else { (cpu::used() - before).as_secs_f64() };
    let Outcome { calls, datagrams, .. } = counters(&node);
    print(&Outcome { cpu, calls, datagrams, ..outcome });
    Ok(())
}

async fn take_bulk(
    node: &Node,
    (connections, idle): (usize, usize),
    (bytes, check): (u64, bool),
) -> io::Result<Outcome> {
    let shares = Arc::new(Shares::of(connections));
    let mut tasks = Vec::new();
    for _ in 0..connections + idle {
        let opening = node.accept().await?;
        let shares = Arc::clone(&shares);
        tasks.push(tokio::spawn(async move {
            let mut end = opening.await?;
            receive(&mut end, bytes, check, &shares).await.map(|n| (end, n))
        }));
    }
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.map_err(io::Error::other)??);
    }
    let cpu = shares.cpu().as_secs_f64();
    let bytes = ends.iter().map(|(_, bytes)| bytes).sum();
    // Until the other side has what it needs.
    let mut buf = Vec::new();
    for (end, _) in &mut ends {
        let _ = end.read(&mut buf).await;
    }
    Ok(Outcome { bytes, cpu, fairness: shares.fairness().unwrap_or_default(), ..Outcome::default() })
}

/// Waits for what a connection brings: a first byte that says whether it is idle, then `bytes`. Answers with
/// one.
async fn receive(end: &mut End, bytes: u64, check: bool, shares: &Shares) -> io::Result<u64> {
    let mut buf = Vec::new();
    let mut key = Vec::new();
    let mut done = 0;
    let mut share = None;
    while done < bytes {
        if end.read(&mut buf).await? == 0 {
            return if done == 0 { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let mut data = &buf[..];
        // Eight bytes name the stream.
        let head = data.len().min(8 - key.len());
        key.extend_from_slice(&data[..head]);
        data = &data[head..];
        if key.first() == Some(&IDLE) {
            let _ = end.read(&mut buf).await;
            return Ok(0);
        }
        if check && !data.is_empty() {
            let stream = u64::from_le_bytes(key[..8].try_into().expect("eight bytes"));
            if let Some(at) = tape::mismatch(stream, done, data) {
                return Err(io::Error::other(format!("byte {} is wrong", done + at as u64)));
            }
        }
        done += data.len() as u64;
        shares.add(*share.get_or_insert_with(|| shares.begin()), data.len() as u64);
    }
    shares.end();
    end.write(&[1]).await?;
    Ok(done)
}

/// The process that does the work.
///
/// # Errors
/// Those of the transport.
pub async fn work(transport: Transport, work: Work, to: SocketAddr) -> io::Result<()> {
    if transport.is_raw() {
        return work_raw(transport, work, to);
    }
    let node = transport.dial().await?;
    let before = cpu::used();
    let outcome = match work {
        Work::Bulk { connections, bytes, check, idle } => {
            bulk(&node, transport, to, (connections, idle), (bytes, check)).await?
        }
        Work::Handshakes { count, at_once } => handshakes(&node, to, count, at_once).await?,
        Work::PingPong { count } => ping_pong(&mut node.connect(to).await?, count).await?,
    };
    let cpu = if outcome.cpu > 0.0 { outcome.cpu } else { (cpu::used() - before).as_secs_f64() };
    let Outcome { calls, datagrams, .. } = counters(&node);
    print(&Outcome { cpu, calls, datagrams, ..outcome });
    Ok(())
}

async fn bulk(
    node: &Node,
    transport: Transport,
    to: SocketAddr,
    (connections, idle): (usize, usize),
    (bytes, check): (u64, bool),
) -> io::Result<Outcome> {
    let places = Semaphore::new(transport.connects_at_once());
    let connect = |_| async {
        let _place = places.acquire().await;
        node.connect(to).await
    };
    let mut idlers = join_all((0..idle).map(connect)).await.into_iter().collect::<io::Result<Vec<_>>>()?;
    for idler in &mut idlers {
        idler.write(&[IDLE; 8]).await?;
    }
    let ends = join_all((0..connections).map(connect)).await.into_iter().collect::<io::Result<Vec<_>>>()?;
    if idle > 0 {
        tokio::time::sleep(SETTLE).await;
    }
    let (started, before) = (Instant::now(), cpu::used());
    let tasks: Vec<_> = ends
        .into_iter()
        .enumerate()
        .map(|(number, mut end)| {
            tokio::spawn(async move {
                send(&mut end, number as u64, bytes, check).await?;
                io::Result::Ok(end)
            })
        })
        .collect();
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.map_err(io::Error::other)??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = (cpu::used() - before).as_secs_f64();
    for end in ends.iter_mut().chain(&mut idlers) {
        let _ = end.finish().await;
    }
    tokio::time::sleep(GRACE).await;
    Ok(Outcome { bytes: bytes * connections as u64, seconds, cpu, ..Outcome::default() })
}

async fn send(end: &mut End, number: u64, bytes: u64, check: bool) -> io::Result<()> {
    // The upper half keeps the first byte apart from `IDLE`.
    let stream = number << 8;
    end.write(&stream.to_le_bytes()).await?;
    let mut buf = vec![0x5a; CHUNK.min(bytes as usize)];
    let mut sent = 0;
    while sent < bytes {
        let len = (bytes - sent).min(buf.len() as u64) as usize;
        if check {
            tape::fill(stream, sent, &mut buf[..len]);
        }
        end.write(&buf[..len]).await?;
        sent += len as u64;
    }
    let mut answer = Vec::new();
    match end.read(&mut answer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn handshakes(node: &Node, to: SocketAddr, count: usize, at_once: usize) -> io::Result<Outcome> {
    let places = Arc::new(Semaphore::new(at_once));
    let started = Instant::now();
    let one = |_| async {
        let _place = places.acquire().await;
        let started = Instant::now();
        let mut end = node.connect(to).await?;
        end.write(&[1]).await?;
        let mut buf = Vec::new();
        if end.read(&mut buf).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        end.finish().await?;
        io::Result::Ok(started.elapsed())
    };
    let times = join_all((0..count).map(one)).await.into_iter().collect::<io::Result<Vec<_>>>()?;
    let seconds = started.elapsed().as_secs_f64();
    tokio::time::sleep(GRACE).await;
    Ok(Outcome { operations: count as u64, seconds, ..quantiles(times) })
}

async fn ping_pong(end: &mut End, count: usize) -> io::Result<Outcome> {
    let mut buf = Vec::new();
    let mut times = Vec::with_capacity(count);
    let started = Instant::now();
    for _ in 0..count {
        let sent = Instant::now();
        end.write(&[7; MESSAGE]).await?;
        let mut left = MESSAGE;
        while left > 0 {
            match end.read(&mut buf).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read.min(left),
            }
        }
        times.push(sent.elapsed());
    }
    let seconds = started.elapsed().as_secs_f64();
    let _ = end.finish().await;
    tokio::time::sleep(GRACE).await;
    Ok(Outcome { operations: count as u64, seconds, ..quantiles(times) })
}

fn serve_raw(transport: Transport, work: Work) -> io::Result<()> {
    let socket = raw::socket()?;
    announce(socket.local_addr()?);
    let before = cpu::used();
    if let Work::PingPong { .. } = work {
        raw::echo(&socket)?;
        print(&Outcome { cpu: (cpu::used() - before).as_secs_f64(), ..Outcome::default() });
        return Ok(());
    }
    let (bytes, time, calls) = raw::receive(&socket, transport == Transport::RawBatched)?;
    print(&Outcome {
        bytes,
        seconds: time.as_secs_f64(),
        cpu: (cpu::used() - before).as_secs_f64(),
        calls,
        ..Outcome::default()
    });
    Ok(())
}

fn work_raw(transport: Transport, work: Work, to: SocketAddr) -> io::Result<()> {
    let socket = raw::socket()?;
    let before = cpu::used();
    let outcome = match work {
        Work::Bulk { bytes, connections, .. } => {
            let bytes = bytes * connections as u64;
            let calls = raw::send(&socket, to, bytes, transport == Transport::RawBatched)?;
            Outcome { calls, ..Outcome::default() }
        }
        Work::PingPong { count } => {
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut times = Vec::with_capacity(count);
            let mut buf = [0; 2048];
            for _ in 0..count {
                let sent = Instant::now();
                socket.send(&[7; MESSAGE])?;
                socket.recv(&mut buf)?;
                times.push(sent.elapsed());
            }
            socket.send(&[])?;
            Outcome { operations: count as u64, ..quantiles(times) }
        }
        Work::Handshakes { .. } => return Err(io::ErrorKind::Unsupported.into()),
    };
    print(&Outcome { cpu: (cpu::used() - before).as_secs_f64(), ..outcome });
    Ok(())
}

fn counters(node: &Node) -> Outcome {
    let Some(stats) = node.stats() else { return Outcome::default() };
    Outcome {
        calls: stats.receive.receive_calls + stats.send.send_calls,
        datagrams: stats.send.datagrams_sent,
        ..Outcome::default()
    }
}

fn quantiles(mut times: Vec<Duration>) -> Outcome {
    times.sort_unstable();
    let at = |part: f64| {
        let index = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    Outcome { p50: at(0.5), p99: at(0.99), ..Outcome::default() }
}

fn announce(addr: SocketAddr) {
    println!("{addr}");
    let _ = io::stdout().flush();
}

fn print(outcome: &Outcome) {
    println!("{}", serde_json::to_string(outcome).expect("numbers"));
    let _ = io::stdout().flush();
}

/// Bytes written at once.
const CHUNK: usize = 256 << 10;

/// For what opening connections leaves behind (delayed acknowledgements, probes, timers) to be over. Not measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Bytes of a message that goes there and back.
const MESSAGE: usize = 64;

/// First byte of a connection that will do nothing. No stream's name begins with it: their lowest byte is 0.
const IDLE: u8 = 0xff;

/// For last acknowledgements to leave before the process does. Not measured.
const GRACE: Duration = Duration::from_millis(50);
