//! The adoption of a deleted policy's backups, as the record of its deletion tells it: the record has no field
//! for it, and its reason is free text (`docs/format.md` §16).

use model::ids::PolicyId;

const ADOPTED_BY: &str = "adopted by ";

/// The reason of a deletion after which this policy adopted the backups.
pub(crate) fn reason_of(adopter: PolicyId) -> String {
    format!("{ADOPTED_BY}{adopter}")
}

/// The policy that a reason names as the adopter.
pub(crate) fn adopter_in(reason: &str) -> Option<PolicyId> {
    reason.strip_prefix(ADOPTED_BY)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adopter_is_read_as_it_was_written_and_other_reasons_name_none() {
        let adopter = PolicyId::from_entropy([7; 16]);
        assert_eq!(adopter_in(&reason_of(adopter)), Some(adopter));
        for other in ["", "adopted by ", "adopted by nobody", "tidied up"] {
            assert_eq!(adopter_in(other), None, "{other}");
        }
    }
}
