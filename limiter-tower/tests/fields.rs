//! Header fields of every generation, read by an independent parser, say what the decision says.

#![allow(clippy::unwrap_used)]

#[path = "../../limiter-core/tests/support/random.rs"]
#[allow(dead_code)]
mod random;
mod support;

use http::{HeaderMap, Request, Response, StatusCode};
use limiter_core::{Decision, Limiter, ManualClock, Quota, Rate, RateState, Timestamp};
use limiter_tower::{FieldSet, Generation, PolicyName, RateLimitLayer, Verdict};
use random::Rng;
use std::{cmp::Reverse, collections::BTreeMap, convert::Infallible, time::Duration};
use support::fields::{dictionary, integer, integers, strings};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

const GENERATIONS: [Generation; 4] =
    [Generation::Legacy, Generation::DraftA, Generation::DraftB, Generation::Structured];

const QUOTAS: [&str; 9] = [
    "1/s",
    "5/s burst 20",
    "7/1500ms",
    "3/min, 10/h",
    "fixed_window 4/min",
    "fixed_window 2/s, 9/min, 20/h",
    "sliding_window 10/min",
    "sliding_log 3/s",
    "sliding_log 2/s, 6/min, 30/day",
];

/// A service whose responses have the decision that let the request in, behind a limit on virtual time.
struct Subject {
    clock: ManualClock,
    limiter: Limiter,
    service: BoxCloneSyncService<Request<()>, Response<String>, Infallible>,
    quota: Quota,
}

/// What a request got, and what was decided on it.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    decision: Decision,
}

impl Subject {
    fn new(quota: &str, fields: FieldSet, name: &PolicyName) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_123_456));
        let quota: Quota = quota.parse().unwrap();
        let limiter = Limiter::builder(quota.clone()).clock(clock.clone()).build();
        let layer = RateLimitLayer::new(limiter.clone()).fields(fields).policy_name(name.clone());
        let layer = layer.cost(|request| request.headers["x-cost"].to_str().unwrap().parse().unwrap());
        let echo = service_fn(async |request: Request<()>| {
            let mut response = Response::new(String::new());
            let verdict = request.extensions().get::<Verdict>().unwrap();
            response.extensions_mut().insert(verdict.decision().clone());
            Ok(response)
        });
        let service = BoxCloneSyncService::new(layer.layer(echo));
        Self { clock, limiter, service, quota }
    }

    async fn send(&self, cost: u64) -> Answer {
        // On virtual time a denial is what a look would have said.
        let denial = self.limiter.peek_n((), cost).unwrap();
        let request = Request::get("/").header("x-cost", cost).body(()).unwrap();
        let (head, _) = self.service.clone().oneshot(request).await.unwrap().into_parts();
        let admitted = head.extensions.get::<Decision>().cloned();
        assert_eq!(admitted.is_some(), head.status == StatusCode::OK);
        assert_eq!(head.status == StatusCode::OK, denial.allowed(), "{}", head.status);
        Answer { status: head.status, headers: head.headers, decision: admitted.unwrap_or(denial) }
    }
}

/// A stream of requests, of most of which the answers are checked.
async fn stream(fields: FieldSet, check: impl Fn(&Quota, &Answer)) {
    let mut rng = Rng::new(11);
    let mut denials = 0;
    for quota in QUOTAS {
        let subject = Subject::new(quota, fields, &PolicyName::default());
        for _ in 0..200 {
            let cost = rng.between(0, subject.quota.capacity().min(2));
            let answer = subject.send(cost).await;
            check(&subject.quota, &answer);
            let step = Duration::from_micros(rng.below(3_000_000));
            match answer.status {
                StatusCode::OK => subject.clock.advance(if rng.one_in(3) { step } else { Duration::ZERO }),
                _ => {
                    denials += 1;
                    subject.clock.advance(Duration::from_secs(integer(&answer.headers, "retry-after")));
                    let obeyed = subject.send(cost).await;
                    assert_eq!(obeyed.status, StatusCode::OK, "{quota}: who waits as told is admitted");
                    check(&subject.quota, &obeyed);
                }
            }
        }
    }
    assert!(denials > 100, "{denials} denials show little");
}

/// A duration in whole seconds, rounded up: by other means than the crate's.
fn seconds_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000_000)).unwrap()
}

/// Units and seconds: those of a rate, or those of its bucket where that holds more.
fn announced(rate: &Rate) -> (u64, u64) {
    let capacity = rate.capacity().max(rate.limit());
    let period = u64::try_from(rate.period().as_micros()).unwrap();
    (capacity, (period * capacity).div_ceil(rate.limit()).div_ceil(1_000_000))
}

/// Until all units are back, or until one is where none is left, or until this request fits.
fn wait(rate: &RateState, is_denied: bool) -> Duration {
    match (is_denied, rate.remaining()) {
        (true, _) => rate.retry_after(),
        (false, 0) => rate.next_unit_after(),
        (false, _) => rate.reset_after(),
    }
}

/// Units left, and the wait in the seconds that are told.
fn left(rate: &RateState, is_denied: bool) -> (u64, u64) {
    (rate.remaining(), seconds_up(wait(rate, is_denied)).max(u64::from(is_denied)))
}

/// The rates that are told of: all, or those that refuse.
fn reported(decision: &Decision) -> impl Iterator<Item = (usize, &RateState)> {
    let rates = decision.rates().iter().enumerate();
    rates.filter(|(_, rate)| decision.allowed() || !rate.retry_after().is_zero())
}

/// The one rate that fields with room for one tell of: the longest wait, else the fewest left, then the longest wait;
/// of equals the last.
fn tightest(decision: &Decision) -> (usize, &RateState) {
    let tightness = |(_, rate): &(usize, &RateState)| {
        (rate.retry_after(), Reverse(rate.remaining()), wait(rate, !decision.allowed()))
    };
    reported(decision).max_by_key(tightness).unwrap()
}

fn map<const N: usize>(entries: [(&str, u64); N]) -> BTreeMap<String, u64> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn structured_agrees(quota: &Quota, Answer { status, headers, decision }: &Answer) {
    let policies = strings(headers, "ratelimit-policy");
    let named: Vec<_> = quota.rates().iter().map(announced).map(|(q, w)| map([("q", q), ("w", w)])).collect();
    assert_eq!(policies.iter().map(|policy| policy.parameters.clone()).collect::<Vec<_>>(), named);

    let states = strings(headers, "ratelimit");
    let told = |(place, rate): (usize, &RateState)| {
        let (r, t) = left(rate, !decision.allowed());
        (policies[place].value.clone(), map([("r", r), ("t", t)]))
    };
    let expected: Vec<_> = reported(decision).map(told).collect();
    assert_eq!(states.into_iter().map(|state| (state.value, state.parameters)).collect::<Vec<_>>(), expected);
    if *status == StatusCode::TOO_MANY_REQUESTS {
        let longest = expected.iter().map(|(_, parameters)| parameters["t"]).max();
        assert_eq!(Some(integer(headers, "retry-after")), longest, "not earlier than any t, and not later");
    }
}

fn draft_policies_agree(quota: &Quota, Answer { headers, .. }: &Answer) {
    let policies = integers(headers, "ratelimit-policy");
    let policies: Vec<_> = policies.iter().map(|policy| (policy.value, policy.parameters["w"])).collect();
    assert_eq!(policies, quota.rates().iter().map(announced).collect::<Vec<_>>());
}

/// Limit, remaining and reset, as the decision has them.
fn three_numbers(quota: &Quota, Answer { decision, .. }: &Answer) -> [u64; 3] {
    let (place, rate) = tightest(decision);
    let (remaining, reset) = left(rate, !decision.allowed());
    [announced(&quota.rates()[place]).0, remaining, reset]
}

#[tokio::test]
async fn the_newest_fields_are_structured_and_say_what_was_decided() {
    stream(Generation::Structured.into(), structured_agrees).await;
}

#[tokio::test]
async fn draft_07_is_a_dictionary_that_says_what_was_decided() {
    stream(Generation::DraftB.into(), |quota, answer| {
        let [limit, remaining, reset] = three_numbers(quota, answer);
        let expected = map([("limit", limit), ("remaining", remaining), ("reset", reset)]);
        assert_eq!(dictionary(&answer.headers, "ratelimit"), expected);
        draft_policies_agree(quota, answer);
    })
    .await;
}

#[tokio::test]
async fn separate_fields_say_what_was_decided() {
    for (generation, prefix) in [(Generation::DraftA, ""), (Generation::Legacy, "x-")] {
        stream(generation.into(), |quota, answer| {
            let number = |name| integer(&answer.headers, &format!("{prefix}ratelimit-{name}"));
            assert_eq!([number("limit"), number("remaining"), number("reset")], three_numbers(quota, answer));
            match generation {
                Generation::DraftA => draft_policies_agree(quota, answer),
                _ => assert!(!answer.headers.contains_key("ratelimit-policy")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn all_generations_at_once_agree() {
    stream(GENERATIONS.into(), |quota, answer| {
        structured_agrees(quota, answer);
        for prefix in ["", "x-"] {
            let number = |name| integer(&answer.headers, &format!("{prefix}ratelimit-{name}"));
            assert_eq!([number("limit"), number("remaining"), number("reset")], three_numbers(quota, answer));
        }
    })
    .await;
}

#[tokio::test]
async fn a_policys_name_comes_through_whatever_is_in_it() {
    let printable: String = (' '..='~').collect();
    for name in ["a", "with space", r#"quote " and \ backslash"#, ";r=9;t=0,\"x\"", "\\\\\"\"", &printable] {
        let name = PolicyName::new(name).unwrap();
        for quota in ["1/h", "sliding_log 1/h, 5/day"] {
            let subject = Subject::new(quota, FieldSet::default(), &name);
            for expected in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
                let answer = subject.send(1).await;
                assert_eq!(answer.status, expected);
                for field in ["ratelimit-policy", "ratelimit"] {
                    let told = strings(&answer.headers, field);
                    assert!(told.iter().all(|member| member.value.starts_with(name.as_str())), "{told:?}");
                }
            }
        }
    }
}

/// What no name can bring in; the names a layer takes are checked when they are made.
#[test]
fn nothing_that_could_end_a_header_is_a_policys_name() {
    for name in ["a\r\nset-cookie: b", "a\nb", "\r", "a\0", "\u{7f}", "caf\u{e9}", ""] {
        let error = PolicyName::new(name).unwrap_err().to_string();
        assert!(error.contains("printable ASCII") || error.contains("at least one byte"), "{error}");
    }
}

#[tokio::test]
async fn numbers_too_large_for_a_structured_integer_are_clamped() {
    let subject = Subject::new("2000000000000000/30days", FieldSet::default(), &PolicyName::default());
    let answer = subject.send(1).await;
    assert_eq!(strings(&answer.headers, "ratelimit-policy")[0].parameters["q"], 999_999_999_999_999);
    assert_eq!(strings(&answer.headers, "ratelimit")[0].parameters["r"], 999_999_999_999_999);
}

#[tokio::test]
async fn what_is_left_only_falls_while_requests_come_at_once() {
    for quota in ["20/h", "fixed_window 20/h", "sliding_window 20/h", "sliding_log 20/h", "20/h burst 30"] {
        let subject = Subject::new(quota, GENERATIONS.into(), &PolicyName::default());
        let mut left = subject.quota.capacity();
        for _ in 0..subject.quota.capacity() {
            let answer = subject.send(1).await;
            left -= 1;
            assert_eq!(strings(&answer.headers, "ratelimit")[0].parameters["r"], left, "{quota}");
            assert_eq!(integer(&answer.headers, "x-ratelimit-remaining"), left, "{quota}");
        }
        assert_eq!((left, subject.send(1).await.status), (0, StatusCode::TOO_MANY_REQUESTS), "{quota}");
    }
}
