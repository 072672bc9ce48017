//! States on their way from the file through a decision and back.
//!
//! The older runs of a long log stand in blocks. This connection remembers such logs, and reads only the blocks that others
//! have written since; a take then writes the key's row, and a block once in a while.

use super::{
    connection::{Access, Connection, Place, Row},
    error::Fault,
    format::{self, AllBlocks, BLOCK, Blocks, Garbled},
    queue::Asked,
};
use crate::{
    KeyState, Quota, Timestamp,
    algorithm::{Cells, Log, Logs},
    store::Scope,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Runs that are remembered at most, 16 bytes each, but for the last log alone.
const MOST_RUNS: u64 = 1 << 22;

/// An idle state is kept this much longer when it was written under an injected clock, which may step back.
const LONGER: Duration = Duration::from_secs(3600);

/// The logs in blocks that this connection has read or written last.
#[derive(Default)]
pub(super) struct States {
    kept: HashMap<Place, Kept>,
    runs: u64,
}

struct Kept {
    id: i64,
    rev: i64,
    blocks: AllBlocks,
    logs: Logs,
}

/// A state inside a transaction.
pub(super) struct Loaded {
    pub(super) state: KeyState,
    place: Place,
    /// The row it came from.
    row: Option<Row>,
    blocks: AllBlocks,
    /// What it was before it was carried over to another quota.
    before: Option<KeyState>,
}

/// The time of a call.
#[derive(Clone, Copy)]
pub(super) struct Now {
    /// The instant that is decided at.
    pub(super) at: Timestamp,
    /// The file's own time, where the other was injected.
    pub(super) own: Timestamp,
    pub(super) is_injected: bool,
}

impl States {
    /// The state of a key, as it was written.
    pub(super) fn load(
        &mut self,
        connection: &mut Connection,
        scope: &Scope,
        key: &[u8],
        quota: &Quota,
    ) -> Result<Loaded, Fault> {
        let Some(scope) = connection.scope(scope, Access::Read)? else {
            return Ok(Loaded::new((NO_SCOPE, key.to_vec())));
        };
        let mut loaded = Loaded::new((scope, key.to_vec()));
        let Some(row) = connection.row(scope, key)? else { return Ok(loaded) };
        (loaded.state, loaded.blocks) = if row.quota == quota.fingerprint() {
            read(&row, quota)?
        } else {
            read(&row, &connection.quota(row.quota)?)?
        };
        if let Cells::SlidingLog(logs) = &mut loaded.state.cells
            && loaded.blocks.iter().any(|blocks| !blocks.is_none())
        {
            let kept =
                self.forget(&loaded.place).filter(|kept| kept.id == row.id && kept.blocks.len() == loaded.blocks.len());
            match kept {
                Some(kept) if kept.rev == row.rev => *logs = kept.logs,
                kept => fill(connection, row.id, logs, &loaded.blocks, kept)?,
            }
        }
        loaded.row = Some(row);
        Ok(loaded)
    }

    /// Writes the state, and remembers it.
    pub(super) fn save(
        &mut self,
        connection: &mut Connection,
        mut loaded: Loaded,
        scope: &Scope,
        quota: &Quota,
        now: Now,
    ) -> Result<(), Fault> {
        if loaded.row.is_none() {
            loaded.place.0 = connection.scope(scope, Access::Write)?.unwrap_or(NO_SCOPE);
        }
        connection.keep_quota(quota)?;
        let Loaded { mut state, place, row, mut blocks, before } = loaded;
        let logs = match &state.cells {
            Cells::SlidingLog(logs) => logs.each().len(),
            _ => 0,
        };
        let goes_on = before.is_none() && blocks.len() == logs;
        let (id, rev) = match &row {
            Some(row) if goes_on => (row.id, row.rev.wrapping_add(1)),
            _ => (new_id(), 0),
        };
        if !goes_on {
            if let Some(row) = row.as_ref().filter(|_| blocks.iter().any(|blocks| !blocks.is_none())) {
                connection.delete_blocks_of(row.id)?;
            }
            blocks = AllBlocks::from_elem(Blocks::default(), logs);
        }
        if let Cells::SlidingLog(logs) = &mut state.cells {
            for (i, (log, blocks)) in (0..).zip(logs.each_mut().iter_mut().zip(&mut blocks)) {
                move_to_blocks(connection, (id, i, rev), log, blocks)?;
            }
        }
        let expires = expiry(&state, quota, now);
        let keeps_expiry = goes_on && row.as_ref().is_some_and(|row| covers(row.expires, expires, now));
        let new = Row {
            id,
            rev,
            quota: quota.fingerprint(),
            at: if now.is_injected { Timestamp::MIN } else { now.at },
            expires: expires.saturating_add(slack(expires, now)),
            state: format::state(&state, &blocks),
        };
        if keeps_expiry {
            connection.update_row(place.0, &place.1, &new)?;
        } else {
            connection.put_row(place.0, &place.1, &new)?;
        }
        self.remember(place, id, rev, blocks, state);
        Ok(())
    }

    /// Remembers what was read and not written.
    pub(super) fn put_back(&mut self, loaded: Loaded) {
        if let Some(row) = loaded.row {
            let state = loaded.before.unwrap_or(loaded.state);
            self.remember(loaded.place, row.id, row.rev, loaded.blocks, state);
        }
    }

    pub(super) fn delete(&mut self, connection: &mut Connection, place: &Place, id: i64) -> Result<(), Fault> {
        self.forget(place);
        connection.delete_row(place.0, &place.1)?;
        connection.delete_blocks_of(id)
    }

    /// Forgets everything, as after a transaction that did not take place.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.runs = 0;
    }

    fn remember(&mut self, place: Place, id: i64, rev: i64, blocks: AllBlocks, state: KeyState) {
        if let Cells::SlidingLog(logs) = state.cells
            && blocks.iter().any(|blocks| !blocks.is_none())
        {
            let runs = length(&logs);
            if self.runs + runs > MOST_RUNS {
                self.clear();
            }
            self.runs += runs;
            self.kept.insert(place, Kept { id, rev, blocks, logs });
        }
    }

    fn forget(&mut self, place: &Place) -> Option<Kept> {
        let kept = self.kept.remove(place)?;
        self.runs = self.runs.saturating_sub(length(&kept.logs));
        Some(kept)
    }
}

impl Loaded {
    fn new(place: Place) -> Self {
        Self { state: KeyState::default(), place, row: None, blocks: AllBlocks::new(), before: None }
    }

    /// The latest instant of the file's own time at which it was written.
    pub(super) fn written_at(&self) -> Timestamp {
        self.row.as_ref().map_or(Timestamp::MIN, |row| row.at)
    }

    /// Carries units in use over where the state was made under another quota.
    pub(super) fn carry_over(
        &mut self,
        connection: &mut Connection,
        asked: &Asked,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let quota = &asked.quota;
        if let Some(row) = &self.row
            && row.quota != quota.fingerprint()
        {
            if !asked.basis.holds() {
                return Err(Fault::Outdated);
            }
            let carried = self.state.carried_over(&connection.quota(row.quota)?, quota, at);
            self.before = Some(std::mem::replace(&mut self.state, carried));
        }
        Ok(())
    }

    /// Whether it was carried over: who only looks leaves that to who writes.
    pub(super) fn is_carried_over(&self) -> bool {
        self.before.is_some()
    }

    /// Whether there is neither a row nor anything to keep.
    pub(super) fn is_nothing(&self) -> bool {
        self.row.is_none() && self.state.is_untouched()
    }

    /// What the state is now, to see later whether a decision changed it; logs know that themselves.
    pub(super) fn mark(&self) -> Option<KeyState> {
        (!matches!(self.state.cells, Cells::SlidingLog(_))).then(|| self.state.clone())
    }

    /// Whether the state changed since [`mark`](Self::mark).
    pub(super) fn has_changed(&self, mark: Option<&KeyState>) -> bool {
        match (&self.state.cells, mark) {
            (Cells::SlidingLog(logs), None) => logs.each().iter().any(|log| log.touched() < u64::MAX),
            (_, mark) => mark != Some(&self.state),
        }
    }
}

/// The state in a row, of its logs the newest runs only. That is enough to tell whether it is idle.
pub(super) fn read(row: &Row, quota: &Quota) -> Result<(KeyState, AllBlocks), Fault> {
    format::read_state(&row.state, quota).map_err(|garbled| Fault::Garbled { what: "the key's state", garbled })
}

/// In place of the number of a limiter that was never written.
const NO_SCOPE: i64 = 0;

/// Puts the runs in blocks before the newest ones, which `logs` has. What `kept` has of them is not read again.
fn fill(connection: &Connection, id: i64, logs: &mut Logs, blocks: &[Blocks], kept: Option<Kept>) -> Result<(), Fault> {
    let known_rev = kept.as_ref().map_or(-1, |kept| kept.rev);
    let mut kept_logs = kept.map(|kept| kept.logs.into_each()).into_iter().flatten();
    for (i, (log, blocks)) in (0..).zip(logs.each_mut().iter_mut().zip(blocks)) {
        let known = kept_logs.next();
        let mut found = connection.last_blocks(id, i, blocks.from, known_rev)?;
        let new_from = |found: &[(u64, Vec<u8>)]| found.first().map_or(blocks.to, |(first, _)| *first);
        let is_known = |log: &Log| log.numbers().start <= blocks.oldest && new_from(&found) <= log.numbers().end;
        let mut whole = match known.filter(is_known) {
            _ if new_from(&found) <= blocks.oldest => Log::from_kept(new_from(&found), []),
            // What is before the new blocks was in blocks when this connection saw it, and has not been written since.
            Some(log) => log,
            None => {
                found = connection.last_blocks(id, i, blocks.from, -1)?;
                Log::from_kept(blocks.from, [])
            }
        };
        let start = new_from(&found);
        let newest = log.runs_of(0..u64::MAX);
        let runs = read_blocks(start, blocks.to, &found)?.into_iter().chain(newest).collect::<Vec<_>>();
        let before = whole.runs_of(start.saturating_sub(1)..start).map(|(stamp, _)| stamp).last();
        let grows =
            runs.windows(2).all(|pair| pair[0].0 < pair[1].0) && runs.first().is_none_or(|run| before < Some(run.0));
        if !grows || whole.numbers().end < start {
            return Err(Fault::Garbled { what: GARBLED_BLOCK, garbled: Garbled::Bytes });
        }
        whole.put_from(start, runs);
        whole.drop_before(blocks.oldest);
        whole.set_kept();
        *log = whole;
    }
    Ok(())
}

const GARBLED_BLOCK: &str = "a part of the key's log";

/// The runs of these blocks, if they are all there from `start` to `end`.
fn read_blocks(start: u64, end: u64, blocks: &[(u64, Vec<u8>)]) -> Result<Vec<(u64, u64)>, Fault> {
    let garbled = |garbled| Fault::Garbled { what: GARBLED_BLOCK, garbled };
    let mut runs = Vec::new();
    for (first, bytes) in blocks {
        if *first != start + runs.len() as u64 {
            return Err(garbled(Garbled::Bytes));
        }
        runs.extend(format::read_runs(bytes).map_err(garbled)?);
    }
    if start + runs.len() as u64 == end { Ok(runs) } else { Err(garbled(Garbled::Bytes)) }
}

/// Moves all but the newest runs of a log to blocks, and deletes the blocks that no longer count or hold what has changed.
fn move_to_blocks(
    connection: &Connection,
    (id, i, rev): (i64, u32, i64),
    log: &mut Log,
    blocks: &mut Blocks,
) -> Result<(), Fault> {
    let numbers = log.numbers();
    let Blocks { mut from, mut to, .. } = *blocks;
    if from < to {
        let same = log.touched().clamp(from, to) - from;
        let same_to = from + same / BLOCK * BLOCK;
        if same_to < to {
            connection.delete_blocks_from(id, i, same_to)?;
            to = same_to;
        }
        let gone = numbers.start.clamp(from, to) - from;
        let gone_to = from + gone / BLOCK * BLOCK;
        if gone_to > from {
            connection.delete_blocks_before(id, i, gone_to)?;
            from = gone_to;
        }
    }
    if from == to {
        (from, to) = (numbers.start, numbers.start);
    }
    while numbers.end - to > 2 * BLOCK {
        connection.put_block(id, i, to, rev, &format::runs(log.runs_of(to..to + BLOCK)))?;
        to += BLOCK;
    }
    if from < to && to == numbers.end {
        // The newest run is always in the row, where a sweep looks.
        to -= BLOCK;
        connection.delete_blocks_from(id, i, to)?;
    }
    *blocks = Blocks { oldest: numbers.start, from, to };
    log.set_kept();
    Ok(())
}

/// When the row may be dropped, by the file's own time.
fn expiry(state: &KeyState, quota: &Quota, now: Now) -> Timestamp {
    let left = Duration::from_micros(state.idle_at_us(quota, now.at).saturating_sub(now.at.as_micros()));
    if now.is_injected { now.own.saturating_add(left).saturating_add(LONGER) } else { now.at.saturating_add(left) }
}

/// How much later than need be a row expires, so that its index is not written at every take.
fn slack(expires: Timestamp, now: Now) -> Duration {
    (expires.saturating_since(now.own) / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// Whether what stands in the index will do: no earlier than need be, and not hours late.
fn covers(stands: Timestamp, needed: Timestamp, now: Now) -> bool {
    stands >= needed && stands.saturating_since(needed) <= slack(needed, now) + LONGER
}

fn length(logs: &Logs) -> u64 {
    logs.each().iter().map(|log| log.numbers().end - log.numbers().start).sum()
}

/// A number that no other state has had. Hashes of nothing under fresh random keys are random numbers.
fn new_id() -> i64 {
    (RandomState::new().hash_one(()) >> 1).cast_signed()
}
