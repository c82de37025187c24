//! An echo server and its client in one event loop: two sockets, many connections, one thread.
//!
//! ```text
//! cargo run --release -p utp-mio --example echo
//! ```
//!
//! Both sides obey back-pressure: nothing is read that cannot be written, and what does not fit waits
//! for the event that says so.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use utp_mio::{CloseReason, Connection, ConnectionEvent, ConnectionHandle, Ending, Event, Turn, UtpSocket};

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut server = UtpSocket::bind(([127, 0, 0, 1], 0).into())?;
    let mut client = UtpSocket::bind(([127, 0, 0, 1], 0).into())?;
    poll.registry().register(&mut server, SERVER, Interest::READABLE)?;
    poll.registry().register(&mut client, CLIENT, Interest::READABLE)?;

    let started = Instant::now();
    let mut transfers = HashMap::new();
    for number in 0..CONNECTIONS {
        let handle = client.connect(Instant::now(), server.local_addr())?;
        transfers.insert(handle, Transfer::new(number));
    }
    let mut events = Events::with_capacity(64);
    let mut echoed = 0;
    let mut server_closed = false;
    while !(transfers.is_empty() && server_closed) {
        assert!(started.elapsed() < LIMIT, "{} transfers are not done after {LIMIT:?}", transfers.len());

        // A turn of each, and what came of it...
        let mut turn = server.turn(Instant::now())?;
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connection(handle, event) => echoed += serve(&mut server, handle, event),
                Event::Closed => server_closed = true,
                _ => {}
            }
        }
        if client.turn(Instant::now())? == Turn::More {
            turn = Turn::More;
        }
        while let Some(event) = client.poll_event() {
            if let Event::Connection(handle, event) = event {
                go_on(&mut client, handle, event, &mut transfers);
            }
        }
        if transfers.is_empty() {
            server.close(); // `Event::Closed` follows; to call it again does no harm
        }

        // ...until both have nothing more to do at once.
        if turn == Turn::Wait {
            let deadline = [server.deadline(), client.deadline()].into_iter().flatten().min();
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            // In a program with other sources, their events would be looked at here; the sockets just take
            // their next turn.
            match poll.poll(&mut events, timeout.or(Some(LIMIT))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
    assert_eq!(echoed, (CONNECTIONS * LENGTH) as u64);
    let seconds = started.elapsed().as_secs_f64();
    println!("{CONNECTIONS} connections, {LENGTH} bytes each, there and back in {seconds:.3} s");
    Ok(())
}

/// The server: sends back what comes until the peer finishes, then finishes too. It needs no state of its
/// own. Gives the bytes that a connection has echoed when it ends.
fn serve(socket: &mut UtpSocket, handle: ConnectionHandle, event: ConnectionEvent) -> u64 {
    let Some(mut connection) = socket.connection(handle) else { return 0 };
    match event {
        ConnectionEvent::Incoming => while socket.accept().is_some() {},
        ConnectionEvent::Readable | ConnectionEvent::Writable => echo(&mut connection),
        ConnectionEvent::Closed { reason } => {
            assert_eq!(reason, CloseReason::Finished);
            return connection.bytes_written();
        }
        _ => {}
    }
    0
}

fn echo(connection: &mut Connection<'_>) {
    let mut buf = [0; 16 << 10];
    while connection.read_state() == Ok(true) {
        let chunk = connection.chunk();
        let len = chunk.len().min(buf.len());
        buf[..len].copy_from_slice(&chunk[..len]);
        match connection.write(&buf[..len]) {
            Ok(written) => connection.consume(written),
            // Full. The rest stays where it is, so that a peer that does not read its echo is not read
            // either; `Writable` comes when there is room again.
            Err(_) => return,
        }
    }
    if connection.read_state() == Ok(false) {
        connection.finish();
    }
}

/// One of the client's connections.
struct Transfer {
    data: Vec<u8>,
    written: usize,
    checked: usize,
}

impl Transfer {
    fn new(number: usize) -> Self {
        let data = (0..LENGTH).map(|i| ((i * (2 * number + 1)) >> 7) as u8).collect();
        Self { data, written: 0, checked: 0 }
    }
}

/// The client: writes what there is room for, checks what comes back.
fn go_on(
    socket: &mut UtpSocket,
    handle: ConnectionHandle,
    event: ConnectionEvent,
    transfers: &mut HashMap<ConnectionHandle, Transfer>,
) {
    let Some(mut connection) = socket.connection(handle) else { return };
    let Some(transfer) = transfers.get_mut(&handle) else { return };
    match event {
        ConnectionEvent::Connected | ConnectionEvent::Writable => {
            while transfer.written < LENGTH {
                match connection.write(&transfer.data[transfer.written..]) {
                    Ok(written) => transfer.written += written,
                    Err(_) => return, // full: `Writable` follows
                }
            }
            connection.finish();
        }
        ConnectionEvent::Readable => {
            let mut buf = [0; 16 << 10];
            while let Ok(read @ 1..) = connection.read(&mut buf) {
                assert_eq!(buf[..read], transfer.data[transfer.checked..][..read], "not what was sent");
                transfer.checked += read;
            }
        }
        ConnectionEvent::Closed { reason } => {
            assert_eq!((reason, transfer.checked), (CloseReason::Finished, LENGTH));
            assert!(Ending::of(&connection).is_some_and(|ending| ending.is_delivered()));
            transfers.remove(&handle);
        }
        _ => {}
    }
}

const SERVER: Token = Token(0);
const CLIENT: Token = Token(1);

const CONNECTIONS: usize = 16;

/// Bytes that each connection sends and gets back.
const LENGTH: usize = 1 << 20;

/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);
