//! An axum server behind three quotas: everybody together, each address, each API key.
//!
//! `cargo run --release --example server`, then try the curl lines it prints. With `--rules FILE` the quotas are those of
//! a file, and change with it; `--check FILE` says how a file is understood.

mod handlers;
pub(crate) mod rules;

use axum::{Router, routing::get};
use clap::Parser;
use handlers::{health, home, report};
use limiter_axum::{HeaderKey, MatchedRoute, PeerAddr, PolicyName, RateLimitLayer};
use limiter_core::Limiter;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::net::TcpListener;

/// An axum server with a global, a per-address and a per-API-key quota.
#[derive(Parser, Debug)]
#[command(name = "server")]
struct Args {
    /// The address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Take the quotas from this file (.toml, .yaml or .json), and again whenever it changes.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Only say how the rules of this file are understood, or what is wrong with them.
    #[arg(long, value_name = "FILE", conflicts_with = "rules")]
    check: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(path) = args.check {
        print!("{}", rules::check(&path)?);
        return Ok(());
    }
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let (app, help, _watch) = match args.rules {
        None => (app()?, help(address), None),
        Some(path) => {
            let layer = rules::layer(&path)?;
            let help = format!("under the rules of {}:\n{}", path.display(), layer.rules());
            let watch = rules::watch(&layer)?;
            (rules::app(layer), help, Some(watch))
        }
    };
    println!("listening on http://{address}; ctrl-c stops it\n\n{help}");
    // PeerAddr reads the socket's peer, which axum knows only when it is served like this.
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

pub(crate) fn app() -> anyhow::Result<Router> {
    let quota = |name: &str, quota: &str| -> anyhow::Result<RateLimitLayer> {
        Ok(RateLimitLayer::new(Limiter::parse(quota)?).policy_name(PolicyName::new(name)?))
    };
    let overall = quota("overall", "100/s")?;
    let per_address = quota("address", "5/s burst 10, 300/min")?.key((PeerAddr::new(), MatchedRoute));
    let per_key = quota("api-key", "fixed_window 3/10s")?.key(HeaderKey::new("x-api-key".parse()?).required());

    // The layer that is added last is asked first.
    Ok(Router::new()
        .route("/report", get(report).layer(per_key))
        .route("/", get(home))
        .route_layer(per_address)
        .layer(overall)
        .route("/health", get(health)))
}

/// What to try.
fn help(address: SocketAddr) -> String {
    format!(
        "5 a second and up to 10 at once for each address, 300 a minute; see the ratelimit headers:
    curl -i http://{address}/

the eleventh at once is told when to come back:
    for i in $(seq 12); do curl -s -o /dev/null -w '%{{http_code}} %header{{retry-after}}\\n' http://{address}/; done

3 in ten seconds for each API key, and 400 without one:
    for i in 1 2 3 4; do curl -s http://{address}/report -H 'x-api-key: ada'; echo; done
    curl -s http://{address}/report

never limited:
    curl http://{address}/health"
    )
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("cannot listen for ctrl-c: {error}");
        std::future::pending::<()>().await;
    }
}
