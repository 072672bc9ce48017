//! Sending, for every client.

use super::Ticket;
use limiter_core::Store;
use reqwest::{StatusCode, Url, header::HeaderMap};
use std::future::Future;

/// How a client sends a request once. Waiting, obeying and sending again is the same for all.
pub(crate) trait Transport {
    type Request: Send;
    type Response: Send;
    type Error: Send;

    /// The request once more; `None` where its body is read as it is sent.
    fn try_clone(&self, request: &Self::Request) -> Option<Self::Request>;

    fn send(&mut self, request: Self::Request) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;

    /// Where the answer came from, and what it says.
    fn head<'a>(&'a self, response: &'a Self::Response) -> (&'a Url, StatusCode, &'a HeaderMap);
}

impl<S: Store> Ticket<'_, S> {
    /// Sends `request`, again as long as limits say so; the answer to the last time.
    pub(crate) async fn send<T: Transport>(
        self,
        mut request: T::Request,
        transport: &mut T,
    ) -> Result<T::Response, T::Error> {
        let mut ticket = self;
        loop {
            let spare = if ticket.may_resend() { transport.try_clone(&request) } else { None };
            let response = match transport.send(request).await {
                Ok(response) => response,
                Err(error) => {
                    ticket.failed().await;
                    return Err(error);
                }
            };
            let (url, status, headers) = transport.head(&response);
            let again = ticket.answered(url, status, headers, spare.is_some()).await;
            match again.zip(spare) {
                Some(again) => (ticket, request) = again,
                None => return Ok(response),
            }
        }
    }
}
