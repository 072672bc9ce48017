//! Several processes at once: exactly what the quota promises, and no denial without cause.

use super::world::{Folder, in_use, patient, quota, spawn, take, task};
use limiter_core::{
    LocalStore,
    store::{Demand, Scope},
};
use std::{
    io::{Read, Write},
    path::Path,
    process::Child,
};

const WORKERS: u64 = 4;
const TASKS: [&str; 4] = [
    "fixed_window 6000/3650d",
    "fixed_window 6000/3650d, 7000/5000d",
    "sliding_log 2000/3650d resolution 40",
    "sliding_window 6000/1825d",
];

/// Four workers, let go at once, and what each of them says it admitted and was denied.
fn run(child: &str, file: &Path, task: u64) -> Vec<[u64; 2]> {
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| spawn(child, file, task)).collect();
    for worker in &mut workers {
        wait_until_ready(worker);
    }
    for worker in &mut workers {
        worker.stdin.take().unwrap().write_all(b"g").unwrap();
    }
    workers.into_iter().map(result).collect()
}

/// A child says `>` when it is ready, then waits for a byte.
fn wait_until_ready(worker: &mut Child) {
    let mut byte = [0];
    while byte != *b">" {
        worker.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    }
}

fn result(mut worker: Child) -> [u64; 2] {
    let mut text = String::new();
    worker.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(worker.wait().unwrap().success(), "{text}");
    let line = text.lines().find_map(|line| line.split_once("counts ")).unwrap().1;
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

fn be_ready() {
    print!(">");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

#[test]
#[ignore = "a child of the test below"]
fn one_hot_key() {
    let Some((file, task)) = task() else { return };
    let (store, scope) = (patient().open(file).unwrap(), Scope::new("hot"));
    let quota = quota(TASKS[usize::try_from(task).unwrap()]);
    be_ready();
    let allowed = (0..3000).filter(|_| take(&store, &scope, task, &quota, None)).count();
    println!("counts {allowed} {}", 3000 - allowed);
}

#[test]
fn four_processes_on_one_hot_key_admit_exactly_the_quota() {
    let folder = Folder::new();
    let store = patient().open(folder.file()).unwrap();
    for (task, text) in (0..).zip(TASKS) {
        let quota = quota(text);
        let counts = run("processes::one_hot_key", &folder.file(), task);
        let allowed: u64 = counts.iter().map(|[allowed, _]| allowed).sum();
        assert_eq!(allowed, quota.rates()[0].limit(), "{text}: {counts:?}");
        assert_eq!(in_use(&store, &Scope::new("hot"), task, &quota), allowed, "{text}");
    }
    assert_eq!(store.usage().recovered, 0);
}

const KEYS: u64 = 1000;

#[test]
#[ignore = "a child of the tests below"]
fn many_keys() {
    let Some((file, task)) = task() else { return };
    let (store, scope) = (patient().open(file).unwrap(), Scope::new("many"));
    let (quota, start) = (
        quota(["fixed_window 20/3650d", "20/3650d", "sliding_log 20/3650d"][usize::try_from(task).unwrap()]),
        7 * task,
    );
    be_ready();
    let mut counts = [0, 0];
    for turn in 0..6 {
        for key in (0..KEYS).map(|key| (key * 7 + start + turn) % KEYS) {
            let allowed = take(&store, &scope, key + KEYS * task, &quota, None);
            counts[usize::from(!allowed)] += 1;
        }
    }
    println!("counts {} {}", counts[0], counts[1]);
}

#[test]
fn four_processes_on_a_thousand_keys_admit_exactly_the_quotas() {
    let folder = Folder::new();
    let store = patient().open(folder.file()).unwrap();
    for (task, text) in (0..).zip(["fixed_window 20/3650d", "20/3650d", "sliding_log 20/3650d"]) {
        let counts = run("processes::many_keys", &folder.file(), task);
        let sum = |i: usize| counts.iter().map(|count| count[i]).sum::<u64>();
        // Each key is asked for 24 times, and has 20.
        assert_eq!((sum(0), sum(1)), (20 * KEYS, 4 * KEYS), "{text}: {counts:?}");
        let quota = quota(text);
        let scope = Scope::new("many");
        assert!((0..KEYS).all(|key| in_use(&store, &scope, key + KEYS * task, &quota) == 20), "{text}");
    }
    let usage = store.usage();
    assert_eq!((usage.keys as u64, usage.overflow_writes, usage.recovered), (3 * KEYS, 0, 0));
}

#[test]
#[ignore = "a child of the test below"]
fn pairs_of_keys() {
    let Some((file, task)) = task() else { return };
    let (store, scope) = (patient().open(file).unwrap(), Scope::new("pairs"));
    let quotas = ["fixed_window 2000/3650d", "sliding_log 9000/3650d resolution 9"].map(quota);
    be_ready();
    let mut counts = [0, 0];
    for turn in 0..1500_u64 {
        // In either order, by whoever it is.
        let (one, other) = if (turn + task).is_multiple_of(2) { (0, 1) } else { (1, 0) };
        let demand = |i: usize| Demand::new(&scope, [b"a", b"b"][i], &quotas[i], 1 + i as u64);
        let allowed = store.take(&[demand(one), demand(other)], None).unwrap().allowed();
        counts[usize::from(!allowed)] += 1;
    }
    println!("counts {} {}", counts[0], counts[1]);
}

#[test]
fn four_processes_that_take_two_keys_together_take_both_or_none() {
    let folder = Folder::new();
    let store = patient().open(folder.file()).unwrap();
    let counts = run("processes::pairs_of_keys", &folder.file(), 0);
    assert_eq!(counts.iter().map(|[allowed, _]| allowed).sum::<u64>(), 2000, "{counts:?}");
    let scope = Scope::new("pairs");
    let left = |key: &[u8], text: &str| {
        let quota = quota(text);
        LocalStore::peek(&store, &[Demand::new(&scope, key, &quota, 0)], None).unwrap().remaining()
    };
    assert_eq!(left(b"a", "fixed_window 2000/3650d"), 0);
    assert_eq!(left(b"b", "sliding_log 9000/3650d resolution 9"), 9000 - 4000);
}

#[test]
fn processes_that_create_a_file_at_once_agree_on_one() {
    for _ in 0..10 {
        let folder = Folder::new();
        let counts = run("processes::creating", &folder.file(), 0);
        assert_eq!(counts.iter().map(|[allowed, _]| allowed).sum::<u64>(), 100, "{counts:?}");
    }
}

#[test]
#[ignore = "a child of the test above"]
fn creating() {
    let Some((file, _)) = task() else { return };
    be_ready();
    let (store, scope) = (patient().open(file).unwrap(), Scope::new("a"));
    let quota = quota("fixed_window 100/3650d");
    let allowed = (0..50).filter(|_| take(&store, &scope, 0, &quota, None)).count();
    println!("counts {allowed} {}", 50 - allowed);
}

#[test]
fn threads_of_one_process_are_as_exact_as_processes() {
    let folder = Folder::new();
    // Two handles and four threads.
    let stores = [(); 2].map(|()| patient().open(folder.file()).unwrap());
    assert!(stores[0].is_same(&stores[1]));
    let scope = Scope::new("a");
    for text in ["fixed_window 5000/3650d", "fixed_window 500/3650d, 600/5000d", "sliding_log 500/3650d"] {
        let quota = quota(text);
        let allowed: usize = std::thread::scope(|threads| {
            let take = |i: usize| {
                let (store, scope, quota) = (&stores[i % 2], &scope, &quota);
                threads.spawn(move || (0..2000).filter(|_| take(store, scope, 9, quota, None)).count())
            };
            let running: Vec<_> = (0..4).map(take).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(allowed as u64, quota.rates()[0].limit(), "{text}");
        LocalStore::reset(&stores[0], &scope, &9_u64.to_le_bytes()).unwrap();
    }
    assert_eq!(stores[0].usage().log_entries, 0);
}
