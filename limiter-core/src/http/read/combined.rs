//! `RateLimit` and `RateLimit-Policy` as Structured Fields: drafts 07 to 11, and the policies of 04 to 06.

use std::time::Duration;

use super::super::generation::Generation;
use super::super::structured::{Bare, Item, parse_dictionary, parse_list};
use super::{Advice, Entry, Unit};

/// `RateLimit` as a List, drafts 08 to 11.
pub(super) fn structured_states(text: &[u8]) -> Option<Vec<Entry>> {
    parse_list(text)?
        .into_iter()
        .map(|Item { value, parameters }| {
            let Bare::String(name) = value else {
                return None;
            };
            let advice = Advice {
                name: Some(name),
                remaining: Some(integer(parameters.get("r")?)?),
                reset_after: optional(parameters.get("t"), seconds)?,
                ..Advice::default()
            };
            let partition = optional(parameters.get("pk"), bytes)?;
            Some(Entry { advice, partition })
        })
        .collect()
}

/// `RateLimit-Policy` of every generation that has it: its items are named, or they are numbers.
pub(super) fn policies(text: &[u8]) -> Option<Vec<Entry>> {
    parse_list(text)?.into_iter().map(policy).collect()
}

fn policy(Item { value, parameters }: Item<'_>) -> Option<Entry> {
    let window = optional(parameters.get("w"), |bare| seconds(bare).filter(|window| !window.is_zero()))?;
    match value {
        Bare::String(name) => Some(Entry {
            advice: Advice {
                name: Some(name),
                limit: Some(integer(parameters.get("q")?)?),
                window,
                unit: optional(parameters.get("qu"), unit)?.unwrap_or_default(),
                ..Advice::default()
            },
            partition: optional(parameters.get("pk"), bytes)?,
        }),
        limit => Some(Entry {
            advice: Advice {
                // Not in any draft, but proxies add it.
                name: parameters.get("name").and_then(string),
                limit: Some(integer(&limit)?),
                window,
                generation: Generation::DraftA,
                ..Advice::default()
            },
            partition: None,
        }),
    }
}

/// `RateLimit` as a Dictionary, draft 07. Tolerates that a required member is missing, and a reset in decimals.
pub(super) fn draft_b_state(text: &[u8]) -> Option<(Entry, Vec<Entry>)> {
    let members = parse_dictionary(text)?;
    let advice = Advice {
        limit: optional(members.get("limit"), integer)?,
        remaining: optional(members.get("remaining"), integer)?,
        reset_after: optional(members.get("reset"), decimal_seconds)?,
        generation: Generation::DraftB,
        ..Advice::default()
    };
    let says_something = advice.remaining.is_some() || advice.reset_after.is_some();
    says_something.then(|| (advice.into(), Vec::new()))
}

/// A value that may be absent (`Some(None)`) but not malformed (`None`).
fn optional<T>(value: Option<&Bare<'_>>, read: impl Fn(&Bare<'_>) -> Option<T>) -> Option<Option<T>> {
    match value {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}

fn integer(value: &Bare<'_>) -> Option<u64> {
    match value {
        Bare::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn seconds(value: &Bare<'_>) -> Option<Duration> {
    integer(value).map(Duration::from_secs)
}

fn decimal_seconds(value: &Bare<'_>) -> Option<Duration> {
    match value {
        Bare::Decimal(thousandths) => u64::try_from(*thousandths).ok().map(Duration::from_millis),
        _ => seconds(value),
    }
}

fn string(value: &Bare<'_>) -> Option<String> {
    match value {
        Bare::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn bytes(value: &Bare<'_>) -> Option<String> {
    match value {
        Bare::Bytes(base64) => Some((*base64).to_owned()),
        _ => None,
    }
}

fn unit(value: &Bare<'_>) -> Option<Unit> {
    Some(match string(value)?.as_str() {
        "requests" => Unit::Requests,
        "content-bytes" => Unit::ContentBytes,
        "concurrent-requests" => Unit::ConcurrentRequests,
        _ => Unit::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{only, read, secs};
    use super::*;

    #[test]
    fn structured_states_and_policies_meet_by_name_and_partition() {
        let advice = read(&[
            ("ratelimit-policy", r#""u";q=5;pk=:YQ==:;w=1,"u";q=6;pk=:Yg==:;w=2"#),
            ("ratelimit-policy", r#""bytes";q=65535;qu="content-bytes";w=10;new=@1, "odd";q=1;qu="x""#),
            ("ratelimit", r#""u";r=1;pk=:Yg:;t=9, "gone";r=0"#),
            ("ratelimit", r#""bytes";r=2"#),
        ]);
        let summary = advice.iter().map(|a| (a.name.as_deref().unwrap(), a.limit, a.remaining, a.unit));
        assert!(summary.eq([
            ("u", Some(6), Some(1), Unit::Requests),
            ("gone", None, Some(0), Unit::Requests),
            ("bytes", Some(65535), Some(2), Unit::ContentBytes),
            ("u", Some(5), None, Unit::Requests),
            ("odd", Some(1), None, Unit::Other),
        ]));
        assert_eq!((advice[0].window, advice[0].reset_after), (secs(2), secs(9)));
        assert_eq!(advice[1].pause(), None, "no t, no pause");
    }

    #[test]
    fn malformed_structured_fields_are_ignored_whole() {
        for value in [
            "",
            r#""a""#,
            r#""a";t=1"#,
            r#""a";r=-1"#,
            r#""a";r=1.0"#,
            r#""a";r="1""#,
            r#""a";r"#,
            r#""a";r=1;t=-1"#,
            r#""a";r=1;t=1.5"#,
            r#""a";r=1;pk="x""#,
            r#""a";r=1000000000000000"#,
            r#"a;r=1"#,
            r#"1;r=1"#,
            r#""a";r=1,"#,
            r#""a";r=1, "b""#,
            r#"("a");r=1"#,
            r#""a" r=1"#,
            "\"a\u{e9}\";r=1",
        ] {
            assert!(read(&[("ratelimit", value)]).is_empty(), "{value:?}");
        }
        for value in [
            r#""a""#,
            r#""a";q=-1"#,
            r#""a";q=1;w=0"#,
            r#""a";q=1;w=-1"#,
            r#""a";q=1;qu=requests"#,
            r#""a";q=1,"b";w=1"#,
            "100;w=0",
            "-1;w=1",
            "token",
        ] {
            let advice = read(&[("ratelimit-policy", value), ("ratelimit", r#""a";r=1;t=2"#)]);
            assert_eq!((advice.len(), advice[0].limit), (1, None), "{value:?}");
        }
    }

    #[test]
    fn draft_b_is_a_dictionary() {
        let advice =
            only(&[("ratelimit", "limit=100, remaining=50, reset=5"), ("ratelimit-policy", "100;w=60;burst=1000")]);
        assert_eq!(advice.generation, Generation::DraftB);
        assert_eq!((advice.limit, advice.remaining), (Some(100), Some(50)));
        assert_eq!((advice.window, advice.reset_after), (secs(60), secs(5)));

        let split = only(&[("ratelimit", "limit=9,remaining=0"), ("ratelimit", "reset=2.5")]);
        assert_eq!(split.pause(), Some(Duration::from_millis(2_500)));

        for value in [
            "limit=100",
            "remaining",
            "remaining=-1, reset=5",
            "remaining=1.5, reset=5",
            "remaining=0, reset=-5",
            "remaining=0; reset=5,",
            "remaining: 0",
        ] {
            assert!(read(&[("ratelimit", value)]).is_empty(), "{value:?}");
        }
    }
}
