//! Each case fails on a store that is broken for it.

mod store;

use limiter_core::{
    Algorithm,
    conformance::{self, CASES, Harness},
};
use std::{collections::BTreeSet, future::Future};
use store::{Broken, Fault};

/// Makes stores with one fault.
struct With(Fault);

impl Harness for With {
    type Store = Broken;

    fn fresh(&self) -> impl Future<Output = Broken> + Send {
        std::future::ready(Broken::new(self.0))
    }

    fn reopen(&self, store: Broken) -> impl Future<Output = Option<Broken>> + Send {
        std::future::ready(Some(store.reopened()))
    }

    fn share(&self, store: &Broken) -> impl Future<Output = Option<Broken>> + Send {
        std::future::ready(Some(store.shared()))
    }
}

/// Without a fault the store keeps the contract, so that it is the fault that a case finds.
mod without_a_fault {
    use super::*;

    limiter_core::conformance::tests!(With(Fault::None), Persists, Shares);
}

macro_rules! broken {
    ($($case:ident: $fault:expr;)*) => {
        /// The cases that have a broken store.
        const FOUND: &[&str] = &[$(stringify!($case)),*];

        mod is_found {
            use super::*;

            $(#[test]
            fn $case() {
                let fault: Fault = $fault;
                let failure = conformance::run(With(fault), stringify!($case)).expect_err(&format!("{fault:?} passed"));
                let message = failure.to_string();
                assert!(message.contains("expected") && message.contains("got"), "says too little: {message}");
                assert!(!message.contains("panic"), "failed by a panic: {message}");
            })*
        }
    };
}

broken! {
    buckets_decide_as_decide: Fault::LosesAUnit(Algorithm::Gcra);
    fixed_windows_decide_as_decide: Fault::LosesAUnit(Algorithm::FixedWindow);
    sliding_windows_decide_as_decide: Fault::LosesAUnit(Algorithm::SlidingWindow);
    exact_logs_decide_as_decide: Fault::LosesAUnit(Algorithm::SlidingLog);
    logs_of_a_resolution_decide_as_decide: Fault::IgnoresResolution;
    several_demands_decide_as_decide: Fault::DenialTakesFromTheFirst;
    changing_quotas_decide_as_decide: Fault::ForgetsAtAChange;
    clocks_that_step_back_decide_as_decide: Fault::HoldsTheClock;
    extreme_rates_decide_as_decide: Fault::CountsIn32Bits;
    a_snapshot_is_the_state: Fault::SnapshotsAreNew;
    a_denial_writes_nothing: Fault::DenialsCharge;
    a_peek_writes_nothing: Fault::PeeksWrite;
    keys_only_looked_at_are_not_kept: Fault::KeepsLooks;
    a_denial_takes_nothing_from_the_others: Fault::DenialTakesFromTheFirst;
    duplicates_are_refused: Fault::AdmitsDuplicates;
    sixty_four_demands_are_decided_and_more_refused: Fault::AdmitsMany;
    keys_do_not_meet: Fault::KeysAreText;
    limiters_do_not_meet: Fault::JoinsNameAndKey;
    a_name_is_one_limiter: Fault::ScopesByAddress;
    threads_admit_exactly_the_quota: Fault::UnlocksInBetween;
    futures_admit_exactly_the_quota: Fault::AwaitsInBetween;
    several_demands_admit_exactly_the_quota: Fault::SeveralUnlockInBetween;
    nobody_sees_half_a_decision: Fault::TakesThenRefunds;
    refunds_at_once_return_what_was_taken: Fault::RefundsUnlockInBetween;
    a_refund_never_mints: Fault::RefundsWhatHasPassed;
    a_refund_returns_no_more_than_its_part: Fault::RefundsTwice;
    charges_end_at_one_quota_of_debt: Fault::ChargesAsk;
    a_reset_forgets_units_and_block: Fault::ResetKeepsTheBlock;
    a_block_denies_until_its_end: Fault::AtLeastShortens;
    a_sweep_drops_only_what_is_idle: Fault::SweepsByAge;
    state_lasts_to_the_last_microsecond: Fault::ExpiresEarly;
    crowds_of_new_keys_evict_nobody: Fault::EvictsTheOldest;
    real_time_does_not_expire_injected_time: Fault::ExpiresInRealTime;
    a_change_of_quota_carries_units_over: Fault::ForgetsAtAChange;
    a_look_does_not_write_a_change_of_quota: Fault::LooksWriteAChange;
    a_wait_told_after_a_change_of_quota_holds: Fault::DenialsLeaveAChange;
    takes_at_once_carry_a_change_over_once: Fault::ChangesUnlockInBetween;
    an_injected_clock_is_the_time: Fault::StaleClock;
    the_stores_own_time_moves_on: Fault::FrozenTime;
    limits_hold_under_the_stores_own_time: Fault::ExpiresEarly;
    time_is_read_inside_the_step: Fault::TimeBeforeTheLock;
    clones_share_state: Fault::ClonesAreApart;
    dropped_futures_leave_no_lock: Fault::DroppedFuturesKeepTheLock;
    state_survives_reopening: Fault::ForgetsWhenReopened;
    reopened_stores_decide_as_decide: Fault::ForgetsBlocksWhenReopened;
    handles_see_one_state: Fault::HandlesAreApart;
    handles_together_admit_exactly_the_quota: Fault::HandlesAreApart;
}

#[test]
fn no_case_lacks_a_broken_store() {
    let cases: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(cases.len(), CASES.len(), "two cases of one name");
    assert_eq!(cases, FOUND.iter().copied().collect());
    assert!(CASES.iter().all(|case| !case.meaning.is_empty()));
}

#[test]
fn a_panic_is_a_failure_that_says_so() {
    let failure = conformance::run(With(Fault::Panics), "a_refund_never_mints").unwrap_err();
    assert!(failure.to_string().contains("got one: out of order"), "{failure}");
}

#[test]
fn an_error_is_a_failure_with_its_sources() {
    let failure = conformance::run(With(Fault::Fails), "a_refund_never_mints").unwrap_err();
    assert!(failure.to_string().contains("the store does not answer: no route to host"), "{failure}");
}

#[test]
fn an_unknown_case_is_a_failure() {
    let failure = conformance::run(With(Fault::None), "no_such_case").unwrap_err();
    assert!(failure.to_string().contains("no_such_case"), "{failure}");
}

#[test]
fn a_harness_without_handles_fails_what_needs_them() {
    for case in CASES.iter().filter(|case| case.need != conformance::Need::Nothing) {
        let failure = conformance::run(|| async { Broken::new(Fault::None) }, case.name).unwrap_err();
        assert!(failure.to_string().contains("Harness::"), "{}: {failure}", case.name);
    }
}
