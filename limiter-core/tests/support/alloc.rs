//! An allocator that counts, each thread for itself: what it asks for while it is watched, and what it holds.

#![allow(unsafe_code, dead_code, unreachable_pub)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static WATCHED: Cell<Option<Allocations>> = const { Cell::new(None) };
}

/// How often memory was asked for, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Allocations {
    pub count: usize,
    pub bytes: usize,
}

/// Runs `work` and counts what this thread allocates in it.
pub fn watch<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    WATCHED.set(Some(Allocations::default()));
    let result = work();
    (result, WATCHED.take().unwrap_or_default())
}

/// Bytes that this thread has allocated and not freed; below 0 where it frees what others have allocated.
pub fn held() -> isize {
    HELD.get()
}

fn hold(bytes: usize, is_freed: bool) {
    let bytes = bytes.cast_signed();
    HELD.set(HELD.get().wrapping_add(if is_freed { -bytes } else { bytes }));
}

fn count(bytes: usize) {
    hold(bytes, false);
    if let Some(Allocations { count, bytes: sum }) = WATCHED.get() {
        WATCHED.set(Some(Allocations { count: count + 1, bytes: sum + bytes }));
    }
}

/// The system's allocator.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        hold(layout.size(), true);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        hold(layout.size(), true);
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}
