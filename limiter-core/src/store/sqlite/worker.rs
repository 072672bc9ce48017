//! The store's thread: it decides what was asked, many calls a transaction.

use super::{
    builder::Settings,
    connection::{Access, Connection, Place},
    error::Fault,
    open::wait_until,
    queue::{Asked, Job, Queue, Reply, Work},
    states::{self, Loaded, Now, States},
};
use crate::{
    Decision, Timestamp,
    algorithm::{Mode, View, decide},
    store::{Adjust, boot_clock::Anchor},
};
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub(super) struct Worker {
    settings: Arc<Settings>,
    connection: Option<Connection>,
    states: States,
    /// Writes since expired rows were last looked for.
    writes: u32,
    sweeps: VecDeque<Sweep>,
}

/// A sweep on its way. It goes in slices, a transaction each, so that others get their turns.
struct Sweep {
    job: Job,
    /// The last row it has seen.
    after: Place,
    dropped: usize,
}

/// After so many writes, twice as many expired rows are dropped.
const WRITES: u32 = 64;

/// Rows that a sweep looks at in one transaction.
const SLICE: u32 = 512;

/// A sweep looks for unused names and quotas where there are more of them than this.
const FEW_NAMES: i64 = 64;

impl Worker {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, connection: None, states: States::default(), writes: 0, sweeps: VecDeque::new() }
    }

    pub(super) fn run(mut self, queue: &Queue) {
        while let Some(jobs) = queue.next(!self.sweeps.is_empty()) {
            let (sweeps, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| matches!(job.work, Work::Sweep));
            self.serve(jobs);
            let first = (i64::MIN, Vec::new());
            self.sweeps.extend(sweeps.into_iter().map(|job| Sweep { job, after: first.clone(), dropped: 0 }));
            self.sweep_on();
        }
    }

    /// Does the jobs in one transaction and answers after its commit. If it fails, each is done in one of its own, so that
    /// what is wrong with one is the answer to that one alone.
    fn serve(&mut self, mut jobs: Vec<Job>) {
        loop {
            jobs.retain(|job| !job.is_unwanted());
            if jobs.is_empty() {
                return;
            }
            match self.together(&jobs) {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        job.promise.keep(answer.map_err(Arc::new));
                    }
                    return;
                }
                Err(fault) if fault.is_busy() => {
                    let now = Instant::now();
                    let (late, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.deadline <= now);
                    if late.is_empty() {
                        thread::sleep(Duration::from_millis(1)); // refused without a wait
                    }
                    for job in late {
                        job.promise.keep(Err(Arc::new(Fault::Locked { waited: self.settings.budget })));
                    }
                    jobs = rest;
                }
                Err(fault) if jobs.len() == 1 && fault.is_full() && self.make_room() => {}
                Err(fault) if jobs.len() == 1 => {
                    let fault = Arc::new(fault);
                    return jobs.into_iter().for_each(|job| job.promise.keep(Err(Arc::clone(&fault))));
                }
                Err(_) => return jobs.into_iter().for_each(|job| self.serve(vec![job])),
            }
        }
    }

    fn together(&mut self, jobs: &[Job]) -> Result<Vec<Result<Reply, Fault>>, Fault> {
        wait_until(jobs.iter().map(|job| job.deadline).min().unwrap_or_else(Instant::now));
        let access = if jobs.iter().any(|job| job.work.may_write()) { Access::Write } else { Access::Read };
        self.transaction(access, |worker, connection| {
            let mut answers = Vec::with_capacity(jobs.len());
            for job in jobs {
                let unwanted = job.is_unwanted(); // since the wait for the lock
                match if unwanted { Err(Fault::Unwanted) } else { worker.answer(connection, job) } {
                    Err(fault) if !fault.is_of_one_call() => return Err(fault),
                    answer => answers.push(answer),
                }
            }
            if access == Access::Write && worker.writes >= WRITES {
                let most = 2 * std::mem::take(&mut worker.writes);
                worker.drop_expired(connection, most)?;
            }
            Ok(answers)
        })
    }

    /// Runs `work` between a transaction's beginning and its commit; nothing of it stays if any of it fails.
    fn transaction<R>(
        &mut self,
        access: Access,
        work: impl FnOnce(&mut Self, &mut Connection) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let mut connection = self.connected()?;
        let done = connection.begin(access).and_then(|()| work(self, &mut connection));
        let done = done.and_then(|result| connection.commit().map(|()| result));
        if let Err(fault) = &done {
            self.states.clear();
            connection.roll_back();
            if fault.is_of_the_file() {
                return done; // the next call opens it anew
            }
        }
        self.connection = Some(connection);
        done
    }

    /// The connection; a new one where there is none yet, or the file was deleted or replaced.
    fn connected(&mut self) -> Result<Connection, Fault> {
        match self.connection.take() {
            Some(connection) if !connection.is_moved(&self.settings) => Ok(connection),
            gone => {
                self.states.clear();
                gone.into_iter().for_each(Connection::abandon);
                Connection::open(&self.settings)
            }
        }
    }

    fn answer(&mut self, connection: &mut Connection, job: &Job) -> Result<Reply, Fault> {
        match &job.work {
            Work::Decide { mode, asked } => self.decide(connection, asked, *mode, job.injected).map(Reply::Decision),
            Work::Adjust { asked, adjust } => {
                self.adjust(connection, asked, *adjust, job.injected).map(Reply::Decision)
            }
            Work::Snapshot { asked } => {
                let (loaded, now) = self.load(connection, asked, job.injected)?;
                let state = Box::new(loaded.state.clone());
                self.states.put_back(loaded);
                Ok(Reply::State(state, now.at))
            }
            Work::Reset { scope, key } => {
                if let Some(scope) = connection.scope(scope, Access::Read)?
                    && let Some(row) = connection.row(scope, key)?
                {
                    self.states.delete(connection, &(scope, key.clone()), row.id)?;
                }
                Ok(Reply::Done)
            }
            Work::Now => Ok(Reply::Time(time(connection.anchor(), job.injected, []).at)),
            Work::Check => connection.try_write().map(|()| Reply::Done),
            Work::Sweep => Ok(Reply::Count(0)), // it is not done in one go
        }
    }

    fn decide(
        &mut self,
        connection: &mut Connection,
        asked: &[Asked],
        mode: Mode,
        injected: Option<Timestamp>,
    ) -> Result<Decision, Fault> {
        let mut loaded: SmallVec<[Loaded; 1]> = SmallVec::new();
        for asked in asked {
            loaded.push(self.states.load(connection, &asked.scope, &asked.key, &asked.quota)?);
        }
        let now = time(connection.anchor(), injected, loaded.iter().map(Loaded::written_at));
        for (loaded, asked) in loaded.iter_mut().zip(asked) {
            loaded.carry_over(connection, asked, now.at)?;
        }
        let marks: SmallVec<[_; 1]> = loaded.iter().map(Loaded::mark).collect();
        let mut views: SmallVec<[View<'_>; 1]> = loaded
            .iter_mut()
            .zip(asked)
            .map(|(loaded, asked)| View { quota: &asked.quota, state: &mut loaded.state, cost: asked.cost })
            .collect();
        let decision = decide(&mut views, now.at, mode);
        drop(views);
        let could_fit = mode == Mode::Take && decision.retry_after().is_some();
        for ((loaded, asked), mark) in loaded.into_iter().zip(asked).zip(&marks) {
            // Units; or, when it is denied, a change of the quota, or the pull back of what lies too far ahead.
            let has_news = || decision.allowed() || loaded.is_carried_over() || loaded.has_changed(mark.as_ref());
            if asked.cost > 0 && could_fit && has_news() && !loaded.is_nothing() {
                self.save(connection, loaded, asked, now)?;
            } else {
                self.states.put_back(loaded);
            }
        }
        Ok(decision)
    }

    fn adjust(
        &mut self,
        connection: &mut Connection,
        asked: &Asked,
        adjust: Adjust,
        injected: Option<Timestamp>,
    ) -> Result<Decision, Fault> {
        if !asked.basis.holds() {
            return Err(Fault::Outdated);
        }
        let (mut loaded, now) = self.load(connection, asked, injected)?;
        let decision = loaded.state.adjust(&asked.quota, now.at, asked.cost, adjust);
        if !loaded.is_nothing() {
            self.save(connection, loaded, asked, now)?;
        }
        Ok(decision)
    }

    /// The state of one key under its quota now.
    fn load(
        &mut self,
        connection: &mut Connection,
        asked: &Asked,
        injected: Option<Timestamp>,
    ) -> Result<(Loaded, Now), Fault> {
        let mut loaded = self.states.load(connection, &asked.scope, &asked.key, &asked.quota)?;
        let now = time(connection.anchor(), injected, [loaded.written_at()]);
        loaded.carry_over(connection, asked, now.at)?;
        Ok((loaded, now))
    }

    fn save(&mut self, connection: &mut Connection, loaded: Loaded, asked: &Asked, now: Now) -> Result<(), Fault> {
        self.writes += 1;
        self.states.save(connection, loaded, &asked.scope, &asked.quota, now)
    }

    /// Drops up to `most` of the rows that were to be idle by now; how many.
    fn drop_expired(&mut self, connection: &mut Connection, most: u32) -> Result<usize, Fault> {
        let expired = connection.expired(connection.anchor().now(), most)?;
        for (place, id) in &expired {
            self.states.delete(connection, place, *id)?;
        }
        Ok(expired.len())
    }

    /// Whether idle rows could be dropped from a file that is full.
    fn make_room(&mut self) -> bool {
        let dropped = self.transaction(Access::Write, |worker, connection| worker.drop_expired(connection, SLICE));
        dropped.is_ok_and(|dropped| dropped > 0)
    }

    /// Goes on with the sweep that came first.
    fn sweep_on(&mut self) {
        let Some(mut sweep) = self.sweeps.pop_front() else { return };
        if sweep.job.is_unwanted() {
            return;
        }
        wait_until(Instant::now() + self.settings.budget);
        match self.transaction(Access::Write, |worker, connection| worker.slice(connection, &sweep)) {
            Ok((dropped, after)) => {
                sweep.dropped += dropped;
                match after {
                    Some(after) => self.sweeps.push_front(Sweep { after, ..sweep }),
                    None => sweep.job.promise.keep(Ok(Reply::Count(sweep.dropped))),
                }
            }
            Err(fault) if fault.is_busy() => {
                sweep.job.promise.keep(Err(Arc::new(Fault::Locked { waited: self.settings.budget })));
            }
            Err(fault) => sweep.job.promise.keep(Err(Arc::new(fault))),
        }
    }

    /// Drops what is idle among the next rows: how many, and the last row seen if there are more.
    fn slice(&mut self, connection: &mut Connection, sweep: &Sweep) -> Result<(usize, Option<Place>), Fault> {
        let rows = connection.rows_after(&sweep.after, SLICE)?;
        let is_last = rows.len() < SLICE as usize;
        let after = rows.last().filter(|_| !is_last).map(|(place, _)| place.clone());
        let mut dropped = 0;
        for (place, row) in rows {
            // What cannot be read is the answer to who asks for that key.
            let Ok(quota) = connection.quota(row.quota) else { continue };
            let Ok((state, _)) = states::read(&row, &quota) else { continue };
            if state.is_idle(&quota, time(connection.anchor(), sweep.job.injected, [row.at]).at) {
                self.states.delete(connection, &place, row.id)?;
                dropped += 1;
            }
        }
        if is_last {
            connection.forget_unused(FEW_NAMES)?;
        }
        Ok((dropped, after))
    }
}

impl Work {
    fn may_write(&self) -> bool {
        match self {
            Self::Decide { mode, .. } => *mode == Mode::Take,
            Self::Snapshot { .. } | Self::Now => false,
            Self::Adjust { .. } | Self::Reset { .. } | Self::Sweep | Self::Check => true,
        }
    }
}

/// The time of a call, read while the transaction runs. Where the file's clock may step back, it goes no further back than
/// the states it decides on.
fn time(anchor: Anchor, injected: Option<Timestamp>, written: impl IntoIterator<Item = Timestamp>) -> Now {
    let mut own = anchor.now();
    if !anchor.is_steady() {
        own = written.into_iter().fold(own, Timestamp::max);
    }
    Now { at: injected.unwrap_or(own), own, is_injected: injected.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_may_step_back_stops_at_what_is_decided_on() {
        let wall = Anchor { boot: 0, offset_us: 0 };
        let later = wall.now().saturating_add(Duration::from_secs(3600));
        assert_eq!(time(wall, None, [Timestamp::MIN, later]).at, later);
        assert!(time(wall, None, [Timestamp::MIN]).at < later);
        let injected = Timestamp::from_micros(7);
        assert_eq!(time(wall, Some(injected), [later]).at, injected);
    }
}
