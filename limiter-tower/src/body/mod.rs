//! Bodies at a quota's pace, a unit a byte (feature `body`).

mod future;
mod layer;
mod paced;
mod piece;
mod service;
mod settings;
mod side;

pub use future::{ThrottleBodyFuture, ThrottleRequestBodyFuture, ThrottleResponseBodyFuture};
pub use layer::{ThrottleBodyLayer, ThrottleRequestBodyLayer, ThrottleResponseBodyLayer};
pub use paced::ThrottledBody;
pub use service::{ThrottleBody, ThrottleRequestBody, ThrottleResponseBody};
pub use side::{OfRequests, OfResponses};
