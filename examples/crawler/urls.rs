//! A list of URLs to crawl: one a line, blank lines and lines that start with `#` skipped.

use std::{fmt, fs, path::Path};

use anyhow::Context;
use reqwest::Url;

use super::client::authority;

/// How many bad lines an error shows.
const SHOWN: usize = 10;

/// The URLs of a file by host, in the order in which the hosts first appear.
///
/// # Errors
/// A file that cannot be read, a line that is not an http URL, or no URL at all.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<(String, Vec<Url>)>> {
    let name = path.display();
    let list = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let urls = parse(&list).with_context(|| format!("cannot crawl {name}"))?;
    anyhow::ensure!(!urls.is_empty(), "{name} has no URL: write one a line, such as http://example.com/page");
    Ok(by_host(urls))
}

fn parse(list: &str) -> Result<Vec<Url>, BadLines> {
    let (mut urls, mut bad) = (Vec::new(), Vec::new());
    let list = list.trim_start_matches('\u{feff}');
    for (line, number) in list.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(url) => urls.push(url),
            Err(reason) => bad.push(format!("line {number}: {reason}")),
        }
    }
    if bad.is_empty() { Ok(urls) } else { Err(BadLines(bad)) }
}

fn parse_line(line: &str) -> Result<Url, String> {
    const ALLOWED: &str = "write it as http://host/path";
    if !line.contains("://") {
        return Err(format!("not a whole URL: {ALLOWED}"));
    }
    let url = Url::parse(line).map_err(|error| format!("not a URL ({error}): {ALLOWED}"))?;
    match url.scheme() {
        "http" => Ok(url),
        "https" => Err("https:// needs TLS, which is not compiled into this example: only http:// is allowed".into()),
        scheme => Err(format!("{scheme}:// is not allowed: only http:// is")),
    }
}

fn by_host(urls: Vec<Url>) -> Vec<(String, Vec<Url>)> {
    let mut hosts: Vec<(String, Vec<Url>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for url in urls {
        let host = authority(&url);
        let place = *places.entry(host).or_insert_with_key(|host| {
            hosts.push((host.clone(), Vec::new()));
            hosts.len() - 1
        });
        hosts[place].1.push(url);
    }
    hosts
}

/// What is wrong with the lines of a file, each with its number.
#[derive(Debug)]
pub(crate) struct BadLines(pub(crate) Vec<String>);

impl std::error::Error for BadLines {}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(f, "\n  {}", shown.join("\n  "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(list: &str) -> String {
        parse(list).unwrap_err().to_string()
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let list = "\u{feff}# a list\n\n  http://a.example/1#part  \r\n\t\n# end\nhttp://b.example:8080\n";
        let urls: Vec<_> = parse(list).unwrap().iter().map(Url::to_string).collect();
        assert_eq!(urls, ["http://a.example/1#part", "http://b.example:8080/"]);
    }

    #[test]
    fn bad_lines_are_named_with_what_is_allowed() {
        let complaint =
            complaint("http://a.example\n\nhttps://a.example\na.example/x\nlocalhost:80/x\nftp://a.example\n");
        let lines: Vec<_> = complaint.trim().lines().map(str::trim).collect();
        assert_eq!(lines.len(), 4, "{complaint}");
        assert!(lines[0].starts_with("line 3: https:// needs TLS"), "{complaint}");
        assert!(lines[1].starts_with("line 4: not a whole URL"), "{complaint}");
        assert!(lines[2].starts_with("line 5: not a whole URL"), "{complaint}");
        assert!(lines[3].starts_with("line 6: ftp:// is not allowed"), "{complaint}");
        assert!(lines.iter().all(|line| line.contains("http://")), "{complaint}");
    }

    #[test]
    fn hosts_are_required() {
        assert!(complaint("http://").contains("line 1: not a URL ("));
        assert!(complaint("http:///").contains("line 1: not a URL ("));
        assert!(complaint("http://a b/").contains("line 1: not a URL ("));
    }

    #[test]
    fn many_bad_lines_are_summed_up() {
        let complaint = complaint(&"nonsense\n".repeat(25));
        assert_eq!(complaint.trim().lines().count(), SHOWN + 1);
        assert!(complaint.ends_with("and 15 more"));
    }

    #[test]
    fn hosts_keep_their_order_and_their_ports() {
        let list = "http://b.example/1\nhttp://a.example:8080/1\nhttp://B.example:80/2\nhttp://me:secret@a.example/1";
        let hosts: Vec<_> = by_host(parse(list).unwrap()).into_iter().map(|(host, urls)| (host, urls.len())).collect();
        let expected = [("b.example", 2), ("a.example:8080", 1), ("a.example", 1)];
        assert_eq!(hosts, expected.map(|(host, urls)| (host.to_owned(), urls)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("no/such/list")).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read no/such/list: "));
    }
}
