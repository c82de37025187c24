//! Counters of the I/O layer.

use utp_proto::EndpointStats;

/// Everything counted about one socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketStats {
    /// The protocol's counters.
    pub endpoint: EndpointStats,
    /// What was received from the network.
    pub receive: ReceiveStats,
    /// What was sent to the network.
    pub send: SendStats,
    /// Foreign (not uTP) datagrams queued for the application.
    pub foreign_received: u64,
    /// Foreign datagrams dropped because the application did not ask for them in time.
    pub foreign_dropped: u64,
    /// Foreign datagrams that the application sent.
    pub foreign_sent: u64,
}

/// What an [`Inbox`](crate::udp::Inbox) has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveStats {
    /// System calls.
    pub receive_calls: u64,
    /// Of those, the ones that found nothing.
    pub receive_calls_empty: u64,
    /// Of those, the ones that failed otherwise.
    pub receive_errors: u64,
    /// Bytes of UDP payload.
    pub bytes_received: u64,
}

/// What an [`Outbox`](crate::udp::Outbox) has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendStats {
    /// System calls.
    pub send_calls: u64,
    /// Of those, the ones that handed over several packets in one piece (send offload).
    pub send_calls_offloaded: u64,
    /// Times the socket's buffer was full. No loss: the packets waited.
    pub send_blocked: u64,
    /// Times that waiting packets were stamped anew.
    pub restamped: u64,
    /// Datagrams taken from the endpoint.
    pub datagrams_sent: u64,
    /// Bytes of UDP payload that the kernel took.
    pub bytes_sent: u64,
    /// Datagrams that the kernel would not take, for whatever reason.
    pub datagrams_dropped: u64,
    /// Sends that failed because a datagram was larger than the device's MTU.
    pub send_too_big: u64,
    /// Sends that failed because the peer cannot be reached.
    pub send_unreachable: u64,
    /// 1 once send offload was given up because a device refused it.
    pub send_offload_refused: u64,
}
