//! The server example over a real socket.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../server/main.rs"]
mod server;

use reqwest::{Client, StatusCode};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;

async fn started() -> (Client, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let service = server::app().unwrap().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    (Client::builder().no_proxy().build().unwrap(), base)
}

#[tokio::test]
async fn an_address_gets_its_burst_and_is_then_told_when_to_come_back() {
    let (client, base) = started().await;
    let mut refused = None;
    for _ in 0..100 {
        let response = client.get(&base).send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
        assert_eq!(response.status(), StatusCode::OK);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.text().await.unwrap().contains(r#""violated-policies":["address-1s"]"#));
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn each_api_key_has_its_own_quota_and_none_is_refused() {
    let (client, base) = started().await;
    let report = |key: &'static str| client.get(format!("{base}/report")).header("x-api-key", key).send();
    let mut left = Vec::new();
    for key in ["ada", "bob", "ada"] {
        let response = report(key).await.unwrap();
        left.push(response.text().await.unwrap());
    }
    // A window may end between two of the requests; what is left is then as much as before.
    assert_eq!(left[0], r#"{"limit":3,"remaining":2}"#);
    assert_eq!(left[1], r#"{"limit":3,"remaining":2}"#);
    assert!([r#"{"limit":3,"remaining":1}"#, r#"{"limit":3,"remaining":2}"#].contains(&left[2].as_str()));
    let without = client.get(format!("{base}/report")).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "loopback has a single address there")]
async fn the_quota_of_all_together_refuses_although_no_address_has_used_its_own() {
    let (_, base) = started().await;
    let mut refused = None;
    // 100 a second for all; 10 at once for each address, and no address asks for more.
    'all: for host in 1..=254 {
        let address = IpAddr::from([127, 0, 0, host]);
        let client = Client::builder().no_proxy().local_address(address).build().unwrap();
        for _ in 0..10 {
            let response = client.get(&base).send().await.unwrap();
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                refused = Some((client, response));
                break 'all;
            }
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
    let (client, refused) = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit-policy"], r#""overall";q=100;w=1"#);
    assert!(refused.text().await.unwrap().contains(r#""violated-policies":["overall"]"#));
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status(), StatusCode::OK);
}
