//! What is held beyond the head of a response.

use limiter_core::{Permit, Place, Store};
use std::{fmt, sync::Arc};

/// What is still held when the head of a response is handed on: until the body has ended, where somebody looks after that;
/// else until it is dropped, which leaves all that was taken as it is.
#[derive(Default)]
pub(crate) struct Rest {
    pub(crate) places: Vec<Place>,
    /// What each policy makes of the body's bytes.
    pub(crate) counted: Vec<Counted>,
}

/// Settles a policy's units by the bytes of the body.
pub(crate) type Counted = Box<dyn FnOnce(u64) + Send>;

/// What a request cost by the bytes of its response's body; `None` where they do not tell.
#[derive(Clone)]
pub(crate) struct OfBody(pub(crate) Arc<dyn Fn(u64) -> Option<u64> + Send + Sync>);

impl Rest {
    pub(super) fn extend(&mut self, other: Self) {
        self.places.extend(other.places);
        self.counted.extend(other.counted);
    }
}

impl OfBody {
    pub(super) fn of<S: Store>(self, permit: Permit<S>) -> Counted {
        Box::new(move |bytes| {
            if let Some(cost) = self.0(bytes).filter(|cost| *cost != permit.cost()) {
                permit.settle_detached(cost);
            }
        })
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("places", &self.places).field("counted", &self.counted.len()).finish()
    }
}
