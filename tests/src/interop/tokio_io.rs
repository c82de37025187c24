//! Halves for the implementations whose streams speak tokio's `AsyncRead` and `AsyncWrite`, and a
//! runtime of its own for each peer, so that a peer can be killed with all its tasks.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::{Builder, Runtime};

use super::peer::{Boxed, Source};

/// A peer's runtime. Dropping it ends all its tasks without waiting for them.
#[derive(Debug)]
pub(super) struct PeerRuntime(Option<Runtime>);

impl PeerRuntime {
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `future` among the peer's tasks: what it spawns dies with the peer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let Some(runtime) = &self.0 else { return Err(io::ErrorKind::ConnectionAborted.into()) };
        runtime.spawn(future).await.map_err(io::Error::other)?
    }

    /// Ends all its tasks and waits until they are gone, with the sockets they own.
    pub(super) fn stop(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(STOP);
        }
    }

    /// For constructors that want to be inside the runtime.
    pub(super) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

impl Drop for PeerRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The reading half of such a stream.
pub(super) struct Reader<R>(pub(super) R);

impl<R: AsyncRead + Unpin + Send> Source for Reader<R> {
    fn read<'a>(&'a mut self, to: &'a mut Vec<u8>) -> Boxed<'a, io::Result<usize>> {
        Box::pin(async move {
            let start = to.len();
            to.resize(start + CHUNK, 0);
            let result = self.0.read(&mut to[start..]).await;
            to.truncate(start + result.as_ref().map_or(0, |&n| n));
            result
        })
    }
}

const STOP: Duration = Duration::from_secs(5); // none of the tasks blocks: it takes milliseconds

const CHUNK: usize = 256 << 10; // a read takes whatever is there, at most the order of a receive buffer
