//! Folders, files and child processes of these tests.

use limiter_core::{
    LocalStore, Quota, SharedStore, Timestamp,
    store::{Demand, Scope, SharedStoreBuilder},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
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

/// A store whose file nobody else can open any more.
pub(crate) fn unnamed(builder: SharedStoreBuilder) -> SharedStore {
    let folder = Folder::new();
    builder.open(folder.file()).unwrap()
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
    let clock = now.as_ref().map(|now| now as &dyn limiter_core::Clock);
    LocalStore::take(store, &[demand], clock).unwrap().allowed()
}
