//! A table, name by name.

use super::Report;
use crate::rules::{
    nearest::instead,
    text::{Entry, Node, Value},
};

/// A table that is read by asking for each of its names.
pub(super) struct Table<'n> {
    what: &'static str,
    at: usize,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Table<'n> {
    /// The table that `node` is; `what` names it in mistakes.
    pub(super) fn of(node: &'n Node, what: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            report.not(node, what, "a table");
            return None;
        };
        note_repeated(entries, report);
        Some(Self { what, at: node.at.start, entries, known: Vec::new() })
    }

    /// The value of a name that may be there.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// The value of a name that must be there; `example` is how it is written.
    pub(super) fn need(&mut self, name: &'static str, example: &str, report: &mut Report<'_>) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            report.add(self.at, format!("{} needs a {name:?}, such as {example}", self.what));
        }
        found
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Whether it has any entries at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes the names that nobody asked for. `elsewhere` are those that belong into the table around it.
    pub(super) fn finish(self, elsewhere: &[&str], report: &mut Report<'_>) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.name.as_str())) {
            let instead = match elsewhere.contains(&entry.name.as_str()) {
                true => "; it is for all policies and stands at the top, before the first policy".to_owned(),
                false => instead(&entry.name, self.known.iter().copied()),
            };
            report.add(entry.at.start, format!("{} has no {:?}{instead}", self.what, entry.name));
        }
    }
}

/// Notes names that are there twice, which not every format refuses.
pub(super) fn note_repeated(entries: &[Entry], report: &mut Report<'_>) {
    for (place, entry) in entries.iter().enumerate() {
        let first = entries.iter().take(place).find(|first| first.name == entry.name);
        if let Some(first) = first {
            let line = report.line(first.at.start);
            report.add(entry.at.start, format!("{:?} is there already, in line {line}", entry.name));
        }
    }
}
