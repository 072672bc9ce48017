//! Whose quota a request is counted under, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, Query, State, connect_info::MockConnectInfo},
    response::Response,
    routing::get,
};
use common::{limit, serve, serve_with_peers};
use http::{HeaderName, Request, StatusCode, request::Parts};
use limiter_axum::{
    CookieKey, ExtensionKey, ExtractedKey, HeaderKey, IntoKey, KeyError, KeyExtractor, MatchedRoute, MethodKey,
    PeerAddr, Policy, PolicyName, QueryKey, RateLimitLayer, from_extractor, from_extractor_with_state,
};
use limiter_core::{Key, KeyBuf, Limiter, MemoryStore};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};

fn page() -> Router {
    Router::new().route("/", get(async || "hello")).route("/other", get(async || "other"))
}

#[tokio::test]
async fn a_peer_is_limited_over_all_its_connections() {
    let server = serve_with_peers(page().layer(limit("2/h").key(PeerAddr::new()))).await;
    assert_eq!(server.statuses(["/", "/", "/"]).await, [200, 200, 429]);
    let spoofed = server.send("GET", "/", "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.2\r\n").await;
    assert_eq!(spoofed.status, 429);
}

#[tokio::test]
async fn a_peer_that_axum_was_not_given_is_an_error_that_says_what_to_call() {
    let server = serve(page().layer(limit("2/h").key(PeerAddr::new()))).await;
    for _ in 0..3 {
        let reply = server.get("/").await;
        assert_eq!(reply.status, 500);
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        assert!(reply.body.contains("into_make_service_with_connect_info::<SocketAddr>()"), "{}", reply.body);
    }
}

async fn status_from(app: &Router, peer: &str) -> StatusCode {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn peers_are_told_apart_by_address_and_ipv6_prefix() {
    let app = page().layer(limit("1/h").key(PeerAddr::new()));
    for (peer, expected) in [
        ("192.0.2.1:1000", 200),
        ("192.0.2.1:2000", 429),
        ("[::ffff:192.0.2.1]:1000", 429),
        ("192.0.2.2:1000", 200),
        ("[2001:db8::1]:1000", 200),
        ("[2001:db8::ffff:2]:1000", 429),
        ("[2001:db8:0:1::1]:1000", 200),
    ] {
        assert_eq!(status_from(&app, peer).await, expected, "{peer}");
    }
}

#[tokio::test]
async fn axums_mocked_address_counts_as_a_peer() {
    let mocked = MockConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1000)));
    let server = serve(page().layer(limit("1/h").key(PeerAddr::new())).layer(mocked)).await;
    assert_eq!(server.statuses(["/", "/"]).await, [200, 429]);
}

#[tokio::test]
async fn a_tuple_counts_each_peer_on_each_route() {
    let server = serve_with_peers(page().layer(limit("1/h").key((PeerAddr::new(), MatchedRoute)))).await;
    assert_eq!(server.statuses(["/", "/", "/other", "/other"]).await, [200, 429, 200, 429]);
}

#[tokio::test]
async fn a_header_is_a_key() {
    let server = serve(page().layer(limit("1/h").key(HeaderKey::new(HeaderName::from_static("x-api-key"))))).await;
    for (headers, expected) in
        [("x-api-key: ada\r\n", 200), ("x-api-key: bob\r\n", 200), ("x-api-key: ada\r\n", 429), ("", 200), ("", 429)]
    {
        assert_eq!(server.send("GET", "/", headers).await.status, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_query_extractor_is_a_key() {
    let tenant = |Query(query): Query<HashMap<String, String>>| query.get("tenant").cloned();
    let server = serve(page().layer(from_extractor(Limiter::parse("1/h").unwrap(), tenant))).await;
    let paths = ["/?tenant=north", "/?tenant=south", "/?tenant=north", "/", "/"];
    assert_eq!(server.statuses(paths).await, [200, 200, 429, 200, 200]);
}

/// Who is signed in, found out in a while.
struct User(u64);

#[derive(Clone)]
struct Sessions(HashMap<&'static str, u64>);

impl FromRequestParts<Sessions> for User {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(request: &mut Parts, sessions: &Sessions) -> Result<Self, Self::Rejection> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let token = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let user = token.and_then(|token| sessions.0.get(token));
        user.map(|id| Self(*id)).ok_or((StatusCode::UNAUTHORIZED, "who are you?"))
    }
}

#[tokio::test]
async fn an_async_extractor_with_state_is_a_key_and_its_rejection_an_answer() {
    let sessions = Sessions(HashMap::from([("ada-1", 1), ("ada-2", 1), ("bob", 2)]));
    let limiter = Limiter::parse("2/h").unwrap();
    let by_user = from_extractor_with_state(sessions.clone(), limiter.clone(), |user: User| user.0);
    let app = Router::new().route("/", get(async |State(_): State<Sessions>| "hello")).layer(by_user);
    let server = serve(app.with_state(sessions)).await;
    let send = async |token: &str| server.send("GET", "/", &format!("authorization: {token}\r\n")).await;

    for (token, expected) in [("ada-1", 200), ("ada-2", 200), ("ada-1", 429), ("bob", 200)] {
        assert_eq!(send(token).await.status, expected, "{token}");
    }
    let rejected = send("eve").await;
    assert_eq!((rejected.status, rejected.body.as_str()), (401, "who are you?"));
    assert!(!rejected.headers.contains_key("ratelimit"));
    assert_eq!(limiter.peek(2_u64).unwrap().remaining(), 1);
}

/// A key of several parts, which an extractor yields as it is.
struct Member {
    team: u64,
    user: User,
}

impl Key for Member {
    fn encode(&self, out: &mut KeyBuf) {
        (self.team, self.user.0).encode(out);
    }
}

impl IntoKey for Member {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(KeyBuf::of(&self)))
    }
}

impl FromRequestParts<Sessions> for Member {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(request: &mut Parts, sessions: &Sessions) -> Result<Self, Self::Rejection> {
        let user = User::from_request_parts(request, sessions).await?;
        Ok(Self { team: user.0 / 10, user })
    }
}

#[tokio::test]
async fn an_extractor_of_a_typed_key_is_one() {
    let sessions = Sessions(HashMap::from([("ada", 11), ("bob", 12)]));
    let limiter = Limiter::parse("1/h").unwrap();
    let by_member = from_extractor_with_state(sessions, limiter.clone(), |member: Member| member);
    let server = serve(page().layer(by_member)).await;
    for (token, expected) in [("ada", 200), ("ada", 429), ("bob", 200)] {
        let reply = server.send("GET", "/", &format!("authorization: {token}\r\n")).await;
        assert_eq!(reply.status, expected, "{token}");
    }
    assert_eq!(limiter.peek(Member { team: 1, user: User(11) }).unwrap().remaining(), 0);
}

#[tokio::test]
async fn limits_further_in_reach_the_extracted_key() {
    let by_user = |headers: http::HeaderMap| headers.get("x-user").cloned();
    let each_route = limit("1/h").key((ExtractedKey, MatchedRoute));
    let server = serve(page().layer(each_route).layer(from_extractor(Limiter::parse("3/h").unwrap(), by_user))).await;
    let send = async |path, user| server.send("GET", path, &format!("x-user: {user}\r\n")).await.status;
    assert_eq!([send("/", "ada").await, send("/", "ada").await, send("/other", "ada").await], [200, 429, 200]);
    assert_eq!([send("/other", "ada").await, send("/other", "bob").await], [429, 200]);
    assert_eq!(server.get("/").await.status, 200);

    let without = serve(page().layer(limit("1/h").key(ExtractedKey))).await.get("/").await;
    assert_eq!(without.status, 500);
    assert!(without.body.contains("from_extractor"), "{}", without.body);
}

#[tokio::test]
async fn all_policies_of_a_layer_reach_the_extracted_key() {
    let store = MemoryStore::new();
    let policy = |name: &str, quota: &str| {
        let limiter = Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone()).build();
        Policy::new(PolicyName::new(name).unwrap(), limiter)
    };
    let each_route = policy("route", "1/h").key((ExtractedKey, MatchedRoute));
    let each_peer = policy("peer", "4/h").key(PeerAddr::new());
    let layer = RateLimitLayer::new(policy("user", "2/h")).policy(each_route).unwrap().policy(each_peer).unwrap();
    let by_user = |headers: http::HeaderMap| headers.get("x-user").cloned();
    let server = serve_with_peers(page().layer(from_extractor(layer, by_user))).await;
    for (path, user, expected) in [
        ("/", "ada", "200"),
        ("/", "ada", "429 route"),
        ("/other", "ada", "200"),
        ("/nowhere", "ada", "429 user"),
        ("/", "bob", "200"),
        ("/other", "bob", "200"),
        ("/", "eve", "429 peer"),
    ] {
        let reply = server.send("GET", path, &format!("x-user: {user}\r\n")).await;
        let violated = reply.body.split("\"violated-policies\":[\"").nth(1).and_then(|list| list.split('"').next());
        let found = violated.map_or(reply.status.to_string(), |name| format!("{} {name}", reply.status));
        assert_eq!(found, expected, "{path} {user}: {}", reply.body);
    }
}

/// The layer that knows who is signed in leaves that in the request.
async fn sign_in(mut request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let user = request.headers().get("x-user").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

#[tokio::test]
async fn the_signed_in_user_or_else_the_address_is_a_key() {
    let key = ExtensionKey::<u64>::new().optional().or(PeerAddr::new());
    let app = page().layer(limit("1/h").key(key)).layer(axum::middleware::from_fn(sign_in));
    let server = serve_with_peers(app).await;
    for (user, expected) in [("7", 200), ("8", 200), ("7", 429), ("", 200), ("nobody", 429), ("8", 429)] {
        let reply = server.send("GET", "/", &format!("x-user: {user}\r\n")).await;
        assert_eq!(reply.status, expected, "{user}");
    }
}

#[tokio::test]
async fn cookies_queries_and_methods_are_keys() {
    let key = (CookieKey::new("sid").optional(), QueryKey::new("tenant").optional(), MethodKey);
    let server = serve(page().layer(limit("1/h").key(key))).await;
    let send = async |method, path, cookie| {
        server.send(method, path, &format!("cookie: theme=dark; sid={cookie}\r\n")).await.status
    };
    for (method, path, cookie, expected) in [
        ("GET", "/?tenant=north", "a", 200),
        ("GET", "/?x=1&tenant=%6eorth", "%61", 429),
        ("HEAD", "/?tenant=north", "a", 429),
        ("GET", "/?tenant=south", "a", 200),
        ("GET", "/?tenant=south", "b", 200),
        ("GET", "/", "b", 200),
        ("GET", "/", "b", 200),
        ("OPTIONS", "/?tenant=south", "b", 405),
        ("OPTIONS", "/?tenant=south", "b", 429),
    ] {
        assert_eq!(send(method, path, cookie).await, expected, "{method} {path} {cookie}");
    }
}

#[tokio::test]
async fn a_key_that_the_extracted_value_lacks_is_answered() {
    let nobody = |_: http::Method| Err::<u64, _>(KeyError::new("no tenant").with_status(StatusCode::FORBIDDEN));
    let server = serve(page().layer(from_extractor(Limiter::parse("1/h").unwrap(), nobody))).await;
    let reply = server.get("/").await;
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("no tenant"), "{}", reply.body);
}

#[tokio::test]
async fn an_extractors_limit_keeps_its_layers_name_and_cost() {
    let configured = limit("5/h").policy_name(PolicyName::new("tenant").unwrap()).cost(|_| 5);
    let by_method = from_extractor(configured, |method: http::Method| method.to_string());
    let server = serve(Router::new().route("/", get(async || "").layer(by_method))).await;
    assert_eq!(server.get("/").await.headers["ratelimit"], r#""tenant";r=0;t=720"#);
    assert_eq!(server.get("/").await.status, 429);
}

#[tokio::test]
async fn limits_by_two_extractors_do_not_mix_their_keys() {
    let quota = |text: &str| Limiter::parse(text).unwrap();
    let (by_path, by_method) = (|uri: http::Uri| uri.path().to_owned(), |method: http::Method| method.to_string());
    let app = page().layer(from_extractor(quota("1/h"), by_path)).layer(from_extractor(quota("2/h"), by_method));
    assert_eq!(serve(app).await.statuses(["/", "/other", "/"]).await, [200, 200, 429]);
}

/// Panics when this very clone was not polled ready before the call.
#[derive(Default)]
struct Ready(bool);

impl Clone for Ready {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Body>> for Ready {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "called without being polled ready");
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn after_the_extraction_the_service_that_was_polled_ready_is_called() {
    let by_method = |method: http::Method| method.to_string();
    let mut service = from_extractor(Limiter::parse("3/h").unwrap(), by_method).layer(Ready::default());
    for expected in [200, 200, 200, 429] {
        let response = service.ready().await.unwrap().call(Request::default()).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn who_is_let_by_or_turned_away_by_the_layer_is_not_asked_for_a_key() {
    struct Nobody;
    impl<T: Sync> FromRequestParts<T> for Nobody {
        type Rejection = StatusCode;

        async fn from_request_parts(_: &mut Parts, _: &T) -> Result<Self, StatusCode> {
            Err(StatusCode::UNAUTHORIZED)
        }
    }
    let layer = limit("1/h").skip(|request| request.uri.path() == "/other");
    let layer = layer.block(|request| request.headers.contains_key("x-bad"));
    let server = serve(page().layer(from_extractor(layer, |_: Nobody| "nobody"))).await;
    assert_eq!(server.statuses(["/", "/other", "/other"]).await, [401, 200, 200]);
    assert_eq!(server.send("GET", "/", "x-bad: 1\r\n").await.status, 403);
}
