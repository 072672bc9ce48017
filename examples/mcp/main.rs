//! An MCP server (streamable HTTP) behind two kinds of limits: of its endpoint, and of each tool.
//!
//! `cargo run --release --example mcp`, then point an MCP client at the address it prints.
//!
//! Each limit answers in the words of its layer, as that is what clients act on:
//!
//! * The endpoint is HTTP. It answers 429 with `Retry-After`, which clients' transports know; a JSON-RPC body behind a 429
//!   is not read by them.
//! * A tool answers with a tool result that is marked as an error: a sentence for the model, which sees it and can wait, and
//!   the same for programs in `structuredContent`. A JSON-RPC error is for requests that are wrong; clients show it as a
//!   failure of the server, and the model never learns that it could try again.

mod limits;
mod tools;

use axum::Router;
use clap::Parser;
use limiter_axum::{PeerAddr, PolicyName, RateLimitLayer};
use limiter_core::Limiter;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tools::Tools;

/// An MCP server with limits of its endpoint and of each tool.
#[derive(Parser, Debug)]
#[command(name = "mcp")]
struct Args {
    /// The address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    println!("an MCP server at http://{}/mcp; ctrl-c stops it", listener.local_addr()?);
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

pub(crate) fn app() -> anyhow::Result<Router> {
    // Every message of a client is a request, and so is the stream that it listens on.
    let endpoint = RateLimitLayer::new(Limiter::parse("10/s burst 40")?)
        .key(PeerAddr::new())
        .policy_name(PolicyName::new("endpoint")?);
    let tools = Tools::new()?;
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()), // for each session; all share the limits
        LocalSessionManager::default().into(),
        StreamableHttpServerConfig::default(),
    );
    Ok(Router::new().nest_service("/mcp", service).layer(endpoint))
}
