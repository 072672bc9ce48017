//! After a pause requests come back one after the other, at the quota's pace: whatever the algorithm, for who waited and
//! for who comes then, and in other processes.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    http::{StatusCode, header::RETRY_AFTER},
    response::IntoResponse,
    routing::get,
};
use common::{Task, client, eventually, in_line, plain_client, status, waiting};
use limiter_core::{Error, KeyBuf, Limiter, ManualClock, MemoryStore, Timestamp};
use limiter_reqwest::{Cost, Limits, RateLimitError, host_key};
use reqwest_middleware::ClientWithMiddleware;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const MICROSECOND: Duration = Duration::from_micros(1);
const PACE: Duration = Duration::from_millis(100);
const QUOTAS: [&str; 6] = [
    "sliding_log 10/s",
    "fixed_window 10/s",
    "sliding_window 10/s",
    "10/s",
    "10/s burst 3",
    "sliding_log 10/s, 100/min",
];

/// A process, but for its memory: limits over a store that others may have too, in one virtual time.
struct Process {
    limits: Limits,
    client: ClientWithMiddleware,
}

/// A server that refuses its first request and asks for 5 s, and those who ask it.
struct World {
    clock: ManualClock,
    store: MemoryStore,
    server: MockServer,
    quota: &'static str,
}

impl World {
    async fn new(quota: &'static str) -> Self {
        Self::with(quota, Duration::ZERO).await
    }

    /// The refusal takes its time.
    async fn with(quota: &'static str, delay: Duration) -> Self {
        let server = MockServer::start().await;
        let refusal = ResponseTemplate::new(429).insert_header("retry-after", "5").set_delay(delay);
        Mock::given(any()).respond_with(refusal).up_to_n_times(1).mount(&server).await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
        Self { clock, store: MemoryStore::new(), server, quota }
    }

    fn limiter(&self) -> Limiter {
        let limiter = Limiter::builder(self.quota.parse().unwrap()).name("api").store(self.store.clone());
        limiter.clock(self.clock.clone()).sleep(self.clock.clone()).build()
    }

    /// What its requests are counted by.
    fn host(&self) -> KeyBuf {
        host_key(&self.server.uri().parse().unwrap())
    }

    fn process(&self) -> Process {
        let limits = Limits::new(self.limiter());
        Process { client: client(limits.clone()), limits }
    }

    async fn get(&self, process: &Process) -> u16 {
        status(process.client.clone(), self.server.uri().into()).await
    }

    async fn in_line(&self, process: &Process, n: usize) -> Vec<Task> {
        in_line(&process.client, &process.limits, &self.server.uri(), n).await
    }

    async fn arrived(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }

    /// Time goes by; then `more` have arrived, and no others are on their way.
    async fn pass(&self, time: Duration, more: usize, processes: &[&Process]) {
        let before = self.arrived().await;
        self.clock.advance(time);
        for _ in 0..20_000 {
            if self.arrived().await == before + more && self.in_flight(processes).await == 0 {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(20)).await; // too many would be there by now
        assert_eq!(self.arrived().await, before + more, "{}", self.quota);
    }

    async fn in_flight(&self, processes: &[&Process]) -> usize {
        let mut sum = 0;
        for process in processes {
            let status = process.limits.status(&self.server.uri().parse().unwrap()).await.unwrap().unwrap();
            sum += status.in_flight;
        }
        sum
    }
}

#[tokio::test]
async fn who_waited_comes_back_one_after_the_other_under_every_algorithm() {
    for quota in QUOTAS {
        let world = World::new(quota).await;
        let us = world.process();
        assert_eq!(world.get(&us).await, 429);
        let tasks = world.in_line(&us, 5).await;
        world.pass(Duration::from_secs(5) - MICROSECOND, 0, &[&us]).await;
        world.pass(MICROSECOND, 1, &[&us]).await;
        for _ in 1..5 {
            world.pass(PACE - MICROSECOND, 0, &[&us]).await;
            world.pass(MICROSECOND, 1, &[&us]).await;
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200, "{quota}");
        }
    }
}

#[tokio::test]
async fn who_stood_in_line_when_the_pause_began_too() {
    for quota in QUOTAS {
        let world = World::with(quota, Duration::from_millis(100)).await;
        let us = world.process();
        let limiter = world.limiter();
        let all = limiter.peek(world.host()).unwrap().remaining();
        limiter.check_n(world.host(), all - 1).unwrap();
        let first = tokio::spawn(status(us.client.clone(), world.server.uri().into()));
        eventually("the last unit is taken", || limiter.peek(world.host()).unwrap().remaining() == 0).await;
        let tasks = world.in_line(&us, 3).await; // of the limiter, as nobody knows of a pause yet
        assert_eq!(first.await.unwrap(), 429);
        world.pass(Duration::from_secs(5) - MICROSECOND, 0, &[&us]).await;
        world.pass(MICROSECOND, 1, &[&us]).await;
        world.pass(PACE - MICROSECOND, 0, &[&us]).await;
        world.pass(MICROSECOND, 1, &[&us]).await;
        world.pass(PACE, 1, &[&us]).await;
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200, "{quota}");
        }
    }
}

#[tokio::test]
async fn units_that_come_back_all_at_once_are_used_one_after_the_other() {
    let world = World::new("sliding_log 10/s, 11/10s").await;
    let us = world.process();
    world.limiter().check_n(world.host(), 9).unwrap();
    assert_eq!(world.get(&us).await, 429);
    world.pass(Duration::from_secs(5), 0, &[&us]).await;
    world.limiter().check(world.host()).unwrap();
    let tasks = world.in_line(&us, 4).await;
    world.pass(Duration::from_secs(5), 0, &[&us]).await;
    world.pass(MICROSECOND, 1, &[&us]).await; // all but one are back
    for _ in 1..4 {
        world.pass(PACE - MICROSECOND, 0, &[&us]).await;
        world.pass(MICROSECOND, 1, &[&us]).await;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn who_comes_after_the_pause_finds_no_burst_until_a_period_has_passed() {
    let world = World::new("sliding_log 10/s").await;
    let us = world.process();
    assert_eq!(world.get(&us).await, 429);
    world.pass(Duration::from_secs(5) + PACE / 2, 0, &[&us]).await;
    let at_once = [(); 3].map(|()| tokio::spawn(status(us.client.clone(), world.server.uri().into())));
    world.pass(Duration::ZERO, 1, &[&us]).await;
    world.pass(PACE, 1, &[&us]).await;
    world.pass(PACE, 1, &[&us]).await;
    for task in at_once {
        assert_eq!(task.await.unwrap(), 200);
    }
    world.pass(10 * PACE, 0, &[&us]).await;
    let at_once = [(); 3].map(|()| tokio::spawn(status(us.client.clone(), world.server.uri().into())));
    world.pass(Duration::ZERO, 3, &[&us]).await;
    for task in at_once {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn other_processes_of_a_shared_store_come_back_at_the_same_pace_together() {
    for quota in QUOTAS {
        let world = World::new(quota).await;
        let (told, other, late) = (world.process(), world.process(), world.process());
        let all = [&told, &other, &late];
        assert_eq!(world.get(&told).await, 429);
        let mut tasks = world.in_line(&told, 2).await;
        tasks.extend(world.in_line(&other, 2).await);
        world.pass(Duration::from_secs(5) - MICROSECOND, 0, &all).await;
        world.pass(MICROSECOND, 1, &all).await;
        // One that never heard of the pause.
        tasks.extend(world.in_line(&late, 1).await);
        for _ in 0..4 {
            world.pass(PACE - MICROSECOND, 0, &all).await;
            world.pass(MICROSECOND, 1, &all).await;
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200, "{quota}");
        }
    }
}

#[tokio::test]
async fn the_quota_holds_while_they_come_back() {
    let world = World::new("sliding_log 2/s, 3/10s").await;
    let us = world.process();
    assert_eq!(world.get(&us).await, 429);
    let tasks = world.in_line(&us, 4).await;
    world.pass(Duration::from_secs(5), 1, &[&us]).await;
    world.pass(Duration::from_millis(500), 1, &[&us]).await;
    world.pass(Duration::from_secs(4), 0, &[&us]).await; // three in these ten seconds
    world.pass(Duration::from_secs(1), 1, &[&us]).await;
    world.pass(Duration::from_secs(5), 1, &[&us]).await;
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_wait_for_the_pace_counts_among_the_longest_allowed() {
    let world = World::new("sliding_log 10/s").await;
    let us = world.process();
    assert_eq!(world.get(&us).await, 429);
    let patient = world.in_line(&us, 3).await;
    let limits = us.limits.clone().max_wait(Duration::from_millis(5250));
    let error = client(limits).get(world.server.uri()).send().await.unwrap_err();
    let error = RateLimitError::find(&error).unwrap();
    assert_eq!(error.needed(), Some(Duration::from_millis(5300)), "{error}");
    assert_eq!(waiting(&us.limits, &world.server.uri()).await, 3);
    patient.iter().for_each(Task::abort);
}

#[tokio::test]
async fn a_request_dropped_while_they_come_back_leaves_its_place() {
    let world = World::new("sliding_log 10/s").await;
    let us = world.process();
    assert_eq!(world.get(&us).await, 429);
    let mut tasks = world.in_line(&us, 3).await;
    world.pass(Duration::from_secs(5), 1, &[&us]).await;
    let dropped = tasks.remove(1);
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    world.pass(PACE, 1, &[&us]).await;
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(world.limiter().peek(world.host()).unwrap().remaining(), 8);
}

#[tokio::test]
async fn a_cost_that_never_fits_and_one_of_nothing_do_not_wait_for_the_pause() {
    let world = World::new("sliding_log 10/s").await;
    let us = world.process();
    assert_eq!(world.get(&us).await, 429);
    let patient = world.in_line(&us, 2).await;
    let costing = |cost| us.client.get(world.server.uri()).with_extension(Cost(cost)).send();
    let error = costing(11).await.unwrap_err();
    let reason = RateLimitError::find(&error).unwrap().reason();
    assert!(matches!(reason, Error::NeverFits { cost: 11, capacity: 10, .. }), "{reason}");
    assert_eq!(costing(0).await.unwrap().status().as_u16(), 200);
    patient.iter().for_each(Task::abort);
}

/// A server that refuses its first request, and when each of the others arrived.
async fn clocked_server() -> (String, Arc<Mutex<Vec<Instant>>>) {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&arrivals);
    let handle = async move || {
        let mut log = log.lock().unwrap();
        log.push(Instant::now());
        match log.len() {
            1 => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response(),
            _ => StatusCode::OK.into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(handle))).await });
    (url, arrivals)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_in_real_time_too() {
    let (url, arrivals) = clocked_server().await;
    let limits = Limits::new(Limiter::parse("sliding_log 10/s").unwrap());
    let client = reqwest_middleware::ClientBuilder::new(plain_client()).with(limits).build();
    assert_eq!(status(client.clone(), url.as_str().into()).await, 429);
    let tasks: Vec<Task> = (0..6).map(|_| tokio::spawn(status(client.clone(), url.as_str().into()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    let arrivals = arrivals.lock().unwrap().clone();
    let after = |n: usize| arrivals[n] - arrivals[0];
    assert!(after(1) > Duration::from_millis(950), "{:?}", after(1));
    // Five intervals between six, from the end of the pause on: a machine that is late only adds to them.
    assert!(after(6) > Duration::from_millis(950) + 5 * PACE, "{arrivals:?}");
}
