//! The main job: a crawl of limited APIs without one refusal, and the same crawl without a limiter.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../crawler/main.rs"]
mod crawler;

use clap::Parser;
use crawler::Args;

#[test]
fn the_crawl_meets_no_429_and_uses_nearly_all_of_each_quota() {
    let outcome = crawler::run(&Args::parse_from(["crawler"])).unwrap();
    assert!(outcome.failures.is_empty(), "{outcome}");
    assert!(outcome.hosts.len() >= 3);
    for host in &outcome.hosts {
        assert_eq!(host.refused, 0, "{outcome}");
        assert!(host.share.is_some_and(|share| share >= 0.95), "{outcome}");
    }
}

#[test]
fn without_a_limiter_the_same_crawl_is_refused() {
    let outcome = crawler::run(&Args::parse_from(["crawler", "--no-limiter"])).unwrap();
    assert!(!outcome.failures.is_empty());
    assert!(outcome.hosts.iter().all(|host| host.refused > 0), "{outcome}");
}
