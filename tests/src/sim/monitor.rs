//! What the packets that our endpoints send must obey, whatever the network and the peers do. Looks at
//! the wire alone, with a parser of its own.

use std::collections::HashMap;

use super::trace::checksum;

/// Everything sent so far that still matters.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    directions: HashMap<(usize, usize, u16), Direction>,
}

/// What one end of one connection has sent.
#[derive(Debug, Default)]
struct Direction {
    syn: Option<u16>,
    /// The number of the last DATA or FIN that was new.
    highest: Option<u16>,
    fin: Option<u16>,
    /// Left out, to be sent a round trip later.
    held: Option<u16>,
    ack: Option<u16>,
    /// Content by number, of the last few thousand.
    sums: HashMap<u16, u64>,
    /// A packet that went ahead of its turn, to see whether the peer keeps it.
    early: Option<u16>,
}

struct Packet<'a> {
    kind: u8,
    first_extension: u8,
    id: u16,
    seq: u16,
    ack: u16,
    payload: &'a [u8],
}

impl Monitor {
    /// Looks at what `from` sends to `to`. Errors: what is wrong with it.
    pub(crate) fn check(&mut self, from: usize, to: usize, data: &[u8]) -> Result<(), String> {
        let packet = parse(data).ok_or("not a uTP packet")?;
        let Packet { kind, first_extension, id, seq, payload, .. } = packet;
        if first_extension > 2 {
            return Err(format!(
                "leads with extension {first_extension}, which libutp takes for another protocol"
            ));
        }
        if kind == RESET {
            return Ok(());
        }
        let key = if kind == SYN { id.wrapping_add(1) } else { id };
        let direction = self.directions.entry((from, to, key)).or_default();
        if kind == SYN {
            if direction.syn != Some(seq) {
                *direction = Direction { syn: Some(seq), highest: Some(seq), ..Direction::default() };
            }
            return if payload.is_empty() { Ok(()) } else { Err("a SYN with payload".into()) };
        }
        direction.check_ack(kind, packet.ack)?;
        match kind {
            STATE if !payload.is_empty() => Err("a STATE with payload".into()),
            STATE => direction.check_state(seq),
            DATA if payload.is_empty() => Err("DATA without payload".into()),
            _ => direction.check_stream(kind, seq, payload),
        }
    }

    /// The last number of DATA or FIN that `from` has used under this id.
    pub(crate) fn highest(&self, from: usize, to: usize, id: u16) -> Option<u16> {
        self.directions.get(&(from, to, id))?.highest
    }

    /// Forgets a connection that is over: its ids may be used again.
    pub(crate) fn forget(&mut self, from: usize, to: usize, id: u16) {
        self.directions.remove(&(from, to, id));
    }

    /// Forgets what a host has sent: it has died, and its successor knows nothing of it.
    pub(crate) fn forget_host(&mut self, host: usize) {
        self.directions.retain(|(from, ..), _| *from != host);
    }
}

impl Direction {
    /// Acknowledgements never go back, but for a keep-alive's by one.
    fn check_ack(&mut self, kind: u8, ack: u16) -> Result<(), String> {
        let last = self.ack.replace(ack);
        match last.map(|last| ack.wrapping_sub(last)) {
            Some(u16::MAX) if kind == STATE => self.ack = last,
            Some(0x8000..) => return Err(format!("ack_nr goes back from {last:?} to {ack}")),
            _ => {}
        }
        Ok(())
    }

    /// An acceptor that has sent nothing yet: late SYNs get another number than early ones, and what confirms
    /// either of them is taken.
    fn is_unsettled(&self) -> bool {
        self.syn.is_none() && self.sums.is_empty()
    }

    /// The number behind this one, and behind what went early if that is next.
    fn after(&self, highest: u16) -> u16 {
        let next = highest.wrapping_add(1);
        if self.early == Some(next) { next.wrapping_add(1) } else { next }
    }

    /// A STATE has the number of the next packet, or after the FIN, for libtorrent, that of the FIN.
    fn check_state(&mut self, seq: u16) -> Result<(), String> {
        let Some(highest) = self.highest else {
            self.highest = Some(seq.wrapping_sub(1)); // a SYN-ACK, or what follows one
            return Ok(());
        };
        if self.is_unsettled() {
            self.highest = Some(seq.wrapping_sub(1));
            return Ok(());
        }
        let next = self.after(highest);
        // What went early, and was not kept, goes again in its turn.
        let again = self.early == Some(seq) && seq == highest.wrapping_add(1);
        if seq == next || again || (self.fin == Some(highest) && seq == highest) {
            return Ok(());
        }
        // A SYN-ACK repeated after DATA went out (`speak_first`) has the number of the first DATA.
        if self.sums.contains_key(&seq) && !self.sums.contains_key(&seq.wrapping_sub(1)) {
            return Ok(());
        }
        Err(format!("a STATE numbered {seq}, {next} is next"))
    }

    fn check_stream(&mut self, kind: u8, seq: u16, payload: &[u8]) -> Result<(), String> {
        if self.is_unsettled() {
            self.highest = Some(seq.wrapping_sub(1));
        }
        let highest = *self.highest.get_or_insert(seq.wrapping_sub(1));
        // What went early need not go again.
        let skipped = self.after(highest).wrapping_sub(highest) - 1;
        let ahead = match seq.wrapping_sub(highest) {
            far @ 2..0x8000 => far - skipped,
            near => near,
        };
        let sum = checksum(payload) ^ u64::from(kind);
        if self.held == Some(seq) {
            self.held = None;
            self.sums.insert(seq, sum);
            return Ok(());
        }
        match ahead {
            // One packet at a time may be held back, to find out whether the peer is honest.
            2 if self.held.is_none() && kind == DATA && self.sums.len() >= 16 => {
                self.held = Some(highest.wrapping_add(1));
                self.highest = Some(seq);
                self.sums.insert(seq, sum);
                Ok(())
            }
            1 => {
                if self.fin.is_some() {
                    return Err(format!("packet {seq} after the FIN"));
                }
                if self.early == Some(seq) && self.sums.get(&seq) != Some(&sum) {
                    return Err(format!("packet {seq} changed after it was sent ahead of its turn"));
                }
                self.early = self.early.filter(|&early| early != seq && early != seq.wrapping_sub(1));
                self.highest = Some(seq);
                if kind == FIN {
                    self.fin = Some(seq);
                }
                self.sums.insert(seq, sum);
                self.sums.remove(&seq.wrapping_sub(REMEMBERED));
                Ok(())
            }
            AHEAD if self.early.is_none() && kind == DATA && self.fin.is_none() => {
                self.early = Some(seq);
                self.sums.insert(seq, sum);
                Ok(())
            }
            2..0x8000 => Err(format!("packet {seq} comes after {highest}: numbers are left out")),
            _ => match self.sums.get(&seq) {
                Some(&before) if before != sum => Err(format!("packet {seq} changed after it was sent")),
                Some(_) => Ok(()),
                None => Err(format!("packet {seq} is sent again, long after {highest}")),
            },
        }
    }
}

fn parse(data: &[u8]) -> Option<Packet<'_>> {
    let (head, mut rest) = data.split_first_chunk::<20>()?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if head[0] & 15 != 1 || head[0] >> 4 > SYN {
        return None;
    }
    let mut next = head[1];
    while next != 0 {
        let (&[following, length], after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(length)..)?;
        next = following;
    }
    Some(Packet {
        kind: head[0] >> 4,
        first_extension: head[1],
        id: half(2),
        seq: half(16),
        ack: half(18),
        payload: rest,
    })
}

const DATA: u8 = 0;
const FIN: u8 = 1;
const STATE: u8 = 2;
const RESET: u8 = 3;
const SYN: u8 = 4;

/// How far ahead of its turn a packet is sent to see whether the peer keeps it: its number less that of the last
/// one sent.
const AHEAD: u16 = 1089;

/// More numbers than may be outstanding in any of the simulations.
const REMEMBERED: u16 = 31_000;
