//! The rules by which a request finds its limiter.

use super::{
    PlanError, Policy, RequestKey,
    authority::Site,
    key,
    path::{Path, prefix},
};
use limiter_core::{KeyBuf, Limiter, Store};
use reqwest::{Request, Url};
use std::{collections::HashMap, fmt};

/// A limiter for each request, and what it is counted by there.
///
/// A quota that is found out while requests are made comes in here too: as the rule of a limiter
/// ([`Limiter::by_key`]), whose pace everything else then goes by.
#[derive(Clone)]
pub(crate) struct Plan<S: Store> {
    default: Policy<S>,
    sites: HashMap<Site, At<S>>,
    /// Whether some rule has a path: else none need be looked for.
    has_paths: bool,
    pub(crate) key: RequestKey,
    flaw: Option<PlanError>,
}

/// The rules of a site.
#[derive(Clone)]
struct At<S: Store> {
    whole: Option<Policy<S>>,
    /// The longest prefix first.
    paths: Vec<(String, Policy<S>)>,
}

/// The rule that a URL meets.
struct Met<'a, S: Store> {
    policy: &'a Policy<S>,
    domain: Option<String>,
    prefix: Option<&'a str>,
}

impl<S: Store> Plan<S> {
    pub(crate) fn new(limiter: Limiter<S>) -> Self {
        let default = Policy::new(limiter);
        Self { default, sites: HashMap::new(), has_paths: false, key: RequestKey::Host, flaw: None }
    }

    pub(crate) fn host(&mut self, host: &str, limiter: Limiter<S>) {
        self.add(Site::host(host), None, limiter);
    }

    pub(crate) fn domain(&mut self, name: &str, limiter: Limiter<S>) {
        self.add(Site::domain(name), None, limiter);
    }

    pub(crate) fn path(&mut self, host: &str, path: &str, limiter: Limiter<S>) {
        match prefix(path) {
            Ok(prefix) => self.add(Site::host(host), Some(prefix), limiter),
            Err(error) => self.note(error),
        }
    }

    fn add(&mut self, site: Result<Site, PlanError>, prefix: Option<String>, limiter: Limiter<S>) {
        let site = match site {
            Ok(site) => site,
            Err(error) => return self.note(error),
        };
        let policy = Policy::new(limiter);
        let at = self.sites.entry(site).or_insert_with(|| At { whole: None, paths: Vec::new() });
        match prefix {
            None => at.whole = Some(policy),
            Some(prefix) => {
                self.has_paths = true;
                at.paths.retain(|(known, _)| *known != prefix);
                let longer = at.paths.partition_point(|(known, _)| known.len() > prefix.len());
                at.paths.insert(longer, (prefix, policy));
            }
        }
    }

    /// The first flaw is the one to tell.
    fn note(&mut self, error: PlanError) {
        self.flaw.get_or_insert(error);
    }

    pub(crate) fn flaw(&self) -> Option<&PlanError> {
        self.flaw.as_ref()
    }

    /// Whether `policy` is the one of requests that no rule is for.
    pub(crate) fn is_default(&self, policy: &Policy<S>) -> bool {
        policy.id == self.default.id
    }

    /// The policy of this number.
    pub(crate) fn policy(&self, id: usize) -> Option<&Policy<S>> {
        let of_sites =
            self.sites.values().flat_map(|at| at.whole.iter().chain(at.paths.iter().map(|(_, policy)| policy)));
        std::iter::once(&self.default).chain(of_sites).find(|policy| policy.id == id)
    }

    /// The limiter and the key of a request; no key where it is not limited.
    pub(crate) fn of(&self, request: &Request) -> (&Policy<S>, Option<KeyBuf>) {
        let Met { policy, domain, prefix } = self.met(request.url());
        let key = self.key.of(request, domain.as_deref());
        match (key, prefix) {
            (Some(key), Some(prefix)) if !self.key.is_custom() => (policy, Some(KeyBuf::of(&(key, prefix)))),
            (key, _) => (policy, key),
        }
    }

    fn met(&self, url: &Url) -> Met<'_, S> {
        if self.sites.is_empty() {
            return Met { policy: &self.default, domain: None, prefix: None };
        }
        let host = key::host(url);
        let domain = |site: &Site| match site {
            Site::Domain(name) => Some(name.clone()),
            _ => None,
        };
        if self.has_paths {
            let path = Path::of(url);
            let under = Site::of(&host, url).filter_map(|site| {
                let paths = &self.sites.get(&site)?.paths;
                let (prefix, policy) = paths.iter().find(|(prefix, _)| path.is_under(prefix))?;
                Some((prefix, policy, domain(&site)))
            });
            let longest = under.reduce(|best, next| if next.0.len() > best.0.len() { next } else { best });
            if let Some((prefix, policy, domain)) = longest {
                return Met { policy, domain, prefix: Some(prefix) };
            }
        }
        let whole = Site::of(&host, url).find_map(|site| Some((self.sites.get(&site)?.whole.as_ref()?, domain(&site))));
        let (policy, domain) = whole.unwrap_or((&self.default, None));
        Met { policy, domain, prefix: None }
    }
}

impl<S: Store> fmt::Debug for Plan<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plan = f.debug_struct("Plan");
        plan.field("default", &self.default).field("sites", &self.sites.keys()).field("key", &self.key);
        plan.field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Method;

    fn limiter(name: &str) -> Limiter {
        Limiter::builder("sliding_log 1/s".parse().unwrap()).name(name).build()
    }

    fn request(url: &str) -> Request {
        Request::new(Method::GET, url.parse().unwrap())
    }

    fn plan() -> Plan<limiter_core::MemoryStore> {
        let mut plan = Plan::new(limiter("default"));
        for host in ["A.example", "a.example:8080", "b.example:443", "[::1]:81", "*.api.example", "*.v2.api.example"] {
            plan.host(host, limiter(host));
        }
        plan.domain("shop.example", limiter("shop"));
        plan.path("a.example", "/v2", limiter("/v2"));
        plan.path("a.example", "/v2/search/", limiter("/v2/search"));
        plan.path("*.api.example", "/export", limiter("/export"));
        plan.path("a.example:8080", "/v2", limiter(":8080/v2"));
        plan.path("*", "/v2/search/all", limiter("*/all"));
        plan
    }

    #[test]
    fn the_most_specific_rule_goes_first() {
        let plan = plan();
        for (url, expected) in [
            ("https://a.example/x", "A.example"),
            ("http://user@a.example:81", "A.example"),
            ("http://a.example:8080", "a.example:8080"),
            ("https://b.example", "b.example:443"),
            ("http://b.example", "default"),
            ("http://[::1]:81/", "[::1]:81"),
            ("http://aa.example", "default"),
            // Below a name, not the name itself; the longer name first.
            ("https://x.api.example", "*.api.example"),
            ("https://x.y.api.example", "*.api.example"),
            ("https://x.v2.api.example", "*.v2.api.example"),
            ("https://v2.api.example", "*.api.example"),
            ("https://api.example", "default"),
            ("https://xapi.example", "default"),
            ("https://shop.example", "shop"),
            ("https://eu.shop.example:8443", "shop"),
            // A path goes before hosts without one, the longer one first, and ends where a segment does.
            ("https://a.example/v2", "/v2"),
            ("http://a.example:8080/v2/items", ":8080/v2"),
            ("http://a.example:8080/v2/search/1", "/v2/search"),
            ("http://a.example:8080/v2/search/all", "*/all"),
            // However the name is written.
            ("https://a.example./v2", "/v2"),
            ("https://x.api.example.", "*.api.example"),
            ("https://SHOP.example.:8443", "shop"),
            ("https://a.example/v2/search?q=1", "/v2/search"),
            ("https://a.example/v2/searching", "/v2"),
            ("https://a.example//v2/search", "/v2/search"),
            ("https://a.example/v2//search", "/v2/search"),
            ("https://a.example/v2/./search", "/v2/search"),
            ("https://a.example/v1/../v2/search", "/v2/search"),
            ("https://a.example/v2%2Fsearch", "/v2/search"),
            ("https://a.example/v22", "A.example"),
            ("https://x.v2.api.example/export/1", "/export"),
        ] {
            assert_eq!(plan.of(&request(url)).0.limiter.name(), expected, "{url}");
        }
        assert_eq!(plan.flaw(), None);
    }

    #[test]
    fn a_domain_shares_its_key_and_a_path_has_its_own() {
        let plan = plan();
        let key = |url: &str| plan.of(&request(url)).1.unwrap();
        assert_eq!(key("https://shop.example/a"), key("http://eu.shop.example:81/b"));
        assert_ne!(key("https://x.api.example/"), key("https://y.api.example/"));
        assert_eq!(key("https://a.example/v2/a"), key("https://a.example/v2/b"));
        let different =
            ["https://a.example/", "https://a.example/v2", "https://a.example/v2/search", "http://a.example/v2"];
        for (i, a) in different.iter().enumerate() {
            for b in &different[..i] {
                assert_ne!(key(a), key(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_first_flaw_is_told() {
        let mut plan = Plan::new(limiter("default"));
        plan.path("a.example", "search", limiter("b"));
        plan.host("a example", limiter("a"));
        let expected =
            "`search` is no path prefix: allowed is one that begins with `/`, without `?` and `#` (`/v2/search`)";
        assert_eq!(plan.flaw().unwrap().to_string(), expected);
    }

    #[test]
    fn a_later_rule_for_the_same_takes_the_place_of_the_earlier() {
        let mut plan = plan();
        plan.host("a.example", limiter("new"));
        plan.path("a.example", "/v2/", limiter("new /v2"));
        assert_eq!(plan.of(&request("https://a.example")).0.limiter.name(), "new");
        assert_eq!(plan.of(&request("https://a.example/v2")).0.limiter.name(), "new /v2");
    }
}
