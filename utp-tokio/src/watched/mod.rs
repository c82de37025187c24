//! A UDP socket that tokio watches.

#[cfg(not(unix))]
mod both_ways;
#[cfg(unix)]
mod read_only;

#[cfg(not(unix))]
pub(crate) use both_ways::Socket;
#[cfg(unix)]
pub(crate) use read_only::Socket;
