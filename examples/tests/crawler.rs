//! The main job: a crawl of limited APIs without one refusal, and the same crawl without a limiter.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../crawler/main.rs"]
mod crawler;
mod crawling;

use axum::http::StatusCode;
use clap::Parser;
use crawler::Args;
use crawling::{List, Server, refused, run};
use std::time::{Duration, Instant};

#[test]
fn the_crawl_meets_no_429_and_uses_nearly_all_of_each_quota() {
    // A machine that is busy with something else sends late, and loses what the quota would have granted then: three crawls
    // may try for the share. None may meet a 429.
    let is_quick = |_| {
        let started = Instant::now();
        let outcome = crawler::run(&Args::parse_from(["crawler"])).unwrap();
        assert!(outcome.hosts.len() >= 3);
        assert!(outcome.hosts.iter().all(|host| host.refused == 0), "{outcome}");
        println!("{outcome}after {:?}", started.elapsed());
        let used_up = outcome.hosts.iter().all(|host| host.share.is_some_and(|share| share >= 0.95));
        used_up && outcome.failures.is_empty() && started.elapsed() < Duration::from_secs(20)
    };
    assert!((0..3).any(is_quick));
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
    for option in [
        "--no-limiter",
        "--urls <FILE>",
        "--quota <QUOTA>",
        "--quotas <FILE>",
        "--delay <TIME>",
        "--robots",
        "--state <FILE>",
        "--concurrency <N>",
        "--help",
        "[domains]",
        "Ctrl-C",
        "Exit status",
    ] {
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
    let server = Server::start(|_, _| StatusCode::OK.into());
    let list = List::new("within-quota", &server.urls(50));
    let output = run(&["--urls", list.arg(), "--quota", "20/s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let arrivals = server.times();
    assert_eq!(arrivals.len(), 50);
    // Any 21 in a row span more than a second.
    assert!(arrivals.windows(21).all(|row| row[20] - row[0] > Duration::from_secs(1)), "{arrivals:?}");
    let lasted = arrivals[49] - arrivals[0];
    assert!(lasted < Duration::from_secs(10), "two seconds are enough, it took {lasted:?}");
}

#[test]
fn a_429_is_a_failure() {
    let server = Server::start(|_, _| StatusCode::TOO_MANY_REQUESTS.into());
    let list = List::new("a-429", &server.urls(3));
    let output = run(&["--urls", list.arg()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("3 of 3 requests were answered with 429"), "{complaint}");
}
