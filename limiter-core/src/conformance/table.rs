//! The list of the cases, and the macro that makes a test of each.

/// Hands the list of all cases to the macro named in brackets, behind what follows the brackets.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ([$($then:tt)+] $($context:tt)*) => {
        $($then)+! { $($context)*
            [Nothing] decisions::buckets_decide_as_decide
                "random calls on buckets are answered field by field as `algorithm::decide` answers them";
            [Nothing] decisions::fixed_windows_decide_as_decide
                "the same for fixed windows";
            [Nothing] decisions::sliding_windows_decide_as_decide
                "the same for sliding windows";
            [Nothing] decisions::exact_logs_decide_as_decide
                "the same for sliding logs that keep every stamp";
            [Nothing] decisions::logs_of_a_resolution_decide_as_decide
                "the same for sliding logs with a resolution";
            [Nothing] decisions::several_demands_decide_as_decide
                "the same for several keys, limiters and quotas in one decision";
            [Nothing] decisions::changing_quotas_decide_as_decide
                "the same while the quotas of keys change, in rates and in algorithm";
            [Nothing] decisions::clocks_that_step_back_decide_as_decide
                "the same under clocks that step back, and to both ends of time";
            [Nothing] decisions::extreme_rates_decide_as_decide
                "the same from a unit in 366 days to 4096 a microsecond, and limits up to 2^52";
            [Nothing] decisions::a_snapshot_is_the_state
                "a snapshot, where there is one, decides as the key does, and writes nothing";
            [Nothing] reading::a_denial_writes_nothing
                "a denied take leaves the key as it was, whatever its cost";
            [Nothing] reading::a_peek_writes_nothing
                "a peek leaves the key as it was, also one that finds a clock that stepped back";
            [Nothing] reading::keys_only_looked_at_are_not_kept
                "peeks and denials of new keys leave nothing for a sweep to find";
            [Nothing] several::a_denial_takes_nothing_from_the_others
                "where one demand denies, none of the others loses a unit";
            [Nothing] several::duplicates_are_refused
                "two demands on one key of one limiter are an error of their own, and take nothing";
            [Nothing] several::sixty_four_demands_are_decided_and_more_refused
                "64 demands are one decision; 65 are an error of their own, and take nothing";
            [Nothing] keys::keys_do_not_meet
                "each key has its own units: empty, binary, long, with separators, sharing all but a byte";
            [Nothing] keys::limiters_do_not_meet
                "limiters of different names share no units, whatever their names and keys have in common";
            [Nothing] keys::a_name_is_one_limiter
                "the same name is the same limiter, made anew or cloned";
            [Nothing] concurrency::threads_admit_exactly_the_quota
                "takes of several threads admit the quota to the unit, and deny none that fits";
            [Nothing] concurrency::futures_admit_exactly_the_quota
                "takes under way at once on one thread admit the quota to the unit";
            [Nothing] concurrency::several_demands_admit_exactly_the_quota
                "takes of overlapping demands in any order take from all or from none, and never lock each other";
            [Nothing] concurrency::nobody_sees_half_a_decision
                "a take over two keys that will be denied is never seen to hold one of them";
            [Nothing] concurrency::refunds_at_once_return_what_was_taken
                "takes and refunds at once lose and mint nothing";
            [Nothing] refunds::a_refund_never_mints
                "a refund returns what its take still holds, and never more than was taken";
            [Nothing] refunds::a_refund_returns_no_more_than_its_part
                "of units taken twice, a refund of one take leaves the other's";
            [Nothing] refunds::charges_end_at_one_quota_of_debt
                "a charge takes without asking, into at most one full quota of debt";
            [Nothing] lifetime::a_reset_forgets_units_and_block
                "after a reset the key is as one never seen, and its neighbours are as they were";
            [Nothing] lifetime::a_block_denies_until_its_end
                "a block holds to the microsecond, is not shortened by an at-least, and ends when told to";
            [Nothing] lifetime::a_sweep_drops_only_what_is_idle
                "a sweep drops and counts idle keys, never one that limits, is blocked, or lies ahead of the clock";
            [Nothing] lifetime::state_lasts_to_the_last_microsecond
                "what was taken counts until a microsecond before its period ends, whatever happens to other keys";
            [Nothing] lifetime::crowds_of_new_keys_evict_nobody
                "under the store's own time, many short-lived keys push out no key that still limits";
            [Nothing] lifetime::real_time_does_not_expire_injected_time
                "under an injected clock that stands still, state outlives its period of real time";
            [Nothing] changes::a_change_of_quota_carries_units_over
                "units in use stay in use when the quota changes, from and to every algorithm";
            [Nothing] changes::a_look_does_not_write_a_change_of_quota
                "peeks, snapshots and takes that can never fit leave the state to the old quota";
            [Nothing] changes::a_wait_told_after_a_change_of_quota_holds
                "a denied take under a new quota writes the change, so that whoever waits as told is admitted";
            [Nothing] changes::takes_at_once_carry_a_change_over_once
                "takes of several threads under a new quota carry the old units over once, and admit what is left";
            [Nothing] time::an_injected_clock_is_the_time
                "a clock handed to a call is read by that call, and its time is that of the answer";
            [Nothing] time::the_stores_own_time_moves_on
                "without a clock the store's own time is used: it moves, and not back";
            [Nothing] time::limits_hold_under_the_stores_own_time
                "in real time too no window sees more than its limit, and a wait is enough";
            [Nothing] time::time_is_read_inside_the_step
                "of takes at once, the one decided later has no earlier instant";
            [Nothing] handles::clones_share_state
                "a clone sees what its original takes, is the same store, and another store is not";
            [Nothing] handles::dropped_futures_leave_no_lock
                "calls dropped half-way leave nothing behind that stops the next, and take at most what they asked for";
            [Persists] handles::state_survives_reopening
                "units, logs, blocks and a change of quota are there when the store is opened again";
            [Persists] handles::reopened_stores_decide_as_decide
                "random calls are answered as `algorithm::decide` answers them while the store is opened again and again";
            [Shares] handles::handles_see_one_state
                "random calls through several handles are answered as those through one";
            [Shares] handles::handles_together_admit_exactly_the_quota
                "takes through several handles at once admit the quota to the unit, over one key and several";
        }
    };
}

/// Makes a `#[test]` of each case that every store passes, in the module where it stands.
///
/// The first argument makes the harness, anew for each test: an expression, mostly a closure that makes a store. What
/// follows are the capabilities that the store declares, by the names of [`Need`](crate::conformance::Need): each adds
/// its cases.
///
/// ```
/// use limiter_core::MemoryStore;
///
/// mod memory {
///     limiter_core::conformance::tests!(|| async { super::MemoryStore::new() });
/// }
/// # fn main() {}
/// ```
///
/// With a [`Harness`](crate::conformance::Harness) that can reopen its stores and share their state it reads
/// `tests!(Files::new(), Persists, Shares)`.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($harness:expr $(, $need:ident)* $(,)?) => {
        $crate::__conformance_cases!([$crate::__conformance_tests_of] Nothing ($harness));
        $($crate::__conformance_cases!([$crate::__conformance_tests_of] $need ($harness));)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests_of {
    ($wanted:ident $harness:tt $([$need:ident] $file:ident::$name:ident $meaning:literal;)*) => {
        $($crate::__conformance_test! { $wanted $need $harness $name $meaning })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    (Nothing Nothing $($test:tt)*) => { $crate::__conformance_test! { @ $($test)* } };
    (Persists Persists $($test:tt)*) => { $crate::__conformance_test! { @ $($test)* } };
    (Shares Shares $($test:tt)*) => { $crate::__conformance_test! { @ $($test)* } };
    (@ ($harness:expr) $name:ident $meaning:literal) => {
        #[doc = $meaning]
        #[test]
        fn $name() -> ::std::result::Result<(), $crate::conformance::Failure> {
            $crate::conformance::run($harness, stringify!($name))
        }
    };
    (Nothing $need:ident $($test:tt)*) => {};
    (Persists $need:ident $($test:tt)*) => {};
    (Shares $need:ident $($test:tt)*) => {};
}
