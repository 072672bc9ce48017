//! Trying limits out, letting some requests by, turning others away, and telling the hook.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, Remote, field, policy, problem, request, with_header};
use http::{HeaderName, Request, Response, StatusCode};
use limiter_core::{Limiter, ManualClock, MemoryStore, Store};
use limiter_tower::{HeaderKey, PolicyName, RateLimit, RateLimitLayer, Verdict};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};

fn limiter<S: Store>(store: &S, name: &str, quota: &str) -> Limiter<S> {
    let builder = Limiter::builder(quota.parse().unwrap()).name(name);
    builder.store(store.clone()).clock(ManualClock::default()).build()
}

async fn send<S: Store>(service: &RateLimit<Ready, S>, request: Request<String>) -> Response<String> {
    service.clone().oneshot(request).await.unwrap()
}

/// What the hook is told, a line an event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn on<S: Store>(&self, layer: RateLimitLayer<S>) -> RateLimitLayer<S> {
        let log = self.clone();
        layer.on_decision(move |event| {
            let policies: Vec<&str> = event.policies().map(PolicyName::as_str).collect();
            log.0.lock().unwrap().push(format!("{} {}", event.outcome(), policies.join(" ")));
        })
    }
}

async fn a_whole_layer<S: Store>(store: S) {
    let limiter = limiter(&store, "api", "1/h");
    let log = Log::default();
    let inner = Ready::default();
    let service = log.on(RateLimitLayer::new(policy(&limiter)).shadow()).layer(inner.clone());
    for _ in 0..3 {
        let response = send(&service, request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().is_empty()); // clients are told nothing of it
    }
    assert_eq!(log.take(), ["would admit api", "would deny api", "would deny api"]);
    assert_eq!(inner.calls(), 3);
}

#[tokio::test]
async fn a_shadow_layer_decides_and_tells_but_never_refuses() {
    a_whole_layer(MemoryStore::new()).await;
    a_whole_layer(Remote::default()).await;
}

#[tokio::test]
async fn a_shadow_layer_lets_pass_what_can_never_fit_and_what_no_store_answers_for() {
    let log = Log::default();
    let costly = log.on(RateLimitLayer::new(Limiter::parse("1/h").unwrap()).cost(|_| 2).shadow());
    assert_eq!(send(&costly.layer(Ready::default()), request()).await.status(), StatusCode::OK);
    let down = log.on(RateLimitLayer::new(limiter(&Remote::down(), "api", "1/h")).shadow());
    assert_eq!(send(&down.layer(Ready::default()), request()).await.status(), StatusCode::OK);
    assert_eq!(log.take(), ["would deny default", "store failed default"]);
}

#[tokio::test]
async fn the_verdict_of_a_shadow_layer_is_in_the_extensions() {
    let told = service_fn(|request: Request<String>| async move {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Verdict>().unwrap().allowed().to_string()))
    });
    let service = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).shadow().layer(told);
    assert_eq!(service.clone().oneshot(request()).await.unwrap().into_body(), "true");
    assert_eq!(service.oneshot(request()).await.unwrap().into_body(), "false");
}

async fn one_policy<S: Store>(store: S) {
    let (now, planned) = (limiter(&store, "now", "3/h"), limiter(&store, "planned", "1/h"));
    let log = Log::default();
    let layer = RateLimitLayer::new(policy(&planned).shadow()).policy(policy(&now)).unwrap();
    let service = log.on(layer).layer(Ready::default());
    for left in [2, 1, 0] {
        let response = send(&service, request()).await;
        assert_eq!(field(&response, "ratelimit-policy"), r#""now";q=3;w=3600"#);
        assert!(field(&response, "ratelimit").starts_with(&format!(r#""now";r={left};"#)));
    }
    assert_eq!(send(&service, request()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let expected = ["admitted now", "would admit planned", "admitted now", "would deny planned", "admitted now"];
    assert_eq!(log.take()[..5], expected);
    assert_eq!(planned.peek_n_async((), 0).await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn a_shadow_policy_never_refuses_nor_takes_from_the_others() {
    one_policy(MemoryStore::new()).await;
    one_policy(Remote::default()).await;
}

#[tokio::test]
async fn a_shadow_policy_is_not_charged_for_what_the_others_refuse() {
    let store = MemoryStore::new();
    let (now, planned) = (limiter(&store, "now", "1/h"), limiter(&store, "planned", "9/h"));
    let layer = RateLimitLayer::new(policy(&now)).policy(policy(&planned).shadow()).unwrap();
    let service = layer.layer(Ready::default());
    for _ in 0..5 {
        send(&service, request()).await;
    }
    assert_eq!(planned.peek_n((), 0).unwrap().remaining(), 8);
}

#[tokio::test]
async fn health_checks_pass_unlimited_and_untold() {
    let log = Log::default();
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap())
        .skip(|request| request.uri.path() == "/health")
        .skip(|request| request.method == http::Method::OPTIONS);
    let service = log.on(layer).layer(Ready::default());
    for _ in 0..5 {
        let response = send(&service, Request::get("/health").body(String::new()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().is_empty());
    }
    assert!(log.take().is_empty());
    assert_eq!(send(&service, request()).await.status(), StatusCode::OK); // and took nothing
}

#[tokio::test]
async fn who_is_on_the_block_list_is_refused_before_anything_else() {
    let log = Log::default();
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap())
        .skip(|_| true)
        .block(|request| request.headers.get("x-user").is_some_and(|user| user == "mallory"));
    let inner = Ready::default();
    let service = log.on(layer).layer(inner.clone());
    let refused = send(&service, with_header("x-user", "mallory")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(&refused)["title"], "Forbidden");
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!(send(&service, with_header("x-user", "ada")).await.status(), StatusCode::OK);
    assert_eq!(inner.calls(), 1);
    assert_eq!(log.take(), ["forbidden "]);
}

#[tokio::test]
async fn the_hook_is_told_of_every_outcome_and_of_no_key() {
    let store = MemoryStore::new();
    let log = Log::default();
    let full = Arc::new(Mutex::new(String::new()));
    let user = policy(limiter(&store, "user", "2/h")).key(HeaderKey::new(HeaderName::from_static("x-user")));
    let layer = RateLimitLayer::new(user.cost(|request| if request.uri.path() == "/big" { 3 } else { 2 }));
    let service = log.on(layer.clone().policy(policy(limiter(&store, "all", "99/h"))).unwrap());
    let service = service.layer(Ready::default());
    send(&service, with_header("x-user", "secret")).await;
    send(&service, with_header("x-user", "secret")).await;
    send(&service, Request::get("/big").body(String::new()).unwrap()).await;
    assert_eq!(log.take(), ["admitted user all", "denied user all", "never fits user all"]);

    let lines = Arc::clone(&full);
    let layer = layer.on_decision(move |event| *lines.lock().unwrap() += &format!("{event} {event:?}\n"));
    send(&layer.layer(Ready::default()), with_header("x-user", "secret")).await;
    let lines = full.lock().unwrap();
    assert!(lines.starts_with("denied: user denied by 2/h: 0 of 2 left, retry after 3600s"), "{lines}");
    assert!(!lines.contains("secret"));
}

async fn outcomes_of_a_shadow<S: Store>(store: S) {
    let (now, planned) = (limiter(&store, "now", "99/h"), limiter(&store, "planned", "2/h"));
    let log = Log::default();
    let failures = policy(&planned).charge_only_if(|response| response.status == StatusCode::UNAUTHORIZED);
    let layer = RateLimitLayer::new(policy(&now).refund_if(|_| true)).policy(failures.shadow()).unwrap();
    let service = log.on(layer).layer(Ready::default());
    for _ in 0..5 {
        let response = send(&service, request()).await;
        assert_eq!(field(&response, "ratelimit"), r#""now";r=99;t=0"#); // its own, not the shadow's
    }
    assert_eq!(log.take(), ["admitted now", "would admit planned"].repeat(5)); // as it would be in earnest
    assert_eq!(planned.peek_n_async((), 0).await.unwrap().remaining(), 2);
}

#[tokio::test]
async fn a_shadow_policy_settles_by_its_rules_too() {
    outcomes_of_a_shadow(MemoryStore::new()).await;
    outcomes_of_a_shadow(Remote::default()).await;
}

#[tokio::test]
async fn a_shadow_policy_whose_key_cannot_be_had_refuses_nobody() {
    let store = MemoryStore::new();
    let (now, planned) = (limiter(&store, "now", "9/h"), limiter(&store, "planned", "9/h"));
    let log = Log::default();
    let planned = policy(&planned).key(HeaderKey::new(HeaderName::from_static("x-user")).required()).shadow();
    let service = log.on(RateLimitLayer::new(policy(&now)).policy(planned).unwrap()).layer(Ready::default());
    assert_eq!(send(&service, request()).await.status(), StatusCode::OK);
    assert_eq!(send(&service, with_header("x-user", "ada")).await.status(), StatusCode::OK);
    assert_eq!(log.take(), ["no key ", "admitted now", "admitted now", "would admit planned"]);
}

#[tokio::test]
async fn a_shadow_layer_refuses_nobody_for_want_of_a_key() {
    let log = Log::default();
    let layer = RateLimitLayer::new(limiter(&MemoryStore::new(), "planned", "9/h")).shadow();
    let layer = layer.key(HeaderKey::new(HeaderName::from_static("x-user")).required());
    let service = log.on(layer).layer(Ready::default());
    assert_eq!(send(&service, request()).await.status(), StatusCode::OK);
    assert_eq!(send(&service, with_header("x-user", "ada")).await.status(), StatusCode::OK);
    assert_eq!(log.take(), ["no key ", "would admit default"]);
}
