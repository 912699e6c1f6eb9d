//! One suite, two engines: every case runs against SQLite in a file and against PostgreSQL. A case is
//! one function over a [`world::World`]; the list below is the only place that names it.
//!
//! On SQLite each case is a test of its own. PostgreSQL is started once for one test that runs them
//! all, each in its own database; it fails when PostgreSQL 15 is not installed (`make test` does so).

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod suite;

use std::future::Future;
use std::pin::Pin;

use suite::postgres::Server;
use suite::world::World;

/// A case as PostgreSQL runs it.
type Case = for<'w> fn(&'w World) -> Pin<Box<dyn Future<Output = ()> + Send + 'w>>;

/// How many cases run at once on PostgreSQL.
const CASES_AT_ONCE: usize = 4;

macro_rules! conformance {
    ($($module:ident: $($name:ident)*;)*) => {
        mod sqlite {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let world = World::sqlite().await;
                    suite::$module::$name(&world).await;
                }
            )*)*
        }

        fn cases() -> Vec<(&'static str, Case)> {
            vec![$($((stringify!($name), |world| Box::pin(suite::$module::$name(world))),)*)*]
        }
    };
}

conformance! {
    identity:
        a_region_is_initialised_once
        counters_only_grow
        blocked_writes_are_refused_until_unblocked
        names_and_ids_are_taken_once
        a_token_opens_only_what_is_enabled
        an_operator_is_one_in_every_project;
    credentials:
        a_project_goes_when_it_owns_nothing
        a_new_password_and_disabling_end_tokens
        a_token_whose_grounds_went_is_not_stored
        a_role_that_is_taken_is_gone_and_the_last_operator_stays
        an_application_credential_has_what_its_user_still_has
        an_access_key_opens_while_its_user_has_a_role
        a_signature_is_used_once_even_by_two_at_the_same_moment
        secrets_are_sealed_again_once
        cleaning_takes_out_a_bounded_number;
    servers:
        a_server_comes_back_whole_and_only_to_its_project
        a_half_registered_server_leaves_nothing
        a_server_in_a_policy_stays
        pages_follow_markers_in_any_order;
    policies:
        a_policy_comes_back_as_it_was_given
        a_server_is_in_one_policy_at_most
        a_change_over_an_unseen_change_is_refused
        a_policy_is_deleted_while_it_runs_and_the_run_finishes
        a_project_has_no_more_policies_than_it_may
        a_page_of_policies_comes_back_whole
        next_runs_survive_changes_of_other_things
        a_slot_runs_once
        a_slot_is_claimed_if_and_only_if_its_run_begins;
    adoption:
        a_policy_adopts_the_backups_of_a_deleted_one
        an_adoption_is_refused_where_nothing_can_be_adopted
        a_chain_of_adoptions_ends_with_the_last
        what_is_replicated_is_not_replicated_again_after_an_adoption
        adopting_and_deleting_at_once_leave_no_record_of_a_deleted_item
        an_adoption_waits_to_be_written;
    checkpoints:
        a_run_is_written_with_its_jobs_or_not_at_all
        an_exclusive_run_excludes_and_says_whom
        a_backup_becomes_available_with_its_evidence
        a_failed_backup_says_why_and_ends_its_operation
        sequences_are_never_given_twice
        lists_filter_count_and_hide_the_deleted
        a_checkpoint_of_one_item_stands_for_it
        exclusive_runs_at_once_start_one;
    jobs:
        jobs_are_claimed_by_moment_then_priority
        a_stolen_lease_is_fenced_everywhere
        fences_grow_over_all_jobs
        a_postponed_job_waits_and_says_why
        every_job_is_claimed_once_by_racing_workers
        a_lease_on_one_thing_does_not_finish_another
        released_leases_are_claimable_and_fence_their_holders;
    replication:
        a_call_selects_once_and_then_nothing
        a_full_order_is_gone_on_with_by_asking_again
        fifty_calls_at_once_list_every_item_once
        items_that_changed_meanwhile_are_left_out
        the_newest_of_each_server_goes_first
        a_record_lives_as_drawn
        a_lost_replica_is_selected_again
        a_manual_order_after_deletion_raises_the_generation
        a_cancelled_record_fences_its_worker
        records_filter_and_count
        a_base_is_offered_only_while_the_destination_holds_it;
    verbs:
        a_paused_record_is_nobodys_and_keeps_its_place
        a_resumed_record_is_tried_at_once
        only_open_records_of_the_project_are_paused_and_resumed
        the_end_of_a_paused_record_ends_its_pause
        what_ended_without_a_replica_is_retried_as_it_was_ordered
        a_retry_needs_room_and_a_readable_item
        verbs_at_once_leave_one_current_record
        records_to_a_silent_region_are_held_back_and_let_go_together
        a_record_without_a_receipt_is_never_done
        a_limit_is_kept_changed_and_taken_away;
    sight:
        a_target_is_set_changed_and_taken_away
        coverage_follows_the_newest_that_is_live
        coverage_comes_in_pages_and_shows_no_foreign_server
        explaining_gathers_every_region_at_one_moment
        a_forecast_knows_bases_rates_and_the_grant;
    deletion:
        deletion_takes_all_items_or_none
        a_waiting_record_is_skipped_and_a_copying_one_protects
        the_last_item_takes_the_checkpoint
        expiry_keeps_promises_and_marks_the_unreplicated
        two_last_items_deleted_at_once_take_the_checkpoint;
    restores:
        a_restore_uses_the_item_and_gives_it_back
        one_restore_a_server_at_a_time
        a_failed_restore_leaves_the_item_available;
    peers:
        an_invitation_is_taken_once
        a_peer_keeps_its_identity
        heads_only_move_forward
        a_revoked_or_expired_grant_is_closed
        a_peer_speaks_for_itself_only;
    vaults:
        a_project_has_one_primary_vault
        a_replica_vault_is_bound_to_its_source
        pack_numbers_are_never_given_twice
        a_base_must_be_live
        a_pinned_pack_is_not_condemned_and_a_condemned_one_not_pinned
        pins_outlive_their_operation_until_released
        followers_see_every_change_once
        pin_and_condemn_at_once_never_both_win;
    collection:
        a_pack_is_judged_by_who_was_open_at_the_snapshot
        no_pack_goes_when_one_was_set_aside_since_the_snapshot
        a_deleted_item_is_a_root_until_its_quarantine_has_ended
        a_deletion_can_be_undone_until_it_is_purged
        a_replica_that_came_again_is_not_had_back
        every_call_of_an_overtaken_collector_is_fenced
        packs_go_through_condemned_and_deleted_to_nothing
        packs_that_were_never_sealed_are_condemned_and_forgotten
        a_manifest_that_goes_does_not_arrive_meanwhile
        stray_manifests_go_when_their_backup_is_over
        collections_are_due_when_something_changed;
    transfers:
        a_transfer_opens_resumes_and_completes
        only_what_nothing_takes_up_again_is_forgotten
        refusals_come_in_order_and_change_nothing
        an_older_attempt_can_do_nothing
        publishing_is_all_or_nothing
        a_head_cannot_overtake_a_receipt
        a_deleted_replica_leaves_a_tombstone
        quota_counts_replicas_and_reservations
        the_same_replica_published_by_ten_at_once_is_one;
    quotas:
        a_quota_counts_what_is_there_and_refuses_whole_orders
        orders_at_once_stay_within_the_quota;
    operation_logs:
        logs_say_what_was_done_and_what_came_of_it;
    state_outbox:
        what_changes_waits_until_its_newest_revision_is_written
        servers_and_grants_wait_too
        an_item_that_is_gone_says_by_whom;
    tags:
        tags_are_given_and_taken_away_one_by_one
        a_policy_with_other_tags_is_a_changed_policy
        a_search_by_tags_counts_and_pages
        ten_tags_given_at_once_are_all_there;
    storm:
        a_storm_of_callers_and_workers_leaves_the_books_in_order;
    corruption:
        garbage_in_any_column_is_corrupt_and_never_a_panic
        numbers_above_the_limit_are_refused;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_passes_every_case() {
    let server = Server::start().await;
    let mut failed = Vec::new();
    let all = cases();
    for some in all.chunks(CASES_AT_ONCE) {
        let mut running = Vec::new();
        for (name, case) in some.iter().copied() {
            let world = server.world(name).await;
            running.push((name, tokio::spawn(async move { case(&world).await })));
        }
        for (name, handle) in running {
            if handle.await.is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "failed on PostgreSQL: {failed:?}");
}
