//! Whose is a datagram? What belongs to a connection goes there; SYNs, confirmations, repeated FINs and
//! strays are dealt with here, without a connection and without memory beyond the table's.

use std::net::SocketAddr;
use std::time::Instant;

use super::half_open::HalfOpen;
use super::key::Key;
use super::replies::Reply;
use super::table::{Entry, Linger};
use super::{Endpoint, Verdict, blank};
use crate::connection::{Connection as Machine, Context, Ids};
use crate::time::{Time, micros};
use crate::wire::{Header, Packet, PacketType, ParseError, SeqNr};

impl Endpoint {
    /// Takes one datagram that arrived at `now` from `from`. Pass the kernel's receive timestamp where
    /// there is one: it may be earlier than the time of the last call.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let now = self.note_time(now);
        self.stats.datagrams_received += 1;
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(ParseError::NotUtp) => {
                self.stats.datagrams_not_utp += 1;
                return Verdict::NotUtp;
            }
            Err(_) => {
                self.stats.datagrams_malformed += 1;
                return Verdict::Consumed;
            }
        };
        let id = packet.header.connection_id;
        // A SYN carries the id that its sender receives on; the connection it makes receives on the next.
        let is_syn = packet.header.kind == PacketType::Syn;
        let key = Key::new(from, if is_syn { id.wrapping_add(1) } else { id });
        match self.table.get(&key) {
            Some(Entry::Connection(slot)) => self.deliver(slot, now, &packet, datagram.len()),
            entry if is_syn && self.is_late_copy(now, key, entry, packet.header.seq_nr) => {
                self.stats.datagrams_unmatched += 1; // of the SYN that opened what is over
            }
            Some(Entry::HalfOpen(half_open)) if is_syn => {
                self.handle_repeated_syn(now, key, half_open, &packet)
            }
            Some(Entry::HalfOpen(half_open)) => {
                self.handle_confirmation(now, key, half_open, &packet, datagram.len())
            }
            Some(Entry::Linger(linger)) if !is_syn => self.handle_late(now, key, linger, &packet.header),
            _ if is_syn => self.handle_syn(now, key, &packet.header),
            _ => self.handle_stray(now, key, &packet, datagram.len()),
        }
        Verdict::Consumed
    }

    /// Whether a SYN opened a connection before that is over.
    fn is_late_copy(&mut self, now: Time, key: Key, entry: Option<Entry>, syn: SeqNr) -> bool {
        let lingers = matches!(entry, Some(Entry::Linger(linger)) if linger.syn == Some(syn));
        lingers || self.past.contains(now, key, syn)
    }

    fn deliver(&mut self, slot: u32, now: Time, packet: &Packet<'_>, size: usize) {
        let Some(entry) = self.connections.get_mut(slot as usize) else { return };
        entry.connection.set_short(self.memory >= self.config.memory_budget);
        let mut cx = Context { now, clock: self.clock, pools: &mut self.pools };
        if entry.connection.handle_packet(&mut cx, packet, size) {
            self.stats.datagrams_accepted += 1;
            self.settle(slot);
            // What does not fit does not even wake it: it sends no sooner than it would have.
        } else if packet.header.kind == PacketType::Reset {
            self.stats.resets_ignored += 1;
            if entry.connection.is_reset_in_doubt() {
                self.settle(slot);
            }
        }
    }

    /// Somebody wants to connect. Remembers as little as possible and answers with as much as came.
    fn handle_syn(&mut self, now: Time, key: Key, header: &Header) {
        if !self.listening {
            self.stats.syns_refused += 1;
            self.reset(now, key, header);
            return;
        }
        if self.is_full() {
            self.stats.syns_dropped += 1;
            return;
        }
        if self.config.speak_first {
            let seq = SeqNr(self.rng.u16());
            let slot = self.admit(now, key, (seq, header.seq_nr), false);
            if let Some(entry) = self.connections.get_mut(slot as usize) {
                entry.connection.hint_window(header.wnd_size);
            }
            return;
        }
        let seq = self.cookies.number(now, key, header.seq_nr);
        if self.table.has_room(&key) {
            let expires = now.plus(micros(self.config.half_open_timeout));
            self.table.insert_half_open(key, header.seq_nr, seq, expires);
        } else {
            self.cookies.note(now);
            self.stats.cookies_sent += 1;
        }
        self.syn_ack(now, key, seq, header);
    }

    /// The same answer for the same SYN; another number is another attempt.
    fn handle_repeated_syn(&mut self, now: Time, key: Key, half_open: HalfOpen, packet: &Packet<'_>) {
        let header = &packet.header;
        if half_open.syn == header.seq_nr {
            self.syn_ack(now, key, half_open.seq, header);
        } else if !self.listening {
            self.table.remove(&key);
            self.handle_syn(now, key, header);
        } else {
            // In place of the first: whoever guesses at numbers gets no more entries and no more time.
            let seq = self.cookies.number(now, key, header.seq_nr);
            self.table.insert_half_open(key, header.seq_nr, seq, now);
            self.syn_ack(now, key, seq, header);
        }
    }

    fn syn_ack(&mut self, now: Time, key: Key, seq: SeqNr, syn: &Header) {
        let header = Header {
            connection_id: syn.connection_id,
            timestamp_difference: if syn.timestamp.0 == 0 {
                0
            } else {
                self.clock.wire(now).since(syn.timestamp)
            },
            wnd_size: self.config.first_window(),
            ..blank(seq, syn.seq_nr)
        };
        self.replies.push(Reply { to: key.remote(), header });
    }

    /// The first packet that can only come from somebody who saw our SYN-ACK makes a connection.
    fn handle_confirmation(
        &mut self,
        now: Time,
        key: Key,
        half_open: HalfOpen,
        packet: &Packet<'_>,
        size: usize,
    ) {
        let header = &packet.header;
        let HalfOpen { syn, seq, .. } = half_open;
        if header.kind == PacketType::Reset {
            // Deployed peers answer with either their last acknowledgement or the number they saw.
            if header.ack_nr == seq.minus(1) || header.ack_nr == seq {
                self.table.remove(&key);
            } else {
                self.stats.resets_ignored += 1;
            }
            return;
        }
        let fits =
            header.seq_nr.is_within(syn.plus(1), self.config.reorder_window_for(self.config.receive_buffer));
        if fits && numbers_known(header).any(|known| known == seq) {
            self.confirm(now, key, (seq, syn), packet, size);
        } else if !self.handle_cookie(now, key, packet, size) {
            self.stats.datagrams_unmatched += 1; // nor does it answer a cookie that was given out before
        }
    }

    /// The peer has proven that it saw our SYN-ACK.
    fn confirm(&mut self, now: Time, key: Key, numbers: (SeqNr, SeqNr), packet: &Packet<'_>, size: usize) {
        if !self.listening {
            self.table.remove(&key);
            self.stats.syns_refused += 1;
            self.reset(now, key, &packet.header);
        } else if self.is_full() {
            self.stats.syns_dropped += 1; // it will be repeated
        } else {
            let slot = self.admit(now, key, numbers, true);
            self.deliver(slot, now, packet, size);
        }
    }

    /// Whether no connection can be taken now.
    fn is_full(&self) -> bool {
        self.backlog.len() >= self.config.backlog || self.connections.len() >= self.config.max_connections
    }

    /// A packet that fits nothing may confirm a connection that nothing but its numbers remembers: the
    /// peer's first, which comes right after the SYN. Returns whether nothing else is to be done about it.
    fn handle_cookie(&mut self, now: Time, key: Key, packet: &Packet<'_>, size: usize) -> bool {
        let header = &packet.header;
        if !self.cookies.are_out(now) || header.kind == PacketType::Reset {
            return false;
        }
        let syn = header.seq_nr.minus(1);
        let seq = numbers_known(header).find(|&seq| self.cookies.fits(now, key, syn, seq));
        if let Some(seq) = seq.filter(|_| !self.past.contains(now, key, syn)) {
            self.stats.cookies_confirmed += 1;
            self.confirm(now, key, (seq, syn), packet, size);
        } else {
            // It may come from a peer whose first packet was lost, and which would take a RESET for the end.
            self.stats.datagrams_unmatched += 1;
            self.stats.resets_suppressed += 1;
        }
        true
    }

    /// Makes an incoming connection and queues it for the application.
    fn admit(&mut self, now: Time, key: Key, numbers: (SeqNr, SeqNr), confirmed: bool) -> u32 {
        let ids = Ids { receive: key.id, send: key.id.wrapping_sub(1) };
        let cx = Context { now, clock: self.clock, pools: &mut self.pools };
        let connection = Machine::accept(&cx, &self.config, key.remote(), ids, numbers, confirmed);
        let handle = self.insert(key, connection);
        self.backlog.push_back(handle);
        handle.slot
    }

    /// The peer repeats its last packets: our last acknowledgement was lost.
    fn handle_late(&mut self, now: Time, key: Key, linger: Linger, header: &Header) {
        let ack = match (header.kind, linger.ack) {
            (PacketType::Data | PacketType::Fin, Some(ack)) => ack,
            (PacketType::Reset, _) | (_, Some(_)) => {
                self.stats.datagrams_unmatched += 1;
                return;
            }
            (_, None) => {
                self.stats.datagrams_unmatched += 1;
                return self.reset(now, key, header);
            }
        };
        // libutp takes only what is numbered beyond our FIN, libtorrent only what is not: take turns, by
        // the one bit that changes between repetitions.
        let next = if header.timestamp.0 & 1 == 0 { linger.next } else { linger.next.minus(1) };
        let answer = Header {
            connection_id: linger.send_id,
            timestamp_difference: self.clock.wire(now).since(header.timestamp),
            wnd_size: self.config.first_window(),
            ..blank(next, ack)
        };
        self.table.extend_linger(now, &key);
        self.replies.push(Reply { to: key.remote(), header: answer });
    }

    /// Fits no key. A RESET may carry the id that we send with; anything else is answered with one.
    fn handle_stray(&mut self, now: Time, key: Key, packet: &Packet<'_>, size: usize) {
        if self.handle_cookie(now, key, packet, size) {
            return;
        }
        if packet.header.kind != PacketType::Reset {
            self.stats.datagrams_unmatched += 1;
            self.reset(now, key, &packet.header);
            return;
        }
        for id in [key.id.wrapping_sub(1), key.id.wrapping_add(1)] {
            let Some(Entry::Connection(slot)) = self.table.get(&key.with_id(id)) else { continue };
            let ours = self.connections.get(slot as usize).is_some_and(|s| s.connection.ids.send == key.id);
            if ours {
                return self.deliver(slot, now, packet, size);
            }
        }
        self.stats.datagrams_unmatched += 1;
        self.stats.resets_ignored += 1;
    }

    /// Answers with a RESET, if the limiter allows: the id it came with, and its number as `ack_nr`, as
    /// libutp does.
    fn reset(&mut self, now: Time, key: Key, cause: &Header) {
        if !self.replies.reset_allowed(now, key.network()) {
            self.stats.resets_suppressed += 1;
            return;
        }
        self.stats.resets_sent += 1;
        let header = Header {
            kind: PacketType::Reset,
            connection_id: cause.connection_id,
            ..blank(SeqNr(self.rng.u16()), cause.seq_nr)
        };
        self.replies.push(Reply { to: key.remote(), header });
    }
}

/// The numbers that the sender of a packet may have seen in our SYN-ACK: `ack_nr` is one less, and the first
/// that is heard of a silent initiator may be a keep-alive, with another one less.
fn numbers_known(header: &Header) -> impl Iterator<Item = SeqNr> + use<> {
    let keep_alive = (header.kind == PacketType::State).then(|| header.ack_nr.plus(2));
    std::iter::once(header.ack_nr.plus(1)).chain(keep_alive)
}
