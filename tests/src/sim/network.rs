//! Links, the routes over them, and what is on its way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use slab::Slab;

use super::link::{Channel, Fate, Link, LinkStats};
use super::rng::Random;
use super::trace::Trace;

/// Names one direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(crate) usize);

/// What the network does to datagrams on purpose, besides chance: asked for each, by its sender, its
/// receiver, how many went this way before, and what it is.
pub type Order = Box<dyn FnMut(usize, usize, u64, &[u8]) -> bool>;

/// Changes what a host sends, as a host that does not keep to the protocol would: sender, receiver, datagram.
pub type Forgery = Box<dyn FnMut(usize, usize, &mut Vec<u8>)>;

/// A datagram, or news about one, for a host.
#[derive(Debug)]
pub(crate) enum Delivery {
    Datagram { to: usize, from: usize, data: Vec<u8> },
    TooBig { host: usize, peer: usize, mtu: usize },
}

#[derive(Debug)]
struct Flight {
    from: usize,
    to: usize,
    /// Links passed already.
    hops: usize,
    data: Vec<u8>,
    may_fragment: bool,
    /// News for `from`: what it sent to `to` did not fit.
    too_big: Option<usize>,
}

/// All links and what is on them.
pub(crate) struct Network {
    channels: Vec<Channel>,
    routes: HashMap<(usize, usize), Vec<LinkId>>,
    /// By time and then by order of sending.
    due: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    flights: Slab<Flight>,
    sent: u64,
    spare: Vec<Vec<u8>>,
    counts: HashMap<(usize, usize), u64>,
    /// Answers whether a datagram is to be dropped.
    pub(crate) drop: Option<Order>,
    /// What hosts send instead of what their endpoints do.
    pub(crate) forgery: Option<Forgery>,
    pub(crate) trace: Trace,
    seed: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            channels: Vec::new(),
            routes: HashMap::new(),
            due: BinaryHeap::new(),
            flights: Slab::new(),
            sent: 0,
            spare: Vec::new(),
            counts: HashMap::new(),
            drop: None,
            forgery: None,
            trace: Trace::new(),
            seed,
        }
    }

    pub(crate) fn link(&mut self, link: Link) -> LinkId {
        let id = self.channels.len();
        self.channels.push(Channel::new(link, Random::new(self.seed, LINK_STREAMS + id as u64)));
        LinkId(id)
    }

    pub(crate) fn route(&mut self, from: usize, to: usize, links: Vec<LinkId>) {
        self.routes.insert((from, to), links);
    }

    pub(crate) fn stats(&self, link: LinkId) -> &LinkStats {
        &self.channels[link.0].stats
    }

    pub(crate) fn stats_mut(&mut self, link: LinkId) -> &mut LinkStats {
        &mut self.channels[link.0].stats
    }

    pub(crate) fn link_mut(&mut self, link: LinkId) -> &mut Link {
        &mut self.channels[link.0].link
    }

    pub(crate) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.channels.iter_mut().map(|channel| &mut channel.link)
    }

    /// The first link of a route, for a host that waits for it.
    pub(crate) fn first_hop(&mut self, from: usize, to: usize) -> Option<&mut Channel> {
        let first = *self.routes.get(&(from, to))?.first()?;
        self.channels.get_mut(first.0)
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// A host sends.
    pub(crate) fn send(&mut self, now: Duration, from: usize, to: usize, data: &[u8], may_fragment: bool) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(data);
        if let Some(forgery) = &mut self.forgery {
            forgery(from, to, &mut copy);
        }
        self.hop(now, Flight { from, to, hops: 0, data: copy, may_fragment, too_big: None });
    }

    /// What arrives now; call until `None`.
    pub(crate) fn arrive(&mut self, now: Duration) -> Option<Delivery> {
        loop {
            let Reverse((at, _, slot)) = *self.due.peek()?;
            if at > now {
                return None;
            }
            self.due.pop();
            let flight = self.flights.remove(slot);
            let Flight { from, to, hops, data, too_big, .. } = flight;
            if let Some(mtu) = too_big {
                self.recycle(data);
                return Some(Delivery::TooBig { host: from, peer: to, mtu });
            }
            if hops >= self.routes.get(&(from, to)).map_or(0, Vec::len) {
                return Some(Delivery::Datagram { to, from, data });
            }
            self.hop(at, Flight { from, to, hops, data, too_big, ..flight });
        }
    }

    /// Memory of a datagram that was delivered.
    pub(crate) fn recycle(&mut self, data: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(data);
        }
    }

    fn hop(&mut self, now: Duration, mut flight: Flight) {
        let Flight { from, to, hops, .. } = flight;
        let link = self.routes.get(&(from, to)).and_then(|route| route.get(hops)).copied();
        let Some(LinkId(link)) = link else {
            return self.recycle(flight.data); // no way leads there
        };
        let ordered = hops == 0 && {
            let count = self.counts.entry((from, to)).or_default();
            *count += 1;
            let number = *count - 1;
            self.drop.as_mut().is_some_and(|drop| drop(from, to, number, &flight.data))
        };
        let channel = &mut self.channels[link];
        let fate =
            if ordered { Fate::Lost } else { channel.pass(now, flight.data.len(), flight.may_fragment) };
        self.trace.note(now, (from, to), fate, &flight.data);
        match fate {
            Fate::Passed(at, copy) => {
                let garbage = self.channels[link].garbage(&flight.data);
                self.channels[link].lie(&mut flight.data);
                flight.hops += 1;
                for data in copy.map(|_| flight.data.clone()).into_iter().chain(garbage) {
                    self.launch(copy.unwrap_or(at), Flight { data, ..flight });
                }
                self.launch(at, flight);
            }
            Fate::TooBig(mtu) if channel.link.tells_mtu => {
                let back = now + channel.link.delay;
                self.launch(back, Flight { too_big: Some(mtu), ..flight });
            }
            _ => self.recycle(flight.data),
        }
    }

    fn launch(&mut self, at: Duration, flight: Flight) {
        self.sent += 1;
        let slot = self.flights.insert(flight);
        self.due.push(Reverse((at, self.sent, slot)));
    }
}

/// Streams of random choices that links draw from: this one and those that follow.
const LINK_STREAMS: u64 = 1 << 32;

/// Buffers kept for reuse.
const SPARE: usize = 1 << 12;
