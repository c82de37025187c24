//! Counters and gauges, per connection and per endpoint.

use std::time::Duration;

/// What one connection has seen. Counters count from its opening and saturate never in practice
/// (64 bits); gauges are of the moment of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Smoothed round-trip time (RFC 6298 `SRTT`); zero until the first sample.
    pub rtt: Duration,
    /// Round-trip time variation (RFC 6298 `RTTVAR`).
    pub rtt_var: Duration,
    /// Smallest round-trip time seen.
    pub min_rtt: Duration,
    /// Retransmission time-out in force, back-off included.
    pub rto: Duration,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Slow-start threshold, bytes; `u64::MAX` until the first congestion.
    pub ssthresh: u64,
    /// Payload bytes sent and neither acknowledged, selectively acknowledged nor given up as lost.
    pub bytes_in_flight: u64,
    /// Packets that occupy a sequence number at the peer and are not acknowledged.
    pub packets_in_flight: u64,
    /// How many that may be at most, given what the peer has proven
    /// ([`Config::max_packets_proven`](crate::Config::max_packets_proven)).
    pub packet_limit: u64,
    /// Lowest one-way delay in the base history, in the peer's clock frame; only differences mean
    /// anything.
    pub base_delay: Duration,
    /// Queueing delay our packets see: filtered one-way delay above the base.
    pub queueing_delay: Duration,
    /// Datagrams sent, of every type.
    pub packets_sent: u64,
    /// Datagrams received that belonged to this connection.
    pub packets_received: u64,
    /// DATA packets sent, retransmissions included.
    pub data_packets_sent: u64,
    /// DATA packets received, duplicates included.
    pub data_packets_received: u64,
    /// STATE packets sent: pure acknowledgements, window updates, keep-alives.
    pub acks_sent: u64,
    /// Bytes of UDP payload sent, headers included.
    pub wire_bytes_sent: u64,
    /// Bytes of UDP payload received, headers included.
    pub wire_bytes_received: u64,
    /// Packets sent again, for whatever reason.
    pub retransmits: u64,
    /// Of those, the ones that loss detection triggered without a time-out.
    pub fast_retransmits: u64,
    /// Retransmissions that turned out to be needless.
    pub spurious_retransmits: u64,
    /// Packets declared lost (path-MTU probes not counted).
    pub packets_lost: u64,
    /// Times the congestion window was reduced because of loss.
    pub congestion_events: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// DATA received a second time.
    pub duplicate_packets: u64,
    /// Datagrams dropped because a field was impossible: ack_nr never sent, sequence number outside
    /// the window, RESET that fits nothing we sent.
    pub invalid_packets: u64,
    /// DATA dropped because it was beyond the receive window or the reorder bound.
    pub overflow_packets: u64,
    /// Largest UDP payload in use, bytes.
    pub mtu: u64,
    /// Packets held back for a round trip, to find out whether the peer acknowledges what it has not got.
    pub withheld: u64,
    /// Path-MTU probes sent.
    pub mtu_probes_sent: u64,
    /// Path-MTU probes lost.
    pub mtu_probes_lost: u64,
    /// The peer's receive window as last advertised, bytes.
    pub peer_window: u64,
    /// The receive window we last advertised, bytes.
    pub receive_window: u64,
    /// Bytes that are held for the application at most, as it stands now
    /// ([`Config::receive_buffer_max`](crate::Config::receive_buffer_max)).
    pub receive_limit: u64,
    /// Window of the congestion control of what the peer sends, bytes; 0 if there is none
    /// ([`Config::receive_congestion`](crate::Config::receive_congestion)).
    pub receive_cwnd: u64,
    /// Bytes that are taken from the application at most, as it stands now
    /// ([`Config::send_buffer_max`](crate::Config::send_buffer_max)).
    pub send_limit: u64,
}

/// What a connection counts, named as in [`ConnectionStats`]. The gauges there are made when somebody looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) data_packets_sent: u64,
    pub(crate) data_packets_received: u64,
    pub(crate) acks_sent: u64,
    pub(crate) wire_bytes_sent: u64,
    pub(crate) wire_bytes_received: u64,
    pub(crate) retransmits: u64,
    pub(crate) fast_retransmits: u64,
    pub(crate) spurious_retransmits: u64,
    pub(crate) packets_lost: u64,
    pub(crate) congestion_events: u64,
    pub(crate) timeouts: u64,
    pub(crate) duplicate_packets: u64,
    pub(crate) invalid_packets: u64,
    pub(crate) overflow_packets: u64,
    pub(crate) withheld: u64,
}

impl Counters {
    /// With all gauges zero.
    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            packets_sent: self.packets_sent,
            withheld: self.withheld,
            packets_received: self.packets_received,
            data_packets_sent: self.data_packets_sent,
            data_packets_received: self.data_packets_received,
            acks_sent: self.acks_sent,
            wire_bytes_sent: self.wire_bytes_sent,
            wire_bytes_received: self.wire_bytes_received,
            retransmits: self.retransmits,
            fast_retransmits: self.fast_retransmits,
            spurious_retransmits: self.spurious_retransmits,
            packets_lost: self.packets_lost,
            congestion_events: self.congestion_events,
            timeouts: self.timeouts,
            duplicate_packets: self.duplicate_packets,
            invalid_packets: self.invalid_packets,
            overflow_packets: self.overflow_packets,
            ..ConnectionStats::default()
        }
    }
}

/// What one endpoint has seen. "Received by the kernel, parsed, accepted" can be told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Datagrams given to [`handle_datagram`](crate::Endpoint::handle_datagram).
    pub datagrams_received: u64,
    /// Of those, the ones that are not uTP version 1 and went back to the caller.
    pub datagrams_not_utp: u64,
    /// uTP datagrams that were truncated or had a broken extension chain.
    pub datagrams_malformed: u64,
    /// Well-formed datagrams that fit no connection (RESET sent if the limiter allowed).
    pub datagrams_unmatched: u64,
    /// Datagrams taken by a connection.
    pub datagrams_accepted: u64,
    /// Datagrams handed out by [`poll_transmit`](crate::Endpoint::poll_transmit).
    pub datagrams_sent: u64,
    /// Connections open now, those still being opened by us included.
    pub connections: u64,
    /// Connections that peers have begun to open and not confirmed yet.
    pub half_open: u64,
    /// Ended connections whose last acknowledgement may have to be repeated.
    pub lingering: u64,
    /// Confirmed connections that wait for [`accept`](crate::Endpoint::accept).
    pub backlog: u64,
    /// Bytes that all connections hold: what was written and is not acknowledged, and the memory of what was received
    /// and is not read.
    pub memory: u64,
    /// Bytes of empty blocks that are kept for the next data, of whatever connection.
    pub spare: u64,
    /// SYNs, and confirmations of such, dropped because the backlog or the connection table was full.
    pub syns_dropped: u64,
    /// SYNs answered with a cookie, because the half-open table, or its part for the peer's network, was full.
    pub cookies_sent: u64,
    /// Connections made from a cookie that came back.
    pub cookies_confirmed: u64,
    /// SYNs refused because the endpoint does not listen.
    pub syns_refused: u64,
    /// RESETs sent to datagrams that fit nothing.
    pub resets_sent: u64,
    /// RESETs not sent because of the rate limits, or while cookies are out.
    pub resets_suppressed: u64,
    /// Incoming RESETs that were not credible and therefore ignored.
    pub resets_ignored: u64,
}
