//! One [`Endpoint`] owns every connection of one UDP socket.
//!
//! - `incoming.rs`: whose is a datagram, and what happens to those that are nobody's.
//! - `view.rs`: the application's view of one connection.
//! - `table.rs`, `key.rs`: addresses and ids. `half_open.rs`, `cookie.rs`: what is not confirmed yet.
//!   `past.rs`: what is over.
//! - `deadlines.rs`: time. `replies.rs`: stateless answers.

mod cookie;
mod deadlines;
mod half_open;
mod incoming;
mod key;
mod past;
mod replies;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use cookie::Cookies;
use deadlines::Deadlines;
use key::{Key, Keyed};
use past::Past;
use replies::{Replies, Reply};
use table::{Linger, Table};
pub use view::Connection;

use crate::buffer::Pools;
use crate::connection::{Connection as Machine, Context, Ids};
use crate::rng::Rng;
use crate::time::{Clock, Time, micros};
use crate::wire::{Header, PacketType, SeqNr};
use crate::{CloseReason, Config, ConnectError, EndpointStats, Event, PathError};

/// Names a connection of one endpoint. Generational: the handle of a connection that is over finds
/// nothing, never somebody else's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionHandle {
    slot: u32,
    generation: u32,
}

impl ConnectionHandle {
    /// The slot alone: small, dense, reused after the connection is over. For tables beside the
    /// endpoint, which have to compare the whole handle.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// It was uTP, well-formed or not, and has been dealt with.
    Consumed,
    /// It is not uTP version 1: offer it to the next protocol that shares the socket.
    NotUtp,
}

/// A run of datagrams to one peer, ready for UDP GSO: `len` bytes appended to the buffer, to be cut into
/// segments of `segment_size` bytes of which only the last may be shorter. At most 65 507 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// Bytes appended to the buffer.
    pub len: usize,
    /// Size of every segment but the last.
    pub segment_size: usize,
    /// The datagrams are larger than what the path is now believed to take, and cannot be cut again since
    /// they went out before: send them without the don't-fragment bit if the socket can. Over IPv6, where only the sending
    /// host fragments, they are padded to a little more than [`Config::max_datagram`](crate::Config::max_datagram), which
    /// the device does not take whole if that is its MTU: have them cut to IPv6's 1280 bytes (Linux `IPV6_MTU`, elsewhere
    /// `IPV6_USE_MIN_MTU`, RFC 3542 11.1).
    pub may_fragment: bool,
}

/// Every connection of one UDP socket, as a state machine without I/O, clock or threads.
///
/// What to call when:
///
/// 1. [`handle_datagram`](Self::handle_datagram) for each datagram that arrived,
///    [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has come, and
///    anything on a [`Connection`], in any number and order.
/// 2. [`poll_event`](Self::poll_event) until `None`.
/// 3. [`poll_transmit`](Self::poll_transmit) until `None`, sending what it gives.
/// 4. [`poll_event`](Self::poll_event) again until `None`: what was sent may have ended a connection.
/// 5. [`poll_timeout`](Self::poll_timeout); wait until then, or for a datagram or the application.
///
/// Acknowledgements and data of a whole batch are gathered in step 3, so feed all that has arrived
/// before draining.
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    clock: Clock,
    rng: Rng,
    table: Table,
    cookies: Cookies,
    past: Past,
    /// For what peers must not foresee and is not worth random numbers.
    secret: Keyed,
    connections: Slab<Box<Slot>>,
    generation: u32,
    /// Slots that something happened to since they last had nothing to send.
    ready: VecDeque<u32>,
    /// Slots with events.
    eventful: VecDeque<u32>,
    /// The slot whose `Closed` was polled last, freed with the next poll.
    ended: Option<u32>,
    deadlines: Deadlines,
    backlog: VecDeque<ConnectionHandle>,
    replies: Replies,
    pools: Pools,
    listening: bool,
    /// Payload bytes that all connections hold.
    memory: usize,
    /// Latest time seen.
    now: Time,
    stats: EndpointStats,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// In `ready`.
    is_ready: bool,
    /// In `eventful`.
    is_eventful: bool,
    /// What it held when last looked at, part of the endpoint's `memory`.
    memory: usize,
    /// In `table`: until the connection has closed.
    key: Option<Key>,
    connection: Machine,
}

impl Endpoint {
    /// `seed` is the only randomness (ids, sequence numbers, hash keys): it must be unpredictable
    /// outside of tests. `now` is the origin of time: earlier instants count as this one.
    #[must_use]
    pub fn new(config: Arc<Config>, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let clock = Clock::new(now, rng.u32());
        let hasher = Keyed::new(rng.u64(), rng.u64());
        Self {
            clock,
            table: Table::new(hasher, micros(config.linger), config.half_open_limit),
            cookies: Cookies::new(Keyed::new(rng.u64(), rng.u64()), micros(config.half_open_timeout)),
            secret: hasher,
            past: Past::new(hasher, micros(config.half_open_timeout)),
            connections: Slab::new(),
            generation: 0,
            ready: VecDeque::new(),
            eventful: VecDeque::new(),
            ended: None,
            deadlines: Deadlines::default(),
            backlog: VecDeque::new(),
            replies: Replies::new(Keyed::new(rng.u64(), rng.u64()), config.resets_per_second),
            pools: Pools::default(),
            listening: config.listen,
            memory: 0,
            now: Time::default(),
            stats: EndpointStats::default(),
            config,
            rng,
        }
    }

    /// Takes what the network reported about the path to `to`. Visits every connection: call it for
    /// real reports only, which are rare.
    pub fn handle_path_error(&mut self, now: Instant, to: SocketAddr, error: PathError) {
        let now = self.note_time(now);
        let slots: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, s)| s.connection.remote == to)
            .map(|(i, _)| i as u32)
            .collect();
        for slot in slots {
            self.with(slot, now, |connection, cx| connection.handle_path_error(cx, error));
        }
    }

    /// Does what is due. Call when the time given by [`poll_timeout`](Self::poll_timeout) has come;
    /// harmless at other times.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.note_time(now);
        self.table.expire(now);
        self.past.turn(now);
        while let Some(slot) = self.deadlines.pop(now) {
            self.with(slot, now, Machine::handle_timeout);
        }
    }

    /// Appends to `buf` what is to be sent next: up to `max_segments` datagrams of equal size to one
    /// peer. Call until `None`. Connections take turns, one run each, and shorter ones where more than a hundred
    /// have something to send. Timestamps are of `now`; if the
    /// socket blocks, write [`wire_timestamp`](Self::wire_timestamp) into bytes 4..8 of each segment
    /// before it goes.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let now = self.note_time(now);
        if let Some(reply) = self.replies.pop() {
            return Some(self.reply(now, reply, buf));
        }
        let max = max_segments.get().min(longest_run(self.ready.len()));
        while let Some(&slot) = self.ready.front() {
            let start = buf.len();
            let mut cx = Context { now, clock: self.clock, pools: &mut self.pools };
            let Some(entry) = self.connections.get_mut(slot as usize).filter(|s| s.is_ready) else {
                self.ready.pop_front();
                continue;
            };
            entry.connection.set_short(self.memory >= self.config.memory_budget);
            match entry.connection.transmit(&mut cx, max, buf) {
                Ok(run) => {
                    let destination = entry.connection.remote;
                    self.ready.rotate_left(1);
                    self.stats.datagrams_sent += run.segments as u64;
                    self.settle(slot);
                    return Some(Transmit {
                        destination,
                        len: buf.len() - start,
                        segment_size: run.segment_size,
                        may_fragment: run.may_fragment,
                    });
                }
                Err(wake) => {
                    debug_assert!(wake.is_some() || entry.connection.may_rest(), "{:#?}", entry.connection);
                    entry.is_ready = false;
                    self.ready.pop_front();
                    if let Some(at) = wake {
                        self.deadlines.wake_by(slot, at);
                    }
                }
            }
        }
        None
    }

    fn reply(&mut self, now: Time, reply: Reply, buf: &mut Vec<u8>) -> Transmit {
        let header = Header { timestamp: self.clock.wire(now), ..reply.header }.encode(0);
        buf.extend_from_slice(&header);
        self.stats.datagrams_sent += 1;
        let len = header.len();
        Transmit { destination: reply.to, len, segment_size: len, may_fragment: false }
    }

    /// The timestamp (header bytes 4..8, big endian) of a packet that leaves at `now`.
    #[must_use]
    pub fn wire_timestamp(&self, now: Instant) -> [u8; 4] {
        self.clock.wire(self.clock.time(now)).0.to_be_bytes()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, or
    /// [`poll_transmit`](Self::poll_transmit), if that has not returned `None` since the last input. May
    /// be early, never late. O(1).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.ready.is_empty() || !self.replies.is_empty() {
            return Some(self.clock.instant(self.now));
        }
        let first = [self.deadlines.first(), self.table.next_expiry()].into_iter().flatten().min();
        first.map(|at| self.clock.instant(at))
    }

    /// The next event and the connection it is about. After [`Event::Closed`] the handle is good for one
    /// last look at the connection, until the next call of this; then it is stale.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(ConnectionHandle, Event)> {
        if let Some(slot) = self.ended.take() {
            self.free(slot);
        }
        while let Some(&slot) = self.eventful.front() {
            let entry = self.connections.get_mut(slot as usize).filter(|s| s.is_eventful);
            match entry.and_then(|s| Some((s.generation, s.connection.take_event()?))) {
                Some((generation, event)) => {
                    if matches!(event, Event::Closed { .. }) {
                        self.eventful.pop_front();
                        self.ended = Some(slot);
                    }
                    return Some((ConnectionHandle { slot, generation }, event));
                }
                None => {
                    self.eventful.pop_front();
                    if let Some(entry) = self.connections.get_mut(slot as usize) {
                        entry.is_eventful = false;
                    }
                }
            }
        }
        None
    }

    /// Whether [`poll_event`](Self::poll_event) may have something to tell: always after input, and also after
    /// what the application did (reading the last bytes of a connection that has ended, an abort).
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.eventful.is_empty()
    }

    /// Opens a connection: the SYN goes out with the next [`poll_transmit`](Self::poll_transmit),
    /// [`Event::Connected`] or [`Event::Closed`] follows. Writing is allowed at once.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnectionHandle, ConnectError> {
        let now = self.note_time(now);
        if remote.port() == 0 || remote.ip().is_unspecified() || remote.ip().is_multicast() {
            return Err(ConnectError::InvalidAddress);
        }
        if self.connections.len() >= self.config.max_connections {
            return Err(ConnectError::TooManyConnections);
        }
        let key = self.free_key(remote).ok_or(ConnectError::IdsExhausted)?;
        let ids = Ids { receive: key.id, send: key.id.wrapping_add(1) };
        let seq = SeqNr(self.rng.u16());
        let cx = Context { now, clock: self.clock, pools: &mut self.pools };
        let connection = Machine::connect(&cx, &self.config, remote, ids, seq);
        Ok(self.insert(key, connection))
    }

    /// A random id that neither we nor, as far as we know, the peer uses. Its neighbours are free too,
    /// so that a RESET with either id of a connection is unambiguous.
    fn free_key(&mut self, remote: SocketAddr) -> Option<Key> {
        let base = Key::new(remote, 0);
        let start = self.rng.u16();
        let candidates = (0..=u16::MAX).map(|i| start.wrapping_add(i));
        candidates.map(|id| base.with_id(id)).find(|key| {
            let near = [key.id.wrapping_sub(1), key.id, key.id.wrapping_add(1)];
            near.iter().all(|&id| !self.table.contains(&key.with_id(id)))
        })
    }

    /// Takes an incoming connection from the backlog.
    ///
    /// Events of a connection that has not been accepted yet come too, and are not repeated: who accepts later
    /// than on [`Event::Incoming`] should read, and look whether the peer [has
    /// finished](Connection::is_peer_finished), right after accepting.
    #[must_use = "a connection that nobody accepts or closes stays open"]
    pub fn accept(&mut self) -> Option<ConnectionHandle> {
        while let Some(handle) = self.backlog.pop_front() {
            // One that is over already, and was reported so, is nothing to be accepted.
            if self.slot(handle).is_some() && self.ended != Some(handle.slot) {
                return Some(handle);
            }
        }
        None
    }

    /// The application's view of a connection; `None` if the handle is stale.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<Connection<'_>> {
        self.slot(handle)?;
        Some(Connection::new(self, handle.slot))
    }

    fn slot(&self, handle: ConnectionHandle) -> Option<&Slot> {
        let slot = self.connections.get(handle.slot as usize)?;
        (slot.generation == handle.generation).then_some(&**slot)
    }

    /// Takes incoming connections (again).
    pub fn start_listening(&mut self) {
        self.listening = true;
    }

    /// Refuses new connections from now on, those included that peers have begun to open but not
    /// confirmed; existing ones are kept, and so are those in the backlog.
    pub fn stop_listening(&mut self) {
        self.listening = false;
    }

    /// Whether incoming connections are taken.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listening
    }

    /// The connections whose [`Event::Closed`] has not been polled yet, accepted or not.
    pub fn handles(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        let living = self.connections.iter().filter(|(slot, _)| self.ended != Some(*slot as u32));
        living.map(|(slot, entry)| ConnectionHandle { slot: slot as u32, generation: entry.generation })
    }

    /// Connections whose [`Event::Closed`] has not been polled yet.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.len() - usize::from(self.ended.is_some())
    }

    /// Whether nothing is left to be done for anybody: no connection, no half-open one, nobody to whom
    /// a last acknowledgement may have to be repeated, nothing to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open_connections() == 0
            && self.table.half_open() == 0
            && self.table.lingering() == 0
            && self.replies.is_empty()
    }

    /// When the peer of the connection that ended last, and thereby of every one that has ended by now,
    /// can no longer miss our last word: [`Config::linger`](crate::Config::linger) after that end.
    /// `None` if no connection has ended that recently.
    #[must_use]
    pub fn lingers_until(&self) -> Option<Instant> {
        self.table.last_linger().map(|at| self.clock.instant(at))
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        EndpointStats {
            connections: self.open_connections() as u64,
            half_open: self.table.half_open() as u64,
            lingering: self.table.lingering() as u64,
            backlog: self.backlog.len() as u64,
            memory: self.memory as u64,
            spare: self.pools.spare() as u64,
            ..self.stats
        }
    }

    fn note_time(&mut self, now: Instant) -> Time {
        let now = self.clock.time(now);
        self.now = self.now.max(now);
        now
    }

    fn insert(&mut self, key: Key, mut connection: Machine) -> ConnectionHandle {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        connection.set_secret(self.secret.hash_one(generation));
        let slot = self.connections.insert(Box::new(Slot {
            generation,
            is_ready: false,
            is_eventful: false,
            memory: 0,
            key: Some(key),
            connection,
        })) as u32;
        self.table.insert_connection(key, slot);
        self.settle(slot);
        ConnectionHandle { slot, generation }
    }

    /// Lets something happen to a connection.
    fn with<R>(
        &mut self,
        slot: u32,
        now: Time,
        f: impl FnOnce(&mut Machine, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let entry = self.connections.get_mut(slot as usize)?;
        entry.connection.set_short(self.memory >= self.config.memory_budget);
        let mut cx = Context { now, clock: self.clock, pools: &mut self.pools };
        let result = f(&mut entry.connection, &mut cx);
        self.settle(slot);
        Some(result)
    }

    /// After anything happened to a connection: queue what it has to tell and to send, and take it out
    /// of the table if it is over.
    fn settle(&mut self, slot: u32) {
        let Some(entry) = self.connections.get_mut(slot as usize) else { return };
        // What ended before it was accepted makes room, unless the peer has said all that it had to say.
        if entry.connection.has_broken() && entry.key.is_some() {
            let handle = ConnectionHandle { slot, generation: entry.generation };
            if let Some(place) = self.backlog.iter().position(|&waiting| waiting == handle) {
                self.backlog.remove(place);
                entry.connection.forget_unread(&mut self.pools);
            }
        }
        let before = std::mem::replace(&mut entry.memory, entry.connection.memory());
        self.memory = self.memory - before + entry.memory;
        if entry.connection.pending.0 != 0 && !entry.is_eventful {
            entry.is_eventful = true;
            self.eventful.push_back(slot);
        }
        match entry.connection.state.closed() {
            None => {
                if !entry.is_ready {
                    entry.is_ready = true;
                    self.ready.push_back(slot);
                }
            }
            Some(reason) => {
                if let Some(key) = entry.key.take() {
                    self.retire(slot, key, reason);
                }
            }
        }
    }

    /// A connection has closed: from now on its key only stands for what the peer may still repeat.
    fn retire(&mut self, slot: u32, key: Key, reason: CloseReason) {
        self.deadlines.remove(slot);
        let Some(entry) = self.connections.get(slot as usize) else { return };
        let connection = &entry.connection;
        let (next, last) = connection.final_numbers();
        let finished = connection.has_received_fin();
        // Only what was received in good order is acknowledged again; anything else is answered with a RESET.
        let ack = (finished && reason == CloseReason::Finished).then_some(last);
        let linger = Linger::new(connection.ids.send, next, ack, connection.peer_syn);
        if let Some(syn) = connection.peer_syn {
            self.past.insert(self.now, key, syn);
        }
        self.table.insert_linger(self.now, key, linger);
        // The peer should know, unless it knows already or was never there.
        let ours = matches!(reason, CloseReason::Aborted | CloseReason::Violation);
        let tell = ours || (reason == CloseReason::Finished && !finished);
        if tell {
            self.reset_peer(slot);
        }
    }

    /// Queues a RESET of a connection, if its peer knows of it.
    fn reset_peer(&mut self, slot: u32) {
        let Some(entry) = self.connections.get(slot as usize) else { return };
        let connection = &entry.connection;
        if connection.state.was_established() || connection.peer_syn.is_some() {
            let (to, (next, last)) = (connection.remote, connection.final_numbers());
            let connection_id = connection.ids.send;
            let header = Header { kind: PacketType::Reset, connection_id, ..blank(next, last) };
            self.replies.push(Reply { to, header });
        }
    }

    fn free(&mut self, slot: u32) {
        if let Some(mut entry) = self.connections.try_remove(slot as usize) {
            self.memory -= entry.memory;
            entry.connection.release(&mut self.pools);
            self.deadlines.remove(slot);
        }
    }
}

/// Packets of one connection's turn when `ready` connections have something to send: all that offload can take at
/// once, but a round of all of them is not to last so long that who has the larger windows has most of it.
fn longest_run(ready: usize) -> usize {
    (ROUND / ready.max(1)).clamp(SHORTEST_RUN, LONGEST_RUN)
}

/// Packets of a round: about 12 MB.
const ROUND: usize = 8192;

/// Shorter runs make system calls that cost more by themselves than what they carry.
const SHORTEST_RUN: usize = 8;

/// What one call can carry with offload (Linux: `UDP_MAX_SEGMENTS`, 64 for long).
const LONGEST_RUN: usize = 64;

/// A header of a stateless answer.
fn blank(seq_nr: SeqNr, ack_nr: SeqNr) -> Header {
    Header {
        kind: PacketType::State,
        connection_id: 0,
        timestamp: crate::wire::Timestamp(0),
        timestamp_difference: 0,
        wnd_size: 0,
        seq_nr,
        ack_nr,
    }
}
