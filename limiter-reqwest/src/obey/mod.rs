//! What servers ask for, and how it is kept.
//!
//! A pause is three blocks in the store, so that every process keeps it: of the key, so that nothing is sent; of the key
//! at its pace ([`Policy::pace`]), so that who comes back one after the other does so from its end on; and of its mark,
//! which lasts a period longer and tells who never heard of the pause that this is the time after one.
//!
//! [`Policy::pace`]: crate::plan::Policy

mod pause;
mod pause_reason;
mod told;

pub use pause_reason::PauseReason;

pub(crate) use pause::{Owed, Pause, look};
pub(crate) use told::{asked_interval, asked_pause, is_refusal};
