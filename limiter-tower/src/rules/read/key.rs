//! Keys by name.

use super::{
    Report,
    value::{one_or_more, text},
};
use crate::rules::{nearest::instead, rule::KeyPart, text::Node};
use http::HeaderName;

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Vec<KeyPart> {
    let nodes = one_or_more(node);
    if nodes.is_empty() {
        report.add(node.at.start, "the key is a list without members: name some, or write \"global\"");
    }
    let parts: Vec<_> = nodes.iter().map(|node| part(node, report)).collect();
    parts.into_iter().flatten().collect()
}

fn part(node: &Node, report: &mut Report<'_>) -> Option<KeyPart> {
    let word = text(node, "a key", report)?;
    if report.named.keys.contains_key(word) {
        return Some(KeyPart::Named(word.to_owned()));
    }
    match (word, word.split_once(':')) {
        ("global", _) => return Some(KeyPart::Global),
        ("method", _) => return Some(KeyPart::Method),
        ("peer", _) if report.named.peer.is_some() => return Some(KeyPart::Peer),
        ("client", _) if report.named.peer.is_some() => return Some(KeyPart::Client),
        (_, Some((kind @ ("header" | "cookie" | "query"), name))) => return by_name(node, kind, name, report),
        ("header" | "cookie" | "query", _) => {
            report.add(node.at.start, format!("the key {word:?} needs a name behind a colon: \"{word}:NAME\""));
            return None;
        }
        _ => {}
    }
    let with_a_name = word.split_once(':');
    let kind = with_a_name.map_or(word, |(kind, _)| kind);
    let instead = match with_a_name {
        Some(_) => instead(kind, ["header", "cookie", "query"]),
        None => instead(kind, known(report)),
    };
    report.add(node.at.start, format!("there is no key {kind:?}{instead}"));
    None
}

fn by_name(node: &Node, kind: &str, name: &str, report: &mut Report<'_>) -> Option<KeyPart> {
    let part = match kind {
        "header" => HeaderName::try_from(name).ok().map(KeyPart::Header),
        _ if name.is_empty() => None,
        "cookie" => Some(KeyPart::Cookie(name.to_owned())),
        _ => Some(KeyPart::Query(name.to_owned())),
    };
    if part.is_none() {
        let written = format!("{kind}:{name}");
        let at = report.inside(node, &written, kind.len() + 1);
        report.add(at, format!("{name:?} is no name of a {kind}"));
    }
    part
}

/// The names that keys can have here.
fn known<'a>(report: &'a Report<'_>) -> impl Iterator<Item = &'a str> {
    let addresses = report.named.peer.iter().flat_map(|_| ["peer", "client"]);
    let own = report.named.keys.keys().map(String::as_str);
    ["global", "method", "header:NAME", "cookie:NAME", "query:NAME"].into_iter().chain(addresses).chain(own)
}
