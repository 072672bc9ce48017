//! From text to values that know where they stand, in each format.

mod de;
mod format;
#[cfg(feature = "rules-json")]
mod json;
mod node;
mod toml;
#[cfg(feature = "rules-yaml")]
mod yaml;

pub use format::RulesFormat;
pub(super) use node::{Entry, Node, Value};
