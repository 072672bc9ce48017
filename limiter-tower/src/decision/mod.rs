//! What becomes of a request: the policies it is put to, what they and the store say, and what follows from that.

mod failure;
mod question;
mod ruling;
mod settings;
mod verdict;

pub use failure::{Breaker, StoreFailure};
pub(crate) use failure::{Failing, asked_again_after, within};
pub(crate) use question::Question;
pub(crate) use ruling::{Pass, Refused, Ruling};
pub(crate) use settings::{Listed, Settings};
pub use verdict::Verdict;
