//! What a store does with its servers, on the background thread: owned arguments, one call a script.

use super::{
    error::Failure,
    format,
    name::{self, Names},
    reply::{Reply, Seen, Status},
    script::{self, Script},
    servers::Servers,
};
use crate::{
    Decision, KeyState, Quota, Timestamp,
    algorithm::{Level, Mode, RateReport, Report, View, decide, judge},
    store::{Adjust, Basis, Demand},
};
use redis::cmd;
use std::time::Duration;
use tokio::time::Instant;

/// How often a step is tried again because others changed a key in between.
const ATTEMPTS: usize = 16;

pub(super) struct Work {
    pub(super) servers: Servers,
    pub(super) names: Names,
    pub(super) budget: Duration,
}

/// A demand as it goes to a server.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) name: Vec<u8>,
    pub(super) slot: u16,
    pub(super) quota: Quota,
    pub(super) cost: u64,
    basis: Basis,
    lead: Vec<u8>,
}

/// What the demands of one slot were answered, in one step.
pub(super) struct Answer {
    pub(super) now: Timestamp,
    /// Whether every one of them admits.
    pub(super) allowed: bool,
    pub(super) reports: Vec<Report>,
}

impl Asked {
    pub(super) fn new(names: &Names, demand: &Demand<'_>) -> Result<Self, Failure> {
        let name = names.name(demand.scope, demand.key);
        let lead = format::lead(demand.quota).ok_or(Failure::TooManyRates)?;
        let (quota, basis) = (demand.quota.clone(), demand.basis());
        Ok(Self { slot: name::slot(&name), name, quota, cost: demand.cost, basis, lead })
    }

    pub(super) fn can_fit(&self) -> bool {
        self.cost <= self.quota.capacity()
    }

    /// Refuses what rests on what has changed.
    pub(super) fn holds(&self) -> Result<(), Failure> {
        if self.basis.holds() { Ok(()) } else { Err(Failure::Outdated) }
    }

    fn question(&self, asks: bool) -> Vec<u8> {
        format::ask(&self.lead, &self.quota, self.cost, asks)
    }

    /// The state that was seen, under this quota at `now`; `None` of a long log.
    fn state(&self, seen: &Seen, now: Timestamp) -> Result<Option<KeyState>, Failure> {
        if matches!(seen, Seen::Absent) {
            return Ok(Some(KeyState::default()));
        }
        let (quota, state) = format::decode(seen.bytes()).ok_or(Failure::Foreign)?;
        Ok(match seen {
            Seen::Log { used, .. } if quota != self.quota => {
                Some(state.carried_over_with(used, &quota, &self.quota, now))
            }
            Seen::Log { whole, .. } if whole.is_empty() => None,
            _ if quota != self.quota => Some(state.carried_over(&quota, &self.quota, now)),
            _ => Some(state),
        })
    }

    /// What a script is told of a state that was made under another quota; nothing where it was not.
    fn carried(&self, seen: &Seen, now: Timestamp) -> Result<Vec<u8>, Failure> {
        if matches!(seen, Seen::Absent) || seen.mark().starts_with(&self.lead) {
            return Ok(Vec::new());
        }
        self.holds()?; // after what was seen, which is still there if it is replaced
        let state = self.state(seen, now)?.ok_or(Failure::Answer)?;
        Ok(format::given(seen.mark(), &self.encode(&state, now)))
    }

    fn encode(&self, state: &KeyState, now: Timestamp) -> Vec<u8> {
        // A log's revisions begin anywhere, so that a key made anew is not taken for the one before.
        let revision = u32::try_from(now.as_micros() & 0xffff_ffff).unwrap_or(0);
        format::encode(&self.lead, &self.quota, state, revision)
    }
}

impl Work {
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }

    async fn run(
        &self,
        script: &Script,
        slot: u16,
        names: &[&[u8]],
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        Reply::read(script.run(&self.servers, slot, names, arguments, deadline).await?)
    }

    /// Decides over demands of one slot in one step.
    pub(super) async fn decide(
        &self,
        asked: &[Asked],
        now: Option<Timestamp>,
        mode: Mode,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let slot = asked.first().map_or(0, |asked| asked.slot);
        let takes = mode == Mode::Take && asked.iter().all(Asked::can_fit);
        let names: Vec<&[u8]> = asked.iter().map(|asked| &asked.name[..]).collect();
        let questions: Vec<Vec<u8>> =
            asked.iter().map(|asked| asked.question(asked.cost > 0 && asked.can_fit())).collect();
        let mut given = vec![Vec::new(); asked.len()];
        let clock = clock(now);
        for _ in 0..ATTEMPTS {
            let mut arguments: Vec<&[u8]> = vec![if takes { b"take" } else { b"peek" }, &clock];
            arguments.extend(questions.iter().zip(&given).flat_map(|(question, given)| [&question[..], &given[..]]));
            let reply = self.run(&script::DECIDE, slot, &names, &arguments, deadline).await?;
            if reply.status != Status::Changed {
                return answer(asked, &reply, takes);
            }
            for (place, (asked, given)) in asked.iter().zip(&mut given).enumerate() {
                *given = asked.carried(&reply.seen(place)?, reply.now)?;
            }
        }
        Err(Failure::Contended)
    }

    /// Adjusts one key; the answer is that of a peek of cost 0, but after a reservation.
    pub(super) async fn adjust(
        &self,
        asked: &Asked,
        now: Option<Timestamp>,
        adjust: Adjust,
        deadline: Instant,
    ) -> Result<Decision, Failure> {
        let (what, at) = match adjust {
            Adjust::Charge => ("charge", 0),
            Adjust::Refund { taken } => ("refund", taken.as_micros()),
            Adjust::Restamp { taken } => ("restamp", taken.as_micros()),
            Adjust::Block { until } => ("block", until.as_micros()),
            Adjust::BlockAtLeast { until } => ("block at least", until.as_micros()),
            Adjust::Reserve => return self.change(asked, now, adjust, deadline).await,
        };
        let (question, at, clock) = (asked.question(true), at.to_string(), clock(now));
        let mut given = Vec::new();
        for _ in 0..ATTEMPTS {
            let arguments: [&[u8]; 5] = [what.as_bytes(), &clock, &question, &given, at.as_bytes()];
            let reply = self.run(&script::ADJUST, asked.slot, &[&asked.name], &arguments, deadline).await?;
            match reply.status {
                Status::Changed => given = asked.carried(&reply.seen(0)?, reply.now)?,
                Status::Rare => return self.change(asked, now, adjust, deadline).await,
                _ => {
                    let looked = Asked { cost: 0, ..asked.clone() };
                    let answer = answer(&[looked], &reply, false)?;
                    let demands: Vec<_> = answer.reports.into_iter().map(|report| (&asked.quota, 0, report)).collect();
                    return Ok(judge(answer.now, &demands));
                }
            }
        }
        Err(Failure::Contended)
    }

    /// Adjusts a key here, and puts the new state in place of the one that was seen, if it is still there.
    async fn change(
        &self,
        asked: &Asked,
        now: Option<Timestamp>,
        adjust: Adjust,
        deadline: Instant,
    ) -> Result<Decision, Failure> {
        let (question, clock) = (asked.question(true), clock(now));
        for _ in 0..ATTEMPTS {
            let reply = self.run(&script::WHOLE, asked.slot, &[&asked.name], &[&clock, &question], deadline).await?;
            let seen = reply.seen(0)?;
            asked.holds()?;
            let mut state = asked.state(&seen, reply.now)?.ok_or(Failure::Answer)?;
            let before = seen.mark().starts_with(&asked.lead).then(|| state.clone());
            let decision = state.adjust(&asked.quota, reply.now, asked.cost, adjust);
            if state.is_untouched() || before.is_some_and(|before| before == state) {
                return Ok(decision);
            }
            let new = asked.encode(&state, reply.now);
            let view = View { quota: &asked.quota, state: &mut state, cost: 0 };
            let matters_until =
                reply.now.as_micros() + micros(decide(&mut [view], reply.now, Mode::Peek).reset_after());
            if self.swap(&asked.name, &seen, &new, matters_until, now, deadline).await? {
                return Ok(decision);
            }
        }
        Err(Failure::Contended)
    }

    /// Puts a new value, or none, in place of what was seen; whether that was still there.
    pub(super) async fn swap(
        &self,
        name: &[u8],
        seen: &Seen,
        new: &[u8],
        matters_until: u64,
        now: Option<Timestamp>,
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let (clock, until) = (clock(now), matters_until.to_string());
        let arguments: [&[u8]; 4] = [&clock, seen.mark(), new, until.as_bytes()];
        let reply = self.run(&script::SWAP, name::slot(name), &[name], &arguments, deadline).await?;
        Ok(reply.status == Status::Allowed)
    }

    /// What is stored under names of one slot, whatever quota it was made under.
    pub(super) async fn look(
        &self,
        names: &[&[u8]],
        now: Option<Timestamp>,
        deadline: Instant,
    ) -> Result<(Vec<Seen>, Timestamp), Failure> {
        let clock = clock(now);
        let mut arguments: Vec<&[u8]> = vec![b"look", &clock];
        names.iter().for_each(|_| arguments.extend([format::LOOK, b""]));
        let slot = names.first().map_or(0, |name| name::slot(name));
        let reply = self.run(&script::DECIDE, slot, names, &arguments, deadline).await?;
        let seen = (0..names.len()).map(|place| reply.seen(place)).collect::<Result<_, _>>()?;
        Ok((seen, reply.now))
    }

    /// A key's state; `None` of a long log.
    pub(super) async fn snapshot(
        &self,
        asked: &Asked,
        now: Option<Timestamp>,
        deadline: Instant,
    ) -> Result<Option<(KeyState, Timestamp)>, Failure> {
        let (seen, now) = self.look(&[&asked.name], now, deadline).await?;
        let state = seen.first().map_or(Ok(None), |seen| asked.state(seen, now))?;
        Ok(state.map(|state| (state, now)))
    }

    pub(super) async fn reset(&self, name: &[u8], deadline: Instant) -> Result<(), Failure> {
        let mut command = cmd("UNLINK");
        command.arg(name);
        self.servers.call(name::slot(name), &command, deadline).await.map(|_| ())
    }

    pub(super) async fn time(&self, deadline: Instant) -> Result<Timestamp, Failure> {
        let answer = self.servers.call(0, &cmd("TIME"), deadline).await?;
        let (seconds, micros): (u64, u64) = redis::from_redis_value(answer).map_err(|_| Failure::Answer)?;
        Ok(Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)))
    }
}

/// The reports that a script's answer makes. `takes` is false where it could not take, whatever it found.
fn answer(asked: &[Asked], reply: &Reply, takes: bool) -> Result<Answer, Failure> {
    let allowed = reply.status == Status::Allowed;
    let report = |(place, asked): (usize, &Asked)| match reply.numbers(place)? {
        Some(numbers) => report_of_log(asked, &numbers, reply.now),
        None => {
            let mut state = asked.state(&reply.seen(place)?, reply.now)?.ok_or(Failure::Answer)?;
            let mut view = View { quota: &asked.quota, state: &mut state, cost: asked.cost };
            Ok(Report::on(&mut view, reply.now, takes.then_some(allowed)))
        }
    };
    let reports: Vec<Report> = asked.iter().enumerate().map(report).collect::<Result<_, _>>()?;
    let fits = reports.iter().all(|report| report.wait.is_none_or(|wait| wait == 0));
    // The script and the arithmetic here must agree.
    if fits != allowed {
        return Err(Failure::Answer);
    }
    let allowed = allowed && asked.iter().all(Asked::can_fit);
    Ok(Answer { now: reply.now, allowed, reports })
}

/// A log's report: its block, then a rate the wait, units inside, the time until all are back, and until one is.
fn report_of_log(asked: &Asked, numbers: &[u64], now: Timestamp) -> Result<Report, Failure> {
    let (blocked_until, rest) = numbers.split_first().ok_or(Failure::Answer)?;
    let blocked = blocked_until.saturating_sub(now.as_micros());
    let of = |(rate, numbers): (&crate::Rate, &[u64])| match *numbers {
        [wait, inside, reset_after_us, next_unit] => {
            let level = Level { remaining: rate.limit().saturating_sub(inside), reset_after_us };
            Ok(RateReport { level, wait, next_unit })
        }
        _ => Err(Failure::Answer),
    };
    let rates = asked.quota.rates().iter().zip(rest.chunks(4)).map(of).collect::<Result<smallvec::SmallVec<_>, _>>()?;
    if rates.len() != asked.quota.rates().len() {
        return Err(Failure::Answer);
    }
    let longest = rates.iter().map(|rate: &RateReport| rate.wait).max().unwrap_or(0);
    let wait = match asked.cost {
        0 => Some(0),
        _ if !asked.can_fit() => None,
        _ => Some(longest.max(blocked)),
    };
    Ok(Report { wait, blocked, rates })
}

/// The time as scripts are told it: nothing where it is the server's.
fn clock(now: Option<Timestamp>) -> Vec<u8> {
    now.map_or_else(Vec::new, |now| now.as_micros().to_string().into_bytes())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
