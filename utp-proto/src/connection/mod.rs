//! One connection as a self-contained state machine that knows nothing of the endpoint around it.
//!
//! - `state.rs`: the states and their transitions.
//! - `incoming.rs`: what a packet of the peer does.
//! - `transmit.rs`: the one decision of what to send next, and the building of it.
//! - `timers.rs`: what happens when nothing does.
//! - `outstanding.rs`, `prr.rs`: loss recovery. `acks.rs`: acknowledgements owed. `honesty.rs`: the peer's, tested.
//! - `ahead.rs`: how many packets the peer takes.
//! - `rledbat.rs`: control of what the peer sends.
//! - `tuning.rs`: buffers that grow with the path.

mod acks;
mod ahead;
mod application;
mod honesty;
mod incoming;
#[cfg(test)]
mod lab_tests;
mod outstanding;
mod prr;
mod rledbat;
mod state;
mod timers;
mod transmit;
mod tuning;

use std::net::SocketAddr;
use std::sync::Arc;

use acks::Acks;
use ahead::Ahead;
use honesty::Honesty;
use outstanding::Outstanding;
use prr::Prr;
use rledbat::ReceiveControl;
use state::State;
use tuning::Tuning;

pub(crate) use state::{Phase, Sending};

use crate::buffer::{Pools, ReceiveBuffer, SendBuffer};
use crate::congestion::Controller;
use crate::mtu::Mtu;
use crate::pacer::Pacer;
use crate::rtt::Rtt;
use crate::stats::Counters;
use crate::time::{Clock, Time, micros};
use crate::wire::{SeqNr, Timestamp};
use crate::{CloseReason, Config};

/// What a connection borrows from its endpoint while something happens to it.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) clock: Clock,
    pub(crate) pools: &'a mut Pools,
}

/// Both ids of a connection, from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// In packets that we receive.
    pub(crate) receive: u16,
    /// In packets that we send (but the SYN, which carries `receive`).
    pub(crate) send: u16,
}

/// Events not polled yet, one bit each, in the order of delivery.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pending(pub(crate) u8);

impl Pending {
    pub(crate) const INCOMING: u8 = 1;
    pub(crate) const CONNECTED: u8 = 1 << 1;
    pub(crate) const READABLE: u8 = 1 << 2;
    pub(crate) const ACKED: u8 = 1 << 3;
    pub(crate) const WRITABLE: u8 = 1 << 4;
    pub(crate) const FINISHED: u8 = 1 << 5;
    pub(crate) const CLOSED: u8 = 1 << 6;
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) remote: SocketAddr,
    pub(crate) ids: Ids,
    /// Number of the SYN that the peer opened it with, if the peer did.
    pub(crate) peer_syn: Option<SeqNr>,
    pub(crate) state: State,
    pub(crate) pending: Pending,
    config: Arc<Config>,

    // Our direction.
    out: SendBuffer,
    /// Offset in the stream of the first byte that was never sent.
    sent: u64,
    /// Offset up to which everything is acknowledged.
    acked: u64,
    outstanding: Outstanding,
    ahead: Ahead,
    honesty: Honesty,
    peer_window: u32,
    /// Timestamp of the packet that told it.
    window_told: Timestamp,
    /// A RESET came that may be forged, and nothing since: how often the peer was asked. 0: there is no doubt.
    reset_in_doubt: u8,
    /// The largest window that the peer has told: what it buffers at all.
    largest_window: u32,
    /// The endpoint holds as much as it may: hold less (see [`Config::memory_budget`]).
    is_short: bool,
    /// A write was refused or cut short since the last `Writable`.
    wants_write: bool,

    // The peer's direction.
    incoming: ReceiveBuffer,
    acks: Acks,
    bytes_read: u64,
    /// `timestamp_difference` to send: of the last packet received.
    reply_micro: u32,
    /// The first of the numbers that came before the SYN-ACK: the peer's stream begins there or earlier.
    early: Option<SeqNr>,
    /// The peer's FIN is counted in its later packets, as ours is in ours (libutp does, libtorrent not).
    peer_counts_fin: bool,

    /// Holds the peer's sending back, if asked for.
    receive_control: Option<Box<ReceiveControl>>,

    // How fast.
    tuning: Tuning,
    rtt: Rtt,
    mtu: Mtu,
    controller: Box<dyn Controller>,
    pacer: Pacer,
    /// When the congestion window last kept something back.
    window_limited_at: Option<Time>,
    recovery: Option<Recovery>,
    /// Acknowledgements in a row that repeat the last one.
    duplicate_acks: u8,
    /// The peer has sent a selective acknowledgement.
    peer_sacks: bool,
    /// Most packets ever outstanding: how old an acknowledgement may be.
    reach: u16,

    timers: Timers,
    stats: Counters,
}

/// Reaction to losses, until everything sent before the first of them is acknowledged.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    prr: Prr,
    /// First packet that was not sent yet when it began.
    end: SeqNr,
    lost: u32,
    spurious: u32,
}

/// Points in time from which deadlines are computed (see `timers.rs`).
#[derive(Debug, Clone, Copy)]
struct Timers {
    opened: Time,
    /// When the next SYN is due, while opening.
    syn_at: Time,
    syns: u32,
    /// Repeat the first acknowledgement then, while the peer is silent.
    confirm_at: Option<Time>,
    confirms: u32,
    /// The retransmission time-out runs from here: last progress, first packet of a flight, or last
    /// time-out.
    rto_from: Time,
    /// Last new acknowledgement, or the first packet of a flight, or a sign of life behind a closed
    /// window.
    progress: Time,
    /// Last transmission of DATA or FIN.
    data_sent: Time,
    /// Last packet of any type.
    packet_sent: Time,
    received: Time,
    /// Tail-loss probes since the last new acknowledgement.
    tail_probes: u32,
    /// Send the tail again, whatever the window says.
    tail_due: bool,
    /// After a time-out: packets that may go before an acknowledgement comes. `None`: no limit.
    after_rto: Option<u8>,
    persist_backoff: u32,
    /// Probe the closed window now.
    persist_due: bool,
    /// Closed by the application and all acknowledged: wait for the peer's FIN until then.
    linger_until: Option<Time>,
    /// Closed by the application with something still to be delivered: since when how little of it was acknowledged.
    orphan: Option<(Time, u64)>,
}

impl Connection {
    /// A connection that we open: `seq` is the number of the SYN.
    pub(crate) fn connect(
        cx: &Context<'_>,
        config: &Arc<Config>,
        remote: SocketAddr,
        ids: Ids,
        seq: SeqNr,
    ) -> Self {
        Self::new(cx, config, remote, ids, State::syn_sent(), seq.plus(1), SeqNr(0))
    }

    /// An incoming one: `seq` is the number of the SYN-ACK, which the first DATA has too; `ack` that of
    /// the SYN.
    pub(crate) fn accept(
        cx: &Context<'_>,
        config: &Arc<Config>,
        remote: SocketAddr,
        ids: Ids,
        (seq, ack): (SeqNr, SeqNr),
        confirmed: bool,
    ) -> Self {
        let mut new = Self::new(cx, config, remote, ids, State::accepted(confirmed), seq, ack.plus(1));
        new.peer_syn = Some(ack);
        new.pending.0 |= Pending::INCOMING;
        new
    }

    fn new(
        cx: &Context<'_>,
        config: &Arc<Config>,
        remote: SocketAddr,
        ids: Ids,
        state: State,
        next: SeqNr,
        expected: SeqNr,
    ) -> Self {
        let ipv6 = match remote {
            SocketAddr::V4(_) => false,
            SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().is_none(),
        };
        let mtu = Mtu::new(config, ipv6);
        let controller =
            config.controller.build(cx.clock.instant(cx.now), mtu.current() - crate::wire::HEADER_LEN);
        let mut new = Self {
            remote,
            ids,
            peer_syn: None,
            state,
            pending: Pending::default(),
            out: SendBuffer::default(),
            sent: 0,
            acked: 0,
            outstanding: Outstanding::new(next),
            ahead: Ahead::new(config),
            honesty: Honesty::new(),
            peer_window: INITIAL_PEER_WINDOW,
            window_told: Timestamp(0),
            reset_in_doubt: 0,
            largest_window: 0,
            is_short: false,
            wants_write: false,
            incoming: ReceiveBuffer::new(
                expected,
                config.receive_buffer,
                config.reorder_window_for(config.receive_buffer),
            ),
            acks: Acks::default(),
            bytes_read: 0,
            reply_micro: 0,
            early: None,
            peer_counts_fin: false,
            receive_control: None,
            tuning: Tuning::new(config),
            rtt: Rtt::new(config),
            mtu,
            controller,
            pacer: Pacer::default(),
            window_limited_at: None,
            recovery: None,
            duplicate_acks: 0,
            peer_sacks: false,
            reach: MIN_REACH,
            timers: Timers::new(cx.now),
            stats: Counters::default(),
            config: Arc::clone(config),
        };
        new.set_receive_congestion(cx, config.receive_controller.as_deref());
        new
    }

    /// Payload of a full packet.
    fn mss(&self) -> usize {
        self.mtu.current() - crate::wire::HEADER_LEN
    }

    /// Bytes held: what was written, and the memory of what was received.
    pub(crate) fn memory(&self) -> usize {
        self.out.len() + self.incoming.held()
    }

    /// Whether the endpoint's memory is used up. Told before anything else happens to the connection.
    pub(crate) fn set_short(&mut self, is_short: bool) {
        if self.is_short != is_short {
            self.is_short = is_short;
            self.incoming.set_capacity(self.capacity());
            self.incoming.set_reorder_window(self.config.reorder_window_for(self.capacity()));
        }
    }

    /// Bytes that may be held for the application.
    fn capacity(&self) -> usize {
        let limit = self.tuning.receive_limit();
        if self.is_short { limit.min(SHORT_SHARE) } else { limit }
    }

    /// Bytes that may be taken from the application.
    fn send_capacity(&self) -> usize {
        let limit = self.tuning.send_limit();
        if self.is_short { limit.min(SHORT_SHARE) } else { limit }
    }

    /// Tells the application, unless it has given the connection up.
    fn event(&mut self, bits: u8) {
        let heard = if self.incoming.is_discarding() { Pending::CLOSED } else { u8::MAX };
        self.pending.0 |= bits & heard;
    }

    /// Ends it. What has arrived stays readable.
    pub(crate) fn close_with(&mut self, cx: &mut Context<'_>, reason: CloseReason) {
        if self.state.is_closed() {
            return;
        }
        self.state.close(reason);
        self.out.release(cx.pools, u64::MAX);
        self.outstanding = Outstanding::new(self.outstanding.next());
        if reason != CloseReason::Finished || !self.incoming.is_finished() {
            // Whoever waits for either direction learns that it waits in vain.
            self.event(Pending::READABLE | Pending::WRITABLE);
        }
        self.announce_end();
    }

    /// `Closed` follows as soon as nothing is left to be read.
    fn announce_end(&mut self) {
        if self.state.is_closed() && self.incoming.readable() == 0 {
            self.event(Pending::CLOSED);
        }
    }

    /// Both directions are done, and the peer has been told?
    fn check_finished(&mut self, cx: &mut Context<'_>) {
        if self.state.sending() == Sending::FinAcked && self.incoming.is_finished() && !self.acks.is_owed() {
            self.close_with(cx, CloseReason::Finished);
        }
    }

    /// What the peer may still repeat after the end, and how it would be answered: our next sequence
    /// number, and the last one we received.
    pub(crate) fn final_numbers(&self) -> (SeqNr, SeqNr) {
        (self.outstanding.next(), self.incoming.ack_nr())
    }

    /// Whether the peer's stream was received to its end, so that a repeated FIN is to be answered.
    pub(crate) fn has_received_fin(&self) -> bool {
        self.incoming.is_finished()
    }

    /// Frees the buffers.
    pub(crate) fn release(&mut self, pools: &mut Pools) {
        self.incoming.clear(pools);
        self.out.release(pools, u64::MAX);
    }
}

impl Timers {
    fn new(now: Time) -> Self {
        Self {
            opened: now,
            syn_at: now,
            syns: 0,
            confirm_at: None,
            confirms: 0,
            rto_from: now,
            progress: now,
            data_sent: now,
            packet_sent: now,
            received: now,
            tail_probes: 0,
            tail_due: false,
            after_rto: None,
            persist_backoff: 0,
            persist_due: false,
            linger_until: None,
            orphan: None,
        }
    }
}

/// Until the peer's first packet tells: what any peer buffers (libutp assumes 255 packets).
const INITIAL_PEER_WINDOW: u32 = 64 << 10;

/// What a connection may hold in each direction although the endpoint's memory is used up, so that all get
/// on: more than the largest packet.
const SHORT_SHARE: usize = 16 << 10;

/// Old acknowledgements are acceptable this far back at least (libutp, libtorrent: 3).
const MIN_REACH: u16 = 3;
