//! What is learned of real servers that tell nothing, in real time: judged by what they saw themselves.
//!
//! The rows mostly wait, so all run at the same time, as many as they are: in a process of their own, which
//! [`every_row_at_once`] starts, since the harness takes only a test a core. One alone, with its figures:
//! `cargo test -p limiter-reqwest --test learning_servers -- --ignored --show-output forty`.
//!
//! Each row keeps the documented figures: nine tenths used and one in a hundred refused, ten seconds after the limit began to
//! hold. A machine that is busy with something else sends late, and loses what the limit would have admitted then: as late as
//! two threads are in turn that do nothing but wake up, so much longer is an interval, and that part of either figure is
//! given away. On a machine at rest it is a hundredth or so. Each row has three attempts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod late;
mod nginx;
mod ours;
#[path = "../../../limiter-core/tests/servers/mod.rs"]
mod servers;

use limiter_reqwest::Limits;
use reqwest_middleware::ClientWithMiddleware;
use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

/// A request as the server saw it: since some instant, and whether it was admitted.
type Seen = (Duration, bool);

/// What a server that admits `limit` admitted and refused.
#[derive(Clone, Copy, Default)]
struct Tally {
    limit: f64,
    admitted: f64,
    refused: f64,
}

impl Tally {
    /// From `from` to `to` seconds after the first request.
    fn of(seen: &[Seen], rate: f64, from: u64, to: u64) -> Self {
        let begin = seen.first().expect("a request").0;
        let span = begin + Duration::from_secs(from)..begin + Duration::from_secs(to);
        let judged: Vec<_> = seen.iter().filter(|(at, _)| span.contains(at)).collect();
        let refused = judged.iter().filter(|(_, admitted)| !admitted).count() as f64;
        Self { limit: rate * (to - from) as f64, admitted: judged.len() as f64 - refused, refused }
    }

    fn and(self, other: Self) -> Self {
        Self {
            limit: self.limit + other.limit,
            admitted: self.admitted + other.admitted,
            refused: self.refused + other.refused,
        }
    }

    /// Nine tenths of the limit used and one in a hundred refused, or what else is said, by a sender whose intervals are
    /// longer by `late`, a part of them; where that is missed, the figures.
    fn check(self, what: &str, (least_used, most_refused): (f64, f64), late: f64) -> Result<(), String> {
        let (least_used, most_refused) = (least_used / (1.0 + late), most_refused * (1.0 + late));
        let (used, refused) = (self.admitted / self.limit, self.refused / (self.admitted + self.refused));
        let figures = format!(
            "{what}: used {used:.3} of at least {least_used:.3}, refused {refused:.4} of at most {most_refused:.4}"
        );
        println!("{figures}");
        if used >= least_used && refused <= most_refused { Ok(()) } else { Err(figures) }
    }
}

const DOCUMENTED: (f64, f64) = (0.9, 0.01);

/// A time in which a limit stays as it is: requests a second, seconds, and those of them in which it may be sought.
struct Phase(u32, u64, u64);

/// The documented figures over all phases together: one alone is too short for parts in a hundred, and is to show no more
/// than that it was followed. The sender was `late` by so many seconds.
fn check_phases(what: &str, seen: &[Seen], phases: &[Phase], late: f64) -> Result<(), String> {
    let what = format!("{what}, {:.1} ms late", late * 1e3);
    let (mut begin, mut all, mut intervals) = (0, Tally::default(), 0.0_f64);
    for Phase(rate, seconds, settled) in phases {
        let late = late * f64::from(*rate);
        let tally = Tally::of(seen, f64::from(*rate), begin + settled, begin + seconds);
        tally.check(&format!("{what}, {rate}/s"), (0.8, 0.03), late)?;
        (begin, all, intervals) = (begin + seconds, all.and(tally), intervals.max(late));
    }
    all.check(&what, DOCUMENTED, intervals)
}

#[test]
fn every_row_at_once() {
    let rows = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--show-output", "--test-threads=16"])
        .output()
        .unwrap();
    let figures = String::from_utf8_lossy(&rows.stdout);
    println!("{figures}");
    assert!(rows.status.success(), "{}", String::from_utf8_lossy(&rows.stderr));
    assert!(figures.contains("test result: ok. 10 passed"), "ten rows were to run");
}

fn attempts(attempt: impl Fn() -> Result<(), String>) {
    let missed: Vec<_> = (0..3).map_while(|_| attempt().err()).collect();
    assert!(missed.len() < 3, "{missed:#?}");
}

/// Asks from ten tasks, as fast as they may, for so many seconds.
async fn ask_from_tasks(client: &ClientWithMiddleware, url: &str, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move {
                while Instant::now() < until {
                    client.get(&url).send().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn learned_limit(limits: &Limits, url: &str) -> Option<f64> {
    limits.status(&url.parse().unwrap()).await.unwrap().unwrap().learned.unwrap().limit
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
