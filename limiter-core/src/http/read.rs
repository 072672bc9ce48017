//! What a client reads: the rate-limit fields of a response, of whatever generation.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use combined::{draft_b_state, policies, structured_states};
use separate::{DRAFT_A, LEGACY, LEGACY_HYPHENATED, separate_state};

use super::generation::Generation;
use super::timestamp::response_time;

mod combined;
mod separate;

/// What a server said about one of its policies; what it did not say is `None`.
///
/// Durations may be absurdly long: cap them ([`DEFAULT_CAP`](super::DEFAULT_CAP)) before adding them to an instant.
///
/// ```
/// use limiter_core::http::{Unit, read_advice};
/// use std::time::{Duration, SystemTime};
///
/// let response = [
///     ("ratelimit-policy", r#""daily";q=1000;w=86400"#),
///     ("ratelimit", r#""daily";r=50;t=30"#),
/// ];
/// let advice = read_advice(SystemTime::now(), |name| {
///     response.iter().filter(move |field| field.0 == name).map(|field| field.1.as_bytes())
/// });
/// assert_eq!(advice[0].name.as_deref(), Some("daily"));
/// assert_eq!(advice[0].limit, Some(1000));
/// assert_eq!(advice[0].window, Some(Duration::from_secs(86_400)));
/// assert_eq!(advice[0].remaining, Some(50));
/// assert_eq!(advice[0].reset_after, Some(Duration::from_secs(30)));
/// assert_eq!(advice[0].unit, Unit::Requests);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// The policy's name, where the generation has names; any printable ASCII, even none.
    pub name: Option<String>,
    /// The units a window grants.
    pub limit: Option<u64>,
    /// The units left.
    pub remaining: Option<u64>,
    /// Until units come back, from the moment of the response.
    pub reset_after: Option<Duration>,
    /// The window the limit is for; never zero.
    pub window: Option<Duration>,
    /// What the units are.
    pub unit: Unit,
    /// The generation it was read from.
    pub generation: Generation,
}

impl Advice {
    /// How long to send nothing: until the reset if nothing remains, else `None`. Not capped.
    ///
    /// ```
    /// use limiter_core::http::read_advice;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let read = |value: &'static str| {
    ///     read_advice(SystemTime::now(), |name| (name == "ratelimit").then_some(value.as_bytes()))
    /// };
    /// assert_eq!(read(r#""default";r=0;t=30"#)[0].pause(), Some(Duration::from_secs(30)));
    /// assert_eq!(read(r#""default";r=1;t=30"#)[0].pause(), None);
    /// ```
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        match self.remaining {
            Some(0) => self.reset_after,
            _ => None,
        }
    }
}

/// What a policy counts: the `qu` parameter of ratelimit-headers drafts 08 to 11.
///
/// ```
/// use limiter_core::http::{Unit, read_advice};
/// use std::time::SystemTime;
///
/// let policy = r#""upload";q=65535;qu="content-bytes";w=10"#.as_bytes();
/// let advice = read_advice(SystemTime::now(), |name| (name == "ratelimit-policy").then_some(policy));
/// assert_eq!(advice[0].unit, Unit::ContentBytes);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// `requests`, also where the server does not say.
    #[default]
    Requests,
    /// `content-bytes`: bytes of request bodies.
    ContentBytes,
    /// `concurrent-requests`: requests at the same time.
    ConcurrentRequests,
    /// A unit this version does not know.
    Other,
}

/// Reads every policy a response speaks of, in the newest generation that it has well-formed.
///
/// `fields` gives the values of a header field, one for each line, by its lower-case name; with an `http::HeaderMap`, that is
/// `|name| headers.get_all(name).iter().map(HeaderValue::as_bytes)`. `now` places points in time when the response has no
/// `Date` of its own.
///
/// Policies come in the server's order, those with a known state first. A malformed field (RFC 9651 §4.2), and one of more
/// than 8 KiB, is ignored whole. A response from a cache (it has `Age`, RFC 9111 §5.1) says nothing. A reset of separate
/// fields is seconds below 1,000,000,000, else an epoch, in milliseconds from 10^12; ISO 8601 and HTTP dates are read too.
/// Costs nine look-ups if there is nothing to read, and then allocates nothing.
///
/// ```
/// use limiter_core::http::{Generation, read_advice};
/// use std::time::{Duration, SystemTime};
///
/// let response = [
///     ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
///     ("x-ratelimit-limit", "5000"),
///     ("x-ratelimit-remaining", "0"),
///     ("x-ratelimit-reset", "1000000060"),
///     ("ratelimit", "malformed"),
/// ];
/// let advice = read_advice(SystemTime::now(), |name| {
///     response.iter().filter(move |field| field.0 == name).map(|field| field.1.as_bytes())
/// });
/// assert_eq!(advice[0].generation, Generation::Legacy);
/// assert_eq!(advice[0].limit, Some(5000));
/// assert_eq!(advice[0].pause(), Some(Duration::from_secs(1_000_000_060 - 784_111_777)));
/// ```
pub fn read_advice<'a, F, I>(now: SystemTime, fields: F) -> Vec<Advice>
where
    F: Fn(&'static str) -> I,
    I: IntoIterator<Item = &'a [u8]>,
{
    let first = |name| fields(name).into_iter().next();
    if first("age").is_some() {
        return Vec::new();
    }
    let field = |name| joined(fields(name));
    let response_time = || response_time(first("date"), now);

    let announced = field("ratelimit-policy").and_then(|text| policies(&text));
    let combined = field("ratelimit");
    let combined = combined.as_deref();
    if let Some(states) = combined.and_then(structured_states) {
        return join(states, announced.unwrap_or_default());
    }
    let separate =
        || [DRAFT_A, LEGACY, LEGACY_HYPHENATED].iter().find_map(|names| separate_state(names, field, response_time));
    match combined.and_then(draft_b_state).or_else(separate) {
        Some((state, also_announced)) => join(vec![state], announced.unwrap_or(also_announced)),
        None => join(Vec::new(), announced.unwrap_or_default()),
    }
}

/// What one member of a field says.
struct Entry {
    advice: Advice,
    /// Whose numbers these are: two partitions of one policy are not the same count.
    partition: Option<String>,
}

impl Entry {
    /// Whether this policy is the one `state` is a state of. A state without a name is known by its limit.
    fn describes(&self, state: &Self) -> bool {
        if state.advice.name.is_none() {
            return self.advice.limit.is_some() && self.advice.limit == state.advice.limit;
        }
        let same_partition = match (&self.partition, &state.partition) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        };
        self.advice.name == state.advice.name && same_partition
    }
}

/// States completed by their policies, then the policies without a state.
fn join(mut states: Vec<Entry>, mut policies: Vec<Entry>) -> Vec<Advice> {
    let mut has_state = vec![false; policies.len()];
    for state in &mut states {
        let described = policies.iter().zip(&mut has_state).find(|(policy, _)| policy.describes(state));
        if let Some((Entry { advice: policy, .. }, has_state)) = described {
            *has_state = true;
            state.advice.name = state.advice.name.take().or_else(|| policy.name.clone());
            state.advice.limit = policy.limit;
            state.advice.window = policy.window;
            state.advice.unit = policy.unit;
        }
    }
    let mut has_state = has_state.into_iter();
    policies.retain(|_| !has_state.next().unwrap_or(false));
    if let Some(state) = states.first() {
        // The two drafts that announce by number write policies alike.
        for policy in &mut policies {
            if policy.advice.generation == Generation::DraftA {
                policy.advice.generation = state.advice.generation;
            }
        }
    }
    states.into_iter().chain(policies).map(|entry| entry.advice).collect()
}

/// The lines of a field as one value (RFC 9110 §5.3); blank ones say nothing.
fn joined<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    const MAX_BYTES: usize = 8192;

    let mut value = Cow::Borrowed(&[][..]);
    for line in lines {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if value.is_empty() {
            value = Cow::Borrowed(line);
        } else {
            let value = value.to_mut();
            value.extend_from_slice(b", ");
            value.extend_from_slice(line);
        }
        if value.len() > MAX_BYTES {
            return None;
        }
    }
    Some(value).filter(|value| !value.is_empty())
}

impl From<Advice> for Entry {
    fn from(advice: Advice) -> Self {
        Self { advice, partition: None }
    }
}

/// Responses as slices of fields.
#[cfg(test)]
mod testing {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT is when the tests' responses arrive.
    pub(super) const NOW: Duration = Duration::from_secs(784_111_777);

    pub(super) fn read<N: AsRef<str>, V: AsRef<[u8]>>(response: &[(N, V)]) -> Vec<Advice> {
        read_advice(UNIX_EPOCH + NOW, |name| {
            response.iter().filter(move |(field, _)| field.as_ref() == name).map(|(_, value)| value.as_ref())
        })
    }

    pub(super) fn only(response: &[(&str, &str)]) -> Advice {
        let mut advice = read(response);
        assert_eq!(advice.len(), 1, "{response:?}: {advice:?}");
        advice.remove(0)
    }

    pub(super) fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::{FieldSet, Policy, PolicyName, PolicyState};
    use super::testing::{only, read, secs};
    use super::*;

    #[test]
    fn what_we_write_we_read_back_in_every_generation() {
        let names = ["burst", r#"a"b\c, d;e=f"#].map(|name| PolicyName::new(name).unwrap());
        let policies = [0, 1].map(|index| Policy {
            name: &names[index],
            limit: 100 * (index as u64 + 1),
            window: Duration::from_secs(60),
        });
        let states = [0, 1].map(|index| PolicyState {
            name: &names[index],
            limit: policies[index].limit,
            remaining: 7 * index as u64,
            reset_after: Duration::from_millis(29_001),
            retry_after: None,
        });
        for generation in [Generation::Legacy, Generation::DraftA, Generation::DraftB, Generation::Structured] {
            let set = FieldSet::from(generation);
            let mut sent = Vec::from_iter(set.policy_field(policies));
            set.state_fields(states, |name, value| sent.push((name, value)));
            let advice = read(&sent);

            let first = &advice[0];
            assert_eq!(first.generation, generation);
            assert_eq!((first.limit, first.remaining), (Some(100), Some(0)));
            assert_eq!(first.pause(), secs(30), "{generation:?}");
            if generation == Generation::Legacy {
                assert_eq!(advice.len(), 1);
                continue;
            }
            assert_eq!(first.window, secs(60), "{generation:?}");
            let second = &advice[1];
            assert_eq!((second.limit, second.window), (Some(200), secs(60)));
            assert_eq!(second.generation, generation);
            if generation == Generation::Structured {
                let read_names = advice.iter().map(|advice| advice.name.as_deref());
                assert!(read_names.eq(names.iter().map(|name| Some(name.as_str()))));
                assert_eq!(second.remaining, Some(7));
            }
        }
    }

    #[test]
    fn every_set_of_generations_reads_as_its_newest() {
        let name = PolicyName::default();
        let state = PolicyState {
            name: &name,
            limit: u64::MAX,
            remaining: 3,
            reset_after: Duration::MAX,
            retry_after: Some(Duration::from_millis(1)),
        };
        let newest_first = [Generation::Structured, Generation::DraftB, Generation::DraftA, Generation::Legacy];
        for (index, newest) in newest_first.into_iter().enumerate() {
            let set = newest_first.into_iter().skip(index).collect::<FieldSet>();
            let mut sent = Vec::new();
            set.state_fields([state], |name, value| sent.push((name, value)));
            let advice = read(&sent);
            assert_eq!(advice.len(), 1);
            assert_eq!(advice[0].generation, newest);
            assert_eq!(advice[0].remaining, Some(3));
            assert_eq!(advice[0].reset_after, secs(1));
        }
    }

    #[test]
    fn a_cached_response_says_nothing() {
        for age in ["0", "10", "", "nonsense"] {
            assert!(read(&[("age", age), ("ratelimit", r#""a";r=0;t=1"#)]).is_empty());
        }
    }

    #[test]
    fn the_newest_well_formed_generation_is_read() {
        let legacy = ("x-ratelimit-remaining", "4");
        let draft_a = ("ratelimit-remaining", "3");
        for (field, expected) in
            [(r#""a";r=1"#, Generation::Structured), ("remaining=2", Generation::DraftB), ("???", Generation::DraftA)]
        {
            let advice = only(&[legacy, draft_a, ("ratelimit", field)]);
            assert_eq!(advice.generation, expected);
        }
        assert_eq!(only(&[legacy, ("ratelimit-remaining", "x")]).generation, Generation::Legacy);
    }

    #[test]
    fn blank_lines_and_oversized_fields_say_nothing() {
        let advice = only(&[("ratelimit", " "), ("ratelimit", r#""a";r=1"#), ("ratelimit", "")]);
        assert_eq!(advice.remaining, Some(1));
        let item = r#""a";r=1"#;
        assert_eq!(read(&vec![("ratelimit", item); 800]).len(), 800);
        assert!(read(&vec![("ratelimit", item); 1000]).is_empty());
        assert!(read(&[("x-ratelimit-reset", "1".repeat(10_000))]).is_empty());
    }

    #[test]
    fn hostile_bytes_never_panic() {
        const FIELDS: [&str; 10] = [
            "ratelimit",
            "ratelimit-policy",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "x-ratelimit-limit",
            "x-ratelimit-reset",
            "x-ratelimit-reset-after",
            "x-rate-limit-reset",
            "date",
        ];
        let alphabet = b"\"\\:;,=?@%()-.*azAZ0919TZ rtqw \t\0\xff\xc3\xa9";
        // A linear congruential generator: the same bytes each run, without a dependency.
        let mut seed = 1_u64;
        let mut next = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % bound
        };
        for _ in 0..20_000 {
            let length = next(24);
            let value: Vec<u8> = (0..length).map(|_| alphabet[next(alphabet.len())]).collect();
            let response = FIELDS.map(|name| (name, value.as_slice()));
            for advice in read(&response) {
                assert_ne!(advice.window, Some(Duration::ZERO));
            }
            let _ = super::super::parse_retry_after(&value, Some(&value), UNIX_EPOCH);
        }
    }
}
