//! A state spread over separate fields: drafts 00 to 06, and the `X-` fields before them.

use std::borrow::Cow;
use std::time::Duration;

use super::super::generation::Generation;
use super::super::timestamp::{parse_http_date, parse_iso8601, parse_seconds};
use super::combined::policies;
use super::{Advice, Entry};

/// The names of a generation that spreads a state over separate fields.
pub(super) struct Names {
    generation: Generation,
    limit: &'static str,
    remaining: &'static str,
    reset: &'static str,
    /// Always a duration, where `reset` may be a point in time.
    reset_after: &'static str,
}

pub(super) const DRAFT_A: Names = Names {
    generation: Generation::DraftA,
    limit: "ratelimit-limit",
    remaining: "ratelimit-remaining",
    reset: "ratelimit-reset",
    reset_after: "ratelimit-reset-after",
};

pub(super) const LEGACY: Names = Names {
    generation: Generation::Legacy,
    limit: "x-ratelimit-limit",
    remaining: "x-ratelimit-remaining",
    reset: "x-ratelimit-reset",
    reset_after: "x-ratelimit-reset-after",
};

pub(super) const LEGACY_HYPHENATED: Names = Names {
    generation: Generation::Legacy,
    limit: "x-rate-limit-limit",
    remaining: "x-rate-limit-remaining",
    reset: "x-rate-limit-reset",
    reset_after: "x-rate-limit-reset-after",
};

/// A state, and the policies that its limit field may list (drafts 00 to 03, and proxies since). A limit alone is no
/// state: without a window it tells nobody when to send.
pub(super) fn separate_state<'a>(
    names: &Names,
    field: impl Fn(&'static str) -> Option<Cow<'a, [u8]>>,
    response_time: impl Fn() -> Duration,
) -> Option<(Entry, Vec<Entry>)> {
    let (remaining, reset) = (field(names.remaining), field(names.reset));
    if remaining.is_none() && reset.is_none() {
        return None;
    }
    let (limit, announced) = field(names.limit).and_then(|text| limit_field(&text)).unzip();
    let advice = Advice {
        limit,
        remaining: remaining.and_then(|text| count(&text)),
        reset_after: field(names.reset_after)
            .and_then(|text| parse_seconds(&text))
            .or_else(|| until_reset(&reset?, response_time)),
        generation: names.generation,
        ..Advice::default()
    };
    let says_something = advice.remaining.is_some() || advice.reset_after.is_some();
    says_something.then(|| (advice.into(), announced.unwrap_or_default()))
}

/// `100`, or `100, 100;w=60, 1000;w=3600`: the limit closest to its end, then the policies.
fn limit_field(text: &[u8]) -> Option<(u64, Vec<Entry>)> {
    if let Some(limit) = count(text) {
        return Some((limit, Vec::new()));
    }
    let mut announced = policies(text)?;
    let limit = announced.first()?.advice.limit?;
    announced.retain(|policy| policy.advice.window.is_some());
    Some((limit, announced))
}

/// Whole units, where some servers send decimals; saturates.
fn count(text: &[u8]) -> Option<u64> {
    parse_seconds(text).map(|number| number.as_secs())
}

/// A duration, or the time to an epoch or a date.
fn until_reset(text: &[u8], response_time: impl Fn() -> Duration) -> Option<Duration> {
    const FIRST_EPOCH: Duration = Duration::from_secs(1_000_000_000);
    const FIRST_EPOCH_MILLIS: Duration = Duration::from_secs(1_000_000_000_000);

    let point = match parse_seconds(text) {
        Some(duration) if duration < FIRST_EPOCH => return Some(duration),
        Some(epoch) if epoch < FIRST_EPOCH_MILLIS => epoch,
        Some(epoch_millis) => Duration::from_millis(epoch_millis.as_secs()),
        None => parse_iso8601(text).or_else(|| parse_http_date(text))?,
    };
    Some(point.saturating_sub(response_time()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, only, read, secs};
    use super::*;

    #[test]
    fn draft_a_is_three_fields_with_policies_in_either_place() {
        for response in [
            [("ratelimit-limit", "10"), ("ratelimit-policy", "10;w=1, 50;w=60")],
            [("ratelimit-limit", "10, 10;w=1;name=\"x\", 50;w=60"), ("other", "")],
        ] {
            let state = [("ratelimit-remaining", "0"), ("ratelimit-reset", "1")];
            let advice = read(&[response, state].concat());
            assert_eq!(advice.len(), 2);
            assert_eq!(advice[0].generation, Generation::DraftA);
            assert_eq!((advice[0].limit, advice[0].window), (Some(10), secs(1)));
            assert_eq!(advice[0].pause(), secs(1));
            assert_eq!((advice[1].limit, advice[1].window), (Some(50), secs(60)));
            assert_eq!(advice[1].pause(), None);
        }
    }

    #[test]
    fn each_malformed_separate_field_is_ignored_alone() {
        let advice =
            only(&[("x-ratelimit-limit", "many"), ("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", " 30 ")]);
        assert_eq!((advice.limit, advice.remaining), (None, None));
        assert_eq!(advice.reset_after, secs(30));
        assert!(read(&[("x-ratelimit-remaining", "5"), ("x-ratelimit-remaining", "3")]).is_empty());
        assert!(read(&[("x-ratelimit-limit", "5")]).is_empty());
        let huge = only(&[("x-ratelimit-limit", "99999999999999999999999"), ("x-ratelimit-reset", "1")]);
        assert_eq!(huge.limit, Some(u64::MAX));
    }

    #[test]
    fn legacy_resets_in_every_dialect() {
        for (value, expected) in [
            ("0", secs(0)),
            ("60", secs(60)),
            ("593.5", Some(Duration::from_millis(593_500))),
            ("999999999", secs(999_999_999)),
            ("1000000000", secs(1_000_000_000 - NOW.as_secs())),
            ("1000000000.25", Some(Duration::from_millis(250 + 1000 * (1_000_000_000 - NOW.as_secs())))),
            ("1700000000000", secs(1_700_000_000 - NOW.as_secs())),
            ("1994-11-06T08:50:07Z", secs(30)),
            ("1994-11-06T08:50Z", secs(23)),
            ("1994-11-06T09:50:07+01:00", secs(30)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", secs(30)),
            ("1994-01-01T00:00:00Z", secs(0)),
            ("-5", None),
            ("", None),
            ("tomorrow", None),
            ("1994-13-01T00:00:00Z", None),
        ] {
            let advice = only(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", value)]);
            assert_eq!(advice.reset_after, expected, "{value:?}");
        }
        let absurd = only(&[("x-ratelimit-reset", "99999999999999999999999999999")]);
        assert!(absurd.reset_after > secs(1_000_000_000));
    }

    #[test]
    fn an_epoch_counts_from_the_responses_own_clock() {
        let advice = only(&[("date", "Fri, 16 Aug 2024 12:00:00 GMT"), ("x-ratelimit-reset", "1723809630")]);
        assert_eq!(advice.reset_after, secs(30));
    }

    #[test]
    fn a_reset_after_is_preferred_to_a_reset() {
        let advice = only(&[
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1470173023.123"),
            ("x-ratelimit-reset-after", "64.57"),
        ]);
        assert_eq!(advice.pause(), Some(Duration::from_millis(64_570)));
    }

    #[test]
    fn the_hyphenated_spelling_is_legacy_too() {
        let advice = only(&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "9")]);
        assert_eq!((advice.generation, advice.pause()), (Generation::Legacy, secs(9)));
    }
}
