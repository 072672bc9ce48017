//! A file of quotas: TOML, a line a host or domain.

use std::{fs, path::Path};

use anyhow::Context;
use limiter_core::Limiter;
use limiter_reqwest::Limits;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{client::limiter, urls::BadLines};

/// The table of quotas that are for a name and all below it together.
const DOMAINS: &str = "domains";

/// `limits`, and the rules of a file.
///
/// # Errors
/// A file that cannot be read, that is not TOML, or whose lines are not all a host or domain and its quota.
pub(crate) fn read(path: &Path, limits: Limits) -> anyhow::Result<Limits> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    parse(&text, limits).with_context(|| format!("cannot keep to {name}"))
}

fn parse(text: &str, mut limits: Limits) -> anyhow::Result<Limits> {
    let file = DeTable::parse(text)?;
    let mut bad = Vec::new();
    for (name, value) in file.get_ref() {
        match value.get_ref() {
            DeValue::Table(domains) if name.get_ref() == DOMAINS => {
                for (name, value) in domains {
                    add(&mut limits, &mut bad, (name.get_ref(), name.span().start), value, Limits::domain);
                }
            }
            DeValue::Table(_) => bad.push((
                name.span().start,
                format!(
                    "`{}` is no host: write those with a dot in quotes, as in \"example.com\" = \"5/s\"",
                    name.get_ref()
                ),
            )),
            _ => add(&mut limits, &mut bad, (name.get_ref(), name.span().start), value, Limits::host),
        }
    }
    if bad.is_empty() {
        return Ok(limits);
    }
    bad.sort();
    let line = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    let bad = bad.into_iter().map(|(at, reason)| format!("line {}: {reason}", line(at)));
    Err(BadLines(bad.collect()).into())
}

/// Adds a rule, or what is wrong with it and where.
fn add(
    limits: &mut Limits,
    bad: &mut Vec<(usize, String)>,
    (name, at): (&str, usize),
    value: &Spanned<DeValue<'_>>,
    rule: fn(Limits, String, Limiter) -> Limits,
) {
    let DeValue::String(quota) = value.get_ref() else {
        bad.push((at, format!("the quota of `{name}` is no text: write one as in \"{name}\" = \"5/s, 1000/h\"")));
        return;
    };
    let limiter = match limiter(quota) {
        Ok(limiter) => limiter,
        Err(error) => return bad.push((value.span().start, format!("the quota of `{name}`: {error:#}"))),
    };
    match rule(Limits::new(limiter.clone()), name.to_owned(), limiter.clone()).checked() {
        Ok(_) => *limits = rule(limits.clone(), name.to_owned(), limiter),
        Err(flaw) => bad.push((at, flaw.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Limits> {
        parse(text, Limits::new(limiter("10/s").unwrap()))
    }

    #[tokio::test]
    async fn the_most_specific_line_is_a_hosts_quota() {
        let limits = read(
            "# ours\n\"a.example\" = \"5/s\"\n\"*.example\" = \"gcra 3/s\"\n\"b.example:81\" = '2/s'\n\
             [domains]\n\"shop.test\" = \"1/s\"\n",
        )
        .unwrap();
        for (url, quota) in [
            ("http://a.example/x", "sliding_log 5/s"),
            ("http://b.example/", "3/s"),
            ("http://b.example:81/", "sliding_log 2/s"),
            ("http://img.shop.test/", "sliding_log 1/s"),
            ("http://elsewhere.test/", "sliding_log 10/s"),
        ] {
            let status = limits.status(&url.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(status.quota.to_string(), quota, "{url}");
        }
    }

    #[test]
    fn each_bad_line_is_named_with_what_is_allowed() {
        let error = read(
            "\"http://a\" = \"5/s\"\n\"b.example\" = \"5 apples\"\nc.example = \"5/s\"\n\"d.example\" = 5\n\
             [domains]\n\"e.example:80\" = \"1/s\"\n",
        )
        .unwrap_err()
        .to_string();
        for expected in [
            "line 1: `http://a` is no host: allowed are",
            "line 2: the quota of `b.example`: ",
            "line 3: `c` is no host: write those with a dot in quotes",
            "line 4: the quota of `d.example` is no text",
            "line 6: `e.example:80` is no domain: allowed is",
        ] {
            assert!(error.contains(expected), "{expected} is not in\n{error}");
        }
        let error = read("\"a.example\" = \"5/s\"\n\"a.example\" = \"6/s\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("duplicate"), "{error}");
    }
}
