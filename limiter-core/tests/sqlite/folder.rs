//! A folder for one test's file.

use limiter_core::SqliteStore;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A new folder, deleted when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("limiter-sqlite-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The database's path.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("limits.db")
    }

    /// A store on it.
    pub(crate) fn store(&self) -> SqliteStore {
        patient(self.file())
    }
}

/// A store on a file, for a machine that has far more to do than it can.
pub(crate) fn patient(file: impl AsRef<Path>) -> SqliteStore {
    SqliteStore::builder(file).timeout(Duration::from_secs(60)).build().unwrap()
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
