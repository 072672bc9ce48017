//! Whoever asks and however, over real sockets: exactly the quota is admitted, and told of.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../limiter-tower/tests/support/mod.rs"]
mod support;

use axum::{Router, response::Response, routing::get};
use common::{limit, serve, serve_with_peers};
use http::{Method, StatusCode};
use limiter_axum::{Generation, Limited, MatchedRoute, PeerAddr, PolicyName, RateLimitLayer};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use support::{
    client::{Connection, Manner},
    fields::{integer, strings},
};
use tokio::task::JoinSet;

type Visits = Arc<AtomicUsize>;

/// A page at `/` and at `/other` that counts its visits.
fn page(visits: &Visits) -> Router {
    let visits = Arc::clone(visits);
    let page = move || async move {
        visits.fetch_add(1, Ordering::SeqCst);
        "hello"
    };
    Router::new().route("/", get(page.clone())).route("/other", get(page))
}

fn count(answers: &[Response<String>], status: StatusCode) -> usize {
    answers.iter().filter(|answer| answer.status() == status).count()
}

/// Puts a limit of 20 somewhere around the page.
type Place = fn(Router) -> Router;

const PLACES: [(&str, Place); 5] = [
    ("a router", |page| page.layer(twenty())),
    ("its routes", |page| page.route_layer(twenty())),
    ("a router that is merged", |page| Router::new().route("/free", get(async || "")).merge(page.layer(twenty()))),
    ("a router with a fallback", |page| Router::new().fallback_service(page).layer(twenty())),
    ("each address on each route", |page| page.layer(twenty().key((PeerAddr::new(), MatchedRoute)))),
];

fn twenty() -> RateLimitLayer {
    limit("sliding_log 20/h")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_client_and_the_place_exactly_the_quota_is_admitted() {
    for (name, place) in PLACES {
        for manner in Manner::ALL {
            let visits = Visits::default();
            let server = serve_with_peers(place(page(&visits))).await;
            let answers = manner.send(server.address, 60).await;
            let seen = (count(&answers, StatusCode::OK), count(&answers, StatusCode::TOO_MANY_REQUESTS));
            let seen = (seen, visits.load(Ordering::SeqCst));
            assert_eq!(seen, ((20, 40), 20), "{name}, {manner:?}: admitted and denied, served");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_versions_share_what_their_address_has() {
    let visits = Visits::default();
    let server = serve_with_peers(page(&visits).layer(twenty().key(PeerAddr::new()))).await;
    let clients: JoinSet<_> = Manner::ALL.into_iter().map(|manner| manner.send(server.address, 8)).collect();
    let answers = clients.join_all().await.concat();
    assert_eq!((count(&answers, StatusCode::OK), visits.load(Ordering::SeqCst)), (20, 20));
    assert_eq!(count(&answers, StatusCode::TOO_MANY_REQUESTS), 8 * Manner::ALL.len() - 20);
}

#[tokio::test]
async fn fields_over_the_wire_agree_with_the_decision_a_handler_sees() {
    let told = async |Limited(decision): Limited| {
        let [second, hour] = decision.rates() else { panic!("two rates") };
        format!("{} {} {}", second.remaining(), hour.remaining(), hour.reset_after().as_micros().div_ceil(1_000_000))
    };
    let limit = || {
        limit("sliding_log 3/min, 4/h").policy_name(PolicyName::new("a \"b\"").unwrap()).fields([
            Generation::Structured,
            Generation::DraftA,
            Generation::Legacy,
        ])
    };
    let app = || Router::new().route("/", get(told)).layer(limit());
    agrees(Connection::http1(serve(app()).await.address).await).await;
    agrees(Connection::http2(serve(app()).await.address).await).await;
}

/// From the first request to the denial of the fourth.
async fn agrees(mut connection: Connection) {
    for nth in 1.. {
        let answer = connection.get("/").await;
        let headers = answer.headers();
        let policies = strings(headers, "ratelimit-policy");
        let policies: Vec<_> =
            policies.iter().map(|policy| (&*policy.value, policy.parameters["q"], policy.parameters["w"])).collect();
        assert_eq!(policies, [("a \"b\"-1min", 3, 60), ("a \"b\"-1h", 4, 3600)]);
        let states = strings(headers, "ratelimit");
        let number = |name: &str| integer(headers, name);
        for prefix in ["", "x-"] {
            assert!([3, 4].contains(&number(&format!("{prefix}ratelimit-limit"))));
            let least = states.iter().map(|state| state.parameters["r"]).min();
            assert_eq!(Some(number(&format!("{prefix}ratelimit-remaining"))), least);
        }
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(states.iter().map(|state| &*state.value).collect::<Vec<_>>(), ["a \"b\"-1min"]);
            assert_eq!((nth, number("retry-after")), (4, states[0].parameters["t"]));
            return;
        }
        let seen: Vec<u64> = answer.body().split(' ').map(|number| number.parse().unwrap()).collect();
        let told: Vec<u64> = states.iter().map(|state| state.parameters["r"]).collect();
        assert_eq!((told[0], told[1]), (seen[0], seen[1]));
        assert!(states[1].parameters["t"] == seen[2] || states[1].parameters["r"] == 0);
    }
}

#[tokio::test]
async fn a_head_request_is_charged_and_its_denial_has_no_body() {
    let server = async || serve(page(&Visits::default()).layer(limit("1/h"))).await.address;
    for mut connection in [Connection::http1(server().await).await, Connection::http2(server().await).await] {
        for expected in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::TOO_MANY_REQUESTS] {
            let answer = connection.send_as(Method::HEAD, "/", &[]).await;
            assert_eq!((answer.status(), &**answer.body()), (expected, ""));
        }
    }
}
