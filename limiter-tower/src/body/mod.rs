//! Bodies at a quota's pace, a unit a byte (feature `body`).

mod paced;
mod piece;
mod request;
mod response;
mod settings;

pub use paced::ThrottledBody;
pub use request::{ThrottleRequestBody, ThrottleRequestBodyFuture, ThrottleRequestBodyLayer};
pub use response::{ThrottleResponseBody, ThrottleResponseBodyFuture, ThrottleResponseBodyLayer};
