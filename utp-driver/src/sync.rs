//! The locks of the hub: those of `std`, or, in a build with `--cfg shuttle`, those of a model checker, which then
//! chooses who comes next at each of them (`tests/models`).

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
