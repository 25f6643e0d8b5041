//! What any engine must do, as an exported suite: `conformance!` makes one test of each case for an engine's [`Store`].
//!
//! It stands behind the feature `conformance`, out of the product. It knows no engine: a case opens one through
//! [`Store`], drives it through the port alone, drops it where a process would have died, and opens it again.

#![allow(missing_docs, reason = "a case's name says what it shows")]

pub mod access;
pub mod attach;
pub mod born;
pub mod cancel;
pub mod claims;
pub mod deliveries;
pub mod endpoints;
pub mod finish;
mod fixture;
pub mod history;
pub mod lists;
pub mod nodes;
mod recorder;
pub mod report;
pub mod reseal;
pub mod retention;
pub mod settle;
pub mod submit;
pub mod tasks;

use std::sync::Arc;

use async_trait::async_trait;

use crate::Engine;

/// One place where an engine keeps things: empty when it is made, and there again when it is opened again.
#[async_trait]
pub trait Store: Send + Sync {
    /// Opens it, as a new process would. What was opened before has been dropped, without a word or after `close`.
    async fn open(&self) -> Arc<dyn Engine>;

    /// Ends the leases of all nodes that were there before, as their passing would. Nothing where the lease is a lock.
    async fn expire_leases(&self);

    /// True if several nodes can have it open at once: then what lies between two of them is tested, too.
    fn shares(&self) -> bool {
        false
    }
}

/// One `#[tokio::test]` per case. `$fresh` is an expression that gives a new, empty [`Store`].
#[macro_export]
macro_rules! conformance {
    ($fresh:expr) => {
        $crate::conformance! { @ $fresh;
            access: the_default_tenant_is_made_once
                rotation_keeps_the_old_secret_for_a_while
                tenants_are_made_found_and_listed
                a_deleted_tenant_takes_its_keys_along
                a_tenant_with_work_left_stays
                keys_are_made_found_listed_and_revoked
                bound_keys_go_with_their_endpoint;
            attach: whoever_ends_the_job_reads_it
                a_queued_job_that_is_canceled_reads_it
                an_ended_job_sends_its_event_at_once
                an_ended_job_sends_nothing_that_was_not_asked_for
                what_changed_meanwhile_is_said
                never_neither_and_never_both
                a_waiting_delivery_is_canceled
                an_attempt_in_flight_is_let_go;
            born: without_a_taker_it_is_queued
                a_reserved_job_is_handed_over
                a_refused_job_is_queued
                what_is_not_due_is_not_born_claimed
                a_replay_gives_its_slot_back
                a_reserved_delivery_is_handed_over
                announced_deliveries_are_handed_over_too;
            cancel: a_queued_job_ends
                a_running_job_is_asked_to_stop
                an_ended_job_is_too_late
                what_changed_meanwhile_is_said
                a_request_outlives_the_node;
            claims: in_the_order_of_due_and_id
                at_most_as_many_as_asked_for
                lanes_do_not_mix
                no_job_is_claimed_twice
                expired_jobs_are_found_whatever_their_lane
                a_claimed_job_is_whole;
            deliveries: claimed_in_order_with_their_attempt_open
                no_delivery_is_claimed_twice
                what_was_not_sent_goes_back
                a_large_body_is_sent_as_written;
            endpoints: reads_back_as_it_was_put a_tenant_has_at_most_so_many
                one_event_is_one_delivery_under_the_next_number
                numbers_have_no_gap_however_many_finish_at_once
                starts_are_announced_where_an_endpoint_hears_of_them
                a_disabled_one_is_numbered_and_recovered
                what_waits_for_a_deleted_one_fails
                a_ping_goes_to_one_whatever_its_state
                a_start_finds_whose_receivers_fail
                a_410_disables_at_once
                failing_for_days_and_for_many_disables
                dead_letters_are_told_to_others
                a_resend_goes_beside_the_lane
                health_is_counted_from_attempts
                a_probe_takes_the_oldest_and_a_recovery_brings_forward
                a_recovery_goes_as_fast_as_it_may_and_can_be_stopped
                an_ask_under_other_terms_brings_nothing_but_the_terms
                what_is_out_of_a_lane_with_terms_is_one_nodes
                an_order_is_kept_whatever_comes_back
                an_order_is_changed_only_while_nothing_is_queued
                failed_jobs_are_heard_of_too
                feeds_show_everything_once;
            finish: succeeded_with_its_event
                failed_with_its_problem
                a_result_is_kept_as_given
                only_the_holder_ends_it
                a_queued_job_ends_only_as_it_was_read
                a_late_cancel_request_is_in_the_event
                only_those_who_asked_hear_of_it
                nobody_asked
                requeued_for_the_next_attempt
                requeued_uncounted
                announced_once
                one_batch_may_hold_everything;
            history: the_same_script_reads_back_the_same_after_a_crash;
            lists: jobs_by_page jobs_by_filter deliveries_by_page deliveries_by_filter other_tenants_see_nothing;
            nodes: what_a_dead_node_held_is_due_again
                interrupted_attempts_keep_the_numbers_whole
                what_is_not_held_is_given_back
                a_stage_that_is_not_named_is_left_alone
                a_stale_epoch_changes_nothing
                a_start_finds_every_lane
                who_leaves_frees_its_work
                a_renewal_tells_who_is_there
                slots_are_taken_and_told
                a_node_is_asked_to_drain
                who_joins_again_frees_what_it_held
                counters_follow_commits
                a_closed_engine_says_so;
            report: what_is_said_shows_and_stays_with_the_end only_the_holder_says who_asked_gets_the_latest;
            retention: history_goes_as_a_whole_and_what_lives_stays
                what_was_kept_long_enough_goes
                what_is_still_to_be_sent_stays
                a_key_finds_its_job_for_a_day
                payloads_may_go_earlier
                steps_are_small_and_go_on_where_the_last_ended
                a_deleted_job_leaves_its_tombstone_and_its_key
                tombstones_are_forgotten
                what_happened_to_no_job_goes_too
                feeds_say_what_was_pruned;
            reseal: signing_secrets_are_walked_and_sealed_anew
                endpoints_are_walked_and_sealed_anew
                callbacks_are_walked_and_sealed_anew;
            settle: succeeded failed again unchanged
                only_the_holder_settles
                an_attempt_reads_back_whole
                a_resend_brings_a_waiting_one_forward
                a_resend_revives_a_dead_letter
                a_resend_of_a_success_stays_a_success
                a_resend_waits_for_the_attempt_in_flight;
            submit: reads_back_whole_after_a_crash
                an_input_is_kept_as_sent
                a_key_finds_its_job
                a_key_survives_a_crash
                eight_at_once_make_one_job
                a_time_to_run_is_kept
                commits_are_told;
            tasks: paused_until_resumed the_oldest_that_waits_is_found_for_each_task;
        }
    };
    (@ $fresh:expr; $($module:ident: $($case:ident)*;)*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                $crate::conformance::$module::$case(&super::fresh_store().await).await;
            })*
        })*

        async fn fresh_store() -> impl $crate::conformance::Store {
            $fresh.await
        }
    };
}
