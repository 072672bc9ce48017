//! The committed traces, replayed over any store and checked event by event, field by field.
//!
//! `testdata/libraries.jsonl` was recorded from Python's rate limiters under a controlled clock, `testdata/model.jsonl`
//! from the executable model of the semantics.

use super::block_on;
use limiter_core::{
    Algorithm, Decision, Quota, Rate, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path, time::Duration};

/// One test a family of traces over the store that `$fresh`, a closure, makes anew for each trace; each is named after the
/// family, with the number of its traces and events.
macro_rules! trace_families {
    ($fresh:expr) => {
        support::traces::trace_families! { @each $fresh;
            "libraries.jsonl" {
                pyrate_inmemory: 21 traces, 4218 events;
                pyrate_sqlite: 3 traces, 615 events;
                pyrate_redis: 6 traces, 118 events;
                pyrate_postgres: 2 traces, 416 events;
                pyrate_nonblocking: 4 traces, 840 events;
                pyrate451_gcra: 4 traces, 880 events;
                pyrate451_fixed_window: 3 traces, 660 events;
                throttled_fixed_window: 4 traces, 662 events;
                throttled_sliding_window: 4 traces, 405 events;
                throttled_gcra: 4 traces, 880 events;
                aiolimiter_level: 2 traces, 440 events;
            }
            "model.jsonl" {
                gcra: 30 traces, 3600 events;
                fixed_window: 30 traces, 3600 events;
                sliding_window: 30 traces, 3600 events;
                sliding_log: 30 traces, 3600 events;
                several: 30 traces, 3000 events;
            }
        }
    };
    (@each $fresh:expr;
     $($file:literal { $($family:ident: $traces:literal traces, $events:literal events;)* })*) => {
        $($(
            #[test]
            fn $family() {
                let replayed = support::traces::replay_family($fresh, $file, stringify!($family));
                assert_eq!(replayed, ($traces, $events));
            }
        )*)*

        /// No family of a file is left out.
        #[test]
        fn every_family_has_its_test() {
            $(support::traces::assert_all_tested($file, &[$(stringify!($family)),*]);)*
        }
    };
}
pub(crate) use trace_families;

/// Panics where a trace of a file belongs to none of the families `tested`.
pub(crate) fn assert_all_tested(file: &str, tested: &[&str]) {
    for line in lines(file).filter(|line| line.get("trace").is_some()) {
        let name = text(&line, "trace");
        let family = name.split('/').next().unwrap();
        assert!(tested.contains(&family), "{name} of {file} is not tested");
    }
}

/// Replays a family and checks every event; the number of its traces and events.
pub(crate) fn replay_family<S: Store>(fresh: impl Fn() -> S, file: &str, family: &str) -> (usize, usize) {
    let (mut traces, mut events) = (0, 0);
    let mut replay: Option<Replay<S>> = None;
    for line in lines(file) {
        if line.get("trace").is_some() {
            let inside = text(&line, "trace").split('/').next() == Some(family);
            replay = inside.then(|| Replay::new(fresh(), &line));
            traces += usize::from(inside);
        } else if let Some(replay) = &replay {
            replay.check(&line);
            events += 1;
        }
    }
    (traces, events)
}

/// One trace: a fresh store, and its quotas by name.
struct Replay<S> {
    name: String,
    store: S,
    quotas: HashMap<String, (Scope, Quota)>,
}

impl<S: Store> Replay<S> {
    fn new(store: S, header: &Value) -> Self {
        let quotas = match header.get("quotas") {
            Some(quotas) => quotas.as_object().unwrap().iter().map(|(name, q)| (name.clone(), q.clone())).collect(),
            None => vec![(String::new(), header["quota"].clone())],
        };
        let quotas = quotas.into_iter().map(|(name, q)| (name.clone(), (Scope::new(name), quota(&q)))).collect();
        Self { name: text(header, "trace").to_owned(), store, quotas }
    }

    fn check(&self, event: &Value) {
        let Some(decision) = self.apply(event) else { return };
        let expect = event["expect"].as_object().unwrap();
        let tolerance = expect.get("tolerance_us").map_or(0, number);
        for (field, want) in expect.iter().filter(|(field, _)| *field != "tolerance_us") {
            let near = |got: Duration| want.as_u64().is_some_and(|want| want.abs_diff(micros(got)) <= tolerance);
            let same = match field.as_str() {
                "allowed" => want.as_bool() == Some(decision.allowed()),
                "remaining" => want.as_u64() == Some(decision.remaining()),
                "reset_after_us" => near(decision.reset_after()),
                "retry_after_us" => decision.retry_after().map_or(want.is_null(), near),
                "denied" => *want == Value::from(decision.denied().collect::<Vec<_>>()),
                other => panic!("{}: unknown field {other}", self.name),
            };
            assert!(same, "{}: {event}: {field} differs: {decision:?}", self.name);
        }
    }

    fn apply(&self, event: &Value) -> Option<Decision> {
        let now = Timestamp::from_micros(number(&event["t_us"]));
        let asked = match event.get("demands") {
            Some(demands) => demands.as_array().unwrap().iter().map(|demand| self.demand(demand)).collect(),
            None => vec![self.demand(event)],
        };
        let instant = |field: &str| Timestamp::from_micros(number(&event[field]));
        let adjust = |adjust| block_on(self.store.adjust(asked[0], adjust, Some(&now)));
        let answer = match text(event, "op") {
            "take" => block_on(self.store.take(&asked, Some(&now))),
            "peek" => block_on(self.store.peek(&asked, Some(&now))),
            "charge" => adjust(Adjust::Charge),
            "refund" => adjust(Adjust::Refund { taken: instant("taken_us") }),
            "block" => adjust(Adjust::Block { until: instant("until_us") }),
            "reset" => {
                block_on(self.store.reset(asked[0].scope, asked[0].key)).unwrap();
                return None;
            }
            other => panic!("{}: unknown op {other}", self.name),
        };
        Some(answer.unwrap())
    }

    fn demand<'a>(&'a self, source: &'a Value) -> Demand<'a> {
        let (scope, quota) = &self.quotas[source.get("quota").and_then(Value::as_str).unwrap_or_default()];
        Demand::new(scope, text(source, "key").as_bytes(), quota, source.get("cost").map_or(0, number))
    }
}

fn quota(source: &Value) -> Quota {
    let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == text(source, "algorithm")).unwrap();
    let rates = source["rates"].as_array().unwrap().iter().map(|rate| {
        let mut built = Rate::new(number(&rate["limit"]), Duration::from_micros(number(&rate["period_us"]))).unwrap();
        if let Some(burst) = rate.get("burst") {
            built = built.burst(number(burst)).unwrap();
        }
        if let Some(cells) = rate.get("resolution") {
            built = built.resolution(u32::try_from(number(cells)).unwrap()).unwrap();
        }
        built
    });
    Quota::new(algorithm, rates).unwrap()
}

fn lines(file: &str) -> impl Iterator<Item = Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>().into_iter()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a whole number"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}
