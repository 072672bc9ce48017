//! The main job: a crawl of limited APIs without one refusal, and the same crawl without a limiter.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../crawler/main.rs"]
mod crawler;
#[path = "support/program.rs"]
mod program;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use clap::Parser;
use crawler::Args;
use std::{
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime::Runtime};

#[test]
fn the_crawl_meets_no_429_and_uses_nearly_all_of_each_quota() {
    let started = Instant::now();
    let outcome = crawler::run(&Args::parse_from(["crawler"])).unwrap();
    let elapsed = started.elapsed();
    assert!(outcome.failures.is_empty(), "{outcome}");
    assert!(outcome.hosts.len() >= 3);
    for host in &outcome.hosts {
        assert_eq!(host.refused, 0, "{outcome}");
        assert!(host.share.is_some_and(|share| share >= 0.95), "{outcome}");
    }
    assert!(elapsed < Duration::from_secs(20), "it took {elapsed:?}");
}

#[test]
fn without_a_limiter_the_same_crawl_is_refused() {
    let outcome = crawler::run(&Args::parse_from(["crawler", "--no-limiter"])).unwrap();
    assert!(!outcome.failures.is_empty());
    assert!(outcome.hosts.iter().all(|host| host.refused > 0), "{outcome}");
}

#[test]
fn help_names_every_option() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for option in ["--no-limiter", "--urls <FILE>", "--quota <QUOTA>", "--concurrency <N>", "--help", "Exit status"] {
        assert!(help.contains(option), "{option} is not in\n{help}");
    }
}

#[test]
fn a_bad_quota_is_refused_with_the_part_that_is_wrong() {
    let list = List::new("bad-quota", "http://127.0.0.1:9/\n");
    let complaint = refused(&["--urls", list.arg(), "--quota", "5/s, 100/fortnight"]);
    assert!(complaint.contains(r#""fortnight""#), "{complaint}");
    let complaint = refused(&["--urls", list.arg(), "--quota", "5/s, 6/s"]);
    assert!(complaint.contains("5/s and 6/s have the same period"), "{complaint}");
}

#[test]
fn an_https_line_is_refused_with_what_is_allowed() {
    let list = List::new("https", "http://127.0.0.1:9/\nhttps://127.0.0.1:9/\n");
    let complaint = refused(&["--urls", list.arg()]);
    assert!(complaint.contains("line 2") && complaint.contains("only http:// is allowed"), "{complaint}");
}

#[test]
fn a_list_is_crawled_within_its_quota() {
    let server = Server::start(StatusCode::OK);
    let list = List::new("within-quota", &server.urls(50));
    let output = run(&["--urls", list.arg(), "--quota", "20/s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let arrivals = server.arrivals();
    assert_eq!(arrivals.len(), 50);
    // Any 21 in a row span more than a second.
    assert!(arrivals.windows(21).all(|row| row[20] - row[0] > Duration::from_secs(1)), "{arrivals:?}");
    let lasted = arrivals[49] - arrivals[0];
    assert!(lasted < Duration::from_secs(10), "two seconds are enough, it took {lasted:?}");
}

#[test]
fn a_429_is_a_failure() {
    let server = Server::start(StatusCode::TOO_MANY_REQUESTS);
    let list = List::new("a-429", &server.urls(3));
    let output = run(&["--urls", list.arg()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("3 of 3 requests were answered with 429"), "{complaint}");
}

/// Runs the program as a user does.
fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().unwrap()
}

/// What it says on wrong input.
fn refused(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::built("crawler"));
    &PROGRAM
}

/// A file of URLs, there for as long as its test.
struct List(PathBuf);

impl List {
    fn new(name: &str, lines: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.txt", std::process::id()));
        fs::write(&path, lines).unwrap();
        Self(path)
    }

    fn arg(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server on a real socket that remembers when each request arrived.
struct Server {
    _runtime: Runtime,
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    fn start(answer: StatusCode) -> Self {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let arrived = async move |State(arrivals): State<Arc<Mutex<Vec<Instant>>>>| {
            // Inside the lock, so that they are in order.
            let mut arrivals = arrivals.lock().unwrap();
            arrivals.push(Instant::now());
            answer
        };
        let app = Router::new().route("/item/{id}", get(arrived)).with_state(Arc::clone(&arrivals));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { _runtime: runtime, address, arrivals }
    }

    fn urls(&self, count: usize) -> String {
        (0..count).map(|id| format!("http://{}/item/{id}\n", self.address)).collect()
    }

    fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().unwrap().clone()
    }
}
