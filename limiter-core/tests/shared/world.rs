//! Folders, files and child processes of these tests.

use limiter_core::{
    Clock, LocalStore, Quota, SharedStore, Timestamp,
    store::{Demand, Scope, SharedStoreBuilder},
};
use rustix::fs::{FlockOperation, flock};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A folder of one test, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("limiter-shared-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("limits")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until nobody has a file open that this process has closed.
///
/// The children that other tests start meanwhile have it too, with its lock, until they run their own program.
pub(crate) fn wait_until_closed(file: &Path) {
    let (file, until) = (fs::File::open(file).unwrap(), Instant::now() + Duration::from_secs(60));
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < until, "somebody has the file open");
        thread::sleep(Duration::from_millis(1));
    }
    flock(&file, FlockOperation::Unlock).unwrap();
}

/// A store whose file nobody else can open any more.
pub(crate) fn unnamed(builder: SharedStoreBuilder) -> SharedStore {
    let folder = Folder::new();
    builder.open(folder.file()).unwrap()
}

/// Settings for a machine that has far more to do than it can.
pub(crate) fn patient() -> SharedStoreBuilder {
    SharedStore::builder().timeout(Duration::from_secs(20))
}

pub(crate) fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Takes one unit.
pub(crate) fn take(store: &SharedStore, scope: &Scope, key: u64, quota: &Quota, now: Option<Timestamp>) -> bool {
    let key = key.to_le_bytes();
    let demand = Demand::new(scope, &key, quota, 1);
    let clock = now.as_ref().map(|now| now as &dyn Clock);
    LocalStore::take(store, &[demand], clock).unwrap().allowed()
}

/// Units of a key in use.
pub(crate) fn in_use(store: &SharedStore, scope: &Scope, key: u64, quota: &Quota) -> u64 {
    let key = key.to_le_bytes();
    let seen = LocalStore::peek(store, &[Demand::new(scope, &key, quota, 0)], None).unwrap();
    quota.rates()[0].limit() - seen.rates()[0].remaining()
}

const FILE: &str = "LIMITER_TEST_SHARED_FILE";
const TASK: &str = "LIMITER_TEST_SHARED_TASK";

/// This test binary once more, running the ignored test `child` with this file and task.
pub(crate) fn spawn(child: &str, file: &Path, task: u64) -> Child {
    spawn_as(Command::new(env::current_exe().unwrap()), child, file, task)
}

/// The same, with what the command was prepared for.
pub(crate) fn spawn_as(mut command: Command, child: &str, file: &Path, task: u64) -> Child {
    command
        .args(["--exact", child, "--ignored", "--nocapture", "--quiet", "--test-threads=1"])
        .env(FILE, file)
        .env(TASK, task.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The file and the task of a child; `None` where the test binary was asked to run everything that is ignored.
pub(crate) fn task() -> Option<(PathBuf, u64)> {
    Some((env::var_os(FILE)?.into(), env::var(TASK).ok()?.parse().unwrap()))
}
