//! Deleting a policy while it works, and having another one adopt what it left.

use serde_json::{Value, json};

use crate::support::{NOBODY, Region, World, policy_body};

async fn adopt(region: &Region, policy: &str, old: &str) -> crate::support::Answer {
    let path = format!("/antipode/v1/policies/{policy}/adopt");
    region.admin.post(&path, &json!({ "old_policy_id": old })).await
}

async fn delete(region: &Region, policy: &str) {
    assert_eq!(region.admin.delete_v1(&format!("/policies/{policy}")).await.status, 200);
}

async fn items_of(region: &Region, policy: &str) -> Vec<String> {
    let path = format!("/checkpoint_items?policy_id={policy}");
    region.admin.get_v1(&path).await.texts("checkpoint_items", "id")
}

#[tokio::test]
async fn a_policy_is_deleted_while_it_runs_and_its_run_and_records_finish() {
    let world = World::paired().await;
    let (policy, first) = world.backed_up().await;
    let record = world.replicate(&policy).await.selected().remove(0).1;
    let checkpoint = world.a.begin_backup(&policy).await;
    delete(&world.a, &policy).await;
    world.a.admin.get_v1(&format!("/policies/{policy}")).await.refuses(404, "CSBS.3000", "plan not found");
    world.a.work().await;
    let second = world.a.items_of(&checkpoint).await.remove(0);
    for item in [&first, &second] {
        assert_eq!(world.a.item(item).await["status"], "available");
    }
    assert_eq!(items_of(&world.a, &policy).await.len(), 2, "they are still found by the old id");
    assert_eq!(world.record(&record).await["status"], "success");
    assert_eq!(world.b.all_items().await.len(), 1);
}

#[tokio::test]
async fn nothing_expires_once_its_policy_is_gone_and_the_rules_of_the_adopter_apply_later() {
    let mut world = World::apart().await;
    let server = world.a.server("db1").await;
    let mut body = policy_body("nightly", &[&server]);
    let keep = json!({ "retention_duration_days": 1 });
    body["policy"]["scheduled_operations"][0]["operation_definition"] = keep.clone();
    let old = world.a.admin.post_v1("/policies", &body).await.text("policy.id");
    for _ in 0..2 {
        world.a.back_up(&old).await;
    }
    delete(&world.a, &old).await;
    for _ in 0..5 {
        world.next_day().await;
    }
    assert_eq!(world.a.all_items().await.len(), 2, "no policy, no rule");
    let new = world.a.admin.post_v1("/policies", &body).await.text("policy.id");
    let adopted = adopt(&world.a, &new, &old).await;
    assert_eq!(adopted.status, 200, "{}", adopted.body);
    let expected = json!({ "policy_id": new, "old_policy_id": old, "item_count": 2, "record_count": 0 });
    assert_eq!(adopted.body["adoption"], expected);
    world.next_day().await;
    assert_eq!(world.a.all_items().await.len(), 1, "the newest stays");
}

#[tokio::test]
async fn an_adopted_backup_is_not_replicated_again() {
    let world = World::paired().await;
    let (old, item) = world.backed_up().await;
    world.replicate(&old).await;
    world.a.work().await;
    let server = world.a.item(&item).await["resource_id"].as_str().unwrap().to_owned();
    delete(&world.a, &old).await;
    let new = world.a.policy("nightly", &[&server]).await;
    assert_eq!(world.replicate(&new).await.selected(), [], "it has made nothing yet");
    assert_eq!(adopt(&world.a, &new, &old).await.status, 200);
    let again = adopt(&world.a, &new, &old).await;
    assert_eq!((again.status, &again.body["adoption"]["item_count"]), (200, &json!(0)));
    assert_eq!(items_of(&world.a, &new).await, [item.as_str()]);
    assert_eq!(world.replicate(&new).await.selected(), [], "it has a replica");
    let records = world.a.admin.get_v1(&format!("/replication_records?policy_id={new}")).await;
    assert_eq!(records.body["count"], 1);
    let made = world.a.back_up(&new).await;
    let selected = world.replicate(&new).await.selected();
    assert_eq!(selected.into_iter().map(|(item, _)| item).collect::<Vec<_>>(), made);
}

#[tokio::test]
async fn an_adoption_that_cannot_be_is_refused_and_changes_nothing() {
    let world = World::apart().await;
    let (old, item) = world.backed_up().await;
    let new = world.a.policy("weekly", &[]).await;
    for (body, named) in [
        (json!({}), "old_policy_id: is missing"),
        (json!({ "old_policy_id": "x" }), "old_policy_id: "),
        (json!([]), "body: must be a JSON object"),
    ] {
        let path = format!("/antipode/v1/policies/{new}/adopt");
        world.a.admin.post(&path, &body).await.refuses(400, "CSBS.9001", named);
    }
    adopt(&world.a, &new, &old).await.refuses(409, "Antipode.0409", "exists; only the backups of a deleted");
    adopt(&world.a, &new, &new).await.refuses(409, "Antipode.0409", "exists");
    let absent = adopt(&world.a, &new, NOBODY).await;
    absent.refuses(404, "CSBS.3000", "plan not found");
    adopt(&world.a, NOBODY, &old).await.refuses(404, "CSBS.3000", "plan not found");

    let stranger = world.a.stranger("other").await;
    let theirs = stranger.post_v1("/policies", &policy_body("theirs", &[])).await.text("policy.id");
    let foreign = adopt(&world.a, &new, &theirs).await;
    assert_eq!(text_without(&foreign.body, &theirs), text_without(&absent.body, NOBODY));
    assert_eq!(stranger.delete_v1(&format!("/policies/{theirs}")).await.status, 200);
    let foreign = adopt(&world.a, &new, &theirs).await;
    assert_eq!(text_without(&foreign.body, &theirs), text_without(&absent.body, NOBODY));
    assert_eq!(items_of(&world.a, &old).await, [item.as_str()]);

    delete(&world.a, &old).await;
    assert_eq!(adopt(&world.a, &new, &old).await.status, 200);
    let other = world.a.policy("monthly", &[]).await;
    adopt(&world.a, &other, &old).await.refuses(409, "Antipode.0409", "has adopted the backups");
    assert_eq!(items_of(&world.a, &new).await, [item.as_str()]);
}

fn text_without(body: &Value, id: &str) -> String {
    body.to_string().replace(id, "ID")
}
