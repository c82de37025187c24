//! What a program still runs for: the application's side of [`References`](crate::references::References).

use std::io;

use super::{Queue, SocketHandle, StreamHandle};
use crate::runtime::AsyncUdpSocket;

impl<S: AsyncUdpSocket> SocketHandle<S> {
    /// Whether [`unreferenced`](Self::unreferenced) waits for the socket to be closed.
    pub fn is_referenced(&self) -> bool {
        self.hub().lock().references.listener()
    }

    /// Says whether it does; true at first. It concerns all clones. Repeating it has no effect.
    pub fn set_referenced(&self, referenced: bool) {
        self.hub().with(|state| state.references.set_listener(referenced));
    }

    /// Resolves when nothing that is left is referenced: the socket accepts no more or is not referenced
    /// itself, no referenced connection is open, and none ended so lately that its peer might have to
    /// ask for its last acknowledgement again. Connections that nobody has accepted do not count; a
    /// stream that was dropped counts until its connection has ended. Cancel-safe.
    ///
    /// # Errors
    /// `NotConnected` if the runtime that drove the socket is gone.
    pub async fn unreferenced(&self) -> io::Result<()> {
        self.hub()
            .wait(Queue::Unreferenced, |state| match state.check_driver() {
                Err(error) => Some(Err(error)),
                Ok(()) => (!state.references.are_left(&state.endpoint, state.now)).then_some(Ok(())),
            })
            .await
    }
}

impl<S: AsyncUdpSocket> StreamHandle<S> {
    /// Whether [`SocketHandle::unreferenced`] waits for this connection; not any more once it has ended.
    pub fn is_referenced(&self) -> bool {
        let mut state = self.hub().lock();
        let handle = state.ports.get_mut(self.key()).handle;
        state.references.connection(handle)
    }

    /// Says whether it does; true at first. Goes on after the stream is dropped. Repeating it has no
    /// effect.
    pub fn set_referenced(&self, referenced: bool) {
        self.hub().with(|state| {
            let port = state.ports.get_mut(self.key());
            if port.ending.is_none() {
                state.references.set_connection(port.handle, referenced);
            }
        });
    }
}
