//! What the layer tells clients: header fields on admissions, and answers of its own.

use crate::{FieldSet, KeyError, PolicyName};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use limiter_core::{
    Decision, Error, Quota, Rate,
    http::{self as text, Generation, Policy, PolicyState},
};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Makes every answer of a layer; what is the same for all of them is rendered once.
#[derive(Clone)]
pub(crate) struct Answers {
    fields: FieldSet,
    policies: Box<[RatePolicy]>,
    policy_field: Option<HeaderValue>,
}

/// A rate of the quota, as it is announced.
#[derive(Clone)]
struct RatePolicy {
    name: PolicyName,
    limit: u64,
    window: Duration,
}

/// The answers of a layer for each quota it meets: one, unless the quota depends on the key or is changed.
pub(crate) struct AnswersByQuota {
    name: PolicyName,
    fields: FieldSet,
    /// By fingerprint; the one the limiter started with.
    first: Option<(u64, Arc<Answers>)>,
    others: RwLock<HashMap<u64, Arc<Answers>>>,
}

/// As many other quotas are remembered; with more, answers are made anew.
const MOST_QUOTAS: usize = 1024;

impl AnswersByQuota {
    pub(crate) fn new(name: PolicyName, fields: FieldSet, quota: Option<&Quota>) -> Self {
        let make = |quota: &Quota| (quota.fingerprint(), Arc::new(Answers::new(&name, fields, quota)));
        let first = quota.map(make);
        Self { name, fields, first, others: RwLock::default() }
    }

    pub(crate) fn name(&self) -> &PolicyName {
        &self.name
    }

    pub(crate) fn fields(&self) -> FieldSet {
        self.fields
    }

    pub(crate) fn of(&self, quota: &Quota) -> Arc<Answers> {
        match &self.first {
            Some((fingerprint, answers)) if *fingerprint == quota.fingerprint() => Arc::clone(answers),
            _ => self.other(quota),
        }
    }

    #[cold]
    fn other(&self, quota: &Quota) -> Arc<Answers> {
        let fingerprint = quota.fingerprint();
        if let Some(answers) = self.others.read().unwrap_or_else(PoisonError::into_inner).get(&fingerprint) {
            return Arc::clone(answers);
        }
        let answers = Arc::new(Answers::new(&self.name, self.fields, quota));
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        if others.len() < MOST_QUOTAS {
            others.insert(fingerprint, Arc::clone(&answers));
        }
        answers
    }
}

impl Answers {
    pub(crate) fn new(name: &PolicyName, fields: FieldSet, quota: &Quota) -> Self {
        let policies: Box<[_]> = match quota.rates() {
            [rate] => [RatePolicy::new(name.clone(), rate)].into(),
            rates => rates.iter().map(|rate| RatePolicy::new(name_for(name, rate), rate)).collect(),
        };
        let policy_field = fields.policy_field(policies.iter().map(RatePolicy::announced));
        let policy_field = policy_field.and_then(|(_, value)| HeaderValue::try_from(value).ok());
        Self { fields, policies, policy_field }
    }

    /// 429 (RFC 6585 §4).
    pub(crate) fn denied<B: From<String>>(&self, denial: &Decision) -> Response<B> {
        let violated = self.states(denial).filter(|state| state.retry_after.is_some()).map(|state| state.name);
        let mut response = problem(StatusCode::TOO_MANY_REQUESTS, text::quota_exceeded(violated, None));
        if let Some(wait) = denial.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, text::retry_after_seconds(wait).into());
        }
        self.add_fields(denial, response.headers_mut());
        response
    }

    pub(crate) fn failed<B: From<String>>(&self, error: &Error) -> Response<B> {
        match error {
            Error::NeverFits { .. } => {
                let body = text::cost_too_large(Some(&error.to_string()));
                let mut response = problem(StatusCode::PAYLOAD_TOO_LARGE, body);
                self.add_policy_field(response.headers_mut());
                response
            }
            _ => problem(StatusCode::SERVICE_UNAVAILABLE, text::temporary_reduced_capacity(None)),
        }
    }

    fn add_fields(&self, decision: &Decision, headers: &mut HeaderMap) {
        self.add_policy_field(headers);
        self.fields.state_fields(self.states(decision), |name, value| {
            if let (Some(name), Ok(value)) = (field_name(name), HeaderValue::try_from(value)) {
                self.add(name, value, headers);
            }
        });
    }

    fn add_policy_field(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.policy_field {
            self.add(RATELIMIT_POLICY, value.clone(), headers);
        }
    }

    /// Lines of a structured List add up, so that layers around one another all have their say. The older fields have
    /// room for one: the innermost layer's.
    fn add(&self, name: HeaderName, value: HeaderValue, headers: &mut HeaderMap) {
        let is_list = self.fields.contains(Generation::Structured) && (name == RATELIMIT || name == RATELIMIT_POLICY);
        if is_list || !headers.contains_key(&name) {
            headers.append(name, value);
        }
    }

    /// Each policy's state. Where a denial is none of the rates' doing (the key is blocked, others wait for it), it is
    /// every policy's.
    fn states<'a>(&'a self, decision: &'a Decision) -> impl Iterator<Item = PolicyState<'a>> + Clone {
        let by_rates = decision.rates().iter().any(|rate| !rate.retry_after().is_zero());
        let for_all = if decision.allowed() || by_rates { None } else { decision.retry_after() };
        self.policies.iter().zip(decision.rates()).map(move |(policy, rate)| PolicyState {
            name: &policy.name,
            limit: policy.limit,
            remaining: if for_all.is_some() { 0 } else { rate.remaining() },
            // Who has nothing left needs to know when the next unit is there, not when all of them are.
            reset_after: if rate.remaining() > 0 { rate.reset_after() } else { rate.next_unit_after() },
            retry_after: for_all.or(Some(rate.retry_after()).filter(|wait| !wait.is_zero())),
        })
    }
}

impl RatePolicy {
    /// Where a bucket holds more than its rate's limit, that bucket and the time it fills in: the same pace, and
    /// nobody is ever told that more is left than there is.
    fn new(name: PolicyName, rate: &Rate) -> Self {
        let (limit, period) = (rate.limit(), rate.period());
        if rate.capacity() <= limit {
            return Self { name, limit, window: period };
        }
        let window_us = (u128::from(rate.capacity()) * period.as_micros()).div_ceil(u128::from(limit));
        let window = Duration::from_micros(u64::try_from(window_us).unwrap_or(u64::MAX));
        Self { name, limit: rate.capacity(), window }
    }

    fn announced(&self) -> Policy<'_> {
        Policy { name: &self.name, limit: self.limit, window: self.window }
    }
}

/// The name of one of several rates: the quota's and the period, which no two of its rates share.
fn name_for(base: &PolicyName, rate: &Rate) -> PolicyName {
    let text = rate.to_string();
    let period = text.split(['/', ' ']).nth(1).unwrap_or_default();
    let one = if period.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "1" };
    let room = PolicyName::MAX_BYTES.saturating_sub(one.len() + period.len() + "-".len());
    PolicyName::new(format!("{base:.room$}-{one}{period}")).unwrap_or_else(|_| base.clone())
}

/// What an admitted request's response will say.
pub(crate) struct Fields {
    answers: Arc<Answers>,
    decision: Decision,
}

impl Fields {
    pub(crate) fn new(answers: Arc<Answers>, decision: Decision) -> Self {
        Self { answers, decision }
    }

    /// A response that has its own `Retry-After` (a denial by a layer further in) is left alone: what this layer
    /// has left would only blur how long to wait.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(RETRY_AFTER) {
            self.answers.add_fields(&self.decision, headers);
        }
    }
}

/// The answer to a request whose key cannot be told.
pub(crate) fn no_key<B: From<String>>(error: &KeyError) -> Response<B> {
    problem(error.status(), about_blank(error.status(), error.detail()))
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

    fn policy_field(quota: &str, name: &str) -> String {
        let answers = Answers::new(&name.parse().unwrap(), FieldSet::default(), &quota.parse().unwrap());
        answers.policy_field.unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn one_rate_has_the_policys_own_name() {
        assert_eq!(policy_field("100/min", "default"), r#""default";q=100;w=60"#);
    }

    #[test]
    fn several_rates_are_told_apart_by_their_period() {
        assert_eq!(
            policy_field("sliding_log 5/s, 7/1500ms, 100/day", "api"),
            r#""api-1s";q=5;w=1,"api-1500ms";q=7;w=2,"api-1day";q=100;w=86400"#
        );
        let longest = "n".repeat(PolicyName::MAX_BYTES);
        let cut = &longest[..PolicyName::MAX_BYTES - 3];
        let field = policy_field("5/s, 100/h", &longest);
        assert_eq!(field, format!(r#""{cut}-1s";q=5;w=1,"{cut}-1h";q=100;w=3600"#));
    }

    #[test]
    fn a_bucket_above_the_limit_is_announced_with_the_time_it_fills_in() {
        assert_eq!(policy_field("5/s burst 20", "default"), r#""default";q=20;w=4"#);
        assert_eq!(policy_field("5/s burst 2", "default"), r#""default";q=5;w=1"#);
    }

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
