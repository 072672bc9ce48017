//! The header fields of responses.

use crate::{FieldSet, Verdict, policies::Announced};
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use limiter_core::http::{Generation, PolicyState};
use smallvec::SmallVec;
use std::sync::Arc;

/// Says on the inner service's response what is left. One that has its own `Retry-After` (a denial by a layer further
/// in) is left alone: what this layer has left would only blur how long to wait.
pub(crate) fn add_to(verdict: &Verdict, headers: &mut HeaderMap) {
    if !headers.contains_key(RETRY_AFTER) {
        add_fields(verdict, headers);
    }
}

pub(super) fn add_fields(verdict: &Verdict, headers: &mut HeaderMap) {
    let Some(fields) = verdict.parts().first().map(|part| part.fields).filter(|_| verdict.has_fields()) else {
        return;
    };
    add_policy_field(verdict.parts(), headers);
    // Looked at several times: which is the tightest, how long the value is, what is in it.
    let states: SmallVec<[PolicyState<'_>; 2]> = verdict.states().collect();
    fields.state_fields(states.iter().copied(), |name, value| {
        if let (Some(name), Ok(value)) = (field_name(name), HeaderValue::try_from(value)) {
            add(fields, name, value, headers);
        }
    });
}

/// All policies that took part, in one line.
pub(super) fn add_policy_field(parts: &[Arc<Announced>], headers: &mut HeaderMap) {
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

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The names of the fields that responses may have with these generations, `Retry-After` among them: what pages of another
/// origin must be allowed to read (CORS, `Access-Control-Expose-Headers`).
///
/// Browsers show a page's script no other header of a response from elsewhere. With tower-http's `CorsLayer`, which must
/// stand outside of the limit so that it sees denials too:
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Generation, RateLimitLayer, exposed_headers};
/// use tower::ServiceBuilder;
/// use tower_http::cors::CorsLayer;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let limit = RateLimitLayer::new(Limiter::parse("100/min")?);
/// let cors = CorsLayer::new().expose_headers(exposed_headers(Generation::Structured));
/// let stack = ServiceBuilder::new().layer(cors).layer(limit);
/// # let _ = stack;
/// assert_eq!(exposed_headers(Generation::Structured), ["retry-after", "ratelimit-policy", "ratelimit"]);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn exposed_headers(fields: impl Into<FieldSet>) -> Vec<HeaderName> {
    let fields = fields.into();
    let has = |generation| fields.contains(generation);
    let dictionary = has(Generation::DraftB) || has(Generation::Structured);
    let mut names = vec![RETRY_AFTER];
    if dictionary || has(Generation::DraftA) {
        names.push(RATELIMIT_POLICY);
    }
    if dictionary {
        names.push(RATELIMIT);
    }
    for (generation, its) in [(Generation::DraftA, SEPARATE), (Generation::Legacy, LEGACY)] {
        if has(generation) {
            names.extend(its.into_iter().filter_map(field_name));
        }
    }
    names
}

/// A number as a value: written where it stays, in one allocation of its length, and in none where it is one digit, as
/// most waits are.
pub(super) fn number(value: u64) -> HeaderValue {
    const DIGITS: &str = "0123456789";
    let one = usize::try_from(value).ok().and_then(|digit| DIGITS.get(digit..=digit));
    if let Some(digit) = one {
        return HeaderValue::from_static(digit);
    }
    let mut digits = [b'0'; 20];
    let (mut rest, mut start) = (value, digits.len());
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10).to_le_bytes()[0];
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&digits[start..]).unwrap_or(HeaderValue::from_static("0"))
}

const SEPARATE: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

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
    use limiter_core::http::Policy;
    use std::time::Duration;

    const GENERATIONS: [Generation; 4] =
        [Generation::Legacy, Generation::DraftA, Generation::DraftB, Generation::Structured];

    #[test]
    fn every_field_of_every_generation_has_its_name() {
        let name = PolicyName::default();
        let state = PolicyState { name: &name, limit: 9, remaining: 1, reset_after: Duration::ZERO, retry_after: None };
        for generation in GENERATIONS {
            FieldSet::from(generation).state_fields([state], |name, _| {
                assert_eq!(field_name(name).unwrap().as_str(), name);
            });
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 1, 5, 9, 10, 11, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(number(value), value.to_string());
        }
    }

    #[test]
    fn what_is_exposed_is_what_is_sent() {
        let name = PolicyName::default();
        let state = PolicyState { name: &name, limit: 9, remaining: 1, reset_after: Duration::ZERO, retry_after: None };
        let policy = Policy { name: &name, limit: 9, window: Duration::from_secs(1) };
        for bits in 0..16 {
            let fields: FieldSet = (0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| GENERATIONS[bit]).collect();
            let mut sent = vec!["retry-after"];
            sent.extend(fields.policy_field([policy]).map(|(name, _)| name));
            fields.state_fields([state], |name, _| sent.push(name));
            sent.sort_unstable();
            let mut exposed: Vec<_> = exposed_headers(fields).iter().map(|name| name.as_str().to_owned()).collect();
            exposed.sort_unstable();
            assert_eq!(exposed, sent, "{fields:?}");
        }
    }
}
