//! `kill -9` of random workers, a thousand times.

use super::world::{Folder, at, in_use, patient, quota, spawn, take, task};
use limiter_core::{
    LocalStore, Quota,
    store::{Adjust, Demand, Scope},
};
use std::{
    io::{Read, Write},
    process::Child,
    thread,
    time::Duration,
};

const KILLS: u64 = 1000;
const AT_ONCE: u64 = 4;

/// Keys whose units are counted, with quotas that nothing returns to within the test.
const COUNTED: [&str; 4] = [
    "fixed_window 100000000/3650d",
    "fixed_window 100000000/3650d, 110000000/5000d",
    "sliding_log 100000000/3650d resolution 60",
    "sliding_window 1000000/36d",
];

/// Reports are bytes of their own, above those of text.
const REPORT: u8 = 0x80;

fn counted() -> [Quota; COUNTED.len()] {
    COUNTED.map(quota)
}

#[test]
#[ignore = "a child of the test below"]
fn worker() {
    let Some((file, mut seed)) = task() else { return };
    let store = patient().open(file).unwrap();
    let (scope, churn) = (Scope::new("counted"), Scope::new("churn"));
    let quotas = counted();
    let churning =
        ["sliding_log 200/100ms", "sliding_log 40/s, 90/min", "1/10ms", "fixed_window 9/s, 99/min"].map(quota);
    let mut below = move |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let mut out = std::io::stdout();
    let mut report = |keys: &[u8]| {
        let bytes: Vec<u8> = keys.iter().map(|key| REPORT + key).collect();
        out.write_all(&bytes).and_then(|()| out.flush()).unwrap(); // one write, so that a pair is reported as one
    };
    loop {
        let key = u8::try_from(below(COUNTED.len() as u64)).unwrap();
        let quota = &quotas[usize::from(key)];
        match below(8) {
            0..=2 => {
                assert!(take(&store, &scope, u64::from(key), quota, None));
                report(&[key]);
            }
            3 => {
                let other = (key + 1) % 4;
                let (one, two) = (u64::from(key).to_le_bytes(), u64::from(other).to_le_bytes());
                let both =
                    [Demand::new(&scope, &one, quota, 1), Demand::new(&scope, &two, &quotas[usize::from(other)], 1)];
                assert!(store.take(&both, None).unwrap().allowed());
                report(&[key, other]);
            }
            4 | 5 => {
                take(&store, &churn, below(50), &churning[usize::from(key)], None);
            }
            6 => {
                let (key, quota) = (below(50).to_le_bytes(), &churning[usize::from(key)]);
                let now = store.now(None).unwrap();
                let adjust = match below(3) {
                    0 => Adjust::Charge,
                    1 => Adjust::Refund { taken: now },
                    _ => Adjust::Block { until: now },
                };
                LocalStore::adjust(&store, Demand::new(&churn, &key, quota, 1), adjust, None).unwrap();
            }
            _ if below(20) == 0 => {
                LocalStore::sweep(&store, None).unwrap();
            }
            _ => LocalStore::reset(&store, &churn, &below(50).to_le_bytes()).unwrap(),
        }
    }
}

/// Lets workers run one after the other, each killed after a while; the units of each key that they reported.
fn kill_workers(folder: &Folder, kills: u64, mut seed: u64) -> [u64; COUNTED.len()] {
    let mut reported = [0; COUNTED.len()];
    let mut next: Option<Child> = None;
    let mut unwaited = Vec::new();
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(kill);
        let mut worker = next.take().unwrap_or_else(|| spawn("kills::worker", &folder.file(), seed));
        next = Some(spawn("kills::worker", &folder.file(), seed >> 7)); // starts while the other works
        let mut bytes = vec![0; 64];
        let mut read = 0;
        while !bytes[..read].iter().any(|byte| *byte >= REPORT) {
            read = worker.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
            assert!(read > 0, "a worker ended by itself");
            count(&bytes[..read], &mut reported);
        }
        thread::sleep(Duration::from_micros((seed >> 40) % 6000));
        worker.kill().unwrap();
        let mut rest = Vec::new();
        worker.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        count(&rest, &mut reported);
        // Some are waited for late: until then they are zombies.
        unwaited.push(worker);
        if unwaited.len() > 20 {
            unwaited.drain(..).for_each(|mut worker| assert!(!worker.wait().unwrap().success()));
        }
    }
    if let Some(mut worker) = next {
        worker.kill().unwrap();
        let mut rest = Vec::new();
        worker.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        count(&rest, &mut reported);
        unwaited.push(worker);
    }
    unwaited.into_iter().for_each(|mut worker| assert!(!worker.wait().unwrap().success()));
    reported
}

fn count(bytes: &[u8], reported: &mut [u64; COUNTED.len()]) {
    bytes.iter().filter_map(|byte| byte.checked_sub(REPORT)).for_each(|key| reported[usize::from(key)] += 1);
}

#[test]
fn a_thousand_kills_lose_no_unit_no_slot_and_no_block() {
    let folder = Folder::new();
    let builder = || patient().max_keys(40).log_entries(6000);
    let store = builder().open(folder.file()).unwrap();
    // The counted keys have slots before others fight for the rest.
    let scope = Scope::new("counted");
    for (key, quota) in (0..).zip(counted()) {
        assert!(take(&store, &scope, key, &quota, None));
    }
    let reported: Vec<[u64; COUNTED.len()]> = thread::scope(|threads| {
        let killers: Vec<_> = (0..AT_ONCE)
            .map(|i| {
                let folder = &folder;
                threads.spawn(move || kill_workers(folder, KILLS / AT_ONCE, 77 + i))
            })
            .collect();
        killers.into_iter().map(|killer| killer.join().unwrap()).collect()
    });

    let mut unreported = 0;
    for (key, quota) in counted().iter().enumerate() {
        let reported: u64 = reported.iter().map(|counts| counts[key]).sum();
        let counted = in_use(&store, &scope, key as u64, quota) - 1;
        assert!(reported > 0 && counted >= reported, "{quota}: {counted} counted of {reported} reported");
        unreported += counted - reported;
    }
    // A worker has at most one pair of units taken and not yet reported when it is killed.
    let kills = KILLS + AT_ONCE;
    assert!(unreported <= 2 * kills, "{unreported} units that nobody took");
    let usage = store.usage();
    assert!(usage.recovered > kills / 50, "few were killed inside a step: {usage:?}");
    assert_eq!(usage.coarsened, 0, "{usage:?}");

    // Nothing is stuck: every key goes on at once, and with all idle every slot and block is free again.
    let churn = Scope::new("churn");
    for key in 0..50 {
        take(&store, &churn, key, &quota("2/us"), None);
    }
    for (key, quota) in (0..).zip(counted()) {
        assert!(take(&store, &scope, key, &quota, None));
    }
    LocalStore::sweep(&store, Some(&at(3_000_000_000_000_000))).unwrap();
    let usage = store.usage();
    assert_eq!((usage.keys, usage.overflow_states, usage.log_entries), (0, 0, 0), "{usage:?}");
    drop(store);
    let usage = builder().open(folder.file()).unwrap().usage();
    assert_eq!((usage.keys, usage.log_entries), (0, 0), "{usage:?}");
}
