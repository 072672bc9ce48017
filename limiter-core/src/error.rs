//! What can go wrong. A denial is not among it: that is a [`Decision`](crate::Decision).

use crate::{Algorithm, Rate};
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Why a rate or a quota was refused when it was built or read from text.
///
/// ```
/// use limiter_core::{Quota, QuotaError};
///
/// let text = "5/fortnight";
/// match text.parse::<Quota>() {
///     Err(QuotaError::Text { at, len, allowed, .. }) => {
///         assert_eq!(&text[at..at + len], "fortnight");
///         println!("write {allowed}");
///     }
///     other => panic!("{other:?}"),
/// }
/// assert!(matches!("5/s, 5/min".parse::<Quota>(), Err(QuotaError::LimitDoesNotGrow { .. })));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum QuotaError {
    /// The limit is zero.
    ZeroLimit,
    /// The period is zero.
    ZeroPeriod,
    /// The burst is zero.
    ZeroBurst,
    /// The resolution is zero.
    ZeroResolution,
    /// A burst and a resolution on one rate: no algorithm has both.
    BurstAndResolution,
    /// The period is not whole microseconds.
    FractionalPeriod {
        /// The period asked for.
        period: Duration,
    },
    /// More than 4096 units a microsecond.
    TooDense {
        /// Units in each period.
        limit: u64,
        /// The period.
        period: Duration,
    },
    /// Two full buckets take more than 2⁵⁰ µs to drain.
    TooLong {
        /// Units in a full bucket.
        units: u64,
        /// Units in each period.
        limit: u64,
        /// The period.
        period: Duration,
    },
    /// The algorithm's arithmetic does not fit 64 bits, or a script's doubles, with this rate.
    TooLarge {
        /// The algorithm.
        algorithm: Algorithm,
        /// The rate.
        rate: Rate,
    },
    /// No rate at all.
    NoRates,
    /// Two rates have the same period.
    SamePeriod {
        /// The one.
        first: Rate,
        /// The other.
        second: Rate,
    },
    /// The longer period does not allow more units than the shorter one, which then never limits anything.
    LimitDoesNotGrow {
        /// The rate with the shorter period.
        shorter: Rate,
        /// The rate with the longer period.
        longer: Rate,
    },
    /// The longer period allows more units a second than the shorter one, so that it never limits anything.
    DensityGrows {
        /// The rate with the shorter period.
        shorter: Rate,
        /// The rate with the longer period.
        longer: Rate,
    },
    /// A burst or a resolution with an algorithm that has none.
    NotForAlgorithm {
        /// `burst` or `resolution`.
        option: &'static str,
        /// The algorithm that was asked for.
        algorithm: Algorithm,
    },
    /// A part of a text is a rate that is refused.
    Part {
        /// The text.
        text: String,
        /// Where in the text the rate stands, in bytes.
        at: usize,
        /// How long it is, in bytes.
        len: usize,
        /// Why it is refused.
        error: Box<Self>,
    },
    /// The text is not a quota.
    Text {
        /// The text.
        text: String,
        /// Where in the text the offending part stands, in bytes.
        at: usize,
        /// How long the offending part is, in bytes.
        len: usize,
        /// What is allowed there.
        allowed: &'static str,
    },
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroLimit => write!(f, "the limit is 0; a rate allows at least 1 unit a period"),
            Self::ZeroPeriod => write!(f, "the period is 0; it is at least 1 microsecond"),
            Self::ZeroBurst => write!(f, "the burst is 0; a bucket holds at least 1 unit"),
            Self::ZeroResolution => write!(f, "the resolution is 0; a period has at least 1 cell"),
            Self::BurstAndResolution => {
                write!(f, "a rate cannot have both a burst (gcra) and a resolution (sliding_log)")
            }
            Self::FractionalPeriod { period } => {
                write!(f, "the period {period:?} is not whole microseconds, the finest that is kept")
            }
            Self::TooDense { limit, period } => {
                write!(f, "{limit} units in {period:?} are more than 4096 units a microsecond, the most that is kept")
            }
            Self::TooLong { units, limit, period } => write!(
                f,
                "two full buckets of {units} units at {limit} in {period:?} take more than 2^50 microseconds \
                 (35 years) to drain, the most that is kept"
            ),
            Self::TooLarge { algorithm, rate } => write!(
                f,
                "{rate} is too large for {algorithm}: {}",
                match algorithm {
                    Algorithm::SlidingWindow => "2 x limit x period in microseconds must stay below 2^63",
                    _ => "the limit is at most 2^52",
                }
            ),
            Self::NoRates => write!(f, "a quota needs at least one rate"),
            Self::SamePeriod { first, second } => {
                write!(f, "{first} and {second} have the same period; keep the stricter one")
            }
            Self::LimitDoesNotGrow { shorter, longer } => write!(
                f,
                "{longer} allows no more than {shorter} in a longer period, so that {shorter} never limits anything; \
                 limits must grow with the period"
            ),
            Self::DensityGrows { shorter, longer } => write!(
                f,
                "{longer} allows more units a second than {shorter}, so that it never limits anything; \
                 the longer period must not be the more generous one"
            ),
            Self::NotForAlgorithm { option, algorithm } => {
                let whose = if *option == "burst" { Algorithm::Gcra } else { Algorithm::SlidingLog };
                write!(f, "a {option} is for {whose} only, not for {algorithm}")
            }
            Self::Part { text, at, len, error } => {
                write!(f, "{:?} at byte {at} of {text:?}: {error}", text.get(*at..at + len).unwrap_or_default())
            }
            Self::Text { text, at, len, allowed } => {
                let part = text.get(*at..at + len).unwrap_or_default();
                match part {
                    "" => write!(f, "{text:?} ends too early; expected {allowed}"),
                    part => write!(f, "{part:?} at byte {at} of {text:?}: expected {allowed}"),
                }
            }
        }
    }
}

impl StdError for QuotaError {}

/// Why a limiter could not answer, or would not wait.
///
/// ```
/// use limiter_core::{Error, Limiter};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("10/min")?;
/// match limiter.acquire("ada").cost(11).timeout(Duration::from_secs(1)).blocking() {
///     Ok(permit) => println!("{} units", permit.cost()),
///     Err(Error::WaitTooLong { needed, .. }) => println!("come back in {needed:?}"),
///     Err(Error::NeverFits { capacity, .. }) => assert_eq!(capacity, 10), // waiting would not help
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The cost is above what the quota can ever hold at once, however long one waits.
    NeverFits {
        /// The cost asked for.
        cost: u64,
        /// The most units one request can take.
        capacity: u64,
        /// In a decision over several keys, the place of the part that cannot fit, as
        /// [`Decision::denied`](crate::Decision::denied) counts.
        part: Option<usize>,
    },
    /// The wait would be longer than the caller allowed; nothing was taken and nobody queued.
    WaitTooLong {
        /// The wait it would have been, the best estimate where others wait ahead.
        needed: Duration,
        /// The wait that was allowed.
        allowed: Duration,
    },
    /// The caller's time passed while it waited for others to finish; nothing was taken. The wait that would have been needed
    /// is not known, and has no bound: it ends when they do.
    TimedOut {
        /// The wait that was allowed, and over.
        waited: Duration,
    },
    /// As many wait already as the limiter lets wait.
    QueueFull {
        /// The most that may wait at once.
        waiting: usize,
    },
    /// As many of the key are at work as its limiter lets be at work at once; nothing was taken.
    TooManyAtOnce {
        /// The most that may be held at once.
        most: usize,
        /// Where several keys were asked for together, the place of the part that found none, counted from 0.
        part: Option<usize>,
    },
    /// The limiter was closed: nobody waits on it any more.
    Closed,
    /// A decision over several keys without any.
    NothingAsked,
    /// A decision over limiters that keep their states in different stores, which cannot decide in one step.
    SeveralStores,
    /// A decision over the same key of the same limiter twice: add the costs and ask once.
    DuplicateKey,
    /// A decision over more than 64 keys.
    TooManyDemands,
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverFits { cost, capacity, part } => {
                if let Some(place) = part {
                    write!(f, "part {place} of the decision, counted from 0: ")?;
                }
                write!(f, "a cost of {cost} can never fit: the quota holds at most {capacity} units at once")
            }
            Self::WaitTooLong { needed, allowed } => {
                write!(f, "the wait would be {needed:?}, above the {allowed:?} allowed")
            }
            Self::TimedOut { waited } => {
                write!(
                    f,
                    "others had not finished after the {waited:?} allowed, and how much longer they take is not known"
                )
            }
            Self::QueueFull { waiting } => write!(f, "{waiting} callers wait already, the most this limiter lets wait"),
            Self::TooManyAtOnce { most, part } => {
                if let Some(place) = part {
                    write!(f, "part {place} of the decision, counted from 0: ")?;
                }
                write!(f, "{most} are at work already, the most this limiter lets be at work at once")
            }
            Self::Closed => write!(f, "the limiter was closed while, or before, the caller waited"),
            Self::NothingAsked => write!(f, "a decision over several keys needs at least one"),
            Self::SeveralStores => {
                write!(f, "the limiters asked together keep their states in different stores; give them clones of one")
            }
            Self::DuplicateKey => StoreError::new(StoreErrorKind::DuplicateKey).fmt(f),
            Self::TooManyDemands => StoreError::new(StoreErrorKind::TooManyDemands).fmt(f),
            Self::Store(_) => write!(f, "the limiter's store failed"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for Error {
    /// [`Error::Store`], but for what the caller did wrong.
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::DuplicateKey => Self::DuplicateKey,
            StoreErrorKind::TooManyDemands => Self::TooManyDemands,
            _ => Self::Store(error),
        }
    }
}

/// Why a store could not decide.
///
/// ```
/// use limiter_core::{Error, StoreError, StoreErrorKind};
/// use std::{error::Error as _, io};
///
/// let failed = StoreError::new(StoreErrorKind::Unavailable).with_source(io::Error::other("no route to host"));
/// assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
/// assert!(failed.source().is_some_and(|source| source.is::<io::Error>()));
/// assert!(matches!(Error::from(failed), Error::Store(_)));
/// ```
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    /// Shared, so that everybody who waited for one answer can be told.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Two demands of one decision name the same key of the same limiter: add their costs and ask once.
    DuplicateKey,
    /// More than 64 demands in one decision.
    TooManyDemands,
    /// The store, or the way to it, does not answer. Nothing was sent, or the answer says that nothing was done.
    Unavailable,
    /// The store did not answer in time, or the connection broke after the question was sent: it may have been carried
    /// out, and is never sent again by itself.
    TimedOut,
    /// A wrong address or setting.
    Config,
    /// The store may not do what is asked of it: a missing permission.
    Permission,
    /// The store can be read only: a replica, a file without the right to write.
    ReadOnly,
    /// The store is full: out of memory, disk or table.
    Full,
    /// What is stored is garbage, or of a format this release does not know.
    Format,
    /// More than this store can hold for one key.
    TooLarge,
    /// What the demand rests on was changed while the call was under way, and nothing was done; see
    /// [`Basis`](crate::store::Basis). A limiter that is told so asks again.
    Outdated,
    /// Any other failure; see the error's source.
    Other,
}

impl StoreError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(source.into())), ..self }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::DuplicateKey => {
                "two demands of one decision name the same key of the same limiter; add their costs and ask once"
            }
            StoreErrorKind::TooManyDemands => "a decision is over at most 64 keys",
            StoreErrorKind::Unavailable => "the store does not answer",
            StoreErrorKind::TimedOut => "the store did not answer in time; what was asked may have been done",
            StoreErrorKind::Config => "the store's address or settings are wrong",
            StoreErrorKind::Permission => "the store does not permit what it was asked",
            StoreErrorKind::ReadOnly => "the store can only be read",
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Format => "what is stored is not of a format that is known here",
            StoreErrorKind::TooLarge => "the quota or the key needs more than this store can hold",
            StoreErrorKind::Outdated => "the quota was changed, or the key reset, while the call was under way",
            StoreErrorKind::Other => "the store failed",
        })
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
