//! The format of decision traces: JSON lines, each trace a header and then its events.

use std::{collections::HashMap, fmt, time::Duration};

use anyhow::{Context, anyhow};
use limiter_core::{Algorithm, Quota, QuotaError, Rate};
use serde::{Deserialize, de::IgnoredAny};

/// A line of a trace.
pub(crate) enum TraceLine {
    /// Starts a trace: its quotas by their names. One alone has none.
    Header(HashMap<Option<String>, Quota>),
    Event(Event),
}

#[derive(Deserialize)]
pub(crate) struct Event {
    pub(crate) t_us: u64,
    pub(crate) op: Op,
    quota: Option<String>,
    key: Option<String>,
    #[serde(default)]
    cost: u64,
    demands: Option<Vec<Demand>>,
    taken_us: Option<u64>,
    until_us: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    Take,
    Peek,
    Charge,
    Refund,
    Block,
    Reset,
}

#[derive(Deserialize)]
pub(crate) struct Demand {
    pub(crate) quota: Option<String>,
    pub(crate) key: String,
    pub(crate) cost: u64,
}

/// What an answer says, in the trace format's own words.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) remaining: u64,
    pub(crate) reset_after: Duration,
    /// `None` where the cost can never fit.
    pub(crate) retry_after: Option<Duration>,
    /// The demands that deny, where there are several.
    pub(crate) denied: Option<Vec<usize>>,
}

impl TraceLine {
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        let Kind { trace } = serde_json::from_str(line)?;
        if trace.is_none() {
            return Ok(Self::Event(serde_json::from_str(line)?));
        }
        let HeaderFields { quota, quotas } = serde_json::from_str(line)?;
        let named = quotas.into_iter().flatten().map(|(name, quota)| (Some(name), quota));
        let quotas = quota.map(|quota| (None, quota)).into_iter().chain(named);
        Ok(Self::Header(quotas.map(|(name, quota)| Ok((name, quota.build()?))).collect::<anyhow::Result<_>>()?))
    }
}

impl Event {
    /// What is asked, by its quota, its key and its cost; usually one.
    pub(crate) fn demands(&mut self) -> anyhow::Result<Vec<Demand>> {
        match self.demands.take() {
            Some(demands) if demands.is_empty() => Err(anyhow!("`demands` is empty")),
            Some(demands) => Ok(demands),
            None => Ok(vec![Demand {
                quota: self.quota.take(),
                key: self.key.take().context("missing field `key`")?,
                cost: self.cost,
            }]),
        }
    }

    pub(crate) fn taken_us(&self) -> anyhow::Result<u64> {
        self.taken_us.context("missing field `taken_us`")
    }

    pub(crate) fn until_us(&self) -> anyhow::Result<u64> {
        self.until_us.context("missing field `until_us`")
    }
}

impl fmt::Display for Answer {
    /// A JSON object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, remaining, reset_after, retry_after, denied } = self;
        let reset_after = reset_after.as_micros();
        write!(f, r#"{{"allowed": {allowed}, "remaining": {remaining}, "reset_after_us": {reset_after}"#)?;
        match retry_after {
            Some(wait) => write!(f, r#", "retry_after_us": {}"#, wait.as_micros())?,
            None => write!(f, r#", "retry_after_us": null"#)?,
        }
        if let Some(denied) = denied {
            write!(f, r#", "denied": {denied:?}"#)?;
        }
        write!(f, "}}")
    }
}

#[derive(Deserialize)]
struct Kind {
    trace: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct HeaderFields {
    quota: Option<QuotaFields>,
    quotas: Option<HashMap<String, QuotaFields>>,
}

#[derive(Deserialize)]
struct QuotaFields {
    algorithm: String,
    rates: Vec<RateFields>,
}

#[derive(Deserialize)]
struct RateFields {
    limit: u64,
    period_us: u64,
    burst: Option<u64>,
    resolution: Option<u32>,
}

impl QuotaFields {
    fn build(&self) -> anyhow::Result<Quota> {
        let name = &self.algorithm;
        let algorithm = Algorithm::from_name(name).with_context(|| format!("unknown algorithm {name:?}"))?;
        let rates = self.rates.iter().map(RateFields::build).collect::<Result<Vec<_>, _>>()?;
        Ok(Quota::new(algorithm, rates)?)
    }
}

impl RateFields {
    fn build(&self) -> Result<Rate, QuotaError> {
        let mut rate = Rate::new(self.limit, Duration::from_micros(self.period_us))?;
        if let Some(units) = self.burst {
            rate = rate.burst(units)?;
        }
        if let Some(cells) = self.resolution {
            rate = rate.resolution(cells)?;
        }
        Ok(rate)
    }
}
