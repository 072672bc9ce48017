//! Waiting for a slot that a step owns: briefly for one that runs, not at all for one whose process is dead, and up to
//! the budget for one that is stopped. Steps that go on, one after the other, are waited for longer.

use super::{core::Core, error::Fault, owner::Owner, record::Record};
use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// Looks without and with giving up the processor, before asking whether the owner lives.
const SPINS: u32 = 200;
const YIELDS: u32 = 20;

/// On a machine with much to do each yield takes a while: the owner is asked for after these.
const FEW_YIELDS: u32 = 2;

/// Attempts before the processor is given up between them.
const FEW_ATTEMPTS: u32 = 8;

const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(1);

/// How many budgets a call may wait in all, for steps that do go on.
const PATIENT: u32 = 20;

/// How long one call has waited so far.
#[derive(Default, Debug)]
pub(super) struct Patience {
    /// What does not change while the same step is waited for.
    watched: u64,
    turns: u32,
    since: Option<Instant>,
    began: Option<Instant>,
    attempts: u32,
}

impl Patience {
    /// One turn of waiting for what is `watched` to change; the time waited where it has not within the budget.
    pub(super) fn turn(&mut self, watched: u64, budget: Duration) -> Result<(), Duration> {
        if watched != self.watched {
            (self.watched, self.turns, self.since) = (watched, 0, None);
        }
        self.turns = self.turns.saturating_add(1);
        if self.turns <= SPINS {
            hint::spin_loop();
            return Ok(());
        }
        self.check(budget)?;
        if self.turns <= SPINS + YIELDS {
            thread::yield_now();
        } else {
            thread::sleep((SHORTEST * (self.turns - SPINS - YIELDS)).min(LONGEST));
        }
        Ok(())
    }

    /// Notes an attempt that came to nothing since others went on.
    pub(super) fn attempt(&mut self, budget: Duration) -> Result<(), Duration> {
        self.attempts = self.attempts.saturating_add(1);
        self.since = None;
        if self.attempts > FEW_ATTEMPTS {
            self.check(budget)?;
            thread::yield_now();
        }
        Ok(())
    }

    fn check(&mut self, budget: Duration) -> Result<(), Duration> {
        let now = Instant::now();
        let waited = now.duration_since(*self.since.get_or_insert(now));
        let in_all = now.duration_since(*self.began.get_or_insert(now));
        if waited > budget {
            Err(waited)
        } else if in_all > budget * PATIENT {
            Err(in_all)
        } else {
            Ok(())
        }
    }

    fn asks_who_lives(&self) -> bool {
        self.turns > SPINS + FEW_YIELDS
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
            let has_ended = || -> Result<bool, Fault> {
                let Some(record) = record.filter(|_| owner != Owner::NOBODY && owner.is_dead()) else {
                    return Ok(false);
                };
                Ok(record.take_over(owner, self.me.owner()?) || words.head(slot) != head)
            };
            if patience.asks_who_lives() && has_ended()? {
                continue;
            }
            if let Err(waited) = patience.turn(head.word(), self.budget)
                && !has_ended()?
            {
                return Err(Fault::Owned { pid: owner.pid(), waited });
            }
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
