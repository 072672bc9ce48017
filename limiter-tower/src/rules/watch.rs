//! Looks at a file every so often, on a thread of its own.

use super::{change::RulesChange, error::RulesError, layer::RulesLayer};
use limiter_core::Store;
use std::{
    fs, io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Watches the file of a [`RulesLayer`]'s rules until it is dropped; made by [`RulesLayer::watch`].
#[must_use = "the file is watched until this is dropped"]
#[derive(Debug)]
pub struct RulesWatch {
    /// Its end is the thread's sign to go.
    _goes_on: mpsc::Sender<()>,
}

impl<S: Store> RulesLayer<S> {
    /// Reads the file that the rules came from every `interval`, and puts what it says in force where it changed. `tell`
    /// is called with each change, and with each version of the file that is refused; the rules in force then stay.
    ///
    /// It reads the text, which is short, as times of modification can be too coarse, and go unchanged where a link is
    /// put on another file. One thread does so, until the watch or the last clone of the layer and of its services is
    /// gone.
    ///
    /// ```no_run
    /// use limiter_tower::{RulesLayer, RulesReader};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RulesLayer::new(RulesReader::new().read("rules.toml")?);
    /// let watch = layer.watch(Duration::from_secs(2), |outcome| match outcome {
    ///     Ok(change) => println!("rules: {change}"),
    ///     Err(error) => eprintln!("the rules stay as they are:\n{error}"),
    /// })?;
    /// # drop(watch);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(
        &self,
        interval: Duration,
        mut tell: impl FnMut(Result<RulesChange, RulesError>) + Send + 'static,
    ) -> io::Result<RulesWatch> {
        let (goes_on, stop) = mpsc::channel();
        let in_force = Arc::downgrade(self.in_force());
        let mut seen = Seen::Text(self.rules().source.map(|(_, text)| text));
        let look = move || {
            while stop.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(in_force) = in_force.upgrade() else { return };
                if let Some(outcome) = Self::of(in_force).look(&mut seen) {
                    tell(outcome);
                }
            }
        };
        thread::Builder::new().name("limiter-rules".to_owned()).spawn(look)?;
        Ok(RulesWatch { _goes_on: goes_on })
    }

    /// What is new since the last look, if anything is.
    fn look(&self, seen: &mut Seen) -> Option<Result<RulesChange, RulesError>> {
        let rules = self.rules();
        let (path, _) = rules.source.as_ref()?;
        let now = match fs::read_to_string(path) {
            Ok(text) => Seen::Text(Some(text.into())),
            Err(error) => Seen::Error(error.kind()),
        };
        if now == *seen {
            return None;
        }
        *seen = now;
        let outcome = match seen {
            Seen::Text(Some(text)) => rules.reader().parse_file(path, text).map(|rules| self.apply(rules)),
            _ => self.reload(),
        };
        // A reload by hand may have been quicker.
        Some(outcome).filter(|outcome| !outcome.as_ref().is_ok_and(RulesChange::is_empty))
    }
}

/// The file as it was at the last look.
#[derive(PartialEq)]
enum Seen {
    Text(Option<Arc<str>>),
    Error(io::ErrorKind),
}
