//! What crossed the network: the last datagrams, readable, and a hash of all of them.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::link::Fate;
use crate::packet::Packet;

/// The last datagrams and the hash of all.
#[derive(Debug)]
pub(crate) struct Trace {
    last: VecDeque<Record>,
    hash: u64,
    count: u64,
    names: Vec<(usize, SocketAddr)>,
    keep: usize,
}

#[derive(Debug)]
struct Record {
    at: Duration,
    from: usize,
    to: usize,
    fate: Fate,
    data: Vec<u8>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let keep = std::env::var("UTP_SIM_TRACE").ok().and_then(|n| n.parse().ok()).unwrap_or(LAST);
        Self { last: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325, count: 0, names: Vec::new(), keep }
    }

    /// Mentions who is who.
    pub(crate) fn name(&mut self, host: usize, addr: SocketAddr) {
        self.names.push((host, addr));
    }

    pub(crate) fn note(&mut self, at: Duration, (from, to): (usize, usize), fate: Fate, data: &[u8]) {
        self.count += 1;
        self.hash = mix(self.hash, at.as_nanos() as u64);
        self.hash = mix(self.hash, (from as u64) << 32 | to as u64);
        self.hash = mix(self.hash, checksum(data));
        let arrival = match fate {
            Fate::Passed(at, copy) => at.as_nanos() as u64 ^ copy.map_or(0, |at| at.as_nanos() as u64),
            _ => 1,
        };
        self.hash = mix(self.hash, arrival);
        let mut record = if self.last.len() == self.keep { self.last.pop_front() } else { None }
            .unwrap_or_else(|| Record { at, from, to, fate, data: Vec::new() });
        record.data.clear();
        record.data.extend_from_slice(data);
        (record.at, record.from, record.to, record.fate) = (at, from, to, fate);
        self.last.push_back(record);
    }

    /// Of everything that was sent: when, by whom, to whom, what, and what became of it.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (host, addr) in self.names.iter().take(10) {
            writeln!(f, "host {host} is {addr}")?;
        }
        writeln!(f, "the last {} of {} datagrams:", self.last.len(), self.count)?;
        for Record { at, from, to, fate, data } in &self.last {
            let fate = match fate {
                Fate::Passed(arrival, None) => format!("+{:.3} ms", (*arrival - *at).as_secs_f64() * 1e3),
                fate => format!("{fate:?}"),
            };
            let packet = Packet::decode(data);
            writeln!(f, "{:12.6} {from} > {to} {packet}  {fate}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

/// A word into a running hash.
fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// Fast, and different for different datagrams.
pub(crate) fn checksum(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let hash = words.iter().fold(data.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// Enough to see what led to a failure, short enough to read; `UTP_SIM_TRACE=N` shows more.
const LAST: usize = 120;
