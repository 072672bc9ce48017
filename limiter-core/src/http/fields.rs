//! What a server sends: the policies of a response, and what is left of each, in any generation of fields.

use std::cmp::Reverse;
use std::time::Duration;

use super::generation::{FieldSet, Generation};
use super::policy::PolicyName;
use super::retry_after::retry_after_seconds;
use super::structured::MAX_INTEGER;
use super::timestamp::ceil_seconds;

/// A policy, as `RateLimit-Policy` announces it: the same for every response of a quota, so its value can be kept.
///
/// ```
/// use limiter_core::http::{FieldSet, Policy, PolicyName};
/// use std::time::Duration;
///
/// let (burst, daily) = (PolicyName::new("burst")?, PolicyName::new("daily")?);
/// let policies = [
///     Policy { name: &burst, limit: 100, window: Duration::from_secs(60) },
///     Policy { name: &daily, limit: 1000, window: Duration::from_secs(86_400) },
/// ];
/// let (name, value) = FieldSet::default().policy_field(policies).unwrap();
/// assert_eq!(name, "ratelimit-policy");
/// assert_eq!(value, r#""burst";q=100;w=60,"daily";q=1000;w=86400"#);
/// # Ok::<(), limiter_core::http::PolicyNameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Its name, unique in the response.
    pub name: &'a PolicyName,
    /// The units it grants in a window.
    pub limit: u64,
    /// The window; sent in whole seconds, rounded up, at least 1.
    pub window: Duration,
}

/// What a decision left of a policy.
///
/// ```
/// use limiter_core::http::{FieldSet, Generation, PolicyName, PolicyState};
/// use std::time::Duration;
///
/// let name = PolicyName::default();
/// let state = PolicyState {
///     name: &name,
///     limit: 100,
///     remaining: 50,
///     reset_after: Duration::from_secs(5),
///     retry_after: None,
/// };
/// let mut sent = Vec::new();
/// FieldSet::from(Generation::DraftB).state_fields([state], |name, value| sent.push((name, value)));
/// assert_eq!(sent, [("ratelimit", "limit=100, remaining=50, reset=5".to_owned())]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyState<'a> {
    /// The policy's name.
    pub name: &'a PolicyName,
    /// The units it grants in a window.
    pub limit: u64,
    /// The units left.
    pub remaining: u64,
    /// Until it resets: the decision's reset-after; sent in whole seconds, rounded up.
    pub reset_after: Duration,
    /// Until this request would be admitted, if the policy refused it; then sent in place of `reset_after`,
    /// as [`retry_after_seconds`] rounds it.
    pub retry_after: Option<Duration>,
}

impl PolicyState<'_> {
    fn reset_seconds(&self) -> u64 {
        match self.retry_after {
            Some(wait) => retry_after_seconds(wait),
            None => ceil_seconds(self.reset_after),
        }
    }
}

impl FieldSet {
    /// The `RateLimit-Policy` field, its name in lower case; `None` if there are no policies or only
    /// [`Generation::Legacy`] is wanted, which has no such field.
    ///
    /// ```
    /// use limiter_core::http::{FieldSet, Generation, Policy, PolicyName};
    /// use std::time::Duration;
    ///
    /// let name = PolicyName::default();
    /// let policy = Policy { name: &name, limit: 100, window: Duration::from_secs(60) };
    /// let field = FieldSet::from(Generation::DraftA).policy_field([policy]);
    /// assert_eq!(field, Some(("ratelimit-policy", "100;w=60".to_owned())));
    /// assert_eq!(FieldSet::from(Generation::Legacy).policy_field([policy]), None);
    /// ```
    pub fn policy_field<'a>(
        self,
        policies: impl IntoIterator<Item = Policy<'a>, IntoIter: Clone>,
    ) -> Option<(&'static str, String)> {
        let policies = policies.into_iter();
        policies.clone().next()?;
        let value = if self.contains(Generation::Structured) {
            structured_policies(policies)
        } else if self.contains(Generation::DraftA) || self.contains(Generation::DraftB) {
            draft_policies(policies)
        } else {
            return None;
        };
        Some(("ratelimit-policy", value))
    }

    /// Calls `emit` with the name (in lower case) and the value of each field that says what is left.
    ///
    /// Where a policy refused the request, only those that did are reported. The generations with room for one policy get
    /// the tightest: of those that refused, the longest wait; else the least remaining, then the longest reset.
    /// Nothing is emitted if there are no states.
    ///
    /// ```
    /// use limiter_core::http::{FieldSet, Generation, PolicyName, PolicyState};
    /// use std::time::Duration;
    ///
    /// let (burst, daily) = (PolicyName::new("burst")?, PolicyName::new("daily")?);
    /// let reset_after = Duration::from_secs(3600);
    /// let states = [
    ///     PolicyState { name: &burst, limit: 9, remaining: 2, reset_after, retry_after: None },
    ///     PolicyState { name: &daily, limit: 99, remaining: 0, reset_after, retry_after: Some(Duration::from_millis(1)) },
    /// ];
    /// let mut sent = Vec::new();
    /// FieldSet::from([Generation::Structured, Generation::DraftA]).state_fields(states, |name, value| {
    ///     sent.push(format!("{name}: {value}"));
    /// });
    /// assert_eq!(sent, [
    ///     r#"ratelimit: "daily";r=0;t=1"#,
    ///     "ratelimit-limit: 99",
    ///     "ratelimit-remaining: 0",
    ///     "ratelimit-reset: 1",
    /// ]);
    /// # Ok::<(), limiter_core::http::PolicyNameError>(())
    /// ```
    pub fn state_fields<'a>(
        self,
        states: impl IntoIterator<Item = PolicyState<'a>, IntoIter: Clone>,
        mut emit: impl FnMut(&'static str, String),
    ) {
        let states = states.into_iter();
        let Some(tightest) = states.clone().max_by_key(tightness) else {
            return;
        };
        if self.contains(Generation::Structured) {
            let refused = tightest.retry_after.is_some();
            let reported = states.filter(move |state| state.retry_after.is_some() == refused);
            emit("ratelimit", structured_states(reported));
        } else if self.contains(Generation::DraftB) {
            emit("ratelimit", draft_b_state(tightest));
        }
        if self.contains(Generation::DraftA) {
            emit("ratelimit-limit", integer(tightest.limit));
            emit("ratelimit-remaining", integer(tightest.remaining));
            emit("ratelimit-reset", integer(tightest.reset_seconds()));
        }
        if self.contains(Generation::Legacy) {
            // One more second and readers would take it for a point in time.
            const MAX_LEGACY_RESET: u64 = 999_999_999;
            let reset = tightest.reset_seconds().min(MAX_LEGACY_RESET);
            emit("x-ratelimit-limit", integer(tightest.limit));
            emit("x-ratelimit-remaining", integer(tightest.remaining));
            emit("x-ratelimit-reset", integer(reset));
        }
    }
}

/// Greatest for the tightest; `None` sorts before any wait.
fn tightness(state: &PolicyState<'_>) -> (Option<Duration>, Reverse<u64>, Duration) {
    (state.retry_after, Reverse(state.remaining), state.reset_after)
}

fn structured_policies<'a>(policies: impl Iterator<Item = Policy<'a>> + Clone) -> String {
    let length = |policy: Policy<'_>| {
        let integers = integer_len(policy.limit) + integer_len(window_seconds(policy));
        policy.name.quoted_len() + ";q=;w=".len() + integers
    };
    list(policies, ",", length, |out, policy| {
        policy.name.push_quoted(out);
        out.push_str(";q=");
        push_integer(out, policy.limit);
        out.push_str(";w=");
        push_integer(out, window_seconds(policy));
    })
}

fn draft_policies<'a>(policies: impl Iterator<Item = Policy<'a>> + Clone) -> String {
    let length = |policy: Policy<'_>| integer_len(policy.limit) + ";w=".len() + integer_len(window_seconds(policy));
    list(policies, ", ", length, |out, policy| {
        push_integer(out, policy.limit);
        out.push_str(";w=");
        push_integer(out, window_seconds(policy));
    })
}

fn structured_states<'a>(states: impl Iterator<Item = PolicyState<'a>> + Clone) -> String {
    let length = |state: PolicyState<'_>| {
        let integers = integer_len(state.remaining) + integer_len(state.reset_seconds());
        state.name.quoted_len() + ";r=;t=".len() + integers
    };
    list(states, ",", length, |out, state| {
        state.name.push_quoted(out);
        out.push_str(";r=");
        push_integer(out, state.remaining);
        out.push_str(";t=");
        push_integer(out, state.reset_seconds());
    })
}

fn draft_b_state(state: PolicyState<'_>) -> String {
    let reset = state.reset_seconds();
    let integers = integer_len(state.limit) + integer_len(state.remaining) + integer_len(reset);
    let mut out = String::with_capacity("limit=, remaining=, reset=".len() + integers);
    out.push_str("limit=");
    push_integer(&mut out, state.limit);
    out.push_str(", remaining=");
    push_integer(&mut out, state.remaining);
    out.push_str(", reset=");
    push_integer(&mut out, reset);
    out
}

/// Measures, then writes: a value whose capacity is its length becomes a shared buffer without another allocation.
fn list<T>(
    items: impl Iterator<Item = T> + Clone,
    separator: &str,
    length: impl Fn(T) -> usize,
    push: impl Fn(&mut String, T),
) -> String {
    let total: usize = items.clone().map(|item| length(item) + separator.len()).sum();
    let mut out = String::with_capacity(total.saturating_sub(separator.len()));
    for item in items {
        if !out.is_empty() {
            out.push_str(separator);
        }
        push(&mut out, item);
    }
    out
}

fn window_seconds(policy: Policy<'_>) -> u64 {
    ceil_seconds(policy.window).max(1)
}

fn integer(number: u64) -> String {
    let mut out = String::with_capacity(integer_len(number));
    push_integer(&mut out, number);
    out
}

fn integer_len(number: u64) -> usize {
    number.min(MAX_INTEGER).checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn push_integer(out: &mut String, number: u64) {
    let mut rest = number.min(MAX_INTEGER);
    let mut digits = [b'0'; 15];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10).to_le_bytes()[0];
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[start..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PolicyName {
        PolicyName::new(text).unwrap()
    }

    fn state(name: &PolicyName, remaining: u64, reset_millis: u64) -> PolicyState<'_> {
        PolicyState { name, limit: 100, remaining, reset_after: Duration::from_millis(reset_millis), retry_after: None }
    }

    fn render(set: impl Into<FieldSet>, states: &[PolicyState<'_>]) -> Vec<String> {
        let mut sent = Vec::new();
        set.into().state_fields(states.iter().copied(), |name, value| {
            assert_eq!(value.capacity(), value.len(), "{name}: {value}");
            sent.push(format!("{name}: {value}"));
        });
        sent
    }

    #[test]
    fn structured_fields_are_as_the_draft_writes_them() {
        let (burst, default) = (name("burst"), name("default"));
        assert_eq!(render(FieldSet::default(), &[state(&default, 50, 30_000)]), [r#"ratelimit: "default";r=50;t=30"#]);
        assert_eq!(
            render(FieldSet::default(), &[state(&default, 0, 1), state(&burst, 9, 0)]),
            [r#"ratelimit: "default";r=0;t=1,"burst";r=9;t=0"#]
        );
    }

    #[test]
    fn older_generations_are_as_their_drafts_write_them() {
        let default = name("default");
        let states = [state(&default, 50, 4_200)];
        assert_eq!(render(Generation::DraftB, &states), ["ratelimit: limit=100, remaining=50, reset=5"]);
        assert_eq!(
            render(Generation::DraftA, &states),
            ["ratelimit-limit: 100", "ratelimit-remaining: 50", "ratelimit-reset: 5"]
        );
        assert_eq!(
            render(Generation::Legacy, &states),
            ["x-ratelimit-limit: 100", "x-ratelimit-remaining: 50", "x-ratelimit-reset: 5"]
        );
    }

    #[test]
    fn no_field_name_is_emitted_twice_whatever_the_set() {
        let default = name("default");
        for bits in 0..16 {
            let members = (0..4).filter(|bit| bits >> bit & 1 == 1);
            let set: FieldSet = members.map(|bit| Generation::ALL[bit]).collect();
            let mut names = Vec::new();
            set.state_fields([state(&default, 1, 1)], |name, _| names.push(name));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{set:?}");
            assert_eq!(count == 0, set == FieldSet::NONE);
        }
    }

    #[test]
    fn the_newest_generation_has_the_shared_name() {
        let default = name("default");
        let sent = render([Generation::DraftB, Generation::Structured], &[state(&default, 1, 0)]);
        assert_eq!(sent, [r#"ratelimit: "default";r=1;t=0"#]);
    }

    #[test]
    fn one_policy_generations_report_the_tightest() {
        let (a, b) = (name("a"), name("b"));
        let refused = |millis| PolicyState { retry_after: Some(Duration::from_millis(millis)), ..state(&a, 3, 99_000) };
        for (states, expected) in [
            ([state(&a, 3, 9_000), state(&b, 2, 1_000)], "remaining=2, reset=1"),
            ([state(&a, 2, 9_000), state(&b, 2, 1_000)], "remaining=2, reset=9"),
            ([refused(1_001), state(&b, 0, 5_000)], "remaining=3, reset=2"),
            ([refused(1_001), refused(7_000)], "remaining=3, reset=7"),
            ([refused(0), state(&b, 0, 0)], "remaining=3, reset=1"),
        ] {
            let sent = render(Generation::DraftB, &states);
            assert_eq!(sent, [format!("ratelimit: limit=100, {expected}")]);
        }
    }

    #[test]
    fn a_denial_lists_only_the_violated_policies_with_their_waits() {
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let wait =
            |name, millis| PolicyState { retry_after: Some(Duration::from_millis(millis)), ..state(name, 0, 60_000) };
        assert_eq!(
            render(FieldSet::default(), &[wait(&a, 0), state(&b, 5, 0), wait(&c, 1_500)]),
            [r#"ratelimit: "a";r=0;t=1,"c";r=0;t=2"#]
        );
    }

    #[test]
    fn policies_list_name_quota_and_window() {
        let (burst, odd) = (name("burst"), name(r#"a"b\c"#));
        let policies = [
            Policy { name: &burst, limit: 10, window: Duration::from_millis(100) },
            Policy { name: &odd, limit: 0, window: Duration::from_millis(60_001) },
        ];
        for (set, expected) in [
            (FieldSet::default(), Some(r#""burst";q=10;w=1,"a\"b\\c";q=0;w=61"#)),
            (Generation::DraftB.into(), Some("10;w=1, 0;w=61")),
            ([Generation::DraftA, Generation::Legacy].into(), Some("10;w=1, 0;w=61")),
            (Generation::Legacy.into(), None),
            (FieldSet::NONE, None),
        ] {
            let field = set.policy_field(policies);
            assert_eq!(field.as_ref().map(|(_, value)| value.as_str()), expected, "{set:?}");
            if let Some((name, value)) = field {
                assert_eq!(name, "ratelimit-policy");
                assert_eq!(value.capacity(), value.len());
            }
        }
    }

    #[test]
    fn a_window_is_at_least_a_second() {
        let name = PolicyName::default();
        for (nanos, value) in [(0, "1;w=1"), (1, "1;w=1"), (1_000_000_001, "1;w=2")] {
            let window = Duration::from_nanos(nanos);
            let policy = Policy { name: &name, limit: 1, window };
            let field = FieldSet::from(Generation::DraftB).policy_field([policy]);
            assert_eq!(field, Some(("ratelimit-policy", value.to_owned())));
        }
    }

    #[test]
    fn nothing_is_sent_for_nothing() {
        assert_eq!(FieldSet::default().policy_field([]), None);
        assert!(render(FieldSet::default(), &[]).is_empty());
    }

    #[test]
    fn absurd_numbers_are_clamped_to_fifteen_digits() {
        let n = name("n");
        let absurd = PolicyState {
            name: &n,
            limit: u64::MAX,
            remaining: u64::MAX,
            reset_after: Duration::MAX,
            retry_after: None,
        };
        assert_eq!(render(FieldSet::default(), &[absurd]), [r#"ratelimit: "n";r=999999999999999;t=999999999999999"#]);
        let policy = Policy { name: &n, limit: 1_000_000_000_000_000, window: Duration::MAX };
        assert_eq!(FieldSet::default().policy_field([policy]).unwrap().1, r#""n";q=999999999999999;w=999999999999999"#);
        let legacy = render(Generation::Legacy, &[absurd]);
        assert_eq!(legacy[2], "x-ratelimit-reset: 999999999");
    }

    #[test]
    fn integers_are_decimal_and_measured_exactly() {
        for number in [0, 1, 9, 10, 99, 100, 123_456_789, 999_999_999_999_999] {
            let text = integer(number);
            assert_eq!(text, number.to_string());
            assert_eq!(text.len(), integer_len(number));
        }
    }
}
