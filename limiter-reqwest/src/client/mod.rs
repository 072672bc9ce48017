//! Clients with reqwest's own surface.

mod error;
#[macro_use]
mod surface;
mod wrapped;

pub use error::Error;
pub use wrapped::{Client, RequestBuilder};

pub(crate) use surface::surface;
