//! Logs as stores keep them elsewhere: a column of stamps and units for each rate.

use super::{Log, Logs};

/// A rate's runs, the oldest first: stamp and units.
pub(crate) type Column = Vec<(u64, u64)>;

impl Logs {
    /// The runs of each of so many rates.
    pub(crate) fn columns(&self, rates: usize) -> Vec<Column> {
        (0..rates).map(|i| self.of(i)).map(|(log, first)| log.column(first)).collect()
    }

    /// Logs of these runs.
    pub(crate) fn from_columns(columns: impl IntoIterator<Item = Column>) -> Self {
        let log = |column: Column| {
            let mut log = Log::default();
            column.into_iter().for_each(|(stamp, units)| log.push(stamp, units));
            log
        };
        Self::Apart(columns.into_iter().map(log).collect())
    }
}

impl Log {
    fn column(&self, first: u64) -> Column {
        let mut before = self.total_before(first);
        let units = |run: &super::Run| {
            let units = run.total.wrapping_sub(before);
            before = run.total;
            (run.stamp, units)
        };
        self.runs.iter().skip(self.place(first)).map(units).collect()
    }
}
