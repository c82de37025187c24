//! What tokio supplies to the driver.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;
use utp_driver::runtime::{Runtime, Timer};

pub(crate) use crate::watched::Socket;

/// The tokio runtime that the calling thread is in.
pub(crate) struct Tokio;

impl Runtime for Tokio {
    type Socket = Socket;
    type Timer = Alarm;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn register(socket: std::net::UdpSocket) -> io::Result<Socket> {
        Socket::new(socket)
    }

    fn timer() -> Alarm {
        Alarm(None)
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(driver);
    }
}

/// A timer of tokio's, made when it is first set.
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Timer for Alarm {
    fn reset(&mut self, deadline: Instant) {
        let deadline = deadline.into();
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
