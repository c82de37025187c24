//! An allocator that counts, for tests of how much memory something may take, and of what gives back all that it took.
//!
//! ```
//! use utp_tests::counting::{self, Counting};
//!
//! #[global_allocator]
//! static COUNTING: Counting = Counting;
//!
//! let before = counting::held();
//! let (block, most) = counting::most(|| {
//!     drop(vec![0u8; 5000]);
//!     vec![0u8; 1000]
//! });
//! assert_eq!((counting::held() - before, most), (1000, 5000));
//! # drop(block);
//! ```

#![allow(unsafe_code)] // a global allocator is unsafe by nature

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, counted by the sizes asked for. A block that grows is a second one beside the first until that
/// has been copied.
#[derive(Debug)]
pub struct Counting;

/// What a thread did.
struct Counters {
    bytes: Cell<isize>,
    most: Cell<isize>,
    calls: Cell<u64>,
}

thread_local! {
    static HERE: Counters =
        const { Counters { bytes: Cell::new(0), most: Cell::new(0), calls: Cell::new(0) } };
}

static ALIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on to the system's allocator as it came; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        let _ = HERE.try_with(|here| {
            let bytes = here.bytes.get() + layout.size() as isize;
            here.bytes.set(bytes);
            here.most.set(here.most.get().max(bytes));
            here.calls.set(here.calls.get() + 1);
        });
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        let _ = HERE.try_with(|here| here.bytes.set(here.bytes.get() - layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Bytes that this thread holds: allocated by it less freed by it.
#[must_use]
pub fn held() -> isize {
    HERE.with(|here| here.bytes.get())
}

/// Does something, and tells how many bytes more than before this thread held meanwhile at most.
pub fn most<R>(f: impl FnOnce() -> R) -> (R, isize) {
    let before = held();
    HERE.with(|here| here.most.set(before));
    let result = f();
    (result, HERE.with(|here| here.most.get()) - before)
}

/// How often this thread has asked for memory.
#[must_use]
pub fn calls() -> u64 {
    HERE.with(|here| here.calls.get())
}

/// Allocations of all threads that were not freed.
#[must_use]
pub fn alive() -> i64 {
    ALIVE.load(Ordering::Relaxed)
}
