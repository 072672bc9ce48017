//! What can be wrong with a server, looked for before the first call; and sweeping.

use super::{
    client::Node,
    error::Failure,
    format, name,
    reply::Seen,
    work::{Asked, Work},
};
use crate::{
    Quota, Rate, Timestamp,
    store::{Adjust, Demand, Scope},
};
use redis::{Value, cmd};
use std::{collections::HashMap, fmt};
use tokio::time::Instant;

/// What may go wrong later with a server that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RedisWarning {
    /// Once its memory is full, the server drops keys that still limit something, and what they counted is admitted again.
    EvictsLiveKeys {
        /// Its `maxmemory-policy`; allowed is `noeviction`.
        policy: String,
    },
}

impl fmt::Display for RedisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EvictsLiveKeys { policy } => write!(
                f,
                "the server's maxmemory-policy is {policy}: when its memory is full it drops limits that still count; set it \
                 to noeviction"
            ),
        }
    }
}

/// The limiter whose key `ready` writes. No user's limiter is named so by chance, and it would do no harm.
const PROBE: &str = "\0ready";

/// Names looked at together in a sweep.
const BATCH: usize = 128;

impl Work {
    /// Connects to every server that takes writes, checks it, and writes a key.
    pub(super) async fn ready(&self) -> Result<Vec<RedisWarning>, Failure> {
        let deadline = self.deadline();
        let mut warnings = Vec::new();
        for node in self.servers.primaries(deadline).await? {
            for warning in check(&node, deadline).await? {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        let rate = Rate::per_second(1).map_err(|_| Failure::Answer)?;
        let (scope, quota) = (Scope::new(PROBE), Quota::from(rate));
        let probe = Asked::new(&self.names, &Demand::new(&scope, b"", &quota, 1))?;
        self.adjust(&probe, None, Adjust::Charge, deadline).await?;
        Ok(warnings)
    }

    /// Deletes what is idle in the whole namespace; the number of keys.
    pub(super) async fn sweep(&self, now: Option<Timestamp>) -> Result<usize, Failure> {
        let mut swept = 0;
        for node in self.servers.primaries(self.deadline()).await? {
            let mut cursor = 0;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(self.names.pattern()).arg("COUNT").arg(BATCH);
                let answer = node.call(&scan, self.deadline()).await?;
                let (next, names): (u64, Vec<Vec<u8>>) =
                    redis::from_redis_value(answer).map_err(|_| Failure::Answer)?;
                let ours: Vec<Vec<u8>> = names.into_iter().filter(|name| self.names.is_ours(name)).collect();
                for batch in self.batches(ours) {
                    swept += self.sweep_batch(&batch, now).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(swept)
    }

    /// Names that one script may look at.
    fn batches(&self, names: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
        if !self.servers.is_cluster() {
            return vec![names];
        }
        let mut by_slot: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
        for name in names {
            by_slot.entry(name::slot(&name)).or_default().push(name);
        }
        by_slot.into_values().collect()
    }

    async fn sweep_batch(&self, names: &[Vec<u8>], now: Option<Timestamp>) -> Result<usize, Failure> {
        if names.is_empty() {
            return Ok(0);
        }
        let mut swept = 0;
        let borrowed: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let (all, at) = self.look(&borrowed, now, self.deadline()).await?;
        for (name, seen) in names.iter().zip(all).filter(|(_, seen)| is_idle(seen, at)) {
            if self.swap(name, &seen, &[], 0, now, self.deadline()).await? {
                swept += 1;
            }
        }
        Ok(swept)
    }
}

fn is_idle(seen: &Seen, now: Timestamp) -> bool {
    let Some((quota, state)) = format::decode(seen.bytes()) else { return false };
    match seen {
        Seen::Log { used, .. } => state.blocked_until <= now.as_micros() && used.iter().all(|units| *units == 0),
        _ => state.is_idle(&quota, now),
    }
}

/// Checks one server.
async fn check(node: &Node, deadline: Instant) -> Result<Vec<RedisWarning>, Failure> {
    let info = |section: &'static str| async move {
        let mut command = cmd("INFO");
        command.arg(section);
        match node.call(&command, deadline).await {
            Ok(value) => Ok(text(&value)),
            // Not everybody may ask; what is wrong then shows later.
            Err(failure) if failure.is_refused(&["NOPERM"]) => Ok(String::new()),
            Err(failure) => Err(failure),
        }
    };
    let server = info("server").await?;
    if let Some(version) = field(&server, "redis_version") {
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < 7) {
            return Err(Failure::Version(version.to_owned()));
        }
    }
    let memory = info("memory").await?;
    let policy = field(&memory, "maxmemory_policy").unwrap_or("noeviction");
    let is_bounded = field(&memory, "maxmemory").is_some_and(|most| most != "0");
    let evicts = is_bounded && policy != "noeviction";
    Ok(evicts.then(|| RedisWarning::EvictsLiveKeys { policy: policy.to_owned() }).into_iter().collect())
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
