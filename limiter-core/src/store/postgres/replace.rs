//! What is rare: states are loaded, changed here by the code that the memory store runs, and put back if nobody has
//! touched their rows since.

use super::{
    client::Param,
    error::Failure,
    format::{self, Stored, bigint, number, read_row, write_row},
    store::{micros, param},
};
use crate::{
    Decision, KeyState, Quota, Timestamp,
    algorithm::{Mode, View, decide},
    store::{Adjust, Demand},
};
use tokio_postgres::{Row, types::Type};

/// A change of the states of some keys.
pub(super) struct Replace<'a> {
    pub(super) demands: &'a [Demand<'a>],
    /// The names of the demands' keys, in order, with each one's place among the demands.
    pub(super) order: &'a [(Vec<u8>, usize)],
    pub(super) injected: Option<Timestamp>,
    pub(super) change: Change,
}

#[derive(Clone, Copy)]
pub(super) enum Change {
    Decide(Mode),
    Adjust(Adjust),
}

/// A key's row and the state in it, under the demand's quota.
struct Loaded {
    version: i64,
    state: KeyState,
    /// Whether it was made under another quota.
    is_carried: bool,
}

/// Rows to put back.
pub(super) struct Writes(Vec<Write>);

struct Write {
    name: Vec<u8>,
    version: i64,
    quota: String,
    blocked_until: u64,
    idle_at_us: u64,
    now: Timestamp,
    stored: Stored,
}

impl Replace<'_> {
    /// What the statement that loads wants, with so many runs a log at most.
    pub(super) fn load(&self, most_runs: i64) -> Vec<Param> {
        let names: Vec<_> = self.order.iter().map(|(name, _)| name.clone()).collect();
        vec![param(names, Type::BYTEA_ARRAY), param(most_runs, Type::INT8)]
    }

    /// The decision, and what it leaves to be written.
    pub(super) fn apply(&self, rows: &[Row]) -> Result<(Decision, Option<Writes>), Failure> {
        if matches!(self.change, Change::Adjust(_)) && !self.demands.iter().all(Demand::holds) {
            return Err(Failure::Outdated);
        }
        let (loaded, now) = self.read(rows)?;
        let mut states: Vec<KeyState> = loaded.iter().map(|loaded| loaded.state.clone()).collect();
        let decision = match (self.change, self.demands, &mut states[..]) {
            (Change::Adjust(adjust), [demand], [state]) => state.adjust(demand.quota, now, demand.cost, adjust),
            (change, demands, states) => {
                let mode = if let Change::Decide(mode) = change { mode } else { Mode::Peek };
                let mut views: Vec<View<'_>> = demands
                    .iter()
                    .zip(states)
                    .map(|(demand, state)| View { quota: demand.quota, state, cost: demand.cost })
                    .collect();
                decide(&mut views, now, mode)
            }
        };
        // Who asked for nothing, or for what can never fit, leaves a change of the quota to others.
        let takes = |demand: &Demand<'_>| match self.change {
            Change::Decide(mode) => mode == Mode::Take && decision.retry_after().is_some() && demand.cost > 0,
            Change::Adjust(_) => true,
        };
        let is_written = |place: usize| {
            let (loaded, demand) = (&loaded[place], &self.demands[place]);
            if loaded.is_carried { takes(demand) } else { states[place] != loaded.state }
        };
        let writes: Vec<Write> = self
            .order
            .iter()
            .filter(|(_, place)| is_written(*place))
            .map(|(name, place)| {
                let (demand, state) = (&self.demands[*place], &states[*place]);
                Write {
                    name: name.clone(),
                    version: loaded[*place].version,
                    quota: demand.quota.to_string(),
                    blocked_until: state.blocked_until,
                    idle_at_us: state.idle_at_us(demand.quota, now),
                    now,
                    stored: write_row(demand.quota, state),
                }
            })
            .collect();
        Ok((decision, (!writes.is_empty()).then_some(Writes(writes))))
    }

    /// The state of the only demand's key, if its logs have fewer runs than `most_runs`.
    pub(super) fn state(&self, rows: &[Row], most_runs: i64) -> Option<(KeyState, Timestamp)> {
        let runs: Option<Vec<i64>> = rows.first()?.try_get(7).ok()?;
        if runs.is_some_and(|runs| i64::try_from(runs.len()).is_ok_and(|runs| runs >= most_runs)) {
            return None;
        }
        let (loaded, now) = self.read(rows).ok()?;
        Some((loaded.into_iter().next()?.state, now))
    }

    /// The states in the order of the demands, and the time.
    fn read(&self, rows: &[Row]) -> Result<(Vec<Loaded>, Timestamp), Failure> {
        let mut now = self.injected;
        if now.is_none() {
            for row in rows {
                let at: i64 = row.try_get(9).map_err(Failure::Unreadable)?;
                now = now.max(Some(Timestamp::from_micros(number(at))));
            }
        }
        let now = now.unwrap_or_default();
        let mut loaded: Vec<Option<Loaded>> = self.demands.iter().map(|_| None).collect();
        for (row, (_, place)) in rows.iter().zip(self.order) {
            loaded[*place] = Some(read(row, &self.demands[*place], now)?);
        }
        let loaded: Vec<Loaded> = loaded.into_iter().flatten().collect();
        if loaded.len() < self.demands.len() {
            return Err(format::SHORT);
        }
        Ok((loaded, now))
    }
}

fn read(row: &Row, demand: &Demand<'_>, now: Timestamp) -> Result<Loaded, Failure> {
    let (quota, wrong) = (demand.quota, Failure::Unreadable);
    let Some(version) = row.try_get(1).map_err(wrong)? else {
        return Ok(Loaded { version: 0, state: KeyState::default(), is_carried: false });
    };
    let old: &str = row.try_get(2).map_err(wrong)?;
    let old: Quota =
        old.parse().map_err(|_| Failure::Garbage { what: "a key's row has a quota that cannot be read" })?;
    let blocked_until = number(row.try_get(4).map_err(wrong)?);
    let rates: Option<Vec<i32>> = row.try_get(6).map_err(wrong)?;
    let bigints = |column: usize| row.try_get::<_, Option<Vec<i64>>>(column).map_err(wrong);
    let runs =
        rates.into_iter().flatten().zip(bigints(7)?.into_iter().flatten()).zip(bigints(8)?.into_iter().flatten());
    let stored = Stored {
        cells: row.try_get(3).map_err(wrong)?,
        rest: row.try_get(5).map_err(wrong)?,
        runs: runs.map(|((rate, before), stamp)| (rate, before, stamp)).collect(),
    };
    let state = read_row(&old, blocked_until, &stored)?;
    let is_carried = old != *quota;
    if is_carried && !demand.holds() {
        return Err(Failure::Outdated); // asked after the row was read: it is replaced only if nobody wrote it since
    }
    let state = if is_carried { state.carried_over(&old, quota, now) } else { state };
    Ok(Loaded { version, state, is_carried })
}

impl Writes {
    pub(super) fn into_params(self, patience: String, injected: Option<Timestamp>) -> Vec<Param> {
        let all = &self.0;
        let runs = || (1..).zip(all).flat_map(|(place, write)| write.stored.runs.iter().map(move |run| (place, run)));
        let bigints = |of: fn(&Write) -> i64| param(all.iter().map(of).collect::<Vec<i64>>(), Type::INT8_ARRAY);
        let texts = |of: fn(&Write) -> Option<String>| {
            param(all.iter().map(of).collect::<Vec<Option<String>>>(), Type::TEXT_ARRAY)
        };
        vec![
            param(all.iter().map(|write| write.name.clone()).collect::<Vec<_>>(), Type::BYTEA_ARRAY),
            bigints(|write| write.version),
            texts(|write| Some(write.quota.clone())),
            texts(|write| Some(array(&write.stored.cells))),
            bigints(|write| bigint(write.blocked_until)),
            texts(|write| write.stored.rest.as_deref().map(array)),
            bigints(|write| bigint(write.idle_at_us)),
            bigints(|write| bigint(write.idle_at_us) - micros(write.now)),
            param(injected.map(micros), Type::INT8),
            param(runs().map(|(place, _)| place).collect::<Vec<i32>>(), Type::INT4_ARRAY),
            param(runs().map(|(_, run)| run.0).collect::<Vec<i32>>(), Type::INT4_ARRAY),
            param(runs().map(|(_, run)| run.1).collect::<Vec<i64>>(), Type::INT8_ARRAY),
            param(runs().map(|(_, run)| run.2).collect::<Vec<i64>>(), Type::INT8_ARRAY),
            param(patience, Type::TEXT),
        ]
    }
}

/// Numbers as the text of an array, which can be in an array of such texts.
fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
