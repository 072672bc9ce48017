//! A policy.

use super::{
    Report, key, request,
    table::{Table, note_repeated},
    top,
    value::{choice, flag, quota as quota_of, statuses, text, whole},
};
use crate::{
    PolicyName,
    rules::{
        rule::{KeyPart, Missing, PolicyRule},
        text::{Node, Value},
    },
};
use limiter_core::Quota;
use std::collections::BTreeMap;

const MISSING: [(&str, Missing); 3] =
    [("shared", Missing::Shared), ("optional", Missing::Optional), ("required", Missing::Required)];

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<PolicyRule> {
    let mut table = Table::of(node, "a policy", report)?;
    let name = table.need("name", "\"per-user\"", report).and_then(|node| name(node, report));
    let quota_node = table.need("quota", "\"100/min burst 20\"", report);
    let quota = quota_node.and_then(|node| quota_of(node, report));
    let key_node = table.get("key");
    let key = key_node.map_or(vec![KeyPart::Global], |node| key::read(node, report));
    let missing = table.get("missing").and_then(|node| missing(node, &key, report)).unwrap_or_default();
    let plans = table.get("plans").map(|node| plans(node, &key, report)).unwrap_or_default();
    let cost = table.get("cost").map_or(Some(1), |node| {
        let cost = whole(node, "the cost", u64::MAX, report)?;
        fits(node, cost, quota.iter().chain(plans.values()), report);
        Some(cost)
    });
    let when = table.get("when").and_then(|node| request::one(node, "when", report));
    let refund_on = table.get("refund_on").map(|node| statuses(node, "refund_on", report)).unwrap_or_default();
    let charge_only_on = table.get("charge_only_on").map(|node| statuses(node, "charge_only_on", report));
    let local_quota = table.get("local_quota").and_then(|node| quota_of(node, report));
    let is_shadow = table.get("shadow").is_some_and(|node| flag(node, "shadow", report));
    table.finish(&top::NAMES, report);
    Some(PolicyRule {
        name: name?,
        quota: quota?,
        plans,
        key,
        missing,
        cost: cost?,
        when,
        refund_on,
        charge_only_on: charge_only_on.unwrap_or_default(),
        local_quota,
        is_shadow,
    })
}

fn name(node: &Node, report: &mut Report<'_>) -> Option<PolicyName> {
    let name = text(node, "the name of a policy", report)?;
    PolicyName::new(name).map_err(|error| report.add(node.at.start, error.to_string())).ok()
}

fn missing(node: &Node, key: &[KeyPart], report: &mut Report<'_>) -> Option<Missing> {
    let missing = choice(node, "\"missing\"", &MISSING, report)?;
    let can_miss = |part: &KeyPart| matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Query(_));
    if !key.is_empty() && !key.iter().any(can_miss) {
        report.add(node.at.start, "\"missing\" is about headers, cookies and query parameters, and the key has none");
    }
    Some(missing)
}

fn plans(node: &Node, key: &[KeyPart], report: &mut Report<'_>) -> BTreeMap<String, Quota> {
    let Value::Table(entries) = &node.value else {
        report.not(node, "plans", "a table from a key's value to its quota");
        return BTreeMap::new();
    };
    note_repeated(entries, report);
    let has_values = !matches!(key.first(), Some(KeyPart::Global | KeyPart::Peer | KeyPart::Client));
    if !has_values {
        let message = "plans go by the key's value, or its first member's, which is to be a header, a cookie, a query \
                       parameter, the method or a key of the program's own";
        report.add(node.at.start, message);
    }
    let quotas = entries.iter().filter_map(|entry| Some((entry.name.clone(), quota_of(&entry.node, report)?)));
    quotas.collect()
}

/// Notes a cost that one of the quotas never has.
fn fits<'a>(node: &Node, cost: u64, quotas: impl Iterator<Item = &'a Quota>, report: &mut Report<'_>) {
    for quota in quotas.filter(|quota| quota.capacity() < cost) {
        let most = quota.capacity();
        report
            .add(node.at.start, format!("the cost is {cost}, and {quota} has at most {most} at once: nothing gets in"));
    }
}
