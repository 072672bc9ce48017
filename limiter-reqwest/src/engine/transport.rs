//! Sending, for every client.

use super::{Ticket, redirect::Hop};
use crate::Limits;
use limiter_core::Store;
use reqwest::{Method, StatusCode, Url, header::HeaderMap};
use std::future::Future;

/// Where an answer came from, and what it says.
pub(crate) type Head<'a> = (&'a Url, StatusCode, &'a HeaderMap);

/// How a client sends a request once. Waiting, obeying, following and sending again is the same for all.
pub(crate) trait Transport {
    type Request: Send;
    type Response: Send;
    type Error: Send;

    /// [`Limits::ask`] for the request.
    fn ask<'l, S: Store>(
        &self,
        limits: &'l Limits<S>,
        request: &Self::Request,
    ) -> impl Future<Output = Result<Option<Ticket<'l, S>>, Self::Error>> + Send;

    /// The request once more; `None` where its body is read as it is sent.
    fn try_clone(&self, request: &Self::Request) -> Option<Self::Request>;

    fn send(&mut self, request: Self::Request) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;

    fn head<'a>(&'a self, response: &'a Self::Response) -> Head<'a>;

    /// The request's method; `None` where no redirect can be followed.
    fn method(&self, request: &Self::Request) -> Option<Method>;

    /// The request once more, but for its body.
    fn without_body(&self, request: &Self::Request) -> Option<Self::Request>;

    /// The request as it goes on.
    fn redirect(&self, request: Self::Request, hop: &Hop) -> Self::Request;
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

/// What reqwest's requests, blocking or not, have in common: how they are cloned, and sent on.
macro_rules! of_reqwest {
    ($request:ty) => {
        fn try_clone(&self, request: &$request) -> Option<$request> {
            request.try_clone()
        }

        fn method(&self, request: &$request) -> Option<reqwest::Method> {
            Some(request.method().clone())
        }

        fn without_body(&self, request: &$request) -> Option<$request> {
            let mut bare = <$request>::new(request.method().clone(), request.url().clone());
            bare.headers_mut().clone_from(request.headers());
            *bare.version_mut() = request.version();
            *bare.timeout_mut() = request.timeout().copied();
            Some(bare)
        }

        fn redirect(&self, mut request: $request, hop: &$crate::engine::Hop) -> $request {
            hop.prune(request.headers_mut());
            request.url_mut().clone_from(&hop.url);
            request.method_mut().clone_from(&hop.method);
            if !hop.with_body {
                *request.body_mut() = None;
            }
            request
        }
    };
}

pub(crate) use of_reqwest;
