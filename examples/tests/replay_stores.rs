//! `replay --decisions --store ...`: every store answers the committed traces, and one long random stream, with the same
//! bytes as memory. What is called is what a user calls: the program, with an address.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../replay/main.rs"]
mod program;
#[allow(dead_code)]
#[path = "../../limiter-core/tests/support/random.rs"]
mod random;
#[path = "../../limiter-core/tests/servers/mod.rs"]
mod servers;

use clap::Parser;
use program::args::Args;
use random::Rng;
use servers::{PostgresServer, RedisServer};
use std::{fmt::Write as _, fs, path::PathBuf, sync::OnceLock};

/// Events of the stream; `LIMITER_STEPS` sets another number.
const STEPS: usize = 50_000;

#[test]
fn shared_memory_answers_as_memory_does() {
    let folder = Folder::new("shared");
    same_as_memory(&format!("shared:{}", folder.0.join("limits").display()));
}

#[test]
fn sqlite_answers_as_memory_does() {
    let folder = Folder::new("sqlite");
    same_as_memory(&format!("sqlite:{}", folder.0.join("limits.db").display()));
}

#[test]
fn redis_answers_as_memory_does() {
    let server = RedisServer::start();
    same_as_memory(&server.url());
}

#[test]
fn postgres_answers_as_memory_does() {
    let database = PostgresServer::shared().fresh_database();
    same_as_memory(&database.url());
}

fn same_as_memory(store: &str) {
    for (name, trace, expected) in inputs() {
        let answers = answers(store, trace);
        let first = answers.lines().zip(expected.lines()).position(|(got, want)| got != want);
        if let Some(line) = first {
            let (got, want) = (answers.lines().nth(line), expected.lines().nth(line));
            panic!("{name}, answer {line} of {store}: {got:?}, of memory {want:?}");
        }
        assert_eq!(answers.len(), expected.len(), "{name} of {store}");
    }
}

/// Each input with its name and what memory answers.
fn inputs() -> &'static [(&'static str, String, String)] {
    static INPUTS: OnceLock<Vec<(&str, String, String)>> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let steps = std::env::var("LIMITER_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
        let testdata = |file: &str| {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../limiter-core/testdata").join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        [
            ("model.jsonl", testdata("model.jsonl")),
            ("libraries.jsonl", testdata("libraries.jsonl")),
            ("stream", stream(steps)),
        ]
        .map(|(name, trace)| {
            let expected = answers("memory", &trace);
            (name, trace, expected)
        })
        .into()
    })
}

fn answers(store: &str, trace: &str) -> String {
    let args = Args::try_parse_from(["replay", "--decisions", "--store", store, "-"]).unwrap();
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let ran = program::run(&args, &mut trace.as_bytes(), &mut out, &mut complaints);
    assert!(ran.is_ok(), "{:#}\n{}", ran.unwrap_err(), String::from_utf8_lossy(&complaints));
    String::from_utf8(out).unwrap()
}

/// Traces of a thousand events each: one quota or several, every operation, a clock that mostly goes on.
fn stream(events: usize) -> String {
    let mut random = Rng::new(7);
    let mut text = String::new();
    for trace in 0..events.div_ceil(1000) {
        let several = random.one_in(3);
        let names = if several { &["a", "b", "c"][..] } else { &[""][..] };
        let quotas: Vec<(String, u64)> = names.iter().map(|_| quota(&mut random)).collect();
        match several {
            true => {
                let named = names.iter().zip(&quotas).map(|(name, (quota, _))| format!("\"{name}\": {quota}"));
                let named = named.collect::<Vec<_>>().join(", ");
                writeln!(text, "{{\"trace\": \"{trace}\", \"quotas\": {{{named}}}}}").unwrap();
            }
            false => writeln!(text, "{{\"trace\": \"{trace}\", \"quota\": {}}}", quotas[0].0).unwrap(),
        }
        let (mut now, pace) = (1_760_000_000_000_000 + random.below(1 << 40), 1 << random.below(24));
        let mut taken = now;
        for _ in 0..1000.min(events - trace * 1000) {
            now = match random.below(40) {
                0 => now - random.below(8 * pace),
                1 => now + random.below(100 * pace),
                2..12 => now,
                _ => now + random.below(pace),
            };
            event(&mut text, &mut random, names, &quotas, (now, &mut taken));
        }
    }
    text
}

fn event(text: &mut String, random: &mut Rng, names: &[&str], quotas: &[(String, u64)], (now, taken): (u64, &mut u64)) {
    let key = ["k", "l", "m"][random.index(3)];
    let place = random.index(names.len());
    let cost = any_cost(random, quotas[place].1);
    let quota = if names.len() > 1 { format!("\"quota\": \"{}\", ", names[place]) } else { String::new() };
    let op = match random.below(20) {
        0..14 => "take",
        14 => "peek",
        15 => "charge",
        16 | 17 => "refund",
        18 => "block",
        _ => "reset",
    };
    write!(text, "{{\"t_us\": {now}, \"op\": \"{op}\", ").unwrap();
    match op {
        "take" | "peek" if names.len() > 1 => {
            let demands = names.iter().zip(quotas).map(|(name, (_, capacity))| {
                let (key, cost) = (["k", "l"][random.index(2)], any_cost(random, *capacity).min(*capacity));
                format!("{{\"quota\": \"{name}\", \"key\": \"{key}\", \"cost\": {cost}}}")
            });
            let demands = demands.collect::<Vec<_>>().join(", ");
            writeln!(text, "\"demands\": [{demands}]}}").unwrap();
        }
        "refund" => {
            let at = if random.one_in(3) { now.saturating_sub(random.below(1 << 20)) } else { *taken };
            writeln!(text, "{quota}\"key\": \"{key}\", \"cost\": {cost}, \"taken_us\": {at}}}").unwrap();
        }
        "block" => {
            let until = now + random.below(1 << 20);
            writeln!(text, "{quota}\"key\": \"{key}\", \"until_us\": {until}}}").unwrap();
        }
        _ => writeln!(text, "{quota}\"key\": \"{key}\", \"cost\": {cost}}}").unwrap(),
    }
    if op == "take" {
        *taken = now;
    }
}

/// A quota as traces have it, and the most it holds.
fn quota(random: &mut Rng) -> (String, u64) {
    let algorithm = ["gcra", "fixed_window", "sliding_window", "sliding_log"][random.index(4)];
    let most = [3, 20, 100][random.index(3)];
    let limit = 1 + random.below(most);
    let period = [7, 1009, 1_000_000, 59_999_999, 86_400_000_000][random.index(5)] + random.below(5);
    let with = |random: &mut Rng, limit: u64| match algorithm {
        "gcra" if random.one_in(2) => format!(", \"burst\": {}", 1 + random.below(2 * limit)),
        "sliding_log" if random.one_in(2) => format!(", \"resolution\": {}", 1 + random.below(12)),
        _ => String::new(),
    };
    let mut rates = format!("{{\"limit\": {limit}, \"period_us\": {period}{}}}", with(random, limit));
    if random.one_in(3) {
        let (more, longer) = (limit + 1 + random.below(limit), 2 * period + 1);
        let _ = write!(rates, ", {{\"limit\": {more}, \"period_us\": {longer}{}}}", with(random, more));
    }
    (format!("{{\"algorithm\": \"{algorithm}\", \"rates\": [{rates}]}}"), limit)
}

/// A cost: mostly one unit, now and then one at an edge.
fn any_cost(random: &mut Rng, capacity: u64) -> u64 {
    match random.below(12) {
        0 => 0,
        1..9 => 1,
        9 => capacity,
        10 => 1 + random.below(capacity),
        _ => capacity + random.below(2),
    }
}

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("limiter-replay-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
