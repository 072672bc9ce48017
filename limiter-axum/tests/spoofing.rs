//! Clients behind proxies, over real sockets: what they send buys no fresh quota. The table of headers and addresses
//! stands in limiter-tower.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    routing::{any, get},
};
use common::{Server, limit, serve, serve_with_peers};
use http::HeaderName;
use limiter_axum::{MatchedRoute, PeerAddr, TrustedProxies};

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

async fn behind(proxies: TrustedProxies) -> Server {
    let app = Router::new().route("/", get(async || "hello"));
    serve_with_peers(app.layer(limit("1/h").key(PeerAddr::new().behind(proxies)))).await
}

async fn statuses(server: &Server, headers: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for lines in headers {
        statuses.push(server.send("GET", "/", lines).await.status);
    }
    statuses
}

#[tokio::test]
async fn x_forwarded_for_is_read_from_the_right() {
    let server = behind(TrustedProxies::x_forwarded_for(LOOPBACK).unwrap()).await;
    let first = statuses(&server, &["x-forwarded-for: 203.0.113.9\r\n", "x-forwarded-for: 203.0.113.8\r\n"]).await;
    assert_eq!(first, [200, 200]);
    let spoofs = [
        "x-forwarded-for: 1.2.3.4, 203.0.113.9\r\n",
        "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 203.0.113.9:4711\r\n",
        "x-forwarded-for: 127.0.0.9, ::ffff:203.0.113.9, 127.0.0.8\r\n",
        "x-forwarded-for: \"\r\nx-forwarded-for: 203.0.113.9\r\nx-forwarded-for: 127.0.0.8\r\n",
        "x-forwarded-for: 203.0.113.9\r\nforwarded: for=1.2.3.4\r\nx-real-ip: 1.2.3.4\r\n",
    ];
    assert_eq!(statuses(&server, &spoofs).await, [429; 5]);
}

#[tokio::test]
async fn forwarded_is_read_from_the_right() {
    let server = behind(TrustedProxies::forwarded(LOOPBACK).unwrap()).await;
    assert_eq!(statuses(&server, &["forwarded: for=\"[2001:db8::9]:80\"\r\n"]).await, [200]);
    let spoofs = [
        "forwarded: for=1.2.3.4, For=\"[2001:db8::a]\";proto=https\r\n",
        "forwarded: for=\"1.2.3.4, for=\"[2001:db8::b]\", for=127.0.0.8\r\n",
        "forwarded: for=1.2.3.4\r\nforwarded: host=\"a, b\";for=\"[2001:db8::9]\"\r\nx-forwarded-for: 1.2.3.4\r\n",
    ];
    assert_eq!(statuses(&server, &spoofs).await, [429; 3]);
}

#[tokio::test]
async fn a_single_address_is_read_from_its_last_line() {
    let name = HeaderName::from_static("cf-connecting-ip");
    let server = behind(TrustedProxies::single_address(name, LOOPBACK).unwrap()).await;
    let requests = [
        "cf-connecting-ip: 203.0.113.9\r\n",
        "cf-connecting-ip: 1.2.3.4\r\ncf-connecting-ip: 203.0.113.9\r\n",
        "cf-connecting-ip: 203.0.113.9\r\nx-forwarded-for: 1.2.3.4\r\n",
    ];
    assert_eq!(statuses(&server, &requests).await, [200, 429, 429]);
}

#[tokio::test]
async fn a_peer_that_is_no_proxy_is_the_client_whatever_it_sends() {
    let strangers = ["10.0.0.0/8"];
    let name = HeaderName::from_static("x-real-ip");
    for proxies in [
        TrustedProxies::x_forwarded_for(strangers),
        TrustedProxies::forwarded(strangers),
        TrustedProxies::single_address(name, strangers),
    ] {
        let server = behind(proxies.unwrap()).await;
        let requests = ["x-forwarded-for: 1.2.3.4\r\n", "forwarded: for=1.2.3.5\r\n", "x-real-ip: 1.2.3.6\r\n", ""];
        assert_eq!(statuses(&server, &requests).await, [200, 429, 429, 429]);
    }
}

#[tokio::test]
async fn behind_proxies_too_a_peer_that_axum_was_not_given_is_an_error() {
    let key = PeerAddr::new().behind(TrustedProxies::x_forwarded_for(LOOPBACK).unwrap());
    let server = serve(Router::new().route("/", get(async || "hello")).layer(limit("1/h").key(key))).await;
    for _ in 0..3 {
        let reply = server.send("GET", "/", "x-forwarded-for: 203.0.113.9\r\n").await;
        assert_eq!(reply.status, 500);
        assert!(reply.body.contains("into_make_service_with_connect_info::<SocketAddr>()"), "{}", reply.body);
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_buys_a_fresh_quota() {
    let app = Router::new().route("/users/{id}/posts", any(async || ""));
    let server = serve(app.layer(limit("1/h").key(MatchedRoute))).await;
    assert_eq!(server.statuses(["/users/1/posts", "/nowhere"]).await, [200, 404]); // each with its quota, now used up
    for spelling in [
        "/users/2/posts",
        "/users/a%2fb/posts",
        "/users/a%2Fb/posts",
        "/users/%31/posts",
        "/users/1/posts?page=2",
        "/users/1/posts?",
        "/users/../posts",
        "/users/1/posts/",
        "/users/1//posts",
        "//users/1/posts",
        "/users%2f1%2fposts",
        "/Users/1/posts",
        "/users/1/POSTS",
        "/users/1/%70osts",
        "/users/1/posts;v=1",
        "/./users/1/posts",
        "/users/1/posts%00",
        "/users//posts",
    ] {
        assert_eq!(server.get(spelling).await.status, 429, "{spelling}");
    }
}
