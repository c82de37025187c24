//! [`UtpSocket`]: one UDP port, any number of connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use utp_driver::references::References;
use utp_driver::udp::{Datagrams, Intake, Moment, Outlet, Received, Udp};
use utp_driver::{BufferSizes, SocketConfig, SocketStats};
use utp_proto::{Connection, ConnectionHandle, Endpoint, Event as ConnectionEvent};

use crate::source::{Registration, Socket};
use crate::{Event, Turn};

/// A UDP socket with any number of uTP connections, as an event source of mio.
///
/// Register it for [`Interest::READABLE`]; it asks for writability by itself while it needs that. Then,
/// in the event loop:
///
/// 1. [`turn`](Self::turn), whenever mio announced the socket, [`deadline`](Self::deadline) has come,
///    or the application did something (simply: each time around);
/// 2. [`poll_event`](Self::poll_event) until `None`, reading and writing as wanted;
/// 3. if the turn gave [`Turn::More`], once more from the beginning; else wait, until `deadline` at most.
///
/// What the application does to a connection takes effect with the next turn. The socket has no clock of
/// its own: times are the caller's, from `Instant::now()`, taken right before the call.
///
/// A socket that only connects is better configured not to [listen](crate::Config::listen). A peer that has
/// gone without a word while nothing was being sent to it is found by
/// [`idle_timeout`](crate::Config::idle_timeout) only, which is `None` by default.
///
/// Dropping the socket ends its connections without a word to their peers. To leave in good order:
/// finish or close each connection, [`close`](Self::close), and go on until [`is_idle`](Self::is_idle).
#[derive(Debug)]
pub struct UtpSocket {
    udp: Udp<Socket>,
    registration: Option<Registration>,
    endpoint: Endpoint,
    intake: Intake,
    outlet: Outlet,
    datagrams: Datagrams,
    /// When the last turn was.
    now: Instant,
    /// Whether it gave [`Turn::More`].
    more: bool,
    /// Whether [`Event::Datagrams`] is due.
    datagrams_came: bool,
    sending: Sending,
    /// Whether [`Event::Closed`] is to come.
    closing: bool,
    references: References,
    /// The connection whose `Closed` was polled last.
    ended: Option<ConnectionHandle>,
    foreign_sent: u64,
}

/// How the application's own datagrams fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// The last one went out.
    Free,
    /// One would have blocked, and no turn was taken since.
    Blocked,
    /// [`Event::Sendable`] is due.
    Retry,
}

impl UtpSocket {
    /// Binds `addr`. Port 0 lets the system choose; `0.0.0.0` takes IPv4 on every interface, `[::]`
    /// both families. The socket accepts connections from now on.
    ///
    /// # Errors
    /// The address is in use or not of this machine.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, SocketConfig::default())
    }

    /// Binds `port` of every IPv4 address: what a server for Node.js does that names no host.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_port(port: u16) -> io::Result<Self> {
        Self::bind((Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// As [`bind`](Self::bind), with a [`Config`](crate::Config) or a [`SocketConfig`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(addr: SocketAddr, config: impl Into<SocketConfig>) -> io::Result<Self> {
        let config = config.into();
        Self::from_std(utp_driver::socket::bind(addr, &config)?, config)
    }

    /// Takes over a bound UDP socket; also one that came as a descriptor
    /// (`std::net::UdpSocket::from(OwnedFd)`).
    ///
    /// # Errors
    /// `InvalidInput` if it is not a UDP socket.
    pub fn from_std(socket: std::net::UdpSocket, config: impl Into<SocketConfig>) -> io::Result<Self> {
        let config = config.into();
        let now = Instant::now();
        let udp = Udp::new(socket, &config, |socket| Ok(Socket::new(socket)))?;
        Ok(Self {
            registration: None,
            endpoint: utp_driver::endpoint::new(&config, now)?,
            intake: Intake::default(),
            outlet: Outlet::new(&udp, now),
            datagrams: Datagrams::new(&config),
            now,
            more: false,
            datagrams_came: false,
            sending: Sending::Free,
            closing: false,
            references: References::default(),
            ended: None,
            foreign_sent: 0,
            udp,
        })
    }

    /// Receives one batch, does what is due, and sends what the connections want to send. Never blocks,
    /// and is bounded: a batch is up to 32 buffers of up to 64 KiB (on Linux), and 256 KiB at most are sent.
    ///
    /// The answer to a batch is sent with the next turn, so that what the application says to the events
    /// goes out together with the acknowledgements.
    ///
    /// # Errors
    /// Those of mio's registry. Network errors concern one peer or one datagram and are counted
    /// ([`SocketStats`]) or end the connection; they never end the socket.
    pub fn turn(&mut self, now: Instant) -> io::Result<Turn> {
        self.now = now;
        if self.sending == Sending::Blocked {
            self.sending = Sending::Retry;
        }
        let owing =
            !self.outlet.is_flushed() || self.endpoint.poll_timeout().is_some_and(|deadline| deadline <= now);
        let before = self.datagrams.received();
        // Before the call, which may take its time: `now` goes with this moment.
        let moment = Moment::of(now);
        let received = self.intake.receive(&self.udp, || moment);
        self.outlet.report(&mut self.endpoint, now);
        self.intake.feed(&mut self.endpoint, &mut self.datagrams, now);
        self.datagrams_came |= self.datagrams.received() > before;
        let arrived = matches!(received, Received::Batch(_));
        self.more = arrived || received == Received::Failed;
        if owing || !arrived {
            let left = self.outlet.collect(&mut self.endpoint, now);
            self.outlet.flush(&self.udp);
            self.more |= left && !self.outlet.is_blocked();
        }
        self.more |= self.outlet.has_path_errors();
        self.update_interest()?;
        Ok(if self.more { Turn::More } else { Turn::Wait })
    }

    /// When to take the next turn although nothing else asks for it; `None`: no time limit. It lies in the
    /// past when there is something to do at once: after [`Turn::More`], while events wait, and after the
    /// application has done something to a connection that is to be sent, or that caused an event (to
    /// read the last bytes may). May be early, never late.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.more || self.has_events() {
            return Some(self.now);
        }
        let wanted = self.endpoint.poll_timeout().into_iter().chain(self.intake.deaf_until()).min();
        self.outlet.deadline(wanted, self.now)
    }

    /// The next event. Poll until `None` after each turn.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some((handle, event)) = self.endpoint.poll_event() {
            if let ConnectionEvent::Closed { .. } = event {
                self.references.closed(handle, &self.endpoint);
                self.ended = Some(handle);
            }
            return Some(Event::Connection(handle, event));
        }
        if std::mem::take(&mut self.datagrams_came) {
            return Some(Event::Datagrams);
        }
        if self.sending == Sending::Retry {
            self.sending = Sending::Free;
            return Some(Event::Sendable);
        }
        if self.is_closed() {
            self.closing = false;
            return Some(Event::Closed);
        }
        None
    }

    /// Opens a connection. [`Connected`](crate::ConnectionEvent::Connected) or
    /// [`Closed`](crate::ConnectionEvent::Closed) follows. Writing is allowed at once. For a name with several
    /// addresses there is [`Race`](crate::Race).
    ///
    /// # Errors
    /// `InvalidInput` for an address that cannot be connected to from this socket; `QuotaExceeded` with
    /// [`max_connections`](crate::Config::max_connections) open; `AddrInUse` if every connection id towards
    /// that address is taken.
    pub fn connect(&mut self, now: Instant, peer: SocketAddr) -> io::Result<ConnectionHandle> {
        let peer = self.udp.peer(peer)?;
        let handle = self.endpoint.connect(now, peer)?;
        self.references.set_connection(handle, true);
        Ok(handle)
    }

    /// Opens a connection to a port of this machine, `localhost`. (IPv4 if this socket speaks it, as one
    /// does that was bound without naming an address.)
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_port(&mut self, now: Instant, port: u16) -> io::Result<ConnectionHandle> {
        self.connect(now, self.udp.localhost(port))
    }

    /// The next incoming connection. Peers that find [`backlog`](crate::Config::backlog) connections
    /// waiting have to try again.
    ///
    /// Events of a connection that has not been accepted yet come too, and are not repeated: who accepts
    /// later than on [`Incoming`](crate::ConnectionEvent::Incoming) should read right after accepting.
    #[must_use = "a connection that nobody accepts or closes stays open"]
    pub fn accept(&mut self) -> Option<ConnectionHandle> {
        let handle = self.endpoint.accept()?;
        self.references.set_connection(handle, true);
        Some(handle)
    }

    /// A connection, to read, write, finish, close, abort or watch; `None` once it is over and its
    /// [`Closed`](crate::ConnectionEvent::Closed) was polled.
    ///
    /// A handle that the application will not use any more is given up with
    /// [`close`](Connection::close): what was written is delivered, what still comes is thrown away. To
    /// forget it without that keeps the connection open, and its memory in use.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<Connection<'_>> {
        self.endpoint.connection(handle)
    }

    /// Refuses connections from now on, those that nobody has accepted included (their
    /// [`Closed`](crate::ConnectionEvent::Closed) comes nevertheless). The others go on, and connections can
    /// still be opened.
    pub fn stop_listening(&mut self) {
        utp_driver::endpoint::stop_listening(&mut self.endpoint);
    }

    /// Whether incoming connections are taken.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.endpoint.is_listening()
    }

    /// [`stop_listening`](Self::stop_listening), and [`Event::Closed`] follows when the last connection
    /// has ended, of those too that this side has opened: at once if none is open.
    pub fn close(&mut self) {
        self.stop_listening();
        self.closing = true;
    }

    /// Connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Whether no connection is open, everything has been sent, and no peer can be left that still waits
    /// for a last acknowledgement, which takes [`linger`](crate::Config::linger) after the last
    /// connection's end. A program that waits for this before it ends leaves no peer guessing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.endpoint.open_connections() == 0
            && self.endpoint.stats().lingering == 0
            && self.outlet.is_flushed()
    }

    /// Whether there is no more reason to go on, as a program for Node.js ends: nothing is left that is
    /// referenced. That is, the socket accepts no more or is [unreferenced](Self::unreference); each
    /// connection that it has opened or accepted has ended or is unreferenced; and, as for
    /// [`is_idle`](Self::is_idle), no peer of a referenced one still waits for a last acknowledgement. As
    /// of the last turn.
    #[must_use]
    pub fn is_unreferenced(&self) -> bool {
        !self.references.are_left(&self.endpoint, self.now)
    }

    /// Makes the listening socket a reason to go on, as it is in the beginning: `ref` in Node.js. Repeating
    /// it has no effect.
    pub fn reference(&mut self) {
        self.references.set_listener(true);
    }

    /// The opposite of [`reference`](Self::reference): `unref` in Node.js. Connections are not concerned.
    pub fn unreference(&mut self) {
        self.references.set_listener(false);
    }

    /// The same for a connection: it is a reason to go on until it has ended, as it is in the beginning.
    pub fn reference_connection(&mut self, handle: ConnectionHandle) {
        if self.ended != Some(handle) && self.endpoint.connection(handle).is_some() {
            self.references.set_connection(handle, true);
        }
    }

    /// The opposite of [`reference_connection`](Self::reference_connection).
    pub fn unreference_connection(&mut self, handle: ConnectionHandle) {
        self.references.set_connection(handle, false);
    }

    /// The next datagram that is not uTP: its length, cut to that of `buf`, and its sender.
    ///
    /// uTP are all datagrams of 20 bytes or more that begin with 0x01, 0x11, 0x21, 0x31 or 0x41, whoever sends
    /// them. (Messages of a DHT begin with a `d`.)
    ///
    /// # Errors
    /// `WouldBlock` if none is waiting: [`Event::Datagrams`] tells when one comes. Up to
    /// [`datagram_queue`](SocketConfig::datagram_queue) bytes of them are kept.
    pub fn recv_from(&mut self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.datagrams.receive(buf).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Sends a datagram that is not uTP, at once.
    ///
    /// # Errors
    /// `WouldBlock` if the socket takes none now: [`Event::Sendable`] tells when to try again. Otherwise
    /// what the system says to this datagram, and `InvalidInput` for a peer of the wrong address family.
    pub fn send_to(&mut self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        match self.udp.send_to(data, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.sending = Sending::Blocked;
                self.update_interest()?;
                Err(error)
            }
            result => {
                self.foreign_sent += u64::from(result.is_ok());
                result
            }
        }
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }

    /// The kernel buffers that the system granted, often less than was asked for.
    #[must_use]
    pub fn buffer_sizes(&self) -> BufferSizes {
        self.udp.buffers()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        let mut stats = SocketStats::default();
        stats.endpoint = self.endpoint.stats();
        let (receive, send) = (self.intake.stats(), self.outlet.stats());
        (stats.receive, stats.send) = (*receive, *send);
        stats.foreign_received = self.datagrams.received();
        stats.foreign_dropped = self.datagrams.dropped();
        stats.foreign_sent = self.foreign_sent;
        stats
    }

    fn has_events(&self) -> bool {
        self.endpoint.has_events()
            || self.datagrams_came
            || self.sending == Sending::Retry
            || self.is_closed()
    }

    /// Whether [`Event::Closed`] is due.
    fn is_closed(&self) -> bool {
        self.closing && self.endpoint.open_connections() == 0
    }

    fn update_interest(&mut self) -> io::Result<()> {
        let writable = self.wants_writable();
        match &mut self.registration {
            Some(registration) => registration.want_writable(self.udp.socket_mut(), writable),
            None => Ok(()),
        }
    }

    fn wants_writable(&self) -> bool {
        self.outlet.is_blocked() || self.sending == Sending::Blocked
    }
}

impl Source for UtpSocket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let writable = self.wants_writable();
        let socket = self.udp.socket_mut();
        self.registration = Some(Registration::register(socket, registry, token, interests, writable)?);
        Ok(())
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let writable = self.wants_writable();
        let socket = self.udp.socket_mut();
        match &mut self.registration {
            Some(registration) => registration.reregister(socket, registry, token, interests, writable),
            // mio knows what to say to this.
            None => socket.inner.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.registration = None;
        self.udp.socket_mut().inner.deregister(registry)
    }
}

#[cfg(test)]
impl UtpSocket {
    /// Lets sending block, or no longer.
    pub(crate) fn set_full(&self, full: bool) {
        self.udp.socket().full.set(full);
    }

    /// Whether mio would tell that there is room to send.
    pub(crate) fn asks_for_writability(&self) -> bool {
        self.registration.as_ref().is_some_and(Registration::is_for_writability)
    }
}
