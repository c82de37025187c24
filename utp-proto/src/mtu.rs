//! Path-MTU discovery on the packetization layer, in the manner of RFC 8899 (DPLPMTUD).
//!
//! A probe is an ordinary DATA packet of the size in use, made longer by extensions that every deployed
//! peer skips (see [`PADDING`](crate::wire::PADDING)). If it is lost, its payload goes out again under
//! the same sequence number without the padding: nothing that was sent ever changes, no fragmentation
//! is needed, and the loss costs no congestion window.
//!
//! The search goes in rounds: first the ceiling, for most paths take it; then several sizes at once, which cut what is
//! left into narrow sections, so that any size is found in three or four round trips. A single loss proves nothing: the
//! smallest size that was lost goes again with the next round. Until then the search goes on below it.
//!
//! A path whose MTU shrinks later shows as silence: tail-loss probes that may be fragmented are answered, what may
//! not is not; or full packets time out. Those in flight cannot be cut again, so they are resent with
//! [`Transmit::may_fragment`](crate::Transmit::may_fragment), while new ones are made small and the search starts over.
//! Over IPv6, where routers never fragment, they are padded beyond what the device takes, so that their own host does. It
//! does not if the device takes more than assumed, and longer packets pass still less: so only a packet that goes alone is
//! padded, every other time, until one has arrived.

use crate::Config;
use crate::time::Time;
use crate::wire::{HEADER_LEN, MIN_PADDING, SeqNr};

/// Sizes are UDP payloads: header, extensions and data.
#[derive(Debug, Clone)]
pub(crate) struct Mtu {
    /// The size in use: proven by a probe, or the safe start.
    current: u16,
    /// Where the search starts, and falls back to.
    initial: u16,
    /// Largest size worth trying.
    ceiling: u16,
    /// Of the IP and UDP headers.
    overhead: u16,
    /// Whether what was to be fragmented ever arrived.
    fragments_pass: bool,
    /// Not before this.
    next_probe: Time,
    /// What is known so far; `None`: nothing is, and the next search has not begun.
    search: Option<Box<Search>>,
    sent: u64,
    lost: u64,
}

/// Only kept while there is something to be found, so that other connections are smaller.
#[derive(Debug, Clone, Default)]
struct Search {
    /// Smallest size known not to pass, less one; the ceiling if none is.
    upper: u16,
    /// The smallest size that was lost once; 0: none.
    doubted: u16,
    /// The probes in flight.
    probes: [Probe; PROBES],
    /// What is to be tried next, in this order; 0: nothing.
    plan: [u16; PROBES],
    /// What the network said of the probes in flight: the most that fits.
    hint: Option<u16>,
    /// A probe was lost about which it said so: to be tried next, alone.
    next: Option<u16>,
    /// What was tried for that reason; 0: nothing.
    told: u16,
}

/// `size` 0: none.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    seq: SeqNr,
    size: u16,
}

impl Mtu {
    pub(crate) fn new(config: &Config, ipv6: bool) -> Self {
        let ceiling = if ipv6 { config.max_datagram_v6 } else { config.max_datagram_v4 } as u16;
        let current = (config.initial_datagram as u16).min(ceiling);
        let mut new = Self {
            current,
            initial: current,
            ceiling,
            overhead: if ipv6 { OVERHEAD_V6 } else { OVERHEAD_V4 },
            fragments_pass: false,
            next_probe: Time::default(),
            search: None,
            sent: 0,
            lost: 0,
        };
        new.search_from(Time::default());
        new
    }

    /// UDP payload in use.
    pub(crate) fn current(&self) -> usize {
        usize::from(self.current)
    }

    /// Probes sent and lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }

    /// The size that a datagram is to have so that it may be fragmented; `None` if nothing can come of that. IPv6 fragments
    /// at the source alone, and there only what is longer than the device takes: so it is made longer than that, unless it is
    /// so small that every path takes it whole. If the device takes that too, it passes even less: so only one that goes
    /// `alone` is made longer, until such a one has arrived.
    pub(crate) fn to_fragment(&self, size: usize, alone: bool) -> Option<usize> {
        if self.overhead == OVERHEAD_V4 {
            return Some(size);
        }
        (size > FLOOR_V6.into() && (alone || self.fragments_pass))
            .then(|| size.max(self.ceiling.into()) + MIN_PADDING)
    }

    /// One that was made longer arrived.
    pub(crate) fn on_fragments_passed(&mut self) {
        self.fragments_pass = true;
    }

    /// The smallest size that a probe can have.
    fn least(&self) -> u16 {
        self.current + MIN_PADDING as u16
    }

    /// The size a full packet may have now instead of [`current`](Self::current), as a probe.
    pub(crate) fn probe_size(&self, now: Time) -> Option<usize> {
        if now < self.next_probe {
            return None;
        }
        let size = match &self.search {
            None => self.first_round().next(),
            Some(search) if search.probes.iter().all(|probe| probe.size > 0) => None,
            Some(search) => search.planned(self.least()).next(),
        };
        size.map(usize::from)
    }

    /// Payload of a probe, at most: where packets are large already, the window takes more probes of small ones.
    pub(crate) fn probe_payload(&self) -> usize {
        usize::from(self.initial) - HEADER_LEN
    }

    /// Numbers of the probes in flight.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SeqNr> + use<> {
        let probes = self.search.as_ref().map_or([Probe::default(); PROBES], |search| search.probes);
        probes.into_iter().filter(|probe| probe.size > 0).map(|probe| probe.seq)
    }

    pub(crate) fn on_probe_sent(&mut self, seq: SeqNr, size: usize) {
        let size = size as u16;
        let mut search = self.search.take().unwrap_or_else(|| self.begin());
        if let Some(free) = search.probes.iter_mut().find(|probe| probe.size == 0) {
            *free = Probe { seq, size };
        }
        for planned in search.plan.iter_mut().filter(|planned| **planned <= size) {
            *planned = 0;
        }
        self.search = Some(search);
        self.sent += 1;
    }

    /// A probe was acknowledged before it was taken for lost: packets may be larger now.
    pub(crate) fn on_probe_acked(&mut self, now: Time, seq: SeqNr) {
        let Some(search) = &mut self.search else { return };
        let Some(size) = search.take(seq) else { return };
        self.current = self.current.max(size);
        search.upper = search.upper.max(size);
        search.hint = search.hint.filter(|&hint| hint >= size);
        if search.doubted <= self.current {
            search.doubted = 0;
        }
        self.go_on(now);
    }

    /// A probe was lost. A single loss proves nothing, whatever the network says of it; two, of this size or smaller
    /// ones, mean that the size does not pass.
    pub(crate) fn on_probe_lost(&mut self, now: Time, seq: SeqNr) {
        let Some(search) = &mut self.search else { return };
        let Some(size) = search.take(seq) else { return };
        self.lost += 1;
        if size > self.current && size <= search.upper {
            search.refute(size);
        }
        self.go_on(now);
    }

    /// A time-out took all that was in flight: the probes among that prove nothing.
    pub(crate) fn on_time_out(&mut self, now: Time) {
        let Some(search) = &mut self.search else { return };
        self.lost += search.in_flight().count() as u64;
        search.probes = Default::default();
        self.go_on(now);
    }

    /// The network says that `size` bytes (if known) are the most that fits. Only ever a hint, which anybody may have
    /// forged: if a probe in flight is lost, it tells what to try next, before anything else. It rules no size out and
    /// never makes packets smaller; if it is true, losses will.
    pub(crate) fn on_too_big(&mut self, size: Option<usize>) {
        let Some(hint) = size.and_then(|size| u16::try_from(size).ok()) else { return };
        if let Some(search) = &mut self.search
            && search.in_flight().any(|size| hint < size)
        {
            search.hint = Some(hint);
        }
    }

    /// Packets of `size` bytes do not pass any more, it seems: for nothing answers, or, if `proven`, what may be
    /// fragmented does. Returns whether packets are smaller now.
    pub(crate) fn on_black_hole(&mut self, now: Time, size: usize, proven: bool) -> bool {
        let before = self.current;
        let below = if size > usize::from(self.initial) { self.initial } else { FLOOR };
        self.current = before.min(below);
        self.search_from(now.plus(if proven { 0 } else { BLACK_HOLE_PAUSE }));
        let size = size.min(usize::from(self.ceiling)) as u16;
        if size >= self.least() {
            let search = Search { upper: self.ceiling, doubted: size, ..Search::default() };
            self.search = Some(Box::new(search));
            self.go_on(now);
        }
        self.current < before
    }

    /// Plans the next round, if the one before has told all that it can.
    fn go_on(&mut self, now: Time) {
        let (current, least) = (self.current, self.least());
        let Some(search) = &mut self.search else { return };
        search.hint = search.hint.filter(|&hint| search.in_flight().any(|size| hint < size));
        let limit = search.limit();
        if search.planned(least).next().is_some()
            || search.in_flight().any(|size| size > current && size <= limit)
        {
            return;
        }
        search.plan = [0; PROBES];
        let is_new = search.doubted == 0 && search.upper == self.ceiling;
        if let Some(next) = search.next.take().filter(|next| (least..=limit).contains(next)) {
            search.plan[0] = next;
            search.told = next;
        } else if search.told == current && limit - current >= granularity(current) {
            // It passes. If it is the most that does, as was said, the next larger size does not.
            search.plan[0] = current + granularity(current);
        } else if !is_new && limit.saturating_sub(current) >= granularity(current) {
            search.divide(current, self.overhead);
        } else if search.in_flight().next().is_some() {
            // They will tell whether what was lost once is lost again, or nothing.
        } else if search.doubted >= least {
            // As good as found.
            search.plan[0] = search.doubted;
        } else {
            self.search_from(if is_new { now } else { now.plus(RAISE_INTERVAL) });
        }
    }

    /// Nothing more to be found before this; then look again, since paths change.
    fn search_from(&mut self, at: Time) {
        self.search = None;
        self.next_probe = if self.ceiling >= self.least() { at } else { Time(u64::MAX) };
    }

    fn begin(&self) -> Box<Search> {
        let mut search = Box::new(Search { upper: self.ceiling, ..Search::default() });
        for (planned, size) in search.plan.iter_mut().zip(self.first_round()) {
            *planned = size;
        }
        search
    }

    /// Most paths take the ceiling. Where that is beyond Ethernet's size, most others take one of few.
    fn first_round(&self) -> impl Iterator<Item = u16> {
        let sizes = LINKS.into_iter().filter(|mtu| *mtu >= ETHERNET).map(|mtu| mtu - self.overhead);
        sizes.filter(|size| (self.least()..self.ceiling).contains(size)).chain([self.ceiling])
    }
}

impl Search {
    /// What is planned and still tells something.
    fn planned(&self, least: u16) -> impl Iterator<Item = u16> {
        let most = if self.doubted > 0 { self.doubted } else { self.upper };
        self.plan.into_iter().filter(move |size| (least..=most).contains(size))
    }

    /// The largest size that may pass if what was lost once does not.
    fn limit(&self) -> u16 {
        if self.doubted > 0 { self.doubted - 1 } else { self.upper }
    }

    fn in_flight(&self) -> impl Iterator<Item = u16> {
        self.probes.iter().filter(|probe| probe.size > 0).map(|probe| probe.size)
    }

    fn take(&mut self, seq: SeqNr) -> Option<u16> {
        let probe = self.probes.iter_mut().find(|probe| probe.seq == seq && probe.size > 0)?;
        Some(std::mem::take(probe).size)
    }

    /// A probe of a size that may have passed was lost.
    fn refute(&mut self, size: u16) {
        self.next = self.hint.take_if(|hint| *hint < size).or(self.next);
        if self.doubted == 0 {
            self.doubted = size;
        } else {
            // The larger one of two was lost twice as far as the path matters, the smaller one once.
            self.upper = self.upper.min(size.max(self.doubted) - 1);
            self.doubted = self.doubted.min(size);
        }
        if self.doubted > self.upper {
            self.doubted = 0;
        }
    }

    /// Any round but the first: sizes that links have, and such that no section between two sizes is wide.
    fn divide(&mut self, current: u16, overhead: u16) {
        let end = self.limit() + 1;
        let step = granularity(current);
        let fine = (end - current) / step;
        let payloads = LINKS.map(|mtu| mtu - overhead);
        let mut sections = Sections::new(current, end);
        if fine <= SIZES as u16 {
            // The last round.
            (1..=fine).for_each(|i| sections.insert(current + i * step));
        } else if payloads.contains(&current) {
            // It may well be just this.
            sections.insert(current + step);
        }
        for size in payloads {
            sections.insert(size);
        }
        // One round more is enough for so few: some probes are spared.
        let wanted = if (9..=32).contains(&fine) { 3 } else { SIZES };
        while sections.len < wanted && sections.halve() {}
        self.plan = sections.sizes;
        if let Some(last) = self.plan.get_mut(sections.len) {
            *last = self.doubted;
        }
    }
}

/// Sizes between one that passes and one that does not, ascending.
struct Sections {
    sizes: [u16; PROBES],
    len: usize,
    from: u16,
    end: u16,
}

impl Sections {
    fn new(from: u16, end: u16) -> Self {
        Self { sizes: [0; PROBES], len: 0, from, end }
    }

    /// Takes a size, if there is room and it is neither too close to what passes nor beyond the end.
    fn insert(&mut self, size: u16) {
        let Self { sizes, len, from, end } = self;
        if *len >= SIZES || size < *from + MIN_PADDING as u16 || size >= *end || sizes.contains(&size) {
            return;
        }
        let at = sizes.iter().take(*len).filter(|other| **other < size).count();
        if let Some(behind) = sizes.get_mut(at..=*len) {
            behind.rotate_right(1);
            behind.iter_mut().take(1).for_each(|free| *free = size);
            *len += 1;
        }
    }

    /// Cuts the section in two that is widest in proportion, if any is worth it.
    fn halve(&mut self) -> bool {
        let ends = || self.sizes.into_iter().take(self.len).chain([self.end]);
        let sections = [self.from].into_iter().chain(ends()).zip(ends());
        let wide = sections.filter(|(from, to)| to - 1 - from >= granularity(*from));
        let widest = wide.max_by_key(|(from, to)| u32::from(*to) * 0x1_0000 / u32::from(*from));
        let Some((from, to)) = widest else { return false };
        let middle = (u32::from(from) * u32::from(to)).isqrt() as u16;
        self.insert(middle.max(from + MIN_PADDING as u16));
        true
    }
}

/// The search ends when less than this is left to gain: 16 bytes (as libutp), or one per cent.
fn granularity(size: u16) -> u16 {
    (size / 96).max(16)
}

/// What every IPv4 path takes: 576 less IP header with some options, and UDP header (RFC 791; BEP 29
/// names no figure; libtorrent and librqbit-utp go down to 548 and 528).
const FLOOR: u16 = 508;

/// The same of IPv6: 1280 less its headers (RFC 8200 5).
const FLOOR_V6: u16 = 1280 - OVERHEAD_V6;

const ETHERNET: u16 = 1500;

/// IP and UDP headers.
const OVERHEAD_V4: u16 = 28;
const OVERHEAD_V6: u16 = 48;

/// MTUs of links and tunnels, ascending: RFC 791's minimum, IPv6's, VPNs', PPPoE in L2TP, PPPoE, Ethernet, FDDI, jumbo.
const LINKS: [u16; 8] = [576, 1280, 1400, 1464, 1492, ETHERNET, 4352, 9000];

/// Sizes tried at once: they cut what is between Ethernet's size and a jumbo frame to one per cent in three rounds...
const SIZES: usize = 7;

/// ...and with them the one that was lost before.
const PROBES: usize = SIZES + 1;

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
    fn what_may_be_fragmented_is_longer_over_ipv6_than_its_device_takes() {
        let sizes = |mtu: &Mtu, alone| [1232, 1233, 1452, 2000].map(|size| mtu.to_fragment(size, alone));
        let [v4, mut v6] = [false, true].map(|ipv6| Mtu::new(&Config::default(), ipv6));
        assert_eq!(sizes(&v4, false), [1232, 1233, 1452, 2000].map(Some));
        let longer = [None, Some(1464), Some(1464), Some(2012)];
        assert_eq!(sizes(&v6, true), longer, "1232 passes everywhere");
        assert_eq!(sizes(&v6, false), [None; 4], "it is not known whether that helps");
        v6.on_fragments_passed();
        assert_eq!(sizes(&v6, false), longer);
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
        for limit in (1232..=1472).step_by(if cfg!(miri) { 77 } else { 7 }) {
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

    /// Sends a round of probes; gives their numbers and sizes.
    fn round(mtu: &mut Mtu) -> Vec<(SeqNr, usize)> {
        let mut sent = Vec::new();
        while let Some(size) = mtu.probe_size(Time(0)) {
            let seq = SeqNr(mtu.counts().0 as u16);
            mtu.on_probe_sent(seq, size);
            sent.push((seq, size));
        }
        sent
    }

    /// Their fates: those up to `limit` arrive, but not what `chance` takes.
    fn fate(mtu: &mut Mtu, sent: &[(SeqNr, usize)], limit: usize, chance: impl Fn(usize) -> bool) {
        for &(seq, size) in sent {
            if size <= limit && !chance(size) {
                mtu.on_probe_acked(Time(0), seq);
            } else {
                mtu.on_probe_lost(Time(0), seq);
            }
        }
    }

    fn jumbo() -> Mtu {
        let mut config = Config::default();
        config.max_datagram(8972, 8952).unwrap();
        Mtu::new(&config, false)
    }

    #[test]
    fn four_rounds_find_any_size_to_within_the_granularity() {
        for limit in (1232..=8972).step_by(if cfg!(miri) { 1_001 } else { 11 }) {
            let mut mtu = jumbo();
            for _ in 0..4 {
                let sent = round(&mut mtu);
                assert!(sent.len() <= PROBES && sent.is_sorted_by_key(|(_, size)| *size), "{sent:?}");
                fate(&mut mtu, &sent, limit, |_| false);
            }
            let found = mtu.current();
            let left = granularity(found as u16);
            assert!((found..found + usize::from(left)).contains(&limit), "{limit}: {found}");
        }
    }

    #[test]
    fn a_probe_that_chance_takes_is_made_up_for() {
        // Under Miri a few of them: all take hours.
        let (step, steps) = if cfg!(miri) { (59 * 50, 5) } else { (59, 1) };
        for limit in (1300..=8972).step_by(step) {
            for taken in (0..24).step_by(steps) {
                let mut mtu = jumbo();
                let (mut rounds, mut before) = (0, 0);
                while mtu.next_probe == Time(0) {
                    let sent = round(&mut mtu);
                    assert!(!sent.is_empty() && rounds < 12, "{limit}, {taken}: {sent:?}");
                    let unlucky = sent.get(taken - before.min(taken)).map(|(_, size)| *size);
                    let now = (before..before + sent.len()).contains(&taken);
                    fate(&mut mtu, &sent, limit, |size| now && Some(size) == unlucky);
                    before += sent.len();
                    rounds += 1;
                }
                let found = mtu.current();
                assert!(found <= limit && limit - found < 16 + found / 48, "{limit}, {taken}: {found}");
            }
        }
    }

    #[test]
    fn what_a_time_out_takes_proves_nothing() {
        let mut mtu = jumbo();
        for _ in 0..3 {
            assert_eq!(round(&mut mtu).iter().map(|(_, size)| *size).collect::<Vec<_>>(), [1472, 4324, 8972]);
            mtu.on_time_out(Time(0));
        }
        assert_eq!((mtu.current(), mtu.counts()), (1232, (9, 9)));
    }
}
