//! The name of a policy, validated once so that everything written from it is well-formed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a policy as clients see it: 1 to 128 bytes of printable ASCII, what RFC 9651 §3.3.3 allows in a String.
///
/// Validation happens here and nowhere else, so a name can neither inject a header line nor break the field it is in.
/// Cloning copies a pointer. `Display` prints the plain name, without quotes. The default is `default`, the name
/// the drafts use for an only policy.
///
/// ```
/// use limiter_core::http::PolicyName;
///
/// let name = PolicyName::new("per-minute")?;
/// assert_eq!(name.to_string(), "per-minute");
/// assert!(PolicyName::new("x\r\nSet-Cookie: a=b").is_err());
/// # Ok::<(), limiter_core::http::PolicyNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// The longest name accepted, in bytes.
    ///
    /// ```
    /// use limiter_core::http::PolicyName;
    ///
    /// assert!(PolicyName::new("n".repeat(PolicyName::MAX_BYTES)).is_ok());
    /// assert!(PolicyName::new("n".repeat(PolicyName::MAX_BYTES + 1)).is_err());
    /// ```
    pub const MAX_BYTES: usize = 128;

    /// Validates a name; one allocation.
    ///
    /// # Errors
    /// [`PolicyNameError`] when it is empty, too long, or has a byte outside `0x20..=0x7e`.
    ///
    /// ```
    /// use limiter_core::http::PolicyName;
    ///
    /// let error = PolicyName::new("caf\u{e9}").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "policy name has byte 0xc3 at index 3: only printable ASCII (0x20 to 0x7e) is allowed",
    /// );
    /// ```
    pub fn new(name: impl AsRef<str>) -> Result<Self, PolicyNameError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(PolicyNameError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(PolicyNameError::TooLong { bytes: name.len() });
        }
        match name.bytes().enumerate().find(|(_, byte)| !matches!(byte, b' '..=b'~')) {
            Some((index, byte)) => Err(PolicyNameError::NotPrintable { byte, index }),
            None => Ok(Self(name.into())),
        }
    }

    /// The plain name, without quotes or escapes.
    ///
    /// ```
    /// use limiter_core::http::PolicyName;
    ///
    /// assert_eq!(PolicyName::default().as_str(), "default");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length of what [`push_quoted`](Self::push_quoted) appends.
    pub(super) fn quoted_len(&self) -> usize {
        let escapes = self.0.bytes().filter(|byte| needs_escape(*byte)).count();
        self.0.len() + escapes + 2
    }

    /// Appends the name in quotes. RFC 9651 Strings and JSON strings coincide for printable ASCII: both escape
    /// exactly the quote and the backslash, with a backslash.
    pub(super) fn push_quoted(&self, out: &mut String) {
        out.push('"');
        let mut rest = self.as_str();
        while let Some(at) = rest.bytes().position(needs_escape) {
            let (plain, escaped) = rest.split_at(at);
            out.push_str(plain);
            out.push('\\');
            let (special, tail) = escaped.split_at(1);
            out.push_str(special);
            rest = tail;
        }
        out.push_str(rest);
        out.push('"');
    }
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

impl Default for PolicyName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for PolicyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<&str> for PolicyName {
    type Error = PolicyNameError;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl TryFrom<String> for PolicyName {
    type Error = PolicyNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

/// Why a text cannot be a [`PolicyName`].
///
/// ```
/// use limiter_core::http::{PolicyName, PolicyNameError};
///
/// assert_eq!(PolicyName::new(""), Err(PolicyNameError::Empty));
/// assert_eq!(PolicyName::new("a\nb"), Err(PolicyNameError::NotPrintable { byte: b'\n', index: 1 }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyNameError {
    /// It has no bytes.
    Empty,
    /// It has more than [`PolicyName::MAX_BYTES`].
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It has a byte that is not printable ASCII.
    NotPrintable {
        /// The first such byte.
        byte: u8,
        /// Where it is, in bytes from the start.
        index: usize,
    },
}

impl fmt::Display for PolicyNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("policy name is empty: at least one byte is needed"),
            Self::TooLong { bytes } => {
                write!(f, "policy name has {bytes} bytes: at most {} are allowed", PolicyName::MAX_BYTES)
            }
            Self::NotPrintable { byte, index } => write!(
                f,
                "policy name has byte {byte:#04x} at index {index}: only printable ASCII (0x20 to 0x7e) is allowed"
            ),
        }
    }
}

impl std::error::Error for PolicyNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_byte_is_accepted_and_no_other() {
        for code in 0..=0x17f_u32 {
            let text = char::from_u32(code).unwrap().to_string();
            let accepted = PolicyName::new(&text).is_ok();
            assert_eq!(accepted, (0x20..=0x7e).contains(&code), "U+{code:04x}");
        }
    }

    #[test]
    fn header_injection_is_refused_and_located() {
        for (name, byte, index) in [
            ("a\r\nX: y", b'\r', 1),
            ("\n", b'\n', 0),
            ("tab\t", b'\t', 3),
            ("nul\0", 0, 3),
            ("del\x7f", 0x7f, 3),
            ("\u{202e}rtl", 0xe2, 0),
        ] {
            assert_eq!(PolicyName::new(name), Err(PolicyNameError::NotPrintable { byte, index }), "{name:?}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_is_allowed() {
        let too_long = PolicyName::new("x".repeat(129)).unwrap_err();
        assert_eq!(too_long.to_string(), "policy name has 129 bytes: at most 128 are allowed");
        let control = PolicyName::new("a\x01").unwrap_err();
        assert_eq!(
            control.to_string(),
            "policy name has byte 0x01 at index 1: only printable ASCII (0x20 to 0x7e) is allowed"
        );
    }

    #[test]
    fn quoting_escapes_quotes_and_backslashes_only() {
        for (name, quoted) in [
            ("plain", r#""plain""#),
            (r#"""#, r#""\"""#),
            (r"\", r#""\\""#),
            (r#"a"b\c;d,e"#, r#""a\"b\\c;d,e""#),
            (r#"\\"""#, r#""\\\\\"\"""#),
        ] {
            let name = PolicyName::new(name).unwrap();
            let mut out = String::new();
            name.push_quoted(&mut out);
            assert_eq!(out, quoted);
            assert_eq!(out.len(), name.quoted_len());
        }
    }

    #[test]
    fn conversions_agree_and_clones_share() {
        let name: PolicyName = "burst".parse().unwrap();
        assert_eq!(PolicyName::try_from("burst"), Ok(name.clone()));
        assert_eq!(PolicyName::try_from("burst".to_owned()), Ok(name.clone()));
        assert!(Arc::ptr_eq(&name.0, &name.clone().0));
        assert_eq!(format!("{name:>7}"), "  burst");
    }
}
