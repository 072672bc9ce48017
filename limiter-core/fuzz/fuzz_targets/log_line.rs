//! The readers of the `replay` example take any lines: each is a request or has a reason why not.
//!
//! The first character of an input chooses the format and the fields, the rest is the log.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use limiter_core::Timestamp;

#[allow(dead_code)]
#[path = "../../../examples/replay/input/mod.rs"]
mod input;

use input::{Fields, Format, LineReader, TimeUnit};

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, log)) = bytes.split_first() else { return };
    let log = String::from_utf8_lossy(log);
    let lines: Vec<&str> = log.lines().collect();
    let (format, fields) = choose(choice);
    let sample = &lines[..lines.len().min(20)];
    let Ok(reader) = LineReader::new(format, &fields, sample) else { return };
    assert!(format.is_none_or(|format| format == reader.format()));
    for line in lines {
        match reader.read(line) {
            Ok(record) => {
                assert!(record.at <= Timestamp::MAX);
                if let Cow::Borrowed(key) = record.key {
                    assert!(line.contains(key));
                }
            }
            Err(reason) => assert!(!reason.to_string().is_empty()),
        }
    }
});

/// Lower case: the usual fields. Upper case: chosen ones.
fn choose(choice: u8) -> (Option<Format>, Fields) {
    let format = match choice.to_ascii_lowercase() {
        b'c' => Some(Format::Clf),
        b'j' => Some(Format::Json),
        b'v' => Some(Format::Csv),
        _ => None,
    };
    let chosen = |[time, key, cost]: [&str; 3], unit| {
        let [time, key, cost] = [time, key, cost].map(|name| Some(name.to_owned()));
        Fields { time, key, cost, unit: Some(unit) }
    };
    let fields = match choice {
        b'C' => chosen(["4", "path", "bytes"], TimeUnit::Seconds),
        b'J' => chosen(["t", "request.remote_ip", "n"], TimeUnit::Millis),
        b'V' => chosen(["2", "1", "3"], TimeUnit::Nanos),
        b'A' => chosen(["time", "user", "bytes"], TimeUnit::Micros),
        _ => Fields::default(),
    };
    (format, fields)
}
