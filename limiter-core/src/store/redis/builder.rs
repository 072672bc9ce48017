//! Settings of a store.

use super::{RedisStore, address::Address, error::Failure, name::Names, servers::Servers, work::Work};
use crate::{StoreError, store::stored_key::StoredKeys};
use std::{fmt, sync::Arc, time::Duration};

/// Settings of a [`RedisStore`]; see [`RedisStore::builder`].
#[derive(Clone)]
#[must_use]
pub struct RedisStoreBuilder {
    url: String,
    namespace: String,
    tag: Option<String>,
    keys: StoredKeys,
    budget: Duration,
    sentinel_login: Option<(Option<String>, String)>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            namespace: "limiter".to_owned(),
            tag: None,
            keys: StoredKeys::default(),
            budget: Duration::from_secs(1),
            sentinel_login: None,
        }
    }

    /// What all names on the server begin with, `limiter` by default. Stores of different namespaces never meet.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Puts all keys of the store into one slot of a Cluster, by this hash tag, so that any demands can be decided in one
    /// step.
    ///
    /// Without it, the slot goes by the key: keys spread over the nodes, and what several limiters keep for the same key
    /// is in one slot.
    pub fn hash_tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Stores every key as its SHA-256 under a secret: for keys that are personal data. Without it, keys of up to 64
    /// bytes are stored as they are, longer ones as their digest.
    ///
    /// Stores with the same secret share their keys.
    pub fn hash_keys(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.keys = StoredKeys::secret(secret.as_ref());
        self
    }

    /// How long a call may take, with connecting if need be; one second by default.
    pub fn timeout(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Logs in at the sentinels, where they ask for it. The login in the address is the primary's.
    pub fn sentinel_login(mut self, user: Option<&str>, password: impl Into<String>) -> Self {
        self.sentinel_login = Some((user.map(str::to_owned), password.into()));
        self
    }

    /// The store. It connects at the first call, or at [`RedisStore::ready`].
    ///
    /// # Errors
    /// An address that cannot be read; an empty namespace or hash tag, and braces in one of them; a timeout of zero. All
    /// of kind [`StoreErrorKind::Config`](crate::StoreErrorKind::Config).
    pub fn build(self) -> Result<RedisStore, StoreError> {
        let is_bad = |text: &str| text.is_empty() || text.contains(['{', '}']);
        if is_bad(&self.namespace) || self.tag.as_deref().is_some_and(is_bad) {
            let what = "the namespace or the hash tag is empty, or has braces";
            return Err(Failure::Setting { what, allowed: "any other text" }.into());
        }
        if self.budget.is_zero() {
            return Err(Failure::Setting { what: "the timeout is zero", allowed: "more than that" }.into());
        }
        let mut address = Address::parse(&self.url)?;
        if let Some((user, password)) = &self.sentinel_login {
            address = address.with_sentinel_login(user.as_deref(), password);
        }
        Ok(RedisStore(Arc::new(Work {
            servers: Servers::new(address),
            names: Names::new(&self.namespace, self.tag.as_deref(), self.keys),
            budget: self.budget,
        })))
    }
}

/// Without credentials.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("namespace", &self.namespace)
            .field("tag", &self.tag)
            .field("keys", &self.keys)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
