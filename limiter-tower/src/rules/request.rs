//! Which requests a rule is for.

use http::{Method, header::HOST, request::Parts};
use std::fmt;

/// Requests by method, path and host; an empty list is any.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct RequestRule {
    pub(super) methods: Vec<Method>,
    pub(super) paths: Vec<Pattern>,
    pub(super) hosts: Vec<Pattern>,
}

/// A text, or all that have its beginning or its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    Exactly(String),
    /// `/api/*`: starts with `/api/`, or is `/api`.
    StartsWith(String),
    /// `*.example.com`: ends with `.example.com`.
    EndsWith(String),
}

impl RequestRule {
    pub(super) fn matches(&self, request: &Parts) -> bool {
        is_any_of(&self.methods, |method| is_method(method, &request.method))
            && is_any_of(&self.paths, |path| path.matches(request.uri.path()))
            && (self.hosts.is_empty()
                || host(request).is_some_and(|host| self.hosts.iter().any(|rule| rule.matches(&host))))
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(exact) => exact == text,
            Self::StartsWith(start) => text.starts_with(start) || start.strip_suffix('/') == Some(text),
            Self::EndsWith(end) => text.ends_with(end),
        }
    }
}

fn is_any_of<T>(rules: &[T], is_met: impl Fn(&T) -> bool) -> bool {
    rules.is_empty() || rules.iter().any(is_met)
}

/// `HEAD` is answered by the handler of `GET`, and counts as it.
fn is_method(rule: &Method, method: &Method) -> bool {
    rule == method || (rule == Method::GET && method == Method::HEAD)
}

/// The host that a request asks for, in lower case, without the port.
fn host(request: &Parts) -> Option<String> {
    let asked = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST)?.to_str().ok()?,
    };
    let asked = asked.rsplit_once('@').map_or(asked, |(_, host)| host);
    let (name, port) = asked.rsplit_once(':').unwrap_or((asked, ""));
    let host = if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { asked };
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

impl fmt::Display for RequestRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [list(&self.methods), list(&self.paths), list(&self.hosts)];
        let parts: Vec<String> =
            parts.into_iter().zip(["", "", "on "]).flat_map(|(part, word)| Some(format!("{word}{}", part?))).collect();
        f.write_str(&parts.join(" "))
    }
}

fn list<T: fmt::Display>(rules: &[T]) -> Option<String> {
    let rules: Vec<String> = rules.iter().map(T::to_string).collect();
    (!rules.is_empty()).then(|| rules.join("|"))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(exact) => f.write_str(exact),
            Self::StartsWith(start) => write!(f, "{start}*"),
            Self::EndsWith(end) => write!(f, "*{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(method: &str, uri: &str, host: &str) -> Parts {
        Request::builder().method(method).uri(uri).header("host", host).body(()).unwrap().into_parts().0
    }

    #[test]
    fn paths_are_exact_or_prefixes_that_end_at_a_slash() {
        let rule = |pattern| RequestRule { paths: vec![pattern], ..RequestRule::default() };
        let api = rule(Pattern::StartsWith("/api/".to_owned()));
        for (path, is_met) in
            [("/api/x", true), ("/api/", true), ("/api", true), ("/apix", false), ("/", false), ("/x/api/", false)]
        {
            assert_eq!(api.matches(&head("GET", path, "h")), is_met, "{path}");
        }
        let search = rule(Pattern::Exactly("/search".to_owned()));
        assert!(search.matches(&head("GET", "/search?q=1", "h")) && !search.matches(&head("GET", "/search/", "h")));
    }

    #[test]
    fn head_does_not_go_around_what_is_said_of_get() {
        let rule = RequestRule { methods: vec![Method::GET], ..RequestRule::default() };
        assert!(rule.matches(&head("HEAD", "/", "h")) && !rule.matches(&head("POST", "/", "h")));
    }

    #[test]
    fn a_host_is_the_same_in_any_case_and_on_any_port() {
        let exact = RequestRule { hosts: vec![Pattern::Exactly("a.example".to_owned())], ..RequestRule::default() };
        for host in ["a.example", "A.Example", "a.example:8080", "a.example."] {
            assert!(exact.matches(&head("GET", "/", host)), "{host}");
        }
        assert!(exact.matches(&head("GET", "http://a.example/", "b.example")), "HTTP/2 has it in the URI");
        assert!(!exact.matches(&head("GET", "/", "b.a.example")));
        let below = RequestRule { hosts: vec![Pattern::EndsWith(".example".to_owned())], ..RequestRule::default() };
        assert!(below.matches(&head("GET", "/", "a.example")) && !below.matches(&head("GET", "/", "example")));
        let v6 = RequestRule { hosts: vec![Pattern::Exactly("[::1]".to_owned())], ..RequestRule::default() };
        assert!(v6.matches(&head("GET", "/", "[::1]:80")) && v6.matches(&head("GET", "/", "[::1]")));
    }
}
