//! The elements of `X-Forwarded-For` and `Forwarded`, from the right: each is an address, or `None` where it is
//! something else.
//!
//! Proxies append, so what stands on the right was written by whoever is nearest. Lines are therefore taken apart from
//! their ends, quoted strings included: nothing on the left, such as a quote that is never closed, changes how an
//! element further right reads.

use std::{borrow::Cow, net::IpAddr};

/// The elements of an `X-Forwarded-For` line.
pub(super) fn x_forwarded_for(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(node)
}

/// The elements of a `Forwarded` line (RFC 7239), by their `for`.
pub(super) fn forwarded(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let elements = Elements { rest: Some(line) };
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .map(|element| named_for(element).and_then(|name| node(&name)))
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. Not `unknown`, nor
/// the `_names` that RFC 7239 lets proxies invent.
pub(super) fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, after) = bracketed.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (IpAddr::V4(address.parse().ok()?), Some(port)),
            _ => (text.parse().ok()?, None),
        },
    };
    port.is_none_or(is_port).then(|| address.to_canonical())
}

/// Digits, or a name that a proxy invented for a port.
fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.strip_prefix('_').unwrap_or_default();
    is_number || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The comma-separated parts of a line from its end; commas in quoted strings do not separate.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            match byte {
                b'"' if !(is_quoted && is_escaped(rest, at)) => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    let (before, element) = rest.split_at(at);
                    self.rest = Some(before);
                    return element.get(1..);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

/// Whether the quote at `at`, met in a quoted string, stands behind a backslash; the one that opens it stands behind `=`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\')
}

/// The value of an element's only `for`; `None` where there is none, or where the element is not well-formed.
fn named_for(element: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found = None;
    let mut rest = element;
    while let Some(first) = rest.first() {
        if *first == b';' || first.is_ascii_whitespace() {
            rest = rest.get(1..)?;
            continue;
        }
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, after) = (rest.get(..equals)?, rest.get(equals + 1..)?);
        let (value, after) = value(after)?;
        if !name.iter().all(|byte| byte.is_ascii_graphic() && !br#"";,"#.contains(byte)) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b";") {
            return None;
        }
    }
    found
}

/// A quoted string without its quotes, or text up to the pair's end (addresses too, which ought to be quoted); and what
/// comes after.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b';' || byte.is_ascii_whitespace()).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (!value.contains(&b'"')).then_some((Cow::Borrowed(value), after));
    };
    let mut unescaped: Option<Vec<u8>> = None;
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let (raw, after) = (quoted.get(..at)?, quoted.get(at + 1..)?);
                return Some((unescaped.map_or(Cow::Borrowed(raw), Cow::Owned), after));
            }
            b'\\' => {
                let (_, escaped) = bytes.next()?;
                unescaped.get_or_insert_with(|| quoted.iter().take(at).copied().collect()).push(*escaped);
            }
            _ => unescaped.iter_mut().for_each(|text| text.push(*byte)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_from_the_right_and_quoted_commas_do_not_separate() {
        let split = |line: &'static str| -> Vec<&str> {
            Elements { rest: Some(line.as_bytes()) }.map(|element| str::from_utf8(element).unwrap()).collect()
        };
        assert_eq!(split("a, b,c"), ["c", " b", "a"]);
        assert_eq!(split(""), [""]);
        assert_eq!(split(",,"), ["", "", ""]);
        assert_eq!(split(r#"a,"b,c",d"#), ["d", r#""b,c""#, "a"]);
        assert_eq!(split(r#"a,"b\",c",d"#), ["d", r#""b\",c""#, "a"]);
        assert_eq!(split(r#"a,"b\\",c"#), ["c", r#""b\\""#, "a"]);
        assert_eq!(split(r#"a",b"#), ["b", "a\""]);
        assert_eq!(split(r#"a,"b"#), [r#"a,"b"#]);
    }

    #[test]
    fn nodes_are_addresses_with_or_without_ports() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:_p-1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:65535", "2001:db8::1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
        ] {
            assert_eq!(node(text.as_bytes()), Some(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.01",
            "192.0.2.256",
            "192.0.2.1:",
            "192.0.2.1:123456",
            "192.0.2.1:8o",
            "192.0.2.1:_",
            "[192.0.2.1]",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "2001:db8::1]",
            "fe80::1%eth0",
            "[fe80::1%2]:80",
            "0x7f000001",
            "2130706433",
            "example.com",
            "192.0.2.1 80",
            "+1.2.3.4",
            "\u{661}.2.3.4",
        ] {
            assert_eq!(node(text.as_bytes()), None, "{text}");
        }
        assert_eq!(node(b"192.0.2.1\xff"), None);
    }

    #[test]
    fn an_element_has_one_for_and_is_well_formed() {
        let read = |text: &str| named_for(text.as_bytes()).map(|name| String::from_utf8(name.into_owned()).unwrap());
        for (text, name) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=203.0.113.1", "192.0.2.1"),
            ("proto=https;FOR=\"[2001:db8::1]:80\"", "[2001:db8::1]:80"),
            (";for=_a;;", "_a"),
            ("for=_a ; host=\"a;b,c\\\"d\"", "_a"),
            (r#"for="1\92\\""#, r"192\"),
            ("for=\"\"", ""),
        ] {
            assert_eq!(read(text).as_deref(), Some(name), "{text}");
        }
        for text in [
            "by=_a",
            "for",
            "for=_a;for=_a",
            "for=\"_a",
            "for=_a\"",
            "for=\"_a\"b",
            "for =_a",
            "for=_a b",
            "for=_a b=c",
            "for=\"_a\"b=c",
            "f\"or=_a",
            "for=\"_a\\",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
