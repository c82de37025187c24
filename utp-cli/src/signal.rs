//! Ctrl-C and a polite kill.

use std::future::Future;
use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests from outside to stop. While one of these exists, they do not end the process by themselves.
#[derive(Debug)]
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signals: [Signal; 2],
}

impl Interrupt {
    /// # Errors
    /// The system's, and there is hardly any.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            // Not SIGHUP: nohup has the system ignore it, which a handler would undo.
            signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
        })
    }

    /// Resolves at the next request. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }

    /// Does `work` unless a request comes first, which makes it fail.
    ///
    /// # Errors
    /// Those of `work`; "interrupted".
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.wait() => Err(anyhow::anyhow!("interrupted")),
        }
    }
}
