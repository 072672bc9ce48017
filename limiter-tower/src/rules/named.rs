//! What reads rules, and the keys it knows by name.

use super::{
    error::{Mistake, RulesError},
    read::understand,
    rule::Rules,
    text::RulesFormat,
};
use crate::{ClientAddr, KeyError, KeyExtractor};
use http::request::Parts;
use std::{collections::BTreeMap, fmt, fs, net::IpAddr, path::Path, sync::Arc};

/// Reads [`Rules`] from text or a file, and knows the keys that they may name.
///
/// It knows `global`, `method`, `header:NAME`, `cookie:NAME` and `query:NAME`; [`peer`](Self::peer) and
/// [`key`](Self::key) add to them. limiter-axum's `rules_reader()` knows the addresses and the routes of axum.
///
/// ```
/// use http::request::Parts;
/// use limiter_tower::{RulesFormat, RulesReader};
///
/// # fn main() -> Result<(), limiter_tower::RulesError> {
/// let reader = RulesReader::new().key("tenant", |request: &Parts| {
///     request.uri.path().split('/').nth(1).map(str::to_owned)
/// });
/// let rules = reader.parse(r#"policy = [{ name = "t", quota = "5/s", key = "tenant" }]"#, RulesFormat::Toml)?;
/// assert_eq!(rules.policy_names().map(ToString::to_string).collect::<Vec<_>>(), ["t"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, Debug)]
#[must_use]
pub struct RulesReader {
    named: Arc<Named>,
}

/// The keys that only the program knows.
#[derive(Clone, Default)]
pub(super) struct Named {
    pub(super) peer: Option<ClientAddr>,
    pub(super) keys: BTreeMap<String, Arc<dyn KeyExtractor>>,
}

impl RulesReader {
    /// A reader that knows the keys which need no more than a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets rules use `peer`, the address at the other end of the socket, and `client`, the one behind the `proxies`
    /// they name. `peer` finds it in a request; see [`ClientAddr::from_peer`].
    ///
    /// ```
    /// use limiter_tower::{KeyError, RulesReader};
    /// use std::net::SocketAddr;
    ///
    /// let reader = RulesReader::new().peer(|request| {
    ///     let peer = request.extensions.get::<SocketAddr>().map(SocketAddr::ip);
    ///     peer.ok_or(KeyError::new("the accept loop inserted no SocketAddr"))
    /// });
    /// # let _ = reader;
    /// ```
    pub fn peer(self, peer: impl Fn(&Parts) -> Result<IpAddr, KeyError> + Send + Sync + 'static) -> Self {
        self.with(|named| named.peer = Some(ClientAddr::from_peer(peer)))
    }

    /// Lets rules use a key of the program's own by this name; it goes before a ready-made one of the same name.
    pub fn key(self, name: impl Into<String>, key: impl KeyExtractor) -> Self {
        self.with(|named| {
            named.keys.insert(name.into(), Arc::new(key));
        })
    }

    /// Reads rules from text.
    ///
    /// # Errors
    /// [`RulesError`] with every mistake that was found.
    pub fn parse(&self, text: &str, format: RulesFormat) -> Result<Rules, RulesError> {
        let mistaken = |found: Vec<(usize, String)>| {
            let mistakes = found.into_iter().map(|(at, message)| Mistake::new(text, at, message));
            RulesError::mistakes_in(mistakes.collect())
        };
        let node = format.parse(text).map_err(mistaken)?;
        let said = understand(text, &node, &self.named).map_err(mistaken)?;
        Ok(Rules { said, named: Arc::clone(&self.named), source: None })
    }

    /// Reads rules from a file, of the format that its name ends in.
    ///
    /// # Errors
    /// [`RulesError`] where the file cannot be read, or with every mistake that was found.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Rules, RulesError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| RulesError::unreadable(path.to_owned(), error))?;
        self.parse_file(path, &text)
    }

    /// Reads rules from the text of the file `path`.
    pub(super) fn parse_file(&self, path: &Path, text: &str) -> Result<Rules, RulesError> {
        let format = RulesFormat::of_path(path).ok_or_else(|| RulesError::no_format(path.to_owned()))?;
        let rules = self.parse(text, format).map_err(|error| error.in_file(path.to_owned()))?;
        Ok(Rules { source: Some((path.to_owned(), text.into())), ..rules })
    }

    fn with(self, change: impl FnOnce(&mut Named)) -> Self {
        let mut named = Arc::unwrap_or_clone(self.named);
        change(&mut named);
        Self { named: Arc::new(named) }
    }
}

impl Rules {
    /// A reader that knows the same keys.
    pub(super) fn reader(&self) -> RulesReader {
        RulesReader { named: Arc::clone(&self.named) }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("peer", &self.peer).field("keys", &self.keys.keys()).finish()
    }
}
