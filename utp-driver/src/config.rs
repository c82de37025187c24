//! What can be tuned about a socket, besides the protocol itself.

use std::sync::Arc;

use utp_proto::Config;

/// Configuration of one UDP socket and of the protocol that runs over it.
///
/// Made from a [`Config`] (or an `Arc` of one) wherever only the protocol is to be configured.
///
/// ```
/// use utp_driver::SocketConfig;
///
/// let mut config = SocketConfig::default();
/// config.receive_buffer(Some(1 << 20)).datagram_queue(0);
/// ```
#[derive(Debug, Clone)]
pub struct SocketConfig {
    pub(crate) protocol: Arc<Config>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) only_v6: bool,
    pub(crate) send_offload: bool,
    pub(crate) receive_offload: bool,
    pub(crate) datagram_queue: usize,
    #[cfg(feature = "faults")]
    pub(crate) faults: Option<Arc<dyn crate::faults::Faults>>,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self::from(Config::default())
    }
}

impl From<Config> for SocketConfig {
    fn from(protocol: Config) -> Self {
        Self::from(Arc::new(protocol))
    }
}

impl From<Arc<Config>> for SocketConfig {
    fn from(protocol: Arc<Config>) -> Self {
        Self {
            protocol,
            send_buffer: Some(KERNEL_BUFFER),
            receive_buffer: Some(KERNEL_BUFFER),
            only_v6: false,
            send_offload: true,
            receive_offload: true,
            datagram_queue: DATAGRAM_QUEUE,
            #[cfg(feature = "faults")]
            faults: None,
        }
    }
}

impl SocketConfig {
    /// The protocol's configuration. Default `Config::default()`.
    pub fn protocol(&mut self, config: impl Into<Arc<Config>>) -> &mut Self {
        self.protocol = config.into();
        self
    }

    /// Bytes of send buffer to ask the system for; `None` keeps what the socket has. Default 4 MiB.
    /// Systems grant less without a word (Linux: `net.core.wmem_max`), see
    /// [`BufferSizes`](crate::BufferSizes).
    pub fn send_buffer(&mut self, bytes: Option<usize>) -> &mut Self {
        self.send_buffer = bytes;
        self
    }

    /// Bytes of receive buffer to ask the system for; `None` keeps what the socket has. Default
    /// 4 MiB. What arrives while it is full is lost. Systems grant less without a word (Linux:
    /// `net.core.rmem_max`), see [`BufferSizes`](crate::BufferSizes).
    pub fn receive_buffer(&mut self, bytes: Option<usize>) -> &mut Self {
        self.receive_buffer = bytes;
        self
    }

    /// Whether a socket bound to `[::]` takes IPv6 only. Default false: it serves IPv4 as well.
    pub fn only_v6(&mut self, only: bool) -> &mut Self {
        self.only_v6 = only;
        self
    }

    /// Whether runs of packets are handed to the kernel in one piece (Linux `UDP_SEGMENT`, Windows
    /// `UDP_SEND_MSG_SIZE`), where it can do that. Default true. It is given up by itself when a
    /// network device refuses it, and not used on a socket that was given a traffic class (DSCP; `IP_TOS`,
    /// `IPV6_TCLASS`) before: on Linux that class then stays on all packets.
    pub fn send_offload(&mut self, on: bool) -> &mut Self {
        self.send_offload = on;
        self
    }

    /// Whether the kernel may hand over runs of packets in one piece (Linux `UDP_GRO`). Default true.
    pub fn receive_offload(&mut self, on: bool) -> &mut Self {
        self.receive_offload = on;
        self
    }

    /// Bytes of foreign (not uTP) datagrams kept at most until the application asks for them.
    /// Default 256 KiB; 0 keeps none. What comes beyond that is dropped and counted.
    pub fn datagram_queue(&mut self, bytes: usize) -> &mut Self {
        self.datagram_queue = bytes;
        self
    }

    /// For tests: what becomes of the socket's system calls. Default: whatever the system says.
    #[cfg(feature = "faults")]
    pub fn faults(&mut self, faults: Arc<dyn crate::faults::Faults>) -> &mut Self {
        self.faults = Some(faults);
        self
    }
}

/// Over 20 ms of a 1 Gbit/s link: about as long as a busy runtime may keep the driver waiting.
const KERNEL_BUFFER: usize = 4 << 20;

/// A few hundred DHT messages.
const DATAGRAM_QUEUE: usize = 256 << 10;
