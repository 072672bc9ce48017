//! Files and disks that are not as they should be: each is a clear error, and the store goes on once it is mended.

use crate::{
    folder::Folder,
    support::{block_on, program::copied_into},
    worker::{Task, Worker},
};
use limiter_core::{Error, KeyBuf, Limiter, SqliteStore, Store, StoreError, StoreErrorKind};
use std::{
    error::Error as _,
    fs,
    future::Future,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    task::{Context, Waker},
    time::{Duration, Instant},
};

const QUOTA: &str = "sliding_log 5/day";

fn limiter(store: SqliteStore) -> Limiter<SqliteStore> {
    Limiter::builder(QUOTA.parse().unwrap()).name("takes").store(store).build()
}

/// The error of a store on this file: its kind, and all it says.
fn refused(path: &Path) -> (StoreErrorKind, String) {
    let store = SqliteStore::new(path).unwrap();
    let error = block_on(store.ready()).unwrap_err();
    let asked = limiter(store).blocking().check("ada").unwrap_err();
    assert!(matches!(asked, Error::Store(again) if again.kind() == error.kind()), "a call says the same");
    (error.kind(), said(&error))
}

fn said(error: &StoreError) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    said
}

fn assert_refused(path: &Path, kind: StoreErrorKind, words: &str) {
    let (found, said) = refused(path);
    assert_eq!(found, kind, "{said}");
    assert!(said.contains(words), "{said:?} does not say {words:?}");
}

#[test]
fn a_path_that_names_no_file_is_refused_when_the_store_is_built() {
    for path in ["", "a\0b"] {
        let error = SqliteStore::new(path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Config);
        assert!(said(&error).contains("no path of a file"));
    }
}

#[test]
fn a_missing_folder_and_a_folder_in_place_of_a_file_are_told() {
    let folder = Folder::new();
    assert_refused(&folder.path().join("no/limits.db"), StoreErrorKind::Config, "folder of");
    assert_refused(folder.path(), StoreErrorKind::Config, "is a folder");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn garbage_and_files_of_others_are_refused_and_left_as_they_are() {
    let folder = Folder::new();
    let garbage = folder.path().join("garbage");
    for bytes in [vec![7; 10], vec![b'x'; 100_000], b"SQLite format 3\0 and then not".repeat(50)] {
        fs::write(&garbage, &bytes).unwrap();
        assert_refused(&garbage, StoreErrorKind::Format, "SQLite failed to read the file's head");
        assert_eq!(fs::read(&garbage).unwrap(), bytes);
    }

    let other = folder.path().join("other");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let before = fs::read(&other).unwrap();
    assert_refused(&other, StoreErrorKind::Format, "another application");
    assert_eq!(fs::read(&other).unwrap(), before);

    let tagged = folder.path().join("tagged");
    rusqlite::Connection::open(&tagged).unwrap().execute_batch("PRAGMA application_id = 99").unwrap();
    assert_refused(&tagged, StoreErrorKind::Format, "application id is 99");
}

#[test]
fn a_file_of_a_later_format_is_refused_and_an_empty_one_is_made_ours() {
    let folder = Folder::new();
    fs::write(folder.file(), b"").unwrap();
    block_on(folder.store().ready()).unwrap();
    rusqlite::Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_refused(&folder.file(), StoreErrorKind::Format, "has format 2, written by a later release");
}

#[test]
fn a_clock_that_is_garbled_is_refused_before_it_forgets_every_limit() {
    let folder = Folder::new();
    block_on(folder.store().ready()).unwrap();
    for offset_us in [-1, i64::MAX] {
        let file = rusqlite::Connection::open(folder.file()).unwrap();
        file.execute("UPDATE clock SET offset_us = ?", [offset_us]).unwrap();
        assert_refused(&folder.file(), StoreErrorKind::Format, "the file's clock");
    }
}

#[test]
fn a_state_of_a_later_format_or_of_garbage_fails_alone_until_it_is_reset() {
    let folder = Folder::new();
    let limiter = limiter(folder.store());
    limiter.blocking().check_n("ada", 2).unwrap();
    limiter.blocking().check_n("eve", 2).unwrap();
    let tamper = |bytes: &[u8]| {
        let file = rusqlite::Connection::open(folder.file()).unwrap();
        file.execute("UPDATE states SET state = ? WHERE key = ?", (bytes, b"=eve".as_slice())).unwrap();
    };
    for (bytes, words) in [(&[9, 0, 0][..], "version 9"), (&[1, 4, 1][..], "garbled"), (&[][..], "garbled")] {
        tamper(bytes);
        let Error::Store(error) = limiter.blocking().check("eve").unwrap_err() else { panic!("no error of the store") };
        assert_eq!(error.kind(), StoreErrorKind::Format);
        assert!(said(&error).contains(words), "{}", said(&error));
        assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 3);
    }
    limiter.blocking().reset("eve").unwrap();
    assert_eq!(limiter.blocking().check("eve").unwrap().remaining(), 4);
}

/// What several calls are answered that wait for one lock, and are then done in one transaction.
fn at_once<T>(folder: &Folder, calls: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut other = Worker::start(Task::Lock, &folder.file(), QUOTA, 0);
    assert_eq!(other.line(), "locked");
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut context = Context::from_waker(Waker::noop());
    assert!(calls.iter_mut().all(|call| call.as_mut().poll(&mut context).is_pending()));
    drop(other);
    calls.into_iter().map(block_on).collect()
}

#[test]
fn what_is_wrong_with_one_call_is_not_the_answer_to_another() {
    let folder = Folder::new();
    let limiter = limiter(folder.store());
    limiter.blocking().check("eve").unwrap();
    let file = rusqlite::Connection::open(folder.file()).unwrap();
    file.execute("UPDATE states SET state = x'0107'", ()).unwrap();
    let calls = ["ada", "eve", "ada", "eve", "ada"].map(|key| limiter.check_async(key)).into();
    let left: Vec<_> = at_once(&folder, calls).into_iter().map(|answer| answer.map(|d| d.remaining()).ok()).collect();
    assert_eq!(left, [Some(4), None, Some(3), None, Some(2)]);
}

#[test]
fn calls_that_need_room_fail_and_those_beside_them_do_not() {
    let folder = Folder::new();
    let limiter = limiter(SqliteStore::builder(folder.file()).max_bytes(100_000).build().unwrap());
    limiter.blocking().check_n("ada", 5).unwrap();
    let no_room = (0..100_000_u64).find(|i| limiter.blocking().check(*i).is_err()).unwrap();
    let keys = [KeyBuf::of("ada"), KeyBuf::of(&no_room), KeyBuf::of("ada")];
    let answers = at_once(&folder, keys.map(|key| limiter.check_async(key)).into());
    let allowed: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().ok().map(limiter_core::Decision::allowed)).collect();
    assert_eq!(allowed, [Some(false), None, Some(false)]);
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 0);
}

/// Runs this test again as a user whom permissions bind, if this one is not: `true` in the process that is to go on.
fn is_bound_by_permissions(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let folder = Folder::new();
    let mut again = Command::new(copied_into(folder.path()));
    again.args(["--exact", test]).current_dir("/").uid(65534).gid(65534);
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn what_may_not_be_written_is_told() {
    if !is_bound_by_permissions("faults::what_may_not_be_written_is_told") {
        return;
    }
    let folder = Folder::new();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    limiter(folder.store()).blocking().check("ada").unwrap();
    settled(&folder);
    set(&folder.file(), 0o444);
    assert_refused(&folder.file(), StoreErrorKind::ReadOnly, "can only be read");
    set(&folder.file(), 0o000);
    assert_refused(&folder.file(), StoreErrorKind::Permission, "failed to open");
    set(&folder.file(), 0o644);
    set(folder.path(), 0o555);
    let (kind, said) = refused(&folder.file());
    assert!(matches!(kind, StoreErrorKind::Permission | StoreErrorKind::ReadOnly), "{said}");
    assert_refused(&folder.path().join("new.db"), StoreErrorKind::Permission, "failed to open");
    set(folder.path(), 0o755);
    assert_eq!(limiter(folder.store()).blocking().peek("ada").unwrap().remaining(), 4);
}

/// Waits until the last connection has taken the file's log away, and closed the file: SQLite opens no file that it has
/// open already, so that one who comes before that is not asked for permissions.
fn settled(folder: &Folder) {
    let log = folder.path().join("limits.db-wal");
    let until = Instant::now() + Duration::from_secs(60);
    while log.exists() || has_open(folder) {
        assert!(Instant::now() < until, "the file was not closed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this process has a file of the folder open, as far as this system tells.
fn has_open(folder: &Folder) -> bool {
    let folder = folder.path().canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten();
    open.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok()).any(|file| file.starts_with(&folder))
}

#[test]
fn the_last_clones_drop_closes_the_file() {
    let folder = Folder::new();
    let store = folder.store();
    block_on(store.ready()).unwrap();
    let clone = store.clone();
    drop(store);
    block_on(clone.ready()).unwrap();
    assert!(folder.path().join("limits.db-wal").exists());
    drop(clone);
    settled(&folder);
}

#[test]
fn a_file_that_may_grow_no_more_is_full_and_answers_what_needs_no_room() {
    let folder = Folder::new();
    let store = SqliteStore::builder(folder.file()).max_bytes(100_000).build().unwrap();
    let limiter = limiter(store);
    limiter.blocking().check("first").unwrap();
    let failed = (0..100_000_u64).find_map(|i| limiter.blocking().check(i).err()).unwrap();
    assert!(matches!(&failed, Error::Store(error) if error.kind() == StoreErrorKind::Full), "{failed:?}");
    assert_eq!(limiter.blocking().peek("first").unwrap().remaining(), 4);
    assert!(fs::metadata(folder.file()).unwrap().len() <= 100_000);
    for i in 0..200_u64 {
        limiter.blocking().reset(i).unwrap();
    }
    assert!(limiter.blocking().check("there is room again").unwrap().allowed());
}

#[test]
fn a_file_full_of_idle_keys_makes_room_for_new_ones() {
    let folder = Folder::new();
    let store = SqliteStore::builder(folder.file()).max_bytes(100_000).build().unwrap();
    let limiter = Limiter::builder("sliding_log 5/ms".parse().unwrap()).store(store).build();
    assert!((0..100_000_u64).any(|i| limiter.blocking().check(i).is_err()), "it was never full");
    let until = Instant::now() + Duration::from_secs(30);
    while limiter.blocking().check("new").is_err() {
        assert!(Instant::now() < until, "it stays full of keys that are idle");
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_admitted_before_still_counts() {
    let folder = Folder::new();
    let worker = Worker::command(Task::Fill, &folder.file(), QUOTA, 1_000_000);
    // No file of this process grows beyond 200 kB; without the trap, the attempt would be its end.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""])
        .arg(worker.get_program())
        .args(worker.get_args());
    limited.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut worker = Worker::spawn(&mut limited);
    assert_eq!((worker.line().as_str(), worker.line().as_str()), ("Full", "4"));
    worker.child.wait().unwrap();
    assert_eq!(limiter(folder.store()).blocking().check("first").unwrap().remaining(), 3);
}

#[test]
fn a_locked_file_is_unavailable_after_the_time_budget_and_nothing_was_done() {
    let folder = Folder::new();
    let budget = Duration::from_millis(200);
    let store = SqliteStore::builder(folder.file()).timeout(budget).build().unwrap();
    block_on(store.ready()).unwrap();
    let limiter = limiter(store.clone());
    let mut other = Worker::start(Task::Lock, &folder.file(), QUOTA, 0);
    assert_eq!(other.line(), "locked");
    let before = Instant::now();
    let Error::Store(error) = limiter.blocking().check("ada").unwrap_err() else { panic!("no error of the store") };
    assert!((budget..budget + Duration::from_secs(30)).contains(&before.elapsed()), "{:?}", before.elapsed());
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(said(&error).contains("locked by another process or connection for all of 200ms"), "{}", said(&error));
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 5, "a look needs no lock");
    let swept = block_on(Store::sweep(&store, None)).unwrap_err();
    assert_eq!(swept.kind(), StoreErrorKind::Unavailable);
    drop(other);
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 4);
}

#[test]
fn a_file_that_was_deleted_or_replaced_is_opened_anew() {
    let (folder, other) = (Folder::new(), Folder::new());
    let here = limiter(folder.store());
    here.blocking().check_n("ada", 3).unwrap();
    limiter(other.store()).blocking().check_n("ada", 1).unwrap();
    settled(&other);

    for name in ["limits.db", "limits.db-wal", "limits.db-shm"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(here.blocking().check("ada").unwrap().remaining(), 4);
    let there = limiter(folder.store());
    assert_eq!(there.blocking().check("ada").unwrap().remaining(), 3);
    assert_eq!(here.blocking().check("ada").unwrap().remaining(), 2);

    // Moved over it, while the log of the old one still stands there.
    fs::remove_file(folder.path().join("limits.db-wal")).unwrap();
    fs::remove_file(folder.path().join("limits.db-shm")).unwrap();
    fs::rename(other.file(), folder.file()).unwrap();
    assert_eq!(here.blocking().check("ada").unwrap().remaining(), 3);
    assert_eq!(there.blocking().check("ada").unwrap().remaining(), 2);
}
