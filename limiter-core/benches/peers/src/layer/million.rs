//! The slowest of a million calls, each with a key that was not there.

use super::subject::{Bare, HttpService, call, ours, peer};
use crate::harness::{Ratios, Table, figure};
use http::{HeaderValue, StatusCode};
use std::time::{Duration, Instant};
use tower_governor::GovernorLayer;
use tower_layer::Layer;

const KEYS: usize = 1_000_000;

/// Of one pass through all keys.
struct Pass {
    slowest: Duration,
    /// One call in ten thousand takes longer.
    rarely: Duration,
    mean: Duration,
    /// What has to be done now and then so that keys are forgotten.
    upkeep: Option<Duration>,
}

pub fn run(rounds: usize, ratios: &mut Ratios) {
    let keys: Vec<HeaderValue> =
        (0..KEYS).map(|key| HeaderValue::try_from(format!("{key:016}")).expect("digits")).collect();
    let (mut limiter, mut governor) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(3) {
        limiter.push(pass(&mut ours("1/min burst 5").layer(Bare), &keys));
        let config = peer(Duration::from_secs(60), 5);
        let state = config.limiter().clone();
        let mut pass = pass(&mut GovernorLayer::new(config).layer(Bare), &keys);
        let start = Instant::now();
        state.retain_recent();
        pass.upkeep = Some(start.elapsed());
        governor.push(pass);
    }
    let mut table = Table::new(
        "A million keys through a layer, a request each; the least of the rounds",
        &["slowest call, µs", "one in 10,000 above, µs", "mean, ns", "upkeep, ms"],
    );
    let least = |passes: &[Pass], of: fn(&Pass) -> Option<Duration>| passes.iter().filter_map(of).min();
    let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
    let mut row = |name: &str, passes: &[Pass]| {
        let [slowest, rarely, mean] = [|pass: &Pass| pass.slowest, |pass: &Pass| pass.rarely, |pass: &Pass| pass.mean]
            .map(|of| passes.iter().map(of).min().unwrap_or_default());
        let upkeep =
            least(passes, |pass| pass.upkeep).map_or_else(|| "none".to_owned(), |time| figure(micros(time) / 1e3));
        table.row(name, [figure(micros(slowest)), figure(micros(rarely)), figure(mean.as_nanos() as f64), upkeep]);
        micros(slowest)
    };
    let (ours, peers) = (row("limiter, with fields", &limiter), row("tower_governor", &governor));
    print!("{table}");
    ratios.add("layer-slowest-call", peers, ours);
}

fn pass(service: &mut impl HttpService, keys: &[HeaderValue]) -> Pass {
    let mut times = Vec::with_capacity(keys.len());
    for key in keys {
        let key = key.clone();
        let start = Instant::now();
        let response = call(service, key);
        times.push(start.elapsed());
        assert_eq!(response.status(), StatusCode::OK);
    }
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).expect("a million");
    times.sort_unstable();
    let last = times.len() - 1;
    Pass { slowest: times[last], rarely: times[last - times.len() / 10_000], mean, upkeep: None }
}
