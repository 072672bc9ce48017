//! Whose quota a request is counted under.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, request, with_header};
use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use limiter_core::{Key, KeyBuf, Limiter};
use limiter_tower::{
    CookieKey, ExtensionKey, Global, HeaderKey, IntoKey, KeyError, KeyExtractor, MethodKey, QueryKey, RateLimitLayer,
};
use std::net::{IpAddr, Ipv4Addr};
use tower::{Layer, ServiceExt};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn layer(key: impl KeyExtractor) -> RateLimitLayer {
    RateLimitLayer::new(Limiter::parse("1/h").unwrap()).key(key)
}

async fn send(layer: &RateLimitLayer, request: Request<String>) -> Response<String> {
    layer.layer(Ready::default()).oneshot(request).await.unwrap()
}

async fn admitted(layer: &RateLimitLayer, request: Request<String>) -> bool {
    send(layer, request).await.status() == StatusCode::OK
}

fn head(request: Request<String>) -> Parts {
    request.into_parts().0
}

#[tokio::test]
async fn global_counts_all_requests_together() {
    for layer in [layer(Global), RateLimitLayer::new(Limiter::parse("1/h").unwrap())] {
        assert!(admitted(&layer, with_header("x-api-key", "ada")).await);
        assert!(!admitted(&layer, with_header("x-api-key", "bob")).await);
    }
}

#[tokio::test]
async fn each_header_value_has_its_own_quota() {
    let layer = layer(HeaderKey::new(API_KEY));
    assert!(admitted(&layer, with_header("x-api-key", "ada")).await);
    assert!(admitted(&layer, with_header("x-api-key", "bob")).await);
    assert!(!admitted(&layer, with_header("x-api-key", "ada")).await);
}

#[tokio::test]
async fn requests_without_the_header_share_one_key() {
    let layer = layer(HeaderKey::new(API_KEY));
    assert!(admitted(&layer, request()).await);
    assert!(!admitted(&layer, request()).await);
    assert!(!admitted(&layer, with_header("x-api-key", "")).await);
}

#[tokio::test]
async fn an_optional_header_leaves_requests_without_it_unlimited() {
    let layer = layer(HeaderKey::new(API_KEY).optional());
    for _ in 0..3 {
        let response = send(&layer, request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert!(admitted(&layer, with_header("x-api-key", "ada")).await);
    assert!(!admitted(&layer, with_header("x-api-key", "ada")).await);
}

#[tokio::test]
async fn a_required_header_is_asked_for_by_name() {
    let response = send(&layer(HeaderKey::new(API_KEY).required()), request()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(response.body().contains("the x-api-key header is missing"), "{}", response.body());
}

#[test]
fn a_cookie_is_read_as_cookie_parsers_do() {
    let read = |lines: &[&str]| {
        let mut request = request();
        for line in lines {
            request.headers_mut().append("cookie", line.parse().unwrap());
        }
        CookieKey::new("sid").optional().key(&head(request)).unwrap()
    };
    let ada = Some(KeyBuf::of("ada"));
    for same in [
        &["sid=ada"][..],
        &["theme=dark; sid=ada"],
        &["theme=dark;sid=ada;x"],
        &["theme=dark", "sid=ada"],
        &["sid=ada; sid=bob"],
        &["sid=ada", "sid=bob"],
        &["sid=\"ada\""],
        &["sid=%61da"],
        &["sid=\"a%64a\""],
        &["  sid = ada  "],
        &["sidecar=x; sid=ada"],
    ] {
        assert_eq!(read(same), ada, "{same:?}");
    }
    for none in [&[][..], &["sid"], &["sid="], &["sid=\"\""], &["SID=ada"], &["sidecar=ada"], &["=ada"], &[";;="]] {
        assert_eq!(read(none), None, "{none:?}");
    }
    for other in ["sid=ada=", "sid=\"ada", "sid=a da", "sid=Ada", "sid=%ada"] {
        assert!(read(&[other]).is_some_and(|key| Some(key) != ada), "{other}");
    }
}

#[test]
fn a_query_parameter_is_decoded_and_the_first_of_its_name() {
    let read = |uri: &str| {
        let request = Request::get(uri).body(String::new()).unwrap();
        QueryKey::new("tenant").optional().key(&head(request)).unwrap()
    };
    let north = Some(KeyBuf::of("north pole"));
    for same in [
        "/?tenant=north%20pole",
        "/?tenant=north+pole",
        "/?page=2&tenant=north%20pole",
        "/?t%65nant=%6eorth%20pole",
        "/?tenant=north%20pole&tenant=south",
        "/?&&tenant=north+pole&",
    ] {
        assert_eq!(read(same), north, "{same}");
    }
    for none in ["/", "/?", "/?tenant", "/?tenant=", "/?TENANT=x", "/?tenants=x", "/tenant=x"] {
        assert_eq!(read(none), None, "{none}");
    }
    assert_eq!(read("/?tenant=%ff%zz"), Some(KeyBuf::of("\u{fffd}%zz")));
}

#[tokio::test]
async fn requests_without_the_value_share_a_key_pass_or_are_refused() {
    async fn statuses(key: impl KeyExtractor) -> [u16; 2] {
        let layer = layer(key);
        [send(&layer, request()).await.status().as_u16(), send(&layer, request()).await.status().as_u16()]
    }
    let (header, cookie, query) = (HeaderKey::new(API_KEY), CookieKey::new("sid"), QueryKey::new("tenant"));
    assert_eq!(statuses(header.clone()).await, [200, 429]);
    assert_eq!(statuses(cookie.clone()).await, [200, 429]);
    assert_eq!(statuses(query.clone()).await, [200, 429]);
    assert_eq!(statuses(header.clone().optional()).await, [200, 200]);
    assert_eq!(statuses(cookie.clone().optional()).await, [200, 200]);
    assert_eq!(statuses(query.clone().optional()).await, [200, 200]);
    assert_eq!(statuses(header.required()).await, [400, 400]);
    assert_eq!(statuses(cookie.clone().required()).await, [400, 400]);
    assert_eq!(statuses(query.clone().required()).await, [400, 400]);
    let refusal = |key: &dyn KeyExtractor| key.key(&head(request())).unwrap_err().to_string();
    assert_eq!(refusal(&cookie.required()), "the cookie sid is missing");
    assert_eq!(refusal(&query.required()), "the query parameter tenant is missing");
}

#[tokio::test]
async fn any_extractor_without_a_key_can_refuse() {
    let unauthorized = KeyError::new("sign in").with_status(StatusCode::UNAUTHORIZED);
    let closure = |_: &Parts| None::<u64>;
    let extension = ExtensionKey::<Tenant>::new().optional();
    for layer in [
        layer(closure.or_refuse(unauthorized.clone())),
        layer(extension.or_refuse(unauthorized.clone())),
        layer(HeaderKey::new(API_KEY).optional().or_refuse(unauthorized.clone())),
        layer((Global, closure).or_refuse(unauthorized.clone())),
        layer(extension.or(closure).or_refuse(unauthorized)),
    ] {
        let response = send(&layer, request()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.body().contains("sign in"), "{}", response.body());
    }
}

#[test]
fn one_extractors_keys_never_meet_those_of_the_other() {
    let key = HeaderKey::new(API_KEY).optional().or(QueryKey::new("key").optional()).or(MethodKey);
    let of = |uri: &str, header: &str| {
        let request = Request::get(uri).header(API_KEY, header).body(String::new()).unwrap();
        key.key(&head(request)).unwrap()
    };
    let keys = [of("/", "GET"), of("/?key=GET", ""), of("/", ""), of("/?key=ada", "")];
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            assert_eq!(a == b, i == j, "{i} {j}");
        }
    }
    assert_eq!(of("/?key=bob", "ada"), of("/", "ada"));
}

#[test]
fn the_other_extractor_does_not_cure_an_error() {
    let failing = HeaderKey::new(API_KEY).required().or(Global);
    assert!(failing.key(&head(request())).is_err());
}

#[derive(Clone)]
struct Tenant(&'static str);

impl Key for Tenant {
    fn encode(&self, out: &mut KeyBuf) {
        self.0.encode(out);
    }
}

#[tokio::test]
async fn an_extension_is_a_key_and_its_absence_an_error() {
    let layer = layer(ExtensionKey::<Tenant>::new());
    let of = |tenant| {
        let mut request = request();
        request.extensions_mut().insert(Tenant(tenant));
        request
    };
    assert!(admitted(&layer, of("north")).await);
    assert!(admitted(&layer, of("south")).await);
    assert!(!admitted(&layer, of("north")).await);
    let response = send(&layer, request()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.body().contains("Tenant"), "{}", response.body());
}

#[tokio::test]
async fn an_optional_extension_leaves_requests_without_it_unlimited() {
    let layer = layer(ExtensionKey::<Tenant>::new().optional());
    for _ in 0..3 {
        assert!(admitted(&layer, request()).await);
    }
}

#[tokio::test]
async fn a_closure_that_returns_none_does_not_limit() {
    let layer = layer(|request: &Parts| (request.uri.path() != "/health").then(|| request.uri.path().to_owned()));
    let get = |path: &str| Request::get(path).body(String::new()).unwrap();
    for _ in 0..3 {
        assert!(admitted(&layer, get("/health")).await);
    }
    assert!(admitted(&layer, get("/work")).await);
    assert!(!admitted(&layer, get("/work")).await);
}

#[test]
fn closures_return_what_is_at_hand() {
    fn key_of(extractor: impl KeyExtractor + Copy) -> Option<KeyBuf> {
        extractor.key(&head(with_header("x-api-key", "ada"))).unwrap()
    }
    let ada = Some(KeyBuf::of("ada"));
    assert_eq!(key_of(|_: &Parts| "ada"), ada);
    assert_eq!(key_of(|_: &Parts| "ada".to_owned()), ada);
    assert_eq!(key_of(|_: &Parts| *b"ada"), ada);
    assert_eq!(key_of(|_: &Parts| KeyBuf::of("ada")), ada);
    assert_eq!(key_of(|request: &Parts| request.headers.get(API_KEY).cloned()), ada);
    assert_eq!(key_of(|_: &Parts| Ok::<_, KeyError>(Some("ada"))), ada);
    assert_eq!(key_of(|_: &Parts| IpAddr::from([127, 0, 0, 1])), Some(KeyBuf::of(&Ipv4Addr::LOCALHOST)));
    assert_eq!(key_of(|request: &Parts| (request.method.to_string(), 7_u64)), Some(KeyBuf::of(&("GET", 7_u64))));
    assert_eq!(key_of(|_: &Parts| None::<u64>), None);
}

#[test]
fn a_tuple_joins_its_keys_and_needs_all_of_them() {
    let tuple = (HeaderKey::new(API_KEY).optional(), |_: &Parts| 7_u64);
    let both = tuple.key(&head(with_header("x-api-key", "ada"))).unwrap();
    assert_eq!(both, Some(KeyBuf::of(&("ada", 7_u64))));
    assert_eq!(tuple.key(&head(request())).unwrap(), None);
    let failing = (Global, HeaderKey::new(API_KEY).required());
    assert!(failing.key(&head(request())).is_err());
}

#[test]
fn tuples_of_eight_tell_their_members_apart() {
    let part = |_: &Parts| "a";
    let eight = (part, part, part, part, part, part, part, |request: &Parts| request.method.to_string());
    let key = eight.key(&head(request())).unwrap();
    assert_eq!(key, Some(KeyBuf::of(&("a", "a", "a", "a", "a", "a", "a", "GET"))));
    assert_eq!(("a", "a", "a", "a", "a", "a", "a", "GET").into_key().unwrap(), key);
    assert_ne!(key, Some(KeyBuf::of(&("a", "a", "a", "a", "a", "a", "aGET", ""))));
}

#[test]
fn a_key_errors_status_is_always_an_errors() {
    for (asked, given) in [(401, 401), (503, 503), (200, 500), (304, 500), (101, 500)] {
        let error = KeyError::new("").with_status(StatusCode::from_u16(asked).unwrap());
        assert_eq!(error.status(), given);
    }
    assert!(Err::<(), _>(KeyError::new("gone")).into_key().is_err_and(|error| error.to_string() == "gone"));
}
