//! Several processes on one file.

use crate::{
    folder::Folder,
    support::block_on,
    worker::{Task, Worker},
};
use limiter_core::Limiter;

/// What four workers that start at once get together.
fn together(folder: &Folder, task: Task, quota: &str, count: u64) -> u64 {
    let mut workers = [0; 4].map(|_| Worker::start(task, &folder.file(), quota, count));
    for worker in &mut workers {
        assert_eq!(worker.line(), "ready");
    }
    workers.iter_mut().for_each(Worker::go);
    workers.iter_mut().map(|worker| worker.line().parse::<u64>().expect("how many it got")).sum()
}

#[test]
fn four_processes_on_one_key_get_exactly_its_quota() {
    for quota in ["sliding_log 1000/day", "fixed_window 1000/week", "sliding_window 1000/day", "1/day burst 1000"] {
        let folder = Folder::new();
        // Each goes on until it is denied: one denial too early, and the sum falls short.
        assert_eq!(together(&folder, Task::UntilDenied, quota, 5000), 1000, "{quota}");
    }
}

#[test]
fn four_processes_on_a_thousand_keys_get_exactly_their_quotas() {
    let folder = Folder::new();
    assert_eq!(together(&folder, Task::EachOf, "sliding_log 1/day", 1000), 1000);
}

#[test]
fn processes_that_come_at_once_make_one_file() {
    for _ in 0..5 {
        let folder = Folder::new();
        let mut workers = [0; 6].map(|_| Worker::start(Task::UntilDenied, &folder.file(), "sliding_log 60/day", 10));
        workers.iter_mut().for_each(Worker::go); // the file is opened at the first call
        for worker in &mut workers {
            assert_eq!((worker.line().as_str(), worker.line().as_str()), ("ready", "10"));
        }
    }
}

#[test]
fn state_outlives_the_processes_that_made_it() {
    let folder = Folder::new();
    assert_eq!(together(&folder, Task::UntilDenied, "sliding_log 300/day", 50), 200);
    let limiter = |store| Limiter::builder("sliding_log 300/day".parse().unwrap()).name("takes").store(store).build();
    for left in (90..100).rev() {
        let limiter = limiter(folder.store()); // a restart a take
        assert_eq!(block_on(limiter.check_async("hot")).unwrap().remaining(), left);
    }
}
