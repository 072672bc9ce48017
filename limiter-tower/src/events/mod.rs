//! What is told of decisions: to the layer's hook, and to `tracing`.

mod event;
#[cfg(feature = "tracing")]
pub(crate) mod trace;
#[cfg(not(feature = "tracing"))]
pub(crate) mod trace {
    //! Nobody listens.
    pub(crate) const IS_ON: bool = false;

    pub(crate) fn event(_: &crate::Event<'_>) {}
}

pub use event::{Event, Outcome};
