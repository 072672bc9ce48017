//! The generations of header fields, and the set of them that a server sends.

use std::fmt;

/// A generation of rate-limit header fields; see the [module's table](super).
///
/// ```
/// use limiter_core::http::Generation;
///
/// assert_eq!(Generation::default(), Generation::Structured);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Generation {
    /// `X-RateLimit-*`: never standardized. Written with the reset in seconds; read in every dialect.
    Legacy,
    /// draft-ietf-httpapi-ratelimit-headers-00 to 06: three separate fields.
    DraftA,
    /// draft-ietf-httpapi-ratelimit-headers-07: one Dictionary.
    DraftB,
    /// draft-ietf-httpapi-ratelimit-headers-08 to 11: Lists of named policies, as RFC 9651 Structured Fields.
    #[default]
    Structured,
}

impl Generation {
    pub(super) const ALL: [Self; 4] = [Self::Legacy, Self::DraftA, Self::DraftB, Self::Structured];

    const fn bit(self) -> u8 {
        match self {
            Self::Legacy => 1,
            Self::DraftA => 2,
            Self::DraftB => 4,
            Self::Structured => 8,
        }
    }
}

/// Which generations to send, one or several at once; [`Generation::Structured`] alone by default.
///
/// Where two generations use one field name (`RateLimit-Policy` in A, B and structured, `RateLimit` in the last two),
/// the newest of the set has it. Integers are clamped to the 15 digits of RFC 9651. Each value is one exact allocation.
///
/// ```
/// use limiter_core::http::{FieldSet, Generation};
///
/// let both: FieldSet = [Generation::Structured, Generation::Legacy].into();
/// assert!(both.contains(Generation::Legacy));
/// assert!(!both.contains(Generation::DraftA));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldSet(u8);

impl FieldSet {
    /// No fields at all.
    ///
    /// ```
    /// use limiter_core::http::{FieldSet, PolicyState};
    ///
    /// FieldSet::NONE.state_fields([], |_, _| unreachable!());
    /// ```
    pub const NONE: Self = Self(0);

    /// This set and one more generation.
    ///
    /// ```
    /// use limiter_core::http::{FieldSet, Generation};
    ///
    /// let all_separate = FieldSet::NONE.with(Generation::Legacy).with(Generation::DraftA);
    /// assert_eq!(format!("{all_separate:?}"), "{Legacy, DraftA}");
    /// ```
    #[must_use]
    pub const fn with(self, generation: Generation) -> Self {
        Self(self.0 | generation.bit())
    }

    /// Whether the set has this generation.
    ///
    /// ```
    /// use limiter_core::http::{FieldSet, Generation};
    ///
    /// assert!(FieldSet::default().contains(Generation::Structured));
    /// ```
    #[must_use]
    pub const fn contains(self, generation: Generation) -> bool {
        self.0 & generation.bit() != 0
    }
}

impl Default for FieldSet {
    fn default() -> Self {
        Generation::default().into()
    }
}

impl From<Generation> for FieldSet {
    fn from(generation: Generation) -> Self {
        Self::NONE.with(generation)
    }
}

impl<const N: usize> From<[Generation; N]> for FieldSet {
    fn from(generations: [Generation; N]) -> Self {
        generations.into_iter().collect()
    }
}

impl FromIterator<Generation> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Generation>>(generations: I) -> Self {
        generations.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = Generation::ALL.into_iter().filter(|generation| self.contains(*generation));
        f.debug_set().entries(members).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_else() {
        for chosen in Generation::ALL {
            let set = FieldSet::from(chosen);
            for other in Generation::ALL {
                assert_eq!(set.contains(other), other == chosen);
                assert_eq!(set.with(other), [other, chosen, other].into());
            }
        }
        assert_eq!(FieldSet::default(), Generation::Structured.into());
        assert_eq!(FieldSet::from([]), FieldSet::NONE);
    }

    #[test]
    fn debug_names_the_members() {
        let all = FieldSet::from(Generation::ALL);
        assert_eq!(format!("{all:?}"), "{Legacy, DraftA, DraftB, Structured}");
    }
}
