//! `utp demo`: a sender and a receiver in one process, over UDP.

use std::io::{Write, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use clap::Args;
use indicatif::{BinaryBytes, HumanCount};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use utp_tokio::{ConnectionStats, UtpSocket, UtpStream};

use crate::Env;
use crate::link::Link;
use crate::options::{Settings, Transport, size};
use crate::payload::{self, CHUNK, Payload};

/// Send a file, or generated data, over UDP from this process to itself, and check that it arrives.
///
/// Prints goodput, round trip, retransmissions and the SHA-256 of what was sent and received. The
/// receiver's hashing is part of what is measured.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What to send.
    file: Option<PathBuf>,
    /// How much data to generate instead, such as 64MiB or 1GiB.
    #[arg(long, default_value = "256MiB", conflicts_with = "file", value_parser = size)]
    size: ByteSize,
    #[command(flatten)]
    pub(crate) transport: Transport,
}

impl Demo {
    pub(crate) async fn run(&self, env: &mut Env<'_>) -> anyhow::Result<()> {
        let source = self.source().await?;
        let total = source.open().await?.len();
        let progress = env.console.progress("hashing", total);
        let digest = env.interrupt.or(source.open().await?.digest(&progress)).await?;
        drop(progress);

        let (mut sender, mut receiver) = env.interrupt.or(pair(&env.settings)).await?;
        let progress = env.console.progress("sending", total);
        let started = Instant::now();
        let received = tokio::spawn(async move {
            let result = receive(&mut receiver).await;
            end(receiver, result).await
        });
        let payload = source.open().await?;
        let both = async {
            payload.send(&mut sender.write).await?;
            joined(received).await
        };
        let result =
            env.interrupt.or(progress.during(both, sender.read.as_ref(), UtpStream::bytes_acked)).await;
        let elapsed = started.elapsed();
        drop(progress);
        env.report.link(&sender, elapsed);
        let stats = sender.stream().stats();
        let bytes = sender.stream().bytes_acked();
        let arrived = end(sender, result).await?;
        ensure!(arrived == digest, "what arrived is not what was sent: its SHA-256 is {}", hex(&arrived));
        env.report.sha256 = Some(hex(&digest));
        print(bytes, elapsed, &stats, &digest).context("cannot write stdout")
    }

    async fn source(&self) -> anyhow::Result<Source> {
        match &self.file {
            Some(path) => {
                let meta = tokio::fs::metadata(path).await;
                // It is read twice, which pipes and devices do not bear.
                if meta.with_context(|| format!("cannot open {}", path.display()))?.is_file() {
                    Ok(Source::File(path.clone()))
                } else {
                    bail!("cannot send {}: it is no regular file", path.display())
                }
            }
            None => Ok(Source::Generated { pattern: payload::pattern()?, size: self.size.as_u64() }),
        }
    }
}

/// A payload that can be had more than once.
enum Source {
    File(PathBuf),
    Generated { pattern: Bytes, size: u64 },
}

impl Source {
    async fn open(&self) -> anyhow::Result<Payload> {
        match self {
            Self::File(path) => Payload::open(path).await,
            Self::Generated { pattern, size } => Ok(Payload::generated(pattern.clone(), *size)),
        }
    }
}

/// A connection of two sockets of this process.
async fn pair(settings: &Settings) -> anyhow::Result<(Link, Link)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = async {
        let here = UtpSocket::bind_with(any, settings.socket()).await?;
        let there = UtpSocket::bind_with(any, settings.socket()).await?;
        let (connected, accepted) = tokio::try_join!(here.connect(there.local_addr()), there.accept())?;
        std::io::Result::Ok((Link::new(here, connected), Link::new(there, accepted.0)))
    };
    sockets.await.context("cannot connect to this machine")
}

/// SHA-256 of what comes, up to the FIN; answers with one.
async fn receive(link: &mut Link) -> anyhow::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    while link.read.read_buf(&mut buffer).await.context("receiving failed")? > 0 {
        hash.update(&buffer);
        buffer.clear();
    }
    link.stream().finish().context("receiving failed")?;
    Ok(hash.finalize().into())
}

/// The result of the receiver's task.
async fn joined(task: JoinHandle<anyhow::Result<[u8; 32]>>) -> anyhow::Result<[u8; 32]> {
    task.await.context("the receiver failed")?
}

/// Ends a side as its result says; the other side is in this process and needs no last words.
async fn end<T>(link: Link, result: anyhow::Result<T>) -> anyhow::Result<T> {
    match result {
        Ok(value) => {
            link.done();
            Ok(value)
        }
        Err(error) => {
            link.reset().await;
            Err(error)
        }
    }
}

fn print(bytes: u64, elapsed: Duration, stats: &ConnectionStats, digest: &[u8]) -> std::io::Result<()> {
    let rate = bytes as f64 / elapsed.as_secs_f64();
    let sent = stats.data_packets_sent.max(1);
    let mut out = stdout().lock();
    writeln!(out, "sent        {} in {elapsed:.2?}", BinaryBytes(bytes))?;
    writeln!(out, "goodput     {:.1} MB/s, {:.2} Gbit/s", rate / 1e6, rate * 8.0 / 1e9)?;
    writeln!(out, "round trip  {:.2?} smoothed, {:.2?} smallest", stats.rtt, stats.min_rtt)?;
    writeln!(
        out,
        "packets     {} of up to {} bytes, {} retransmitted ({:.3} %), {} time-outs",
        HumanCount(stats.data_packets_sent),
        stats.mtu,
        HumanCount(stats.retransmits),
        stats.retransmits as f64 * 100.0 / sent as f64,
        stats.timeouts,
    )?;
    writeln!(out, "SHA-256     {} verified", hex(digest))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
