//! What people decided stands in the store after one round of house-keeping, readable with the KEK alone.

use control::policies::{NewPolicy, PolicyChange};
use model::text::{Description, Name};
use vault::state::{StateRecord, SubjectKind};

use crate::region::{NOW_MS, Region};

fn nightly() -> NewPolicy {
    NewPolicy {
        name: Name::new("nightly").unwrap(),
        description: Description::new("of all disks").unwrap(),
        parameters: r#"{"common":{"a":"\n"}}"#.to_owned(),
        resources: Vec::new(),
        operations: Vec::new(),
        tags: Vec::new(),
    }
}

/// What the store says, but for the project, which was there before.
fn of_policies(region: &Region) -> Vec<StateRecord> {
    let mut records = region.state_records();
    records.retain(|record| !matches!(record, StateRecord::Project(_)));
    records
}

#[tokio::test]
async fn a_policy_is_written_once_and_readable_with_the_key_of_the_region_alone() {
    let region = Region::new();
    let running = region.start().await;
    let policy = running.control.create_policy(&running.caller, nightly()).await.unwrap();
    assert_eq!(of_policies(&region), [], "nothing before the round");
    running.control.keep_house().await.unwrap();
    running.control.keep_house().await.unwrap();
    let records = of_policies(&region);
    let [StateRecord::Policy(made)] = &records[..] else { panic!("one object, once: {records:?}") };
    assert_eq!((&made.policy_id, made.name.as_str()), (&policy.id.to_string(), "nightly"));
    assert_eq!((&made.project_id, made.is_enabled), (&running.project.to_string(), false));
    let parameters = r#""parameters_json":"{\"common\":{\"a\":\"\\n\"}}""#;
    assert!(made.document.contains(parameters), "{}", made.document);
}

#[tokio::test]
async fn of_a_policy_that_changed_and_ended_the_newest_revision_and_its_end_are_told() {
    let region = Region::new();
    let running = region.start().await;
    let (control, caller) = (&running.control, &running.caller);
    let policy = control.create_policy(caller, nightly()).await.unwrap();
    control.keep_house().await.unwrap();
    for name in ["weekly", "monthly"] {
        let change = PolicyChange { name: Some(Name::new(name).unwrap()), ..PolicyChange::default() };
        control.update_policy(caller, policy.id, change).await.unwrap();
    }
    control.keep_house().await.unwrap();
    let records = of_policies(&region);
    let [StateRecord::Policy(made), StateRecord::Policy(changed)] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(changed.name, "monthly", "the newest revision wins");
    assert!(changed.revision > made.revision);

    control.delete_policy(caller, policy.id).await.unwrap();
    control.keep_house().await.unwrap();
    let records = of_policies(&region);
    let [_, _, StateRecord::Deletion(gone)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((gone.subject.kind, &gone.subject.id), (SubjectKind::Policy, &policy.id.to_string()));
    assert_eq!((&gone.subject.project_id, gone.is_expiry), (&running.project.to_string(), false));
    assert_eq!(gone.deleted_ms, NOW_MS);
}
