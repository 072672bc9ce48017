//! A strict parser of RFC 9651 Structured Fields: Lists and Dictionaries of Items with parameters.
//!
//! It accepts every bare item type, so that parameters yet to be invented do not spoil a field, but keeps the values of
//! only those that rate-limit fields use. Inner Lists, which none of them has, are refused.

/// The greatest Integer (RFC 9651 §3.3.1): 15 digits.
pub(super) const MAX_INTEGER: u64 = 999_999_999_999_999;

#[derive(Debug, PartialEq)]
pub(super) enum Bare<'a> {
    Integer(i64),
    /// In thousandths, which is all the precision there is.
    Decimal(i64),
    String(String),
    /// Base64 without its padding.
    Bytes(&'a str),
    /// A Token, Boolean, Date or Display String.
    Other,
}

/// Keys and values in order of appearance; the last of equal keys counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Map<'a>(Vec<(&'a str, Bare<'a>)>);

impl<'a> Map<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&Bare<'a>> {
        let (_, value) = self.0.iter().rfind(|(candidate, _)| *candidate == key)?;
        Some(value)
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Item<'a> {
    pub(super) value: Bare<'a>,
    pub(super) parameters: Map<'a>,
}

/// RFC 9651 §4.2.1; `None` if the field is malformed anywhere. An empty field is an empty List.
pub(super) fn parse_list(field: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    Parser::new(field)?.members(|parser| {
        items.push(parser.item()?);
        Some(())
    })?;
    Some(items)
}

/// RFC 9651 §4.2.2; the members' parameters, which no rate-limit field has, are checked and dropped.
pub(super) fn parse_dictionary(field: &[u8]) -> Option<Map<'_>> {
    let mut map = Map::default();
    Parser::new(field)?.members(|parser| {
        let member = parser.key_value()?;
        parser.parameters()?;
        map.0.push(member);
        Some(())
    })?;
    Some(map)
}

/// What is left to read, all of it ASCII, so that every index is a character boundary.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(field: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(field).ok()?;
        text.is_ascii().then(|| Self { rest: text.trim_matches(' ') })
    }

    /// Comma-separated members up to the end, without a trailing comma.
    fn members(mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.rest.is_empty() {
            return Some(());
        }
        loop {
            member(&mut self)?;
            self.skip_whitespace();
            if self.rest.is_empty() {
                return Some(());
            }
            self.expect(',')?;
            self.skip_whitespace();
        }
    }

    fn item(&mut self) -> Option<Item<'a>> {
        Some(Item { value: self.bare_item()?, parameters: self.parameters()? })
    }

    fn parameters(&mut self) -> Option<Map<'a>> {
        let mut map = Map::default();
        while self.eat(';') {
            self.rest = self.rest.trim_start_matches(' ');
            map.0.push(self.key_value()?);
        }
        Some(map)
    }

    /// A key and, after an equals sign, its value; a key alone is a Boolean.
    fn key_value(&mut self) -> Option<(&'a str, Bare<'a>)> {
        let key = self.take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        if !key.starts_with(|first| matches!(first, 'a'..='z' | '*')) {
            return None;
        }
        let value = if self.eat('=') { self.bare_item()? } else { Bare::Other };
        Some((key, value))
    }

    fn bare_item(&mut self) -> Option<Bare<'a>> {
        match self.rest.bytes().next()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Bare::String),
            b':' => self.bytes().map(Bare::Bytes),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => self.token(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Bare<'a>> {
        let sign = if self.eat('-') { -1 } else { 1 };
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if !self.eat('.') {
            // The length is checked first: 15 digits always fit.
            return (whole.len() <= 15)
                .then(|| whole.parse::<i64>().ok())
                .flatten()
                .map(|number| Bare::Integer(sign * number));
        }
        let fraction = self.take_while(|byte| byte.is_ascii_digit());
        let scale = match fraction.len() {
            1 => 100,
            2 => 10,
            3 => 1,
            _ => return None,
        };
        if whole.len() > 12 {
            return None;
        }
        let (whole, fraction) = (whole.parse::<i64>().ok()?, fraction.parse::<i64>().ok()?);
        Some(Bare::Decimal(sign * (whole * 1000 + fraction * scale)))
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut text = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    escaped @ ('"' | '\\') => text.push(escaped),
                    _ => return None,
                },
                plain @ ' '..='~' => text.push(plain),
                _ => return None,
            }
        }
        self.rest = characters.as_str();
        Some(text)
    }

    /// Lenient where RFC 9651 §4.2.7 asks for it: padding may be missing and its bits need not be zero.
    fn bytes(&mut self) -> Option<&'a str> {
        self.expect(':')?;
        let padded = self.take_while(|byte| byte != b':');
        self.expect(':')?;
        let data = padded.trim_end_matches('=');
        let valid = data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
            && data.len() % 4 != 1
            && padded.len() - data.len() <= 2;
        valid.then_some(data)
    }

    fn token(&mut self) -> Option<Bare<'a>> {
        self.take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
        Some(Bare::Other)
    }

    fn boolean(&mut self) -> Option<Bare<'a>> {
        self.expect('?')?;
        (self.eat('0') || self.eat('1')).then_some(Bare::Other)
    }

    fn date(&mut self) -> Option<Bare<'a>> {
        self.expect('@')?;
        match self.number()? {
            Bare::Integer(_) => Some(Bare::Other),
            _ => None,
        }
    }

    fn display_string(&mut self) -> Option<Bare<'a>> {
        self.expect('%')?;
        self.expect('"')?;
        let mut decoded = Vec::new();
        let mut bytes = self.take_while(|byte| byte != b'"').bytes();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => lower_hex(bytes.next()?)? << 4 | lower_hex(bytes.next()?)?,
                b' '..=b'~' => byte,
                _ => return None,
            });
        }
        self.expect('"')?;
        std::str::from_utf8(&decoded).is_ok().then_some(Bare::Other)
    }

    fn eat(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, character: char) -> Option<()> {
        self.eat(character).then_some(())
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_whitespace(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

fn lower_hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only item of a List.
    fn bare(text: &str) -> Option<Bare<'_>> {
        let mut items = parse_list(text.as_bytes())?;
        assert!(items.len() < 2, "{text:?}");
        items.pop().map(|item| item.value)
    }

    #[test]
    fn numbers_keep_to_their_digits() {
        for (text, expected) in [
            ("0", Some(Bare::Integer(0))),
            ("-0", Some(Bare::Integer(0))),
            ("0042", Some(Bare::Integer(42))),
            ("-7", Some(Bare::Integer(-7))),
            ("999999999999999", Some(Bare::Integer(999_999_999_999_999))),
            ("-999999999999999", Some(Bare::Integer(-999_999_999_999_999))),
            ("1000000000000000", None),
            ("1.5", Some(Bare::Decimal(1_500))),
            ("-0.01", Some(Bare::Decimal(-10))),
            ("999999999999.999", Some(Bare::Decimal(999_999_999_999_999))),
            ("1000000000000.0", None),
            ("1.0000", None),
            ("1.", None),
            (".5", None),
            ("-", None),
            ("--1", None),
            ("+1", None),
            ("1e3", None),
            ("1 2", None),
        ] {
            assert_eq!(bare(text), expected, "{text:?}");
        }
    }

    #[test]
    fn strings_escape_two_characters_and_hold_printable_ascii() {
        for (text, expected) in [
            (r#""""#, Some("")),
            (r#""a b""#, Some("a b")),
            (r#""a\"b\\c""#, Some(r#"a"b\c"#)),
            (r#""a,b;c=d""#, Some("a,b;c=d")),
            (r#""open"#, None),
            (r#""open\"#, None),
            (r#""open\""#, None),
            (r#""\n""#, None),
            ("\"tab\t\"", None),
            ("\"line\n\"", None),
            ("\"del\x7f\"", None),
            ("\"\u{e9}\"", None),
            ("'single'", None),
        ] {
            let expected = expected.map(|text| Bare::String(text.to_owned()));
            assert_eq!(bare(text), expected, "{text:?}");
        }
    }

    #[test]
    fn byte_sequences_may_lack_padding() {
        for (text, expected) in [
            ("::", Some("")),
            (":cHJldGVuZA==:", Some("cHJldGVuZA")),
            (":cHJldGVuZA:", Some("cHJldGVuZA")),
            (":sdfjLJUOUH==:", Some("sdfjLJUOUH")),
            (":+/+/:", Some("+/+/")),
            (":YQ", None),
            (":Y:", None),
            (":YQ===:", None),
            (":Y=Q=:", None),
            (":Y Q=:", None),
            (":YQ-_:", None),
        ] {
            assert_eq!(bare(text), expected.map(Bare::Bytes), "{text:?}");
        }
    }

    #[test]
    fn other_types_are_checked_and_forgotten() {
        for text in ["token", "*", "a/b:c!", "?0", "?1", "@0", "@-5", r#"%"a%c3%bc""#, r#"%"""#] {
            assert_eq!(bare(text), Some(Bare::Other), "{text:?}");
        }
        for text in [
            "_",
            "?",
            "?2",
            "?01",
            "@",
            "@1.5",
            "%",
            "%\"",
            r#"%"%C3%BC""#,
            r#"%"%c3""#,
            r#"%"%f""#,
            "(1 2)",
            "=",
            ";",
            "{}",
            "a\"",
        ] {
            assert_eq!(bare(text), None, "{text:?}");
        }
    }

    #[test]
    fn parameters_follow_their_item() {
        let items = parse_list(br#"  "a";r=1;  t=2;*x;r=3 ,	"b";pk=:YQ==: "#).unwrap();
        assert_eq!(items.len(), 2);
        let [first, second] = [&items[0].parameters, &items[1].parameters];
        assert_eq!(first.get("r"), Some(&Bare::Integer(3)), "the last counts");
        assert_eq!(first.get("t"), Some(&Bare::Integer(2)));
        assert_eq!(first.get("*x"), Some(&Bare::Other));
        assert_eq!(first.get("pk"), None);
        assert_eq!(second.get("pk"), Some(&Bare::Bytes("YQ")));
    }

    #[test]
    fn lists_are_malformed_as_a_whole() {
        for text in [
            ",",
            "1,",
            ",1",
            "1,,2",
            "1 ;a",
            "1;",
            "1;A=1",
            "1;1=1",
            "1;a=",
            "1;a =1",
            "1;a= 1",
            "1;\ta",
            "1\n",
            "\t1",
            "1,2\0",
            "1 \u{a0}, 2",
        ] {
            assert_eq!(parse_list(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_list(b"\xff"), None);
        assert_eq!(parse_list(b""), Some(Vec::new()));
        assert_eq!(parse_list(b"   "), Some(Vec::new()));
    }

    #[test]
    fn dictionaries_map_keys_to_the_last_value() {
        let map = parse_dictionary(b"limit=100, remaining=50;x=1,reset=5, flag, limit=7").unwrap();
        assert_eq!(map.get("limit"), Some(&Bare::Integer(7)));
        assert_eq!(map.get("remaining"), Some(&Bare::Integer(50)));
        assert_eq!(map.get("flag"), Some(&Bare::Other));
        assert_eq!(map.get("x"), None);
        for text in ["a=1,", "a=1 b=2", "A=1", "a=", "a==1", "\"a\"=1", "a=1;;", "a=(1)"] {
            assert_eq!(parse_dictionary(text.as_bytes()), None, "{text:?}");
        }
    }
}
