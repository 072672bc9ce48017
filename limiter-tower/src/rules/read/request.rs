//! Which requests: a path, or a table of methods, paths and hosts.

use super::{
    Report,
    table::Table,
    value::{one_or_more, text},
};
use crate::rules::{
    nearest::instead,
    request::{Pattern, RequestRule},
    text::{Node, Value},
};
use http::Method;

/// Requests of any of these kinds.
pub(super) fn any(node: &Node, what: &'static str, report: &mut Report<'_>) -> Vec<RequestRule> {
    one_or_more(node).iter().filter_map(|node| one(node, what, report)).collect()
}

pub(super) fn one(node: &Node, what: &'static str, report: &mut Report<'_>) -> Option<RequestRule> {
    if let Value::Text(_) = node.value {
        return Some(RequestRule { paths: vec![path(node, report)?], ..RequestRule::default() });
    }
    let mut table = Table::of(node, what, report)?;
    if table.is_empty() {
        report.add(node.at.start, format!("{what} is for all requests: write a method, a path or a host"));
    }
    let rule = RequestRule {
        methods: each(table.get("method"), report, method),
        paths: each(table.get("path"), report, path),
        hosts: each(table.get("host"), report, host),
    };
    table.finish(&[], report);
    Some(rule)
}

/// What `read` makes of each of the values; an empty list, which would be any request, is a mistake.
fn each<T>(node: Option<&Node>, report: &mut Report<'_>, read: impl Fn(&Node, &mut Report<'_>) -> Option<T>) -> Vec<T> {
    let Some(node) = node else { return Vec::new() };
    let nodes = one_or_more(node);
    if nodes.is_empty() {
        report.add(node.at.start, "an empty list is no request: write what it is for, or leave it out for any");
    }
    nodes.iter().filter_map(|node| read(node, report)).collect()
}

fn method(node: &Node, report: &mut Report<'_>) -> Option<Method> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
    let word = text(node, "a method", report)?;
    let is_upper = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let method = Method::from_bytes(word.as_bytes()).ok().filter(|_| is_upper);
    if method.is_none() {
        let instead = instead(word, KNOWN);
        report.add(node.at.start, format!("{word:?} is no method, which is capital letters{instead}"));
    }
    method
}

fn path(node: &Node, report: &mut Report<'_>) -> Option<Pattern> {
    let path = text(node, "a path", report)?;
    let (start, is_prefix) = path.strip_suffix('*').map_or((path, false), |start| (start, true));
    if path.starts_with('/') && !start.contains(['*', '?', '#']) && (!is_prefix || start.ends_with('/')) {
        let start = start.to_owned();
        return Some(if is_prefix { Pattern::StartsWith(start) } else { Pattern::Exactly(start) });
    }
    report.add(node.at.start, format!("{path:?} is no path: write \"/search\" for one, \"/api/*\" for all below"));
    None
}

fn host(node: &Node, report: &mut Report<'_>) -> Option<Pattern> {
    let host = text(node, "a host", report)?.to_ascii_lowercase();
    let (end, is_suffix) = host.strip_prefix("*.").map_or((host.as_str(), false), |end| (end, true));
    let is_address = end.starts_with('[') && end.ends_with(']');
    if !end.is_empty() && !end.contains(['*', '/', '@', ' ']) && (is_address || !end.contains(':')) {
        return Some(if is_suffix { Pattern::EndsWith(format!(".{end}")) } else { Pattern::Exactly(host) });
    }
    let example = "write \"api.example.com\" for one, \"*.example.com\" for all below, without scheme and port";
    report.add(node.at.start, format!("{host:?} is no host: {example}"));
    None
}
