//! TOML, of which all mistakes of syntax are told at once.

use super::{
    Entry, Node, Value,
    node::{MOST_LEVELS, Malformed},
};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

pub(super) fn parse(text: &str) -> Result<Node, Vec<Malformed>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let at = table.span();
        return table_of(at, table.get_ref(), 1).map_err(|error| vec![error]);
    }
    let malformed = |error: &toml::de::Error| Malformed {
        at: error.span().map_or(text.len(), |span| span.start),
        message: error.message().to_owned(),
    };
    Err(errors.iter().map(malformed).collect())
}

fn table_of(at: Range<usize>, table: &DeTable<'_>, level: usize) -> Result<Node, Malformed> {
    let entries: Result<Vec<Entry>, _> = table
        .iter()
        .map(|(name, value)| {
            let node = node_of(value.span(), value.get_ref(), level)?;
            Ok(Entry { at: name.span(), name: name.get_ref().to_string(), node })
        })
        .collect();
    let mut entries = entries?;
    entries.sort_by_key(|entry| entry.at.start);
    Ok(Node { at, value: Value::Table(entries) })
}

fn node_of(at: Range<usize>, value: &DeValue<'_>, level: usize) -> Result<Node, Malformed> {
    if level > MOST_LEVELS {
        return Err(Malformed::too_deep(at.start));
    }
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Whole(number),
            Err(_) => Value::Other("a number of too many digits"),
        },
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Other("a number of too many digits"), Value::Fraction)
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => {
            let nodes = list.iter().map(|node| node_of(node.span(), node.get_ref(), level + 1));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return table_of(at, table, level + 1),
    };
    Ok(Node { at, value })
}
