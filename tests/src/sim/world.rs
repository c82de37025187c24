//! Hosts, connections and time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::{Config, ConnectionHandle, Endpoint, Event, PathError, Verdict};

use super::app::{Ending, Script, Side};
use super::host::{Clock, Host};
use super::link::Link;
use super::monitor::Monitor;
use super::network::{Delivery, Forgery, LinkId, Network, Order};
use super::rng::Random;

mod look;

/// Names a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// Names a connection that was dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub usize);

/// A simulated network with everything on it.
pub struct World {
    seed: u64,
    origin: Instant,
    now: Duration,
    hosts: Vec<Host>,
    by_addr: HashMap<SocketAddr, usize>,
    network: Network,
    conns: Vec<Conn>,
    /// Which side of which connection a handle is.
    sides: HashMap<(usize, ConnectionHandle), (usize, usize)>,
    /// Dialed connections by dialing host, accepting host and the id on which the acceptor receives.
    dialed: HashMap<(usize, usize, u16), usize>,
    monitor: Option<Monitor>,
    /// When applications want to act although nothing happens; stale entries possible.
    wakes: BinaryHeap<Reverse<(Duration, usize, usize)>>,
    steps_at_this_time: u32,
    buf: Vec<u8>,
    /// Sides that have not closed yet.
    open_sides: usize,
    /// Handles that no dialed connection explains.
    strangers: Vec<Stranger>,
}

/// A connection that nobody dialed.
struct Stranger {
    host: HostId,
    handle: ConnectionHandle,
    remote: SocketAddr,
    /// On which it receives.
    id: u16,
}

struct Conn {
    /// What the acceptor will do once it accepts.
    acceptor_script: Script,
    /// Dialer, and acceptor once it has accepted.
    sides: [Option<Side>; 2],
}

/// Building.
impl World {
    /// An empty world. Everything random in it follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            origin: Instant::now(),
            now: Duration::ZERO,
            hosts: Vec::new(),
            by_addr: HashMap::new(),
            network: Network::new(seed),
            conns: Vec::new(),
            sides: HashMap::new(),
            dialed: HashMap::new(),
            monitor: Some(Monitor::default()),
            wakes: BinaryHeap::new(),
            steps_at_this_time: 0,
            buf: Vec::new(),
            open_sides: 0,
            strangers: Vec::new(),
        }
    }

    /// A host with an IPv4 address and the default configuration.
    pub fn host_default(&mut self) -> HostId {
        self.host(Config::default())
    }

    /// A host with an IPv4 address.
    pub fn host(&mut self, config: Config) -> HostId {
        let n = self.hosts.len() as u16;
        let [high, low] = n.to_be_bytes();
        self.host_at(SocketAddr::from(([10, 0, high, low], 6881)), config, 0)
    }

    /// A host with any address, and a clock that gains so many parts per million.
    pub fn host_at(&mut self, addr: SocketAddr, config: Config, ppm: i64) -> HostId {
        let id = self.hosts.len();
        let clock = Clock::new(self.origin, ppm);
        let seed = Random::new(self.seed, HOST_STREAMS + id as u64).seed();
        self.hosts.push(Host {
            endpoint: Endpoint::new(Arc::new(config), seed, clock.local(self.now)),
            addr,
            max_datagram: MAX_DATAGRAM,
            clock,
            send_buffer: None,
            segments: 64,
            dirty: true,
            accepts: true,
            dead: false,
            deadline: None,
        });
        self.by_addr.insert(addr, id);
        self.network.trace.name(id, addr);
        HostId(id)
    }

    /// One direction of a link, to be used in [`route`](Self::route)s.
    pub fn link(&mut self, link: Link) -> LinkId {
        self.network.link(link)
    }

    /// The links that datagrams from one host to another cross.
    pub fn route(&mut self, from: HostId, to: HostId, links: &[LinkId]) {
        self.network.route(from.0, to.0, links.to_vec());
    }

    /// A link of their own between two hosts, the same both ways. Gives both directions.
    pub fn join(&mut self, a: HostId, b: HostId, link: Link) -> (LinkId, LinkId) {
        let forth = self.link(link.clone());
        let back = self.link(link);
        self.route(a, b, &[forth]);
        self.route(b, a, &[back]);
        (forth, back)
    }

    /// The kernel of a host takes so many bytes for its first link and then blocks, and it takes them
    /// datagram by datagram; `None`: any number, in runs.
    pub fn send_buffer(&mut self, host: HostId, bytes: Option<usize>) {
        let host = &mut self.hosts[host.0];
        host.send_buffer = bytes;
        host.segments = if bytes.is_some() { 1 } else { 64 };
    }

    /// The largest datagram that a host may send, by its configuration.
    pub fn max_datagram(&mut self, host: HostId, bytes: usize) {
        self.hosts[host.0].max_datagram = bytes;
    }

    /// Datagrams to be dropped besides those that chance takes.
    pub fn drop_if(&mut self, order: Order) {
        self.network.drop = Some(order);
    }

    /// Hosts lie: what they send is changed on its way out.
    pub fn forge(&mut self, forgery: Forgery) {
        self.network.forgery = Some(forgery);
    }

    /// No monitor of the wire: for runs of millions of packets, after shorter ones of the same kind.
    pub fn without_monitor(&mut self) {
        self.monitor = None;
    }

    /// Every link loses its faults, from now on.
    pub fn heal(&mut self) {
        for link in self.network.links_mut() {
            *link = link.healed();
        }
    }
}

/// Acting.
impl World {
    /// Opens a connection. The dialing application does what its script says, and so does the accepting one
    /// as soon as the connection comes in.
    ///
    /// # Panics
    /// If the endpoint refuses to connect.
    pub fn dial(&mut self, from: HostId, to: HostId, dialer: Script, acceptor: Script) -> ConnId {
        let remote = self.addr(to);
        let (handle, send_id) = loop {
            let host = &mut self.hosts[from.0];
            let now = host.clock.local(self.now);
            let handle = host.endpoint.connect(now, remote).expect("an endpoint that can connect");
            let mut connection = host.endpoint.connection(handle).expect("just opened");
            let (_, send_id) = connection.ids();
            // Both ends may choose the same id at the same time (once in 20 000 pairs): neither connection
            // could be told from the other then. That is the protocol's, not what these tests are about.
            let near = [send_id.wrapping_sub(1), send_id, send_id.wrapping_add(1)];
            if near.iter().all(|id| !self.dialed.contains_key(&(to.0, from.0, *id))) {
                break (handle, send_id);
            }
            connection.abort();
        };
        let index = self.conns.len();
        let streams = (2 * index as u64, 2 * index as u64 + 1);
        let side = Side::new(from.0, handle, dialer, streams, self.now);
        self.conns.push(Conn { acceptor_script: acceptor, sides: [Some(side), None] });
        self.sides.insert((from.0, handle), (index, 0));
        self.dialed.insert((from.0, to.0, send_id), index);
        if let Some(monitor) = &mut self.monitor {
            monitor.forget(from.0, to.0, send_id);
            monitor.forget(to.0, from.0, send_id.wrapping_sub(1));
        }
        self.open_sides += 1;
        self.run_side(index, 0);
        ConnId(index)
    }

    /// Changes what an application does, from now on.
    pub fn rescript(&mut self, conn: ConnId, acceptor: bool, change: impl FnOnce(&mut Script)) {
        let which = usize::from(acceptor);
        match &mut self.conns[conn.0].sides[which] {
            Some(side) => change(&mut side.script),
            None => change(&mut self.conns[conn.0].acceptor_script),
        }
        self.run_side(conn.0, which);
    }

    /// An application gives its side up now.
    pub fn end(&mut self, conn: ConnId, acceptor: bool, how: Ending) {
        let now = self.now;
        self.rescript(conn, acceptor, |script| script.ending = Some((now, how)));
    }

    /// A host crashes: it forgets everything, sends nothing and hears nothing.
    pub fn kill(&mut self, host: HostId) {
        self.hosts[host.0].dead = true;
        if let Some(monitor) = &mut self.monitor {
            monitor.forget_host(host.0);
        }
        let sides: Vec<_> = self.sides.iter().filter(|((at, _), _)| *at == host.0).map(|(_, s)| *s).collect();
        for (conn, which) in sides {
            if let Some(side) = &mut self.conns[conn].sides[which]
                && side.closed.is_none()
            {
                side.gave_up = true;
                side.closed = Some((self.now, utp_proto::CloseReason::Aborted));
                self.open_sides -= 1;
            }
        }
        self.sides.retain(|(at, _), _| *at != host.0);
    }

    /// A host sleeps: it does nothing and hears nothing, and knows everything when it wakes.
    pub fn suspend(&mut self, host: HostId, asleep: bool) {
        self.hosts[host.0].dead = asleep;
        self.hosts[host.0].dirty = true;
    }

    /// A host's clock jumps.
    pub fn step_clock(&mut self, host: HostId, by: Duration, back: bool) {
        self.hosts[host.0].clock.step(by, back);
        self.hosts[host.0].dirty = true;
    }

    /// A new process on a host that was [killed](Self::kill), at the same address.
    pub fn restart(&mut self, host: HostId, config: Config) {
        let seed = Random::new(self.seed, HOST_STREAMS + 1000 + self.network.trace.count()).seed();
        let host = &mut self.hosts[host.0];
        host.endpoint = Endpoint::new(Arc::new(config), seed, host.clock.local(self.now));
        host.dead = false;
        host.dirty = true;
    }

    /// A datagram for `to` as if `from` had sent it, past all links.
    pub fn inject(&mut self, from: SocketAddr, to: HostId, datagram: &[u8]) -> Verdict {
        if let (Some(&sender), [0x41, _, high, low, ..]) = (self.by_addr.get(&from), datagram) {
            self.note_old_syn(sender, to.0, u16::from_be_bytes([*high, *low]));
        }
        let host = &mut self.hosts[to.0];
        host.dirty = true;
        let now = host.clock.local(self.now);
        host.endpoint.handle_datagram(now, from, datagram)
    }

    /// Ends those connections that nobody dialed of which `known` knows: by their host, their peer, and the id on
    /// which they receive. They are no strangers any more. Gives how many.
    pub(crate) fn abort_strangers(&mut self, known: impl Fn(HostId, SocketAddr, u16) -> bool) -> u64 {
        let before = self.strangers.len();
        let hosts = &mut self.hosts;
        self.strangers.retain(|&Stranger { host, handle, remote, id }| {
            let is_known = known(host, remote, id);
            if is_known && let Some(mut connection) = hosts[host.0].endpoint.connection(handle) {
                connection.abort();
                hosts[host.0].dirty = true;
            }
            !is_known
        });
        (before - self.strangers.len()) as u64
    }

    /// The network, or somebody in its name, tells a host about its path to `to`.
    pub fn path_error(&mut self, host: HostId, to: SocketAddr, error: PathError) {
        let host = &mut self.hosts[host.0];
        host.dirty = true;
        host.endpoint.handle_path_error(host.clock.local(self.now), to, error);
    }

    /// A SYN of the past arrives: it is answered anew if what it opened is over.
    fn note_old_syn(&mut self, from: usize, to: usize, id: u16) {
        let conn = self.dialed.get(&(from, to, id.wrapping_add(1)));
        let handle = conn.and_then(|conn| self.conns[*conn].sides[1].as_ref()).map(|side| side.handle);
        // It may be over although the application has not read all of it, and therefore not been told.
        let live = handle
            .and_then(|handle| self.hosts[to].endpoint.connection(handle))
            .is_some_and(|connection| connection.close_reason().is_none());
        if let Some(monitor) = self.monitor.as_mut().filter(|_| !live) {
            monitor.forget(to, from, id);
        }
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_while(time, |_| true);
    }

    /// Runs until every connection is over.
    ///
    /// # Panics
    /// If that takes longer than `limit`.
    pub fn run_to_the_end(&mut self, limit: Duration) {
        self.run_while(limit, |world| !world.is_over());
        if !self.is_over() {
            self.fail(&format!("not over after {limit:?}"));
        }
    }

    /// Runs for `time`, or until `condition` does not hold any more, looked at after every step.
    pub fn run_while(&mut self, time: Duration, mut condition: impl FnMut(&Self) -> bool) {
        let until = self.now + time;
        self.drain();
        while condition(self) && self.step(until) {}
    }

    /// Goes to the next thing that happens, if that is before `until`; otherwise to `until`.
    fn step(&mut self, until: Duration) -> bool {
        let wake = self.wakes.peek().map(|Reverse((at, ..))| *at);
        let deadline = self.hosts.iter().filter_map(|host| host.deadline).min();
        let next = [self.network.next(), wake, deadline].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        if next > self.now {
            self.now = next;
            self.steps_at_this_time = 0;
        } else {
            self.steps_at_this_time += 1;
            if self.steps_at_this_time > STALL {
                self.fail("time stands still");
            }
        }
        while let Some(delivery) = self.network.arrive(self.now) {
            self.deliver(delivery);
        }
        for host in self.hosts.iter_mut().filter(|host| !host.dead) {
            if host.deadline.is_some_and(|deadline| deadline <= self.now) {
                host.endpoint.handle_timeout(host.clock.local(self.now));
                host.dirty = true;
            }
        }
        while let Some(&Reverse((at, conn, which))) = self.wakes.peek()
            && at <= self.now
        {
            self.wakes.pop();
            let side = self.conns[conn].sides[which].as_ref();
            if side.and_then(|side| side.wake).is_some_and(|wake| wake <= self.now) {
                self.run_side(conn, which);
            }
        }
        self.drain();
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { to, from, data } => {
                let from = self.addr(HostId(from));
                let host = &mut self.hosts[to];
                if !host.dead {
                    host.dirty = true;
                    let now = host.clock.local(self.now);
                    // What is not uTP any more is as if another protocol had sent it.
                    let _ = host.endpoint.handle_datagram(now, from, &data);
                }
                self.network.recycle(data);
            }
            Delivery::TooBig { host, peer, mtu } => {
                let peer = self.addr(HostId(peer));
                let host = &mut self.hosts[host];
                if !host.dead {
                    host.dirty = true;
                    let now = host.clock.local(self.now);
                    host.endpoint.handle_path_error(now, peer, PathError::TooBig(Some(mtu)));
                }
            }
        }
    }

    /// Lets every host do all that it can do now.
    fn drain(&mut self) {
        for index in 0..self.hosts.len() {
            for round in 0.. {
                if !std::mem::take(&mut self.hosts[index].dirty) || self.hosts[index].dead {
                    break;
                }
                if round > STALL {
                    self.fail("a host is never done");
                }
                self.take_events(index);
                let blocked = self.transmit(index);
                self.take_events(index);
                self.note_deadline(index, blocked);
            }
            if self.hosts[index].dead {
                self.hosts[index].deadline = None;
            }
        }
    }

    fn take_events(&mut self, host: usize) {
        while let Some((handle, event)) = self.hosts[host].endpoint.poll_event() {
            if event == Event::Incoming && self.hosts[host].accepts {
                self.accept_all(host);
                continue;
            }
            let Some(&(conn, which)) = self.sides.get(&(host, handle)) else { continue };
            self.note_event(conn, which, handle, event);
            self.run_side(conn, which);
        }
        if self.hosts[host].accepts {
            self.accept_all(host);
        }
    }

    /// Accepts what waits in the backlog, and finds out who dialed.
    fn accept_all(&mut self, host: usize) {
        while let Some(handle) = self.hosts[host].endpoint.accept() {
            let connection = self.hosts[host].endpoint.connection(handle).expect("just accepted");
            let ((receive, _), remote) = (connection.ids(), connection.remote_addr());
            let from = self.by_addr.get(&remote).copied();
            let dialed = from.and_then(|from| self.dialed.get(&(from, host, receive)).copied());
            let Some(conn) = dialed.filter(|conn| self.conns[*conn].sides[1].is_none()) else {
                self.strangers.push(Stranger { host: HostId(host), handle, remote, id: receive });
                continue;
            };
            let streams = (2 * conn as u64 + 1, 2 * conn as u64);
            let mut side = Side::new(host, handle, self.conns[conn].acceptor_script, streams, self.now);
            side.connected = Some(self.now);
            self.conns[conn].sides[1] = Some(side);
            self.sides.insert((host, handle), (conn, 1));
            self.open_sides += 1;
            self.run_side(conn, 1);
        }
    }

    fn note_event(&mut self, conn: usize, which: usize, handle: ConnectionHandle, event: Event) {
        let now = self.now;
        let Some(side) = &mut self.conns[conn].sides[which] else { return };
        if side.closed.is_some() {
            self.fail(&format!("{event:?} after Closed"));
        }
        match event {
            Event::Connected => side.connected = Some(now),
            Event::Closed { reason } => {
                let endpoint = &mut self.hosts[side.host].endpoint;
                if let Some(connection) = endpoint.connection(handle) {
                    side.stats = connection.stats();
                }
                side.closed = Some((now, reason));
                side.wake = None;
                self.sides.remove(&(side.host, handle));
                self.open_sides -= 1;
            }
            _ => {}
        }
    }

    fn run_side(&mut self, conn: usize, which: usize) {
        let Some(side) = &mut self.conns[conn].sides[which] else { return };
        let host = &mut self.hosts[side.host];
        host.dirty = true;
        let before = side.wake;
        if let Err(what) = side.run(&mut host.endpoint, self.now) {
            self.fail(&format!("connection {conn}, side {which}: {what}"));
        }
        if let Some(wake) = side.wake.filter(|wake| Some(*wake) != before || *wake <= self.now) {
            self.wakes.push(Reverse((wake, conn, which)));
        }
        let mut acked = 0;
        if side.closed.is_none()
            && let Some(connection) = host.endpoint.connection(side.handle)
        {
            side.stats = connection.stats();
            acked = connection.bytes_acked();
        }
        self.check_side(conn, which, acked);
    }

    /// What must hold for a side at any time.
    fn check_side(&self, conn: usize, which: usize, acked: u64) {
        let sides = &self.conns[conn].sides;
        let (Some(side), peer) = (&sides[which], &sides[1 - which]) else { return };
        let written = peer.as_ref().map_or(0, |peer| peer.written);
        if side.read > written {
            self.fail(&format!("{} bytes were read, {written} written", side.read));
        }
        if side.peer_finished.is_some() && side.read < written {
            self.fail(&format!("the stream ends after {} bytes of {written}", side.read));
        }
        if acked > side.written {
            self.fail(&format!("{acked} bytes are acknowledged, {} written", side.written));
        }
    }

    /// Sends what may be sent; until when the kernel blocks, if it does.
    fn transmit(&mut self, index: usize) -> Option<Duration> {
        loop {
            let host = &mut self.hosts[index];
            if let Some(limit) = host.send_buffer
                && let Some(blocked) = self.blocked(index, limit)
            {
                return Some(blocked);
            }
            let host = &mut self.hosts[index];
            let now = host.clock.local(self.now);
            let segments = NonZeroUsize::new(host.segments).unwrap_or(NonZeroUsize::MIN);
            let mut buf = std::mem::take(&mut self.buf);
            buf.clear();
            let transmit = host.endpoint.poll_transmit(now, segments, &mut buf);
            let max_datagram = host.max_datagram;
            if let Some(transmit) = transmit {
                if transmit.len != buf.len() || transmit.segment_size == 0 {
                    self.fail("a transmit does not describe what was appended");
                }
                let to = self.by_addr.get(&transmit.destination).copied();
                for segment in buf.chunks(transmit.segment_size) {
                    // Nobody but the sender cuts datagrams of IPv6, and only those that its device does not take.
                    let large = segment.len() > max_datagram;
                    let cut = transmit.may_fragment && (large || transmit.destination.is_ipv4());
                    if large && !(cut && transmit.destination.is_ipv6()) {
                        self.fail(&format!("a datagram of {} bytes", segment.len()));
                    }
                    let Some(to) = to else { continue };
                    if let Some(monitor) = &mut self.monitor
                        && let Err(what) = monitor.check(index, to, segment)
                    {
                        self.network.send(self.now, index, to, segment, false);
                        self.fail(&format!("host {index} sends a packet that it must not: {what}"));
                    }
                    self.network.send(self.now, index, to, segment, cut);
                }
            }
            self.buf = buf;
            let _ = transmit?;
        }
    }

    /// Whether the kernel takes no more from a host, and until when.
    fn blocked(&mut self, index: usize, limit: usize) -> Option<Duration> {
        let peers = self.hosts.len();
        (0..peers).find_map(|to| {
            let now = self.now;
            let channel = self.network.first_hop(index, to)?;
            (channel.backlog(now) >= limit).then(|| channel.next_departure()).flatten()
        })
    }

    fn note_deadline(&mut self, index: usize, blocked: Option<Duration>) {
        let host = &mut self.hosts[index];
        // Readiness to send is what a blocked one waits for.
        host.deadline = blocked.or_else(|| host.endpoint.poll_timeout().map(|at| host.clock.global(at)));
    }
}

/// Streams of random choices that hosts' seeds come from: this one and those that follow.
const HOST_STREAMS: u64 = 1 << 33;

/// Far more than anything needs to do at one point in time.
const STALL: u32 = 10_000;

/// `Config`'s default.
const MAX_DATAGRAM: usize = 1472;
