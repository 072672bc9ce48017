//! Counts the bytes that are allocated, while asked to.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicIsize, Ordering},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);

/// Runs `make` and tells by how many bytes the heap grew: what was asked for, without the allocator's own overhead.
pub fn growth<T>(make: impl FnOnce() -> T) -> (T, f64) {
    BYTES.store(0, Ordering::SeqCst);
    IS_ON.store(true, Ordering::SeqCst);
    let made = make();
    IS_ON.store(false, Ordering::SeqCst);
    (made, BYTES.load(Ordering::SeqCst) as f64)
}

/// The system's allocator; counting costs one load while it is off.
struct Counting;

fn count(bytes: isize) {
    if IS_ON.load(Ordering::Relaxed) {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
