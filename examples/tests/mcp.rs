//! The MCP example, by rmcp's own client over a real socket.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../mcp/main.rs"]
mod mcp;

use axum::{Extension, extract::ConnectInfo};
use rmcp::{
    RoleClient, ServiceError, ServiceExt,
    model::{CallToolRequestParams, CallToolResult, ClientConfig},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError},
    },
};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpListener;

type Client = RunningService<RoleClient, ClientConfig>;

async fn started() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = mcp::app().unwrap().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn connected(address: SocketAddr) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{address}/mcp"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let transport = StreamableHttpClientTransport::with_client(http, config);
    ClientConfig::default().serve(transport).await.unwrap()
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<CallToolResult, ServiceError> {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

fn text(result: &CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}

#[tokio::test]
async fn a_tool_beyond_its_limit_tells_the_model_and_programs_when_to_retry() {
    let client = connected(started().await).await;
    for _ in 0..3 {
        let found = call(&client, "search", json!({ "query": "gcra" })).await.unwrap();
        assert_ne!(found.is_error, Some(true));
        assert_eq!(text(&found), r#"nothing was found for "gcra""#);
    }
    let refused = call(&client, "search", json!({ "query": "gcra" })).await.unwrap();
    assert_eq!(refused.is_error, Some(true));
    let said = refused.structured_content.as_ref().unwrap();
    assert_eq!(
        (&said["error"], &said["tool"], &said["quota"]),
        (&json!("rate_limited"), &json!("search"), &json!("3/min"))
    );
    let seconds = said["retry_after_seconds"].as_u64().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(
        text(&refused),
        format!("rate limit exceeded: `search` is limited to 3/min; retry after {seconds} seconds")
    );
    // The other tools and the session go on.
    let time = call(&client, "time", json!({})).await.unwrap();
    assert!(text(&time).parse::<u64>().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn another_session_of_the_same_client_buys_no_fresh_limit() {
    let address = started().await;
    for _ in 0..3 {
        let client = connected(address).await;
        call(&client, "search", json!({ "query": "x" })).await.unwrap();
        client.cancel().await.unwrap();
    }
    let client = connected(address).await;
    let refused = call(&client, "search", json!({ "query": "x" })).await.unwrap();
    assert_eq!(refused.is_error, Some(true));
}

#[tokio::test]
async fn another_address_of_the_same_ipv6_prefix_buys_no_fresh_limit() {
    let app = mcp::app().unwrap();
    let searched_from = async |peer: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.clone().layer(Extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap())));
        tokio::spawn(async move { axum::serve(listener, app).await });
        call(&connected(address).await, "search", json!({ "query": "x" })).await.unwrap().is_error
    };
    for peer in ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"] {
        assert_ne!(searched_from(peer).await, Some(true));
    }
    assert_eq!(searched_from("[2001:db8::4]:1").await, Some(true));
    assert_ne!(searched_from("[2001:db8:0:1::4]:1").await, Some(true));
}

#[tokio::test]
async fn a_cost_is_taken_from_the_arguments_and_one_that_can_never_fit_says_so() {
    let client = connected(started().await).await;
    let translate = |len: usize| call(&client, "translate", json!({ "text": "x".repeat(len) }));
    assert_eq!(text(&translate(600).await.unwrap()).len(), 600);
    let refused = translate(600).await.unwrap();
    assert_eq!(refused.structured_content.as_ref().unwrap()["error"], "rate_limited");
    assert_eq!(text(&translate(300).await.unwrap()).len(), 300);
    let refused = translate(1001).await.unwrap();
    let said = refused.structured_content.as_ref().unwrap();
    assert_eq!((&said["error"], &said["retry_after_seconds"]), (&json!("too_large"), &Value::Null));
}

#[tokio::test]
async fn an_endpoint_beyond_its_limit_is_a_429_whose_retry_after_the_client_reads() {
    let client = connected(started().await).await;
    let error = loop {
        // 10 a second come back; a client on the same machine is faster.
        let calls = (0..20).map(|_| client.list_tools(None));
        if let Err(error) = futures_util::future::try_join_all(calls).await {
            break error;
        }
    };
    let ServiceError::TransportSend(failed) = error else { panic!("{error:?}") };
    let Some(StreamableHttpError::HttpStatus(status)) =
        failed.error.downcast_ref::<StreamableHttpError<reqwest::Error>>()
    else {
        panic!("{failed:?}")
    };
    assert_eq!((status.status, status.retry_after.as_deref()), (429, Some("1")));
    // Whoever obeys goes on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.list_tools(None).await.unwrap().tools.len(), 3);
}
