//! What the server answers.

use axum::Json;
use limiter_axum::Limited;
use std::collections::BTreeMap;

/// A handler can read what is left: the decision of the innermost layer that let the request in.
pub(crate) async fn home(Limited(decision): Limited) -> String {
    format!("{decision}\n")
}

pub(crate) async fn report(Limited(decision): Limited) -> Json<BTreeMap<&'static str, u64>> {
    Json(BTreeMap::from([("limit", decision.limit()), ("remaining", decision.remaining())]))
}

pub(crate) async fn health() -> &'static str {
    "never limited\n"
}
