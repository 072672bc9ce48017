//! What making a key allocates: nothing, unless it is long or has to be decoded.

#![allow(clippy::unwrap_used)]

#[path = "../../limiter-core/tests/support/alloc.rs"]
mod alloc;

use alloc::watch;
use http::{HeaderMap, HeaderName, Request, request::Parts};
use limiter_tower::{
    ClientAddr, CookieKey, ExtensionKey, Global, HeaderKey, KeyExtractor, MethodKey, QueryKey, TrustedProxies,
};
use std::net::Ipv4Addr;

const PROXIES: [&str; 3] = ["192.0.2.0/24", "10.0.0.0/8", "127.0.0.1"];
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn client(proxies: TrustedProxies) -> ClientAddr {
    ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into())).behind(proxies)
}

fn by_x_forwarded_for() -> ClientAddr {
    client(TrustedProxies::x_forwarded_for(PROXIES).unwrap())
}

fn by_forwarded() -> ClientAddr {
    client(TrustedProxies::forwarded(PROXIES).unwrap())
}

fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let (mut head, ()) = Request::get(uri).body(()).unwrap().into_parts();
    head.headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    head.extensions.insert(7_u64);
    head
}

fn allocations(key: &dyn KeyExtractor, head: &Parts) -> usize {
    let (found, allocations) = watch(|| key.key(head));
    assert!(found.unwrap().is_some());
    allocations.count
}

fn ordinary() -> Parts {
    head(
        "/search?page=2&tenant=north",
        &[
            ("x-api-key", "0123456789abcdef0123456789abcdef"),
            ("cookie", "theme=dark; sid=0123456789abcdef0123456789abcdef"),
            ("x-forwarded-for", "1.2.3.4, 2001:db8::9, 10.0.0.2:80"),
            ("forwarded", "for=1.2.3.4, for=\"[2001:db8::9]:4711\";host=\"a, b\", for=10.0.0.2;proto=http"),
        ],
    )
}

#[test]
fn an_ordinary_key_allocates_nothing() {
    let x_real_ip = HeaderName::from_static("x-real-ip");
    let user = || ExtensionKey::<u64>::new().optional();
    let keys: [(&str, Box<dyn KeyExtractor>); 13] = [
        ("global", Box::new(Global)),
        ("method", Box::new(MethodKey)),
        ("header", Box::new(HeaderKey::new(API_KEY))),
        ("cookie", Box::new(CookieKey::new("sid"))),
        ("query", Box::new(QueryKey::new("tenant"))),
        ("extension", Box::new(user())),
        ("peer", Box::new(ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into())))),
        ("x-forwarded-for", Box::new(by_x_forwarded_for())),
        ("forwarded", Box::new(by_forwarded())),
        ("single address", Box::new(client(TrustedProxies::single_address(x_real_ip, PROXIES).unwrap()))),
        ("tuple", Box::new((by_x_forwarded_for(), MethodKey, QueryKey::new("tenant")))),
        ("or", Box::new(user().or(by_forwarded()))),
        ("closure", Box::new(|request: &Parts| request.headers.len() as u64)),
    ];
    let head = ordinary();
    for (name, key) in keys {
        assert_eq!(allocations(&*key, &head), 0, "{name}");
    }
}

#[test]
fn a_long_key_allocates_once_and_a_decoded_one_as_its_text_grows() {
    let long = "x".repeat(65);
    let head = head("/?tenant=north%20pole", &[("x-api-key", &long), ("cookie", "sid=%61da")]);
    assert_eq!(allocations(&HeaderKey::new(API_KEY), &head), 1);
    assert!((1..=2).contains(&allocations(&QueryKey::new("tenant"), &head)));
    assert!((1..=2).contains(&allocations(&CookieKey::new("sid"), &head)));
}

#[test]
fn what_a_client_writes_on_the_left_allocates_nothing() {
    let left = "for=\"\\1.2.3.4\", unknown,, ".repeat(1000);
    let headers = ["x-forwarded-for", "forwarded"].map(|name| {
        let client = if name == "forwarded" { "for=203.0.113.9" } else { "203.0.113.9" };
        (HeaderName::from_static(name), format!("{left}{client}").parse().unwrap())
    });
    let mut head = ordinary();
    head.headers = HeaderMap::from_iter(headers);
    assert_eq!(allocations(&by_x_forwarded_for(), &head), 0);
    assert_eq!(allocations(&by_forwarded(), &head), 0);
}
