//! What is printed after the crawl: a table, and a chart of requests over time.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::crawl::Answer;

/// The most cells a row of the chart has.
const CHART_WIDTH: u128 = 60;

/// Cells between two labels under the chart.
const CELLS_A_LABEL: usize = 10;

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How the crawl of one host went.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostReport {
    pub(crate) host: String,
    pub(crate) quota: String,
    /// In the order of time.
    pub(crate) answers: Vec<Answer>,
    /// How many requests were answered with 429, as the host counts them if it can be asked.
    pub(crate) refused: usize,
    /// The share of its quota that was used, if known.
    pub(crate) share: Option<f64>,
    /// Why the first request that got no answer got none.
    pub(crate) first_error: Option<String>,
}

impl HostReport {
    /// How many requests got no answer.
    pub(crate) fn failed(&self) -> usize {
        let failed = self.answers.iter().filter(|answer| answer.status.is_none());
        failed.count()
    }

    fn end(&self) -> Duration {
        self.answers.last().map_or(Duration::ZERO, |last| last.at)
    }

    fn seconds(&self) -> String {
        format!("{:.1}", self.end().as_secs_f64())
    }

    /// Such as `200×17 404×2`.
    fn statuses(&self) -> String {
        let mut counts = BTreeMap::new();
        for status in self.answers.iter().filter_map(|answer| answer.status) {
            *counts.entry(status.as_u16()).or_insert(0) += 1;
        }
        let counts: Vec<_> = counts.iter().map(|(status, count)| format!("{status}×{count}")).collect();
        counts.join(" ")
    }
}

/// A row a host, with the share of its quota that was used.
pub(crate) fn share_table(hosts: &[HostReport]) -> String {
    let row = |host: &HostReport| {
        [
            host.host.clone(),
            host.quota.clone(),
            host.answers.len().to_string(),
            host.refused.to_string(),
            host.seconds(),
            host.share.map_or("-".into(), |share| format!("{:.1}%", share * 100.0)),
        ]
    };
    let header = ["host", "quota", "requests", "429s", "seconds", "share"];
    let mut table = grid(header, hosts.iter().map(row));
    if hosts.iter().any(|host| host.share.is_some()) {
        table.push_str(
            "share: what the server granted after its first window, over limit × elapsed ÷ period, for the rate\n\
             used least; a little above 100% is possible, as what elapsed ends with a grant.\n",
        );
    }
    table
}

/// A row a host, with how often each status was met.
pub(crate) fn status_table(hosts: &[HostReport]) -> String {
    let row = |host: &HostReport| {
        [
            host.host.clone(),
            host.quota.clone(),
            host.answers.len().to_string(),
            host.refused.to_string(),
            host.failed().to_string(),
            host.seconds(),
            host.statuses(),
        ]
    };
    let header = ["host", "quota", "requests", "429s", "errors", "seconds", "statuses"];
    grid(header, hosts.iter().map(row))
}

/// Rows under a header, in columns as wide as their widest cell; those from the third on are aligned to the right.
fn grid<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    lines.insert(1, widths.map(|width| "─".repeat(width)));

    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(column, (cell, width))| match column {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A row of blocks a host: how many answers came in each cell of time; a second row if there were 429s among them.
///
/// Each host has a scale of its own, given at the end of its row.
pub(crate) fn chart(hosts: &[HostReport]) -> String {
    let end = hosts.iter().map(HostReport::end).max().unwrap_or_default();
    let cell = cell_size(end);
    let cells = cell_index(end, cell) + 1;

    let mut rows = Vec::new();
    for host in hosts {
        let (mut others, mut refused) = (vec![0_usize; cells], vec![0; cells]);
        for answer in &host.answers {
            let counts = if answer.is_429() { &mut refused } else { &mut others };
            counts[cell_index(answer.at, cell)] += 1;
        }
        let most = others.iter().chain(&refused).copied().max().unwrap_or(0);
        let any_refused = refused.iter().any(|count| *count > 0);
        rows.push((host.host.as_str(), most, others));
        if any_refused {
            rows.push(("  429s", most, refused));
        }
    }

    let names = rows.iter().map(|(name, ..)| name.chars().count());
    let width = names.max().unwrap_or(0);
    let mut text = format!("answers per {cell:?}\n");
    for (name, most, counts) in &rows {
        let blocks: String = counts.iter().map(|count| block(*count, *most)).collect();
        let _ = writeln!(text, "{name:<width$} │{blocks}│ █ = {most}");
    }
    let _ = writeln!(text, "{:width$} {}", "", axis(cells, cell));
    text
}

/// The smallest round time that lets `end` fit into the chart.
fn cell_size(end: Duration) -> Duration {
    let round = [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];
    let longer = (1..).map(|n| 60_000 << n);
    let mut sizes = round.into_iter().chain(longer).map(Duration::from_millis);
    let fits = |cell: &Duration| end.as_nanos() / cell.as_nanos() < CHART_WIDTH;
    sizes.find(fits).unwrap_or(Duration::MAX)
}

fn cell_index(at: Duration, cell: Duration) -> usize {
    usize::try_from(at.as_nanos() / cell.as_nanos()).unwrap_or(usize::MAX)
}

/// Only zero is blank.
fn block(count: usize, most: usize) -> char {
    let full = BLOCKS.len() - 1;
    BLOCKS[(count * full).div_ceil(most.max(1)).min(full)]
}

fn axis(cells: usize, cell: Duration) -> String {
    let label = |(place, index): (usize, u32)| {
        let room = CELLS_A_LABEL.min(cells - place);
        let label = if index == 0 { "└0".to_owned() } else { format!("└{:?}", cell * index * 10) };
        format!("{label:<room$}")
    };
    let labels: String = (0..cells).step_by(CELLS_A_LABEL).zip(0..).map(label).collect();
    format!(" {}", labels.trim_end())
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn host(name: &str, answers: &[(u64, u16)]) -> HostReport {
        let answer = |(millis, status): &(u64, u16)| Answer {
            at: Duration::from_millis(*millis),
            status: StatusCode::from_u16(*status).ok(),
        };
        HostReport {
            host: name.into(),
            quota: "10/1s".into(),
            answers: answers.iter().map(answer).collect(),
            refused: answers.iter().filter(|(_, status)| *status == 429).count(),
            ..HostReport::default()
        }
    }

    #[test]
    fn shares_stand_in_a_table() {
        let mut hosts = [host("a", &[(10, 200), (2040, 200)]), host("longer", &[])];
        hosts[0].share = Some(0.9876);
        let table = share_table(&hosts);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "host    quota  requests  429s  seconds  share",
                "──────  ─────  ────────  ────  ───────  ─────",
                "a       10/1s         2     0      2.0  98.8%",
                "longer  10/1s         0     0      0.0      -",
            ]
        );
        assert!(lines[4].starts_with("share: "));
    }

    #[test]
    fn statuses_are_counted() {
        // A status of 0 is none: the request failed.
        let answers = [(1, 404), (2, 200), (3, 0), (4, 429), (5, 200)];
        let table = status_table(&[host("a.example", &answers)]);
        assert_eq!(table.lines().last(), Some("a.example  10/1s         5     1       1      0.0  200×2 404×1 429×1"));
    }

    #[test]
    fn the_chart_has_a_cell_a_quarter_second() {
        let mut answers = vec![(0, 200); 8];
        answers.extend([(250, 200), (10_999, 200), (11_000, 200)]);
        let chart = chart(&[host("a", &answers), host("bb", &[(600, 200); 4])]);
        let lines: Vec<_> = chart.lines().collect();
        assert_eq!(lines[0], "answers per 250ms");
        assert_eq!(lines[1], format!("a  │█▁{}▁▁│ █ = 8", " ".repeat(41)));
        assert_eq!(lines[2], format!("bb │  █{}│ █ = 4", " ".repeat(42)));
        assert_eq!(lines[3], "    └0        └2.5s     └5s       └7.5s     └10s");
    }

    #[test]
    fn refusals_have_a_row_of_their_own() {
        let refused = host("a", &[(0, 200), (11, 429), (12, 429)]);
        let chart = chart(&[refused, host("b", &[(5, 200)])]);
        let lines: Vec<_> = chart.lines().collect();
        let rows = ["a      │▄ │ █ = 2", "  429s │ █│ █ = 2", "b      │█ │ █ = 1"];
        assert_eq!(lines[1..4], rows);
    }

    #[test]
    fn any_length_fits() {
        for end in [0, 599, 600, 15_000, 86_400_000, u64::MAX] {
            let chart = chart(&[host("a", &[(end, 200)])]);
            let row = chart.lines().nth(1).unwrap();
            assert!(row.chars().count() <= 70, "{end}: {row}");
        }
        assert!(!chart(&[]).is_empty());
    }
}
