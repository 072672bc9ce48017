//! Several demands in one decision.

use super::{EACH, Failure, MINUTE, after, quota};
use crate::{
    Decision, Store, StoreError, StoreErrorKind,
    conformance::{
        Harness,
        beside::{Beside, left},
        failure::ensure,
    },
    store::{Demand, Scope},
};

pub(in super::super) async fn a_denial_takes_nothing_from_the_others<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let (users, all) = (Scope::new("users"), Scope::new("all"));
    for text in EACH {
        let (quota, few) = (quota("sliding_log 10/min, 50/h")?, quota(text)?);
        let key = text.as_bytes();
        let user = Demand::new(&users, key, &quota, 2);
        let other = Demand::new(&users, &key[1..], &quota, 1);
        let everybody = Demand::new(&all, key, &few, 1);
        for nth in 0..3 {
            let taken = beside.take(&[user, everybody, other], after(nth)).await?;
            ensure!(taken.allowed(), "{text}: expected an admission by all three keys, got {taken:?}");
        }
        // Denied by the last, the first, the middle one; by what can never fit.
        for demands in [[user, other, everybody], [everybody, user, other], [other, everybody, user]] {
            let place = demands.iter().position(|demand| demand.scope == &all);
            let denied = beside.take(&demands, after(10)).await?;
            ensure!(denied.denied().eq(place), "{text}: expected demand {place:?} alone to deny, got {denied:?}");
        }
        beside.take(&[user, Demand { cost: 4, ..everybody }], after(11)).await?;
        beside.take(&[Demand { cost: 11, ..user }, other], after(11)).await?;
        for (demand, kept) in [(user, 4), (other, 7), (everybody, 0)] {
            let look = beside.peek(&[Demand { cost: 0, ..demand }], after(12)).await?;
            ensure!(look.remaining() == kept, "{text}: expected {kept} units left of {demand:?}, got {look:?}");
        }
        beside.take(&[user, everybody], after(2 * MINUTE + 5)).await?;
    }
    Ok(())
}

fn refused(result: Result<Decision, StoreError>, kind: StoreErrorKind, what: &str) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            Err(Failure::new(format!("{what}: expected the error {kind:?}, got {:?}: {error}", error.kind())))
        }
        Ok(decision) => Err(Failure::new(format!("{what}: expected the error {kind:?}, got {decision:?}"))),
    }
}

pub(in super::super) async fn duplicates_are_refused<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, same, other) = (Scope::new("a"), Scope::new("a"), Scope::new("b"));
    let (quota, changed) = (quota("5/min")?, quota("sliding_log 7/min")?);
    let now = after(0);
    let ada = Demand::new(&scope, b"ada", &quota, 1);
    let bob = Demand::new(&scope, b"bob", &quota, 1);
    let again = Demand::new(&same, b"ada", &quota, 1);
    for (what, demands) in [
        ("the same demand twice", vec![ada, ada]),
        ("the same name made twice", vec![ada, again]),
        ("with another key between", vec![ada, bob, again]),
        ("after another key", vec![bob, ada, again]),
        ("under different quotas", vec![ada, Demand { quota: &changed, ..again }]),
        ("one of them of cost 0", vec![ada, Demand { cost: 0, ..again }]),
        ("together more than the quota", vec![Demand { cost: 4, ..ada }, Demand { cost: 4, ..again }]),
    ] {
        refused(store.take(&demands, Some(&now)).await, StoreErrorKind::DuplicateKey, what)?;
        refused(store.peek(&demands, Some(&now)).await, StoreErrorKind::DuplicateKey, what)?;
        if let Some(result) = store.take_now(&demands, Some(&now)) {
            refused(result, StoreErrorKind::DuplicateKey, what)?;
        }
        for demand in [ada, bob] {
            let left = left(&store, demand, Some(&now)).await?;
            ensure!(left == 5, "{what}: expected 5 units left of {demand:?} after the error, got {left}");
        }
    }
    let apart = store.take(&[ada, Demand { scope: &other, ..ada }], Some(&now)).await?;
    ensure!(apart.allowed(), "expected the same key of two limiters to be two keys, got {apart:?}");
    Ok(())
}

pub(in super::super) async fn sixty_four_demands_are_decided_and_more_refused<H: Harness>(
    harness: &H,
) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let (scope, quota) = (Scope::new("many"), quota("2/min, 20/h")?);
    let keys: Vec<[u8; 2]> = (0..65_u16).map(u16::to_be_bytes).collect();
    let demands: Vec<Demand<'_>> = keys.iter().map(|key| Demand::new(&scope, key, &quota, 1)).collect();
    for nth in 0..3 {
        beside.take(&demands[..64], after(nth)).await?;
    }
    for (what, demands) in [("65 keys", &demands[..]), ("130 keys", &[&demands[..], &demands[..]].concat()[..])] {
        let result = beside.store.take(demands, Some(&after(MINUTE * 5))).await;
        let is_refused = result.as_ref().is_err_and(|error| {
            let is_duplicate = demands.len() > 65 && error.kind() == StoreErrorKind::DuplicateKey;
            error.kind() == StoreErrorKind::TooManyDemands || is_duplicate
        });
        ensure!(is_refused, "{what}: expected the error TooManyDemands, got {result:?}");
    }
    let result = beside.store.peek(&demands, Some(&after(MINUTE * 5))).await;
    refused(result, StoreErrorKind::TooManyDemands, "a peek at 65 keys")?;
    for demand in [&demands[0], &demands[63], &demands[64]] {
        beside.peek(&[*demand], after(MINUTE * 5)).await?;
    }
    Ok(())
}
