//! robots.txt, as RFC 9309 reads it, and the `Crawl-delay` that many write beside it.

use std::time::Duration;

use anyhow::Context;
use reqwest::Url;

use super::client::Paced;

/// How much of a file is read: the least that RFC 9309 asks for.
const MOST_BYTES: usize = 500 * 1024;

/// The longest delay that a host can ask for.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// What a host asks of this program.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Robots {
    rules: Vec<Rule>,
    pub(crate) delay: Option<Duration>,
}

#[derive(Debug, PartialEq)]
struct Rule {
    allows: bool,
    pattern: String,
}

impl Robots {
    /// What the host of `url` asks of `agent`; nothing where it has no such file.
    ///
    /// # Errors
    /// A host that does not answer, or with an error of its own: then nothing of it is to be crawled.
    pub(crate) async fn of(client: &Paced, url: &Url, agent: &str) -> anyhow::Result<Self> {
        let mut response = client.get(url.join("/robots.txt")?).await.context("its robots.txt")?;
        let status = response.status();
        anyhow::ensure!(!status.is_server_error(), "its robots.txt is answered with {}", status.as_u16());
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.context("its robots.txt")? {
            text.extend(part.iter().take(MOST_BYTES - text.len()));
        }
        Ok(if status.is_success() { Self::read(&String::from_utf8_lossy(&text), agent) } else { Self::default() })
    }

    /// What a file says to `agent`: the groups that name it, else those for all.
    fn read(text: &str, agent: &str) -> Self {
        let (mut own, mut any) = (None::<Self>, Self::default());
        let (mut is_own, mut is_any, mut in_agents) = (false, false, false);
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((field, value)) = line.split_once(':').map(|(field, value)| (field.trim(), value.trim())) else {
                continue;
            };
            if field.eq_ignore_ascii_case("user-agent") {
                if !in_agents {
                    (is_own, is_any, in_agents) = (false, false, true);
                }
                is_any |= value == "*";
                if value.eq_ignore_ascii_case(agent) {
                    is_own = true;
                    own.get_or_insert_default();
                }
                continue;
            }
            in_agents = false;
            if is_any {
                any.add(field, value);
            }
            if let Some(own) = own.as_mut().filter(|_| is_own) {
                own.add(field, value);
            }
        }
        own.unwrap_or(any)
    }

    fn add(&mut self, field: &str, value: &str) {
        let allows = field.eq_ignore_ascii_case("allow");
        if (allows || field.eq_ignore_ascii_case("disallow")) && !value.is_empty() {
            self.rules.push(Rule { allows, pattern: value.to_owned() });
        } else if field.eq_ignore_ascii_case("crawl-delay") {
            let delay = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            self.delay = delay.filter(|delay| delay.as_micros() > 0).map(|delay| delay.min(LONGEST_DELAY));
        }
    }

    /// Whether `url` may be crawled: the longest rule for it says so, or there is none.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let rules = self.rules.iter().filter(|rule| matches(&rule.pattern, &path));
        rules.max_by_key(|rule| (rule.pattern.len(), rule.allows)).is_none_or(|rule| rule.allows)
    }
}

/// Whether `path` begins as `pattern` says, where `*` is anything and a `$` at the end the end.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, to_end) = pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let last = if to_end { parts.pop() } else { None };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    last.map_or(!to_end || rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, path: &str) -> bool {
        Robots::read(text, "our-bot").allows(&Url::parse(&format!("http://a.example{path}")).unwrap())
    }

    #[test]
    fn the_longest_rule_for_a_path_holds() {
        let text = "User-agent: *\nDisallow: /private\nAllow: /private/open # but this\nDisallow: /*.pdf$\nDisallow:\n";
        for (path, expected) in [
            ("/", true),
            ("/private", false),
            ("/private/x", false),
            ("/private/open/x", true),
            ("/a/b.pdf", false),
            ("/a/b.pdf?page=2", true),
        ] {
            assert_eq!(allows(text, path), expected, "{path}");
        }
        assert!(allows("User-agent: *\nDisallow: /x\nAllow: /x\n", "/x"), "of two as long, the one that allows");
        assert!(allows("", "/x") && allows("Disallow: /x", "/x"), "a rule without an agent is nobody's");
    }

    #[test]
    fn a_group_that_names_us_stands_instead_of_the_one_for_all() {
        let text = "user-agent: Our-Bot\nuser-agent: other\ncrawl-delay: 0.5\n\nUser-Agent: *\nDisallow: /\n";
        assert!(allows(text, "/x"));
        assert_eq!(Robots::read(text, "our-bot").delay, Some(Duration::from_millis(500)));
        assert!(!Robots::read(text, "third").allows(&Url::parse("http://a.example/").unwrap()));
    }

    #[test]
    fn absurd_delays_are_cut_or_ignored() {
        let delay = |value: &str| Robots::read(&format!("user-agent: *\ncrawl-delay: {value}"), "us").delay;
        assert_eq!(delay("1e9"), Some(LONGEST_DELAY));
        for value in ["0", "-1", "NaN", "inf", "soon", "", "1e-9", "1e300"] {
            assert_eq!(delay(value), None, "{value:?}");
        }
    }
}
