//! What an answer means for the requests to come.

use super::ask::Spot;
use crate::{
    Event, Limits, PauseReason,
    learn::Going,
    obey::{Owed, asked_interval, asked_pause, is_refusal},
};
use limiter_core::{Store, Timestamp};
use reqwest::{StatusCode, header::HeaderMap};
use std::time::{Duration, SystemTime};

/// The most that a first refusal pauses for which does not say how long.
const LONGEST_UNSAID: Duration = Duration::from_secs(1);

/// The head of an answer.
pub(super) type Head<'a> = (StatusCode, &'a HeaderMap);

/// What an answer asks for.
pub(super) struct Asked {
    is_refusal: bool,
    /// As it says itself, not capped.
    told: Option<Duration>,
    pause: Option<(Duration, PauseReason)>,
}

impl Asked {
    /// Of a refusal that does not say how long, a unit of the quota; unless the pace is learned, which makes those pauses.
    pub(super) fn of<S: Store>(spot: &Spot<'_, S>, (status, headers): Head<'_>, is_learned: bool) -> Self {
        let asked = asked_pause(status, headers, SystemTime::now());
        let is_refusal = is_refusal(status, asked.as_ref());
        let told = asked.as_ref().map(|(told, _)| *told);
        let unit = || spot.policy.pace_of(&spot.key).0.min(LONGEST_UNSAID);
        let unsaid = (is_refusal && !is_learned).then(|| (unit(), PauseReason::Unsaid));
        let pause = asked.filter(|(told, _)| !told.is_zero()).or(unsaid);
        Self { is_refusal, told, pause }
    }

    /// The pause, twice as long for each of the last `again` that was not long enough; for no time at all where there is
    /// none.
    pub(super) fn owed<'a, S: Store>(&self, limits: &Limits<S>, spot: &'a Spot<'_, S>, again: u32) -> Owed<'a, S> {
        let longest = limits.longest_pause();
        let patience = if self.is_refusal { 1_u32 << again.min(31) } else { 1 };
        let length = self.pause.as_ref().map_or(Duration::ZERO, |(told, _)| told.saturating_mul(patience).min(longest));
        let (_, period) = spot.policy.pace_of(&spot.key);
        Owed::new(spot.policy, &spot.key, &spot.host, length, period.min(longest))
    }
}

/// Pauses the key if the answer asks for it: whether it refused, and whether there is a pause now. A store that fails
/// here pauses nobody; the answer is as good as ever.
///
/// Where the pace is learned, it makes the pauses that a refusal does not name, and keeps to those that one does as well.
pub(super) async fn obey<S: Store>(
    limits: &Limits<S>,
    spot: &Spot<'_, S>,
    granted: Timestamp,
    going: Option<Going>,
    (status, headers): Head<'_>,
) -> (bool, bool) {
    let is_learned = going.is_some();
    let asked = Asked::of(spot, (status, headers), is_learned);
    let (Spot { host, name, .. }, hook, is_refusal) = (spot, limits.hook(), asked.is_refusal);
    let again = host.answered(status, is_refusal, granted);
    if is_refusal {
        hook.tell(&Event::Refused { host: name, status });
    }
    if let Some(going) = going {
        let told = asked.told.map(|told| told.min(limits.longest_pause()));
        match is_refusal || status == StatusCode::SERVICE_UNAVAILABLE {
            true => going.refused(told.filter(|told| !told.is_zero())),
            false => going.admitted(),
        }
    }
    let Some((_, reason)) = asked.pause else {
        if limits.spreads() && !is_refusal {
            spread(limits, spot, headers).await;
        }
        return (is_refusal, is_learned);
    };
    let owed = asked.owed(limits, spot, again);
    let length = owed.length();
    if length.is_zero() {
        return (is_refusal, false);
    }
    if owed.make().await.is_err() {
        return (is_refusal, false);
    }
    hook.tell(&Event::Paused { host: name, pause: length, reason });
    (is_refusal, true)
}

/// Lets nobody send before the next is due, where what is left would be spent too soon at the quota's own pace.
async fn spread<S: Store>(limits: &Limits<S>, spot: &Spot<'_, S>, headers: &HeaderMap) {
    let (unit, period) = spot.policy.pace_of(&spot.key);
    let Some(interval) = asked_interval(headers, SystemTime::now()).filter(|interval| *interval > unit) else { return };
    let longest = limits.longest_pause();
    let (length, paced) = (interval.min(longest), period.min(longest));
    let _ = Owed::new(spot.policy, &spot.key, &spot.host, length, paced).untold().make().await;
}
