//! What is seen while the crawl runs: on a terminal a row a host, else a line every two seconds. How many wait and which
//! host has asked for a pause is the limiter's own word.

use std::{
    future::Future,
    io::{self, IsTerminal},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval_at};

use super::{
    client::{Paced, Standing},
    crawl::Host,
};

/// With more hosts than this, only their sum is shown.
const MOST_HOSTS: usize = 12;

/// Shows how far the hosts are until `work` is done.
pub(crate) async fn while_running<W: Future>(
    hosts: &[Arc<Host>],
    client: &Paced,
    work: W,
) -> anyhow::Result<W::Output> {
    if hosts.is_empty() {
        return Ok(work.await);
    }
    let display = if io::stderr().is_terminal() { Display::bars(hosts)? } else { Display::Lines(groups(hosts)) };
    let mut ticks = interval_at(Instant::now() + display.period(), display.period());
    let mut work = pin!(work);
    loop {
        tokio::select! {
            output = &mut work => {
                display.finish(client).await;
                return Ok(output);
            }
            _ = ticks.tick() => display.update(client).await,
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

    async fn update(&self, client: &Paced) {
        match self {
            Self::Bars(bars) => {
                for (group, bar) in bars {
                    let now = group.now(client).await;
                    bar.set_position(now.done as u64);
                    bar.set_message(now.row());
                }
            }
            Self::Lines(groups) => {
                let elapsed = groups[0].hosts[0].elapsed().as_secs_f64();
                let mut parts = Vec::new();
                for group in groups {
                    parts.push(format!("{} {}", group.name, group.now(client).await.words(group.total())));
                }
                eprintln!("{elapsed:4.0} s  {}", parts.join("  "));
            }
        }
    }

    async fn finish(&self, client: &Paced) {
        if let Self::Bars(bars) = self {
            self.update(client).await;
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
    standing: Standing,
}

impl Now {
    /// Aligned, for below the same of other hosts.
    fn row(&self) -> String {
        let Self { rate, refused, standing, .. } = self;
        let row = format!("{rate:>3}/s  {:>4} queued  429s: {refused}", standing.waiting);
        match self.pause() {
            Some(pause) => format!("{row}  paused for {pause} s"),
            None => row,
        }
    }

    fn words(&self, total: usize) -> String {
        let Self { done, rate, refused, standing } = self;
        let pause = self.pause().map_or(String::new(), |pause| format!(", paused for {pause} s"));
        format!("{done}/{total} ({rate}/s, {} queued, 429s: {refused}{pause})", standing.waiting)
    }

    /// The seconds that a pause still lasts.
    fn pause(&self) -> Option<u64> {
        let left = self.standing.paused;
        (!left.is_zero()).then(|| left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }
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

    async fn now(&self, client: &Paced) -> Now {
        let standing = match self.hosts {
            [host] => match host.url() {
                Some(url) => client.standing(url).await,
                None => Standing::default(),
            },
            _ => client.standing_of_all().await,
        };
        let mut now = Now { done: 0, rate: 0, refused: 0, standing };
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
