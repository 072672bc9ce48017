//! What scripts answer, in Rust's types.

use super::error::Failure;
use crate::Timestamp;
use redis::Value;

/// A script's answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: Status,
    /// The instant at which the script ran.
    pub(super) now: Timestamp,
    pub(super) parts: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Denied,
    Allowed,
    /// A state was made under another quota: nothing was done.
    Changed,
    /// What is asked is rare, and not done by the script.
    Rare,
    /// Somebody else changed the state meanwhile: nothing was done.
    Stale,
}

/// A state as it is stored.
#[derive(Debug)]
pub(super) enum Seen {
    Absent,
    /// All of it.
    Value(Vec<u8>),
    /// A log: its beginning, all of it where it is short, and the units that each rate has in use.
    Log {
        head: Vec<u8>,
        whole: Vec<u8>,
        used: Vec<u64>,
    },
}

impl Reply {
    pub(super) fn read(value: Value) -> Result<Self, Failure> {
        let Value::Array(mut parts) = value else { return Err(Failure::Answer) };
        let (&[Value::Int(status), Value::Int(now), ..], true) = (&parts[..], parts.len() >= 2) else {
            return Err(Failure::Answer);
        };
        let status = match status {
            -1 => return Err(Failure::Foreign),
            0 => Status::Denied,
            1 => Status::Allowed,
            2 => Status::Changed,
            3 => Status::Rare,
            4 => Status::Stale,
            _ => return Err(Failure::Answer),
        };
        let now = Timestamp::from_micros(u64::try_from(now).unwrap_or(0));
        parts.drain(..2);
        Ok(Self { status, now, parts })
    }

    /// The state that the demand at `place` found.
    pub(super) fn seen(&self, place: usize) -> Result<Seen, Failure> {
        match self.parts.get(place) {
            Some(Value::BulkString(value)) if value.is_empty() => Ok(Seen::Absent),
            Some(Value::BulkString(value)) => Ok(Seen::Value(value.clone())),
            Some(Value::Array(parts)) => match &parts[..] {
                [Value::BulkString(head), Value::BulkString(whole), used @ ..] => {
                    let used = used.iter().map(number).collect::<Result<_, _>>()?;
                    Ok(Seen::Log { head: head.clone(), whole: whole.clone(), used })
                }
                _ => Err(Failure::Answer),
            },
            _ => Err(Failure::Answer),
        }
    }

    /// The numbers of a log at `place`; `None` where another state is.
    pub(super) fn numbers(&self, place: usize) -> Result<Option<Vec<u64>>, Failure> {
        match self.parts.get(place) {
            Some(Value::Array(numbers)) => numbers.iter().map(number).collect::<Result<_, _>>().map(Some),
            _ => Ok(None),
        }
    }
}

impl Seen {
    /// What tells whether it is still stored.
    pub(super) fn mark(&self) -> &[u8] {
        match self {
            Self::Absent => &[],
            Self::Value(value) => value,
            Self::Log { head, .. } => head,
        }
    }

    /// What of it there is to decode.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Log { whole, .. } if !whole.is_empty() => whole,
            other => other.mark(),
        }
    }
}

fn number(value: &Value) -> Result<u64, Failure> {
    match value {
        Value::Int(number) => u64::try_from(*number).map_err(|_| Failure::Answer),
        _ => Err(Failure::Answer),
    }
}
