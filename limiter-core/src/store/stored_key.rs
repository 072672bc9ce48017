//! How keys are named where others can read them: on a server, in a file.

use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::{fmt, sync::Arc};

/// The longest key that is stored as it is, in bytes.
const LONGEST: usize = 64;

/// Which keys are stored as they are, and which as a digest.
#[derive(Clone, Default)]
pub(crate) enum StoredKeys {
    /// Those of up to 64 bytes as they are, longer ones as their SHA-256.
    #[default]
    Short,
    /// All as their SHA-256 under a secret: for keys that are personal data.
    Secret(Arc<[u8]>),
}

/// A key as it is stored: a tag, and its bytes or its digest.
pub(crate) type StoredKey = SmallVec<[u8; LONGEST + 1]>;

/// Tags: a digest never equals another key's own bytes.
const AS_IT_IS: u8 = b'=';
const DIGEST: u8 = b'#';

impl StoredKeys {
    /// All keys as digests under `secret`.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self::Secret(Sha256::digest(secret).as_slice().into())
    }

    /// `key` as it is stored.
    pub(crate) fn store(&self, key: &[u8]) -> StoredKey {
        let mut stored = StoredKey::new();
        match self {
            Self::Short if key.len() <= LONGEST => {
                stored.push(AS_IT_IS);
                stored.extend_from_slice(key);
            }
            Self::Short => digest(&mut stored, &[], key),
            Self::Secret(secret) => digest(&mut stored, secret, key),
        }
        stored
    }
}

fn digest(stored: &mut StoredKey, secret: &[u8], key: &[u8]) {
    stored.push(DIGEST);
    stored.extend_from_slice(&Sha256::new().chain_update(secret).chain_update(key).finalize());
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "Short",
            Self::Secret(_) => "Secret",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_stored_alike() {
        let long = [b'a'; 65];
        let digest_of_long = Sha256::digest(long);
        let keys: [&[u8]; 6] = [b"", b"=", b"#", &long[..64], &long, &digest_of_long];
        for (stored, name) in [(StoredKeys::Short, "short"), (StoredKeys::secret(b"s"), "secret")] {
            let names: std::collections::HashSet<StoredKey> = keys.iter().map(|key| stored.store(key)).collect();
            assert_eq!(names.len(), keys.len(), "{name}");
            assert!(names.iter().all(|name| name.len() <= LONGEST + 1));
        }
    }

    #[test]
    fn a_secret_leaves_no_key_readable() {
        let stored = StoredKeys::secret(b"pepper").store(b"ada@example.com");
        assert_eq!((stored.len(), stored[0]), (33, b'#'));
        assert_ne!(stored, StoredKeys::secret(b"salt").store(b"ada@example.com"));
        assert_eq!(format!("{:?}", StoredKeys::secret(b"pepper")), "Secret");
    }
}
