//! What is seen while it runs: a bar on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// How many steps pass between two looks at the bar.
const STEPS: u64 = 1 << 13;

/// A bar over bytes; without an end where it is not known.
pub(crate) fn of_bytes(total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{prefix} {bar:30} {bytes}/{total_bytes} {msg}",
        None => "{prefix} {spinner} {bytes} {msg}",
    };
    bar(total, template).with_prefix("reading  ")
}

/// A bar over decisions.
pub(crate) fn of_decisions(total: u64) -> ProgressBar {
    bar(Some(total), "{prefix} {bar:30} {pos}/{len} {msg}").with_prefix("replaying")
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("█▉▊▋▌▍▎▏░")),
        Err(_) => bar,
    }
}

/// Moves a bar on, one step of many at a time.
pub(crate) struct Steps<'a> {
    bar: &'a ProgressBar,
    pending: u64,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(bar: &'a ProgressBar) -> Self {
        Self { bar, pending: 0 }
    }

    pub(crate) fn step(&mut self) {
        self.pending += 1;
        if self.pending == STEPS {
            self.bar.inc(STEPS);
            self.pending = 0;
        }
    }
}
