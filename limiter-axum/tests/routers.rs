//! Where a layer can stand, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    routing::{any, get, post},
};
use common::{limit, serve};
use limiter_axum::{MatchedRoute, PolicyName};
use tower::ServiceBuilder;

fn pages() -> Router {
    Router::new().route("/a", get(async || "a")).route("/b", get(async || "b"))
}

#[tokio::test]
async fn a_layer_on_a_router_limits_all_of_it() {
    let server = serve(pages().layer(limit("3/h"))).await;
    assert_eq!(server.statuses(["/a", "/b", "/missing", "/a", "/missing"]).await, [200, 200, 404, 429, 429]);
}

#[tokio::test]
async fn a_route_layer_spares_paths_that_match_nothing() {
    let server = serve(pages().route_layer(limit("2/h"))).await;
    assert_eq!(server.statuses(["/missing", "/a", "/b", "/a", "/missing"]).await, [404, 200, 200, 429, 404]);
}

#[tokio::test]
async fn a_layer_on_one_method_spares_the_others() {
    let route = get(async || "read").layer(limit("1/h")).post(async || "written");
    let server = serve(pages().route("/one", route)).await;
    assert_eq!(server.statuses(["/one", "/one", "/a"]).await, [200, 429, 200]);
    assert_eq!(server.send("POST", "/one", "").await.status, 200);
}

#[tokio::test]
async fn a_route_layer_on_a_method_router_spares_wrong_methods() {
    let server = serve(Router::new().route("/one", post(async || "").route_layer(limit("1/h")))).await;
    let send = async |method| server.send(method, "/one", "").await.status;
    assert_eq!([send("GET").await, send("POST").await, send("POST").await, send("GET").await], [405, 200, 429, 405]);
}

#[tokio::test]
async fn a_nested_router_has_its_own_limit_inside_the_outer_one() {
    let api = pages().layer(limit("2/h").policy_name(PolicyName::new("api").unwrap()));
    let server = serve(pages().nest("/api", api).layer(limit("4/h"))).await;
    assert_eq!(server.statuses(["/api/a", "/api/b"]).await, [200, 200]);
    let inner = server.get("/api/a").await;
    assert_eq!((inner.status, inner.headers["ratelimit"].as_str()), (429, r#""api";r=0;t=1800"#));
    assert_eq!(server.statuses(["/a", "/a"]).await, [200, 429]);
}

#[tokio::test]
async fn it_stands_among_other_layers_in_a_service_builder() {
    let stack = ServiceBuilder::new().layer(limit("2/h")).layer(axum::Extension(7_u8)).layer(limit("1/h"));
    let server = serve(pages().layer(stack)).await;
    assert_eq!(server.statuses(["/a", "/a"]).await, [200, 429]);
}

#[tokio::test]
async fn it_limits_a_fallback_and_a_service() {
    let server = serve(Router::new().fallback_service(pages()).layer(limit("1/h"))).await;
    assert_eq!(server.statuses(["/a", "/b"]).await, [200, 429]);
}

#[tokio::test]
async fn a_matched_route_is_counted_whatever_its_parameters() {
    let app = Router::new().route("/users/{id}", get(async || "").post(async || "")).nest("/api", pages());
    let server = serve(app.layer(limit("1/h").key(MatchedRoute))).await;
    assert_eq!(
        server.statuses(["/users/1", "/users/2", "/api/a", "/api/b", "/api/a"]).await,
        [200, 429, 200, 200, 429]
    );
    assert_eq!(server.send("POST", "/users/3", "").await.status, 200);
    assert_eq!(server.send("HEAD", "/users/4", "").await.status, 429);
}

#[tokio::test]
async fn paths_that_match_nothing_share_one_key() {
    let server = serve(pages().layer(limit("1/h").key(MatchedRoute))).await;
    assert_eq!(server.statuses(["/x1", "/x2", "/%61", "/a", "/a/"]).await, [404, 429, 429, 200, 429]);
}

#[tokio::test]
async fn invented_methods_share_one_key() {
    let server = serve(Router::new().route("/a", any(async || "")).layer(limit("1/h").key(MatchedRoute))).await;
    let send = async |method| server.send(method, "/a", "").await.status;
    assert_eq!([send("X1").await, send("X2").await, send("GET").await], [200, 429, 200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_connections_get_exactly_the_quota() {
    let server = serve(pages().layer(limit("sliding_log 20/h"))).await;
    let requests: Vec<_> = (0..60).map(|_| tokio::spawn(async move { server.get("/a").await.status })).collect();
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[200; 20].as_slice(), &[429; 40]].concat());
}

#[tokio::test]
async fn a_denial_over_the_wire_is_whole() {
    let server = serve(pages().layer(limit("1/h"))).await;
    let admitted = server.get("/a").await;
    assert_eq!(admitted.headers["ratelimit"], r#""default";r=0;t=3600"#);
    assert_eq!(admitted.headers["ratelimit-policy"], r#""default";q=1;w=3600"#);
    let denied = server.get("/a").await;
    assert_eq!(denied.headers["retry-after"], "3600");
    assert_eq!(denied.headers["ratelimit"], r#""default";r=0;t=3600"#);
    assert_eq!(denied.headers["content-type"], "application/problem+json");
    assert_eq!(denied.headers["cache-control"], "no-store");
    let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!((&body["status"], &body["violated-policies"][0]), (&429.into(), &"default".into()));
}
