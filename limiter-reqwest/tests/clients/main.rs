//! Every kind of client passes the same cases.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod kinds;
mod own;

/// A test of each case for each kind, as `kind::case`.
macro_rules! every_kind {
    ($($case:ident),* $(,)?) => {
        every_kind!(@ middleware Middleware $($case)*);
        every_kind!(@ wrapped Wrapped $($case)*);
        every_kind!(@ blocking Blocking $($case)*);
    };
    (@ $name:ident $kind:ident $($case:ident)*) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::cases::$case(crate::kinds::Kind::$kind).await;
            })*
        }
    };
}

every_kind![
    who_finds_no_unit_waits_for_one,
    a_wait_that_is_too_long_is_an_error_that_names_it,
    a_pause_holds_all_and_ends_at_the_quotas_pace,
    a_refused_request_is_sent_again,
    a_refused_request_whose_body_is_streamed_is_passed_on,
    an_answer_that_is_late_is_a_timeout_and_stays_charged,
    a_wait_is_no_part_of_the_timeout,
    a_request_that_found_no_connection_stays_charged,
    each_host_has_the_quota_to_itself,
    a_request_says_what_it_costs,
    a_closure_sees_the_request_and_its_body,
    what_has_no_key_is_not_limited,
    a_rule_that_is_none_is_an_error,
    a_request_dropped_in_line_leaves_its_turn,
];

// Bodies are not seen, nothing is sent again, and timeouts are somebody else's.
every_kind!(@ tower Tower
    who_finds_no_unit_waits_for_one
    a_wait_that_is_too_long_is_an_error_that_names_it
    a_pause_holds_all_and_ends_at_the_quotas_pace
    a_refused_request_whose_body_is_streamed_is_passed_on
    each_host_has_the_quota_to_itself
    a_request_says_what_it_costs
    what_has_no_key_is_not_limited
    a_rule_that_is_none_is_an_error
    a_request_dropped_in_line_leaves_its_turn
);
