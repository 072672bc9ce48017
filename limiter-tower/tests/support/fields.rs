//! Rate-limit fields as the `sfv` crate reads them, which knows RFC 9651 and nothing of us.

use http::HeaderMap;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parameters, Parser};
use std::collections::BTreeMap;

/// A member of a List: what it is, and its parameters, all of which are integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member<T> {
    pub value: T,
    pub parameters: BTreeMap<String, u64>,
}

/// All lines of a field, joined as RFC 9110 §5.3 has it.
pub fn joined(headers: &HeaderMap, name: &str) -> String {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap());
    lines.collect::<Vec<_>>().join(", ")
}

/// A List whose members are Strings: a field of the newest generation.
pub fn strings(headers: &HeaderMap, name: &str) -> Vec<Member<String>> {
    members(headers, name, |item| item.as_string().expect("a String").as_str().to_owned())
}

/// A List whose members are Integers: `RateLimit-Policy` of the older drafts.
pub fn integers(headers: &HeaderMap, name: &str) -> Vec<Member<u64>> {
    members(headers, name, whole)
}

/// A Dictionary of Integers: `RateLimit` of draft 07.
pub fn dictionary(headers: &HeaderMap, name: &str) -> BTreeMap<String, u64> {
    let text = joined(headers, name);
    let dictionary: Dictionary = Parser::new(&text).parse().unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
    let value = |entry: &ListEntry| match entry {
        ListEntry::Item(item) if item.params.is_empty() => whole(&item.bare_item),
        other => panic!("{name}: {text}: not a plain Integer: {other:?}"),
    };
    dictionary.iter().map(|(key, entry)| (key.as_str().to_owned(), value(entry))).collect()
}

/// An Item that is an Integer: the fields with one number each, `Retry-After` among them.
pub fn integer(headers: &HeaderMap, name: &str) -> u64 {
    let text = joined(headers, name);
    let item: Item = Parser::new(&text).parse().unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
    assert!(item.params.is_empty(), "{name}: {text}");
    whole(&item.bare_item)
}

fn members<T>(headers: &HeaderMap, name: &str, value: impl Fn(&BareItem) -> T) -> Vec<Member<T>> {
    let text = joined(headers, name);
    let list: List = Parser::new(&text).parse().unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
    let member = |entry: ListEntry| match entry {
        ListEntry::Item(item) => Member { value: value(&item.bare_item), parameters: parameters(&item.params) },
        ListEntry::InnerList(_) => panic!("{name}: {text}: an inner List"),
    };
    list.into_iter().map(member).collect()
}

fn parameters(parameters: &Parameters) -> BTreeMap<String, u64> {
    parameters.iter().map(|(key, value)| (key.as_str().to_owned(), whole(value))).collect()
}

fn whole(item: &BareItem) -> u64 {
    let integer = item.as_integer().unwrap_or_else(|| panic!("not an Integer: {item:?}"));
    u64::try_from(i64::from(integer)).expect("not negative")
}
