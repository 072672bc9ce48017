//! From values to rules: every mistake is noted where it stands, and reading goes on.

mod key;
mod policy;
mod request;
mod table;
mod top;
mod value;

use super::{named::Named, rule::Said, text::Node};

/// What `node`, the whole of `text`, says.
///
/// # Errors
/// Every mistake, by the byte it stands at, in the order of the text.
pub(super) fn understand(text: &str, node: &Node, named: &Named) -> Result<Said, Vec<(usize, String)>> {
    let mut report = Report { text, named, found: Vec::new() };
    let said = top::read(node, &mut report);
    report.found.sort();
    match said {
        Some(said) if report.found.is_empty() => Ok(said),
        _ => Err(report.found),
    }
}

/// The mistakes so far, and what there is to know while reading.
struct Report<'t> {
    text: &'t str,
    named: &'t Named,
    found: Vec<(usize, String)>,
}

impl Report<'_> {
    fn add(&mut self, at: usize, message: impl Into<String>) {
        self.found.push((at, message.into()));
    }

    /// Notes that `node` is not what it should be.
    fn not(&mut self, node: &Node, what: &str, expected: &str) {
        self.add(node.at.start, format!("{what} is {expected}, not {}", node.kind()));
    }

    /// The line of a byte of the text.
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// Where the byte `at` of the text `value` stands: inside of the node, where it is written without escapes.
    fn inside(&self, node: &Node, value: &str, at: usize) -> usize {
        let source = self.text.get(node.at.clone()).unwrap_or_default();
        let quote = source.chars().next().filter(|first| matches!(first, '"' | '\''));
        let open = quote.map_or(0, char::len_utf8);
        let is_verbatim = source.get(open..source.len().saturating_sub(open)) == Some(value);
        if is_verbatim { node.at.start + open + at } else { node.at.start }
    }
}
