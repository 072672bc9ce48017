//! Lets a test end a thread's writing after any one of its writes, as a kill would, or hold it there.

#[cfg(not(test))]
#[inline(always)]
pub(super) const fn is_lit() -> bool {
    true
}

#[cfg(test)]
pub(super) use burning::{hold, is_lit, with};

#[cfg(test)]
mod burning {
    use std::{
        cell::{Cell, RefCell},
        panic,
    };

    /// What a burnt fuse unwinds with.
    struct Killed;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static HELD: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    /// Whether a write may happen. The first that may not unwinds; those of the unwinding are without effect.
    pub(in super::super) fn is_lit() -> bool {
        match LEFT.get() {
            None => true,
            Some(0) => {
                if let Some(held) = HELD.take() {
                    LEFT.set(None);
                    held();
                    return true;
                }
                if !std::thread::panicking() {
                    panic::resume_unwind(Box::new(Killed));
                }
                false
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                true
            }
        }
    }

    /// Runs `f` until its first `writes` writes are done; whether it came to its end.
    pub(in super::super) fn with(writes: u64, f: impl FnOnce()) -> bool {
        LEFT.set(Some(writes));
        let result = panic::catch_unwind(panic::AssertUnwindSafe(f));
        LEFT.set(None);
        match result {
            Ok(()) => true,
            Err(cause) if cause.is::<Killed>() => false,
            Err(cause) => panic::resume_unwind(cause),
        }
    }

    /// Runs `f`, and `held` before the write that comes after so many.
    pub(in super::super) fn hold<R>(writes: u64, held: impl FnOnce() + 'static, f: impl FnOnce() -> R) -> R {
        LEFT.set(Some(writes));
        HELD.set(Some(Box::new(held)));
        let result = f();
        LEFT.set(None);
        HELD.set(None);
        result
    }
}
