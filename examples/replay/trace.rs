//! The format of decision traces: JSON lines, each trace a header and then its events.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use limiter_core::{Algorithm, Quota, Rate, Timestamp};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

/// A line of a trace.
pub(crate) enum TraceLine {
    /// Starts a trace: its quotas by their names. One alone has none.
    Header(anyhow::Result<HashMap<Option<String>, Quota>>),
    Event(anyhow::Result<Event>),
}

pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) op: Op,
    /// What is asked, by its quota, its key and its cost; usually one.
    pub(crate) demands: Vec<Demand>,
    taken: Option<Timestamp>,
    until: Option<Timestamp>,
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
    pub(crate) fn parse(line: &str) -> Self {
        match read::<Kind>(line) {
            Ok(Kind { is_header: true }) => Self::Header(read::<HeaderFields<'_>>(line).and_then(HeaderFields::build)),
            Ok(_) => Self::Event(read::<EventFields<'_>>(line).and_then(EventFields::build)),
            Err(error) => Self::Event(Err(error)),
        }
    }
}

impl Event {
    pub(crate) fn taken(&self) -> anyhow::Result<Timestamp> {
        self.taken.context("missing field `taken_us`")
    }

    pub(crate) fn until(&self) -> anyhow::Result<Timestamp> {
        self.until.context("missing field `until_us`")
    }
}

impl Op {
    /// Whether it decides on what is demanded; the others act on one key.
    pub(crate) fn asks(self) -> bool {
        matches!(self, Self::Take | Self::Peek)
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

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> anyhow::Result<T> {
    // Which line it is, the caller knows better.
    serde_json::from_str(line).map_err(|error| anyhow!(error.to_string().replace(" at line 1 column ", " at column ")))
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "trace", default, deserialize_with = "whatever")]
    is_header: bool,
}

/// True where there is a value, also null.
fn whatever<'a, D: Deserializer<'a>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

#[derive(Deserialize)]
struct EventFields<'a> {
    #[serde(borrow)]
    t_us: &'a RawValue,
    op: Op,
    quota: Option<String>,
    key: Option<String>,
    cost: Option<&'a RawValue>,
    demands: Option<Vec<DemandFields<'a>>>,
    taken_us: Option<&'a RawValue>,
    until_us: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DemandFields<'a> {
    quota: Option<String>,
    key: String,
    #[serde(borrow)]
    cost: &'a RawValue,
}

#[derive(Deserialize)]
struct HeaderFields<'a> {
    #[serde(borrow)]
    quota: Option<QuotaFields<'a>>,
    quotas: Option<HashMap<String, QuotaFields<'a>>>,
}

#[derive(Deserialize)]
struct QuotaFields<'a> {
    algorithm: String,
    #[serde(borrow)]
    rates: Vec<RateFields<'a>>,
}

#[derive(Deserialize)]
struct RateFields<'a> {
    limit: u64,
    period_us: u64,
    #[serde(borrow)]
    burst: Option<&'a RawValue>,
    resolution: Option<&'a RawValue>,
}

impl EventFields<'_> {
    fn build(self) -> anyhow::Result<Event> {
        let op = self.op;
        let cost = self.cost.map_or(Ok(0), cost)?;
        let mut demands = Vec::new();
        match self.demands {
            Some(fields) if op != Op::Reset => {
                for DemandFields { quota, key, cost: own } in fields {
                    demands.push(Demand { quota, key, cost: if op.asks() { self::cost(own)? } else { cost } });
                }
                ensure!(!demands.is_empty(), "`demands` is empty");
            }
            _ => demands.push(Demand { quota: self.quota, key: self.key.context("missing field `key`")?, cost }),
        }
        let time = |name: &str, value: Option<&RawValue>| value.map(|value| time(name, value)).transpose();
        let (taken, until) = (time("taken_us", self.taken_us)?, time("until_us", self.until_us)?);
        Ok(Event { at: self::time("t_us", self.t_us)?, op, demands, taken, until })
    }
}

impl HeaderFields<'_> {
    fn build(self) -> anyhow::Result<HashMap<Option<String>, Quota>> {
        let named = self.quotas.into_iter().flatten().map(|(name, quota)| (Some(name), quota));
        let quotas = self.quota.map(|quota| (None, quota)).into_iter().chain(named);
        let quotas = quotas.map(|(name, quota)| match quota.build() {
            Ok(quota) => Ok((name, quota)),
            Err(error) => Err(match name {
                Some(name) => error.context(format!("quota {name:?}")),
                None => error,
            }),
        });
        let quotas: HashMap<_, _> = quotas.collect::<anyhow::Result<_>>()?;
        ensure!(!quotas.is_empty(), "the header has neither a `quota` nor `quotas`");
        Ok(quotas)
    }
}

impl QuotaFields<'_> {
    fn build(&self) -> anyhow::Result<Quota> {
        let name = &self.algorithm;
        let algorithm = Algorithm::from_name(name).with_context(|| format!("unknown algorithm {name:?}"))?;
        let rates = self.rates.iter().map(|rate| rate.build(algorithm)).collect::<Result<Vec<_>, _>>()?;
        Ok(Quota::new(algorithm, rates)?)
    }
}

impl RateFields<'_> {
    /// The rate; what is for other algorithms counts for nothing.
    fn build(&self, algorithm: Algorithm) -> anyhow::Result<Rate> {
        let rate = Rate::new(self.limit, Duration::from_micros(self.period_us))?;
        Ok(match (algorithm, self.burst, self.resolution) {
            (Algorithm::Gcra, Some(burst), _) => rate.burst(whole("burst", burst)?)?,
            (Algorithm::SlidingLog, _, Some(cells)) => rate.resolution(whole("resolution", cells)?)?,
            _ => rate,
        })
    }
}

/// The instant that a number of microseconds tells.
fn time(name: &str, value: &RawValue) -> anyhow::Result<Timestamp> {
    let micros = whole::<u64>(name, value)?;
    let last = Timestamp::MAX.as_micros();
    ensure!(micros <= last, "`{name}` is {micros}, later than {last} (in 2077), the last instant there is");
    Ok(Timestamp::from_micros(micros))
}

/// A cost; what is above 2⁶⁴ fits as little as 2⁶⁴ - 1.
fn cost(value: &RawValue) -> anyhow::Result<u64> {
    let is_whole = value.get().bytes().all(|byte| byte.is_ascii_digit());
    if is_whole { Ok(value.get().parse().unwrap_or(u64::MAX)) } else { whole("cost", value) }
}

fn whole<N: FromStr>(name: &str, value: &RawValue) -> anyhow::Result<N> {
    let text = value.get();
    let Ok(number) = text.parse() else { bail!("`{name}` is {text:.40}, not a whole number that can be") };
    Ok(number)
}
