//! How long a source wishes its replicas to be kept: the destination keeps them so long and signs for it, but
//! never shorter than its own grant says.

use model::checkpoint::ItemState;
use model::retention::RetentionFields;
use vault::receipt::Receipt;

use crate::invariants::{check_all, records};
use crate::links::Side;
use crate::region::BEGIN_MS;
use crate::steps::{SERVERS, create_policy, replicate_policies, run_policy};
use crate::world::World;

const DAY_MS: u64 = 86_400_000;
/// What a grant keeps at least, if it says nothing else.
const GRANT_DAYS: u64 = 30;

/// Replicates under a policy that wishes this; the days by the item at the destination and by the receipt.
fn days_kept(fields: RetentionFields) -> (u64, u64) {
    let mut world = World::seeded(47);
    for side in Side::BOTH {
        world.register(side, SERVERS[0], &[(64 << 10, 64 << 10)]);
    }
    create_policy(&mut world, Side::A, &SERVERS[..1], fields, false);
    run_policy(&mut world, Side::A);
    world.run_until_idle();
    replicate_policies(&mut world, Side::A);
    world.run_until_idle();
    let replicas = world.items(Side::B, &[ItemState::Available]);
    let origin = replicas[0].origin.as_ref().unwrap();
    let record = &records(&world, Side::A)[0];
    let signers = world.region(Side::B).keys.identity.signers();
    let receipt = Receipt::decode(record.receipt.as_ref().unwrap(), &signers).unwrap();
    assert!(receipt.published_ms >= BEGIN_MS);
    let by_item = (origin.keep_until.millis() - origin.arrived_at.millis()) / DAY_MS;
    let by_receipt = (receipt.keep_until_ms - receipt.published_ms) / DAY_MS;
    check_all(&mut world);
    (by_item, by_receipt)
}

#[test]
fn a_longer_wish_lengthens_and_a_shorter_one_changes_nothing() {
    for (duration_days, expected) in [(45, 45), (10, GRANT_DAYS), (-1, GRANT_DAYS)] {
        let fields = RetentionFields { duration_days, ..RetentionFields::default() };
        assert_eq!(days_kept(fields), (expected, expected), "a wish of {duration_days} days");
    }
}

#[test]
fn for_ever_is_as_long_as_a_policy_can_say() {
    let fields = RetentionFields { permanent: true, duration_days: 3, ..RetentionFields::default() };
    assert_eq!(days_kept(fields), (99_999, 99_999));
}

#[test]
fn a_limit_by_count_is_no_wish_in_days() {
    let fields = RetentionFields { max_backups: 500, ..RetentionFields::default() };
    assert_eq!(days_kept(fields), (GRANT_DAYS, GRANT_DAYS));
}
