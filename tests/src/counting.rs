//! An allocator that counts what each thread holds, for tests of how much memory something may take.
//!
//! ```
//! use utp_tests::counting::{self, Counting};
//!
//! #[global_allocator]
//! static COUNTING: Counting = Counting;
//!
//! let before = counting::held();
//! let block = vec![0u8; 1000];
//! assert_eq!(counting::held() - before, 1000);
//! # drop(block);
//! ```

#![allow(unsafe_code)] // a global allocator is unsafe by nature

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted by the sizes asked for.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Bytes that this thread holds: allocated by it less freed by it.
#[must_use]
pub fn held() -> isize {
    BYTES.with(Cell::get)
}
