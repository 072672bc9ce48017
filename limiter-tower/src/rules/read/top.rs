//! The whole: what is said of all policies, and the policies.

use super::{
    Report, policy, request,
    table::Table,
    value::{choice, duration, flag, one_or_more, text, whole},
};
use crate::{
    Breaker, FieldSet, Format, Generation, PolicyError, ProxyError, StoreFailure, TrustedProxies,
    rules::{
        rule::{KeyPart, LayerRule, PolicyRule, Said},
        text::{Node, Value},
    },
};
use http::HeaderName;

/// The names at the top, but for `policy`.
pub(super) const NAMES: [&str; 13] = [
    "fields",
    "fields_on",
    "answer",
    "retry_jitter",
    "shadow",
    "wait_up_to",
    "on_store_failure",
    "time_budget",
    "breaker",
    "skip",
    "block",
    "proxies",
    "ipv6_prefix",
];

const GENERATIONS: [(&str, Generation); 4] = [
    ("structured", Generation::Structured),
    ("draft_b", Generation::DraftB),
    ("draft_a", Generation::DraftA),
    ("legacy", Generation::Legacy),
];

const FORMATS: [(&str, Format); 5] = [
    ("problem", Format::Problem),
    ("text", Format::Text),
    ("json", Format::Json),
    ("grpc", Format::Grpc),
    ("by_request", Format::ByRequest),
];

const FAILURES: [(&str, StoreFailure); 3] =
    [("refuse", StoreFailure::Refuse), ("allow", StoreFailure::Allow), ("decide_locally", StoreFailure::DecideLocally)];

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Said> {
    let mut table = Table::of(node, "the whole", report)?;
    let layer = layer(&mut table, report);
    let has_proxies = table.has("proxies");
    let policies = match table.get("policy") {
        Some(node) => policies(node, has_proxies, report),
        None => {
            report.add(node.at.start, "there is no policy: write one, [[policy]] in TOML, with a name and a quota");
            Vec::new()
        }
    };
    table.finish(&[], report);
    Some(Said { layer, policies })
}

fn layer(table: &mut Table<'_>, report: &mut Report<'_>) -> LayerRule {
    LayerRule {
        fields: table.get("fields").map(|node| fields(node, report)),
        on_denials_only: table
            .get("fields_on")
            .and_then(|node| choice(node, "\"fields_on\"", &[("all", false), ("denials", true)], report))
            .unwrap_or_default(),
        answer: table.get("answer").and_then(|node| choice(node, "answer", &FORMATS, report)),
        retry_jitter: table.get("retry_jitter").and_then(|node| duration(node, "retry_jitter", report)),
        is_shadow: table.get("shadow").is_some_and(|node| flag(node, "shadow", report)),
        wait_up_to: table.get("wait_up_to").and_then(|node| duration(node, "wait_up_to", report)),
        on_store_failure: table
            .get("on_store_failure")
            .and_then(|node| choice(node, "\"on_store_failure\"", &FAILURES, report)),
        time_budget: table.get("time_budget").and_then(|node| duration(node, "time_budget", report)),
        breaker: table.get("breaker").and_then(|node| breaker(node, report)),
        skip: table.get("skip").map(|node| request::any(node, "skip", report)).unwrap_or_default(),
        block: table.get("block").map(|node| request::any(node, "block", report)).unwrap_or_default(),
        proxies: table.get("proxies").and_then(|node| proxies(node, report)),
        ipv6_prefix_bits: table
            .get("ipv6_prefix")
            .and_then(|node| whole(node, "ipv6_prefix", 128, report))
            .and_then(|bits| u8::try_from(bits).ok()),
    }
}

fn breaker(node: &Node, report: &mut Report<'_>) -> Option<Breaker> {
    if let Value::Flag(false) = node.value {
        return Some(Breaker::OFF);
    }
    let mut table = Table::of(node, "breaker", report)?;
    let most = u64::from(u32::MAX);
    let failures = table.need("failures", "5", report).and_then(|node| whole(node, "failures", most, report));
    let pause = table.need("pause", "\"1s\"", report).and_then(|node| duration(node, "the pause", report));
    table.finish(&[], report);
    Some(Breaker::new(u32::try_from(failures?).ok()?, pause?))
}

fn fields(node: &Node, report: &mut Report<'_>) -> FieldSet {
    one_or_more(node).iter().filter_map(|node| choice(node, "generation of fields", &GENERATIONS, report)).collect()
}

fn proxies(node: &Node, report: &mut Report<'_>) -> Option<TrustedProxies> {
    let mut table = Table::of(node, "proxies", report)?;
    let networks = table.need("networks", "[\"10.0.0.0/8\"]", report).map(one_or_more).unwrap_or_default();
    let header = table.get("header").map_or(Some("x-forwarded-for"), |node| {
        let name = text(node, "the header", report)?;
        if HeaderName::try_from(name).is_err() {
            report.add(node.at.start, format!("{name:?} is no name of a header, such as \"x-forwarded-for\""));
        }
        Some(name)
    });
    table.finish(&[], report);
    let header = HeaderName::try_from(header?).ok()?;
    let mut texts = Vec::new();
    for node in networks {
        let network = text(node, "a network", report)?;
        if let Err(error) = of_header(&header, &[network]) {
            report.add(node.at.start, error.to_string());
        }
        texts.push(network);
    }
    of_header(&header, &texts).ok()
}

fn of_header(header: &HeaderName, networks: &[&str]) -> Result<TrustedProxies, ProxyError> {
    match header.as_str() {
        "x-forwarded-for" => TrustedProxies::x_forwarded_for(networks),
        "forwarded" => TrustedProxies::forwarded(networks),
        _ => TrustedProxies::single_address(header.clone(), networks),
    }
}

fn policies(node: &Node, has_proxies: bool, report: &mut Report<'_>) -> Vec<PolicyRule> {
    let Value::List(nodes) = &node.value else {
        report.not(node, "policy", "a list of tables, [[policy]] in TOML");
        return Vec::new();
    };
    if nodes.is_empty() {
        report.add(node.at.start, "there is no policy: write one with a name and a quota");
    }
    if let Some(node) = nodes.get(PolicyError::MOST_POLICIES) {
        report
            .add(node.at.start, format!("there are {} policies; allowed: {}", nodes.len(), PolicyError::MOST_POLICIES));
    }
    let mut policies: Vec<(usize, PolicyRule)> = Vec::new();
    for node in nodes {
        let Some(policy) = policy::read(node, report) else { continue };
        let at = at_of(node, "name");
        if let Some((first, _)) = policies.iter().find(|(_, first)| first.name == policy.name) {
            let line = report.line(*first);
            report.add(
                at,
                format!("two policies have the name {:?}; the first one is in line {line}", policy.name.as_str()),
            );
        }
        let namesake = policies.iter().find_map(|(_, first)| Some((&first.name, first.same_name(&policy)?)));
        if let Some((first, name)) = namesake.filter(|(first, _)| **first != policy.name) {
            let message = format!(
                "policies {:?} and {:?} would both be announced as {:?}: each of several rates is by its policy's name \
                 and its period; change one of the names",
                first.as_str(),
                policy.name.as_str(),
                name.as_str(),
            );
            report.add(at, message);
        }
        if policy.key.contains(&KeyPart::Client) && !has_proxies {
            let message = "the key \"client\" is the address behind proxies: name them, [proxies] in TOML with their \
                           networks, or write \"peer\"";
            report.add(at_of(node, "key"), message);
        }
        policies.push((at, policy));
    }
    policies.into_iter().map(|(_, policy)| policy).collect()
}

/// Where the value of a name in a table stands.
fn at_of(node: &Node, name: &str) -> usize {
    let Value::Table(entries) = &node.value else { return node.at.start };
    entries.iter().find(|entry| entry.name == name).map_or(node.at.start, |entry| entry.node.at.start)
}
