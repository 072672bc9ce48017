//! Several named policies in one layer, decided together.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, Remote, World, field, problem, request, with_header};
use http::{HeaderName, Request, Response, StatusCode};
use limiter_core::{Limiter, MemoryStore, Store, store::DynStore};
use limiter_tower::{Generation, HeaderKey, Policy, PolicyError, PolicyName, RateLimit, RateLimitLayer, Verdict};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceExt, service_fn};

fn by(header: &'static str) -> HeaderKey {
    HeaderKey::new(HeaderName::from_static(header))
}

async fn send<S: Store>(service: &RateLimit<Ready, S>, request: Request<String>) -> Response<String> {
    service.clone().oneshot(request).await.unwrap()
}

fn user(name: &str) -> Request<String> {
    with_header("x-user", name)
}

async fn denials_take_nothing_from_the_others<S: Store>(store: S) {
    let world = World::over(store);
    let (each, all) = (world.limiter("user", "2/h"), world.limiter("overall", "3/h"));
    let layer = RateLimitLayer::new(Policy::new(PolicyName::new("user").unwrap(), each.clone()).key(by("x-user")))
        .policy(Policy::new(PolicyName::new("overall").unwrap(), all.clone()))
        .unwrap();
    let inner = Ready::default();
    let service = layer.layer(inner.clone());

    for _ in 0..2 {
        assert_eq!(send(&service, user("ada")).await.status(), StatusCode::OK);
    }
    let denied = send(&service, user("ada")).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&denied, "ratelimit-policy"), r#""user";q=2;w=3600,"overall";q=3;w=3600"#);
    assert_eq!(field(&denied, "ratelimit"), r#""user";r=0;t=1800"#);
    assert_eq!(field(&denied, "retry-after"), "1800");
    assert_eq!(problem(&denied)["violated-policies"], serde_json::json!(["user"]));
    assert_eq!(all.peek_async(()).await.unwrap().remaining(), 1); // stacked limiters would have charged it

    let admitted = send(&service, user("bob")).await;
    assert_eq!(field(&admitted, "ratelimit"), r#""user";r=1;t=1800,"overall";r=0;t=1200"#);
    let both = send(&service, user("ada")).await;
    assert_eq!(problem(&both)["violated-policies"], serde_json::json!(["user", "overall"]));
    assert_eq!(field(&both, "ratelimit"), r#""user";r=0;t=1800,"overall";r=0;t=1200"#);
    assert_eq!(field(&both, "retry-after"), "1800");
    assert_eq!(each.peek_async("bob").await.unwrap().remaining(), 1);
    assert_eq!(inner.calls(), 3);
}

#[tokio::test]
async fn what_one_policy_denies_takes_nothing_from_the_others() {
    denials_take_nothing_from_the_others(MemoryStore::new()).await;
    denials_take_nothing_from_the_others(Remote::default()).await;
    denials_take_nothing_from_the_others(DynStore::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_admit_exactly_what_all_policies_allow() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.policy("user", "sliding_log 30/h").key(by("x-user")));
    let layer = layer.policy(world.policy("overall", "sliding_log 100/h")).unwrap();
    let inner = Ready::default();
    let service = layer.layer(inner.clone());
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let mut service = service.clone();
            let request = user(if n % 2 == 0 { "ada" } else { ["bob", "cy", "dan", "eve"][n / 2 % 4] });
            tokio::spawn(async move { service.ready().await.unwrap().call(request).await.unwrap().status() })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap() == StatusCode::OK);
    }
    assert_eq!((admitted, inner.calls()), (100, 100)); // no user's share of 30 was lost to somebody's denial
}

#[tokio::test]
async fn a_policy_without_a_key_or_for_other_requests_takes_no_part() {
    let world = World::new();
    let search = world.policy("search", "1/h").when(|request| request.uri.path() == "/search");
    let layer = RateLimitLayer::new(world.policy("user", "9/h").key(by("x-user").optional())).policy(search).unwrap();
    let inner = Ready::default();
    let service = layer.layer(inner.clone());
    let to = |path: &str, mut request: Request<String>| {
        *request.uri_mut() = path.parse().unwrap();
        request
    };

    let nobodys = send(&service, to("/", request())).await;
    assert_eq!(nobodys.status(), StatusCode::OK);
    assert!(nobodys.headers().is_empty()); // not limited: nothing to say
    assert_eq!(field(&send(&service, to("/", user("ada"))).await, "ratelimit-policy"), r#""user";q=9;w=3600"#);
    assert_eq!(field(&send(&service, to("/search", request())).await, "ratelimit"), r#""search";r=0;t=3600"#);
    let denied = send(&service, to("/search", user("ada"))).await;
    assert_eq!(field(&denied, "ratelimit-policy"), r#""user";q=9;w=3600,"search";q=1;w=3600"#);
    assert_eq!(field(&denied, "ratelimit"), r#""search";r=0;t=3600"#);
    assert_eq!(field(&send(&service, to("/", user("ada"))).await, "ratelimit"), r#""user";r=7;t=800"#);
    assert_eq!(inner.calls(), 4);
}

#[tokio::test]
async fn a_key_is_not_asked_for_where_the_policy_is_for_other_requests() {
    let world = World::new();
    let exports = world.policy("exports", "1/h").key(by("x-user").required()).when(|head| head.uri.path() == "/export");
    let service = RateLimitLayer::new(exports).layer(Ready::default());
    assert_eq!(send(&service, request()).await.status(), StatusCode::OK);
    let export = Request::get("/export").body(String::new()).unwrap();
    assert_eq!(send(&service, export).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn quotas_by_plan_and_by_route_are_told_as_they_are() {
    let world = World::new();
    let quotas = [("free", "2/h".parse().unwrap()), ("pro", "100/h, 1000/day".parse().unwrap())];
    let plans = Limiter::by_table("1/h".parse().unwrap(), quotas);
    let plans = plans.name("plans").store(world.store.clone()).clock(world.clock.clone()).build();
    let layer = RateLimitLayer::new(Policy::new(PolicyName::new("plan").unwrap(), plans).key(by("x-plan")));
    let service = layer.policy(world.policy("overall", "50/h")).unwrap().layer(Ready::default());
    for (plan, policies, left) in [
        ("free", r#""plan";q=2;w=3600"#, r#""plan";r=1;t=1800"#),
        (
            "pro",
            r#""plan-1h";q=100;w=3600,"plan-1day";q=1000;w=86400"#,
            r#""plan-1h";r=99;t=36,"plan-1day";r=999;t=87"#,
        ),
        ("none", r#""plan";q=1;w=3600"#, r#""plan";r=0;t=3600"#),
    ] {
        let response = send(&service, with_header("x-plan", plan)).await;
        assert_eq!(field(&response, "ratelimit-policy"), format!(r#"{policies},"overall";q=50;w=3600"#));
        let told = field(&response, "ratelimit");
        assert!(told.starts_with(left), "{plan}: {told}");
    }
}

#[tokio::test]
async fn the_older_fields_tell_the_tightest_policy() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.policy("user", "1/h").key(by("x-user")));
    let layer = layer.policy(world.policy("overall", "5/h")).unwrap().fields(Generation::DraftA);
    let service = layer.layer(Ready::default());
    let admitted = send(&service, user("ada")).await;
    assert_eq!(field(&admitted, "ratelimit-policy"), "1;w=3600,5;w=3600");
    assert_eq!(field(&admitted, "ratelimit-limit"), "1");
    send(&service, user("bob")).await;
    let denied = send(&service, user("ada")).await;
    assert_eq!(field(&denied, "ratelimit-remaining"), "0");
    assert_eq!(field(&denied, "ratelimit-reset"), "3600");
}

#[tokio::test]
async fn the_verdict_tells_which_policy_a_rate_belongs_to() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.policy("pace", "sliding_log 5/s, 100/h"));
    let layer = layer.policy(world.policy("daily", "2/day").when(|_| true)).unwrap();
    let layer = layer.policy(world.policy("other", "1/day").when(|_| false)).unwrap();
    let service = layer.layer(service_fn(|request: Request<String>| async move {
        let verdict = request.extensions().get::<Verdict>().unwrap().clone();
        let told: Vec<_> = verdict.policies().map(|(name, part)| (name.to_string(), part.remaining())).collect();
        assert_eq!(verdict.decision().rates().len(), 3);
        assert_eq!(verdict.policy("pace").unwrap().rates().len(), 2);
        assert!(verdict.policy("other").is_none());
        assert!(verdict.violated().next().is_none());
        Ok::<_, Infallible>(Response::new(format!("{told:?} | {verdict}")))
    }));
    let body = service.oneshot(request()).await.unwrap().into_body();
    assert_eq!(body, r#"[("pace", 4), ("daily", 1)] | daily allowed: 1 of 2 left, reset after 43200s"#);
}

#[tokio::test]
async fn a_block_of_one_policys_key_is_told_as_that_policys() {
    let world = World::new();
    let each = world.limiter("user", "9/h");
    let layer = RateLimitLayer::new(Policy::new(PolicyName::new("user").unwrap(), each.clone()).key(by("x-user")));
    let service = layer.policy(world.policy("overall", "9/h")).unwrap().layer(Ready::default());
    each.block("ada", Duration::from_secs(100)).unwrap();
    let denied = send(&service, user("ada")).await;
    assert_eq!(field(&denied, "ratelimit"), r#""user";r=0;t=100"#);
    assert_eq!(problem(&denied)["violated-policies"], serde_json::json!(["user"]));
    assert_eq!(field(&denied, "retry-after"), "100");
}

#[tokio::test]
async fn a_cost_that_can_never_fit_names_the_policy() {
    let world = World::new();
    let bytes = world.policy("bytes", "10/h").cost(|_| 11);
    let service = RateLimitLayer::new(world.policy("user", "9/h")).policy(bytes).unwrap().layer(Ready::default());
    let refused = send(&service, request()).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!refused.headers().contains_key("retry-after"));
    let detail = problem(&refused)["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with(r#"policy "bytes": a cost of 11 can never fit"#), "{detail}");
}

#[test]
fn policies_that_cannot_be_decided_together_are_refused_when_they_are_configured() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.policy("user", "9/h"));

    let elsewhere = layer.clone().policy(World::new().policy("daily", "9/h")).unwrap_err();
    assert!(matches!(elsewhere, PolicyError::SeveralStores { .. }));
    assert!(elsewhere.to_string().contains("clones of one store"), "{elsewhere}");

    let twice = layer.clone().policy(world.policy("user", "5/h")).unwrap_err();
    assert!(twice.to_string().contains(r#"have the name "user""#), "{twice}");

    let same = Policy::new(PolicyName::new("again").unwrap(), world.limiter("user", "5/h"));
    let same = layer.clone().policy(same).unwrap_err();
    assert!(same.to_string().contains("give each its own with LimiterBuilder::name"), "{same}");

    let rates = RateLimitLayer::new(world.policy("api", "5/s, 100/h"));
    let namesake = rates.clone().policy(world.policy("api-1s", "9/min")).unwrap_err();
    assert!(namesake.to_string().contains(r#"would both be announced as "api-1s""#), "{namesake}");
    let cut = |end: &str| world.policy(&format!("{}{end}", "n".repeat(127)), "5/s, 100/h");
    let cut = RateLimitLayer::new(cut("a")).policy(cut("b")).unwrap_err();
    assert!(matches!(cut, PolicyError::SameAnnouncedName { .. }), "{cut}");
    let seen = rates.clone().policy(world.policy("api-1s", "9/min").shadow());
    assert!(seen.is_ok(), "nobody is told of a shadow policy");
    assert!(rates.policy(world.policy("api-1min", "9/min")).is_ok());

    let mut full = layer;
    for n in 1..64 {
        full = full.policy(world.policy(&format!("p{n}"), "9/h")).unwrap();
    }
    assert_eq!(full.policy(world.policy("one more", "9/h")).unwrap_err(), PolicyError::TooMany { most: 64 });
}

#[tokio::test]
async fn the_layers_own_settings_are_those_of_its_first_policy() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.limiter("a", "10/h")).policy(world.policy("b", "10/h")).unwrap();
    let layer = layer.key(by("x-user")).cost(|_| 4).policy_name(PolicyName::new("first").unwrap());
    let service = layer.policy_name(PolicyName::new("b").unwrap()).layer(Ready::default()); // which is taken
    let told = field(&send(&service, user("ada")).await, "ratelimit");
    assert_eq!(told, r#""first";r=6;t=1440,"b";r=9;t=360"#);
}

#[tokio::test]
async fn a_name_that_would_make_two_policies_one_to_clients_is_not_taken() {
    let world = World::new();
    let layer = RateLimitLayer::new(world.policy("a", "5/s, 10/h")).policy(world.policy("b-1s", "10/h")).unwrap();
    let service = layer.policy_name(PolicyName::new("b").unwrap()).layer(Ready::default());
    let told = field(&send(&service, request()).await, "ratelimit-policy");
    assert_eq!(told, r#""a-1s";q=5;w=1,"a-1h";q=10;w=3600,"b-1s";q=10;w=3600"#);
}

#[tokio::test]
async fn sixty_four_policies_take_part_at_once() {
    let world = World::new();
    let mut layer = RateLimitLayer::new(world.policy("p0", "9/h"));
    for n in 1..64 {
        layer = layer.policy(world.policy(&format!("p{n}"), if n == 63 { "1/h" } else { "9/h" })).unwrap();
    }
    let service = layer.layer(Ready::default());
    assert_eq!(send(&service, request()).await.status(), StatusCode::OK);
    let denied = send(&service, request()).await;
    assert_eq!(problem(&denied)["violated-policies"], serde_json::json!(["p63"]));
}
