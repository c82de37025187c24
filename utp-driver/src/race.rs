//! Connecting to a name with several addresses: Happy Eyeballs (RFC 8305).
//!
//! Over UDP an address where nobody listens is as silent as one that is far away, and a name may well have
//! two addresses and a listener at one of them only. So the next address is tried as soon as an attempt has
//! failed, or [has kept us waiting](ATTEMPT_DELAY), while the attempts before it go on; the first connection
//! that opens is taken, and the others are given up.
//!
//! [`Race`] decides that, without a clock and a socket, for event loops; [`race`] carries it out for the
//! asynchronous adapters. Names are resolved by others, to all addresses at once: the part of the RFC about
//! answers that come one after another (its section 3) has no place here, and the order in which
//! `getaddrinfo` gives them (RFC 6724) is kept within each family.

use std::collections::{HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::addr::canonical;
use crate::runtime::{Runtime, Timer};
use crate::{SocketConfig, SocketHandle, StreamHandle, bind};

/// The order and the times of attempts to connect to one peer that has several addresses.
///
/// 1. Ask [`poll_attempt`](Self::poll_attempt) for the address to try now;
/// 2. tell [`handle_failure`](Self::handle_failure) of each attempt that fails, and ask again;
/// 3. ask again at [`deadline`](Self::deadline) as well;
/// 4. stop when an attempt succeeds, and give up the others; or when [`poll_error`](Self::poll_error) says
///    that all have failed.
///
/// So many attempts are under way at most as there are different addresses, and as fit into the time-out of
/// an attempt at one in 250 ms.
///
/// ```
/// use std::io;
/// use std::time::{Duration, Instant};
/// use utp_driver::race::Race;
///
/// let addrs = ["[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80"];
/// let mut race = Race::new(addrs.map(|addr| addr.parse().unwrap()));
/// let mut now = Instant::now();
/// assert_eq!(race.poll_attempt(now), Some("[2001:db8::1]:80".parse().unwrap()));
/// assert_eq!(race.poll_attempt(now), None); // the first one has a head start
/// now += Duration::from_millis(250);
/// assert_eq!(race.deadline(), Some(now));
/// assert_eq!(race.poll_attempt(now), Some("192.0.2.1:80".parse().unwrap())); // the other family
/// race.handle_failure(io::ErrorKind::ConnectionRefused.into());
/// assert_eq!(race.poll_attempt(now), Some("[2001:db8::2]:80".parse().unwrap())); // at once
/// ```
#[derive(Debug)]
pub struct Race {
    /// Not tried yet, in the order of trying.
    waiting: VecDeque<SocketAddr>,
    /// Attempts that have neither failed nor been told of.
    running: usize,
    /// When the attempt that was begun last has had its head start; `None` if there is nothing to wait for.
    head_start: Option<Instant>,
    /// The most telling failure.
    failure: Option<io::Error>,
}

impl Race {
    /// A race to `addrs`, best first, as a resolver gives them. It begins with the first, and the families
    /// take turns (RFC 8305, 4). An address that occurs twice is tried once.
    pub fn new(addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { waiting: interleaved(addrs), running: 0, head_start: None, failure: None }
    }

    /// The address to try now, if there is one. The caller begins an attempt, which counts as under way
    /// until [`handle_failure`](Self::handle_failure).
    #[must_use]
    pub fn poll_attempt(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.head_start.is_some_and(|until| now < until) {
            return None;
        }
        let addr = self.waiting.pop_front()?;
        self.running += 1;
        self.head_start = Some(now + ATTEMPT_DELAY);
        Some(addr)
    }

    /// When to ask for the next address, unless an attempt fails before. `None`: there is no other address,
    /// or it may be asked for at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.head_start.filter(|_| !self.waiting.is_empty())
    }

    /// One of the attempts under way has failed; the next may begin at once.
    pub fn handle_failure(&mut self, error: io::Error) {
        self.running = self.running.saturating_sub(1);
        self.head_start = None;
        if self.failure.as_ref().is_none_or(|known| weight(known) <= weight(&error)) {
            self.failure = Some(error);
        }
    }

    /// Why the race is lost, if it is: no attempt is under way, and no address is left.
    ///
    /// It is the last failure among the most telling ones: what a peer or this system said comes before
    /// `TimedOut`, which says that an attempt was made, that before an address to which there is no way
    /// (`HostUnreachable` and the like), and that before one that could not be tried at all (`InvalidInput`).
    /// `InvalidInput`, too, if there was no address.
    #[must_use]
    pub fn poll_error(&mut self) -> Option<io::Error> {
        if self.running > 0 || !self.waiting.is_empty() {
            return None;
        }
        let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address");
        Some(self.failure.take().unwrap_or_else(nothing))
    }
}

/// How much an error says about why there is no connection.
fn weight(error: &io::Error) -> u8 {
    use io::ErrorKind::{
        AddrNotAvailable, HostUnreachable, InvalidInput, NetworkDown, NetworkUnreachable, TimedOut,
        Unsupported,
    };
    match error.kind() {
        InvalidInput => 0,
        HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable | Unsupported => 1,
        _ if error.raw_os_error() == Some(NO_SUCH_FAMILY) => 1,
        TimedOut => 2,
        _ => 3,
    }
}

/// First the family of the first address, then the families by turns until one is used up. Without those
/// that occur twice.
fn interleaved(addrs: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut seen = HashSet::new();
    let mut different = addrs.into_iter().map(canonical).filter(|addr| seen.insert(*addr)).peekable();
    let first_is_v4 = different.peek().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) = different.partition(|addr| addr.is_ipv4() == first_is_v4);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = VecDeque::with_capacity(preferred.len() + other.len());
    while preferred.len() + other.len() > 0 {
        order.extend(preferred.next());
        order.extend(other.next());
    }
    order
}

/// Races `attempt` for each of `addrs`, and gives the first success. The futures of the other attempts are
/// dropped then, and so are all of them if the future of the race is: it is as cancel-safe as they are.
///
/// # Errors
/// As [`Race::poll_error`].
pub async fn race<R, T, F>(
    addrs: impl IntoIterator<Item = SocketAddr>,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    R: Runtime,
    F: Future<Output = io::Result<T>>,
{
    let mut race = Race::new(addrs);
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut alarm = Alarm { timer: R::timer(), set: None };
    let mut now = R::now();
    poll_fn(|cx| {
        loop {
            now = now.max(R::now());
            running.extend(race.poll_attempt(now).map(|addr| Box::pin(attempt(addr))));
            let mut failed = false;
            let mut next = 0;
            while let Some(attempt) = running.get_mut(next) {
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => next += 1,
                    Poll::Ready(Ok(success)) => return Poll::Ready(Ok(success)),
                    Poll::Ready(Err(error)) => {
                        drop(running.remove(next));
                        race.handle_failure(error);
                        failed = true;
                    }
                }
            }
            if let Some(error) = race.poll_error() {
                return Poll::Ready(Err(error));
            }
            match race.deadline() {
                _ if failed => {}
                // A timer that is early by a grain of its clock is as good as on time.
                Some(deadline) if alarm.rings(deadline, cx) => now = now.max(deadline),
                _ => return Poll::Pending,
            }
        }
    })
    .await
}

/// A timer that is moved only if it has to be.
struct Alarm<T> {
    timer: T,
    set: Option<Instant>,
}

impl<T: Timer> Alarm<T> {
    /// Whether `deadline` has come. Registers the task if not.
    fn rings(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if self.set != Some(deadline) {
            self.timer.reset(deadline);
            self.set = Some(deadline);
        }
        let rings = self.timer.poll(cx).is_ready();
        if rings {
            self.set = None;
        }
        rings
    }
}

/// Connects to the one of `peers` that answers first, from a socket per address family that nobody can
/// connect to. Cancel-safe: dropping the future aborts all attempts.
///
/// # Errors
/// Those of [`bind`] and [`SocketHandle::connect`], chosen as in [`Race::poll_error`].
pub async fn connect_any<R: Runtime>(
    peers: impl IntoIterator<Item = SocketAddr>,
    config: &SocketConfig,
) -> io::Result<StreamHandle<R::Socket>> {
    let (mut v4, mut v6) = (None, None);
    race::<R, _, _>(peers, |peer| {
        let socket = match peer {
            SocketAddr::V4(_) => shared::<R>(&mut v4, (Ipv4Addr::UNSPECIFIED, 0).into(), config),
            SocketAddr::V6(_) => shared::<R>(&mut v6, (Ipv6Addr::UNSPECIFIED, 0).into(), config),
        };
        async move { socket?.connect(peer).await }
    })
    .await
}

/// The socket that attempts share, made for the first of them.
fn shared<R: Runtime>(
    slot: &mut Option<SocketHandle<R::Socket>>,
    any: SocketAddr,
    config: &SocketConfig,
) -> io::Result<SocketHandle<R::Socket>> {
    if let Some(socket) = slot {
        return Ok(socket.clone());
    }
    let socket = bind::<R>(any, config)?;
    socket.stop_listening();
    Ok(slot.insert(socket).clone())
}

/// The head start of an attempt before the next one: what RFC 8305, 5 recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What `socket(2)` says where IPv6 is switched off; it has no [`io::ErrorKind`] of its own.
#[cfg(unix)]
const NO_SUCH_FAMILY: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
/// WSAEAFNOSUPPORT.
#[cfg(windows)]
const NO_SUCH_FAMILY: i32 = 10047;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Ports of 127.0.0.1.
    fn ports(ports: std::ops::Range<u16>) -> impl Iterator<Item = SocketAddr> {
        ports.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    fn order(addrs: &[&str]) -> Vec<String> {
        interleaved(addrs.iter().map(|text| addr(text))).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns_from_the_first_one_on() {
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]),
            ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]
        );
        assert_eq!(
            order(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1"]),
            ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "10.0.0.3:1"]
        );
        assert_eq!(order(&["[::1]:1"]), ["[::1]:1"]);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn one_peer_is_tried_once_whatever_form_its_address_has() {
        assert_eq!(
            order(&["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "10.0.0.1:2", "10.0.0.1:1"]),
            ["10.0.0.1:1", "10.0.0.1:2"]
        );
    }

    #[test]
    fn silence_delays_the_next_attempt() {
        let mut race = Race::new(ports(1..4));
        let begin = Instant::now();
        assert_eq!(race.deadline(), None);
        for number in 0..3 {
            let now = begin + ATTEMPT_DELAY * number;
            assert!(race.poll_attempt(now).is_some());
            assert_eq!(race.poll_attempt(now + ATTEMPT_DELAY - Duration::from_nanos(1)), None);
            assert_eq!(race.deadline(), (number < 2).then_some(now + ATTEMPT_DELAY));
            assert!(race.poll_error().is_none());
        }
        assert_eq!(race.poll_attempt(begin + ATTEMPT_DELAY * 9), None, "there is nobody else to try");
    }

    #[test]
    fn the_failure_of_any_attempt_begins_the_next_at_once() {
        let mut race = Race::new(ports(1..5));
        let begin = Instant::now();
        assert!(race.poll_attempt(begin).is_some());
        race.handle_failure(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(race.deadline(), None);
        assert!(race.poll_attempt(begin).is_some());
        // From then on this one has its head start, and so has the one after it.
        assert_eq!(race.deadline(), Some(begin + ATTEMPT_DELAY));
        assert!(race.poll_attempt(begin + ATTEMPT_DELAY).is_some());
        race.handle_failure(io::ErrorKind::TimedOut.into());
        assert!(race.poll_attempt(begin + ATTEMPT_DELAY).is_some());
        assert!(race.poll_error().is_none());
    }

    /// What is said after failures in this order.
    fn verdict(failures: Vec<io::Error>) -> io::Error {
        let mut race = Race::new(ports(0..failures.len() as u16));
        let now = Instant::now();
        for failure in failures {
            assert!(race.poll_error().is_none());
            assert!(race.poll_attempt(now).is_some());
            race.handle_failure(failure);
        }
        race.poll_error().unwrap()
    }

    #[test]
    fn the_most_telling_failure_is_given_and_the_last_among_equals() {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, InvalidInput, TimedOut};

        for (failures, expected) in [
            (&[TimedOut, ConnectionRefused][..], ConnectionRefused),
            (&[ConnectionRefused, TimedOut], ConnectionRefused),
            (&[HostUnreachable, TimedOut], TimedOut),
            (&[TimedOut, HostUnreachable], TimedOut),
            (&[HostUnreachable, InvalidInput], HostUnreachable),
            (&[ConnectionRefused, ConnectionReset, TimedOut], ConnectionReset),
            (&[InvalidInput], InvalidInput),
            (&[], InvalidInput),
        ] {
            let errors = failures.iter().map(|kind| (*kind).into()).collect();
            assert_eq!(verdict(errors).kind(), expected, "{failures:?}");
        }
        let no_family = io::Error::from_raw_os_error(NO_SUCH_FAMILY);
        assert_eq!(verdict(vec![TimedOut.into(), no_family]).kind(), TimedOut);
    }
}
