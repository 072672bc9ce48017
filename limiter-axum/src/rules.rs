//! Rules from files, with the keys that axum knows.

use crate::key::connected;
use axum::extract::MatchedPath;
use http::request::Parts;
use limiter_core::KeyBuf;
use limiter_tower::{MethodKey, RulesReader};

/// A reader of rules that knows axum's keys too: `peer`, `client` and `route`.
///
/// `peer` is the socket's address, as [`PeerAddr`](crate::PeerAddr) tells it; `client` is the one behind the `proxies` of
/// the rules. `route` is the method and the pattern of the matched route as one text, `GET /users/{id}`, by which
/// `plans` give each route its quota; all paths that match none share an empty one. For the addresses the app must be
/// served with `into_make_service_with_connect_info::<SocketAddr>()`.
///
/// ```
/// use axum::{Router, routing::get};
/// use limiter_axum::{RulesFormat, RulesLayer, rules_reader};
///
/// # fn main() -> Result<(), limiter_axum::RulesError> {
/// let text = r#"
/// [[policy]]
/// name = "per-address"
/// quota = "10/s, 1000/h"
/// key = "peer"
///
/// [[policy]]
/// name = "per-route"
/// quota = "1000/s"
/// key = "route"
/// plans = { "POST /export" = "2/min" }
/// "#;
/// let rules = rules_reader().parse(text, RulesFormat::Toml)?;
/// let app: Router = Router::new().route("/", get(async || "hello")).layer(RulesLayer::new(rules));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub fn rules_reader() -> RulesReader {
    RulesReader::new().peer(connected).key("route", route)
}

fn route(request: &Parts) -> KeyBuf {
    let mut key = KeyBuf::new();
    if let Some(path) = request.extensions.get::<MatchedPath>() {
        key.push(MethodKey::group(&request.method).as_bytes());
        key.push(b" ");
        key.push(path.as_str().as_bytes());
    }
    key
}
