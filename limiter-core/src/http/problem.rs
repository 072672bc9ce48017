//! Bodies of refusals, as RFC 9457 problem details.

use super::policy::PolicyName;

/// The media type of the bodies this module writes (RFC 9457 §3).
///
/// ```
/// assert_eq!(limiter_core::http::CONTENT_TYPE, "application/problem+json");
/// ```
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The body of a 429 (RFC 6585 §4): which policies the request exceeded, by name.
///
/// `detail` is for people; it may be any text and must hold no key or credential. One allocation, usually.
///
/// ```
/// use limiter_core::http::{PolicyName, quota_exceeded};
///
/// let daily = PolicyName::new("daily")?;
/// assert_eq!(
///     quota_exceeded([&daily], Some("Try again tomorrow.")),
///     concat!(
///         r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
///         r#""title":"Request cannot be satisfied as assigned quota has been exceeded","#,
///         r#""status":429,"detail":"Try again tomorrow.","violated-policies":["daily"]}"#,
///     ),
/// );
/// # Ok::<(), limiter_core::http::PolicyNameError>(())
/// ```
#[must_use]
pub fn quota_exceeded<'a>(violated: impl IntoIterator<Item = &'a PolicyName>, detail: Option<&str>) -> String {
    let mut body = start(
        "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "Request cannot be satisfied as assigned quota has been exceeded",
        "429",
        detail,
    );
    body.push_str(r#","violated-policies":["#);
    for (index, name) in violated.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        name.push_quoted(&mut body);
    }
    body.push_str("]}");
    body
}

/// The body of a 503 (RFC 9110 §15.6.4): the limiter's store is down, which is no fault of the client's.
///
/// ```
/// use limiter_core::http::temporary_reduced_capacity;
///
/// let body = temporary_reduced_capacity(None);
/// assert!(body.contains(r##"http-problem-types#temporary-reduced-capacity","##));
/// assert!(body.ends_with(r#""status":503}"#));
/// ```
#[must_use]
pub fn temporary_reduced_capacity(detail: Option<&str>) -> String {
    let mut body = start(
        "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        "Request cannot be satisfied due to temporary server capacity constraints",
        "503",
        detail,
    );
    body.push('}');
    body
}

/// The body of a 413 (RFC 9110 §15.5.14): the request costs more than its quota can ever hold, so waiting is no use.
///
/// The type is `about:blank`, whose title is the status's own phrase (RFC 9457 §4.2.1).
///
/// ```
/// use limiter_core::http::cost_too_large;
///
/// assert_eq!(
///     cost_too_large(Some("cost 12, at most 10")),
///     r#"{"type":"about:blank","title":"Content Too Large","status":413,"detail":"cost 12, at most 10"}"#,
/// );
/// ```
#[must_use]
pub fn cost_too_large(detail: Option<&str>) -> String {
    let mut body = start("about:blank", "Content Too Large", "413", detail);
    body.push('}');
    body
}

/// Everything up to the extension members; the object is left open.
fn start(kind: &str, title: &str, status: &str, detail: Option<&str>) -> String {
    const PUNCTUATION_AND_A_NAME: usize = 96;
    let size = kind.len() + title.len() + detail.map_or(0, str::len) + PUNCTUATION_AND_A_NAME;
    let mut body = String::with_capacity(size);
    for part in [r#"{"type":""#, kind, r#"","title":""#, title, r#"","status":"#, status] {
        body.push_str(part);
    }
    if let Some(detail) = detail {
        body.push_str(r#","detail":""#);
        push_escaped(&mut body, detail);
        body.push('"');
    }
    body
}

/// The escapes RFC 8259 §7 requires: the quote, the backslash and the control characters.
fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str(r#"\""#),
            '\\' => out.push_str(r"\\"),
            '\0'..='\x1f' => {
                let code = u32::from(character);
                out.push_str("\\u00");
                out.extend(char::from_digit(code >> 4, 16));
                out.extend(char::from_digit(code & 0xf, 16));
            }
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_policies_are_listed_in_order() {
        let names = ["burst", "daily"].map(|name| PolicyName::new(name).unwrap());
        let body = quota_exceeded(&names, None);
        assert!(body.ends_with(r#""status":429,"violated-policies":["burst","daily"]}"#));
        assert!(quota_exceeded([], None).ends_with(r#""violated-policies":[]}"#));
    }

    #[test]
    fn names_are_escaped_as_json() {
        let name = PolicyName::new(r#"a"b\c</script>"#).unwrap();
        assert!(quota_exceeded([&name], None).ends_with(r#"["a\"b\\c</script>"]}"#));
    }

    #[test]
    fn details_are_escaped_whatever_they_hold() {
        for (detail, escaped) in [
            ("", ""),
            (r#""}"#, r#"\"}"#),
            (r"C:\new", r"C:\\new"),
            ("a\r\n\tb\0\x1f", r"a\u000d\u000a\u0009b\u0000\u001f"),
            ("\u{7f} \u{e9} \u{1f600}", "\u{7f} \u{e9} \u{1f600}"),
        ] {
            assert!(cost_too_large(Some(detail)).ends_with(&format!(r#""detail":"{escaped}"}}"#)), "{detail:?}");
        }
    }
}
