//! The service: each request under the rules that are in force when it comes.

use super::layer::InForce;
use crate::{RateLimit, ResponseFuture};
use arc_swap::Guard;
use http::{Request, Response};
use limiter_core::{MemoryStore, Store};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// An HTTP service behind rules; made by a [`RulesLayer`](crate::RulesLayer).
///
/// A request is answered by the rules that were in force when it came. Clones share state.
pub struct RulesService<Svc, S: Store = MemoryStore> {
    /// Under the rules of the last request.
    limited: RateLimit<Svc, S>,
    rules: Arc<InForce<S>>,
}

impl<Svc, S: Store> RulesService<Svc, S> {
    pub(super) fn new(inner: Svc, rules: Arc<InForce<S>>) -> Self {
        Self { limited: RateLimit::new(inner, Arc::clone(&rules.settings())), rules }
    }
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for RulesService<Svc, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S: Store,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = Svc::Error;
    type Future = ResponseFuture<Svc, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.limited.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let settings = self.rules.settings();
        if !Arc::ptr_eq(&settings, &self.limited.settings) {
            self.limited.settings = Guard::into_inner(settings);
        }
        self.limited.call(request)
    }
}

impl<Svc: Clone, S: Store> Clone for RulesService<Svc, S> {
    fn clone(&self) -> Self {
        Self { limited: self.limited.clone(), rules: Arc::clone(&self.rules) }
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for RulesService<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulesService").field("limited", &self.limited).finish_non_exhaustive()
    }
}
