//! Bytes on their way: what the application wrote and the peer has not acknowledged, and what the
//! peer sent and the application has not read. Memory is taken when data comes and given back when
//! it went, through a bounded pool of recycled blocks.

mod pool;
mod receive;
mod send;
mod store;

pub(crate) use pool::Pools;
pub(crate) use receive::{Arrival, ReceiveBuffer};
pub(crate) use send::SendBuffer;
