//! A process that stops inside a decision, and one that dies there.

use super::world::{Folder, in_use, quota, spawn, take, task};
use limiter_core::{
    Clock, LocalStore, SharedStore, StoreErrorKind, SystemClock, Timestamp,
    store::{Adjust, Demand, Scope},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{Read, Write},
    process::Child,
    time::{Duration, Instant},
};

const TEXT: &str = "fixed_window 100/3650d, 120/5000d";
const KEY: u64 = 7;

/// A clock that, read inside the step, says so and then waits for a byte.
struct Hangs;

impl Clock for Hangs {
    fn now(&self) -> Timestamp {
        print!("inside>");
        std::io::stdout().flush().unwrap();
        let _ = std::io::stdin().read(&mut [0]);
        SystemClock.now()
    }
}

#[test]
#[ignore = "a child of the tests below"]
fn hanging() {
    let Some((file, _)) = task() else { return };
    let (store, scope, quota) = (SharedStore::open(file).unwrap(), Scope::new("a"), quota(TEXT));
    let key = KEY.to_le_bytes();
    let demand = Demand::new(&scope, &key, &quota, 5);
    LocalStore::adjust(&store, demand, Adjust::Charge, Some(&Hangs)).unwrap();
}

/// A store whose calls wait for so long, and a process that owns the slot of the key, in which one unit is taken.
fn inside(folder: &Folder, budget: Duration) -> (SharedStore, Child) {
    let store = SharedStore::builder().timeout(budget).open(folder.file()).unwrap();
    assert!(take(&store, &Scope::new("a"), KEY, &quota(TEXT), None));
    let mut child = spawn("stopped::hanging", &folder.file(), 0);
    let mut byte = [0];
    while byte != *b">" {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    }
    (store, child)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_stopped_owner_delays_its_slot_alone_and_that_up_to_the_budget() {
    let folder = Folder::new();
    let (store, mut child) = inside(&folder, Duration::from_millis(200));
    signal(&child, Signal::STOP);
    let (scope, quota) = (Scope::new("a"), quota(TEXT));
    let key = KEY.to_le_bytes();
    let demand = Demand::new(&scope, &key, &quota, 1);

    let began = Instant::now();
    let error = LocalStore::take(&store, &[demand], None).unwrap_err();
    let waited = began.elapsed();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains(&format!("process {}", child.id())) && why.contains("is it stopped?"), "{why}");
    assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(10), "{waited:?}");
    assert_eq!(LocalStore::peek(&store, &[demand], None).unwrap_err().kind(), StoreErrorKind::Unavailable);

    // Keys beside it, new and old, do not wait: a thousand of them take less than one wait would each.
    assert!((100..1100).all(|key| take(&store, &scope, key, &quota, None)));
    assert!((100..1100).all(|key| take(&store, &scope, key, &quota, None)));

    // Let go, it goes on.
    signal(&child, Signal::CONT);
    child.stdin.take().unwrap().write_all(b"g").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(in_use(&store, &scope, KEY, &quota), 6);
    assert_eq!(store.usage().recovered, 0);
}

#[test]
fn a_killed_owner_is_undone_by_who_comes_next_without_waiting_for_the_budget() {
    let folder = Folder::new();
    let budget = Duration::from_secs(60);
    let (store, mut child) = inside(&folder, budget);
    signal(&child, Signal::STOP);
    child.kill().unwrap();
    let (scope, quota) = (Scope::new("a"), quota(TEXT));
    // The killed process is not waited for yet: a zombie is dead enough, once the machine got round to its end.
    let began = Instant::now();
    assert!(take(&store, &scope, KEY, &quota, None));
    assert!(began.elapsed() < budget / 2, "{:?}", began.elapsed());
    assert_eq!(in_use(&store, &scope, KEY, &quota), 2);
    assert_eq!(store.usage().recovered, 1);
    child.wait().unwrap();
}

#[test]
fn a_clock_that_panics_inside_a_step_leaves_nothing_owned() {
    struct Panics;
    impl Clock for Panics {
        fn now(&self) -> Timestamp {
            panic!("no time")
        }
    }
    let folder = Folder::new();
    let store = SharedStore::open(folder.file()).unwrap();
    let (scope, quota) = (Scope::new("a"), quota(TEXT));
    assert!(take(&store, &scope, KEY, &quota, None));
    let key = KEY.to_le_bytes();
    let call = || LocalStore::adjust(&store, Demand::new(&scope, &key, &quota, 1), Adjust::Charge, Some(&Panics));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    assert!(take(&store, &scope, KEY, &quota, None));
    assert_eq!((in_use(&store, &scope, KEY, &quota), store.usage().recovered), (2, 0));
}
