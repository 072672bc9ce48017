//! The outcome as one page that needs nothing else: no scripts, no files, no network.

use std::io::{self, Write};

use super::{
    chart::{OverTime, Series, bar},
    html::{Escaped, grouped},
    log::Log,
    replay::{Outcome, Tally},
    summary::{self, WORST},
    timeline::{Busiest, Timeline},
    utc,
};

const CSS: &str = include_str!("report.css");

const LEGEND: &str = "<p class=\"legend\"><span><i class=\"admitted\"></i>admitted</span>\
                      <span><i class=\"denied\"></i>denied</span></p>\n";

pub(crate) fn write(log: &Log, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    write_head(outcomes, out)?;
    write_facts(log, out)?;
    write_comparison(log, outcomes, out)?;
    if let Some(timeline) = log.timeline() {
        write_traffic(log, timeline, out)?;
        for outcome in outcomes {
            write_outcome(log, timeline, outcome, out)?;
        }
    }
    writeln!(out, "</body>\n</html>")
}

fn write_head(outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    let quotas: Vec<_> = outcomes.iter().map(|outcome| outcome.quota.to_string()).collect();
    let quotas = quotas.join(" | ");
    let quotas = Escaped(&quotas);
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <title>Replay: {quotas}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
         <h1>What {} would have done</h1>\n<p><code>{quotas}</code></p>\n",
        if outcomes.len() == 1 { "this quota" } else { "these quotas" }
    )
}

fn write_facts(log: &Log, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<h2>The log</h2>\n<section><dl>")?;
    for (name, text) in summary::facts(log) {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(&text))?;
    }
    writeln!(out, "</dl></section>")
}

fn write_comparison(log: &Log, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    let has_costs = log.has_costs();
    let units = if has_costs { "<th>units admitted</th><th>units denied</th>" } else { "" };
    writeln!(
        out,
        "<h2>Admitted and denied</h2>\n<section>\n{LEGEND}<table>\n\
         <tr><th>quota</th><th class=\"bar\">share of the requests</th><th>admitted</th><th>denied</th><th>denied&nbsp;%</th>{units}<th>keys hit</th>\
         <th>most in<br>a second</th><th>most in<br>a minute</th></tr>"
    )?;
    for outcome in outcomes {
        let Outcome { quota, requests, units, peak, keys, .. } = outcome;
        let quota = quota.to_string();
        write!(out, "<tr><td class=\"key\">{}</td>", Escaped(&quota))?;
        write!(out, "<td class=\"bar\">{}</td>", bar(requests.admitted, requests.denied, requests.total()))?;
        write_counts(requests, out)?;
        if has_costs {
            write!(out, "<td>{}</td><td>{}</td>", grouped(units.admitted), grouped(units.denied))?;
        }
        write!(out, "<td>{} of {}</td>", grouped(outcome.keys_hit() as u64), grouped(keys.len() as u64))?;
        writeln!(out, "{}{}</tr>", cell(peak.second), cell(peak.minute))?;
    }
    writeln!(out, "</table>\n</section>")
}

fn write_traffic(log: &Log, timeline: Timeline, out: &mut dyn Write) -> io::Result<()> {
    let counts = log.over_time(timeline);
    let most = counts.iter().copied().max().unwrap_or(0);
    let series = vec![Series { name: "requests", counts }];
    let plot = OverTime { title: "The traffic over time", timeline, series, most };
    writeln!(out, "<h2>The traffic</h2>\n<section>\n{plot}</section>")
}

fn write_outcome(log: &Log, timeline: Timeline, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let quota = outcome.quota.to_string();
    let of_each = |count: fn(&Tally) -> u64| outcome.over_time.iter().map(count).collect();
    let series = vec![
        Series { name: "admitted", counts: of_each(|tally| tally.admitted) },
        Series { name: "denied", counts: of_each(|tally| tally.denied) },
    ];
    // The traffic's own scale: all plots of the page compare.
    let most = outcome.over_time.iter().map(Tally::total).max().unwrap_or(0);
    let title = format!("Admitted and denied over time under {quota}");
    let plot = OverTime { title: &title, timeline, series, most };
    writeln!(out, "<h2>Under <code>{}</code></h2>\n<section>\n{plot}", Escaped(&quota))?;
    write_worst_keys(log, outcome, out)?;
    writeln!(out, "</section>")
}

fn write_worst_keys(log: &Log, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let worst = outcome.worst_keys(WORST);
    if worst.is_empty() {
        return writeln!(out, "<p>No key was denied anything.</p>");
    }
    let most = worst.iter().map(|(_, key)| key.total()).max().unwrap_or(0);
    writeln!(
        out,
        "<h3>The keys denied most</h3>\n<table>\n<tr><th>key</th><th class=\"bar\">requests, 0 to {}</th>\
         <th>admitted</th><th>denied</th><th>denied&nbsp;%</th></tr>",
        grouped(most)
    )?;
    for (place, key) in worst {
        let name = summary::shown(&log.keys[place]);
        let bar = bar(key.admitted, key.denied, most);
        write!(out, "<tr><td class=\"key\">{}</td><td class=\"bar\">{bar}</td>", Escaped(&name))?;
        write_counts(&key, out)?;
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table>")
}

fn write_counts(tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    let (admitted, denied) = (grouped(tally.admitted), grouped(tally.denied));
    write!(out, "<td>{admitted}</td><td>{denied}</td><td>{}</td>", summary::percent(tally))
}

fn cell(busiest: Busiest) -> String {
    let when = utc::stamp(busiest.start);
    format!("<td title=\"{when}\">{}</td>", grouped(busiest.count))
}
