//! Two calls, each held before any one of its writes while the other runs: what is counted is what was admitted.

use super::*;
use crate::StoreErrorKind;
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

/// The units that a call admits.
type Units = fn(&SharedStore) -> Result<u64, StoreError>;

struct Pair {
    name: &'static str,
    before: Call,
    calls: [Units; 2],
    /// The units in use that the calls are to have added to.
    used: fn(&SharedStore) -> u64,
}

const LOG: &str = "sliding_log 90/min";
const TWO: &str = "fixed_window 50/h, 60/day";

fn units(store: &SharedStore, asked: &[(u8, &str)], micros: u64) -> Result<u64, StoreError> {
    let scope = Scope::new("a");
    let quotas: Vec<(u8, Quota)> = asked.iter().map(|(key, text)| (*key, quota(text))).collect();
    let demands: Vec<Demand<'_>> =
        quotas.iter().map(|(key, quota)| Demand::new(&scope, std::slice::from_ref(key), quota, 1)).collect();
    store.take(&demands, Some(&at(NOW + micros))).map(|decision| u64::from(decision.allowed()))
}

fn used(store: &SharedStore, key: u8, text: &str, micros: u64) -> u64 {
    let (scope, quota) = (Scope::new("a"), quota(text));
    let seen = store.peek(&[Demand::new(&scope, &[key], &quota, 0)], Some(&at(NOW + micros))).unwrap();
    quota.rates()[0].limit() - seen.rates()[0].remaining()
}

fn pairs() -> Vec<Pair> {
    vec![
        Pair {
            name: "a new key",
            before: |_| {},
            calls: [|store| units(store, &[(1, "9/h")], 0); 2],
            used: |store| used(store, 1, "9/h", 0),
        },
        Pair {
            name: "a new key under two quotas",
            before: |_| {},
            calls: [
                |store| units(store, &[(1, "fixed_window 9/h")], 0),
                |store| units(store, &[(1, "fixed_window 8/h, 9/day")], 0),
            ],
            used: |store| used(store, 1, "fixed_window 9/h", 0),
        },
        Pair {
            name: "a packed state, changed to a longer one",
            before: |store| takes(store, 1, "fixed_window 9/h", 1, 0),
            calls: [|store| units(store, &[(1, "fixed_window 9/h")], 0), |store| units(store, &[(1, TWO)], 0)],
            used: |store| used(store, 1, TWO, 0),
        },
        Pair {
            name: "a log",
            before: |store| fill_log(store, 1, 16),
            calls: [|store| units(store, &[(1, LOG)], 50), |store| units(store, &[(1, LOG)], 60)],
            used: |store| used(store, 1, LOG, 60),
        },
        Pair {
            name: "two keys in either order, one of them new",
            before: |store| takes(store, 2, TWO, 1, 0),
            calls: [
                |store| units(store, &[(1, LOG), (2, TWO)], 0).map(|pairs| 2 * pairs),
                |store| units(store, &[(2, TWO), (1, LOG)], 0).map(|pairs| 2 * pairs),
            ],
            used: |store| used(store, 1, LOG, 0) + used(store, 2, TWO, 0),
        },
        Pair {
            name: "a key that idles and is swept",
            before: |store| takes(store, 1, "9/s", 1, 0),
            calls: [
                |store| LocalStore::sweep(store, Some(&at(NOW + 9_000_000))).map(|_| 0),
                |store| units(store, &[(1, "9/s")], 9_000_000),
            ],
            used: |store| used(store, 1, "9/s", 9_000_000),
        },
        Pair {
            name: "a key without room",
            before: fill,
            calls: [|store| units(store, &[(1, TWO)], 0); 2],
            used: |store| used(store, 1, TWO, 0),
        },
        Pair {
            name: "a key that finds room while it is without",
            before: fill,
            calls: [
                |store| units(store, &[(1, TWO)], 0),
                |store| {
                    store.reset(&Scope::new("a"), &[103])?;
                    units(store, &[(1, TWO)], 0)
                },
            ],
            used: |store| used(store, 1, TWO, 0),
        },
    ]
}

/// A call on a thread of its own, held before the write that comes after so many.
struct Held<'scope> {
    thread: ScopedJoinHandle<'scope, Result<u64, StoreError>>,
    /// Tells that it is held, or at its end.
    stands: Receiver<bool>,
    go_on: Sender<()>,
}

impl<'scope> Held<'scope> {
    fn start(threads: &'scope thread::Scope<'scope, '_>, store: &'scope SharedStore, call: Units, writes: u64) -> Self {
        let ((say, stands), (go_on, wait)) = (channel(), channel());
        let thread = threads.spawn(move || {
            let held = say.clone();
            let pause = move || {
                held.send(true).unwrap();
                wait.recv().unwrap();
            };
            let result = fuse::hold(writes, pause, || call(store));
            let _ = say.send(false);
            result
        });
        Self { thread, stands, go_on }
    }

    /// Whether it is held now, and not at its end.
    fn is_held(&self) -> bool {
        self.stands.recv().unwrap()
    }

    /// The units it admitted; none where it gave up since the other was held.
    fn end(self) -> u64 {
        let _ = self.go_on.send(());
        match self.thread.join().unwrap() {
            Ok(units) => units,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                0
            }
        }
    }
}

#[test]
fn two_calls_held_before_any_of_their_writes_count_what_they_admit() {
    for Pair { name, before, calls, used } in pairs() {
        let store = store(SharedStore::builder().max_keys(6).log_entries(400).timeout(Duration::from_micros(300)));
        let core = &*store.0;
        before(&store);
        let started = image(core);
        for [one, other] in [calls, [calls[1], calls[0]]] {
            for first in 0.. {
                let mut is_over = true;
                for second in (0..).step_by(3) {
                    bring_back(core, &started);
                    let in_use = used(&store);
                    let kept = if name.ends_with("is swept") { 0 } else { in_use };
                    let mut other_is_held = false;
                    let admitted = thread::scope(|threads| {
                        let one = Held::start(threads, &store, one, first);
                        is_over = !one.is_held();
                        let other = Held::start(threads, &store, other, second);
                        other_is_held = other.is_held();
                        one.end() + other.end()
                    });
                    let when = format!("{name}, held after {first} writes, and the other after {second}");
                    assert_eq!(used(&store), kept + admitted, "{when}");
                    assert_whole(core, &when);
                    if !other_is_held {
                        break;
                    }
                }
                if is_over {
                    break;
                }
            }
        }
    }
}
