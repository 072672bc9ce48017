//! How a crawl went, and what was not as it should be.

use std::{fmt, sync::Arc};

use super::{
    crawl::Host,
    report::{self, HostReport},
};

/// The least share of each quota that the limiter is to use.
const LEAST_SHARE: f64 = 0.95;

/// How the crawl went; its display is the report.
pub(crate) struct Outcome {
    pub(crate) hosts: Vec<HostReport>,
    /// What was not as it should be; empty after a good crawl.
    pub(crate) failures: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) table: fn(&[HostReport]) -> String,
}

impl Outcome {
    /// What came of `hosts`, each with its quota as text.
    pub(crate) fn new(hosts: &[Arc<Host>], quotas: Vec<String>, interrupted: bool) -> Self {
        let report = |(host, quota): (&Arc<Host>, String)| {
            let answers = host.answers().clone();
            HostReport {
                host: host.name.clone(),
                quota,
                refused: answers.iter().filter(|answer| answer.is_429()).count(),
                answers,
                share: None,
                first_error: host.first_error().map(str::to_owned),
            }
        };
        Self {
            hosts: hosts.iter().zip(quotas).map(report).collect(),
            failures: Vec::new(),
            interrupted,
            table: report::status_table,
        }
    }

    fn requests(&self) -> usize {
        self.hosts.iter().map(|host| host.answers.len()).sum()
    }

    /// An interruption, a 429 and a request without an answer are failures.
    pub(crate) fn judge(&mut self) {
        if self.interrupted {
            self.failures.push("interrupted".to_owned());
        }
        let requests = self.requests();
        let refused: usize = self.hosts.iter().map(|host| host.refused).sum();
        if refused > 0 {
            self.failures.push(format!("{refused} of {requests} requests were answered with 429"));
        }
        for host in &self.hosts {
            if let Some(error) = &host.first_error {
                let (name, failed) = (&host.host, host.failed());
                self.failures.push(format!("{failed} of the requests to {name} got no answer; the first: {error}"));
            }
        }
    }

    /// So is a share that is too small.
    pub(crate) fn judge_shares(&mut self) {
        for host in &self.hosts {
            let name = &host.host;
            match host.share {
                Some(share) if share >= LEAST_SHARE => {}
                Some(share) => self.failures.push(format!(
                    "{name}: {:.1}% of the quota was used, less than {:.0}%",
                    share * 100.0,
                    LEAST_SHARE * 100.0
                )),
                None => self.failures.push(format!("{name}: too short a crawl to tell its share")),
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hosts.is_empty() {
            return f.write_str("nothing was left to crawl");
        }
        let (table, chart) = ((self.table)(&self.hosts), report::chart(&self.hosts));
        write!(f, "\n{table}\n{chart}")?;
        if self.failures.is_empty() {
            write!(f, "\n{} requests, not one 429", self.requests())?;
        }
        Ok(())
    }
}
