//! Whose bodies are paced.

/// The bodies of requests, for [`ThrottleRequestBodyLayer`](crate::ThrottleRequestBodyLayer).
#[derive(Clone, Copy, Debug)]
pub struct OfRequests(());

/// The bodies of responses, for [`ThrottleResponseBodyLayer`](crate::ThrottleResponseBodyLayer).
#[derive(Clone, Copy, Debug)]
pub struct OfResponses(());

/// One of the two; nobody outside can name it.
pub trait Side {
    /// What it is called where it is shown.
    const NAME: &'static str;
}

impl Side for OfRequests {
    const NAME: &'static str = "requests";
}

impl Side for OfResponses {
    const NAME: &'static str = "responses";
}
