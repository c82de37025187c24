//! Whether every public future is among the operations.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::{ALONE, Operation, on_async_std, on_tokio, sources};

/// A new future has to be added to the list, and one that is gone taken off it.
#[test]
fn every_public_future_is_in_the_list() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    fn listed<N>(operations: &[(&'static str, Operation<N>)]) -> BTreeSet<String> {
        let names = operations.iter().flat_map(|(name, _)| name.split('+'));
        names.map(|name| name.split(" (").next().unwrap().to_owned()).collect()
    }
    let [on_tokio, on_async_std] = [listed(on_tokio::operations()), listed(on_async_std::operations())];
    assert_eq!(sources::futures("utp-tokio"), on_tokio);
    assert_eq!(sources::futures("utp-async-std"), on_async_std);
    let reached = REACHED_THROUGH.iter().map(|(future, _)| (*future).to_owned()).collect();
    assert_eq!(sources::futures("utp-driver"), reached);
    for (future, through) in REACHED_THROUGH {
        assert!(on_async_std.contains(*through), "{future}: there is no {through}");
    }
    for without in ["utp-proto", "utp-mio"] {
        assert_eq!(sources::futures(without), BTreeSet::new());
    }
}

/// The driver's futures, and one of an adapter's that is nothing but that: whoever drops this at an await point drops
/// that there.
const REACHED_THROUGH: &[(&str, &str)] = &[
    ("Incoming::next", "Incoming::next"),
    ("SocketHandle::accept", "UtpSocket::accept"),
    ("SocketHandle::connect", "UtpSocket::connect"),
    ("SocketHandle::idle", "UtpSocket::idle"),
    ("SocketHandle::next_event", "UtpSocket::next_event"),
    ("SocketHandle::recv_from", "UtpSocket::recv_from"),
    ("SocketHandle::send_to", "UtpSocket::send_to"),
    ("SocketHandle::unreferenced", "UtpSocket::unreferenced"),
    ("SocketHandle::unused", "UtpSocket::close"),
    ("StreamHandle::acked", "UtpStream::acked"),
    ("StreamHandle::closed", "UtpStream::closed"),
    ("StreamHandle::event", "UtpStream::next_event"),
    ("StreamHandle::flush", "UtpStream::flush"),
    ("StreamHandle::next_event", "UtpStream::next_event"),
    ("StreamHandle::read", "UtpStream::read"),
    ("StreamHandle::read_vectored", "UtpStream::read_vectored"),
    ("StreamHandle::write", "UtpStream::write"),
    ("StreamHandle::write_all_bytes", "UtpStream::write_bytes"),
    ("StreamHandle::write_bytes", "UtpStream::write_bytes"),
    ("StreamHandle::write_text", "UtpStream::write_text"),
    ("StreamHandle::write_vectored", "UtpStream::write_vectored"),
    ("connect", "UtpStream::connect_with"),
    ("connect_any", "UtpStream::connect_any"),
    ("race", "race"),
    ("try_each", "UtpSocket::connect"),
];
