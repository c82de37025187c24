//! What every adapter does with its endpoint besides I/O.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use utp_proto::Endpoint;

use crate::SocketConfig;

/// An endpoint with a seed from the operating system. `now` is the origin of its time.
///
/// # Errors
/// The system has no randomness to give.
pub fn new(config: &SocketConfig, now: Instant) -> io::Result<Endpoint> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(Endpoint::new(Arc::clone(&config.protocol), seed, now))
}

/// Accepts no connection from now on: those that nobody has accepted are reset.
pub fn stop_listening(endpoint: &mut Endpoint) {
    endpoint.stop_listening();
    while let Some(handle) = endpoint.accept() {
        if let Some(mut connection) = endpoint.connection(handle) {
            connection.abort();
        }
    }
}
