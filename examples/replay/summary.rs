//! The outcome as text.

use std::io::{self, Write};

use super::{
    log::{Log, LogFile},
    replay::{Outcome, Tally},
    timeline::{Busiest, Peak},
    utc,
};

/// The keys that are listed for each quota.
pub(crate) const WORST: usize = 10;

/// The longest key that is shown in full.
const LONGEST_KEY: usize = 60;

pub(crate) fn write(log: &Log, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    for (name, text) in facts(log) {
        writeln!(out, "{name:<13} {text}")?;
    }
    write!(out, "\n{}", comparison(log, outcomes))?;
    for outcome in outcomes {
        write!(out, "\n{}", worst_keys(log, outcome))?;
    }
    Ok(())
}

/// What was read, as names and texts.
pub(crate) fn facts(log: &Log) -> Vec<(&'static str, String)> {
    let mut facts: Vec<_> = log.files.iter().map(|file| ("log", file_facts(file))).collect();
    if log.events.is_empty() && !log.malformed.is_empty() {
        facts.push(("hint", "no line was understood; --format, --time and --key say how to read them".to_owned()));
    }
    if let Some((first, last)) = log.span() {
        let span = utc::span(last.saturating_since(first));
        facts.push(("time", format!("{} to {} UTC ({span})", utc::stamp(first), utc::stamp(last))));
    }
    let (requests, keys) = (plural(log.events.len() as u64, "request"), plural(log.keys.len() as u64, "key"));
    facts.push(("traffic", format!("{requests} of {keys}")));
    if !log.events.is_empty() {
        let Peak { second, minute } = log.peak();
        let most = |of: Busiest, name: &str| format!("{} in a {name} ({})", of.count, utc::stamp(of.start));
        facts.push(("peak", format!("{}, {}", most(second, "second"), most(minute, "minute"))));
    }
    if log.steps_back.count > 0 {
        let (count, longest) = (log.steps_back.count, utc::span(log.steps_back.longest));
        let order = if log.is_sorted { "sorted by time" } else { "replayed as they stand (--sort sorts by time)" };
        facts.push(("out of order", format!("{count} earlier than the one before, by up to {longest}; {order}")));
    }
    for line in &log.malformed {
        let name = &log.files[line.file].name;
        facts.push(("malformed", format!("{}:{}: {}", shown(name), line.number, line.reason)));
    }
    let more = log.malformed_count() - log.malformed.len() as u64;
    if more > 0 {
        facts.push(("malformed", format!("and {more} more")));
    }
    facts
}

fn file_facts(file: &LogFile) -> String {
    let LogFile { name, format, requests, malformed } = file;
    let name = shown(name);
    match format {
        None => format!("{name} (empty)"),
        Some(format) => {
            let requests = plural(*requests, "request");
            format!("{name} ({}): {requests}, {}", format.name(), plural(*malformed, "malformed line"))
        }
    }
}

fn comparison(log: &Log, outcomes: &[Outcome]) -> String {
    let (has_costs, any_never_fit) = (log.has_costs(), outcomes.iter().any(|outcome| outcome.never_fit > 0));
    let mut header = vec!["quota", "admitted", "denied", "denied %", "keys", "keys hit"];
    if has_costs {
        header.extend(["units admitted", "units denied"]);
    }
    if any_never_fit {
        header.push("never fit");
    }
    header.extend(["most admitted in a second", "in a minute"]);
    let row = |outcome: &Outcome| {
        let Outcome { quota, requests, units, never_fit, keys, peak, .. } = outcome;
        let mut row = vec![quota.to_string(), requests.admitted.to_string(), requests.denied.to_string()];
        row.extend([percent(requests), keys.len().to_string(), outcome.keys_hit().to_string()]);
        if has_costs {
            row.extend([units.admitted, units.denied].map(|units| units.to_string()));
        }
        if any_never_fit {
            row.push(never_fit.to_string());
        }
        row.extend([peak.second, peak.minute].map(when));
        row
    };
    table(&header, outcomes.iter().map(row))
}

fn worst_keys(log: &Log, outcome: &Outcome) -> String {
    let quota = &outcome.quota;
    let worst = outcome.worst_keys(WORST);
    if worst.is_empty() {
        return format!("{quota}: no key was denied anything\n");
    }
    let row = |(place, key): (usize, Tally)| {
        let counts = [key.total(), key.admitted, key.denied].map(|count| count.to_string());
        [shown(&log.keys[place])].into_iter().chain(counts).chain([percent(&key)]).collect()
    };
    let header = [&format!("worst keys under {quota}"), "requests", "admitted", "denied", "denied %"];
    table(&header, worst.into_iter().map(row))
}

/// Rows under a header, in columns as wide as their widest cell; all but the first are aligned to the right.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines = vec![header.iter().map(|&name| name.to_owned()).collect()];
    lines.extend(rows);
    let mut widths = vec![0; header.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    lines.insert(1, widths.iter().map(|width| "─".repeat(*width)).collect());

    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A name from outside, fit for a terminal: short, and without characters that control it.
pub(crate) fn shown(name: &str) -> String {
    if name.is_empty() {
        return "(empty)".to_owned();
    }
    let mut shown: String = name.chars().take(LONGEST_KEY).flat_map(printable).collect();
    if name.chars().nth(LONGEST_KEY).is_some() {
        shown.push('…');
    }
    shown
}

/// The character, or its escape where it is not seen: also those that turn the direction of text.
fn printable(c: char) -> Vec<char> {
    let is_bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || is_bidi { c.escape_default().collect() } else { vec![c] }
}

pub(crate) fn percent(tally: &Tally) -> String {
    format!("{:.2}", tally.denied_percent())
}

fn when(busiest: Busiest) -> String {
    match busiest.count {
        0 => "0".to_owned(),
        count => format!("{count} at {}", utc::stamp(busiest.start)),
    }
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
