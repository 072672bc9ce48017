//! A decision whose keys lie in several slots of a Cluster, which no script can see together.
//!
//! The slots are taken from one after the other, in the order of their first name. At the first denial, what was taken
//! before is refunded. So it never admits more than the quotas; but until then it holds units that others may be denied for.

use super::{
    error::Failure,
    work::{Answer, Asked, Work},
};
use crate::{
    Decision, Quota, Timestamp,
    algorithm::{Mode, Report, judge},
    store::Adjust,
};
use std::collections::BTreeMap;

/// Demands of one slot, by their place in the call.
struct Group {
    places: Vec<usize>,
    asked: Vec<Asked>,
    answer: Option<Answer>,
}

impl Work {
    /// Decides over demands wherever they are.
    pub(super) async fn decide_all(
        &self,
        asked: Vec<Asked>,
        now: Option<Timestamp>,
        mode: Mode,
    ) -> Result<Decision, Failure> {
        let deadline = self.deadline();
        let is_split = self.servers.is_cluster() && asked.windows(2).any(|pair| pair[0].slot != pair[1].slot);
        if !is_split {
            let answer = self.decide(&asked, now, mode, deadline).await?;
            return Ok(decision(answer.now, asked.iter().map(|asked| (&asked.quota, asked.cost)).zip(answer.reports)));
        }
        let mut groups = groups(asked);
        let can_fit = groups.iter().all(|group| group.asked.iter().all(Asked::can_fit));
        let mode = if can_fit { mode } else { Mode::Peek };
        let mut denied = None;
        for place in 0..groups.len() {
            let group = &mut groups[place];
            match self.decide(&group.asked, now, mode, deadline).await {
                Ok(answer) => {
                    let allowed = answer.allowed;
                    group.answer = Some(answer);
                    if !allowed && mode == Mode::Take {
                        denied = Some(place);
                        break;
                    }
                }
                Err(failure) => {
                    if mode == Mode::Take {
                        self.give_back(&groups[..place], now).await;
                    }
                    return Err(failure);
                }
            }
        }
        if let Some(denied) = denied {
            self.give_back(&groups[..denied], now).await;
            let deadline = self.deadline();
            // Who else denies, and what is left, is told as it is now.
            for place in (0..groups.len()).filter(|place| *place != denied) {
                let group = &mut groups[place];
                group.answer = Some(self.decide(&group.asked, now, Mode::Peek, deadline).await?);
            }
        }
        Ok(together(groups))
    }

    /// Refunds what groups took. It has a time of its own, one for all of them: the units are others' by now.
    async fn give_back(&self, groups: &[Group], now: Option<Timestamp>) {
        let deadline = self.deadline();
        for group in groups {
            let Some(answer) = &group.answer else { continue };
            for asked in group.asked.iter().filter(|asked| asked.cost > 0) {
                let refund = Adjust::Refund { taken: answer.now };
                // Units that cannot be given back are lost until they drain: denied early, never admitted twice.
                let _ = self.adjust(asked, now, refund, deadline).await;
            }
        }
    }
}

/// The demands by slot, in the order of the slots' first names.
fn groups(asked: Vec<Asked>) -> Vec<Group> {
    let mut by_slot: BTreeMap<u16, Group> = BTreeMap::new();
    for (place, asked) in asked.into_iter().enumerate() {
        let empty = || Group { places: Vec::new(), asked: Vec::new(), answer: None };
        let group = by_slot.entry(asked.slot).or_insert_with(empty);
        group.places.push(place);
        group.asked.push(asked);
    }
    let mut groups: Vec<Group> = by_slot.into_values().collect();
    groups.sort_by_cached_key(|group| group.asked.iter().map(|asked| asked.name.clone()).min());
    groups
}

/// One decision of all groups' answers, in the order of the demands.
fn together(groups: Vec<Group>) -> Decision {
    let now = groups.iter().filter_map(|group| group.answer.as_ref()).map(|answer| answer.now).max();
    let mut all: Vec<(usize, Quota, u64, Report)> = Vec::new();
    for group in groups {
        let reports = group.answer.map_or_else(Vec::new, |answer| answer.reports);
        for ((place, asked), report) in group.places.into_iter().zip(group.asked).zip(reports) {
            all.push((place, asked.quota, asked.cost, report));
        }
    }
    all.sort_by_key(|(place, ..)| *place);
    let demands = all.iter().map(|(_, quota, cost, report)| ((quota, *cost), report.clone()));
    decision(now.unwrap_or_default(), demands)
}

fn decision<'a>(now: Timestamp, demands: impl Iterator<Item = ((&'a Quota, u64), Report)>) -> Decision {
    let demands: Vec<_> = demands.map(|((quota, cost), report)| (quota, cost, report)).collect();
    judge(now, &demands)
}
