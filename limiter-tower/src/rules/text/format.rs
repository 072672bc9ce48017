//! The formats, and which of them a file has.

use super::{node::Node, toml};
use std::{fmt, path::Path};

/// The format of a file of rules. All of them say the same; JSON and YAML each need a feature.
///
/// ```
/// use limiter_tower::RulesFormat;
///
/// assert_eq!(RulesFormat::of_path("limits/rules.yml"), Some(RulesFormat::Yaml));
/// assert_eq!(RulesFormat::of_path("rules.conf"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RulesFormat {
    /// TOML: `.toml`.
    Toml,
    /// JSON: `.json`. Needs the feature `rules-json`.
    Json,
    /// YAML 1.2: `.yaml` or `.yml`. Needs the feature `rules-yaml`. Anchors, aliases and tags are refused.
    Yaml,
}

impl RulesFormat {
    /// The format of a file of this name, by its ending.
    #[must_use]
    pub fn of_path(path: impl AsRef<Path>) -> Option<Self> {
        let ending = path.as_ref().extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    pub(in crate::rules) fn parse(self, text: &str) -> Result<Node, Vec<(usize, String)>> {
        let parsed = match self {
            Self::Toml => toml::parse(text),
            #[cfg(feature = "rules-json")]
            Self::Json => super::json::parse(text).map_err(|error| vec![error]),
            #[cfg(feature = "rules-yaml")]
            Self::Yaml => super::yaml::parse(text).map_err(|error| vec![error]),
            #[cfg(not(all(feature = "rules-json", feature = "rules-yaml")))]
            absent => Err(vec![absent.not_built_in()]),
        };
        parsed.map_err(|errors| {
            errors.into_iter().map(|error| (error.at, format!("{self}: {}", error.message))).collect()
        })
    }

    #[cfg(not(all(feature = "rules-json", feature = "rules-yaml")))]
    fn not_built_in(self) -> super::node::Malformed {
        let feature = if self == Self::Json { "rules-json" } else { "rules-yaml" };
        super::node::Malformed { at: 0, message: format!("limiter-tower was built without its feature {feature}") }
    }
}

impl fmt::Display for RulesFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        })
    }
}
