//! Opening the file: what it is, its journal, its tables and its clock.

use super::{
    builder::Settings,
    connection::{APPLICATION_ID, FORMAT},
    error::{Doing, Fault},
    format::Garbled,
};
use crate::{Timestamp, store::boot_clock::Anchor};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

thread_local! {
    /// Until when this thread waits for locks.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Waits for locks until `deadline`, in all that this thread does from now on.
pub(super) fn wait_until(deadline: Instant) {
    DEADLINE.set(Some(deadline));
}

/// SQLite's call while a lock is held by others: whether to try again. They hold it for some microseconds a transaction,
/// so that longer sleeps would only lose turns.
fn wait_a_little(tries: i32) -> bool {
    let is_over = DEADLINE.get().is_none_or(|deadline| Instant::now() >= deadline);
    if !is_over {
        thread::sleep(Duration::from_micros(50) * (1 << tries.clamp(0, 5)));
    }
    !is_over
}

/// What a file is known by while its name may be given to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId(u64, u64);

#[cfg(unix)]
pub(super) fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| FileId(found.dev(), found.ino()))
}

/// Elsewhere an open file cannot be moved.
#[cfg(not(unix))]
pub(super) fn file_id(_: &Path) -> Option<FileId> {
    Some(FileId(0, 0))
}

/// A connection that is ready for use, and the clock of its file.
pub(super) fn open(settings: &Settings) -> Result<(Connection, Anchor), Fault> {
    let path = settings.path.clone().unwrap_or_else(|| PathBuf::from(":memory:"));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = Connection::open_with_flags(&path, flags).map_err(|error| cannot_open(&path, error))?;
    sqlite.busy_handler(Some(wait_a_little)).doing("open the file")?;
    if sqlite.is_readonly(c"main").doing("open the file")? {
        return Err(Fault::ReadOnly(path));
    }
    // Before anything is written to what may not be ours; and of one moment, as another process may be making the file.
    sqlite.execute_batch("BEGIN").doing("read the file's head")?;
    let is_new = is_new(&sqlite, &path);
    sqlite.execute_batch("ROLLBACK").doing("read the file's head")?;
    let is_new = is_new?;
    if settings.path.is_some() {
        use_wal(&sqlite, &path)?;
    }
    let synchronous = if settings.sync_every_commit { "FULL" } else { "NORMAL" };
    sqlite.pragma_update(None, "synchronous", synchronous).doing("set how writes are synced")?;
    set_sizes(&sqlite)?;
    if let Some(bytes) = settings.max_bytes {
        let page: i64 =
            sqlite.pragma_query_value(None, "page_size", |row| row.get(0)).doing("set the size of the file")?;
        let pages = (i64::try_from(bytes).unwrap_or(i64::MAX) / page).max(1);
        let set = format!("PRAGMA max_page_count = {pages}");
        sqlite.query_row(&set, (), |_| Ok(())).doing("set the size of the file")?;
    }
    if is_new {
        create(&sqlite, &path)?;
    }
    let anchor = anchor(&sqlite)?;
    if anchor.now() == Timestamp::MAX {
        return Err(Fault::Garbled { what: "the file's clock", garbled: Garbled::Bytes });
    }
    Ok((sqlite, anchor))
}

/// Pages in memory, and how much is written before it goes from the log to the file, which waits for the disk: each several
/// times SQLite's default, as many keys are written all over the file.
fn set_sizes(sqlite: &Connection) -> Result<(), Fault> {
    const DOING: &str = "set the size of the log";
    const LOG_PAGES: i64 = 4096;
    sqlite.pragma_update(None, "cache_size", -16_384).doing(DOING)?; // in KiB
    sqlite.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).doing(DOING)?;
    sqlite.pragma_update(None, "journal_size_limit", 2 * LOG_PAGES * 4096).doing(DOING)
}

/// Whether the file holds nothing yet; an error where it holds what is not ours or not known.
fn is_new(sqlite: &Connection, path: &Path) -> Result<bool, Fault> {
    const DOING: &str = "read the file's head";
    let number = |pragma: &str| sqlite.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).doing(DOING);
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = sqlite.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).doing(DOING)?;
    match (application_id, version) {
        (0, 0) if tables == 0 => Ok(true),
        (APPLICATION_ID, FORMAT) => Ok(false),
        (APPLICATION_ID, version) => Err(Fault::Newer { path: path.to_owned(), version }),
        (application_id, _) => Err(Fault::Foreign { path: path.to_owned(), application_id }),
    }
}

/// Turns on the write-ahead log. Two processes that do so at once get in each other's way where no busy handler is asked.
fn use_wal(sqlite: &Connection, path: &Path) -> Result<(), Fault> {
    const DOING: &str = "turn on the write-ahead log";
    let mut tries = 0;
    loop {
        let set = sqlite.query_row("PRAGMA journal_mode = WAL", (), |row| row.get::<_, String>(0)).doing(DOING);
        match set {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => return Err(Fault::NoWal { path: path.to_owned(), mode }),
            Err(fault) if !fault.is_busy() || !wait_a_little(tries) => return Err(fault),
            Err(_) => tries += 1,
        }
    }
}

/// Makes the tables, unless another process just did.
fn create(sqlite: &Connection, path: &Path) -> Result<(), Fault> {
    const DOING: &str = "make the tables";
    in_transaction(sqlite, DOING, || {
        if !is_new(sqlite, path)? {
            return Ok(());
        }
        sqlite.execute_batch(include_str!("schema.sql")).doing(DOING)?;
        let anchor = Anchor::new(Timestamp::MIN);
        sqlite
            .execute(
                "INSERT INTO clock (one, boot, offset_us, forgotten) VALUES (1, ?, ?, 0)",
                params![anchor.boot.to_be_bytes(), anchor.offset_us.cast_signed()],
            )
            .doing(DOING)?;
        sqlite.pragma_update(None, "application_id", APPLICATION_ID).doing(DOING)?;
        sqlite.pragma_update(None, "user_version", FORMAT).doing(DOING)
    })
}

/// The file's clock, anchored anew if the machine was started again since.
fn anchor(sqlite: &Connection) -> Result<Anchor, Fault> {
    const DOING: &str = "anchor the clock";
    let stored = read_anchor(sqlite)?;
    if stored.is_some_and(|anchor| anchor.is_of_this_boot()) {
        return stored.ok_or(Fault::Lost);
    }
    let mut anchor = stored;
    in_transaction(sqlite, DOING, || {
        anchor = read_anchor(sqlite)?.filter(Anchor::is_of_this_boot);
        if anchor.is_some() {
            return Ok(()); // another process did
        }
        let newest: i64 =
            sqlite.query_row("SELECT coalesce(max(at), 0) FROM states", (), |row| row.get(0)).doing(DOING)?;
        let new = Anchor::new(Timestamp::from_micros(newest.max(0).cast_unsigned()));
        let (boot, offset) = (new.boot.to_be_bytes(), new.offset_us.cast_signed());
        sqlite.execute("UPDATE clock SET boot = ?, offset_us = ?", params![boot, offset]).doing(DOING)?;
        anchor = Some(new);
        Ok(())
    })?;
    anchor.ok_or(Fault::Lost)
}

fn read_anchor(sqlite: &Connection) -> Result<Option<Anchor>, Fault> {
    let read = |row: &rusqlite::Row<'_>| {
        let offset_us = row.get::<_, i64>(1)?.cast_unsigned();
        Ok(Anchor { boot: u128::from_be_bytes(row.get(0)?), offset_us })
    };
    sqlite.query_row("SELECT boot, offset_us FROM clock", (), read).optional().doing("read the clock")
}

fn in_transaction(
    sqlite: &Connection,
    doing: &'static str,
    work: impl FnOnce() -> Result<(), Fault>,
) -> Result<(), Fault> {
    sqlite.execute_batch("BEGIN IMMEDIATE").doing(doing)?;
    let done = work().and_then(|()| sqlite.execute_batch("COMMIT").doing(doing));
    if done.is_err() && !sqlite.is_autocommit() {
        let _ = sqlite.execute_batch("ROLLBACK");
    }
    done
}

/// Why SQLite could not open the file: it says no more than that it could not.
fn cannot_open(path: &Path, error: rusqlite::Error) -> Fault {
    let folder = path.parent().unwrap_or(path);
    if path.is_dir() {
        Fault::IsFolder(path.to_owned())
    } else if !folder.is_dir() {
        Fault::NoFolder(path.to_owned())
    } else {
        Fault::Sqlite { doing: "open the file", error }
    }
}
