//! UDP sockets with buffers large enough that nothing but the relay loses datagrams.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Opens a non-blocking socket on `addr`; port 0 lets the system choose.
///
/// # Errors
/// Those of the system. That the buffers could not be made as large as asked for is none.
pub(super) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    // The system caps them silently (Linux) or refuses (elsewhere); a default one works too, more slowly.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket.into())
}

const BUFFER: usize = 8 << 20; // a window of 1 MiB takes about 2 MiB of kernel memory, per direction
