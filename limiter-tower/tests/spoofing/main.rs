//! Nothing that a client sends gives it another address, so that none of it buys a fresh quota.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod garbage;
mod table;

use common::{Ready, request};
use http::{HeaderMap, HeaderName, StatusCode, request::Parts};
use limiter_core::Limiter;
use limiter_tower::{ClientAddr, KeyError, KeyExtractor, ProxyError, RateLimitLayer, TrustedProxies};
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};
use table::{Case, Left, bytes, cases};
use tower::{Layer, ServiceExt};

fn peer(request: &Parts) -> Result<IpAddr, KeyError> {
    let peer = request.extensions.get::<SocketAddr>().map(SocketAddr::ip);
    peer.ok_or(KeyError::new("the accept loop inserted no SocketAddr"))
}

/// What a client may write in front of what proxies add.
const LEFTS: [&str; 16] = [
    "1.2.3.4",
    "for=1.2.3.4",
    "10.0.0.9",
    "for=10.0.0.9",
    "1.2.3.4, 10.0.0.9",
    "for=1.2.3.4, for=\"10.0.0.9\"",
    "unknown",
    "",
    ",,",
    "\"",
    "for=\"1.2.3.4",
    "for=1.2.3.4;host=\"",
    "for=1.2.3.4;host=\"\\",
    "[2001:db8::1",
    "for=\"[2001:db8::1]\\\"",
    "\u{e9}\u{662}",
];

/// Headers that some proxy sets somewhere.
const OTHERS: [&str; 12] = [
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-client-ip",
    "client-ip",
    "x-forwarded",
    "forwarded-for",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "via",
];

/// The case's headers, then those that its client could have sent instead, as far as they concern its address.
fn variants(case: &Case) -> Vec<HeaderMap> {
    let mut variants = vec![case.headers()];
    let mut others = case.headers();
    for name in OTHERS.into_iter().filter(|name| case.header != *name) {
        others.insert(HeaderName::from_static(name), bytes("1.2.3.4"));
        others.append(HeaderName::from_static(name), bytes("for=5.6.7.8"));
    }
    variants.push(others);
    for left in LEFTS {
        if case.left != Left::Read {
            let lines = std::iter::once(&left).chain(case.lines).map(|line| (case.header.clone(), bytes(line)));
            // One line alone of a single address would be the proxy's.
            variants.extend((case.left == Left::Ignored || !case.lines.is_empty()).then(|| lines.collect()));
        }
        if case.left == Left::Ignored && !case.lines.is_empty() {
            let mut lines = case.lines.iter();
            let first = lines.next().map(|line| format!("{left}, {line}")).unwrap_or_default();
            let lines = std::iter::once(first.as_str()).chain(lines.copied());
            variants.push(lines.map(|line| (case.header.clone(), bytes(line))).collect());
        }
    }
    variants
}

#[test]
fn the_table_has_enough_rows_and_none_twice() {
    let cases = cases();
    let rows: HashSet<_> = cases.iter().map(|case| (&case.header, case.peer, case.lines)).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    assert_eq!(rows.len(), cases.len());
}

#[test]
fn each_row_has_the_address_that_it_must() {
    for case in cases() {
        assert_eq!(case.proxies.client(case.peer, &case.headers()), case.client, "{}: {}", case.header, case.name);
    }
}

#[test]
fn whatever_stands_on_the_left_or_in_other_headers_changes_no_row() {
    for case in cases() {
        for headers in variants(&case) {
            let client = case.proxies.client(case.peer, &headers);
            assert_eq!(client, case.client, "{}: {}: {headers:?}", case.header, case.name);
        }
    }
}

#[tokio::test]
async fn no_row_buys_a_fresh_quota() {
    let mut sent = 0;
    for case in cases() {
        let limiter = Limiter::parse("1/h").unwrap();
        let key = ClientAddr::from_peer(peer).behind(case.proxies.clone());
        assert!(limiter.check(key.group(case.client)).unwrap().allowed());
        let layer = RateLimitLayer::new(limiter).key(key);
        for headers in variants(&case) {
            let mut request = request();
            request.extensions_mut().insert(SocketAddr::new(case.peer, 4711));
            *request.headers_mut() = headers;
            let response = layer.layer(Ready::default()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{}: {}", case.header, case.name);
            sent += 1;
        }
    }
    assert!(sent > 1000, "{sent}");
}

#[tokio::test]
async fn a_peer_that_nobody_inserted_is_an_error_and_never_unlimited() {
    let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/8"]).unwrap();
    let key = ClientAddr::from_peer(peer).behind(proxies);
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).key(key);
    for _ in 0..3 {
        let mut request = request();
        request.headers_mut().insert("x-forwarded-for", bytes("1.2.3.4"));
        let response = layer.layer(Ready::default()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.body().contains("inserted no SocketAddr"), "{}", response.body());
    }
}

#[test]
fn a_client_of_an_ipv6_prefix_has_one_key_whoever_names_it() {
    let key = ClientAddr::from_peer(peer).behind(TrustedProxies::x_forwarded_for(["10.0.0.0/8"]).unwrap());
    let of = |key: &ClientAddr, peer: &str, line: &str| {
        let mut request = request();
        request.extensions_mut().insert(SocketAddr::new(peer.parse().unwrap(), 4711));
        request.headers_mut().insert("x-forwarded-for", bytes(line));
        key.key(&request.into_parts().0).unwrap().unwrap()
    };
    let direct = of(&key, "2001:db8:1:2::3", "");
    assert_eq!(of(&key, "10.0.0.1", "2001:db8:1:2:ffff::4"), direct);
    assert_ne!(of(&key, "10.0.0.1", "2001:db8:1:3::3"), direct);
    let by_site = key.ipv6_prefix(48);
    assert_eq!(of(&by_site, "10.0.0.1", "2001:db8:1:3::3"), of(&by_site, "2001:db8:1:2::3", ""));
}

#[test]
fn without_proxies_the_peer_is_the_client() {
    let nobody = TrustedProxies::x_forwarded_for([""; 0]).unwrap();
    for case in cases() {
        assert_eq!(nobody.client(case.peer, &case.headers()), case.peer.to_canonical());
    }
}

#[test]
fn a_proxy_that_cannot_be_trusted_is_named_with_what_is_allowed() {
    let refused = |text: &str| TrustedProxies::forwarded(["10.0.0.0/8", text]).unwrap_err();
    for text in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "2001:db8::/129", "10.0.0.0/", "10.0.0.0/-1", "fe80::1%2"]
    {
        let error = refused(text);
        assert_eq!(error, ProxyError::NoNetwork { text: text.to_owned() });
        assert!(error.to_string().starts_with(&format!("{text:?} is neither an address nor a network")), "{error}");
    }
    for (text, network) in
        [("10.0.0.1/8", "10.0.0.0/8"), ("2001:db8::1/64", "2001:db8::/64"), ("::ffff:10.0.0.1/104", "10.0.0.0/8")]
    {
        assert_eq!(refused(text), ProxyError::HostBits { text: text.to_owned(), network: network.to_owned() });
    }
    for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
        assert_eq!(refused(text), ProxyError::Everybody { text: text.to_owned() });
    }
}
