//! What changed from rules to other ones.

use super::rule::Rules;
use crate::PolicyName;
use std::fmt;

/// What became of the policies when other rules were put in force.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RulesChange {
    added: Vec<PolicyName>,
    changed: Vec<PolicyName>,
    removed: Vec<PolicyName>,
    has_other_settings: bool,
}

impl RulesChange {
    pub(super) fn between(before: &Rules, after: &Rules) -> Self {
        let find =
            |rules: &Rules, name: &PolicyName| rules.said.policies.iter().find(|rule| rule.name == *name).cloned();
        let mut change = Self { has_other_settings: before.said.layer != after.said.layer, ..Self::default() };
        for rule in &after.said.policies {
            match find(before, &rule.name) {
                None => change.added.push(rule.name.clone()),
                Some(was) if was != *rule => change.changed.push(rule.name.clone()),
                Some(_) => {}
            }
        }
        let is_gone = |name: &&PolicyName| find(after, name).is_none();
        change.removed = before.policy_names().filter(is_gone).cloned().collect();
        change
    }

    /// Whether all is as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Policies that are new.
    #[must_use]
    pub fn added(&self) -> &[PolicyName] {
        &self.added
    }

    /// Policies of which something changed.
    #[must_use]
    pub fn changed(&self) -> &[PolicyName] {
        &self.changed
    }

    /// Policies that are gone.
    #[must_use]
    pub fn removed(&self) -> &[PolicyName] {
        &self.removed
    }
}

impl fmt::Display for RulesChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)] {
            if !names.is_empty() {
                parts.push(format!("{what}: {}", names.iter().map(PolicyName::as_str).collect::<Vec<_>>().join(", ")));
            }
        }
        if self.has_other_settings {
            parts.push("settings of all policies changed".to_owned());
        }
        f.write_str(if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") }.as_str())
    }
}
