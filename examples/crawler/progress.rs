//! What is seen while the crawl runs: a bar a host on a terminal, else a line every two seconds.

use std::{
    future::Future,
    io::{self, IsTerminal},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval_at};

use super::crawl::Host;

/// With more hosts than this, only their sum is shown.
const MOST_HOSTS: usize = 12;

/// Shows how far the hosts are until `work` is done.
pub(crate) async fn while_running<W: Future>(hosts: &[Arc<Host>], work: W) -> anyhow::Result<W::Output> {
    let display = if io::stderr().is_terminal() { Display::bars(hosts)? } else { Display::Lines(groups(hosts)) };
    let mut ticks = interval_at(Instant::now() + display.period(), display.period());
    let mut work = pin!(work);
    loop {
        tokio::select! {
            output = &mut work => {
                display.finish();
                return Ok(output);
            }
            _ = ticks.tick() => display.update(),
        }
    }
}

enum Display<'a> {
    Bars(Vec<(Group<'a>, ProgressBar)>),
    Lines(Vec<Group<'a>>),
}

impl<'a> Display<'a> {
    fn bars(hosts: &'a [Arc<Host>]) -> anyhow::Result<Self> {
        let groups = groups(hosts);
        let widest = |width: fn(&Group<'_>) -> usize| groups.iter().map(width).max().unwrap_or(0);
        let name_width = widest(|group| group.name.chars().count());
        let count_width = widest(|group| group.total().to_string().len());
        let style = ProgressStyle::with_template(&format!(
            "{{prefix:{name_width}}} {{bar:30}} {{pos:>{count_width}}}/{{len:{count_width}}} {{msg}}"
        ))?
        .progress_chars("█▉▊▋▌▍▎▏░");
        let screen = MultiProgress::new();
        let add = |group: Group<'a>| {
            let bar = screen.add(ProgressBar::new(group.total() as u64).with_style(style.clone()));
            bar.set_prefix(group.name.to_owned());
            (group, bar)
        };
        Ok(Self::Bars(groups.into_iter().map(add).collect()))
    }

    fn period(&self) -> Duration {
        match self {
            Self::Bars(_) => Duration::from_millis(100),
            Self::Lines(_) => Duration::from_secs(2),
        }
    }

    fn update(&self) {
        match self {
            Self::Bars(bars) => {
                for (group, bar) in bars {
                    let Now { done, rate, refused } = group.now();
                    bar.set_position(done as u64);
                    bar.set_message(format!("{rate:>3}/s  429s: {refused}"));
                }
            }
            Self::Lines(groups) => {
                let elapsed = groups[0].hosts[0].elapsed().as_secs_f64();
                let parts: Vec<_> = groups
                    .iter()
                    .map(|group| {
                        let Now { done, rate, refused } = group.now();
                        let (name, total) = (group.name, group.total());
                        format!("{name} {done}/{total} ({rate}/s, 429s: {refused})")
                    })
                    .collect();
                eprintln!("{elapsed:4.0} s  {}", parts.join("  "));
            }
        }
    }

    fn finish(&self) {
        if let Self::Bars(bars) = self {
            self.update();
            for (_, bar) in bars {
                bar.abandon();
            }
            eprintln!();
        }
    }
}

/// Hosts that share a bar.
struct Group<'a> {
    name: &'a str,
    hosts: &'a [Arc<Host>],
}

struct Now {
    done: usize,
    /// Answers in the last second.
    rate: usize,
    refused: usize,
}

fn groups(hosts: &[Arc<Host>]) -> Vec<Group<'_>> {
    if hosts.len() > MOST_HOSTS {
        return vec![Group { name: "all hosts", hosts }];
    }
    hosts.chunks(1).map(|hosts| Group { name: &hosts[0].name, hosts }).collect()
}

impl Group<'_> {
    fn total(&self) -> usize {
        self.hosts.iter().map(|host| host.total()).sum()
    }

    fn now(&self) -> Now {
        let mut now = Now { done: 0, rate: 0, refused: 0 };
        for host in self.hosts {
            let a_second_ago = host.elapsed().saturating_sub(Duration::from_secs(1));
            let answers = host.answers();
            let old = answers.partition_point(|answer| answer.at < a_second_ago);
            now.done += answers.len();
            now.rate += answers.len() - old;
            now.refused += answers.iter().filter(|answer| answer.is_429()).count();
        }
        now
    }
}
