//! The replay tool: its decisions on every committed trace, and its counts on logs of each format.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../replay/main.rs"]
mod program;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Parser;
use flate2::{Compression, write::GzEncoder};
use program::{BadArguments, args::Args};
use serde_json::Value;

/// 2023-11-14 22:14:00 UTC, where a minute begins.
const START: u64 = 1_700_000_040;

#[test]
fn decisions_on_the_model_s_traces_have_no_difference() {
    assert_eq!(decide_traces("model.jsonl"), 17_400);
}

#[test]
fn decisions_on_the_libraries_traces_have_no_difference() {
    assert_eq!(decide_traces("libraries.jsonl"), 10_134);
}

#[test]
fn decisions_are_printed_as_the_model_prints_them() {
    let trace = r#"{"trace": "a", "quota": {"algorithm": "fixed_window", "rates": [{"limit": 2, "period_us": 10}]}}
{"t_us": 1, "op": "take", "key": "k", "cost": 2}
{"t_us": 1, "op": "take", "key": "k", "cost": 1}
{"t_us": 1, "op": "take", "key": "k", "cost": 3}
{"t_us": 1, "op": "reset", "key": "k"}
{"trace": "b", "quotas": {"q": {"algorithm": "sliding_log", "rates": [{"limit": 1, "period_us": 10}]}, "r": {"algorithm": "gcra", "rates": [{"limit": 5, "period_us": 5000000}]}}}
{"t_us": 1, "op": "take", "demands": [{"quota": "r", "key": "k", "cost": 5}, {"quota": "q", "key": "k", "cost": 1}]}
{"t_us": 1, "op": "take", "demands": [{"quota": "r", "key": "k", "cost": 0}, {"quota": "q", "key": "k", "cost": 1}]}
{"t_us": 1, "op": "take", "demands": [{"quota": "r", "key": "k", "cost": 1}, {"quota": "q", "key": "l", "cost": 2}]}
"#;
    let answers = run(&["--decisions"], trace.as_bytes()).unwrap();
    assert_eq!(
        answers,
        r#"{"allowed": true, "remaining": 0, "reset_after_us": 9, "retry_after_us": 0}
{"allowed": false, "remaining": 0, "reset_after_us": 9, "retry_after_us": 9}
{"allowed": false, "remaining": 0, "reset_after_us": 9, "retry_after_us": null}
{}
{"allowed": true, "remaining": 0, "reset_after_us": 5000000, "retry_after_us": 0, "denied": []}
{"allowed": false, "remaining": 0, "reset_after_us": 5000000, "retry_after_us": 11, "denied": [1]}
{"allowed": false, "remaining": 0, "reset_after_us": 5000000, "retry_after_us": null, "denied": [0, 1]}
"#
    );
}

#[test]
fn an_event_without_an_answer_has_a_line_of_its_own_and_the_next_is_answered() {
    let day = r#"{"trace": "a", "quota": {"algorithm": "fixed_window", "rates": [{"limit": 2, "period_us": 10}]}}"#;
    let pair = r#"{"trace": "b", "quotas": {"q": {"algorithm": "gcra", "rates": [{"limit": 2, "period_us": 10}]}}}"#;
    let rates = |rates: &str| format!(r#"{{"trace": "c", "quota": {{"algorithm": "gcra", "rates": [{rates}]}}}}"#);
    let take = r#"{"t_us": 7, "op": "take", "key": "k", "cost": 1}"#;
    let (ill_ordered, large, huge) = (
        rates(r#"{"limit": 5, "period_us": 10}, {"limit": 4, "period_us": 20}"#),
        rates(r#"{"limit": 1, "period_us": 1125899906842624}"#),
        rates(r#"{"limit": 18446744073709551616, "period_us": 10}"#),
    );
    for (header, bad, says) in [
        (day, "what is this?", "expected value at column 1"),
        (day, r#"{"t_us": -1, "op": "take", "key": "k", "cost": 1}"#, "`t_us` is -1"),
        (day, r#"{"t_us": 3377699720527872, "op": "take", "key": "k", "cost": 1}"#, "3377699720527871 (in 2077)"),
        (day, r#"{"t_us": 7, "op": "block", "key": "k", "until_us": 9e99}"#, "`until_us` is 9e99"),
        (day, r#"{"t_us": 7, "op": "block", "key": "k"}"#, "missing field `until_us`"),
        (day, r#"{"t_us": 7, "op": "refund", "key": "k", "cost": 1, "taken_us": 3377699720527872}"#, "`taken_us`"),
        (day, r#"{"t_us": 7, "op": "take", "key": "k", "cost": -1}"#, "`cost` is -1"),
        (day, r#"{"t_us": 7, "op": "take", "key": "k", "cost": 1.5}"#, "`cost` is 1.5"),
        (day, r#"{"t_us": 7, "op": "steal", "key": "k", "cost": 1}"#, "steal"),
        (day, r#"{"t_us": 7, "op": "take", "cost": 1}"#, "missing field `key`"),
        (day, r#"{"t_us": 7, "op": "take", "demands": []}"#, "`demands` is empty"),
        (day, r#"{"t_us": 7, "op": "take", "quota": "r", "key": "k", "cost": 1}"#, r#"no quota "r""#),
        (
            pair,
            r#"{"t_us": 7, "op": "take", "demands": [{"quota": "q", "key": "k", "cost": 1}, {"quota": "q", "key": "k", "cost": 1}]}"#,
            "same key",
        ),
        (pair, take, "the event names none"),
        (&ill_ordered, take, "never limits anything"),
        (&large, take, "2^50 microseconds"),
        (&huge, take, "expected u64"),
        (&rates(""), take, "at least one rate"),
        (r#"{"trace": null}"#, take, "neither a `quota` nor `quotas`"),
    ] {
        let trace = format!("{day}\n{take}\n{header}\n{bad}\n{day}\n\n{take}\n");
        let (answers, complaints, ended) = decide(&trace);
        let [first, second, last] = answers.lines().collect::<Vec<_>>()[..] else { panic!("{answers}") };
        assert!(first == last && first.contains(r#""remaining": 1"#), "{answers}");
        let why = serde_json::from_str::<Value>(second).unwrap()["error"].as_str().unwrap().to_owned();
        assert!(why.contains(says), "{bad}: {why}");
        assert!(complaints.contains(&format!("-:4: {why}\n")), "{complaints}");
        if let Some(reason) = why.strip_prefix("the trace was refused: ") {
            assert!(complaints.contains(&format!("-:3: {reason}\n")), "{complaints}");
        }
        assert!(ended.unwrap_err().to_string().contains("1 of 3 events have no answer"));
    }
    let (answers, complaints, ended) = decide(&format!("{take}\n{day}\n{take}\n"));
    assert!(answers.starts_with(r#"{"error": "an event before any header"}"#) && answers.lines().count() == 2);
    assert!(complaints == "-:1: an event before any header\n" && ended.is_err());
}

#[test]
fn what_a_header_says_of_other_algorithms_counts_for_nothing() {
    for algorithm in ["gcra", "fixed_window", "sliding_window", "sliding_log"] {
        let plain = format!(r#""algorithm": "{algorithm}", "rates": [{{"limit": 3, "period_us": 700"#);
        let options = match algorithm {
            "gcra" => r#", "burst": 3, "resolution": "fine""#,
            "sliding_log" => r#", "burst": 0, "resolution": 700"#,
            _ => r#", "burst": 18446744073709551616, "resolution": 0"#,
        };
        let decide = |options: &str| {
            let event = |at: u64| format!("{{\"t_us\": {at}, \"op\": \"take\", \"key\": \"k\", \"cost\": 2}}\n");
            let header = format!("{{\"trace\": \"a\", \"quota\": {{{plain}{options}}}]}}}}\n");
            let (answers, complaints, ended) = decide(&(header + &event(5) + &event(6) + &event(800)));
            ended.unwrap();
            assert_eq!((answers.lines().count(), &*complaints), (3, ""));
            answers
        };
        assert_eq!(decide(options), decide(""), "{algorithm}");
    }
}

#[test]
fn a_cost_above_all_numbers_never_fits_and_can_be_charged() {
    let trace = r#"{"trace": "a", "quota": {"algorithm": "fixed_window", "rates": [{"limit": 2, "period_us": 10}]}}
{"t_us": 1, "op": "take", "key": "k", "cost": 18446744073709551616}
{"t_us": 1, "op": "charge", "key": "k", "cost": 99999999999999999999999999999999999999999999}
{"t_us": 1, "op": "refund", "key": "k", "cost": 99999999999999999999, "taken_us": 1}
"#;
    let (answers, _, ended) = decide(trace);
    ended.unwrap();
    assert_eq!(
        answers,
        r#"{"allowed": false, "remaining": 2, "reset_after_us": 0, "retry_after_us": null}
{"allowed": true, "remaining": 0, "reset_after_us": 9, "retry_after_us": 0}
{"allowed": true, "remaining": 2, "reset_after_us": 0, "retry_after_us": 0}
"#
    );
}

#[test]
fn quotas_are_compared_on_the_same_traffic() {
    // By hand: 0 59 59 61 61 seconds into a minute, and one of another key.
    let log = [(0, "a"), (59, "a"), (59, "a"), (60, "b"), (61, "a"), (61, "a")].map(|(at, key)| clf(START + at, key));
    let quotas = ["fixed_window 2/min", "sliding_log 2/min", "2/min", "2/min burst 1", "sliding_window 2/min"];
    let args: Vec<_> = quotas.iter().flat_map(|quota| ["--quota", quota]).collect();
    let text = run(&args, log.concat().as_bytes()).unwrap();
    for (quota, admitted, denied) in [
        ("fixed_window 2/min", "5", "1"), // the second at 59; both at 61 are of the next window
        ("sliding_log 2/min", "4", "2"),  // the second at 59, and the second at 61
        ("2/min", "4", "2"),              // a unit returns each 30 s: by 61 not one more has
        ("2/min burst 1", "3", "3"),      // the second at 59, and both at 61
        ("sliding_window 2/min", "4", "2"), // at 61, floor(2 × 59/60) = 1 of the window before counts
    ] {
        let [got_admitted, got_denied, _, keys, keys_hit, ..] = row(&text, quota)[..] else { panic!("{text}") };
        assert_eq!((got_admitted, got_denied, keys, keys_hit), (admitted, denied, "2", "1"), "{quota}: {text}");
    }
    assert!(text.contains("6 requests of 2 keys"), "{text}");
    assert!(text.contains("2 in a second (2023-11-14 22:14:59), 3 in a minute (2023-11-14 22:14:00)"), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().eq(["a", "5", "3", "2", "40.00"])), "{text}");
}

#[test]
fn every_format_tells_the_same() {
    let stamps = [0, 30, 60, 90].map(|at| START + at);
    let combined: String = stamps.iter().map(|&at| clf(at, "192.0.2.1")).collect();
    let common = combined.replace(" \"-\" \"agent\"", "");
    let json: String = stamps.iter().map(|at| format!("{{\"ts\": {at}.0, \"ip\": \"192.0.2.1\"}}\r\n")).collect();
    let rows: String = stamps.iter().map(|at| format!("{at}000;\"192.0.2.1\"\n")).collect();
    let named = rows.replace("000;", ",GET,").replacen("", "timestamp,method,client_ip\n", 1);
    for (format, log) in [("clf", combined), ("clf", common), ("json", json), ("csv", rows), ("csv", named)] {
        for (log, how) in [(log.clone(), "plain"), (format!("\u{feff}\n\n{log}\n"), "with a mark and blank lines")] {
            for args in [&["--quota", "1/min"][..], &["--quota", "1/min", "--format", format]] {
                let text = run(args, log.as_bytes()).unwrap();
                assert!(text.contains(&format!("({format}): 4 requests, 0 malformed")), "{format} {how}: {text}");
                assert_eq!(row(&text, "1/min")[..2], ["2", "2"], "{format} {how}: {text}");
                assert!(text.contains("192.0.2.1 "), "{format} {how}: {text}");
            }
        }
    }
}

#[test]
fn costs_and_keys_come_from_the_fields_that_are_chosen() {
    let log = "when,who,tokens\n0,ada,60\n0,ada,40\n0,ada,1\n0,bob,101\n1,bob,100\n2,bob,0\n";
    let fields = ["--time", "when", "--key", "who", "--cost", "tokens"];
    let text = run(&[&["--quota", "fixed_window 100/min"], &fields[..]].concat(), log.as_bytes()).unwrap();
    // Admitted, denied, share, keys, keys hit, units admitted, units denied, never fit.
    assert_eq!(row(&text, "fixed_window 100/min")[..8], ["4", "2", "33.33", "2", "2", "200", "102", "1"], "{text}");
}

#[test]
fn gzipped_files_are_read_also_in_several_members() {
    let parts = [clf(START, "a"), clf(START, "a")].map(|line| gzip(line.as_bytes()));
    let path = file("members.log.gz", &parts.concat());
    let text = run(&["--quota", "1/min", path.to_str().unwrap()], b"").unwrap();
    assert_eq!(row(&text, "1/min")[..2], ["1", "1"], "{text}");
    let text = run(&["--quota", "1/min", "-"], &parts.concat()).unwrap();
    assert_eq!(row(&text, "1/min")[..2], ["1", "1"], "{text}");
}

#[test]
fn what_stands_before_the_end_of_a_truncated_file_is_counted() {
    let log: String = (0..50_000_u64).map(|i| clf(START + i * i % 977, &format!("key-{}", i * i % 1009))).collect();
    let whole = gzip(log.as_bytes());
    let mut out = Vec::new();
    let args = Args::try_parse_from(["replay", "--quota", "1/min"]).unwrap();
    let error = program::run(&args, &mut &whole[..whole.len() / 2], &mut out, &mut io::sink()).unwrap_err();
    assert!(format!("{error:#}").contains("standard input"), "{error:#}");
    let text = String::from_utf8(out).unwrap();
    let [admitted, denied, ..] = row(&text, "1/min")[..] else { panic!("{text}") };
    let counted = admitted.parse::<u64>().unwrap() + denied.parse::<u64>().unwrap();
    assert!((10_000..50_000).contains(&counted), "{text}");
}

#[test]
fn several_files_are_read_in_turn() {
    let first = file("first.log", clf(START + 1, "a").as_bytes());
    let second = file("second.json", format!("{{\"time\": {START}, \"key\": \"a\"}}\n").as_bytes());
    let empty = file("empty.log", b"");
    let files = [&first, &second, &empty].map(|path| path.to_str().unwrap());
    let text = run(&[&["--quota", "1/min"], &files[..], &["-"]].concat(), clf(START, "b").as_bytes()).unwrap();
    assert_eq!(row(&text, "1/min")[..2], ["2", "1"], "{text}");
    for part in ["first.log (clf): 1 request,", "second.json (json): 1 request,", "empty.log (empty)", "standard input"]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn malformed_lines_are_counted_and_told_by_number() {
    let mut log = clf(START, "a") + "\n" + "what is this?\n" + &clf(START, "a").replace("14/Nov", "31/Nov");
    log += &"x\n".repeat(20);
    let text = run(&["--quota", "9/s"], (log + &clf(START, "a")).as_bytes()).unwrap();
    assert!(text.contains("2 requests, 22 malformed lines"), "{text}");
    assert!(text.contains("standard input:3: no client, identity, user and [date]"), "{text}");
    assert!(text.contains("standard input:4: the time is neither a date nor a number"), "{text}");
    assert!(text.contains("standard input:12: ") && !text.contains("standard input:13: "), "{text}");
    assert!(text.contains("and 12 more"), "{text}");
}

#[test]
fn times_out_of_order_are_counted_and_sorted_when_asked() {
    let log: String = [0, 70, 10, 80].map(|at| clf(START + at, "a")).concat();
    let text = run(&["--quota", "fixed_window 1/min"], log.as_bytes()).unwrap();
    assert!(text.contains("1 earlier than the one before, by up to 1 min; replayed as they stand"), "{text}");
    assert_eq!(row(&text, "fixed_window 1/min")[..2], ["2", "2"], "{text}");
    let text = run(&["--quota", "2/min burst 1", "--sort"], log.as_bytes()).unwrap();
    assert!(text.contains("by up to 1 min; sorted by time"), "{text}");
    assert_eq!(row(&text, "2/min burst 1")[..2], ["2", "2"], "{text}"); // 0 and 70: 30 s apart at least
}

#[test]
fn a_report_needs_nothing_else_and_escapes_what_logs_hold() {
    let key = r#"<script>alert("x")</script><img src='//evil.example'>"#;
    let log: String = (0..5).map(|at| format!("{},\"{}\"\n", START + at, key.replace('"', "\"\""))).collect();
    let path = file("report.html", b"");
    let args = ["--quota", "1/min", "--quota", "sliding_log 2/min", "--report", path.to_str().unwrap()];
    run(&args, log.as_bytes()).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&lt;img src=&#39;"), "{page}");
    for outside in ["<script", "<img", "<link", "@import", "url(", "href=", "src=\"", "src='"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for part in ["1/min", "sliding_log 2/min", "requests per s", "time (UTC), 2023-11-14", "keys denied most"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 3);
    for tag in ["html", "body", "section", "table", "svg", "g", "p", "title"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn names_from_outside_do_not_control_the_terminal() {
    let text = run(&["--quota", "1/min"], "5,\u{1b}[2J\u{202e}\n5,\u{1b}[2J\u{202e}\n".as_bytes()).unwrap();
    assert!(text.contains(r"\u{1b}[2J\u{202e}") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn no_input_is_fatal() {
    let long = vec![b'a'; 17 << 20];
    for log in [
        &b""[..],
        b"\n\n\r\n",
        b"\xff\xfe\x00",
        b"\x1f\x8b",
        b"prose, with commas\nand more",
        b"{\n}\n[]",
        b"\"",
        &long,
        &[&long[..], b"\n5,a"].concat(),
        &[b"5,a\n", &long[..]].concat(),
    ] {
        let path = file("any.html", b"");
        let mut out = Vec::new();
        for format in [&[][..], &["--format", "clf"], &["--format", "json"], &["--format", "csv"]] {
            let args = [&["replay", "--quota", "5/s", "--report", path.to_str().unwrap()], format].concat();
            let _ = program::run(&Args::try_parse_from(args).unwrap(), &mut &*log, &mut out, &mut io::sink());
        }
        assert!(!out.is_empty());
    }
    let text = run(&["--quota", "5/s"], &[&b"5,a\xff\n5,b\n"[..], &long[..], b"\n5,c"].concat()).unwrap();
    assert!(text.contains("3 requests, 1 malformed line") && text.contains(":3: the line is longer"), "{text}");
    let text = run(&["--quota", "5/s"], b"prose, with commas\nand, more").unwrap();
    assert!(text.contains("0 requests, 2 malformed lines") && text.contains("no line was understood"), "{text}");
    let text = run(&["--quota", "5/s"], b"0,a\n3377699720.527871,a\n3377699720.527872,a\n-1,a\n1e400,a\n").unwrap();
    assert!(text.contains("2 requests, 3 malformed lines"), "{text}");
}

#[test]
fn bad_arguments_are_refused_with_what_is_allowed() {
    for (args, says) in [
        (&[][..], "--quota"),
        (&["--quota", "5/fortnight"], "fortnight"),
        (&["--quota", "5/s", "--format", "xml"], "clf, json, csv"),
        (&["--quota", "5/s", "--time-unit", "h"], "s, ms, us, ns"),
        (&["--quota", "5/s", "--decisions"], "cannot be used with"),
        (&["--decisions", "--store", "mysql://localhost"], "allowed: memory, shared:FILE"),
    ] {
        let error = Args::try_parse_from([&["replay"], args].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(says), "{error}");
    }
    for (log, args, says) in [
        (&clf(START, "a")[..], &["--key", "session"][..], "addr, ident"),
        ("when,key\n5,a\n", &[], "--time is needed"),
        ("time,key\n5,a\n", &["--cost", "tokens"], "there are: time, key"),
    ] {
        let error = run(&[&["--quota", "5/s"], args].concat(), log.as_bytes()).unwrap_err();
        assert!(error.is::<BadArguments>() && format!("{error:#}").contains(says), "{error:#}");
    }
    let error = run(&["--quota", "5/s", "no such file"], b"").unwrap_err();
    assert!(!error.is::<BadArguments>() && format!("{error:#}").contains("no such file"), "{error:#}");
}

/// Answers the traces of a committed file and compares every field; the number of events.
fn decide_traces(name: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../limiter-core/testdata").join(name);
    let traces = fs::read_to_string(&path).unwrap();
    let answers = run(&["--decisions", path.to_str().unwrap()], b"").unwrap();
    let mut answers = answers.lines();
    let mut events = 0;
    for line in traces.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event.get("trace").is_some() {
            continue;
        }
        events += 1;
        let answer: Value = serde_json::from_str(answers.next().unwrap()).unwrap();
        let Some(expect) = event.get("expect").and_then(Value::as_object) else {
            assert_eq!(answer, Value::Object(serde_json::Map::new()), "{line}");
            continue;
        };
        let tolerance = expect.get("tolerance_us").map_or(0, |micros| micros.as_u64().unwrap());
        for (field, want) in expect.iter().filter(|(field, _)| *field != "tolerance_us") {
            let got = &answer[field];
            let is_near = |(want, got): (u64, u64)| field.ends_with("_us") && want.abs_diff(got) <= tolerance;
            assert!(want == got || want.as_u64().zip(got.as_u64()).is_some_and(is_near), "{line}: {answer}");
        }
    }
    assert_eq!(answers.next(), None);
    events
}

/// Answers a trace: what is printed, what is complained of, and how it ended.
fn decide(trace: &str) -> (String, String, anyhow::Result<()>) {
    let args = Args::try_parse_from(["replay", "--decisions"]).unwrap();
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let ended = program::run(&args, &mut trace.as_bytes(), &mut out, &mut complaints);
    (String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap(), ended)
}

/// Runs the program; what it prints.
fn run(args: &[&str], stdin: &[u8]) -> anyhow::Result<String> {
    let args = Args::try_parse_from([&["replay"], args].concat())?;
    let mut out = Vec::new();
    program::run(&args, &mut &*stdin, &mut out, &mut io::sink())?;
    Ok(String::from_utf8(out)?)
}

/// The cells of a quota's row.
fn row<'a>(text: &'a str, quota: &str) -> Vec<&'a str> {
    let cells = text.lines().find_map(|line| line.strip_prefix(quota)?.strip_prefix("  "));
    cells.unwrap_or_else(|| panic!("no row of {quota}: {text}")).split_whitespace().collect()
}

/// A line of Combined Log Format, at a second since 1970 that lies within an hour after [`START`].
fn clf(at: u64, addr: &str) -> String {
    let (minutes, seconds) = ((at - START) / 60 + 14, (at - START) % 60);
    let (hours, minutes) = (22 + minutes / 60, minutes % 60);
    let time = format!("14/Nov/2023:{hours:02}:{minutes:02}:{seconds:02} +0000");
    format!("{addr} - - [{time}] \"GET / HTTP/1.1\" 200 5 \"-\" \"agent\"\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}
