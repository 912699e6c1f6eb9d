//! Every code that an error body can carry: those of the origin (`csbs-v1-api.md` §6), in its order, and
//! our own. A line says with which status and text the code comes, and either which test is answered it or
//! why it cannot occur here. No status stands anywhere else.
//!
//! Bad input and busy states never answer 5xx here (design §8): a code that the origin documents as 500
//! keeps its number and text under another status. `docs/conformance.md` shows the same lines; a test
//! compares them, and looks into every test that is named here.

/// One code.
#[derive(Debug)]
pub struct Code {
    /// As it stands in `error_code`.
    pub code: &'static str,
    /// The status that the origin documents; nothing for a code of our own.
    pub documented: Option<u16>,
    /// The status that it comes with.
    pub status: u16,
    /// The documented text; `%s` stands for a value.
    pub text: &'static str,
    /// How we know.
    pub proof: Proof,
}

/// How we know that a code comes as told, or never.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// The test of this name, as `file.rs::name` in the crate's `tests` or `src`, is answered the code.
    ReachedBy(&'static str),
    /// It cannot occur here, because …
    Never(&'static str),
}

/// A documented code that comes with its documented status.
const fn reached(code: &'static str, status: u16, text: &'static str, test: &'static str) -> Code {
    Code { code, documented: Some(status), status, text, proof: Proof::ReachedBy(test) }
}

/// The same under another status than the documented one.
const fn deviating(
    code: &'static str,
    documented: u16,
    status: u16,
    text: &'static str,
    test: &'static str,
) -> Code {
    Code { code, documented: Some(documented), status, text, proof: Proof::ReachedBy(test) }
}

/// A code of our own; the text is always told where the error arises.
const fn own(code: &'static str, status: u16, test: &'static str) -> Code {
    Code { code, documented: None, status, text: "", proof: Proof::ReachedBy(test) }
}

/// A documented code that never comes.
const fn never(code: &'static str, status: u16, text: &'static str, because: &'static str) -> Code {
    Code { code, documented: Some(status), status, text, proof: Proof::Never(because) }
}

/// The code of a parameter that was refused.
pub const PARAMETER: &str = "CSBS.9001";

/// Every code.
pub static CODES: [Code; 73] = [
    reached(
        "CSBS.0001",
        400,
        "Service over limit",
        "api/policies.rs::the_limits_of_the_origin_hold_where_an_operator_sets_them",
    ),
    never("CSBS.0002", 400, "Volume of services from different storagetype", "the origin does not use it"),
    deviating(
        "CSBS.1001",
        500,
        409,
        "The policy is executing backup.",
        "api/backups.rs::a_policy_runs_once_at_a_time_over_its_own_servers",
    ),
    never("CSBS.1002", 500, "resource_in_protecting", "the origin does not use it"),
    never("CSBS.2001", 500, "item in plan is executing", "the origin does not use it"),
    reached(
        "CSBS.2003",
        400,
        "item in executing",
        "api/backups.rs::deleting_is_refused_while_it_cannot_be_and_ends_in_not_found",
    ),
    never(
        "CSBS.2004",
        400,
        "item in plan executing",
        "a policy can be changed and deleted while it runs: the run has its items and finishes without it",
    ),
    reached(
        "CSBS.3000",
        404,
        "plan not found",
        "api/wire.rs::what_does_not_exist_and_what_is_not_known_have_error_bodies",
    ),
    reached(
        "CSBS.3001",
        404,
        "Checkpoint_item (%s) is not found.",
        "api/wire.rs::what_does_not_exist_and_what_is_not_known_have_error_bodies",
    ),
    reached(
        "CSBS.4000",
        400,
        "checkpoint item not available",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    never(
        "CSBS.5001",
        500,
        "Scheduel operation status can't be set unable",
        "a schedule is stopped in the transaction that stops everything else of its policy",
    ),
    reached(
        "CSBS.6000",
        400,
        "server do not exist",
        "api/backups.rs::a_bad_order_to_protect_is_refused_and_changes_nothing",
    ),
    never("CSBS.6001", 400, "The server has stopped.", "disks are read whatever the server is doing"),
    reached(
        "CSBS.6003",
        400,
        "Resource (%s) type (%s) is not support protection.",
        "api/backups.rs::a_bad_order_to_protect_is_refused_and_changes_nothing",
    ),
    reached(
        "CSBS.6004",
        400,
        "Server (%s) is already in service.",
        "api/policies.rs::names_and_servers_are_taken_once",
    ),
    never("CSBS.6005", 400, "Server (%s) is already in service.", "no state of a server forbids a backup"),
    never(
        "CSBS.6006",
        400,
        "Server (%s) status (%s) is not allowed to protect.",
        "no state of a server forbids a backup",
    ),
    reached(
        "CSBS.6007",
        400,
        "No volume attached to the server (%s) for protect.",
        "api/backups.rs::a_disk_can_be_left_out",
    ),
    never(
        "CSBS.6010",
        400,
        "Volume (%s) attached to server (%s) is shareable volume.",
        "a volume is registered with one server, by id and by path",
    ),
    reached(
        "CSBS.6013",
        400,
        "Resource (%s) type (%s) is not support restoration.",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    reached(
        "CSBS.6014",
        400,
        "Volume(s) (%s) not found in target server.",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    reached(
        "CSBS.6015",
        400,
        "The server is restoring.",
        "api/restores.rs::a_server_is_restored_once_at_a_time",
    ),
    never("CSBS.6016", 400, "can not restore server type is not allow", "servers are of one kind"),
    reached(
        "CSBS.6017",
        400,
        "Can not find backup(s) (%s) in checkpoint item (%s).",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    reached(
        "CSBS.6018",
        400,
        "Not assign backup(s) (%s) to volume(s), partial restore is not supported.",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    never(
        "CSBS.6019",
        500,
        "The source server (%s) type (%s) is not the same as the target server (%s) type (%s).",
        "servers are of one kind",
    ),
    never(
        "CSBS.6020",
        400,
        "No volume attached to the server (%s) for restore.",
        "no server is registered without volumes",
    ),
    never(
        "CSBS.6021",
        400,
        "Volume (%s) attached to server (%s) is shareable volume.",
        "a volume is registered with one server, by id and by path",
    ),
    deviating(
        "CSBS.6023",
        500,
        400,
        "Can not restore data volume to system volume. server id is (%s).",
        "api/restores.rs::a_data_disk_is_not_restored_onto_a_system_disk",
    ),
    reached(
        "CSBS.6024",
        400,
        "Target volume (%s) size (%s) small than volume backup (%s) size (%s).",
        "api/restores.rs::a_bad_restore_is_refused_by_its_own_code_and_changes_nothing",
    ),
    never(
        "CSBS.6025",
        400,
        "The AZ of local checkpoint item (%s) is not support to restore the resource (%s).",
        "a region has no availability zones",
    ),
    never(
        "CSBS.6027",
        400,
        "The AZ where the resource (%s) is located does not support backup.",
        "a region has no availability zones",
    ),
    deviating(
        "CSBS.6030",
        500,
        409,
        "auto plan executing",
        "api/backups.rs::a_run_of_the_schedule_excludes_one_by_hand",
    ),
    never(
        "CSBS.6031",
        400,
        "manual copy executing",
        "asking again while replicas are on their way answers what is new, or nothing (case 10)",
    ),
    deviating(
        "CSBS.6032",
        500,
        400,
        "plan has no resource backup",
        "api/backups.rs::a_policy_runs_once_at_a_time_over_its_own_servers",
    ),
    never(
        "CSBS.6033",
        400,
        "Service type of volume %s(belong to server %s) is dss.",
        "there is no dedicated storage",
    ),
    reached(
        "CSBS.6040",
        404,
        "task not found",
        "api/wire.rs::what_does_not_exist_and_what_is_not_known_have_error_bodies",
    ),
    never("CSBS.6061", 400, "volume of server in this pod does not support backup", "a region has no pods"),
    reached(
        "CSBS.7000",
        400,
        "request tags exceed the max allowed count: %s.",
        "api/tags.rs::the_eleventh_tag_is_one_too_many",
    ),
    reached(
        "CSBS.7001",
        404,
        "The backup tag does not exist.",
        "api/tags.rs::tags_are_added_overwritten_and_taken_away",
    ),
    never(
        "CSBS.8001",
        500,
        "The backup status is not allowed to create image",
        "no images are made from backups",
    ),
    never(
        "CSBS.8007",
        400,
        "The backup {checkpoint_item_id} has register to image, can't be delete",
        "no images are made from backups",
    ),
    never(
        "CSBS.8008",
        500,
        "The backup {checkpoint_item_id}'s status is not allowed query",
        "a backup can be looked at in every state",
    ),
    never(
        "CSBS.8009",
        500,
        "The backup has not system disk backup is not allowed to create image",
        "no images are made from backups",
    ),
    reached(
        PARAMETER,
        400,
        "provider invalid",
        "api/backups.rs::a_bad_order_to_protect_is_refused_and_changes_nothing",
    ),
    reached(
        "CSBS.9006",
        400,
        "Quota exceeded for resources: %s",
        "api/quotas.rs::a_full_quota_refuses_what_is_new_and_drops_nothing",
    ),
    reached("CSBS.9007", 400, "duplicate service name", "api/policies.rs::names_and_servers_are_taken_once"),
    never(
        "CSBS.9008",
        400,
        "Checkpoint Item Status Not Support Create VM",
        "no servers are made from backups",
    ),
    never(
        "CSBS.9009",
        400,
        "The backup or replication space after reduction cannot be less than the used space.",
        "a quota may be set below what is used: it refuses what is new and drops nothing",
    ),
    never("CSBS.9009", 403, "User is unverified.", "there is no check of real names"),
    deviating(
        "CSBS.9998",
        500,
        503,
        "System not support",
        "api/wire.rs::a_region_that_may_not_write_says_so_and_shows_what_it_has",
    ),
    reached("CSBS.9999", 500, "%s failed", "http/error.rs::the_cause_of_a_fault_stays_inside"),
    never(
        "BackupService.4008",
        400,
        "New project are not allowed to use old services.",
        "no service here is old",
    ),
    reached(
        "BackupService.1002",
        400,
        "A replica cannot be replicated.",
        "the_33_cases.rs::case_16_a_replica_is_never_replicated",
    ),
    never("BackupService.1003", 400, "The backup is not of an ECS.", "only servers are backed up"),
    reached(
        "BackupService.1005",
        400,
        "The destination region does not support replication.",
        "the_33_cases.rs::case_01_an_unknown_destination_region_is_refused_by_name",
    ),
    never(
        "BackupService.1006",
        500,
        "Importing the replica failed.",
        "its replication record says so, never a call",
    ),
    reached(
        "BackupService.1009",
        400,
        "The backup is being replicated, or has been replicated, to the destination region.",
        "the_33_cases.rs::case_09_a_backup_on_its_way_is_left_out_and_refused_singly",
    ),
    reached(
        "BackupService.1011",
        400,
        "The destination project does not support replication.",
        "the_33_cases.rs::case_03_a_destination_project_without_a_grant_is_refused_whether_it_exists_or_not",
    ),
    never(
        "BackupService.1012",
        400,
        "Maximum number of replicas reached.",
        "a backup may have a replica in every region",
    ),
    never(
        "BackupService.6118-6130",
        400,
        "Destination vault check failed.",
        "callers name a region and a project, never a vault there",
    ),
    never("BackupService.9900", 400, "Parameter check failed.", "CSBS.9001 says it"),
    never("BackupService.6000", 404, "Policy not found.", "CSBS.3000 says it"),
    never("BackupService.6200", 404, "Backup not found.", "CSBS.3001 says it"),
    never("BackupService.6500", 404, "Operation log not found.", "CSBS.6040 says it"),
    never("BackupService.6501", 404, "Task not found.", "CSBS.6040 says it"),
    own("Antipode.0400", 400, "api/own.rs::pairing_needs_the_line_once_and_the_right_code"),
    own("Antipode.0401", 401, "api/wire.rs::who_calls_is_asked_before_what_is_wanted"),
    own("Antipode.0403", 403, "api/wire.rs::who_calls_is_asked_before_what_is_wanted"),
    own("Antipode.0404", 404, "api/wire.rs::what_does_not_exist_and_what_is_not_known_have_error_bodies"),
    own("Antipode.0405", 405, "api/wire.rs::what_does_not_exist_and_what_is_not_known_have_error_bodies"),
    own("Antipode.0408", 408, "http/request.rs::a_body_that_does_not_arrive_is_given_up"),
    own("Antipode.0409", 409, "api/own.rs::a_server_keeps_its_own_ids_and_hides_its_paths_from_members"),
];

/// The line of a code; of two, the one that occurs.
pub(crate) fn line_of(code: &str) -> &'static Code {
    let lines = || CODES.iter().filter(|line| line.code == code);
    let occurring = lines().find(|line| matches!(line.proof, Proof::ReachedBy(_)));
    occurring.or_else(|| lines().next()).expect("a test looks up every code that is used")
}

impl Code {
    /// The documented text with its values in their places.
    pub(crate) fn filled(&self, values: &[String]) -> String {
        let mut text = self.text.to_owned();
        for value in values {
            text = text.replacen("%s", value, 1);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_occurs_has_one_line() {
        for (position, line) in CODES.iter().enumerate() {
            let others = CODES[position + 1..].iter().filter(|other| other.code == line.code);
            let both_never =
                |other: &&Code| matches!((&line.proof, &other.proof), (Proof::Never(_), Proof::Never(_)));
            assert_eq!(others.filter(|other| !both_never(other)).count(), 0, "{}", line.code);
        }
    }

    #[test]
    fn bad_input_and_busy_states_keep_their_code_under_another_status() {
        let deviations: Vec<(&str, u16, u16)> = CODES
            .iter()
            .filter(|line| line.documented.is_some_and(|documented| documented != line.status))
            .map(|line| (line.code, line.documented.unwrap_or_default(), line.status))
            .collect();
        let expected = [
            ("CSBS.1001", 500, 409),
            ("CSBS.6023", 500, 400),
            ("CSBS.6030", 500, 409),
            ("CSBS.6032", 500, 400),
            ("CSBS.9998", 500, 503),
        ];
        assert_eq!(deviations, expected);
    }

    #[test]
    fn values_take_the_places_of_the_documented_text_in_order() {
        let line = line_of("CSBS.6017");
        let values = ["b".to_owned(), "%s".to_owned()];
        assert_eq!(line.filled(&values), "Can not find backup(s) (b) in checkpoint item (%s).");
    }
}
