//! The C interface of libutp, made safe: a [`Context`] and the [`Id`]s of its sockets. libutp calls back
//! for whatever it has to say; all of that is queued here and taken by the driver afterwards.
//!
//! Soundness rests on three things: a context never leaves its thread (`Context` is not `Send`), a
//! socket is named to libutp only while libutp has not announced its end (`Shared::live`), and the one
//! function of libutp that works on a global variable, `utp_writev`, is called under a lock.

#![allow(unsafe_code)] // a C library can be called in no other way; each block says why it holds

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::{c_int, c_void};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use libutp_rs2_sys as sys;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use socket2::SockAddr;

/// A socket of libutp. Its address serves as its name; it may be used again after [`Event::Destroyed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(*mut sys::utp_socket);

/// What libutp has to say.
#[derive(Debug)]
pub(super) enum Event {
    /// A SYN arrived and was answered.
    Accepted(Id),
    /// Our SYN was answered.
    Connected(Id),
    /// The next bytes of the stream.
    Data(Id, Vec<u8>),
    /// The other side's FIN, behind all its data.
    End(Id),
    /// The connection failed. It has to be closed.
    Failed(Id, io::ErrorKind),
    /// The socket is gone.
    Destroyed(Id),
}

/// An instance of libutp, with its own clock and randomness.
pub(super) struct Context {
    raw: *mut sys::utp_context,
    shared: Rc<Shared>,
}

struct Shared {
    origin: Instant,
    rng: RefCell<ChaCha8Rng>,
    outgoing: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
    events: RefCell<VecDeque<Event>>,
    /// Sockets that exist, each with the bytes that its application has not read yet.
    live: RefCell<HashMap<Id, usize>>,
    /// Whether incoming connections are taken.
    closing: Cell<bool>,
}

impl Context {
    pub(super) fn new(seed: u64) -> Self {
        let shared = Rc::new(Shared {
            origin: Instant::now(),
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)),
            outgoing: RefCell::default(),
            events: RefCell::default(),
            live: RefCell::default(),
            closing: Cell::new(false),
        });
        // SAFETY: 2 is the version this library has. The result is a new context, used by this thread only.
        let raw = unsafe { sys::utp_init(2) };
        assert!(!raw.is_null(), "utp_init");
        for name in CALLBACKS {
            // SAFETY: the context is valid, and each name is an index into its table of callbacks.
            unsafe { sys::utp_set_callback(raw, name as c_int, Some(callback)) };
        }
        // SAFETY: the context is valid; what it is given here lives as long as `Context` does, behind `Rc`.
        unsafe { sys::utp_context_set_userdata(raw, Rc::as_ptr(&shared).cast_mut().cast::<c_void>()) };
        Self { raw, shared }
    }

    /// Opens a connection: [`Event::Connected`] or [`Event::Failed`] follows.
    pub(super) fn connect(&self, to: SocketAddr) -> Id {
        // SAFETY: the context is valid.
        let id = Id(unsafe { sys::utp_create_socket(self.raw) });
        self.shared.live.borrow_mut().insert(id, 0);
        let to = SockAddr::from(to);
        // SAFETY: the socket is new, and `to` is a socket address of the given length.
        let result = unsafe { sys::utp_connect(id.0, to.as_ptr().cast(), to.len()) };
        assert_eq!(result, 0, "utp_connect");
        id
    }

    /// Hands over a datagram.
    pub(super) fn process(&self, datagram: &[u8], from: SocketAddr) {
        let from = SockAddr::from(from);
        // SAFETY: the context is valid; buffer and address are valid for their lengths during the call.
        unsafe {
            sys::utp_process_udp(
                self.raw,
                datagram.as_ptr(),
                datagram.len(),
                from.as_ptr().cast(),
                from.len(),
            )
        };
    }

    /// To be called when the UDP socket is drained, and after reading.
    pub(super) fn issue_acks(&self) {
        // SAFETY: the context is valid.
        unsafe { sys::utp_issue_deferred_acks(self.raw) };
    }

    /// To be called at least every 500 ms.
    pub(super) fn check_timeouts(&self) {
        // SAFETY: the context is valid.
        unsafe { sys::utp_check_timeouts(self.raw) };
    }

    /// Takes as much of `data` as the window lets go, and says how much that was.
    pub(super) fn write(&self, id: Id, data: &[u8]) -> usize {
        if !self.is_live(id) || data.is_empty() {
            return 0;
        }
        let _global = WRITE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the socket is live, the buffer is valid for its length and only read from, and the lock
        // keeps other contexts from the static vector that `utp_writev` works on.
        let written = unsafe { sys::utp_write(id.0, data.as_ptr().cast_mut().cast::<c_void>(), data.len()) };
        usize::try_from(written).unwrap_or(0)
    }

    /// Sends a FIN; reading goes on.
    pub(super) fn shutdown_write(&self, id: Id) {
        if self.is_live(id) {
            // SAFETY: the socket is live.
            unsafe { sys::utp_shutdown(id.0, sys::SHUT_WR as c_int) };
        }
    }

    /// The application has no more use for the socket: [`Event::Destroyed`] follows when libutp has not
    /// either. To be called once.
    pub(super) fn close(&self, id: Id) {
        if self.is_live(id) {
            // SAFETY: the socket is live, and was not closed before (it would be in a state to be destroyed).
            unsafe { sys::utp_close(id.0) };
        }
    }

    /// The application has read `bytes`.
    pub(super) fn consumed(&self, id: Id, bytes: usize) {
        if let Some(waiting) = self.shared.live.borrow_mut().get_mut(&id) {
            *waiting -= bytes;
        } else {
            return;
        }
        // SAFETY: the socket is live, and no borrow is held while libutp calls back.
        unsafe { sys::utp_read_drained(id.0) };
    }

    pub(super) fn next_event(&self) -> Option<Event> {
        self.shared.events.borrow_mut().pop_front()
    }

    pub(super) fn next_datagram(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.shared.outgoing.borrow_mut().pop_front()
    }

    fn is_live(&self, id: Id) -> bool {
        self.shared.live.borrow().contains_key(&id)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.shared.closing.set(true);
        // SAFETY: the context is valid, and not used after this. It frees its sockets, and announces the end
        // of each to `shared`, which still exists.
        unsafe { sys::utp_destroy(self.raw) };
    }
}

impl Shared {
    fn handle(&self, args: &sys::utp_callback_arguments) -> u64 {
        let id = Id(args.socket);
        match args.callback_type as u32 {
            // Not from 0: libutp subtracts intervals from its clock.
            sys::UTP_GET_MILLISECONDS => return START + self.origin.elapsed().as_millis() as u64,
            sys::UTP_GET_MICROSECONDS => return START * 1_000 + self.origin.elapsed().as_micros() as u64,
            sys::UTP_GET_RANDOM => return u64::from(self.rng.borrow_mut().next_u32()),
            sys::UTP_GET_READ_BUFFER_SIZE => return self.live.borrow().get(&id).map_or(0, |&n| n as u64),
            sys::UTP_SENDTO => {
                // SAFETY: for this callback the address and the buffer are set and valid for their lengths.
                let (to, data) = unsafe {
                    let (address, length) = (args.unnamed_field1.address, args.unnamed_field2.address_len);
                    (socket_addr(address, length), std::slice::from_raw_parts(args.buf, args.len))
                };
                if let (Some(to), false) = (to, self.closing.get()) {
                    self.outgoing.borrow_mut().push_back((to, data.to_vec()));
                }
            }
            sys::UTP_ON_ACCEPT => {
                self.live.borrow_mut().insert(id, 0);
                self.push(Event::Accepted(id));
            }
            sys::UTP_ON_CONNECT => self.push(Event::Connected(id)),
            sys::UTP_ON_READ => {
                // SAFETY: for this callback the buffer is set and valid for its length.
                let data = unsafe { std::slice::from_raw_parts(args.buf, args.len) };
                *self.live.borrow_mut().entry(id).or_default() += data.len();
                self.push(Event::Data(id, data.to_vec()));
            }
            sys::UTP_ON_ERROR => {
                // SAFETY: for this callback the error code is set.
                let kind = match unsafe { args.unnamed_field1.error_code } as u32 {
                    sys::UTP_ECONNREFUSED => io::ErrorKind::ConnectionRefused,
                    sys::UTP_ECONNRESET => io::ErrorKind::ConnectionReset,
                    _ => io::ErrorKind::TimedOut,
                };
                self.push(Event::Failed(id, kind));
            }
            sys::UTP_ON_STATE_CHANGE => {
                // SAFETY: for this callback the state is set.
                match unsafe { args.unnamed_field1.state } as u32 {
                    sys::UTP_STATE_EOF => self.push(Event::End(id)),
                    sys::UTP_STATE_DESTROYING => {
                        self.live.borrow_mut().remove(&id);
                        self.push(Event::Destroyed(id));
                    }
                    _ => {} // writable: the driver tries anyway
                }
            }
            _ => {}
        }
        0
    }

    fn push(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
    }
}

/// The one callback: libutp says in its arguments which it is.
unsafe extern "C" fn callback(args: *mut sys::utp_callback_arguments) -> u64 {
    // SAFETY: libutp passes valid arguments with its context, whose user data is the `Shared` that
    // `Context::new` has set and that outlives the context. No other reference to it is exclusive.
    unsafe {
        let args = &*args;
        let shared = sys::utp_context_get_userdata(args.context).cast::<Shared>();
        (*shared).handle(args)
    }
}

/// # Safety
/// `address` must be valid for `length` bytes.
unsafe fn socket_addr(address: *const sys::sockaddr, length: u32) -> Option<SocketAddr> {
    // SAFETY: the storage takes any socket address, and `length` is at most its size.
    let (_, addr) = unsafe {
        SockAddr::try_init(|storage, size| {
            let length = length.min(*size);
            storage.cast::<u8>().copy_from_nonoverlapping(address.cast::<u8>(), length as usize);
            *size = length;
            Ok(())
        })
    }
    .ok()?;
    addr.as_socket()
}

const CALLBACKS: [u32; 10] = [
    sys::UTP_GET_MILLISECONDS,
    sys::UTP_GET_MICROSECONDS,
    sys::UTP_GET_RANDOM,
    sys::UTP_GET_READ_BUFFER_SIZE,
    sys::UTP_SENDTO,
    sys::UTP_ON_ACCEPT,
    sys::UTP_ON_CONNECT,
    sys::UTP_ON_READ,
    sys::UTP_ON_ERROR,
    sys::UTP_ON_STATE_CHANGE,
];

static WRITE: Mutex<()> = Mutex::new(());

const START: u64 = 3_600_000; // milliseconds
