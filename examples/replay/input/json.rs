//! A JSON object a line.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Fields, KEYS, Malformed, Record, TIMES, TimeUnit, time};

#[derive(Debug)]
pub(crate) struct Reader {
    time: Vec<String>,
    key: Vec<String>,
    cost: Vec<String>,
    unit: Option<TimeUnit>,
}

impl Reader {
    pub(super) fn new(fields: &Fields) -> Self {
        let names = |name: &Option<String>, usual: &[&str]| match name {
            Some(name) => vec![name.clone()],
            None => usual.iter().map(|&name| name.to_owned()).collect(),
        };
        Self {
            time: names(&fields.time, &TIMES),
            key: names(&fields.key, &KEYS),
            cost: names(&fields.cost, &[]),
            unit: fields.unit,
        }
    }

    pub(super) fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, Malformed> {
        let members = Object::of(line).ok_or(Malformed::NotJson)?;
        let cost = match members.first(&self.cost) {
            Some(cost) => super::cost(Some(&scalar(cost).ok_or(Malformed::BadCost)?))?,
            None if self.cost.is_empty() => 1,
            None => return Err(Malformed::NoCost),
        };
        let time = scalar(members.first(&self.time).ok_or(Malformed::NoTime)?).ok_or(Malformed::BadTime)?;
        Ok(Record {
            at: time::parse(&time, self.unit)?,
            key: members.first(&self.key).and_then(scalar).ok_or(Malformed::NoKey)?,
            cost,
        })
    }
}

pub(super) fn fits(line: &str) -> bool {
    Object::of(line).is_some()
}

/// The text of a string, a number or a truth value.
fn scalar(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok().map(|Text(text)| text),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

/// The members of an object, each with its value's own text.
struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn first(&self, names: &[String]) -> Option<&'a str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The value of the member of this name, or, behind dots, of a member inside one.
    fn get(&self, name: &str) -> Option<&'a str> {
        let own = |name: &str| self.0.iter().find(|(member, _)| member == name).map(|&(_, value)| value);
        own(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            Object::of(own(outer)?)?.get(inner)
        })
    }
}

impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'a> Visitor<'a> for Members {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Text(name), value)) = map.next_entry::<Text<'a>, &RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Text that is copied only where it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(line: &'a str, fields: [Option<&str>; 3]) -> Result<Record<'a>, Malformed> {
        let [time, key, cost] = fields.map(|name| name.map(str::to_owned));
        Reader::new(&Fields { time, key, cost, unit: None }).read(line)
    }

    #[test]
    fn usual_names_are_found() {
        for line in [
            r#"{"time": "2000-10-10T20:55:36Z", "remote_addr": "192.0.2.1"}"#,
            r#"{"status": 200, "ip": "192.0.2.1", "ts": 971211336.0, "tags": [1, {"ip": 2}]}"#,
            r#"{"ts": 971211336, "request": {"method": "GET", "remote_ip": "192.0.2.1"}}"#,
        ] {
            let record = read(line, [None; 3]).unwrap();
            assert_eq!((record.at.as_micros(), &*record.key, record.cost), (971_211_336_000_000, "192.0.2.1", 1));
        }
    }

    #[test]
    fn fields_are_selectable_also_inside_others() {
        let line =
            r#"{"at": 971211336, "a.b": "own", "a": {"b": "inner", "c": {"d": true}}, "k\u0065y": "\u00e4", "n": "7"}"#;
        let key = |name| read(line, [Some("at"), Some(name), Some("n")]).unwrap();
        assert_eq!(key("a.b").key, "own");
        assert_eq!(key("a.c.d").key, "true");
        assert_eq!(key("key").key, "ä");
        assert_eq!(key("at").key, "971211336");
        assert_eq!(key("key").cost, 7);
    }

    #[test]
    fn what_is_missing_is_named() {
        let fields = [None, None, Some("n")];
        for (line, why) in [
            ("", Malformed::NotJson),
            ("[1]", Malformed::NotJson),
            (r#"{"time": 1, "key": "a", "n": 1} x"#, Malformed::NotJson),
            (r#"{"time": 1, "key": "a", "n": 1"#, Malformed::NotJson),
            (r#"{"key": "a", "n": 1}"#, Malformed::NoTime),
            (r#"{"time": [1], "key": "a", "n": 1}"#, Malformed::BadTime),
            (r#"{"time": 1, "n": 1}"#, Malformed::NoKey),
            (r#"{"time": 1, "key": null, "n": 1}"#, Malformed::NoKey),
            (r#"{"time": 1, "key": "a"}"#, Malformed::NoCost),
            (r#"{"time": 1, "key": "a", "n": -1}"#, Malformed::BadCost),
            (r#"{"time": 1, "key": "a", "n": 1.5}"#, Malformed::BadCost),
            (r#"{"time": 1, "key": "a", "n": null}"#, Malformed::BadCost),
        ] {
            assert_eq!(read(line, fields), Err(why), "{line}");
        }
        let deep = format!("{{\"time\": {}", "[".repeat(100_000));
        assert_eq!(read(&deep, fields), Err(Malformed::NotJson));
    }
}
