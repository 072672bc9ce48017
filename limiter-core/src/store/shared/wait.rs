//! Waiting for a slot that a step owns: briefly for one that runs, not at all for one whose process is dead, and up to
//! the budget for one that is stopped.

use super::{core::Core, error::Fault, owner::Owner, record::Record};
use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// Looks without and with giving up the processor, before asking whether the owner lives.
const SPINS: u32 = 200;
const YIELDS: u32 = 20;

const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(1);

/// How long one call has waited so far.
#[derive(Default, Debug)]
pub(super) struct Patience {
    turns: u32,
    since: Option<Instant>,
}

impl Patience {
    /// One turn of waiting; the time waited where the budget is used up.
    pub(super) fn turn(&mut self, budget: Duration) -> Result<(), Duration> {
        self.turns = self.turns.saturating_add(1);
        if self.turns <= SPINS {
            hint::spin_loop();
            return Ok(());
        }
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited > budget {
            return Err(waited);
        }
        if self.turns <= SPINS + YIELDS {
            thread::yield_now();
        } else {
            thread::sleep((SHORTEST * (self.turns - SPINS - YIELDS)).min(LONGEST));
        }
        Ok(())
    }

    fn asks_who_lives(&self) -> bool {
        self.turns >= SPINS + YIELDS
    }
}

impl Core {
    /// Waits until nobody owns the slot, and ends the step of an owner that is dead.
    pub(super) fn wait_for(&self, slot: usize, patience: &mut Patience) -> Result<(), Fault> {
        let words = self.words();
        loop {
            let head = words.head(slot);
            if !head.is_owned() {
                return Ok(());
            }
            let record = (head.record() < self.layout.records()).then(|| Record::new(words, head.record()));
            let owner = record.map_or(Owner::NOBODY, Record::owner);
            if let Some(record) = record
                && patience.asks_who_lives()
                && owner != Owner::NOBODY
                && owner.is_dead()
            {
                record.take_over(owner, self.me.owner()?);
                continue;
            }
            patience.turn(self.budget).map_err(|waited| Fault::Owned { pid: owner.pid(), waited })?;
        }
    }

    /// Ends the steps of all who are dead; whether there were any.
    pub(super) fn end_dead_steps(&self) -> Result<bool, Fault> {
        let (words, me) = (self.words(), self.me.owner()?);
        let dead = (0..self.layout.records()).map(|index| Record::new(words, index)).filter(|record| {
            let owner = record.owner();
            owner != Owner::NOBODY && owner.is_dead() && record.take_over(owner, me)
        });
        Ok(dead.count() > 0)
    }
}
