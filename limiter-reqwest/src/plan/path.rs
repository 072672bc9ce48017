//! Paths as rules name them, however they are spelled.
//!
//! Servers take several spellings for one path: nginx and Apache merge slashes, and nginx reads `%2F` as one. Whoever is
//! counted for `/v2/search` there is to be counted for it here. Others tell these paths apart; then more requests meet the
//! rule than there would have to.

use super::error::{Kind, PlanError};
use reqwest::Url;

/// The prefix of a path, in whole segments; without a slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, PlanError> {
    let wrong = || PlanError::new(Kind::Path, text);
    if !text.starts_with('/') || text.contains(['?', '#']) {
        return Err(wrong());
    }
    let mut url = Url::parse("http://a/").map_err(|_| wrong())?;
    url.set_path(text);
    Ok(plain(url.path()).trim_end_matches('/').to_owned())
}

/// What a request's path can be to its server.
pub(super) struct Path {
    plain: String,
    /// With the slashes that were escaped; none where there are no such.
    unescaped: Option<String>,
}

impl Path {
    /// The path of `url`, which has no segments `.` and `..`, be they escaped or not.
    pub(super) fn of(url: &Url) -> Self {
        let plain = plain(url.path());
        let unescaped = plain.contains("%2F").then(|| without_dots(&plain.replace("%2F", "/")));
        Self { plain, unescaped }
    }

    /// Whether it is `prefix`, or goes on with another segment.
    pub(super) fn is_under(&self, prefix: &str) -> bool {
        let is_under =
            |path: &String| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_under(&self.plain) || self.unescaped.as_ref().is_some_and(is_under)
    }
}

/// `path` with escapes only where they are needed, in upper case (RFC 3986, section 6.2.2): to a server, `/s%65arch` is
/// `/search`. Of slashes in a row, one.
fn plain(path: &str) -> String {
    let mut parts = path.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).zip(part.get(2..));
        match escaped {
            Some((byte, rest)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(byte.into());
                plain += rest;
            }
            Some((byte, rest)) => plain += &format!("%{byte:02X}{rest}"),
            None => plain += &format!("%{part}"),
        }
    }
    if plain.contains("//") { merged(&plain) } else { plain }
}

fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}

/// Of slashes in a row one, and no segments `.` and `..`: those that begin or end with a slash that was escaped.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        match segment {
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_under(path: &str, text: &str) -> bool {
        Path::of(&format!("http://a{path}").parse().unwrap()).is_under(&prefix(text).unwrap())
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "v2", "/v2?x=1", "/#a"] {
            assert_eq!(prefix(text), Err(PlanError::new(Kind::Path, text)), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for path in ["/v2/search", "/v2/search/", "/v2/search/x"] {
            assert!(is_under(path, "/v2/search") && is_under(path, "/v2/search/") && is_under(path, "/"), "{path}");
        }
        for path in ["/v2/searching", "/v2", "/V2/search", "/x/v2/search"] {
            assert!(!is_under(path, "/v2/search"), "{path}");
        }
    }

    #[test]
    fn escapes_that_are_not_needed_make_no_other_path() {
        for (path, text) in
            [("/a%20b/c", "/a b"), ("/v2/se%61rch/x", "/v2/search"), ("/%7e%c3%bc", "/~ü"), ("/a%2fb", "/a%2Fb")]
        {
            assert!(is_under(path, text), "{path}");
        }
        for path in ["/v2/search%", "/v2/search%zz", "/v2/search%2", "/v2/%s%65arch"] {
            assert!(!is_under(path, "/v2/search"), "{path}");
        }
    }

    #[test]
    fn no_spelling_gets_round_a_prefix() {
        for path in [
            "//v2/search",
            "/v2//search",
            "///v2///search//",
            "/v2/./search",
            "/./v2/search",
            "/v2/x/../search",
            "/../v2/search",
            "/v2/%2e/search",
            "/v2/x/%2E%2e/search",
            r"\v2\search",
            "/v2%2Fsearch",
            "/v2%2fsearch%2Fx",
            "/%2Fv2/search",
            "/v2%2F.%2Fsearch",
            "/v2%2Fx%2F..%2Fsearch",
            "/x%2F..%2Fv2/search",
        ] {
            for text in ["/v2/search", "/v2//search/", "//v2/./search"] {
                assert!(is_under(path, text), "{path} {text}");
            }
        }
        for path in ["/v2/search/../other", "/v2/search%2F..", "/v2%2Fsearching", "/v2%252Fsearch"] {
            assert!(!is_under(path, "/v2/search"), "{path}");
        }
    }
}
