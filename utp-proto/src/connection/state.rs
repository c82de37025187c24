//! The state of a connection and every transition of it.
//!
//! ```text
//!  connect            SYN-ACK
//! ---------> SynSent ---------> Connected -----> Closed(reason)
//!              |                    ^               ^
//!              |     confirmation   |               |
//!  SYN --------|---> SynReceived ---+               |
//!  (speak_first only)    |                          |
//!              +---------+--------------------------+
//! ```
//!
//! Half-open incoming connections are no connections yet: the endpoint keeps them (`endpoint/table.rs`)
//! and makes a connection in `Connected` when the peer has proven that it saw the SYN-ACK.
//!
//! The directions end one by one: ours through [`Sending`], the peer's by its FIN, which the receive
//! buffer knows. The connection is finished when both have.

use crate::CloseReason;
use crate::wire::SeqNr;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Our SYN is out.
    SynSent,
    /// We answered a SYN and may send, but the peer has not proven its address.
    SynReceived,
    /// Established; either direction may be finished already.
    Connected,
    /// Over.
    Closed(CloseReason),
}

/// Our direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The application may write.
    Open,
    /// It has finished; the FIN follows the data.
    Finishing,
    /// The FIN is out, under this number.
    FinSent(SeqNr),
    /// The FIN was acknowledged, and all data with it.
    FinAcked,
}

/// Phase and sending direction, changed by the methods below and nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    phase: Phase,
    sending: Sending,
    established: bool,
}

impl State {
    /// A connection that we open.
    pub(crate) fn syn_sent() -> Self {
        Self { phase: Phase::SynSent, sending: Sending::Open, established: false }
    }

    /// An incoming connection, before or after its confirmation.
    pub(crate) fn accepted(confirmed: bool) -> Self {
        let phase = if confirmed { Phase::Connected } else { Phase::SynReceived };
        Self { phase, sending: Sending::Open, established: confirmed }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn sending(&self) -> Sending {
        self.sending
    }

    /// Whether the handshake was ever completed.
    pub(crate) fn was_established(&self) -> bool {
        self.established
    }

    /// How it ended, if it has.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    /// The handshake is complete.
    pub(crate) fn establish(&mut self) {
        debug_assert!(matches!(self.phase, Phase::SynSent | Phase::SynReceived));
        self.phase = Phase::Connected;
        self.established = true;
    }

    /// The application has written everything.
    pub(crate) fn finish(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Finishing;
        }
    }

    /// The FIN went out for the first time.
    pub(crate) fn fin_sent(&mut self, seq: SeqNr) {
        debug_assert_eq!(self.sending, Sending::Finishing);
        self.sending = Sending::FinSent(seq);
    }

    /// The FIN was acknowledged.
    pub(crate) fn fin_acked(&mut self) {
        self.sending = Sending::FinAcked;
    }

    /// It is over. The first reason counts.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            log!(debug, ?reason, from = ?self.phase, "closed");
            self.phase = Phase::Closed(reason);
        }
    }
}
