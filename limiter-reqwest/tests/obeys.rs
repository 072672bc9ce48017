//! Servers that ask for a pause get it, from every task and to the microsecond.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Task, client, eventually, in_line, status, virtual_limiter, waiting};
use limiter_core::{Limiter, ManualClock, http::DEFAULT_CAP};
use limiter_reqwest::{RateLimitMiddleware, host_key};
use reqwest_middleware::ClientWithMiddleware;
use std::time::{Duration, Instant};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// How long a 429 pauses that does not say: as long as one unit takes.
const UNSAID: Duration = Duration::from_millis(10);
const MICROSECOND: Duration = Duration::from_micros(1);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(status: u16, fields: &[(&str, &str)]) -> ResponseTemplate {
    fields.iter().fold(ResponseTemplate::new(status), |answer, &(name, value)| answer.append_header(name, value))
}

/// A server that gives `first` to its first request and 200 to all others.
async fn server(first: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(first).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

/// One after the other of `tasks` is answered, each `pace` after the one before; the first one now.
async fn end_at_pace(tasks: Vec<Task>, clock: &ManualClock, pace: Duration) {
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
        clock.advance(pace);
    }
}

/// The pause of a host after one answer of this status with these fields.
async fn pause_after(status: u16, fields: &[(&str, &str)]) -> Duration {
    pause_under(|limits| limits, status, fields).await
}

async fn pause_under(
    set: impl FnOnce(RateLimitMiddleware) -> RateLimitMiddleware,
    status: u16,
    fields: &[(&str, &str)],
) -> Duration {
    let (limiter, _) = virtual_limiter("sliding_log 100/s");
    let server = server(answer(status, fields)).await;
    let client = client(set(RateLimitMiddleware::new(limiter.clone())));
    assert_eq!(common::status(client, server.uri().into()).await, status, "the response is passed on");
    blocked_for(&limiter, &server)
}

fn blocked_for(limiter: &Limiter, server: &MockServer) -> Duration {
    limiter.peek(host_key(&server.uri().parse().unwrap())).unwrap().blocked_for()
}

async fn get(client: &ClientWithMiddleware, server: &MockServer) -> u16 {
    status(client.clone(), server.uri().into()).await
}

#[tokio::test]
async fn a_429_pauses_every_task_of_its_host_and_of_no_other() {
    let (limiter, clock) = virtual_limiter("sliding_log 100/s");
    let limits = RateLimitMiddleware::new(limiter.clone());
    let client = client(limits.clone());
    let refusing = server(answer(429, &[("retry-after", "5")])).await;
    let other = server(answer(200, &[])).await;

    assert_eq!(get(&client, &refusing).await, 429);
    let tasks = in_line(&client, &limits, &refusing.uri(), 3).await;
    assert_eq!(get(&client, &other).await, 200);

    clock.advance(seconds(5) - MICROSECOND);
    assert_eq!((waiting(&limits, &refusing.uri()).await, requests(&refusing).await), (3, 1));
    clock.advance(MICROSECOND);
    end_at_pace(tasks, &clock, Duration::from_millis(10)).await;
    assert_eq!(requests(&refusing).await, 4);
}

#[tokio::test]
async fn who_is_in_line_already_waits_until_the_pause_ends() {
    let (limiter, clock) = virtual_limiter("sliding_log 1/s");
    let limits = RateLimitMiddleware::new(limiter.clone());
    let client = client(limits.clone());
    let slow_refusal = answer(429, &[("retry-after", "5")]).set_delay(Duration::from_millis(300));
    let server = server(slow_refusal).await;

    let first = tokio::spawn(status(client.clone(), server.uri().into()));
    eventually("the first is granted", || {
        limiter.peek(host_key(&server.uri().parse().unwrap())).unwrap().remaining() == 0
    })
    .await;
    let mut tasks = in_line(&client, &limits, &server.uri(), 2).await;
    assert_eq!(first.await.unwrap(), 429);

    clock.advance(seconds(5) - MICROSECOND);
    assert_eq!((waiting(&limits, &server.uri()).await, requests(&server).await), (2, 1));
    clock.advance(MICROSECOND);
    assert_eq!(tasks.remove(0).await.unwrap(), 200);
    assert_eq!(waiting(&limits, &server.uri()).await, 1);
    clock.advance(seconds(1) + MICROSECOND);
    assert_eq!(tasks.remove(0).await.unwrap(), 200);
}

#[tokio::test]
async fn in_real_time_too() {
    let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 100/s").unwrap());
    let client = client(limits);
    let server = server(answer(503, &[("retry-after", "1")])).await;
    assert_eq!(get(&client, &server).await, 503);
    let refused = Instant::now();
    let tasks = [(); 3].map(|()| tokio::spawn(status(client.clone(), server.uri().into())));
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
        // The pause began before the answer was passed on, by the time that took.
        assert!(refused.elapsed() > Duration::from_millis(900), "{:?}", refused.elapsed());
    }
}

#[tokio::test]
async fn seconds_and_dates_on_429_503_and_413() {
    for status in [429, 503, 413] {
        assert_eq!(pause_after(status, &[("retry-after", "7")]).await, seconds(7), "{status}");
    }
    let until = ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT");
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(pause_after(503, &[until, date]).await, seconds(30));
}

#[tokio::test]
async fn retry_after_on_success_is_ignored() {
    for status in [200, 202, 301, 404] {
        assert_eq!(pause_after(status, &[("retry-after", "7")]).await, Duration::ZERO, "{status}");
    }
}

#[tokio::test]
async fn what_is_left_is_spread_where_that_is_asked_for() {
    let left = [("ratelimit", r#""default";r=5;t=60"#)];
    assert_eq!(pause_after(200, &left).await, Duration::ZERO);
    let spread = |limits: RateLimitMiddleware| limits.spread(true);
    assert_eq!(pause_under(spread, 200, &left).await, seconds(10));
    assert_eq!(pause_under(spread, 404, &left).await, seconds(10));
    assert_eq!(pause_under(|limits| spread(limits).max_pause(seconds(3)), 200, &left).await, seconds(3));
    // What is told goes first, and the quota may be slow enough.
    assert_eq!(pause_under(spread, 503, &[left[0], ("retry-after", "2")]).await, seconds(2));
    assert_eq!(pause_under(spread, 200, &[("ratelimit", r#""default";r=0;t=7"#)]).await, seconds(7));
    assert_eq!(pause_under(spread, 200, &[("ratelimit", r#""default";r=9999;t=60"#)]).await, Duration::ZERO);
}

#[tokio::test]
async fn spread_requests_go_one_after_the_other_until_the_reset() {
    let (limiter, clock) = virtual_limiter("sliding_log 100/s");
    let limits = RateLimitMiddleware::new(limiter.clone()).spread(true);
    let client = client(limits.clone());
    let server = MockServer::start().await;
    for (left, seconds) in [(3, 30), (2, 24), (1, 10)] {
        let fields = format!(r#""default";r={left};t={seconds}"#);
        let one = answer(200, &[("ratelimit", fields.as_str())]);
        Mock::given(any()).respond_with(one).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    assert_eq!(get(&client, &server).await, 200); // three are left for 30 s, and so on
    let mut tasks = in_line(&client, &limits, &server.uri(), 3).await;
    for (sent, interval) in [(1, 7.5), (2, 8.0), (3, 5.0)] {
        assert_eq!(blocked_for(&limiter, &server), Duration::from_secs_f64(interval));
        clock.advance(Duration::from_secs_f64(interval) - MICROSECOND);
        assert_eq!((waiting(&limits, &server.uri()).await, requests(&server).await), (tasks.len(), sent));
        clock.advance(MICROSECOND);
        assert_eq!(tasks.remove(0).await.unwrap(), 200);
    }
    // Refused after that, it is refused for the first time.
    Mock::given(any()).respond_with(answer(429, &[("retry-after", "5")])).with_priority(1).mount(&server).await;
    clock.advance(seconds(1));
    assert_eq!(get(&client, &server).await, 429);
    assert_eq!(blocked_for(&limiter, &server), seconds(5));
}

#[tokio::test]
async fn nothing_remaining_pauses_until_the_reset() {
    let nothing_left = ("ratelimit", r#""default";r=0;t=30"#);
    assert_eq!(pause_after(200, &[nothing_left]).await, seconds(30));
    assert_eq!(pause_after(200, &[("ratelimit", r#""default";r=1;t=30"#)]).await, Duration::ZERO);
    assert_eq!(pause_after(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")]).await, seconds(9));
    assert_eq!(pause_after(200, &[nothing_left, ("age", "1")]).await, Duration::ZERO);
    assert_eq!(pause_after(429, &[nothing_left, ("retry-after", "2")]).await, seconds(2));
}

#[tokio::test]
async fn malformed_values_are_ignored() {
    for value in ["soon", "-1", "1s", "Sun, 31 Feb 1994 08:50:07 GMT"] {
        assert_eq!(pause_after(503, &[("retry-after", value)]).await, Duration::ZERO, "{value}");
        assert_eq!(pause_after(429, &[("retry-after", value)]).await, UNSAID, "{value}");
    }
    for value in ["default;r=0;t=30, \"", "r=0;t=30", r#""default";r=0;t="#] {
        assert_eq!(pause_after(200, &[("ratelimit", value)]).await, Duration::ZERO, "{value}");
    }
}

#[tokio::test]
async fn absurd_values_are_capped() {
    let absurd = [("retry-after", "99999999999999999999")];
    assert_eq!(pause_after(429, &absurd).await, DEFAULT_CAP);
    assert_eq!(pause_after(200, &[("ratelimit", r#""default";r=0;t=999999999999999"#)]).await, DEFAULT_CAP);
    assert_eq!(pause_under(|limits| limits.max_pause(seconds(2)), 429, &absurd).await, seconds(2));
    assert_eq!(pause_under(|limits| limits.max_pause(Duration::ZERO), 429, &absurd).await, Duration::ZERO);
}

#[tokio::test]
async fn a_shorter_pause_does_not_end_a_longer_one() {
    let (limiter, _) = virtual_limiter("sliding_log 100/s");
    let client = client(RateLimitMiddleware::new(limiter.clone()).cost(|_| 0)); // so that nobody waits
    let server = MockServer::start().await;
    for (told, pause) in [("30", 30), ("5", 30), ("40", 40), ("0", 40)] {
        server.reset().await;
        Mock::given(any()).respond_with(answer(429, &[("retry-after", told)])).mount(&server).await;
        assert_eq!(get(&client, &server).await, 429);
        assert_eq!(blocked_for(&limiter, &server), seconds(pause), "{told}");
    }
}

#[tokio::test]
async fn a_pause_of_a_shared_quota_holds_all_its_hosts() {
    let (limiter, clock) = virtual_limiter("sliding_log 100/s");
    let limits = RateLimitMiddleware::new(limiter.clone()).shared();
    let client = client(limits.clone());
    let (refusing, other) = (server(answer(429, &[("retry-after", "5")])).await, server(answer(200, &[])).await);
    assert_eq!(get(&client, &refusing).await, 429);
    let tasks = in_line(&client, &limits, &other.uri(), 2).await;
    clock.advance(seconds(5));
    end_at_pace(tasks, &clock, Duration::from_millis(10)).await;
}

/// The pauses that one answer after the other asks for, each of whose requests comes right after the pause before.
async fn pauses_after(answers: &[ResponseTemplate]) -> Vec<Duration> {
    let (limiter, clock) = virtual_limiter("sliding_log 100/s");
    let server = MockServer::start().await;
    let client = client(RateLimitMiddleware::new(limiter.clone()));
    let mut pauses = Vec::new();
    for answer in answers {
        server.reset().await;
        Mock::given(any()).respond_with(answer.clone()).mount(&server).await;
        get(&client, &server).await;
        pauses.push(blocked_for(&limiter, &server));
        clock.advance(blocked_for(&limiter, &server).max(UNSAID)); // one request a unit comes back
    }
    pauses
}

#[tokio::test]
async fn who_is_refused_again_right_after_waiting_as_told_waits_longer_each_time() {
    let (one, five) = (answer(429, &[("retry-after", "1")]), answer(503, &[("retry-after", "5")]));
    let again = pauses_after(&[one.clone(), one.clone(), one.clone(), five.clone(), five.clone()]).await;
    assert_eq!(again, [seconds(1), seconds(2), seconds(4), seconds(40), seconds(80)]);
    let admitted_between = pauses_after(&[one.clone(), one.clone(), answer(200, &[]), one.clone(), one]).await;
    assert_eq!(admitted_between, [seconds(1), seconds(2), Duration::ZERO, seconds(1), seconds(2)]);
    let capped = pauses_after(&vec![five; 12]).await;
    assert_eq!(capped.last(), Some(&DEFAULT_CAP));
}

#[tokio::test]
async fn a_429_that_does_not_say_pauses_for_a_unit_and_longer_each_time() {
    let silent = answer(429, &[]);
    let again = pauses_after(&[silent.clone(), silent.clone(), silent, answer(200, &[])]).await;
    assert_eq!(again, [UNSAID, 2 * UNSAID, 4 * UNSAID, Duration::ZERO]);
    for told in [answer(429, &[("retry-after", "0")]), answer(429, &[("age", "1"), ("ratelimit", "\"a\";r=0;t=30")])] {
        assert_eq!(pauses_after(&[told]).await, [UNSAID]);
    }
    for refusal in [503, 413] {
        let at_once = answer(refusal, &[("retry-after", "0")]);
        assert_eq!(pauses_after(&[at_once.clone(), at_once]).await, [UNSAID, 2 * UNSAID], "{refusal}");
    }
    for other in [503, 413, 500, 403] {
        assert_eq!(pauses_after(&[answer(other, &[])]).await, [Duration::ZERO], "{other}");
    }
}

#[tokio::test]
async fn answers_to_what_was_sent_before_the_pause_do_not_lengthen_it() {
    let (limiter, _) = virtual_limiter("sliding_log 100/s");
    let client = client(RateLimitMiddleware::new(limiter.clone()));
    let server = MockServer::start().await;
    let slow = answer(429, &[("retry-after", "5")]).set_delay(Duration::from_millis(300));
    Mock::given(any()).respond_with(slow).mount(&server).await;
    let tasks: Vec<Task> = (0..4).map(|_| tokio::spawn(status(client.clone(), server.uri().into()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 429);
    }
    assert_eq!(blocked_for(&limiter, &server), seconds(5));
}

#[tokio::test]
async fn contradictory_huge_negative_past_and_far_future_values() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (fields, expected) in [
        // Of several lines of one field the longest, and none that is malformed.
        ([("retry-after", "3"), ("retry-after", "9"), ("retry-after", "soon")].as_slice(), seconds(9)),
        // A pause that the newer generation does not ask for is none.
        (&[("ratelimit", r#""a";r=5;t=9"#), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")], UNSAID),
        // Negative ones say nothing.
        (&[("retry-after", "-5"), ("ratelimit", r#""a";r=0;t=4"#)], seconds(4)),
        (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "9")], UNSAID),
        // The past is no pause that was told, the far future the longest one.
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:36 GMT"), date], UNSAID),
        (&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), date], DEFAULT_CAP),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111776"), date], DEFAULT_CAP),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000000000"), date], DEFAULT_CAP),
        (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "99999999999999999999999999")], DEFAULT_CAP),
        (&[("retry-after", "9999999999999999999999999999999999999999")], DEFAULT_CAP),
    ] {
        assert_eq!(pause_after(429, fields).await, expected, "{fields:?}");
    }
}
