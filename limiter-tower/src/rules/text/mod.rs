//! From text to values that know where they stand, in each format, so that everything after is the same for all three.
//!
//! TOML by `toml`, whose tables have spans and whose parser goes on after a mistake. JSON by `serde_json`, whose raw values
//! are slices of the text. YAML by `saphyr-parser`, whose events say where they stand: the deserializers made of
//! `serde_yaml` (`serde_norway`, `serde_yaml_ng`) lose that once a value is read and are libyaml in translated C, and
//! `serde-saphyr` needs a newer compiler than this workspace promises.

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
