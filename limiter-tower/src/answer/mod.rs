//! What clients are told: header fields on responses, and the layer's own answers.
//!
//! `refusal` is what an answer is made of, `hook` who makes it; the ready-made ones are `format`, with `negotiate` to
//! choose among them and `grpc` on its own. `fields` writes header fields, `jitter` spreads those who come again.

mod fields;
mod format;
mod grpc;
mod hook;
mod jitter;
mod json;
mod negotiate;
mod refusal;
mod settings;

pub(crate) use fields::add_to;
pub use fields::exposed_headers;
pub use format::Format;
pub use hook::Answer;
pub(crate) use jitter::Jitter;
pub use refusal::{Reason, Refusal};
pub(crate) use settings::Answers;
