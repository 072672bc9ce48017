//! The ready-made answers.

use super::{
    grpc,
    hook::Answer,
    json::push_string,
    negotiate::asked_for,
    refusal::{Reason, Refusal},
};
use http::{HeaderValue, Response, StatusCode};
use limiter_core::http::{CONTENT_TYPE, cost_too_large, quota_exceeded, temporary_reduced_capacity};
use std::fmt::Write;

/// The ready-made answers, for [`RateLimitLayer::answer`](crate::RateLimitLayer::answer). All of them have the same header
/// fields; all but gRPC's have the same status.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Format, RateLimitLayer};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).answer(Format::ByRequest);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Format {
    /// `application/problem+json` (RFC 9457), of a registered type where there is one: the default.
    #[default]
    Problem,
    /// `text/plain`: one sentence.
    Text,
    /// `application/json`: `error` (`quota_exceeded`, `blocked`, `forbidden`, `cost_too_large`,
    /// `too_many_at_once`, `no_key` or `temporary_reduced_capacity`), `message`, and, where there are any, `retry_after` in
    /// seconds and `violated_policies`.
    Json,
    /// gRPC's trailers-only response: HTTP status 200, `grpc-status`, `grpc-message`, no body. Over the quota is
    /// `RESOURCE_EXHAUSTED` (8) with `grpc-retry-pushback-ms` and a `google.rpc.RetryInfo`; a store that failed is
    /// `UNAVAILABLE` (14). Header fields become metadata.
    Grpc,
    /// As the request asks: gRPC where its content is gRPC, else what its `Accept` likes best of problem, JSON and text;
    /// a problem where it likes none of them, or all alike.
    ByRequest,
}

impl Answer for Format {
    fn answer(&self, refusal: Refusal<'_>) -> Response<String> {
        self.respond(refusal)
    }
}

impl Format {
    pub(super) fn respond(self, refusal: Refusal<'_>) -> Response<String> {
        match self {
            Self::Problem => {
                let body = problem(&refusal);
                refusal.respond(HeaderValue::from_static(CONTENT_TYPE), body)
            }
            Self::Text => {
                let mut body = refusal.detail();
                body.push('\n');
                refusal.respond(HeaderValue::from_static("text/plain; charset=utf-8"), body)
            }
            Self::Json => {
                let body = json(&refusal);
                refusal.respond(HeaderValue::from_static("application/json"), body)
            }
            Self::Grpc => grpc::respond(refusal),
            // Which is never this one again.
            Self::ByRequest => asked_for(refusal.request()).respond(refusal),
        }
    }
}

fn problem(refusal: &Refusal<'_>) -> String {
    match refusal.reason() {
        Reason::Denied(verdict) | Reason::Blocked(verdict) => {
            let rendered = match verdict.parts() {
                [only] => only.problem.as_deref(),
                _ => None,
            };
            rendered.map_or_else(|| quota_exceeded(refusal.violated(), None), str::to_owned)
        }
        Reason::CostTooLarge { .. } => cost_too_large(Some(&refusal.detail())),
        Reason::StoreFailed(_) => temporary_reduced_capacity(None),
        Reason::Forbidden | Reason::TooManyAtOnce { .. } => about_blank(refusal.status(), &refusal.detail()),
        Reason::NoKey(error) => about_blank(error.status(), error.detail()),
    }
}

/// A problem that says no more than its status does (RFC 9457 §4.2.1), and a detail.
fn about_blank(status: StatusCode, detail: &str) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut body = format!(r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"#, status.as_u16());
    push_string(&mut body, detail);
    body.push('}');
    body
}

fn json(refusal: &Refusal<'_>) -> String {
    let error = match refusal.reason() {
        Reason::Denied(_) => "quota_exceeded",
        Reason::Blocked(_) => "blocked",
        Reason::Forbidden => "forbidden",
        Reason::CostTooLarge { .. } => "cost_too_large",
        Reason::TooManyAtOnce { .. } => "too_many_at_once",
        Reason::StoreFailed(_) => "temporary_reduced_capacity",
        Reason::NoKey(_) => "no_key",
    };
    let mut body = format!(r#"{{"error":"{error}","message":"#);
    push_string(&mut body, &refusal.detail());
    if let Some(seconds) = refusal.retry_after_seconds {
        let _ = write!(body, r#","retry_after":{seconds}"#);
    }
    let mut before = r#","violated_policies":["#;
    for name in refusal.violated() {
        body.push_str(before);
        push_string(&mut body, name.as_str());
        before = ",";
    }
    body.push_str(if before == "," { "]}" } else { "}" });
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_stay_inside_their_string() {
        let body = about_blank(StatusCode::INTERNAL_SERVER_ERROR, "say \"\\\" \r\n twice");
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["detail"], "say \"\\\" \r\n twice");
        assert_eq!(parsed["title"], "Internal Server Error");
    }
}
