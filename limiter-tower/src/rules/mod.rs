//! Policies from a file: read, checked, put in force, changed while requests run.

mod change;
mod error;
mod layer;
mod named;
mod nearest;
mod read;
mod request;
mod rule;
mod service;
mod show;
mod status;
mod text;
mod watch;

pub use change::RulesChange;
pub use error::{Mistake, RulesError};
pub use layer::{RulesLayer, RulesLayerBuilder};
pub use named::RulesReader;
pub use rule::Rules;
pub use service::RulesService;
pub use text::RulesFormat;
pub use watch::RulesWatch;
