//! Names of keys on the server, and the slot of a Cluster that each is in.
//!
//! `limiter:1:4{=ada}:api`: the namespace, the format's version, how long the stored key is, the stored key (its tag `=`
//! or `#`, then its bytes or their digest), how often the limiter was restarted (nothing for never), its name. The length
//! keeps names apart whatever bytes keys and names hold. With a hash tag of its own, a store writes
//! `limiter:1:{tag}4=ada:api` instead, and all its names are in one slot.

use super::format;
use crate::store::{Scope, stored_key::StoredKeys};

/// How a store names its keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    tag: Option<String>,
    keys: StoredKeys,
}

impl Names {
    pub(super) fn new(namespace: &str, tag: Option<&str>, keys: StoredKeys) -> Self {
        let prefix = format!("{namespace}:{}:", format::VERSION);
        Self { prefix, tag: tag.map(str::to_owned), keys }
    }

    /// The name of a limiter's key.
    pub(super) fn name(&self, scope: &Scope, key: &[u8]) -> Vec<u8> {
        let stored = self.keys.store(key);
        let mut name = Vec::with_capacity(self.prefix.len() + stored.len() + scope.name().len() + 16);
        name.extend(self.prefix.bytes());
        let length = stored.len().to_string();
        match &self.tag {
            None => {
                name.extend(length.bytes());
                name.push(b'{');
                name.extend_from_slice(&stored);
                name.push(b'}');
            }
            Some(tag) => {
                name.push(b'{');
                name.extend(tag.bytes());
                name.push(b'}');
                name.extend(length.bytes());
                name.extend_from_slice(&stored);
            }
        }
        if scope.start() > 0 {
            name.extend(scope.start().to_string().bytes());
        }
        name.push(b':');
        name.extend(scope.name().bytes());
        name
    }

    /// The pattern of all names in the namespace.
    pub(super) fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.prefix.bytes() {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// Whether a name that fits the pattern is of this namespace, and not of a longer one.
    pub(super) fn is_ours(&self, name: &[u8]) -> bool {
        let Some(rest) = name.strip_prefix(self.prefix.as_bytes()) else { return false };
        rest.iter().find(|byte| !byte.is_ascii_digit()) == Some(&b'{')
    }
}

/// The slots of a Cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a name: of what stands between its first `{` and the next `}`, if that is anything.
pub(super) fn slot(name: &[u8]) -> u16 {
    let tag = name.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &name[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0).map(|close| &rest[..close])
    });
    crc16(tag.unwrap_or(name)) % SLOTS
}

/// CRC-16/XMODEM, as the Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 > 0 { (crc << 1) ^ 0x1021 } else { crc << 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn names(tag: Option<&str>) -> Names {
        Names::new("limiter", tag, StoredKeys::default())
    }

    #[test]
    fn names_are_as_documented() {
        let (scope, restarted) = (Scope::new("api"), Scope::new("api").next());
        assert_eq!(names(None).name(&scope, b"ada"), b"limiter:1:4{=ada}:api");
        assert_eq!(names(None).name(&restarted, b"ada"), b"limiter:1:4{=ada}1:api");
        assert_eq!(names(Some("t")).name(&scope, b"ada"), b"limiter:1:{t}4=ada:api");
    }

    #[test]
    fn no_two_keys_or_limiters_meet() {
        let parts: [&[u8]; 12] = [b"", b"a", b"}", b"{", b"a}", b"{a}", b"}:", b":", b"1:", b"}1:", b"a}:b", b"\0\xff"];
        for names in [names(None), names(Some("tag"))] {
            let all: Vec<Vec<u8>> = parts
                .iter()
                .flat_map(|key| {
                    let scopes = parts.map(|part| Scope::new(String::from_utf8_lossy(part)));
                    scopes.into_iter().flat_map(|scope| [scope.next(), scope]).map(|scope| names.name(&scope, key))
                })
                .collect();
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            assert!(all.iter().all(|name| names.is_ours(name)));
        }
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        let all_in_one = names(Some("tag"));
        let key = |key: &[u8]| slot(&all_in_one.name(&Scope::new("{a}"), key));
        assert_eq!(key(b"}{"), key(b"{x}"));
    }

    #[test]
    fn a_longer_namespace_is_another() {
        let (short, long) = (names(None), Names::new("limiter:1", None, StoredKeys::default()));
        let name = long.name(&Scope::new("api"), b"ada");
        assert!(long.is_ours(&name) && !short.is_ours(&name));
        assert_eq!(Names::new("a*[b]", None, StoredKeys::default()).pattern(), br"a\*\[b\]:1:*");
    }
}
