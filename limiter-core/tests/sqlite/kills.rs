//! Workers that are killed, a thousand times.

use crate::{
    folder::Folder,
    support::random::Rng,
    worker::{Task, Worker},
};
use limiter_core::Limiter;
use std::{
    io::BufRead,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

const QUOTA: &str = "sliding_log 1000000/day";
const KILLS: u64 = 1000;

/// Answers that workers have told of, of the log and of the window.
#[derive(Default)]
struct Told([AtomicU64; 2]);

impl Told {
    fn note(&self, line: &str) {
        let place = match line {
            "log" => 0,
            "window" => 1,
            other => panic!("a worker failed: {other}"),
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// Kills so many workers, each after some answers or none.
fn kill(file: &std::path::Path, seed: u64, kills: u64, told: &Told) {
    let mut random = Rng::new(seed);
    for _ in 0..kills {
        let mut worker = Worker::start(Task::ForEver, file, QUOTA, 0);
        for _ in 0..random.below(30) {
            told.note(&worker.line());
        }
        let until = Instant::now() + std::time::Duration::from_micros(random.below(400));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        worker.child.kill().unwrap();
        // What it has told before its end counts too; its last line may be cut short.
        let mut rest = String::new();
        while worker.says.read_line(&mut rest).unwrap() > 0 && rest.ends_with('\n') {
            told.note(rest.trim_end());
            rest.clear();
        }
    }
}

#[test]
fn what_was_admitted_before_a_kill_still_counts_a_thousand_times() {
    let (folder, told) = (Folder::new(), Arc::new(Told::default()));
    let killers = [1, 2, 3, 4].map(|seed| {
        let (file, told) = (folder.file(), Arc::clone(&told));
        thread::spawn(move || kill(&file, seed, KILLS / 4, &told))
    });
    for killer in killers {
        killer.join().unwrap();
    }
    let limiter =
        |name: &str, quota: &str| Limiter::builder(quota.parse().unwrap()).name(name).store(folder.store()).build();
    for (name, quota, told) in [("takes", QUOTA, &told.0[0]), ("window", "fixed_window 100000000/week", &told.0[1])] {
        let limiter = limiter(name, quota);
        let used = limiter.quota_of("hot").capacity() - limiter.blocking().peek("hot").unwrap().remaining();
        let told = told.load(Ordering::Relaxed);
        assert!(told > KILLS, "{told} of {name}");
        // Each of the killed may have been admitted once more without a word.
        assert!((told..=told + KILLS).contains(&used), "{name}: {used} in use, {told} told");
    }
    let file = rusqlite::Connection::open(folder.file()).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
