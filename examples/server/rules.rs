//! The same server under rules from a file, which can be changed while it runs.

use super::handlers::{health, home, report};
use axum::{Router, routing::get};
use limiter_axum::{RulesLayer, RulesWatch, rules_reader};
use std::{io, path::Path, time::Duration};

/// What the rules of a file are understood to say.
///
/// # Errors
/// Every mistake in them, by line and column.
pub(crate) fn check(path: &Path) -> anyhow::Result<String> {
    Ok(rules_reader().read(path)?.to_string())
}

/// The rules of a file, in force.
///
/// # Errors
/// Every mistake in them, by line and column.
pub(crate) fn layer(path: &Path) -> anyhow::Result<RulesLayer> {
    Ok(RulesLayer::new(rules_reader().read(path)?))
}

/// Looks every second whether the file has changed, and says what became of it.
pub(crate) fn watch(layer: &RulesLayer) -> io::Result<RulesWatch> {
    layer.watch(Duration::from_secs(1), |outcome| match outcome {
        Ok(change) => println!("rules: {change}"),
        Err(error) => eprintln!("the rules stay as they were:\n{error}"),
    })
}

pub(crate) fn app(layer: RulesLayer) -> Router {
    let routes = Router::new().route("/report", get(report)).route("/", get(home)).route("/health", get(health));
    routes.layer(layer)
}
