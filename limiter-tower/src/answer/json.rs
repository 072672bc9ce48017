//! JSON, written by hand: a few members, most of them constant.

use std::fmt::Write;

/// Appends `text` as a JSON string (RFC 8259 §7).
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_it_stays_inside_its_quotes() {
        let text: String = ('\0'..='\u{ff}').chain("\u{2028}\u{1f600}".chars()).collect();
        let mut json = String::new();
        push_string(&mut json, &text);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
