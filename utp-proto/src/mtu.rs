//! Path-MTU discovery on the packetization layer, in the manner of RFC 8899 (DPLPMTUD).
//!
//! A probe is an ordinary DATA packet of the size in use, made longer by extensions that every deployed
//! peer skips (see [`PADDING`](crate::wire::PADDING)). If it is lost, its payload goes out again under
//! the same sequence number without the padding: nothing that was sent ever changes, no fragmentation
//! is needed, and the loss costs no congestion window.
//!
//! A path whose MTU shrinks later shows as silence: tail-loss probes that may be fragmented are answered, what may
//! not is not; or full packets time out. Those in flight cannot be cut again, so they are resent with
//! [`Transmit::may_fragment`](crate::Transmit::may_fragment), while new ones are made small and the search starts over.

use crate::Config;
use crate::time::Time;
use crate::wire::{MIN_PADDING, SeqNr};

/// Sizes are UDP payloads: header, extensions and data.
#[derive(Debug, Clone)]
pub(crate) struct Mtu {
    /// The size in use: proven by a probe, or the safe start.
    current: u16,
    /// Where the search starts, and falls back to.
    initial: u16,
    /// Largest size worth trying.
    ceiling: u16,
    /// Smallest size known not to pass, less one; `ceiling` if none is.
    upper: u16,
    /// The probes in flight, all of one size.
    probes: [Option<Probe>; TRIES as usize],
    /// Losses in a row of probes of the size tried now.
    failures: u8,
    /// What the network said of the probe in flight: the most that fits, 0 if it did not say.
    hint: Option<u16>,
    /// To be tried first.
    next: Option<u16>,
    /// Of the IP and UDP headers.
    overhead: u16,
    /// Not before this.
    next_probe: Time,
    sent: u64,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    seq: SeqNr,
    size: u16,
}

impl Mtu {
    pub(crate) fn new(config: &Config, ipv6: bool) -> Self {
        let ceiling = if ipv6 { config.max_datagram_v6 } else { config.max_datagram_v4 } as u16;
        let current = (config.initial_datagram as u16).min(ceiling);
        Self {
            current,
            initial: current,
            ceiling,
            upper: ceiling,
            probes: [None; TRIES as usize],
            failures: 0,
            hint: None,
            next: None,
            overhead: if ipv6 { 48 } else { 28 },
            next_probe: Time::default(),
            sent: 0,
            lost: 0,
        }
    }

    /// UDP payload in use.
    pub(crate) fn current(&self) -> usize {
        usize::from(self.current)
    }

    /// Probes sent and lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }

    /// The size a full packet may have now instead of [`current`](Self::current), as a probe.
    pub(crate) fn probe_size(&self, now: Time) -> Option<usize> {
        if now < self.next_probe {
            return None;
        }
        let mut out = self.probes.iter().flatten();
        if let Some(probe) = out.next() {
            // The ceiling mostly passes; of other sizes both probes go at once, so that one round trip tells.
            let sent = 1 + out.count() + usize::from(self.failures);
            let again = probe.size != self.ceiling && sent < usize::from(TRIES);
            return again.then_some(usize::from(probe.size));
        }
        let least = self.current + MIN_PADDING as u16;
        if self.upper < least || (self.is_close() && self.upper != self.ceiling) {
            return None;
        }
        let fits = |size: &u16| (least..=self.upper).contains(size);
        // Most paths take the ceiling: try it first.
        let first = self.next.or(Some(self.ceiling)).filter(fits);
        Some(usize::from(first.unwrap_or_else(|| self.between(fits))))
    }

    /// A size between what passes and what does not: one that links have, Ethernet's before all others, or half way.
    fn between(&self, fits: impl Fn(&u16) -> bool) -> u16 {
        let payload = |mtu: u16| mtu - self.overhead;
        if fits(&payload(ETHERNET)) {
            return payload(ETHERNET);
        }
        let known = || LINKS.into_iter().map(payload).filter(&fits);
        let half_way = || {
            (self.current + (self.upper - self.current).div_ceil(2)).max(self.current + MIN_PADDING as u16)
        };
        known().nth(known().count().saturating_sub(1) / 2).unwrap_or_else(half_way)
    }

    /// Whether so little is left to gain that the search ends.
    fn is_close(&self) -> bool {
        self.upper.saturating_sub(self.current) < GRANULARITY.max(self.current / 96)
    }

    pub(crate) fn on_probe_sent(&mut self, seq: SeqNr, size: usize) {
        if let Some(free) = self.probes.iter_mut().find(|probe| probe.is_none()) {
            *free = Some(Probe { seq, size: size as u16 });
        }
        self.sent += 1;
    }

    /// A probe was acknowledged before it was taken for lost. Returns whether packets may be larger now.
    pub(crate) fn on_probe_acked(&mut self, now: Time, seq: SeqNr) -> bool {
        let Some(probe) = self.take(seq) else { return false };
        (self.probes, self.failures, self.hint) = ([None; TRIES as usize], 0, None);
        let grew = probe.size > self.current;
        self.current = self.current.max(probe.size);
        self.next = self.next.filter(|next| *next > self.current);
        if self.is_close() {
            self.finish_search(now);
        }
        grew
    }

    fn take(&mut self, seq: SeqNr) -> Option<Probe> {
        self.probes.iter_mut().find_map(|probe| probe.take_if(|p| p.seq == seq))
    }

    /// A probe was lost. A single loss proves nothing; two in a row, or one that the network has announced, mean that
    /// the size does not pass.
    pub(crate) fn on_probe_lost(&mut self, now: Time, seq: SeqNr) {
        let Some(probe) = self.take(seq) else { return };
        self.lost += 1;
        self.failures += 1;
        let hint = self.hint.take();
        if self.failures >= TRIES || hint.is_some() {
            (self.probes, self.failures) = ([None; TRIES as usize], 0);
            let hint = hint.filter(|&hint| hint > self.current);
            self.upper = self.upper.min(hint.unwrap_or(probe.size - 1));
            self.next = hint;
            if self.is_close() && hint.is_none() {
                self.finish_search(now);
            }
        }
    }

    /// The network says that `size` bytes (if known) are the most that fits. Only ever a hint, which anybody may have
    /// forged: it counts if the probe in flight is lost, spares a second one and tells what to try next. It never
    /// makes packets smaller; if it is true, silence will.
    pub(crate) fn on_too_big(&mut self, size: Option<usize>) {
        let hint = size.map_or(0, |s| s.min(usize::from(u16::MAX)) as u16);
        if self.probes.iter().flatten().any(|probe| hint < probe.size) {
            self.hint = Some(hint);
        }
    }

    /// Packets of `size` bytes do not pass any more, it seems: for nothing answers, or, if `proven`, what may be
    /// fragmented does. Returns whether packets are smaller now.
    pub(crate) fn on_black_hole(&mut self, now: Time, size: usize, proven: bool) -> bool {
        let before = self.current;
        let below = if size > usize::from(self.initial) { self.initial } else { FLOOR };
        self.current = before.min(below);
        self.upper = self.ceiling;
        self.probes = [None; TRIES as usize];
        self.failures = 0;
        self.hint = None;
        self.next = LINKS.into_iter().map(|mtu| mtu - self.overhead).find(|&size| size > self.current);
        self.next_probe = now.plus(if proven { 0 } else { BLACK_HOLE_PAUSE });
        self.current < before
    }

    /// Nothing more to be found now; look again later, since paths change.
    fn finish_search(&mut self, now: Time) {
        (self.upper, self.next) = (self.ceiling, None);
        self.next_probe = now.plus(RAISE_INTERVAL);
    }
}

/// What every IPv4 path takes: 576 less IP header with some options, and UDP header (RFC 791; BEP 29
/// names no figure; libtorrent and librqbit-utp go down to 548 and 528).
const FLOOR: u16 = 508;

/// The search ends when less than this is left to gain (libutp: 16), or one per cent.
const GRANULARITY: u16 = 16;

const ETHERNET: u16 = 1500;

/// MTUs of links and tunnels, ascending: RFC 791's minimum, IPv6's, VPNs', PPPoE in L2TP, PPPoE, Ethernet, FDDI, jumbo.
const LINKS: [u16; 8] = [576, 1280, 1400, 1464, 1492, ETHERNET, 4352, 9000];

/// Probes of one size before it is given up (RFC 8899 MAX_PROBES is 3; each costs a retransmission).
const TRIES: u8 = 2;

/// A converged search is repeated after this (RFC 8899 PMTU_RAISE_TIMER: 600 s).
const RAISE_INTERVAL: u64 = 600_000_000;

/// After a black hole, recovery comes first.
const BLACK_HOLE_PAUSE: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search against a path that passes `limit` bytes. Returns the number of probes.
    fn search(mtu: &mut Mtu, limit: usize, now: Time) -> u32 {
        let mut probes = 0;
        while let Some(size) = mtu.probe_size(now) {
            let seq = SeqNr(probes as u16);
            mtu.on_probe_sent(seq, size);
            if size <= limit {
                mtu.on_probe_acked(now, seq);
            } else {
                mtu.on_probe_lost(now, seq);
            }
            probes += 1;
            assert!(probes < 40, "the search does not end");
        }
        probes
    }

    #[test]
    fn an_ethernet_path_is_found_with_one_probe() {
        let mut mtu = Mtu::new(&Config::default(), false);
        assert_eq!(mtu.current(), 1232);
        assert_eq!(search(&mut mtu, 1472, Time(0)), 1);
        assert_eq!(mtu.current(), 1472);
    }

    #[test]
    fn any_limit_is_found_to_within_the_granularity() {
        for limit in (1232..=1472).step_by(7) {
            let mut mtu = Mtu::new(&Config::default(), false);
            search(&mut mtu, limit, Time(0));
            assert!(mtu.current() <= limit && mtu.current() + 2 * 16 > limit, "{limit}: {}", mtu.current());
        }
    }

    #[test]
    fn the_search_is_repeated_after_ten_minutes() {
        let mut mtu = Mtu::new(&Config::default(), true);
        search(&mut mtu, 1300, Time(0));
        let found = mtu.current();
        assert!(mtu.probe_size(Time(RAISE_INTERVAL - 1)).is_none());
        search(&mut mtu, 1452, Time(RAISE_INTERVAL));
        assert!(found <= 1300 && mtu.current() == 1452);
    }

    #[test]
    fn hints_never_shrink_what_is_proven() {
        let mut mtu = Mtu::new(&Config::default(), false);
        search(&mut mtu, 1472, Time(0));
        mtu.on_too_big(Some(576));
        mtu.on_too_big(None);
        assert_eq!(mtu.current(), 1472);
    }

    #[test]
    fn a_black_hole_falls_back_and_searches_below() {
        let mut mtu = Mtu::new(&Config::default(), false);
        search(&mut mtu, 1472, Time(0));
        assert!(mtu.on_black_hole(Time(0), 1472, false));
        assert_eq!(mtu.current(), 1232);
        assert!(mtu.probe_size(Time(0)).is_none());
        search(&mut mtu, 1400, Time(BLACK_HOLE_PAUSE));
        assert!((1380..=1400).contains(&mtu.current()), "{}", mtu.current());
        assert!(mtu.on_black_hole(Time(0), 1300, false) && mtu.current() == 1232);
        assert!(mtu.on_black_hole(Time(0), 1000, false) && mtu.current() == 508);
        assert!(!mtu.on_black_hole(Time(0), 508, false));
    }
}
