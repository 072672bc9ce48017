//! Why rules are not taken: every mistake, and where it stands.

use std::{error::Error, fmt, io, path::PathBuf};

/// Why rules were not read. It prints one line a mistake: file, line, column, what is wrong, what is allowed.
///
/// ```
/// use limiter_tower::{RulesFormat, RulesReader};
///
/// let text = r#"
/// [[policy]]
/// name = "api"
/// quota = "100/fortnight"
/// kay = "header:x-api-key"
/// "#;
/// let error = RulesReader::new().parse(text, RulesFormat::Toml).unwrap_err();
/// assert_eq!(error.mistakes().len(), 2);
/// assert_eq!((error.mistakes()[0].line(), error.mistakes()[0].column()), (4, 14));
/// assert!(error.to_string().starts_with("4:14: ") && error.to_string().contains("did you mean \"key\"?"), "{error}");
/// ```
#[derive(Debug)]
pub struct RulesError {
    path: Option<PathBuf>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Mistakes(Vec<Mistake>),
    Unreadable(io::Error),
    NoFormat,
    NoFile,
}

/// A mistake in rules, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    line: usize,
    column: usize,
    message: String,
}

impl RulesError {
    pub(super) fn mistakes_in(mistakes: Vec<Mistake>) -> Self {
        Self { path: None, cause: Cause::Mistakes(mistakes) }
    }

    pub(super) fn unreadable(path: PathBuf, error: io::Error) -> Self {
        Self { path: Some(path), cause: Cause::Unreadable(error) }
    }

    pub(super) fn no_format(path: PathBuf) -> Self {
        Self { path: Some(path), cause: Cause::NoFormat }
    }

    pub(super) fn no_file() -> Self {
        Self { path: None, cause: Cause::NoFile }
    }

    pub(super) fn in_file(self, path: PathBuf) -> Self {
        Self { path: Some(path), ..self }
    }

    /// All mistakes, in the order in which they stand in the text; none where the file could not be read.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        match &self.cause {
            Cause::Mistakes(mistakes) => mistakes,
            _ => &[],
        }
    }
}

impl Mistake {
    /// The mistake at a byte of `text`.
    pub(super) fn new(text: &str, at: usize, message: String) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        Self { line: before.matches('\n').count() + 1, column: column + 1, message }
    }

    /// The line, the first one being 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, the first one being 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong, what is allowed, and what was probably meant.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.as_ref().map(|path| format!("{}:", path.display())).unwrap_or_default();
        match &self.cause {
            Cause::Mistakes(mistakes) => {
                for (i, mistake) in mistakes.iter().enumerate() {
                    write!(f, "{}{file}{mistake}", if i > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
            Cause::Unreadable(_) => write!(f, "{file} the rules cannot be read"),
            Cause::NoFormat => {
                write!(f, "{file} the name does not tell the format: call it .toml, .json, .yaml or .yml")
            }
            Cause::NoFile => write!(f, "these rules came from no file: give others to RulesLayer::apply"),
        }
    }
}

impl Error for RulesError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}
