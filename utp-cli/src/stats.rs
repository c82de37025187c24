//! What `--stats` prints: one JSON object about the run.
//!
//! Times end in their unit. A field that does not apply to a subcommand is left out.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use utp_tokio::{ConnectionStats, SocketStats};

use crate::link::Link;

/// The whole object.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    command: &'static str,
    ok: bool,
    error: Option<String>,
    /// From the connection being established to the last byte acknowledged, or stored. For a proxy, from
    /// its start to its end.
    seconds: f64,
    /// Payload bytes that the peer acknowledged. For a proxy, those from clients to the target.
    bytes_sent: u64,
    /// Payload bytes that were received. For a proxy, those from the target to clients.
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    /// Of what was sent and received, in hexadecimal, if they are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Connection>,
    /// Connections of a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<Connections>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sockets: Vec<Socket>,
}

/// What became of a proxy's connections.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Connections {
    /// Taken from clients.
    pub(crate) accepted: u64,
    /// Of those, the ones for which the target could not be reached.
    pub(crate) unreachable: u64,
    /// Of those, the ones that ended otherwise than by both sides finishing.
    pub(crate) broken: u64,
    /// uTP packets sent again.
    pub(crate) retransmits: u64,
    /// uTP retransmission time-outs.
    pub(crate) timeouts: u64,
}

impl Report {
    pub(crate) fn new(command: &'static str) -> Self {
        Self {
            command,
            ok: false,
            error: None,
            seconds: 0.0,
            bytes_sent: 0,
            bytes_received: 0,
            local: None,
            peer: None,
            sha256: None,
            connection: None,
            connections: None,
            sockets: Vec::new(),
        }
    }

    /// Takes down how a link stands now; `elapsed` is since it was established.
    pub(crate) fn link(&mut self, link: &Link, elapsed: Duration) {
        let stream = link.stream();
        self.moved(stream.bytes_acked(), stream.bytes_read(), elapsed);
        self.local = Some(stream.local_addr());
        self.peer = Some(stream.peer_addr());
        self.connection = Some(stream.stats().into());
        self.socket(&link.socket().stats());
    }

    /// Payload bytes, and how long it took.
    pub(crate) fn moved(&mut self, sent: u64, received: u64, elapsed: Duration) {
        self.bytes_sent = sent;
        self.bytes_received = received;
        self.seconds = elapsed.as_secs_f64();
    }

    /// Adds a socket's counters.
    pub(crate) fn socket(&mut self, stats: &SocketStats) {
        self.sockets.push(stats.into());
    }

    /// How the run ended.
    pub(crate) fn conclude(&mut self, error: Option<&anyhow::Error>) {
        self.ok = error.is_none();
        self.error = error.map(|error| format!("{error:#}"));
    }
}

/// [`ConnectionStats`], of which their documentation says more.
#[derive(Debug, Serialize)]
struct Connection {
    rtt_us: u128,
    rtt_var_us: u128,
    min_rtt_us: u128,
    rto_us: u128,
    cwnd_bytes: u64,
    bytes_in_flight: u64,
    base_delay_us: u128,
    queueing_delay_us: u128,
    packets_sent: u64,
    packets_received: u64,
    data_packets_sent: u64,
    data_packets_received: u64,
    acks_sent: u64,
    wire_bytes_sent: u64,
    wire_bytes_received: u64,
    retransmits: u64,
    fast_retransmits: u64,
    spurious_retransmits: u64,
    packets_lost: u64,
    congestion_events: u64,
    timeouts: u64,
    duplicate_packets: u64,
    invalid_packets: u64,
    overflow_packets: u64,
    datagram_bytes: u64,
    mtu_probes_sent: u64,
    mtu_probes_lost: u64,
    peer_window_bytes: u64,
    receive_window_bytes: u64,
}

impl From<ConnectionStats> for Connection {
    fn from(stats: ConnectionStats) -> Self {
        Self {
            rtt_us: stats.rtt.as_micros(),
            rtt_var_us: stats.rtt_var.as_micros(),
            min_rtt_us: stats.min_rtt.as_micros(),
            rto_us: stats.rto.as_micros(),
            cwnd_bytes: stats.cwnd,
            bytes_in_flight: stats.bytes_in_flight,
            base_delay_us: stats.base_delay.as_micros(),
            queueing_delay_us: stats.queueing_delay.as_micros(),
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            data_packets_sent: stats.data_packets_sent,
            data_packets_received: stats.data_packets_received,
            acks_sent: stats.acks_sent,
            wire_bytes_sent: stats.wire_bytes_sent,
            wire_bytes_received: stats.wire_bytes_received,
            retransmits: stats.retransmits,
            fast_retransmits: stats.fast_retransmits,
            spurious_retransmits: stats.spurious_retransmits,
            packets_lost: stats.packets_lost,
            congestion_events: stats.congestion_events,
            timeouts: stats.timeouts,
            duplicate_packets: stats.duplicate_packets,
            invalid_packets: stats.invalid_packets,
            overflow_packets: stats.overflow_packets,
            datagram_bytes: stats.mtu,
            mtu_probes_sent: stats.mtu_probes_sent,
            mtu_probes_lost: stats.mtu_probes_lost,
            peer_window_bytes: stats.peer_window,
            receive_window_bytes: stats.receive_window,
        }
    }
}

/// The part of [`SocketStats`] that tells how the system treated us.
#[derive(Debug, Serialize)]
struct Socket {
    datagrams_received: u64,
    datagrams_not_utp: u64,
    datagrams_malformed: u64,
    datagrams_unmatched: u64,
    datagrams_sent: u64,
    datagrams_dropped: u64,
    resets_sent: u64,
    syns_dropped: u64,
    syns_refused: u64,
    receive_calls: u64,
    send_calls: u64,
    send_calls_offloaded: u64,
    send_blocked: u64,
    send_too_big: u64,
}

impl From<&SocketStats> for Socket {
    fn from(stats: &SocketStats) -> Self {
        let SocketStats { endpoint, receive, send, .. } = stats;
        Self {
            datagrams_received: endpoint.datagrams_received,
            datagrams_not_utp: endpoint.datagrams_not_utp,
            datagrams_malformed: endpoint.datagrams_malformed,
            datagrams_unmatched: endpoint.datagrams_unmatched,
            datagrams_sent: endpoint.datagrams_sent,
            datagrams_dropped: send.datagrams_dropped,
            resets_sent: endpoint.resets_sent,
            syns_dropped: endpoint.syns_dropped,
            syns_refused: endpoint.syns_refused,
            receive_calls: receive.receive_calls,
            send_calls: send.send_calls,
            send_calls_offloaded: send.send_calls_offloaded,
            send_blocked: send.send_blocked,
            send_too_big: send.send_too_big,
        }
    }
}

/// Where the report is to go.
#[derive(Debug, Clone)]
pub(crate) enum StatsOut {
    Stderr,
    File(PathBuf),
}

impl FromStr for StatsOut {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stderr } else { Self::File(text.into()) })
    }
}

impl StatsOut {
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn open(&self) -> anyhow::Result<StatsWriter> {
        match self {
            Self::Stderr => Ok(StatsWriter::Stderr),
            Self::File(path) => {
                let name = path.display().to_string();
                let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
                Ok(StatsWriter::File { file, name })
            }
        }
    }
}

/// Where the report goes.
#[derive(Debug)]
pub(crate) enum StatsWriter {
    Stderr,
    File { file: File, name: String },
}

impl StatsWriter {
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&mut self, report: &Report) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec(report).context("cannot write statistics")?;
        json.push(b'\n');
        match self {
            Self::Stderr => {
                // Nobody is left to be told if stderr is closed.
                let _ = io::stderr().lock().write_all(&json);
                Ok(())
            }
            Self::File { file, name } => {
                file.write_all(&json).with_context(|| format!("cannot write {name}"))
            }
        }
    }
}
