//! Every case of the stores' contract.

use crate::folder::{Folder, patient};
use limiter_core::{SqliteStore, conformance::Harness};
use std::{
    collections::HashMap,
    future::{Future, ready},
    path::PathBuf,
    sync::Mutex,
};

/// Stores in folders that live as long as the case does.
#[derive(Default)]
struct Files(Mutex<HashMap<String, Folder>>);

impl Files {
    /// Another connection to the store's file.
    fn again(&self, store: &SqliteStore) -> Option<SqliteStore> {
        let folders = self.0.lock().unwrap();
        Some(patient(path_of(&folders, store)?))
    }
}

/// A store's file, by what the store shows of itself.
fn path_of(folders: &HashMap<String, Folder>, store: &SqliteStore) -> Option<PathBuf> {
    Some(folders.get(&format!("{store:?}"))?.file())
}

impl Harness for Files {
    type Store = SqliteStore;

    fn fresh(&self) -> impl Future<Output = SqliteStore> + Send {
        let folder = Folder::new();
        let store = folder.store();
        self.0.lock().unwrap().insert(format!("{store:?}"), folder);
        ready(store)
    }

    fn reopen(&self, store: SqliteStore) -> impl Future<Output = Option<SqliteStore>> + Send {
        let again = self.again(&store);
        drop(store);
        ready(again)
    }

    fn share(&self, store: &SqliteStore) -> impl Future<Output = Option<SqliteStore>> + Send {
        ready(self.again(store))
    }
}

limiter_core::conformance::tests!(Files::default(), Persists, Shares);

mod in_memory {
    use limiter_core::SqliteStore;

    limiter_core::conformance::tests!(|| async { SqliteStore::new(":memory:").unwrap() });
}
