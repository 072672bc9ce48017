//! What the layer tells clients: header fields on admissions, and answers of its own.

use crate::{FieldSet, KeyError, announced::Announced, verdict::Verdict};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use limiter_core::{
    Error,
    http::{self as text, Generation},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Why a request does not reach the inner service.
#[allow(clippy::large_enum_variant)] // moved but a few times, where a box would cost every denial an allocation
pub(crate) enum Refusal {
    Denied(Verdict),
    /// Nothing could be decided about a request that `parts` took part in.
    Undecided {
        error: Error,
        parts: SmallVec<[Arc<Announced>; 1]>,
    },
    NoKey(KeyError),
    Blocked,
}

impl Refusal {
    pub(crate) fn response<B: From<String>>(&self) -> Response<B> {
        match self {
            Self::Denied(verdict) => denied(verdict),
            Self::Undecided { error, parts } => failed(error, parts),
            Self::NoKey(error) => problem(error.status(), about_blank(error.status(), error.detail())),
            Self::Blocked => {
                problem(StatusCode::FORBIDDEN, about_blank(StatusCode::FORBIDDEN, "requests like this one are blocked"))
            }
        }
    }
}

/// 429 (RFC 6585 §4), which names the policies that denied.
fn denied<B: From<String>>(verdict: &Verdict) -> Response<B> {
    let violated = verdict.states().filter(|state| state.retry_after.is_some()).map(|state| state.name);
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, text::quota_exceeded(violated, None));
    if let Some(wait) = verdict.decision().retry_after() {
        response.headers_mut().insert(RETRY_AFTER, text::retry_after_seconds(wait).into());
    }
    add_fields(verdict, response.headers_mut());
    response
}

fn failed<B: From<String>>(error: &Error, parts: &[Arc<Announced>]) -> Response<B> {
    match *error {
        Error::NeverFits { cost, capacity, part } => {
            let place = part.unwrap_or(0);
            let mut detail = Error::NeverFits { cost, capacity, part: None }.to_string();
            if let Some(part) = parts.get(place).filter(|_| parts.len() > 1) {
                detail = format!("policy \"{}\": {detail}", part.name);
            }
            let mut response = problem(StatusCode::PAYLOAD_TOO_LARGE, text::cost_too_large(Some(&detail)));
            add_policy_field(parts, response.headers_mut());
            response
        }
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, text::temporary_reduced_capacity(None)),
    }
}

/// Says on the inner service's response what is left. One that has its own `Retry-After` (a denial by a layer further
/// in) is left alone: what this layer has left would only blur how long to wait.
pub(crate) fn add_to(verdict: &Verdict, headers: &mut HeaderMap) {
    if !headers.contains_key(RETRY_AFTER) {
        add_fields(verdict, headers);
    }
}

fn add_fields(verdict: &Verdict, headers: &mut HeaderMap) {
    add_policy_field(verdict.parts(), headers);
    let Some(fields) = verdict.parts().first().map(|part| part.fields) else { return };
    fields.state_fields(verdict.states(), |name, value| {
        if let (Some(name), Ok(value)) = (field_name(name), HeaderValue::try_from(value)) {
            add(fields, name, value, headers);
        }
    });
}

/// All policies that took part, in one line.
fn add_policy_field(parts: &[Arc<Announced>], headers: &mut HeaderMap) {
    let value = match parts {
        [only] => only.policy_field.clone(),
        several => joined(several.iter().filter_map(|part| part.policy_field.as_ref())),
    };
    if let (Some(value), Some(part)) = (value, parts.first()) {
        add(part.fields, RATELIMIT_POLICY, value, headers);
    }
}

/// The values of a list field as one, which RFC 9110 §5.3 makes of several lines; `None` of none.
fn joined<'a>(values: impl Iterator<Item = &'a HeaderValue> + Clone) -> Option<HeaderValue> {
    let mut line = Vec::with_capacity(values.clone().map(|value| value.len() + 1).sum());
    for value in values {
        if !line.is_empty() {
            line.push(b',');
        }
        line.extend_from_slice(value.as_bytes());
    }
    if line.is_empty() { None } else { HeaderValue::try_from(line).ok() }
}

/// Lines of a structured List add up, so that layers around one another all have their say. The older fields have
/// room for one: the innermost layer's.
fn add(fields: FieldSet, name: HeaderName, value: HeaderValue, headers: &mut HeaderMap) {
    let is_list = fields.contains(Generation::Structured) && (name == RATELIMIT || name == RATELIMIT_POLICY);
    if is_list || !headers.contains_key(&name) {
        headers.append(name, value);
    }
}

fn problem<B: From<String>>(status: StatusCode, body: String) -> Response<B> {
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
/// A problem that says no more than its status does (RFC 9457 §4.2.1), and a detail.
fn about_blank(status: StatusCode, detail: &str) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut escaped = String::with_capacity(detail.len());
    for character in detail.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    let status = status.as_u16();
    format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{escaped}"}}"#)
}

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The name without an allocation, checked when this is compiled.
fn field_name(name: &str) -> Option<HeaderName> {
    Some(match name {
        "ratelimit" => RATELIMIT,
        "ratelimit-limit" => const { HeaderName::from_static("ratelimit-limit") },
        "ratelimit-remaining" => const { HeaderName::from_static("ratelimit-remaining") },
        "ratelimit-reset" => const { HeaderName::from_static("ratelimit-reset") },
        "x-ratelimit-limit" => const { HeaderName::from_static("x-ratelimit-limit") },
        "x-ratelimit-remaining" => const { HeaderName::from_static("x-ratelimit-remaining") },
        "x-ratelimit-reset" => const { HeaderName::from_static("x-ratelimit-reset") },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyName;
    use limiter_core::http::PolicyState;
    use std::time::Duration;

    #[test]
    fn every_field_of_every_generation_has_its_name() {
        let name = PolicyName::default();
        let state = PolicyState { name: &name, limit: 9, remaining: 1, reset_after: Duration::ZERO, retry_after: None };
        for generation in [Generation::Legacy, Generation::DraftA, Generation::DraftB, Generation::Structured] {
            FieldSet::from(generation).state_fields([state], |name, _| {
                assert_eq!(field_name(name).unwrap().as_str(), name);
            });
        }
    }

    #[test]
    fn details_stay_inside_their_string() {
        let body = about_blank(StatusCode::INTERNAL_SERVER_ERROR, "say \"\\\" \r\n twice");
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["detail"], "say \"\\\"    twice");
        assert_eq!(parsed["title"], "Internal Server Error");
    }
}
