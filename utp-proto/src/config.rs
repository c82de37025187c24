//! Everything that can be tuned. Each setter gives unit, default, range and consequence, and
//! refuses values outside the range.

use std::sync::Arc;
use std::time::Duration;

use crate::congestion::{ControllerFactory, EbbConfig};
use crate::error::ConfigError;

/// Configuration of an [`Endpoint`](crate::Endpoint), shared by all its connections.
///
/// ```
/// use std::time::Duration;
/// use utp_proto::Config;
///
/// let mut config = Config::default();
/// config.receive_buffer(4 << 20)?.connect_timeout(Duration::from_secs(5))?.nagle(false);
/// # Ok::<(), utp_proto::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) receive_buffer: usize,
    pub(crate) receive_buffer_max: usize,
    pub(crate) send_buffer: usize,
    pub(crate) send_buffer_max: usize,
    pub(crate) memory_budget: usize,
    pub(crate) backlog: usize,
    pub(crate) half_open_limit: usize,
    pub(crate) half_open_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) listen: bool,
    pub(crate) speak_first: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) give_up_after: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) initial_rto: Duration,
    pub(crate) min_rto: Duration,
    pub(crate) max_rto: Duration,
    pub(crate) ack_delay: Duration,
    pub(crate) nagle: bool,
    pub(crate) pacing: bool,
    pub(crate) distrust: bool,
    pub(crate) initial_datagram: usize,
    pub(crate) max_datagram_v4: usize,
    pub(crate) max_datagram_v6: usize,
    pub(crate) max_packets_in_flight: u16,
    pub(crate) max_packets_proven: u16,
    pub(crate) reorder_window: Option<u16>,
    pub(crate) max_sack: u8,
    /// Longer ones for peers that send far ahead.
    pub(crate) wide_sack: bool,
    pub(crate) resets_per_second: u32,
    pub(crate) controller: Arc<dyn ControllerFactory>,
    pub(crate) receive_controller: Option<Arc<dyn ControllerFactory>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_buffer: 1 << 20,
            receive_buffer_max: 32 << 20,
            send_buffer: 256 << 10,
            send_buffer_max: 32 << 20,
            memory_budget: 1 << 30,
            backlog: 128,
            half_open_limit: 4096,
            half_open_timeout: Duration::from_secs(45),
            max_connections: 65_536,
            listen: true,
            speak_first: false,
            connect_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(60),
            idle_timeout: None,
            keep_alive: Some(Duration::from_secs(29)),
            linger: Duration::from_secs(3),
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(500),
            max_rto: Duration::from_secs(15),
            ack_delay: Duration::from_millis(5),
            nagle: true,
            pacing: true,
            distrust: true,
            initial_datagram: 1232,
            max_datagram_v4: 1472,
            max_datagram_v6: 1452,
            max_packets_in_flight: 950,
            max_packets_proven: MAX_PACKETS,
            reorder_window: None,
            max_sack: 128,
            wide_sack: true,
            resets_per_second: 100,
            controller: Arc::new(EbbConfig::default()),
            receive_controller: None,
        }
    }
}

macro_rules! check {
    ($ok:expr, $setting:literal, $expected:literal) => {
        if !$ok {
            return Err(ConfigError { setting: $setting, expected: $expected });
        }
    };
}

/// Buffers and tables: what bounds memory.
impl Config {
    /// Bytes a connection holds for its application at most, and therefore the largest window it
    /// advertises: fixed, neither more nor less. 4 KiB to 1 GiB. What was received takes that and 8 KiB of memory at
    /// most, whatever the peer sends. Taken only while data waits. Throughput of a
    /// connection cannot exceed this per round trip. By default it begins at 1 MiB and grows, see
    /// [`receive_buffer_max`](Self::receive_buffer_max).
    pub fn receive_buffer(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!((4 << 10..=1 << 30).contains(&bytes), "receive_buffer", "4 KiB to 1 GiB");
        self.receive_buffer = bytes;
        self.receive_buffer_max = bytes;
        Ok(self)
    }

    /// Up to how many bytes that grows, for each connection on its own, while its application reads more than
    /// half of it per round trip: what is read in one is what the path holds, and twice that keeps the peer from
    /// ever waiting for the window. What waits behind a gap counts as well, but without anything read it becomes three
    /// times as large as it begins at most. Default 32 MiB, and never more than a quarter of the
    /// [`memory_budget`](Self::memory_budget); up to 1 GiB. Call it after
    /// [`receive_buffer`](Self::receive_buffer), from which it grows; less than that means no growth.
    pub fn receive_buffer_max(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!((4 << 10..=1 << 30).contains(&bytes), "receive_buffer_max", "4 KiB to 1 GiB");
        self.receive_buffer_max = bytes;
        Ok(self)
    }

    /// Bytes a connection takes from its application ahead of their acknowledgement: fixed. 4 KiB to 1 GiB.
    /// Taken only while data waits. By default it begins at 256 KiB and grows, see
    /// [`send_buffer_max`](Self::send_buffer_max).
    pub fn send_buffer(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!((4 << 10..=1 << 30).contains(&bytes), "send_buffer", "4 KiB to 1 GiB");
        self.send_buffer = bytes;
        self.send_buffer_max = bytes;
        Ok(self)
    }

    /// Up to how many bytes that grows: with what is under way, so that twice as much again is there to follow it.
    /// Back at its beginning after a second without anything under way. Default 32 MiB; up to 1 GiB. Call it after
    /// [`send_buffer`](Self::send_buffer), from which it grows; less than that means no growth.
    pub fn send_buffer_max(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!((4 << 10..=1 << 30).contains(&bytes), "send_buffer_max", "4 KiB to 1 GiB");
        self.send_buffer_max = bytes;
        Ok(self)
    }

    /// Bytes that all connections of an endpoint hold together: what they have written and the memory of what they
    /// have received. Default 1 GiB;
    /// 64 KiB or more. Once it is used up, each connection may hold 16 KiB in each direction and no more, so that
    /// all of them get on: writes are cut short, windows shrink, and what peers have sent beyond that is dropped
    /// and has to be sent again ([`ConnectionStats::overflow_packets`](crate::ConnectionStats)).
    pub fn memory_budget(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!(bytes >= 64 << 10, "memory_budget", "64 KiB or more");
        self.memory_budget = bytes;
        Ok(self)
    }

    /// Confirmed incoming connections that may wait for [`accept`](crate::Endpoint::accept).
    /// Default 128; 1 to 65 536. At the bound a confirmation is dropped; the peer repeats it.
    pub fn backlog(&mut self, connections: usize) -> Result<&mut Self, ConfigError> {
        check!((1..=65_536).contains(&connections), "backlog", "1 to 65536");
        self.backlog = connections;
        Ok(self)
    }

    /// Incoming connections remembered between their SYN and the first packet that proves that the
    /// peer has seen our answer. Default 4096 (under 128 bytes each); 1 to 1 048 576. One network (/24, /64)
    /// gets a 64th of it, 8 at least. At either bound a SYN is answered with a cookie in the initial sequence
    /// number, and nothing is remembered; strays get no RESETs then until the last cookie is too old.
    pub fn half_open_limit(&mut self, connections: usize) -> Result<&mut Self, ConfigError> {
        check!((1..=1 << 20).contains(&connections), "half_open_limit", "1 to 1048576");
        self.half_open_limit = connections;
        Ok(self)
    }

    /// How long such an entry is kept. Default 45 s (longer than the 29 s keep-alive, the first
    /// thing a silent libutp initiator sends); 1 s to 10 min.
    pub fn half_open_timeout(&mut self, timeout: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(timeout, 1_000, 600_000), "half_open_timeout", "1 s to 10 min");
        self.half_open_timeout = timeout;
        Ok(self)
    }

    /// Connections open at a time, incoming and outgoing. Default 65 536; 1 to 16 777 216. At the
    /// bound SYNs are dropped and [`connect`](crate::Endpoint::connect) fails.
    pub fn max_connections(&mut self, connections: usize) -> Result<&mut Self, ConfigError> {
        check!((1..=1 << 24).contains(&connections), "max_connections", "1 to 16777216");
        self.max_connections = connections;
        Ok(self)
    }

    /// Packets of one connection in flight towards a peer that has not proven that it takes more.
    /// Default 950: libtorrent drops what is more than 953 ahead, libutp 1023. 1 to 30 000.
    pub fn max_packets_in_flight(&mut self, packets: u16) -> Result<&mut Self, ConfigError> {
        check!((1..=MAX_PACKETS).contains(&packets), "max_packets_in_flight", "1 to 30000");
        self.max_packets_in_flight = packets;
        Ok(self)
    }

    /// Packets in flight towards a peer that has proven that it keeps what comes further ahead of a gap than
    /// libutp does, besides one for 1100 bytes of its window (libtorrent's measure). It is asked with a single
    /// packet that is sent ahead of its turn, once its window makes it worth asking. Default 30 000; 1 to 30 000.
    /// No more than [`max_packets_in_flight`](Self::max_packets_in_flight): nobody is asked.
    pub fn max_packets_proven(&mut self, packets: u16) -> Result<&mut Self, ConfigError> {
        check!((1..=MAX_PACKETS).contains(&packets), "max_packets_proven", "1 to 30000");
        self.max_packets_proven = packets;
        Ok(self)
    }

    /// How far ahead of the next expected packet an arrival may be and still be kept, in packets: fixed. 16 to
    /// 30 000. Memory is bounded by the receive buffer besides. By default one for each KiB of that buffer, as it
    /// grows, but 1024 (as libutp) to 30 000.
    pub fn reorder_window(&mut self, packets: u16) -> Result<&mut Self, ConfigError> {
        check!((16..=MAX_PACKETS).contains(&packets), "reorder_window", "16 to 30000");
        self.reorder_window = Some(packets);
        Ok(self)
    }

    /// The reorder window of a connection that holds `limit` bytes at most.
    pub(crate) fn reorder_window_for(&self, limit: usize) -> u16 {
        let packets = (limit >> 10).clamp(usize::from(MIN_REORDER), usize::from(MAX_PACKETS));
        self.reorder_window.unwrap_or(packets as u16)
    }
}

/// Opening, closing and giving up.
impl Config {
    /// Whether incoming connections are taken. Default true. If not, each SYN is refused with a
    /// RESET. Can be changed later with [`Endpoint::stop_listening`](crate::Endpoint::stop_listening).
    pub fn listen(&mut self, listen: bool) -> &mut Self {
        self.listen = listen;
        self
    }

    /// Surface incoming connections at their SYN, and let the application send before the peer has
    /// proven that the address is its own. Default false.
    ///
    /// Needed only by protocols in which the acceptor speaks first to initiators that stay silent
    /// (libutp sends nothing in answer to a SYN-ACK). It lets a forged SYN draw more bytes towards a
    /// victim than it cost, so it is off unless the peers are trusted.
    pub fn speak_first(&mut self, speak_first: bool) -> &mut Self {
        self.speak_first = speak_first;
        self
    }

    /// How long [`connect`](crate::Endpoint::connect) tries. Default 30 s; 100 ms to 10 min.
    pub fn connect_timeout(&mut self, timeout: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(timeout, 100, 600_000), "connect_timeout", "100 ms to 10 min");
        self.connect_timeout = timeout;
        Ok(self)
    }

    /// How long sent data or a FIN may stay without any new acknowledgement before the connection
    /// is given up as [`TimedOut`](crate::CloseReason::TimedOut). Default 60 s; 1 s to 1 h.
    pub fn give_up_after(&mut self, timeout: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(timeout, 1_000, 3_600_000), "give_up_after", "1 s to 1 h");
        self.give_up_after = timeout;
        Ok(self)
    }

    /// End a connection on which nothing at all arrived for so long. Default `None`: silence is
    /// healthy, and libtorrent sends no keep-alives. 1 s to 24 h.
    pub fn idle_timeout(&mut self, timeout: Option<Duration>) -> Result<&mut Self, ConfigError> {
        check!(timeout.is_none_or(|t| within(t, 1_000, 86_400_000)), "idle_timeout", "1 s to 24 h");
        self.idle_timeout = timeout;
        Ok(self)
    }

    /// Send a keep-alive after so long without sending. Default 29 s, as libutp, which keeps a NAT's
    /// 30 s mapping open; `None` sends none. 1 s to 1 h.
    pub fn keep_alive(&mut self, interval: Option<Duration>) -> Result<&mut Self, ConfigError> {
        check!(interval.is_none_or(|t| within(t, 1_000, 3_600_000)), "keep_alive", "1 s to 1 h");
        self.keep_alive = interval;
        Ok(self)
    }

    /// How long an ended connection goes on answering a repeated FIN, and how long its id is not
    /// used again. Default 3 s; 100 ms to 2 min. Such an entry takes under 128 bytes. Also how long a
    /// connection that was closed with [`close`](crate::Connection::close), and whose FIN was
    /// acknowledged, waits for the peer's FIN.
    pub fn linger(&mut self, time: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(time, 100, 120_000), "linger", "100 ms to 2 min");
        self.linger = time;
        Ok(self)
    }

    /// RESETs per second sent at most in answer to datagrams that fit nothing, for the whole
    /// endpoint, and to one network (/24, /64) a quarter of that. Default 100; 0 sends none. A RESET is never
    /// larger than what it answers.
    pub fn resets_per_second(&mut self, resets: u32) -> &mut Self {
        self.resets_per_second = resets;
        self
    }
}

/// Timing of transmission.
impl Config {
    /// Retransmission time-out before the first round-trip sample, also the first SYN interval.
    /// Default 1 s (RFC 6298 2.1); 100 ms to 10 s.
    pub fn initial_rto(&mut self, rto: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(rto, 100, 10_000), "initial_rto", "100 ms to 10 s");
        self.initial_rto = rto;
        Ok(self)
    }

    /// Lower bound of the retransmission time-out. Default 500 ms (BEP 29); 50 ms to 10 s. Too low a
    /// bound takes a delayed acknowledgement for a loss.
    pub fn min_rto(&mut self, rto: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(rto, 50, 10_000), "min_rto", "50 ms to 10 s");
        self.min_rto = rto;
        Ok(self)
    }

    /// Upper bound of the retransmission time-out, back-off included. Default 15 s; 1 s to 10 min. RFC 6298
    /// 2.5 asks for 60 s at least, which is all that [`give_up_after`](Self::give_up_after) allows: half of
    /// that time would pass in silence although the path may be back.
    pub fn max_rto(&mut self, rto: Duration) -> Result<&mut Self, ConfigError> {
        check!(within(rto, 1_000, 600_000), "max_rto", "1 s to 10 min");
        self.max_rto = rto;
        Ok(self)
    }

    /// How long the acknowledgement of a single packet may wait for company. Default 5 ms; 0 to
    /// 10 ms (longer delays disturb the delay measurement of deployed peers). Every second full
    /// packet, and whatever arrives out of order, is acknowledged at the end of its batch.
    pub fn ack_delay(&mut self, delay: Duration) -> Result<&mut Self, ConfigError> {
        check!(delay <= Duration::from_millis(10), "ack_delay", "at most 10 ms");
        self.ack_delay = delay;
        Ok(self)
    }

    /// Nagle's algorithm: hold back a packet that is not full while anything is in flight. Default
    /// true, as deployed peers do.
    pub fn nagle(&mut self, on: bool) -> &mut Self {
        self.nagle = on;
        self
    }

    /// Spread packets over the round trip instead of sending a window at once. Default true.
    pub fn pacing(&mut self, on: bool) -> &mut Self {
        self.pacing = on;
        self
    }

    /// Find out whether peers acknowledge what they have not got, to be sent more than their share. Default true: of a
    /// long flight one packet is held back for a round trip now and then, which an honest peer takes for reordering,
    /// and a connection whose peer acknowledges it all the same ends with
    /// [`CloseReason::Violation`](crate::CloseReason::Violation). Off: for peers that are known, or that cannot
    /// reorder.
    pub fn distrust(&mut self, on: bool) -> &mut Self {
        self.distrust = on;
        self
    }

    /// Congestion control of new connections. Default [`EbbConfig`].
    pub fn congestion(&mut self, controller: Arc<dyn ControllerFactory>) -> &mut Self {
        self.controller = controller;
        self
    }

    /// Congestion control of what peers send on new connections: rLEDBAT (RFC 9840). Default `None`: that is theirs.
    ///
    /// With a delay-based controller, [`LedbatPpConfig`](crate::congestion::LedbatPpConfig) as in the RFC or
    /// another, no window is advertised larger than it allows. A sender that would fill the queue in front of our
    /// access link, an old or a greedy one, is kept from it: others on that link notice as little of it as of a
    /// LEDBAT sender. It needs peers with working clocks, as deployed ones have, and helps only as far as they heed
    /// the window; a sender that yields by itself has no use for it.
    pub fn receive_congestion(&mut self, controller: Option<Arc<dyn ControllerFactory>>) -> &mut Self {
        self.receive_controller = controller;
        self
    }

    /// The window that answers a SYN, before there is a connection.
    pub(crate) fn first_window(&self) -> u32 {
        let window = match self.receive_controller {
            Some(_) => {
                self.receive_buffer.min(FIRST_PACKETS * (self.initial_datagram - crate::wire::HEADER_LEN))
            }
            None => self.receive_buffer,
        };
        window.min(u32::MAX as usize) as u32
    }
}

/// Sizes on the wire.
impl Config {
    /// UDP payload to start with, before larger ones are probed. Default 1232: the IPv6 minimum MTU
    /// of 1280 less IP and UDP headers, which practically every IPv4 path takes too. 508 to 8952.
    pub fn initial_datagram(&mut self, bytes: usize) -> Result<&mut Self, ConfigError> {
        check!((508..=8952).contains(&bytes), "initial_datagram", "508 to 8952");
        self.initial_datagram = bytes;
        Ok(self)
    }

    /// Largest UDP payload that path-MTU discovery tries, for IPv4 and for IPv6. Default 1472 and
    /// 1452: Ethernet. 508 to 8972. At or below [`initial_datagram`](Self::initial_datagram) nothing
    /// is probed, and packets have this size.
    pub fn max_datagram(&mut self, ipv4: usize, ipv6: usize) -> Result<&mut Self, ConfigError> {
        check!((508..=8972).contains(&ipv4) && (508..=8972).contains(&ipv6), "max_datagram", "508 to 8972");
        self.max_datagram_v4 = ipv4;
        self.max_datagram_v6 = ipv6;
        Ok(self)
    }

    /// Bytes of selective-acknowledgement mask sent at most; a mask is only as long as the gaps need.
    /// Default 128: all 1024 packets that libutp would keep; up to 252 towards a peer that itself sends further
    /// ahead. A multiple of 4 from 4 to 252, which then holds for all. Deployed peers take any length, but nim-eth,
    /// which takes exactly 4.
    pub fn max_sack(&mut self, bytes: u8) -> Result<&mut Self, ConfigError> {
        check!(
            (4..=252).contains(&bytes) && bytes.is_multiple_of(4),
            "max_sack",
            "a multiple of 4 from 4 to 252"
        );
        self.max_sack = bytes;
        self.wide_sack = false;
        Ok(self)
    }
}

/// Numbers in use on either side of the next one, of 65 536: less than half, so that old and new never meet, with
/// room for what is still under way.
const MAX_PACKETS: u16 = 30_000;

/// Packets of the first window under congestion control: RFC 6928.
const FIRST_PACKETS: usize = 10;

/// What libutp keeps.
const MIN_REORDER: u16 = 1024;

fn within(value: Duration, min_ms: u64, max_ms: u64) -> bool {
    (Duration::from_millis(min_ms)..=Duration::from_millis(max_ms)).contains(&value)
}
