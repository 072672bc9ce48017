//! The connection: the only file that speaks SQL.

use super::{
    builder::Settings,
    error::{Doing, Fault},
    open,
};
use crate::{Quota, Timestamp, store::Scope, store::boot_clock::Anchor};
use rusqlite::{CachedStatement, OptionalExtension, Params, params};
use std::collections::HashMap;

/// The version of the tables.
pub(super) const FORMAT: i32 = 1;

/// What tells our databases from other applications'.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Limi");

/// One open file, used by one thread.
pub(super) struct Connection {
    sqlite: rusqlite::Connection,
    file: Option<open::FileId>,
    anchor: Anchor,
    /// What the tables are known to hold, until a sweep somewhere forgets names or quotas.
    scopes: HashMap<Scope, i64>,
    quotas: HashMap<u64, Quota>,
    forgotten: i64,
}

/// A row of the states.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) rev: i64,
    /// The fingerprint of the quota it was made under.
    pub(super) quota: u64,
    pub(super) at: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) state: Vec<u8>,
}

/// Where a row is found: its limiter's number and its stored key.
pub(super) type Place = (i64, Vec<u8>);

/// Which rows a change is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
}

impl Connection {
    pub(super) fn open(settings: &Settings) -> Result<Self, Fault> {
        let (sqlite, anchor) = open::open(settings)?;
        let file = settings.path.as_deref().and_then(open::file_id);
        sqlite.set_prepared_statement_cache_capacity(32);
        Ok(Self { sqlite, file, anchor, scopes: HashMap::new(), quotas: HashMap::new(), forgotten: -1 })
    }

    /// Whether the path leads to another file than the one that is open.
    pub(super) fn is_moved(&self, settings: &Settings) -> bool {
        settings.path.as_deref().is_some_and(|path| self.file.is_none() || open::file_id(path) != self.file)
    }

    /// Closes without a word to a file that has taken this one's place.
    pub(super) fn abandon(self) {
        // Where it cannot be set, SQLite's own check for a moved file does the same.
        let _ = self.sqlite.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// The clock that all processes share.
    pub(super) fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Begins a transaction; one that may write holds the write lock from here on, so that what it reads stays true.
    pub(super) fn begin(&mut self, access: Access) -> Result<(), Fault> {
        match access {
            Access::Read => self.run("BEGIN", (), "begin a transaction")?,
            Access::Write => self.run("BEGIN IMMEDIATE", (), "lock the file for writing")?,
        };
        let forgotten = self
            .prepare("SELECT forgotten FROM clock", "read the clock")?
            .query_row((), |row| row.get(0))
            .doing("read the clock")?;
        if self.forgotten != forgotten {
            self.forgotten = forgotten;
            self.scopes.clear();
            self.quotas.clear();
        }
        Ok(())
    }

    /// Writes something, and nothing new.
    pub(super) fn try_write(&mut self) -> Result<(), Fault> {
        self.run("UPDATE clock SET forgotten = forgotten", (), "write").map(|_| ())
    }

    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        self.run("COMMIT", (), "commit").map(|_| ())
    }

    /// Ends a transaction without its changes; some failures have ended it already.
    pub(super) fn roll_back(&mut self) {
        self.scopes.clear();
        self.quotas.clear();
        if !self.sqlite.is_autocommit() {
            let _ = self.run("ROLLBACK", (), "roll back");
        }
    }

    /// The number of a limiter; `None` where it was never written and is not to be now.
    pub(super) fn scope(&mut self, scope: &Scope, access: Access) -> Result<Option<i64>, Fault> {
        const DOING: &str = "look up the limiter's name";
        if let Some(id) = self.scopes.get(scope) {
            return Ok(Some(*id));
        }
        let start = scope.start().cast_signed();
        let found = self
            .prepare("SELECT id FROM scopes WHERE name = ? AND start = ?", DOING)?
            .query_row(params![scope.name(), start], |row| row.get(0))
            .optional()
            .doing(DOING)?;
        let id = match (found, access) {
            (None, Access::Read) => return Ok(None),
            (Some(id), _) => id,
            (None, Access::Write) => self
                .prepare("INSERT INTO scopes (name, start) VALUES (?, ?)", DOING)?
                .insert(params![scope.name(), start])
                .doing("write the limiter's name")?,
        };
        self.scopes.insert(scope.clone(), id);
        Ok(Some(id))
    }

    /// The quota of this fingerprint.
    pub(super) fn quota(&mut self, fingerprint: u64) -> Result<Quota, Fault> {
        const DOING: &str = "look up a quota";
        if let Some(quota) = self.quotas.get(&fingerprint) {
            return Ok(quota.clone());
        }
        let text: Option<String> = self
            .prepare("SELECT text FROM quotas WHERE fingerprint = ?", DOING)?
            .query_row([fingerprint.cast_signed()], |row| row.get(0))
            .optional()
            .doing(DOING)?;
        let quota: Quota = text.and_then(|text| text.parse().ok()).ok_or(Fault::UnknownQuota)?;
        self.quotas.insert(fingerprint, quota.clone());
        Ok(quota)
    }

    /// Sees to it that a quota can be looked up.
    pub(super) fn keep_quota(&mut self, quota: &Quota) -> Result<(), Fault> {
        let fingerprint = quota.fingerprint();
        if !self.quotas.contains_key(&fingerprint) {
            self.run(
                "INSERT OR IGNORE INTO quotas (fingerprint, text) VALUES (?, ?)",
                params![fingerprint.cast_signed(), quota.to_string()],
                "write a quota",
            )?;
            self.quotas.insert(fingerprint, quota.clone());
        }
        Ok(())
    }

    pub(super) fn row(&self, scope: i64, key: &[u8]) -> Result<Option<Row>, Fault> {
        const DOING: &str = "read a state";
        self.prepare("SELECT id, rev, quota, at, expires, state FROM states WHERE scope = ? AND key = ?", DOING)?
            .query_row(params![scope, key], read_row)
            .optional()
            .doing(DOING)
    }

    /// Writes a row, in the place of one that may be there.
    pub(super) fn put_row(&self, scope: i64, key: &[u8], row: &Row) -> Result<(), Fault> {
        self.run(
            "INSERT OR REPLACE INTO states (scope, key, id, rev, quota, at, expires, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                scope,
                key,
                row.id,
                row.rev,
                row.quota.cast_signed(),
                micros(row.at),
                micros(row.expires),
                row.state
            ],
            "write a state",
        )
        .map(|_| ())
    }

    /// Writes what a take changes of a row that is there; its index stays as it is.
    pub(super) fn update_row(&self, scope: i64, key: &[u8], row: &Row) -> Result<(), Fault> {
        self.run(
            "UPDATE states SET rev = ?, at = ?, state = ? WHERE scope = ? AND key = ?",
            params![row.rev, micros(row.at), row.state, scope, key],
            "write a state",
        )
        .map(|_| ())
    }

    pub(super) fn delete_row(&self, scope: i64, key: &[u8]) -> Result<(), Fault> {
        self.run("DELETE FROM states WHERE scope = ? AND key = ?", params![scope, key], "delete a state").map(|_| ())
    }

    /// Up to `limit` rows that were to be idle by `now`.
    pub(super) fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<(Place, i64)>, Fault> {
        const DOING: &str = "look for idle states";
        let mut rows =
            self.prepare("SELECT scope, key, id FROM states WHERE expires < ? ORDER BY expires LIMIT ?", DOING)?;
        let found = rows.query_map(params![micros(now), limit], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
        found.and_then(Iterator::collect).doing(DOING)
    }

    /// Up to `limit` rows behind `place`, in their order.
    pub(super) fn rows_after(&self, place: &Place, limit: u32) -> Result<Vec<(Place, Row)>, Fault> {
        const DOING: &str = "read states";
        let mut rows = self.prepare(
            "SELECT id, rev, quota, at, expires, state, scope, key FROM states WHERE (scope, key) > (?, ?) \
             ORDER BY scope, key LIMIT ?",
            DOING,
        )?;
        let found =
            rows.query_map(params![place.0, place.1, limit], |row| Ok(((row.get(6)?, row.get(7)?), read_row(row)?)));
        found.and_then(Iterator::collect).doing(DOING)
    }

    /// Forgets names and quotas that no state is under, where there are many of them.
    pub(super) fn forget_unused(&mut self, many: i64) -> Result<(), Fault> {
        const DOING: &str = "forget unused names and quotas";
        let count = "SELECT (SELECT count(*) FROM scopes) + (SELECT count(*) FROM quotas)";
        let known: i64 = self.prepare(count, DOING)?.query_row((), |row| row.get(0)).doing(DOING)?;
        if known > many {
            self.run("DELETE FROM scopes WHERE id NOT IN (SELECT scope FROM states)", (), DOING)?;
            self.run("DELETE FROM quotas WHERE fingerprint NOT IN (SELECT quota FROM states)", (), DOING)?;
            self.run("UPDATE clock SET forgotten = forgotten + 1", (), DOING)?;
            self.forgotten += 1;
            self.scopes.clear();
            self.quotas.clear();
        }
        Ok(())
    }

    pub(super) fn put_block(&self, id: i64, log: u32, first: u64, rev: i64, runs: &[u8]) -> Result<(), Fault> {
        self.run(
            "INSERT OR REPLACE INTO blocks (id, log, first, rev, runs) VALUES (?, ?, ?, ?, ?)",
            params![id, log, first.cast_signed(), rev, runs],
            "write a block of a log",
        )
        .map(|_| ())
    }

    /// The blocks of a log from the last one down to `from`, or to one that is no newer than `known_rev`.
    pub(super) fn last_blocks(
        &self,
        id: i64,
        log: u32,
        from: u64,
        known_rev: i64,
    ) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
        const DOING: &str = "read the blocks of a log";
        let mut blocks = self.prepare(
            "SELECT first, rev, runs FROM blocks WHERE id = ? AND log = ? AND first >= ? ORDER BY first DESC",
            DOING,
        )?;
        let mut rows = blocks.query(params![id, log, from.cast_signed()]).doing(DOING)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().doing(DOING)? {
            if row.get::<_, i64>(1).doing(DOING)? <= known_rev {
                break;
            }
            found.push((row.get::<_, i64>(0).doing(DOING)?.cast_unsigned(), row.get(2).doing(DOING)?));
        }
        found.reverse();
        Ok(found)
    }

    pub(super) fn delete_blocks_from(&self, id: i64, log: u32, first: u64) -> Result<(), Fault> {
        self.delete_blocks("DELETE FROM blocks WHERE id = ? AND log = ? AND first >= ?", id, log, first)
    }

    pub(super) fn delete_blocks_before(&self, id: i64, log: u32, first: u64) -> Result<(), Fault> {
        self.delete_blocks("DELETE FROM blocks WHERE id = ? AND log = ? AND first < ?", id, log, first)
    }

    pub(super) fn delete_blocks_of(&self, id: i64) -> Result<(), Fault> {
        self.run("DELETE FROM blocks WHERE id = ?", [id], "delete the blocks of a log").map(|_| ())
    }

    fn delete_blocks(&self, sql: &str, id: i64, log: u32, first: u64) -> Result<(), Fault> {
        self.run(sql, params![id, log, first.cast_signed()], "delete blocks of a log").map(|_| ())
    }

    fn prepare(&self, sql: &str, doing: &'static str) -> Result<CachedStatement<'_>, Fault> {
        self.sqlite.prepare_cached(sql).doing(doing)
    }

    fn run(&self, sql: &str, params: impl Params, doing: &'static str) -> Result<usize, Fault> {
        self.prepare(sql, doing)?.execute(params).doing(doing)
    }
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let instant = |i| row.get(i).map(|micros: i64| Timestamp::from_micros(micros.max(0).cast_unsigned()));
    Ok(Row {
        id: row.get(0)?,
        rev: row.get(1)?,
        quota: row.get::<_, i64>(2)?.cast_unsigned(),
        at: instant(3)?,
        expires: instant(4)?,
        state: row.get(5)?,
    })
}

fn micros(at: Timestamp) -> i64 {
    at.as_micros().cast_signed()
}
