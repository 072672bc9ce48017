//! Locks and atomics: `std`'s, or loom's where tests are built with `--cfg limiter_loom`.

#[cfg_attr(all(test, limiter_loom), allow(dead_code))]
mod short_lock;

#[cfg(not(all(test, limiter_loom)))]
pub(crate) use short_lock::{ShortGuard, ShortLock};
#[cfg(not(all(test, limiter_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, atomic};

#[cfg(all(test, limiter_loom))]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{Mutex, MutexGuard, RwLock},
};

/// `std`'s, with the accesses that loom's has.
#[cfg(not(all(test, limiter_loom)))]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(test, limiter_loom)))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get())
    }

    #[inline]
    fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// Lets another thread go on, for the `nth` time in a row: longer and longer.
#[cfg(not(all(test, limiter_loom)))]
fn pause(nth: u32) {
    use std::{hint, thread, time::Duration};
    match nth {
        0..=6 => (0..1 << nth).for_each(|_| hint::spin_loop()),
        7..=22 => thread::yield_now(),
        _ => thread::sleep(Duration::from_micros(50)),
    }
}

/// loom cannot follow many who spin: its own lock stands for ours, which has a model of its own.
#[cfg(all(test, limiter_loom))]
pub(crate) struct ShortLock<T>(Mutex<T>);

#[cfg(all(test, limiter_loom))]
pub(crate) type ShortGuard<'a, T> = MutexGuard<'a, T>;

#[cfg(all(test, limiter_loom))]
impl<T> ShortLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> ShortGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(all(test, limiter_loom))]
fn pause(_nth: u32) {
    loom::thread::yield_now();
}

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
