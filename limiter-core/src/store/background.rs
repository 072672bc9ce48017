//! One thread of this process that does the stores' work with servers.
//!
//! Connections live there, whatever runtime the callers have, or none; they outlive a caller's runtime. A call handed
//! over runs to its end there, also when nobody waits for it any more: a dropped future leaves no connection half-used
//! and no transaction open.

use crate::{StoreError, StoreErrorKind};
use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};
use tokio::runtime::{Builder, Handle};

static RUNTIME: OnceLock<Handle> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// Runs `work` on the background thread; the answer can be awaited anywhere.
///
/// Boxed at once: a client library's futures are so deep that a caller's would go beyond the compiler's default
/// recursion limit with one of them inside.
pub(crate) fn run<T, F>(work: F) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let work: Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>> = Box::pin(work);
    let running = runtime().map(|runtime| runtime.spawn(work));
    async move { running?.await.map_err(failed)? }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Other).with_source(error)
}

fn runtime() -> Result<&'static Handle, StoreError> {
    if let Some(handle) = RUNTIME.get() {
        return Ok(handle);
    }
    let _only_one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = RUNTIME.get() {
        return Ok(handle);
    }
    let started = start().map_err(failed)?;
    Ok(RUNTIME.get_or_init(|| started))
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("limiter-stores".into()).spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
