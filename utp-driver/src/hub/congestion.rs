//! Congestion control of one stream.

use utp_proto::congestion::ControllerFactory;

use super::StreamHandle;
use crate::runtime::AsyncUdpSocket;

impl<S: AsyncUdpSocket> StreamHandle<S> {
    /// Congestion control of what is sent from now on, instead of that of the configuration. Nothing happens
    /// if the connection is over.
    pub fn set_congestion(&self, controller: &dyn ControllerFactory) {
        self.hub().with(|state| {
            if let (_, Some(mut connection)) = state.stream(self.key()) {
                connection.set_congestion(controller);
            }
        });
    }

    /// Congestion control of what the peer sends from now on, or none. Nothing happens if the connection is
    /// over.
    pub fn set_receive_congestion(&self, controller: Option<&dyn ControllerFactory>) {
        self.hub().with(|state| {
            if let (_, Some(mut connection)) = state.stream(self.key()) {
                connection.set_receive_congestion(controller);
            }
        });
    }
}
