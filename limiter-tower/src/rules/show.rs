//! Rules in words, as they were understood.

use super::{
    request::RequestRule,
    rule::{KeyPart, LayerRule, Missing, PolicyRule, Rules},
};
use std::fmt;

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.layer.fmt(f)?;
        self.said.policies.iter().try_for_each(|policy| policy.fmt(f))
    }
}

impl fmt::Display for LayerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fields) = self.fields {
            writeln!(f, "fields: {fields:?}")?;
        }
        if self.on_denials_only {
            writeln!(f, "fields on denials only")?;
        }
        if let Some(answer) = self.answer {
            writeln!(f, "answer: {answer:?}")?;
        }
        if let Some(jitter) = self.retry_jitter {
            writeln!(f, "jitter on Retry-After: up to {jitter:?}")?;
        }
        if self.is_shadow {
            writeln!(f, "shadow: nothing is refused")?;
        }
        if let Some(limit) = self.wait_up_to {
            writeln!(f, "requests wait up to {limit:?}")?;
        }
        if let Some(then) = self.on_store_failure {
            writeln!(f, "when the store fails: {then:?}")?;
        }
        if let Some(most) = self.time_budget {
            writeln!(f, "the store has {most:?} to answer")?;
        }
        if let Some(breaker) = self.breaker {
            writeln!(f, "{breaker:?}")?;
        }
        for (what, rules) in [("skipped", &self.skip), ("blocked", &self.block)] {
            if !rules.is_empty() {
                writeln!(f, "{what}: {}", rules.iter().map(RequestRule::to_string).collect::<Vec<_>>().join(", "))?;
            }
        }
        if let Some(proxies) = &self.proxies {
            writeln!(f, "proxies: {proxies}")?;
        }
        if let Some(bits) = self.ipv6_prefix_bits {
            writeln!(f, "IPv6 addresses: by their first {bits} bits")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(KeyPart::to_string).collect();
        write!(f, "policy {}: {} by {}", self.name, self.quota, key.join(" and "))?;
        if self.key.iter().any(KeyPart::can_miss) {
            f.write_str(match self.missing {
                Missing::Shared => " (requests without it share one)",
                Missing::Optional => " (requests without it are not limited)",
                Missing::Required => " (requests without it are refused)",
            })?;
        }
        if self.cost != 1 {
            write!(f, ", each costs {}", self.cost)?;
        }
        if let Some(when) = &self.when {
            write!(f, ", for {when}")?;
        }
        for (what, statuses) in [("refunds", &self.refund_on), ("charges only", &self.charge_only_on)] {
            if !statuses.is_empty() {
                write!(f, ", {what} {}", statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))?;
            }
        }
        if let Some(quota) = &self.local_quota {
            write!(f, ", {quota} while the store fails")?;
        }
        writeln!(f, "{}", if self.is_shadow { ", shadow" } else { "" })?;
        self.plans.iter().try_for_each(|(value, quota)| writeln!(f, "  {value}: {quota}"))
    }
}

impl KeyPart {
    /// Whether requests can be without it.
    pub(super) fn can_miss(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Cookie(_) | Self::Query(_))
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Method => f.write_str("method"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Peer => f.write_str("peer"),
            Self::Client => f.write_str("client"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
