//! Tags of backups and of policies: the same calls for both families.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, NOBODY, World};

/// One thing of each family, with the code of "not found" there.
struct Place {
    family: &'static str,
    id: String,
    missing: &'static str,
}

impl Place {
    fn path(&self, rest: &str) -> String {
        format!("/{}/{}/tags{rest}", self.family, self.id)
    }

    async fn tags(&self, client: &Client) -> Value {
        let answer = client.get_v1(&self.path("")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["tags"].clone()
    }

    async fn add(&self, client: &Client, key: &str, value: &str) -> Answer {
        let tag = json!({ "tag": { "key": key, "value": value } });
        client.post_v1(&self.path(""), &tag).await
    }

    async fn change(&self, client: &Client, action: &str, tags: Value) -> Answer {
        client.post_v1(&self.path("/action"), &json!({ "action": action, "tags": tags })).await
    }
}

/// A backup and a policy.
async fn places(world: &World) -> [Place; 2] {
    let (policy, item) = world.backed_up().await;
    [
        Place { family: "csbs_backup", id: item, missing: "CSBS.3001" },
        Place { family: "csbs_backup_policy", id: policy, missing: "CSBS.3000" },
    ]
}

fn pairs(tags: &[(&str, &str)]) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

#[tokio::test]
async fn a_bad_tag_is_refused_by_field_and_changes_nothing() {
    let world = World::apart().await;
    for place in places(&world).await {
        let client = &world.a.admin;
        place.add(client, "kept", "x").await;
        for (body, named) in [
            (json!({}), "tag: is missing"),
            (json!({ "tag": { "value": "v" } }), "tag.key: is missing"),
            (json!({ "tag": { "key": "k" } }), "tag.value: is missing"),
            (json!({ "tag": { "key": " ", "value": "v" } }), "tag: tag key"),
            (json!({ "tag": { "key": "a b", "value": "v" } }), "tag: tag key"),
            (json!({ "tag": { "key": "k".repeat(37), "value": "v" } }), "tag: tag key"),
            (json!({ "tag": { "key": "k", "value": "v".repeat(44) } }), "tag: tag value"),
            (json!({ "tag": { "key": "k", "value": "a/b" } }), "tag: tag value"),
            (json!({ "tag": { "key": 7, "value": "v" } }), "tag.key: must be a string"),
        ] {
            client.post_v1(&place.path(""), &body).await.refuses(400, "CSBS.9001", named);
        }
        for (body, named) in [
            (json!({ "tags": [] }), "action: is missing"),
            (json!({ "action": "update", "tags": [] }), "action: must be create or delete"),
            (json!({ "action": "create" }), "tags: is missing"),
            (json!({ "action": "create", "tags": [] }), "tags: must hold 1 to 10"),
            (json!({ "action": "create", "tags": [{ "key": "k" }] }), "tags[0].value: is missing"),
            (json!({ "action": "create", "tags": pairs(&[("a", "1"), (" a", "2")]) }), "tags: tag keys"),
            (json!({ "action": "delete", "tags": [{ "value": "v" }] }), "tags[0].key: is missing"),
            (json!({ "action": "delete", "tags": [{ "key": " " }] }), "tags[0].key: must not be empty"),
            (json!({ "action": "delete", "tags": [{ "key": "k".repeat(128) }] }), "tags[0].key: must be at"),
            (
                json!({ "action": "delete", "tags": [{ "key": "k", "value": "v".repeat(256) }] }),
                "tags[0].value: must be at",
            ),
        ] {
            client.post_v1(&place.path("/action"), &body).await.refuses(400, "CSBS.9001", named);
        }
        client.delete_v1(&place.path("/%20")).await.refuses(400, "CSBS.9001", "key: must not be empty");
        assert_eq!(client.post_v1(&place.path("/other"), &json!({})).await.status, 405);
        assert_eq!(place.tags(client).await, pairs(&[("kept", "x")]));
    }
}

#[tokio::test]
async fn tags_are_added_overwritten_and_taken_away() {
    let world = World::apart().await;
    for place in places(&world).await {
        let client = &world.a.admin;
        for _ in 0..2 {
            assert_eq!(place.add(client, " tier ", " gold ").await.status, 204);
        }
        assert_eq!(place.tags(client).await, pairs(&[("tier", "gold")]), "outer spaces do not count");
        let batch = pairs(&[("b", ""), ("tier", "silver"), ("c", "3")]);
        assert_eq!(place.change(client, "create", batch).await.status, 204);
        assert_eq!(place.tags(client).await, pairs(&[("tier", "silver"), ("b", ""), ("c", "3")]));

        let other_value = pairs(&[("c", "4"), ("c", "5"), ("unknown", "x")]);
        assert_eq!(place.change(client, "delete", other_value).await.status, 204);
        assert_eq!(place.tags(client).await.as_array().unwrap().len(), 3, "the value must match as well");
        let by_key = json!([{ "key": " b " }, { "key": "c", "value": "3" }, { "key": "ä ö" }]);
        assert_eq!(place.change(client, "delete", by_key).await.status, 204);
        assert_eq!(place.tags(client).await, pairs(&[("tier", "silver")]));

        assert_eq!(client.delete_v1(&place.path("/%20tier%20")).await.status, 204);
        for missing in ["/tier", "/a%2Fb", "/%C3%A4"] {
            client.delete_v1(&place.path(missing)).await.refuses(
                404,
                "CSBS.7001",
                "The backup tag does not exist.",
            );
        }
        assert_eq!(place.tags(client).await, json!([]));
    }
}

#[tokio::test]
async fn a_tag_may_have_the_key_action() {
    let world = World::apart().await;
    for place in places(&world).await {
        assert_eq!(place.add(&world.a.admin, "action", "x").await.status, 204);
        assert_eq!(world.a.admin.delete_v1(&place.path("/action")).await.status, 204);
        assert_eq!(place.tags(&world.a.admin).await, json!([]));
    }
}

#[tokio::test]
async fn the_eleventh_tag_is_one_too_many() {
    let world = World::apart().await;
    let too_many = "request tags exceed the max allowed count: 10";
    for place in places(&world).await {
        let client = &world.a.admin;
        let keys: Vec<String> = (0..11).map(|n| format!("k{n}")).collect();
        let tags = |count: usize| keys[..count].iter().map(|key| json!({ "key": key, "value": "" }));
        let eleven: Value = tags(11).collect();
        place.change(client, "create", eleven).await.refuses(400, "CSBS.7000", too_many);
        assert_eq!(place.tags(client).await, json!([]), "all of a batch or nothing");
        assert_eq!(place.change(client, "create", tags(10).collect()).await.status, 204);
        place.add(client, "k10", "").await.refuses(400, "CSBS.7000", too_many);
        place.change(client, "create", pairs(&[("k0", "new"), ("k10", "")])).await.refuses(
            400,
            "CSBS.7000",
            too_many,
        );
        assert_eq!(place.add(client, "k0", "new").await.status, 204, "a known key is no eleventh");
        assert_eq!(place.tags(client).await[0], json!({ "key": "k0", "value": "new" }));
    }
    let mut body = crate::support::policy_body("other", &[]);
    body["policy"]["tags"] = (0..11).map(|n| json!({ "key": format!("k{n}"), "value": "" })).collect();
    world.a.admin.post_v1("/policies", &body).await.refuses(400, "CSBS.7000", too_many);
}

#[tokio::test]
async fn foreign_and_absent_things_look_the_same() {
    let world = World::apart().await;
    let stranger = world.a.stranger("other").await;
    let all = json!({ "action": "count" });
    for place in places(&world).await {
        place.add(&world.a.admin, "a", "1").await;
        let nothing = Place { id: NOBODY.to_owned(), ..place_of(&place) };
        for (method, rest, body) in [
            (Method::GET, "", None),
            (Method::POST, "", Some(json!({ "tag": { "key": "k", "value": "" } }))),
            (Method::POST, "/action", Some(json!({ "action": "delete", "tags": [{ "key": "a" }] }))),
            (Method::DELETE, "/a", None),
        ] {
            let foreign = stranger.send(method.clone(), &stranger.v1(&place.path(rest)), body.as_ref()).await;
            let absent = stranger.send(method, &stranger.v1(&nothing.path(rest)), body.as_ref()).await;
            foreign.refuses(404, place.missing, "");
            let named = foreign.body.to_string().replace(&place.id, NOBODY);
            assert_eq!(named, absent.body.to_string());
        }
        let bad = world.a.admin.get_v1(&format!("/{}/nonsense/tags", place.family)).await;
        bad.refuses(400, "CSBS.9001", "_id: ");
        assert_eq!(place.tags(&world.a.admin).await, pairs(&[("a", "1")]));
        assert_eq!(stranger.get_v1(&format!("/{}/tags", place.family)).await.body, json!({ "tags": [] }));
        let counted = stranger.post_v1(&format!("/{}/resource_instances/action", place.family), &all).await;
        assert_eq!(counted.body, json!({ "total_count": 0 }));
    }
}

#[tokio::test]
async fn a_search_finds_what_carries_the_tags() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let mut items = Vec::new();
    for (name, tags) in [
        ("one", pairs(&[("tier", "gold"), ("team", "a")])),
        ("two", pairs(&[("tier", "silver"), ("team", "a")])),
        ("three", pairs(&[("tier", "Gold-plus")])),
    ] {
        let body = json!({ "protect": { "backup_name": name, "tags": tags } });
        let path = format!("/providers/{}/resources/{server}/action", crate::support::PROVIDER);
        let begun = world.a.admin.post_v1(&path, &body).await;
        items.extend(world.a.items_of(&begun.text("checkpoint.id")).await);
        let mut policy = crate::support::policy_body(name, &[]);
        policy["policy"]["tags"] = body["protect"]["tags"].clone();
        assert_eq!(world.a.admin.post_v1("/policies", &policy).await.status, 200);
    }
    let body = json!({ "protect": { "backup_name": "untagged" } });
    let path = format!("/providers/{}/resources/{server}/action", crate::support::PROVIDER);
    world.a.admin.post_v1(&path, &body).await;
    world.a.policy("untagged", &[]).await;

    let one = |key: &str, values: Value| json!([{ "key": key, "values": values }]);
    let both = json!([{ "key": "tier", "values": ["gold"] }, { "key": "team", "values": [] }]);
    for (filter, found) in [
        (json!({}), vec!["untagged", "three", "two", "one"]),
        (json!({ "tags": one("tier", json!(["gold"])) }), vec!["one"]),
        (json!({ "tags": one(" tier ", json!(["gold", "silver"])) }), vec!["two", "one"]),
        (json!({ "tags": one("tier", json!([])) }), vec!["three", "two", "one"]),
        (json!({ "tags": one("tier", json!(["*gold"])) }), vec!["three", "one"]),
        (json!({ "tags": one("tier", json!(["*"])) }), vec!["three", "two", "one"]),
        (json!({ "tags": both }), vec!["one"]),
        (json!({ "tags_any": both }), vec!["two", "one"]),
        (json!({ "not_tags": both }), vec!["untagged", "three", "two"]),
        (json!({ "not_tags_any": both }), vec!["untagged", "three"]),
        (json!({ "tags": one("nobody", json!([])) }), vec![]),
        (json!({ "tags_any": both, "not_tags": one("tier", json!(["gold"])) }), vec!["two"]),
        (json!({ "matches": [{ "key": "resource_name", "value": "O" }] }), vec!["two", "one"]),
        (json!({ "matches": [{ "key": "resource_name", "value": "" }] }), vec![]),
        (json!({ "limit": "1", "offset": "1" }), vec!["three"]),
        (json!({ "limit": "1000", "offset": "9" }), vec![]),
    ] {
        for family in ["csbs_backup", "csbs_backup_policy"] {
            let path = format!("/{family}/resource_instances/action");
            let mut body = filter.clone();
            body["action"] = json!("filter");
            let answer = world.a.admin.post_v1(&path, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.texts("resources", "resource_name"), found, "{family}: {filter}");
            body["action"] = json!("count");
            let is_paged = body.as_object_mut().unwrap().remove("limit").is_some();
            body.as_object_mut().unwrap().remove("offset");
            let counted = world.a.admin.post_v1(&path, &body).await;
            let count = if is_paged { 4 } else { found.len() };
            assert_eq!(counted.body, json!({ "total_count": count }), "{family}: {filter}");
            assert_eq!(answer.body["total_count"], json!(count), "paging changes no count");
        }
    }
    the_details_are_the_whole_backup_and_nothing(&world, &items[0]).await;
}

async fn the_details_are_the_whole_backup_and_nothing(world: &World, item: &str) {
    let only = json!({ "action": "filter", "tags": [{ "key": "tier", "values": ["gold"] }] });
    let path = "/csbs_backup/resource_instances/action";
    let found = world.a.admin.post_v1(path, &only).await.body["resources"][0].clone();
    let shown = world.a.item(item).await;
    assert_eq!((&found["resource_id"], &found["resource_detail"]), (&json!(item), &shown));
    assert_eq!(found["tags"], shown["tags"]);
    let path = "/csbs_backup_policy/resource_instances/action";
    let found = world.a.admin.post_v1(path, &only).await.body["resources"][0].clone();
    assert_eq!(found["resource_detail"], json!({}));
    for family in ["csbs_backup", "csbs_backup_policy"] {
        let tags = world.a.admin.get_v1(&format!("/{family}/tags")).await.body;
        let expected = json!({ "tags": [
            { "key": "team", "values": ["a"] },
            { "key": "tier", "values": ["Gold-plus", "gold", "silver"] },
        ] });
        assert_eq!(tags, expected);
    }
}

#[tokio::test]
async fn the_tags_of_a_deleted_backup_are_found_nowhere_and_come_back_with_it() {
    let world = World::apart().await;
    let [item, _] = places(&world).await;
    item.add(&world.a.admin, "tier", "gold").await;
    let checkpoint = world.a.item(&item.id).await["checkpoint_id"].as_str().unwrap().to_owned();
    let by_checkpoint = Place { id: checkpoint.clone(), ..place_of(&item) };
    assert_eq!(by_checkpoint.tags(&world.a.admin).await, pairs(&[("tier", "gold")]), "its id stands for it");
    let path = format!("/providers/{}/checkpoints/{checkpoint}", crate::support::PROVIDER);
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    world.a.work().await;
    world.a.admin.get_v1(&item.path("")).await.refuses(404, "CSBS.3001", "");
    assert_eq!(world.a.admin.get_v1("/csbs_backup/tags").await.body, json!({ "tags": [] }));
    let count = json!({ "action": "count" });
    let counted = world.a.admin.post_v1("/csbs_backup/resource_instances/action", &count).await;
    assert_eq!(counted.body, json!({ "total_count": 0 }));
    let undelete = format!("/antipode/v1/quarantine/{}/undelete", item.id);
    assert_eq!(world.a.admin.post(&undelete, &json!({})).await.status, 200);
    assert_eq!(item.tags(&world.a.admin).await, pairs(&[("tier", "gold")]));
}

#[tokio::test]
async fn backups_made_from_now_on_carry_the_new_tags_of_their_policy() {
    let world = World::apart().await;
    let [item, policy] = places(&world).await;
    policy.add(&world.a.admin, "tier", "gold").await;
    assert_eq!(item.tags(&world.a.admin).await, json!([]), "what was made before keeps its own");
    let made = world.a.back_up(&policy.id).await.remove(0);
    assert_eq!(world.a.item(&made).await["tags"], pairs(&[("tier", "gold")]));
    let shown = world.a.admin.get_v1(&format!("/policies/{}", policy.id)).await;
    assert_eq!(shown.body["policy"]["tags"], pairs(&[("tier", "gold")]));
}

fn place_of(place: &Place) -> Place {
    Place { family: place.family, id: place.id.clone(), missing: place.missing }
}
