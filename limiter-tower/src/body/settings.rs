//! What both layers share: whose quota a body's bytes are counted under, and in which pieces they go out.

use super::ThrottledBody;
use crate::{Global, KeyExtractor, answer::Answers};
use http::{Response, request::Parts};
use http_body::Body;
use limiter_core::{KeyBuf, Limiter, Store};
use std::{fmt, sync::Arc};

pub(super) struct Settings<S: Store> {
    limiter: Limiter<S>,
    key: Arc<dyn KeyExtractor>,
    piece: Option<u64>,
}

impl<S: Store> Settings<S> {
    pub(super) fn new(limiter: Limiter<S>) -> Self {
        Self { limiter, key: Arc::new(Global), piece: None }
    }

    pub(super) fn set_key(&mut self, key: impl KeyExtractor) {
        self.key = Arc::new(key);
    }

    pub(super) fn set_piece(&mut self, bytes: u64) {
        self.piece = Some(bytes);
    }

    /// The request's key; `Err` is the answer where it cannot be had.
    pub(super) fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, Box<Response<String>>> {
        self.key.key(request).map_err(|error| Box::new(Answers::default().no_key(request, &error)))
    }

    /// `body` under the quota of `key`; without one as it is.
    pub(super) fn body<B: Body>(&self, body: B, key: Option<KeyBuf>) -> ThrottledBody<B, S> {
        let Some(key) = key else { return ThrottledBody::unlimited(body) };
        let body = ThrottledBody::new(body, self.limiter.clone(), key);
        match self.piece {
            Some(bytes) => body.piece(bytes),
            None => body,
        }
    }
}

impl<S: Store> Clone for Settings<S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: Arc::clone(&self.key), piece: self.piece }
    }
}

impl<S: Store> fmt::Debug for Settings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("limiter", &self.limiter).field("piece", &self.piece).finish_non_exhaustive()
    }
}
