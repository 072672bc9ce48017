//! Single values: quotas, numbers, words.

use super::Report;
use crate::rules::{
    nearest::instead,
    status::StatusRule,
    text::{Node, Value},
};
use limiter_core::{Quota, QuotaError, Rate};
use std::time::Duration;

pub(super) fn text<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => {
            report.not(node, what, "text");
            None
        }
    }
}

pub(super) fn flag(node: &Node, what: &str, report: &mut Report<'_>) -> bool {
    match node.value {
        Value::Flag(flag) => flag,
        _ => {
            report.not(node, what, "true or false");
            false
        }
    }
}

/// A whole number up to `most`.
pub(super) fn whole(node: &Node, what: &str, most: u64, report: &mut Report<'_>) -> Option<u64> {
    let Value::Whole(number) = node.value else {
        report.not(node, what, "a whole number");
        return None;
    };
    let fitting = u64::try_from(number).ok().filter(|number| *number <= most);
    if fitting.is_none() {
        report.add(node.at.start, format!("{what} is {number}; allowed: 0 to {most}"));
    }
    fitting
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    node: &Node,
    what: &str,
    choices: &[(&'static str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    let word = text(node, what, report)?;
    let chosen = choices.iter().find(|(name, _)| *name == word);
    if chosen.is_none() {
        let instead = instead(word, choices.iter().map(|(name, _)| *name));
        report.add(node.at.start, format!("{word:?} is no {what}{instead}"));
    }
    chosen.map(|(_, choice)| *choice)
}

/// The members of a list, or the one value that stands for a list of one.
pub(super) fn one_or_more(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(nodes) => nodes,
        _ => std::slice::from_ref(node),
    }
}

/// A quota, in any of its forms.
pub(super) fn quota(node: &Node, report: &mut Report<'_>) -> Option<Quota> {
    let text = match &node.value {
        Value::Text(text) => text,
        Value::List(_) | Value::Table(_) => {
            return node.read().map_err(|(at, message)| report.add(at, message)).ok();
        }
        _ => {
            report.not(
                node,
                "a quota",
                "text such as \"5/s, 1000/h\", a list of rates, or a table of algorithm and rates",
            );
            return None;
        }
    };
    match text.parse() {
        Ok(quota) => return Some(quota),
        Err(QuotaError::Text { at, len, allowed, .. }) => {
            let message = match text.get(at..at + len).filter(|part| !part.is_empty()) {
                Some(part) => format!("the quota has {part:?}, where it needs {allowed}"),
                None => format!("the quota ends, where it needs {allowed}"),
            };
            report.add(report.inside(node, text, at), message);
        }
        Err(QuotaError::Part { at, error, .. }) => report.add(report.inside(node, text, at), error.to_string()),
        Err(error) => report.add(node.at.start, error.to_string()),
    }
    None
}

/// A time: text such as `"1500ms"`, or whole seconds.
pub(super) fn duration(node: &Node, what: &str, report: &mut Report<'_>) -> Option<Duration> {
    let read = match &node.value {
        Value::Whole(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Text(text) => time(text),
        _ => None,
    };
    if read.is_none() {
        let message = format!("{what} is a time such as \"10s\" or \"500ms\", or a number of seconds");
        report.add(node.at.start, message);
    }
    read
}

/// A time as it is written in rates, which is the one text form of times there is.
fn time(text: &str) -> Option<Duration> {
    match format!("1/{text}").parse::<Rate>() {
        Ok(rate) => Some(rate.period()).filter(|time| Rate::new(1, *time).as_ref() == Ok(&rate)),
        Err(QuotaError::Part { error, .. }) if *error == QuotaError::ZeroPeriod => Some(Duration::ZERO),
        Err(_) => None,
    }
}

/// Statuses: `401`, `"5xx"`, or a list of them.
pub(super) fn statuses(node: &Node, what: &str, report: &mut Report<'_>) -> Vec<StatusRule> {
    let nodes = one_or_more(node);
    if nodes.is_empty() {
        report
            .add(node.at.start, format!("{what} names no status: write some, such as 401 or \"5xx\", or leave it out"));
    }
    let read = nodes.iter().filter_map(|node| {
        let status = match &node.value {
            Value::Whole(number) => StatusRule::of_number(*number),
            Value::Text(text) => StatusRule::of_text(text),
            _ => None,
        };
        if status.is_none() {
            report
                .add(node.at.start, format!("{what} is a status from 100 to 599, or a class of them such as \"5xx\""));
        }
        status
    });
    read.collect()
}
