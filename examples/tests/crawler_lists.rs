//! The crawler over lists of one's own: quotas from a file, politeness, what is left after it was ended, and what it
//! shows. Real servers, real processes.

#![allow(clippy::unwrap_used)]

mod crawling;

use axum::{
    http::{StatusCode, header::RETRY_AFTER},
    response::IntoResponse,
};
use crawling::{Answer, List, Server, program, refused, run};
use std::{
    collections::{BTreeSet, HashSet},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

fn ok() -> Server {
    Server::start(|_, _| StatusCode::OK.into())
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_file_says_what_each_host_allows() {
    let (fast, slow) = (ok(), ok());
    let list = List::new("two-hosts", &(fast.urls(40) + &slow.urls(8)));
    let quotas = List::new("quotas", &format!("\"{}\" = \"20/s\"\n\"*\" = \"4/s\"\n", fast.address()));
    let table = succeeded(&run(&["--urls", list.arg(), "--quotas", quotas.arg()]));
    assert!(table.contains("sliding_log 20/s") && table.contains("sliding_log 4/s"), "{table}");
    for (server, limit, count) in [(&fast, 20, 40), (&slow, 4, 8)] {
        let arrivals = server.times();
        assert_eq!(arrivals.len(), count);
        assert!(arrivals.windows(limit + 1).all(|row| row[limit] - row[0] > SECOND), "{limit}: {arrivals:?}");
        assert!(arrivals[count - 1] - arrivals[0] < 10 * SECOND, "{limit}: {arrivals:?}");
    }
}

#[test]
fn a_bad_line_of_that_file_is_named_with_what_is_allowed() {
    let list = List::new("bad-quotas-list", "http://127.0.0.1:9/\n");
    let quotas = List::new("bad-quotas", "# ours\n\"a.example\" = \"5/s\"\n\"b.example\" = \"5 a fortnight\"\n");
    let complaint = refused(&["--urls", list.arg(), "--quotas", quotas.arg()]);
    assert!(complaint.contains("line 3: the quota of `b.example`"), "{complaint}");
    let quotas = List::new("bad-hosts", "\"http://a.example/\" = \"5/s\"\n");
    let complaint = refused(&["--urls", list.arg(), "--quotas", quotas.arg()]);
    assert!(complaint.contains("line 1: `http://a.example/` is no host: allowed are"), "{complaint}");
    let complaint = refused(&["--urls", list.arg(), "--delay", "soon"]);
    assert!(complaint.contains("write a whole number and us, ms, s, min or h"), "{complaint}");
}

/// That each came this long after the one before.
#[track_caller]
fn one_each(arrivals: &[Instant], least: Duration) {
    assert!(arrivals.windows(2).all(|pair| pair[1] - pair[0] > least), "{arrivals:?}");
}

#[test]
fn a_polite_crawl_asks_for_one_at_a_time_and_waits_after_each_answer() {
    let answer = Duration::from_millis(150);
    let server = Server::start(move |_, _| Answer::ok_after(answer));
    let list = List::new("polite", &server.urls(5));
    succeeded(&run(&["--urls", list.arg(), "--delay", "200ms"]));
    one_each(&server.times(), answer + Duration::from_millis(200));
}

#[test]
fn robots_txt_is_obeyed() {
    let robots = "User-agent: *\nDisallow: /item/1\nDisallow: /item/3$\nCrawl-delay: 0.2\n";
    let server = Server::start(move |path, _| match path {
        "/robots.txt" => robots.into(),
        _ => StatusCode::OK.into(),
    });
    let list = List::new("robots", &server.urls(12));
    let output = run(&["--urls", list.arg(), "--robots"]);
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("its robots.txt disallows 4 of 12 URLs"), "{said}");
    let paths = server.paths();
    assert_eq!((paths[0].as_str(), paths.len()), ("/robots.txt", 9));
    assert!(!paths.iter().any(|path| path.starts_with("/item/1") || path == "/item/3"), "{paths:?}");
    one_each(&server.times()[1..], Duration::from_millis(200));
}

#[test]
fn a_host_whose_robots_txt_is_an_error_is_not_crawled() {
    let broken = Server::start(|_, _| StatusCode::INTERNAL_SERVER_ERROR.into());
    let without =
        Server::start(|path, _| if path == "/robots.txt" { StatusCode::NOT_FOUND } else { StatusCode::OK }.into());
    let list = List::new("broken-robots", &(broken.urls(3) + &without.urls(3)));
    let output = run(&["--urls", list.arg(), "--robots"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = format!("failed: {} was not crawled: its robots.txt is answered with 500", broken.address());
    assert!(said.contains(&expected), "{said}");
    assert_eq!((broken.paths().len(), without.paths().len()), (1, 4));
}

fn start(args: &[&str]) -> Child {
    Command::new(program()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the server has been asked so often.
fn until_asked(server: &Server, times: usize) {
    let started = Instant::now();
    while server.paths().len() < times {
        assert!(started.elapsed() < 60 * SECOND, "it was asked {} times only", server.paths().len());
        thread::sleep(Duration::from_millis(2));
    }
}

/// The paths of a state file.
fn noted(state: &List) -> HashSet<String> {
    let path = |line: &str| line[line.find("/item").unwrap()..].to_owned();
    state.read().lines().map(path).collect()
}

#[test]
fn a_killed_crawl_goes_on_where_it_was() {
    let server = Server::start(|_, _| Answer::ok_after(Duration::from_millis(20)));
    let (list, state) = (List::new("killed", &server.urls(60)), List::none("killed-state"));
    let args = ["--urls", list.arg(), "--quota", "40/s", "--concurrency", "3", "--state", state.arg()];
    let mut first = start(&args);
    until_asked(&server, 20);
    first.kill().unwrap(); // no signal that it could handle
    assert!(!first.wait().unwrap().success());
    thread::sleep(SECOND); // what it sent last arrives
    let (before, done) = (server.paths(), noted(&state));
    assert!(done.len() >= 15 && before.len() < 60, "{} {}", done.len(), before.len());
    assert!(before.len() - done.len() <= 3, "at most what was under way is unknown");

    let output = run(&args);
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{} of 60 URLs were answered before", done.len())), "{said}");
    let after = server.paths().split_off(before.len());
    assert!(after.iter().all(|path| !done.contains(path)), "what was answered is not asked for again");
    assert_eq!(after.len(), 60 - done.len());
    assert_eq!(noted(&state).len(), 60);
}

#[test]
fn an_interrupted_crawl_asks_for_nothing_twice() {
    let server = Server::start(|_, _| Answer::ok_after(Duration::from_millis(100)));
    let (list, state) = (List::new("interrupted", &server.urls(60)), List::none("interrupted-state"));
    let args = ["--urls", list.arg(), "--quota", "40/s", "--state", state.arg()];
    let first = start(&args);
    until_asked(&server, 20);
    let interrupt = Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("failed: interrupted"), "{output:?}");
    let before = server.paths();
    assert!(before.len() < 60, "{}", before.len());
    assert_eq!(noted(&state).len(), before.len(), "what was sent was waited for");

    succeeded(&run(&args));
    let all = server.paths();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (60, 60));
    assert!(succeeded(&run(&args)).contains("nothing was left to crawl"));
    assert_eq!(server.paths().len(), 60);
}

#[test]
fn another_file_is_no_state() {
    let list = List::new("no-state", "http://127.0.0.1:9/1\n");
    let complaint = refused(&["--urls", list.arg(), "--state", list.arg()]);
    assert!(complaint.contains("line 1 is not a status and a URL"), "{complaint}");
    assert_eq!(list.read(), "http://127.0.0.1:9/1\n");
}

/// A server that asks its first caller for three seconds.
fn pausing() -> Server {
    Server::start(|_, before| match before {
        0 => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "3")]).into_response().into(),
        _ => StatusCode::OK.into(),
    })
}

#[test]
fn without_a_terminal_lines_tell_of_queues_and_pauses() {
    let server = pausing();
    let list = List::new("lines", &server.urls(30));
    let output = run(&["--urls", list.arg(), "--quota", "100/s", "--concurrency", "8"]);
    assert_eq!(output.status.code(), Some(1), "the 429 is a failure");
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("paused for")).unwrap_or_else(|| unreachable!("{said}"));
    assert!(line.contains(&server.address().to_string()) && line.contains("queued, 429s: 1, paused for"), "{line}");
    assert!(!said.contains('\u{1b}'), "{said}");
}

/// `script` (util-linux) gives it a terminal.
#[test]
fn on_a_terminal_a_row_a_host_tells_of_queues_and_pauses() {
    let server = pausing();
    let list = List::new("terminal", &server.urls(30));
    let command = format!("{} --urls {} --quota 100/s --concurrency 8", program().display(), list.arg());
    let script = Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
    let output = script.expect("the test needs `script`, of bsdutils");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for expected in [&server.address().to_string(), "░", " queued  429s: 1  paused for ", "\u{1b}["] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}
