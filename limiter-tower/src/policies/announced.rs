//! A policy under one quota, as clients are told of it.

use crate::{FieldSet, PolicyName};
use http::HeaderValue;
use limiter_core::{
    Quota, Rate,
    http::{Policy, PolicyState, quota_exceeded},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// What is the same for all answers about a policy under one quota, rendered once.
pub(crate) struct Announced {
    pub(crate) name: PolicyName,
    pub(crate) fields: FieldSet,
    rates: Box<[AnnouncedRate]>,
    /// The value of `RateLimit-Policy` where no other policy took part.
    pub(crate) policy_field: Option<HeaderValue>,
    /// The problem body of a denial where it is one rate's, and no other policy took part.
    pub(crate) problem: Option<Box<str>>,
}

/// A rate of the quota, as it is announced.
struct AnnouncedRate {
    name: PolicyName,
    limit: u64,
    window: Duration,
}

/// A policy for each quota it meets: one, unless the quota depends on the key or is changed.
pub(crate) struct AnnouncedByQuota {
    name: PolicyName,
    fields: FieldSet,
    /// By fingerprint; the one the limiter started with.
    first: Option<(u64, Arc<Announced>)>,
    others: RwLock<HashMap<u64, Arc<Announced>>>,
}

/// As many other quotas are remembered; with more, they are rendered anew.
const MOST_QUOTAS: usize = 1024;

impl AnnouncedByQuota {
    pub(crate) fn new(name: PolicyName, fields: FieldSet, quota: Option<&Quota>) -> Self {
        let make = |quota: &Quota| (quota.fingerprint(), Arc::new(Announced::new(&name, fields, quota)));
        let first = quota.map(make);
        Self { name, fields, first, others: RwLock::default() }
    }

    pub(crate) fn of(&self, quota: &Quota) -> Arc<Announced> {
        match &self.first {
            Some((fingerprint, announced)) if *fingerprint == quota.fingerprint() => Arc::clone(announced),
            _ => self.other(quota),
        }
    }

    #[cold]
    fn other(&self, quota: &Quota) -> Arc<Announced> {
        let fingerprint = quota.fingerprint();
        if let Some(announced) = self.others.read().unwrap_or_else(PoisonError::into_inner).get(&fingerprint) {
            return Arc::clone(announced);
        }
        let announced = Arc::new(Announced::new(&self.name, self.fields, quota));
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        if others.len() < MOST_QUOTAS {
            others.insert(fingerprint, Arc::clone(&announced));
        }
        announced
    }
}

impl Announced {
    fn new(name: &PolicyName, fields: FieldSet, quota: &Quota) -> Self {
        let rates: Box<[_]> = names(name, quota).zip(quota.rates()).map(AnnouncedRate::new).collect();
        let policy_field = fields.policy_field(rates.iter().map(AnnouncedRate::policy));
        let policy_field = policy_field.and_then(|(_, value)| HeaderValue::try_from(value).ok());
        let problem = match &*rates {
            [only] => Some(quota_exceeded([&only.name], None).into_boxed_str()),
            _ => None,
        };
        Self { name: name.clone(), fields, rates, policy_field, problem }
    }

    /// The state of each of its rates, from what was decided on them. `wait` stands for all of them where none of them
    /// is to blame for a denial: the key is blocked, or others wait for it.
    pub(crate) fn states<'a>(
        &'a self,
        decided: impl Iterator<Item = &'a limiter_core::RateState> + Clone,
        wait: Option<Duration>,
    ) -> impl Iterator<Item = PolicyState<'a>> + Clone {
        self.rates.iter().zip(decided).map(move |(rate, state)| PolicyState {
            name: &rate.name,
            limit: rate.limit,
            remaining: if wait.is_some() { 0 } else { state.remaining() },
            // Who has nothing left needs to know when the next unit is there, not when all of them are.
            reset_after: if state.remaining() > 0 { state.reset_after() } else { state.next_unit_after() },
            retry_after: wait.or(Some(state.retry_after()).filter(|wait| !wait.is_zero())),
        })
    }
}

impl AnnouncedRate {
    /// Where a bucket holds more than its rate's limit, that bucket and the time it fills in: the same pace, and
    /// nobody is ever told that more is left than there is.
    fn new((name, rate): (PolicyName, &Rate)) -> Self {
        let (limit, period) = (rate.limit(), rate.period());
        if rate.capacity() <= limit {
            return Self { name, limit, window: period };
        }
        let window_us = (u128::from(rate.capacity()) * period.as_micros()).div_ceil(u128::from(limit));
        let window = Duration::from_micros(u64::try_from(window_us).unwrap_or(u64::MAX));
        Self { name, limit: rate.capacity(), window }
    }

    fn policy(&self) -> Policy<'_> {
        Policy { name: &self.name, limit: self.limit, window: self.window }
    }
}

/// The names that a policy's rates are told by: its own where it has one rate.
pub(crate) fn names(name: &PolicyName, quota: &Quota) -> impl Iterator<Item = PolicyName> {
    let is_one = quota.rates().len() == 1;
    quota.rates().iter().map(move |rate| if is_one { name.clone() } else { name_for(name, rate) })
}

/// A name that two policies, of these quotas each, would both be told by, if there is one.
pub(crate) fn same_name(first: (&PolicyName, &[&Quota]), second: (&PolicyName, &[&Quota])) -> Option<PolicyName> {
    let all = |(name, quotas): (&PolicyName, &[&Quota])| -> BTreeSet<PolicyName> {
        quotas.iter().flat_map(|quota| names(name, quota)).collect()
    };
    all(first).intersection(&all(second)).next().cloned()
}

/// The name of one of several rates: the quota's and the period, which no two of its rates share.
fn name_for(base: &PolicyName, rate: &Rate) -> PolicyName {
    let text = rate.to_string();
    let period = text.split(['/', ' ']).nth(1).unwrap_or_default();
    let one = if period.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "1" };
    let room = PolicyName::MAX_BYTES.saturating_sub(one.len() + period.len() + "-".len());
    PolicyName::new(format!("{base:.room$}-{one}{period}")).unwrap_or_else(|_| base.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_field(quota: &str, name: &str) -> String {
        let announced = Announced::new(&name.parse().unwrap(), FieldSet::default(), &quota.parse().unwrap());
        announced.policy_field.unwrap().to_str().unwrap().to_owned()
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
}
