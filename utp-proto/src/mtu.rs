//! Path-MTU discovery on the packetization layer, in the manner of RFC 8899 (DPLPMTUD).
//!
//! A probe is an ordinary DATA packet of the size in use, made longer by extensions that every deployed
//! peer skips (see [`PADDING`](crate::wire::PADDING)). If it is lost, its payload goes out again under
//! the same sequence number without the padding: nothing that was sent ever changes, no fragmentation
//! is needed, and the loss costs no congestion window.
//!
//! A path whose MTU shrinks later shows as time-outs of full packets. Those in flight cannot be cut
//! again, so they are resent with [`Transmit::may_fragment`](crate::Transmit::may_fragment), while
//! new ones are made small and the search starts over.

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
    /// The probe in flight.
    probe: Option<Probe>,
    /// Losses in a row of probes of the size tried now.
    failures: u8,
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
            probe: None,
            failures: 0,
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
        if self.probe.is_some() || now < self.next_probe {
            return None;
        }
        let gap = self.upper.saturating_sub(self.current);
        if usize::from(gap) < MIN_PADDING || (gap < GRANULARITY && self.upper != self.ceiling) {
            return None;
        }
        // Most paths take the ceiling: try it first, then halve what is left.
        let size = if self.upper == self.ceiling { self.ceiling } else { self.current + gap.div_ceil(2) };
        (usize::from(size - self.current) >= MIN_PADDING).then_some(usize::from(size))
    }

    pub(crate) fn on_probe_sent(&mut self, seq: SeqNr, size: usize) {
        self.probe = Some(Probe { seq, size: size as u16 });
        self.sent += 1;
    }

    /// A probe was acknowledged before it was taken for lost. Returns whether packets may be larger now.
    pub(crate) fn on_probe_acked(&mut self, now: Time, seq: SeqNr) -> bool {
        let Some(probe) = self.probe.take_if(|p| p.seq == seq) else { return false };
        self.failures = 0;
        let grew = probe.size > self.current;
        self.current = self.current.max(probe.size);
        if self.upper.saturating_sub(self.current) < GRANULARITY {
            self.finish_search(now);
        }
        grew
    }

    /// A probe was lost. A single loss proves nothing; two in a row mean that the size does not pass.
    pub(crate) fn on_probe_lost(&mut self, now: Time, seq: SeqNr) {
        let Some(probe) = self.probe.take_if(|p| p.seq == seq) else { return };
        self.lost += 1;
        self.failures += 1;
        if self.failures >= TRIES {
            self.failures = 0;
            self.upper = self.upper.min(probe.size - 1);
            if self.upper.saturating_sub(self.current) < GRANULARITY {
                self.finish_search(now);
            }
        }
    }

    /// The network says that `size` bytes (if known) are the most that fits. Only ever a hint: it stops
    /// the probe of what it calls too big, and never makes packets smaller by itself; if it is true,
    /// time-outs will.
    pub(crate) fn on_too_big(&mut self, now: Time, size: Option<usize>) {
        let hint = size.map_or(0, |s| s.min(usize::from(u16::MAX)) as u16);
        if let Some(probe) = self.probe
            && (size.is_none() || hint < probe.size)
        {
            let upper = if hint > self.current { hint } else { probe.size - 1 };
            self.upper = self.upper.min(upper).max(self.current);
            self.next_probe = self.next_probe.max(now.plus(HINT_PAUSE));
        }
    }

    /// A packet of `size` bytes times out again and again: assume that such do not pass any more.
    /// Returns whether packets are smaller now.
    pub(crate) fn on_black_hole(&mut self, now: Time, size: usize) -> bool {
        let before = self.current;
        let below = if size > usize::from(self.initial) { self.initial } else { FLOOR };
        self.current = before.min(below);
        self.upper = self.ceiling;
        self.probe = None;
        self.failures = 0;
        self.next_probe = now.plus(BLACK_HOLE_PAUSE);
        self.current < before
    }

    /// Nothing more to be found now; look again later, since paths change.
    fn finish_search(&mut self, now: Time) {
        self.upper = self.ceiling;
        self.next_probe = now.plus(RAISE_INTERVAL);
    }
}

/// What every IPv4 path takes: 576 less IP header with some options, and UDP header (RFC 791; BEP 29
/// names no figure; libtorrent and librqbit-utp go down to 548 and 528).
const FLOOR: u16 = 508;

/// The search ends when less than this is left to gain (libutp: 16).
const GRANULARITY: u16 = 16;

/// Probes of one size before it is given up (RFC 8899 MAX_PROBES is 3; each costs a retransmission).
const TRIES: u8 = 2;

/// A converged search is repeated after this (RFC 8899 PMTU_RAISE_TIMER: 600 s).
const RAISE_INTERVAL: u64 = 600_000_000;

/// After a black hole, recovery comes first.
const BLACK_HOLE_PAUSE: u64 = 5_000_000;

/// After a hint of the network that a probe was too big.
const HINT_PAUSE: u64 = 100_000;

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
        mtu.on_too_big(Time(1), Some(576));
        mtu.on_too_big(Time(1), None);
        assert_eq!(mtu.current(), 1472);
    }

    #[test]
    fn a_black_hole_falls_back_and_searches_below() {
        let mut mtu = Mtu::new(&Config::default(), false);
        search(&mut mtu, 1472, Time(0));
        assert!(mtu.on_black_hole(Time(0), 1472));
        assert_eq!(mtu.current(), 1232);
        assert!(mtu.probe_size(Time(0)).is_none());
        search(&mut mtu, 1400, Time(BLACK_HOLE_PAUSE));
        assert!((1380..=1400).contains(&mtu.current()), "{}", mtu.current());
        assert!(mtu.on_black_hole(Time(0), 1300) && mtu.current() == 1232);
        assert!(mtu.on_black_hole(Time(0), 1000) && mtu.current() == 508);
        assert!(!mtu.on_black_hole(Time(0), 508));
    }
}
