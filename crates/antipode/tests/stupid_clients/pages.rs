//! Queries: huge pages, markers of what is gone or somebody else's, text that is none.

use crate::support::{NOBODY, World};
use crate::target::{Target, status};

#[tokio::test]
async fn pages_beyond_all_measure_are_bounded_or_refused() {
    let target = Target::open().await;
    let admin = &target.world.a.admin;
    for (query, expected) in [
        ("limit=1000000", 200),
        ("limit=99999999999999999999999999", 200),
        ("limit=0", 400),
        ("limit=-1", 400),
        ("limit=1e3", 400),
        ("limit=%31", 200),
        ("offset=4294967295", 200),
        ("offset=18446744073709551616", 400),
        ("offset=-1", 400),
        ("sort=created_at:asc,created_at:asc,created_at:desc,id,id,id,id,name,name", 200),
        ("sort=id;drop", 400),
        ("status=available&status=nonsense", 400),
        ("resource_id=a%2Fb", 400),
        ("name=%25%27%22%5C_", 200),
        ("name=%00", 400),
        ("name=%ff", 400),
        ("%ff=a", 400),
        ("start_time=yesterday", 400),
        ("start_time=9999999999-01-01T00:00:00", 400),
        ("nonsense=%00", 400),
        ("unknown=1", 200),
    ] {
        for list in ["/checkpoint_items", "/replication_records", "/policies"] {
            let is_of_items =
                ["status", "resource_id", "start_time", "name"].iter().any(|key| query.starts_with(key));
            let is_sorted = query.contains("name,");
            if list != "/checkpoint_items" && (is_of_items || is_sorted) {
                continue;
            }
            let path = admin.v1(&format!("{list}?{query}"));
            let answer = target.send(target.head("GET", &path, "").as_bytes()).await;
            assert_eq!(status(&answer), expected, "{list}?{query}: {answer:?}");
        }
    }
    // As many values as a head holds.
    let many = "resource_id=s&".repeat(4000);
    let path = admin.v1(&format!("/checkpoint_items?{many}"));
    assert_eq!(status(&target.send(target.head("GET", &path, "").as_bytes()).await), 200);
    target.serves_others().await;
}

#[tokio::test]
async fn a_marker_of_a_deleted_item_goes_on_where_it_was() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    for _ in 0..3 {
        world.a.back_up(&policy).await;
    }
    let items = world.a.all_items().await;
    let shown = world.a.item(&items[1]).await;
    let checkpoint = shown["checkpoint_id"].as_str().unwrap();
    let provider = crate::support::PROVIDER;
    let deleted = world.a.admin.delete_v1(&format!("/providers/{provider}/checkpoints/{checkpoint}")).await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    world.a.work().await;
    let path = format!("/checkpoint_items?sort=created_at:asc&marker={}", items[1]);
    let rest = world.a.admin.get_v1(&path).await;
    assert_eq!(rest.texts("checkpoint_items", "id"), [items[2].clone()]);
}

#[tokio::test]
async fn a_marker_of_somebody_else_looks_like_one_of_nobody() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let item = world.a.back_up(&policy).await[0].clone();
    let stranger = world.a.stranger("other").await;
    for (list, id) in [("/checkpoint_items", &item), ("/policies", &policy)] {
        let foreign = stranger.get_v1(&format!("{list}?marker={id}")).await;
        let nobody = stranger.get_v1(&format!("{list}?marker={NOBODY}")).await;
        assert_eq!((foreign.status, &foreign.body), (nobody.status, &nobody.body), "{list}");
        foreign.refuses(400, "CSBS.9001", "marker");
    }
}
