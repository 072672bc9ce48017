//! Several processes on one server.

use crate::{
    fixture::{PATIENCE, hundred},
    servers::PostgresServer,
    support::block_on,
};
use limiter_core::{Limiter, PostgresStore};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

/// What a worker was told when it ended.
pub(crate) struct Worker {
    pub(crate) admitted: usize,
    pub(crate) denied: usize,
}

pub(crate) struct Workers;

impl Workers {
    /// What `processes` workers were told that began together: each asks `takes` times, of the key "hot" or of a
    /// thousand keys in turn.
    pub(crate) fn start(processes: usize, url: &str, keys: &str, takes: usize) -> Vec<Worker> {
        let mut workers: Vec<Child> = (0..processes)
            .map(|_| {
                let mut worker = Command::new(env::current_exe().unwrap());
                worker.args(["--exact", "processes::worker", "--ignored", "--nocapture", "--test-threads=1"]);
                worker.env("LIMITER_WORKER", format!("{url} {keys} {takes}"));
                worker.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for worker in &mut workers {
            worker.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        }
        workers.into_iter().map(told).collect()
    }
}

fn told(mut worker: Child) -> Worker {
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let counts: Vec<String> = lines.filter(|line| line.contains("counts ")).collect();
    assert!(worker.wait().unwrap().success(), "a worker failed: {counts:?}");
    let (_, counts) = counts[0].split_once("counts ").unwrap();
    let (admitted, denied) = counts.split_once(' ').unwrap();
    Worker { admitted: admitted.parse().unwrap(), denied: denied.trim().parse().unwrap() }
}

#[test]
#[ignore = "a process that other tests start"]
fn worker() {
    let told = env::var("LIMITER_WORKER").unwrap();
    let [url, keys, takes] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let store = PostgresStore::builder(url).timeout(PATIENCE).max_connections(2).build().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let (hot, spread) = (hundred(&store), spread(&store));
    let (mut admitted, mut denied) = (0, 0);
    for nth in 0..takes.parse::<usize>().unwrap() {
        let decision = match keys {
            "hot" => hot.blocking().check("hot").unwrap(),
            _ => spread.blocking().check((nth % 1000) as u64).unwrap(),
        };
        *(if decision.allowed() { &mut admitted } else { &mut denied }) += 1;
    }
    println!("\ncounts {admitted} {denied}");
}

/// Two units for each key.
fn spread(store: &PostgresStore) -> Limiter<PostgresStore> {
    Limiter::builder("2/10day".parse().unwrap()).name("spread").store(store.clone()).build()
}

#[test]
fn four_processes_on_one_key_are_admitted_exactly_its_units() {
    let database = PostgresServer::shared().fresh_database();
    let workers = Workers::start(4, &database.url(), "hot", 60);
    let (admitted, denied) = sums(&workers);
    assert_eq!((admitted, denied), (100, 140));
}

#[test]
fn four_processes_on_a_thousand_keys_are_admitted_exactly_their_units() {
    let database = PostgresServer::shared().fresh_database();
    let workers = Workers::start(4, &database.url(), "spread", 1000);
    assert_eq!(sums(&workers), (2000, 2000));
    let store = PostgresStore::builder(&database.url()).timeout(PATIENCE).build().unwrap();
    assert_eq!(block_on(spread(&store).peek_async(7_u64)).unwrap().remaining(), 0);
}

#[test]
fn no_denial_is_spurious_while_units_are_left() {
    let database = PostgresServer::shared().fresh_database();
    let workers = Workers::start(4, &database.url(), "hot", 25);
    assert_eq!(sums(&workers), (100, 0));
}

fn sums(workers: &[Worker]) -> (usize, usize) {
    (workers.iter().map(|worker| worker.admitted).sum(), workers.iter().map(|worker| worker.denied).sum())
}
