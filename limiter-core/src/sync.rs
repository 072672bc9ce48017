//! Locks and atomics: `std`'s, or loom's where tests are built with `--cfg limiter_loom`.

#[cfg(not(all(test, limiter_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, atomic};

#[cfg(all(test, limiter_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, RwLock};

/// loom takes `SeqCst` for `AcqRel`, and lets a store come before a swap that did not see it. A variable that is only
/// ever accessed as `SeqCst` always tells its last value; so does one whose every access reads and writes.
#[cfg(all(test, limiter_loom))]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
    use std::ops::Deref;

    macro_rules! last_values {
        ($($atomic:ident of $of:ty: $zero:literal;)*) => { $(
            pub(crate) struct $atomic(loom::sync::atomic::$atomic);

            #[allow(dead_code)]
            impl $atomic {
                pub(crate) fn new(value: $of) -> Self {
                    Self(loom::sync::atomic::$atomic::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $of {
                    if order == Ordering::SeqCst { self.0.fetch_or($zero, order) } else { self.0.load(order) }
                }

                pub(crate) fn store(&self, value: $of, order: Ordering) {
                    if order == Ordering::SeqCst {
                        self.0.swap(value, order);
                    } else {
                        self.0.store(value, order);
                    }
                }
            }

            impl Deref for $atomic {
                type Target = loom::sync::atomic::$atomic;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )* };
    }

    last_values! {
        AtomicBool of bool: false;
        AtomicU64 of u64: 0;
        AtomicUsize of usize: 0;
    }
}
