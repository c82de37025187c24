//! What happened, for people and for programs.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Serialize;
use utp_tokio::ConnectionStats;

/// The statistics of one connection, as `--stats` prints them: one JSON object on one line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Payload bytes moved, of the direction that the command is about (both, for `cat`).
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) megabytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    pub(crate) rtt_ms: f64,
    pub(crate) min_rtt_ms: f64,
    pub(crate) rto_ms: f64,
    pub(crate) queueing_delay_ms: f64,
    pub(crate) cwnd: u64,
    pub(crate) mtu: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) data_packets_sent: u64,
    pub(crate) data_packets_received: u64,
    pub(crate) retransmits: u64,
    pub(crate) spurious_retransmits: u64,
    pub(crate) packets_lost: u64,
    pub(crate) timeouts: u64,
    pub(crate) duplicate_packets: u64,
    pub(crate) invalid_packets: u64,
}

impl Report {
    pub(crate) fn new(bytes: u64, time: Duration, digest: Option<&[u8]>, stats: &ConnectionStats) -> Self {
        let seconds = time.as_secs_f64();
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        Self {
            bytes,
            seconds,
            megabytes_per_second: bytes as f64 / 1e6 / seconds.max(1e-9),
            sha256: digest.map(|d| HEXLOWER.encode(d)),
            rtt_ms: ms(stats.rtt),
            min_rtt_ms: ms(stats.min_rtt),
            rto_ms: ms(stats.rto),
            queueing_delay_ms: ms(stats.queueing_delay),
            cwnd: stats.cwnd,
            mtu: stats.mtu,
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            data_packets_sent: stats.data_packets_sent,
            data_packets_received: stats.data_packets_received,
            retransmits: stats.retransmits,
            spurious_retransmits: stats.spurious_retransmits,
            packets_lost: stats.packets_lost,
            timeouts: stats.timeouts,
            duplicate_packets: stats.duplicate_packets,
            invalid_packets: stats.invalid_packets,
        }
    }

    /// One line of JSON to stderr.
    pub(crate) fn print_json(&self) {
        match serde_json::to_string(self) {
            Ok(line) => eprintln!("{line}"),
            Err(error) => eprintln!("utp: no statistics: {error}"),
        }
    }

    /// "256.0 MiB in 0.412 s: 651.5 MB/s (5.21 Gbit/s)".
    pub(crate) fn speed(&self) -> String {
        format!(
            "{} in {:.3} s: {:.1} MB/s ({:.3} Gbit/s)",
            indicatif::BinaryBytes(self.bytes),
            self.seconds,
            self.megabytes_per_second,
            self.megabytes_per_second * 8.0 / 1e3
        )
    }

    /// "round trip 0.21 ms (smallest 0.04 ms), 0 of 180000 packets sent again, 0 time-outs, packets of 1472 bytes".
    pub(crate) fn sending(&self) -> String {
        format!(
            "round trip {:.2} ms (smallest {:.2} ms), {} of {} packets sent again, {} time-outs, packets of {} bytes",
            self.rtt_ms, self.min_rtt_ms, self.retransmits, self.data_packets_sent, self.timeouts, self.mtu
        )
    }
}
