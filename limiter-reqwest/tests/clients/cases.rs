//! What holds for every kind of client. Limits are in virtual time, the network in real time.

use crate::{
    common::{closed, eventually, virtual_limiter},
    kinds::{Call, Client, Kind, Outcome},
};
use limiter_core::{Clock, Limiter, ManualClock};
use limiter_reqwest::{Limits, host_key};
use reqwest::Request;
use std::time::Duration;
use tokio::{task::JoinHandle, time::sleep};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const MICROSECOND: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);
const OK: Outcome = Outcome::Answered(200);
const REFUSED: Outcome = Outcome::Answered(429);

/// A client, its limits, and a server that asks its first requests to come back in five seconds.
struct World {
    client: Client,
    limits: Limits,
    limiter: Limiter,
    clock: ManualClock,
    server: MockServer,
}

impl World {
    async fn new(kind: Kind, quota: &str, set: impl FnOnce(Limits) -> Limits, refusals: u64) -> Self {
        let server = MockServer::start().await;
        if refusals > 0 {
            let refusal = ResponseTemplate::new(429).insert_header("retry-after", "5");
            Mock::given(any()).respond_with(refusal).up_to_n_times(refusals).mount(&server).await;
        }
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let (limiter, clock) = virtual_limiter(quota);
        let limits = set(Limits::new(limiter.clone()));
        Self { client: kind.client(limits.clone()).await, limits, limiter, clock, server }
    }

    async fn post(&self) -> Outcome {
        self.client.post(&self.server.uri()).await
    }

    async fn send(&self, call: Call) -> Outcome {
        self.client.send(&self.server.uri(), call).await
    }

    /// A request that is in line when this returns.
    async fn in_line(&self, call: Call) -> JoinHandle<Outcome> {
        let before = self.waiting().await;
        let started = self.client.start(&self.server.uri(), call);
        while self.waiting().await == before {
            sleep(Duration::from_millis(1)).await;
        }
        started
    }

    async fn waiting(&self) -> usize {
        self.limits.status(&self.server.uri().parse().unwrap()).await.unwrap().unwrap().waiting
    }

    async fn arrived(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }

    fn remaining(&self) -> u64 {
        self.limiter.peek(host_key(&self.server.uri().parse().unwrap())).unwrap().remaining()
    }

    /// Waits until the first in line sleeps. A thread that has asked for the time and not yet for its sleep would sleep for
    /// as much longer as time goes by in between.
    async fn settled(&self) {
        let sleeps = || {
            let longest = self.clock.now().saturating_add(6 * SECOND); // a pause, but no deadline
            self.clock.next_wake().is_some_and(|wake| wake <= longest)
        };
        if self.waiting().await > 0 {
            eventually("a sleep of who waits", sleeps).await;
        }
    }

    /// Time goes by; then `more` have arrived, and no others.
    async fn pass(&self, time: Duration, more: usize) {
        let before = self.arrived().await;
        self.settled().await;
        self.clock.advance(time);
        for _ in 0..30_000 {
            if self.arrived().await >= before + more {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(20)).await; // too many would be there by now
        assert_eq!(self.arrived().await, before + more);
    }
}

/// Whoever waits in a thread is let go: the runtime of a test that fails waits for its threads.
impl Drop for World {
    fn drop(&mut self) {
        self.clock.advance(Duration::from_secs(86_400));
    }
}

pub(crate) async fn who_finds_no_unit_waits_for_one(kind: Kind) {
    let world = World::new(kind, "sliding_log 1/s", |limits| limits, 0).await;
    assert_eq!(world.post().await, OK);
    let next = world.in_line(Call::default()).await;
    world.pass(SECOND, 0).await;
    world.pass(MICROSECOND, 1).await;
    assert_eq!(next.await.unwrap(), OK);
}

pub(crate) async fn a_wait_that_is_too_long_is_an_error_that_names_it(kind: Kind) {
    let world = World::new(kind, "sliding_log 1/s", |limits| limits.max_wait(SECOND / 2), 0).await;
    assert_eq!(world.post().await, OK);
    let needed = SECOND + MICROSECOND;
    assert_eq!(world.post().await, Outcome::WaitTooLong { needed, allowed: SECOND / 2 });
    let impatient = Call { max_wait: Some(SECOND / 4), ..Call::default() };
    assert_eq!(world.send(impatient).await, Outcome::WaitTooLong { needed, allowed: SECOND / 4 });
    assert_eq!((world.arrived().await, world.waiting().await), (1, 0));
    let patient = world.in_line(Call { max_wait: Some(2 * SECOND), ..Call::default() }).await;
    world.pass(needed, 1).await;
    assert_eq!(patient.await.unwrap(), OK);
}

pub(crate) async fn a_pause_holds_all_and_ends_at_the_quotas_pace(kind: Kind) {
    let world = World::new(kind, "sliding_log 10/s", |limits| limits, 1).await;
    assert_eq!(world.post().await, REFUSED);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.in_line(Call::default()).await);
    }
    world.pass(5 * SECOND - MICROSECOND, 0).await;
    world.pass(MICROSECOND, 1).await;
    for _ in 0..2 {
        world.pass(SECOND / 10 - MICROSECOND, 0).await;
        world.pass(MICROSECOND, 1).await;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), OK);
    }
}

pub(crate) async fn a_refused_request_is_sent_again(kind: Kind) {
    let world = World::new(kind, "sliding_log 10/h", |limits| limits.resend(1), 1).await;
    let started = world.client.start(&world.server.uri(), Call { body: Some("body"), ..Call::default() });
    while world.arrived().await == 0 || world.waiting().await == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    world.pass(5 * SECOND - MICROSECOND, 0).await;
    world.pass(MICROSECOND, 1).await;
    assert_eq!(started.await.unwrap(), OK);
    let requests = world.server.received_requests().await.unwrap();
    assert!(requests.iter().all(|request| request.body == b"body"));
    assert_eq!(world.remaining(), 8);
}

pub(crate) async fn a_refused_request_whose_body_is_streamed_is_passed_on(kind: Kind) {
    let world = World::new(kind, "sliding_log 10/h", |limits| limits.resend(1), 1).await;
    let streamed = Call { body: Some("body"), is_streamed: true, ..Call::default() };
    assert_eq!(world.send(streamed).await, REFUSED);
    assert_eq!(world.server.received_requests().await.unwrap()[0].body, b"body");
    assert_eq!((world.arrived().await, world.remaining()), (1, 0), "a pause leaves nothing");
}

pub(crate) async fn an_answer_that_is_late_is_a_timeout_and_stays_charged(kind: Kind) {
    let world = World::new(kind, "sliding_log 3/h", |limits| limits, 0).await;
    world.server.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_delay(600 * SECOND)).mount(&world.server).await;
    let hurried = Call { timeout: Some(SECOND / 2), ..Call::default() };
    assert_eq!(world.send(hurried).await, Outcome::TimedOut);
    assert_eq!(world.remaining(), 2);
}

pub(crate) async fn a_wait_is_no_part_of_the_timeout(kind: Kind) {
    let world = World::new(kind, "sliding_log 1/s", |limits| limits, 0).await;
    assert_eq!(world.post().await, OK);
    let hurried = Call { timeout: Some(3 * SECOND), max_wait: Some(60 * SECOND), ..Call::default() };
    let waits = world.in_line(hurried).await;
    sleep(4 * SECOND).await;
    world.pass(SECOND + MICROSECOND, 1).await;
    assert_eq!(waits.await.unwrap(), OK);
}

pub(crate) async fn a_request_that_found_no_connection_stays_charged(kind: Kind) {
    let world = World::new(kind, "sliding_log 3/h", |limits| limits.max_wait(Duration::ZERO), 0).await;
    let (_port, closed) = closed();
    let url = format!("http://{closed}/");
    assert_eq!(world.client.post(&url).await, Outcome::NotConnected);
    assert_eq!(world.limiter.peek(host_key(&url.parse().unwrap())).unwrap().remaining(), 2);
}

pub(crate) async fn each_host_has_the_quota_to_itself(kind: Kind) {
    let world = World::new(kind, "sliding_log 1/h", |limits| limits.max_wait(Duration::ZERO), 0).await;
    let other = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&other).await;
    assert_eq!(world.post().await, OK);
    assert_eq!(world.client.post(&other.uri()).await, OK);
    assert!(matches!(world.post().await, Outcome::WaitTooLong { .. }));
    assert!(matches!(world.client.post(&other.uri()).await, Outcome::WaitTooLong { .. }));
}

pub(crate) async fn a_request_says_what_it_costs(kind: Kind) {
    let world = World::new(kind, "sliding_log 5/h", |limits| limits.max_wait(Duration::ZERO), 0).await;
    let cost = |units| Call { cost: Some(units), ..Call::default() };
    assert_eq!(world.send(cost(4)).await, OK);
    assert_eq!(world.remaining(), 1);
    assert!(matches!(world.send(cost(2)).await, Outcome::WaitTooLong { .. }));
    assert_eq!(world.send(cost(6)).await, Outcome::NeverFits);
    assert_eq!(world.send(cost(0)).await, OK);
    assert_eq!(world.remaining(), 1);
}

pub(crate) async fn a_closure_sees_the_request_and_its_body(kind: Kind) {
    let by_length = |request: &Request| {
        assert_eq!(request.method(), "POST");
        request.body().and_then(|body| body.as_bytes()).map_or(0, |bytes| bytes.len() as u64)
    };
    let world = World::new(kind, "sliding_log 9/h", |limits| limits.cost(by_length), 0).await;
    assert_eq!(world.send(Call { body: Some("1234567"), ..Call::default() }).await, OK);
    assert_eq!(world.remaining(), 2);
}

pub(crate) async fn what_has_no_key_is_not_limited(kind: Kind) {
    let unlimited = |limits: Limits| limits.key(|_| None::<&str>).max_wait(Duration::ZERO);
    let world = World::new(kind, "sliding_log 1/h", unlimited, 2).await;
    for answer in [REFUSED, REFUSED, OK, OK] {
        assert_eq!(world.post().await, answer);
    }
}

pub(crate) async fn a_rule_that_is_none_is_an_error(kind: Kind) {
    let (limiter, _) = virtual_limiter("sliding_log 1/h");
    let world = World::new(kind, "sliding_log 1/h", |limits| limits.host("http://a", limiter), 0).await;
    assert_eq!(world.post().await, Outcome::Misconfigured);
    assert_eq!(world.arrived().await, 0);
}

/// A thread that waits cannot be dropped: it leaves the line by its longest wait alone.
pub(crate) async fn a_request_dropped_in_line_leaves_its_turn(kind: Kind) {
    let world = World::new(kind, "sliding_log 1/s", |limits| limits, 0).await;
    assert_eq!(world.post().await, OK);
    let first = world.in_line(Call::default()).await;
    let second = world.in_line(Call { max_wait: Some(60 * SECOND), ..Call::default() }).await;
    if kind == Kind::Blocking {
        world.pass(SECOND + MICROSECOND, 1).await;
        assert_eq!(first.await.unwrap(), OK);
    } else {
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
    }
    assert_eq!(world.waiting().await, 1);
    world.pass(SECOND + MICROSECOND, 1).await;
    assert_eq!(second.await.unwrap(), OK);
}
