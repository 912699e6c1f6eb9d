//! Lists: every filter in every form, order, pages, and paths that look like ids.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, NOBODY, PROVIDER, World};

/// Two servers in a policy that ran twice, one backup by hand, one replica record.
async fn filled() -> (World, [String; 2], String) {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    world.a.back_up(&policy).await;
    world.a.back_up(&policy).await;
    let path = format!("/providers/{PROVIDER}/resources/{}/action", servers[0]);
    let body = json!({ "protect": { "backup_name": "by_hand" } });
    assert_eq!(world.a.admin.post_v1(&path, &body).await.status, 200);
    (world, servers, policy)
}

async fn check(world: &World, filter: &str, expected: usize) {
    let listed = world.a.admin.get_v1(&format!("/checkpoint_items?{filter}")).await;
    assert_eq!(listed.status, 200, "{filter}: {}", listed.body);
    assert_eq!(listed.texts("checkpoint_items", "id").len(), expected, "{filter}");
    let counted = world.a.admin.get_v1(&format!("/checkpoint_items/count?{filter}")).await;
    assert_eq!(counted.body, json!({ "count": expected }), "{filter}");
}

#[tokio::test]
async fn every_filter_takes_one_value_or_several_and_no_value_filters_nothing() {
    let (world, servers, policy) = filled().await;
    let all = world.a.admin.get_v1("/checkpoint_items").await;
    let checkpoints = all.texts("checkpoint_items", "checkpoint_id");
    for (filter, expected) in [
        (format!("resource_id={}&resource_id={}", servers[0], servers[1]), 5),
        (format!("resource_id={}&resource_id=nothing", servers[1]), 2),
        (format!("policy_id={policy}&policy_id=fake_1"), 4),
        (format!("policy_id={NOBODY}"), 0),
        ("policy_id=fake_1&policy_id=fake_2".into(), 0),
        (format!("checkpoint_id={}&checkpoint_id={}", checkpoints[0], checkpoints[1]), 3),
        ("name=hand&name=nothing".into(), 1),
        ("name=BK_&name=hand".into(), 5),
        ("name=%5C".into(), 0),
        ("name=".into(), 5),
        ("resource_name=db1&resource_name=db22".into(), 5),
        ("resource_name=DB22".into(), 2),
        ("resource_name=%25".into(), 0),
        ("status=protecting&status=available&status=error".into(), 5),
        ("status=".into(), 5),
        ("image_type=backup&image_type=replication".into(), 5),
        ("image_type=replication".into(), 0),
        ("resource_type=OS%3A%3ANova%3A%3AServer".into(), 5),
        ("resource_type=".into(), 5),
        ("az=az1".into(), 0),
        ("az=".into(), 5),
        ("ip=192.0.2.17".into(), 0),
        ("dec=false".into(), 5),
        ("dec=TRUE".into(), 0),
        ("all_tenants=No".into(), 5),
        ("surprise=1&surprise=2&%00x=1".into(), 5),
    ] {
        check(&world, &filter, expected).await;
    }
    for (filter, named) in [
        ("all_tenants=perhaps", "all_tenants"),
        ("status=available&status=fine", "status"),
        ("image_type=backup&image_type=x", "image_type"),
        ("checkpoint_id=x", "checkpoint_id"),
        ("name=%00", "name"),
        ("end_time=2026-13-01T00:00:00", "end_time"),
        ("start_time=2026-11-23", "start_time"),
    ] {
        for path in ["/checkpoint_items", "/checkpoint_items/count"] {
            world.a.admin.get_v1(&format!("{path}?{filter}")).await.refuses(400, "CSBS.9001", named);
        }
    }
}

#[tokio::test]
async fn a_filter_may_be_given_often_but_not_without_end() {
    let (world, ..) = filled().await;
    for name in ["name", "resource_name"] {
        let often = |times: usize| vec![format!("{name}=nothing"); times].join("&");
        check(&world, &often(100), 0).await;
        for place in ["", "/count"] {
            let answer = world.a.admin.get_v1(&format!("/checkpoint_items{place}?{}", often(101))).await;
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert_eq!(answer.body["error_msg"], format!("{name}: may be given at most 100 times"));
        }
    }
}

#[tokio::test]
async fn a_window_of_time_comes_in_three_forms_and_holds_both_its_ends() {
    let (world, _, _) = filled().await;
    let listed = world.a.admin.get_v1("/checkpoint_items?sort=created_at:asc").await;
    let times = listed.texts("checkpoint_items", "created_at");
    assert_eq!(times[0], times[1], "one run is one moment");
    let second = times[2].split('.').next().unwrap();
    for (filter, expected) in [
        (format!("start_time={}", times[2]), 3),
        (format!("start_time={}Z", times[2]), 3),
        (format!("end_time={}", times[1]), 2),
        (format!("end_time={}Z", times[3]), 4),
        (format!("start_time={}&end_time={}", times[0], times[0]), 2),
        (format!("start_time={}&end_time={}", times[4], times[0]), 0),
        (format!("end_time={second}"), times.iter().filter(|time| time.as_str() <= second).count()),
        ("start_time=2026-11-23T00:00:00Z&end_time=2026-11-23T23:59:59".into(), 5),
        ("start_time=2099-12-31T23:59:59.999999".into(), 0),
        ("end_time=1970-01-01T00:00:00".into(), 0),
    ] {
        check(&world, &filter, expected).await;
    }
}

#[tokio::test]
async fn the_operator_sees_all_projects_when_asked_and_nobody_else_does() {
    let (world, _, _) = filled().await;
    let stranger = world.a.stranger("other").await;
    let theirs = world.a.server_of(&stranger.project_id, "theirs", 4096).await;
    let path = format!("/providers/{PROVIDER}/resources/{theirs}/action");
    assert_eq!(stranger.post_v1(&path, &json!({ "protect": {} })).await.status, 200);
    let project_admin = world.a.user("project-admin", "admin").await;
    for (client, wish, expected) in [
        (&world.a.admin, "", 5),
        (&world.a.admin, "?all_tenants=true", 6),
        (&world.a.admin, "?all_tenants=1&limit=2", 6),
        (&project_admin, "?all_tenants=true", 5),
        (&stranger, "?all_tenants=true", 1),
    ] {
        let counted = client.get_v1(&format!("/checkpoint_items/count{wish}")).await;
        assert_eq!(counted.body, json!({ "count": expected }), "{wish}");
    }
    let listed = world.a.admin.get_v1("/checkpoint_items?all_tenants=true&sort=name").await;
    assert_eq!(listed.texts("checkpoint_items", "id").len(), 6);
}

/// The ids of every page of a list, following the links.
async fn walk(world: &World, path: &str, list: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = world.a.admin.v1(path);
    loop {
        let answer = world.a.admin.get(&next).await;
        assert_eq!(answer.status, 200, "{next}: {}", answer.body);
        ids.extend(answer.texts(list, "id"));
        let links = &answer.body[format!("{list}_links")];
        let Some(href) = links[0]["href"].as_str() else {
            assert_eq!(links, &Value::Null, "a link that leads nowhere");
            return ids;
        };
        assert_eq!(links[0]["rel"], "next");
        next = href.strip_prefix("http://eu-a.example:8780").unwrap_or_else(|| panic!("{href}")).to_owned();
    }
}

#[tokio::test]
async fn every_order_comes_in_pages_that_cover_everything_once_and_stay_the_same() {
    let (world, _, policy) = filled().await;
    for sort in [
        "created_at",
        "updated_at:asc",
        "name:asc",
        "status:desc",
        "protected_at",
        "id:asc",
        "status,name:asc",
    ] {
        let whole = world.a.admin.get_v1(&format!("/checkpoint_items?sort={sort}")).await;
        let whole = whole.texts("checkpoint_items", "id");
        for limit in [1, 2, 5, 6] {
            let path = format!("/checkpoint_items?limit={limit}&sort={sort}");
            assert_eq!(walk(&world, &path, "checkpoint_items").await, whole, "{path}");
        }
        let twice = world.a.admin.get_v1(&format!("/checkpoint_items?limit=3&sort={sort}")).await;
        let again = world.a.admin.get_v1(&format!("/checkpoint_items?limit=3&sort={sort}")).await;
        assert_eq!(twice.body, again.body, "{sort}");
    }
    world.replicate(&policy).await;
    let whole = world.a.admin.get_v1("/replication_records").await.texts("replication_records", "id");
    assert_eq!(whole.len(), 4);
    let path = "/replication_records?limit=3&destination_region=eu-b";
    assert_eq!(walk(&world, path, "replication_records").await, whole);
    let counted = world.a.admin.get_v1("/checkpoint_items/count?limit=1&offset=x&marker=y&sort=z").await;
    assert_eq!(counted.body, json!({ "count": 5 }), "a count knows no pages");
}

#[tokio::test]
async fn an_offset_counts_from_the_marker_and_a_marker_is_ones_own() {
    let (world, _, _) = filled().await;
    let ids = world.a.all_items().await;
    let page = async |query: String| {
        let path = format!("/checkpoint_items?sort=created_at:asc&{query}");
        world.a.admin.get_v1(&path).await.texts("checkpoint_items", "id")
    };
    assert_eq!(page(format!("marker={}", ids[1])).await, ids[2..]);
    assert_eq!(page(format!("marker={}&offset=1&limit=1", ids[1])).await, ids[3..4]);
    assert_eq!(page("offset=4".into()).await, ids[4..]);
    assert_eq!(page("offset=99".into()).await, Vec::<String>::new());
    assert_eq!(
        page(format!("marker={}&status=available", ids[4])).await,
        Vec::<String>::new(),
        "not in the filter"
    );
    let stranger = world.a.stranger("other").await;
    let refused = |answer: Answer| {
        answer.refuses(400, "CSBS.9001", "marker");
        answer.body
    };
    let foreign = refused(stranger.get_v1(&format!("/checkpoint_items?marker={}", ids[0])).await);
    let absent = refused(stranger.get_v1(&format!("/checkpoint_items?marker={NOBODY}")).await);
    assert_eq!(foreign, absent, "a marker does not tell what others have");
    for list in ["checkpoint_items", "policies", "replication_records", "restores", "operation_logs"] {
        for marker in [NOBODY, "x", "%27%3B--", &"y".repeat(3000)] {
            refused(world.a.admin.get_v1(&format!("/{list}?marker={marker}")).await);
        }
        for (query, named) in [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("limit=1.0", "limit"),
            ("offset=-1", "offset"),
            ("offset=99999999999999999999", "offset"),
            ("sort=size", "sort"),
            ("sort=created_at:up", "sort"),
            ("sort=id,", "sort"),
            ("sort=id&sort_key=id", "sort"),
        ] {
            world.a.admin.get_v1(&format!("/{list}?{query}")).await.refuses(400, "CSBS.9001", named);
        }
        let huge = world
            .a
            .admin
            .get_v1(&format!("/{list}?limit=99999999999999999999&sort_key=id&sort_dir=asc"))
            .await;
        assert_eq!(huge.status, 200, "{}", huge.body);
    }
}

#[tokio::test]
async fn a_deleted_row_is_still_a_marker() {
    let (world, _, _) = filled().await;
    world.a.work().await;
    let ids = world.a.all_items().await;
    let checkpoint = world.a.item(&ids[4]).await["checkpoint_id"].as_str().unwrap().to_owned();
    world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    world.a.work().await;
    let path = format!("/checkpoint_items?sort=created_at:desc&limit=2&marker={}", ids[4]);
    let next = world.a.admin.get_v1(&path).await;
    assert_eq!(next.texts("checkpoint_items", "id").len(), 2);
    assert_eq!(walk(&world, "/checkpoint_items?limit=1", "checkpoint_items").await.len(), 4);
    let deleted = world.a.admin.get_v1("/checkpoint_items?status=deleted").await;
    assert_eq!(deleted.texts("checkpoint_items", "id"), [ids[4].as_str()], "asked for, the deleted show");
}

#[tokio::test]
async fn replication_records_are_found_by_every_filter() {
    let (world, _, policy) = filled().await;
    let selected = world.replicate(&policy).await.selected();
    let (item, record) = &selected[0];
    let checkpoint = world.a.item(item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let other = &selected[3].1;
    let to = &world.b.admin.project_id;
    let queued = world.record(record).await["created_at"].as_str().unwrap().to_owned();
    for (filter, expected) in [
        (format!("id={record}&id={other}"), 2),
        (format!("source_checkpoint_id={checkpoint}"), 2),
        (format!("source_checkpoint_item_id={item}&source_checkpoint_item_id={NOBODY}"), 1),
        (format!("destination_project_id={to}"), 4),
        ("destination_project_id=nowhere".into(), 0),
        ("destination_region=eu-b&destination_region=eu-c".into(), 4),
        (format!("plan_id={policy}&plan_id=fake_1"), 4),
        (format!("policy_id={policy}"), 4),
        ("plan_id=fake_1".into(), 0),
        ("policy_id=fake_1".into(), 0),
        (format!("start_time={queued}Z&end_time={queued}"), 4),
        (format!("end_time={}", "2026-11-23T00:00:00"), 0),
        ("status=waiting_replicate&status=fail".into(), 4),
        ("surprise=x".into(), 4),
    ] {
        let answer = world.a.admin.get_v1(&format!("/replication_records?{filter}&limit=3")).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
        assert_eq!(answer.body["count"], json!(expected), "{filter}");
        assert_eq!(answer.texts("replication_records", "id").len(), expected.min(3), "{filter}");
        assert_eq!(answer.body.get("replication_records_links").is_some(), expected > 3, "{filter}");
    }
    for bad in [
        "source_checkpoint_id=x",
        "destination_project_id=a%20b",
        "plan_id=x",
        "status=waiting",
        "end_time=x",
    ] {
        let name = bad.split('=').next().unwrap();
        let named = if name == "plan_id" { "policy_id" } else { name };
        world.a.admin.get_v1(&format!("/replication_records?{bad}")).await.refuses(400, "CSBS.9001", named);
    }
}

#[tokio::test]
async fn words_in_a_path_come_before_ids() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let checkpoints = format!("/providers/{PROVIDER}/checkpoints");
    let replicate = admin.post_v1(&format!("{checkpoints}/replicate"), &json!({})).await;
    replicate.refuses(400, "CSBS.9001", "replication: is missing");
    let deleted = admin.delete_v1(&format!("{checkpoints}/replicate")).await;
    deleted.refuses(405, "Antipode.0405", "");
    let posted = admin.post_v1(&format!("{checkpoints}/{NOBODY}"), &json!({})).await;
    posted.refuses(405, "Antipode.0405", "");
    assert_eq!(admin.get_v1("/checkpoint_items/count").await.body, json!({ "count": 0 }));
    admin.get_v1("/checkpoint_items/counts").await.refuses(400, "CSBS.9001", "checkpoint_item_id");
    let resources = format!("/providers/{PROVIDER}/resources");
    let checked = admin.post_v1(&format!("{resources}/action"), &json!({ "check_protectable": [] })).await;
    assert_eq!(checked.status, 200, "{}", checked.body);
    let server = admin.post_v1(&format!("{resources}/action/action"), &json!({ "protect": {} })).await;
    server.refuses(400, "CSBS.6000", "server do not exist");
    for path in ["/policies/", "/checkpoint_items/", "//policies", "/policies/x/y", "/../v1", "/providers/"] {
        let answer = admin.send(Method::GET, &admin.v1(path), None).await;
        answer.refuses(404, "Antipode.0404", "");
    }
}
