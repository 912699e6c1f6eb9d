//! How SQLite carries out the statements of long lists and of orders over many rows: by which index, without
//! sorting, and in how many statements. Times say little on a busy machine; plans say why.

use std::future::Future;

use model::checkpoint::ItemState;
use model::ids::{CheckpointId, PolicyId, ProjectId};
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::Catalog;
use crate::error::CatalogError;
use crate::items::{ImageType, ItemFilter, ItemSort};
use crate::jobs::{Claim, JobKind};
use crate::page::{Direction, Page, Sort};
use crate::records::{RecordFilter, RecordSort};
use crate::value::Value;

struct World {
    catalog: Catalog,
    _folder: tempfile::TempDir,
}

/// One step of a plan, and whether it belongs to the choice of a page's ids.
struct Step {
    detail: String,
    is_inner: bool,
}

impl World {
    async fn open() -> World {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open_file(&folder.path().join("catalog.db")).await.unwrap();
        World { catalog, _folder: folder }
    }

    /// The statements of one call of the catalog.
    async fn statements<T>(
        &self,
        call: impl Future<Output = Result<T, CatalogError>>,
    ) -> Vec<(String, Vec<Value>)> {
        self.catalog.statements.lock().unwrap().clear();
        call.await.map(drop).unwrap();
        std::mem::take(&mut *self.catalog.statements.lock().unwrap())
    }

    /// The plan of a statement.
    async fn plan(&self, (sql, values): (String, Vec<Value>)) -> Vec<Step> {
        let mut tx = self.catalog.read("explaining").await.unwrap();
        let rows = tx.all(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")), values).await.unwrap();
        let row = |row: &crate::value::Row| {
            (row.integer("id").unwrap(), row.integer("parent").unwrap(), row.text("detail").unwrap())
        };
        let rows: Vec<(i64, i64, String)> = rows.iter().map(row).collect();
        // Whether a filter is laid over a list of ids is SQLite's own choice, and changes with its version.
        let is_ours = |(.., detail): &(i64, i64, String)| detail != "CREATE BLOOM FILTER";
        let rows: Vec<(i64, i64, String)> = rows.into_iter().filter(is_ours).collect();
        let lists: Vec<i64> = rows
            .iter()
            .filter(|(.., detail)| detail.starts_with("LIST SUBQUERY"))
            .map(|(id, ..)| *id)
            .collect();
        let step =
            |(_, parent, detail): (i64, i64, String)| Step { is_inner: lists.contains(&parent), detail };
        rows.into_iter().map(step).collect()
    }

    /// Asserts that the ids of a page come from `index` alone, in its order.
    async fn pages_by(&self, name: &str, filter: ItemFilter, page: Page<ItemSort>, index: &str) {
        let statements = self.statements(self.catalog.items(&project(), &filter, &page)).await;
        let plan = self.plan(statements.into_iter().next_back().unwrap()).await;
        let inner: Vec<&str> =
            plan.iter().filter(|step| step.is_inner).map(|step| step.detail.as_str()).collect();
        let wanted = format!("SEARCH checkpoint_items USING COVERING INDEX {index} (");
        assert!(matches!(inner.as_slice(), [one] if one.starts_with(&wanted)), "{name}: {inner:?}");
    }

    /// Asserts that a count looks at an index whose name begins so, and at no row.
    async fn counts_by(&self, name: &str, filter: ItemFilter, index: &str) {
        let statements = self.statements(self.catalog.count_items(&project(), &filter)).await;
        let plan = self.plan(statements.into_iter().next().unwrap()).await;
        let wanted = format!("SEARCH checkpoint_items USING COVERING INDEX {index}");
        assert!(
            matches!(plan.as_slice(), [one] if one.detail.starts_with(&wanted)),
            "{name}: {}",
            plan[0].detail
        );
    }
}

fn project() -> ProjectId {
    "project-a".parse().unwrap()
}

fn sorted(key: ItemSort, direction: Direction) -> Page<ItemSort> {
    Page { limit: 10, sort: vec![Sort { key, direction }], ..Page::first() }
}

#[tokio::test]
async fn every_order_of_items_has_an_index() {
    let world = World::open().await;
    for (key, index) in [
        (ItemSort::CreatedAt, "live_items_by_created"),
        (ItemSort::UpdatedAt, "live_items_by_updated"),
        (ItemSort::Name, "live_items_by_name"),
        (ItemSort::State, "live_items_by_state"),
        (ItemSort::ProtectedAt, "live_items_by_protected"),
        (ItemSort::Id, "live_items_by_id"),
    ] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let page = Page { offset: 50_000, ..sorted(key, direction) };
            world.pages_by(index, ItemFilter::default(), page, index).await;
        }
    }
}

#[tokio::test]
async fn every_filter_of_items_has_an_index_in_the_order_of_the_list() {
    let world = World::open().await;
    let all = ItemFilter::default;
    let policy = PolicyId::from_bytes([1; 16]);
    let cases = [
        ("nothing", all(), "live_items_by_created"),
        ("status", ItemFilter { states: vec![ItemState::Available], ..all() }, "live_items_in_state"),
        ("server", ItemFilter { resource_ids: vec!["s1".parse().unwrap()], ..all() }, "live_items_of_server"),
        ("policy", ItemFilter { policy_ids: vec![policy], ..all() }, "live_items_of_policy"),
        ("name", ItemFilter { name_contains: vec!["x".into()], ..all() }, "live_items_by_created"),
        (
            "server name",
            ItemFilter { resource_name_contains: vec!["x".into()], ..all() },
            "live_items_by_created",
        ),
        ("image type", ItemFilter { image_types: vec![ImageType::Backup], ..all() }, "live_items_by_created"),
        (
            "time",
            ItemFilter { start_time: Some(Timestamp::from_micros(1)), ..all() },
            "live_items_by_created",
        ),
    ];
    for (name, filter, index) in cases {
        world.pages_by(name, filter.clone(), Page { limit: 10, ..Page::first() }, index).await;
        let counting = match name {
            // Any index of live items knows how many there are.
            "nothing" => "live_items_",
            // A name alone is looked for in the smallest index that holds it.
            "name" => "live_items_by_name",
            _ => index,
        };
        world.counts_by(name, filter, counting).await;
    }
    let checkpoint = ItemFilter { checkpoint_ids: vec![CheckpointId::from_bytes([1; 16])], ..all() };
    let statements = world.statements(world.catalog.items(&project(), &checkpoint, &Page::first())).await;
    let plan = world.plan(statements.into_iter().next_back().unwrap()).await;
    let inner: Vec<&str> =
        plan.iter().filter(|step| step.is_inner).map(|step| step.detail.as_str()).collect();
    let by_checkpoint = ["checkpoint_items_by_checkpoint (", "live_items_of_checkpoint ("];
    assert!(
        inner.iter().any(|detail| by_checkpoint.iter().any(|index| detail.contains(index))),
        "a checkpoint: {inner:?}"
    );
}

#[tokio::test]
async fn a_marker_is_looked_up_in_the_index() {
    let world = World::open().await;
    let sql = "INSERT INTO checkpoints (id, project_id, plan_id, plan_name, auto_trigger, created_at) \
               VALUES ('c', 'project-a', 'p', 'p', 0, 0)";
    let item = "INSERT INTO checkpoint_items (id, checkpoint_id, project_id, resource_id, resource_name, name, state, \
                auto_trigger, incremental, progress_percent, progress_bytes, logical_bytes, added_bytes, operation_id, \
                sequence, created_at, updated_at) VALUES ('00000000-0000-4000-8000-000000000001', 'c', 'project-a', \
                's', 's', 'n', 'available', 0, 0, 0, 0, 0, 0, '00000000-0000-4000-8000-000000000002', 0, 0, 0)";
    let mut tx = world.catalog.write("inserting").await.unwrap();
    for sql in [sql, item] {
        tx.execute(sql, vec![]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let marker = Some("00000000-0000-4000-8000-000000000001".to_owned());
    for (key, bound) in [
        (ItemSort::CreatedAt, "(project_id=? AND (created_at,id)<(?,?))"),
        (ItemSort::Name, "(project_id=? AND (name,id)<(?,?))"),
        (ItemSort::State, "(project_id=? AND (state,id)<(?,?))"),
        (ItemSort::ProtectedAt, "(project_id=? AND <expr><?)"),
        (ItemSort::Id, "(project_id=? AND id<?)"),
    ] {
        let page = Page { marker: marker.clone(), ..sorted(key, Direction::Descending) };
        let statements =
            world.statements(world.catalog.items(&project(), &ItemFilter::default(), &page)).await;
        assert_eq!(statements.len(), 2, "where the marker stands, and the page, which is empty");
        let plan = world.plan(statements.into_iter().next_back().unwrap()).await;
        let inner = plan.iter().find(|step| step.is_inner).unwrap();
        assert!(inner.detail.ends_with(bound), "{}", inner.detail);
    }
}

#[tokio::test]
async fn records_are_listed_by_an_index() {
    let world = World::open().await;
    let (all, newest) = (RecordFilter::default, Page::<RecordSort>::first);
    for (name, filter, index) in [
        ("nothing", all(), "replication_records_by_project"),
        (
            "policy",
            RecordFilter { policy_ids: vec![PolicyId::from_bytes([1; 16])], ..all() },
            "replication_records_of_policy",
        ),
        (
            "status",
            RecordFilter { states: vec![model::replication::RecordState::Done], ..all() },
            "replication_records_in_state",
        ),
    ] {
        let statements = world.statements(world.catalog.records(&project(), &filter, &newest())).await;
        let plan = world.plan(statements.into_iter().next().unwrap()).await;
        let inner: Vec<_> = plan.iter().filter(|step| step.is_inner).map(|step| &step.detail).collect();
        assert!(
            inner.len() == 1 && inner[0].contains(&format!("COVERING INDEX {index}")),
            "{name}: {inner:?}"
        );
    }
}

#[tokio::test]
async fn what_is_left_to_replicate_is_read_from_an_index_in_its_order() {
    let world = World::open().await;
    let region = "region-b".parse().unwrap();
    let policy = PolicyId::from_bytes([1; 16]);
    let statements = world.statements(world.catalog.replication_ledger(policy, &region)).await;
    assert_eq!(statements.len(), 2, "the oldest, and the counts, however many items there are");
    for statement in statements {
        let plan = world.plan(statement).await;
        let touched: Vec<_> = plan.iter().map(|step| step.detail.as_str()).collect();
        let items = "SEARCH i USING COVERING INDEX live_items_to_replicate (policy_id=?";
        let records = "INDEX one_current_replication (checkpoint_item_id=? AND destination_region=?)";
        assert!(touched.iter().any(|detail| detail.starts_with(items)), "{touched:?}");
        assert!(touched.iter().any(|detail| detail.contains(records)), "{touched:?}");
        assert!(!touched.iter().any(|detail| detail.contains("B-TREE FOR ORDER BY")), "{touched:?}");
    }
}

#[tokio::test]
async fn whether_retention_has_anything_new_costs_one_look() {
    let world = World::open().await;
    let changed = world.catalog.items_changed_at(PolicyId::from_bytes([1; 16]));
    let [statement] = world.statements(changed).await.try_into().unwrap();
    let plan = world.plan(statement).await;
    let wanted = "SEARCH checkpoint_items USING COVERING INDEX live_items_changed (policy_id=?)";
    assert!(matches!(plan.as_slice(), [one] if one.detail == wanted), "{}", plan[0].detail);
}

#[tokio::test]
async fn a_worker_steps_over_no_work_of_another_kind() {
    let world = World::open().await;
    let claim = Claim { kinds: &[JobKind::Backup], owner: "a", lease_seconds: 30 };
    let statements = world.statements(world.catalog.claim_job(&claim, Timestamp::from_micros(1))).await;
    assert_eq!(statements.len(), 2, "one that claims, and one that says whether there is more");
    for statement in statements {
        let plan = world.plan(statement).await;
        let touched: Vec<_> = plan.iter().map(|step| step.detail.as_str()).collect();
        let wanted = "SEARCH jobs USING INDEX open_jobs_by_turn (kind=? AND run_at<?)";
        assert!(touched.contains(&wanted), "{touched:?}");
        assert!(!touched.iter().any(|detail| detail.contains("TEMP B-TREE")), "{touched:?}");
    }
}

/// A page of coverage over 500 servers costs looks into indexes: no table is walked, and nothing is sorted.
#[tokio::test]
async fn coverage_looks_into_indexes_only() {
    let world = World::open().await;
    let mut tx = world.catalog.write("inserting").await.unwrap();
    for n in 0..500 {
        let sql = format!(
            "INSERT INTO servers (id, project_id, name, created_at) VALUES ('s{n:03}', 'project-a', 's', {n})"
        );
        tx.execute(AssertSqlSafe(sql), vec![]).await.unwrap();
    }
    let record = "INSERT INTO replication_records (id, checkpoint_item_id, checkpoint_id, source_project_id, \
                  destination_region, destination_project_id, grant_id, state, is_current, auto_trigger, by_scheduler, \
                  enable_acceleration, generation, sent_bytes, resent_bytes, skipped_bytes, planned_bytes, attempts, \
                  try_at, reason_code, reason, created_at, updated_at) VALUES ('r', 'i', 'c', 'project-a', 'b', 'q', 'g', \
                  'waiting', 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, '', '', 0, 0)";
    tx.execute("PRAGMA defer_foreign_keys = ON", vec![]).await.unwrap();
    let checkpoint = "INSERT INTO checkpoints (id, project_id, plan_id, plan_name, auto_trigger, created_at) \
                      VALUES ('c', 'project-a', 'p', 'p', 0, 0)";
    let item = "INSERT INTO checkpoint_items (id, checkpoint_id, project_id, resource_id, resource_name, name, state, \
                auto_trigger, incremental, progress_percent, progress_bytes, logical_bytes, added_bytes, operation_id, \
                sequence, created_at, updated_at) VALUES ('i', 'c', 'project-a', 's', 's', 'n', 'available', 0, 0, 0, 0, \
                0, 0, 'o', 0, 0, 0)";
    for sql in [checkpoint, item, record] {
        tx.execute(sql, vec![]).await.unwrap();
    }
    tx.commit().await.unwrap();

    let project = project();
    let scope = crate::coverage::CoverageScope::Project(&project);
    let statements = world.statements(world.catalog.coverage(scope, &Page::first())).await;
    assert!(statements.len() <= 8, "{}, however many servers there are", statements.len());
    let mut seen = Vec::new();
    for statement in statements {
        let sql = statement.0.clone();
        for step in world.plan(statement).await {
            // The few rows of the first are its whole table; those of the second were found by looks.
            let is_small =
                ["peer_heads", "place", "CONSTANT ROW"].iter().any(|part| step.detail.contains(part));
            assert!(!step.detail.starts_with("SCAN") || is_small, "{sql}: {}", step.detail);
            // A page is put in its order after its ids were chosen by an index.
            let is_page = sql.contains("LIMIT $2 OFFSET $3");
            assert!(!step.detail.contains("TEMP B-TREE") || is_page, "{sql}: {}", step.detail);
            seen.push(step.detail);
        }
    }
    let backups =
        "SEARCH b USING COVERING INDEX newest_backups (project_id=? AND resource_id=? AND protected_at>?)";
    let looks = seen.iter().filter(|detail| detail.as_str() == backups);
    assert_eq!(looks.count(), 2, "the newest backup, and what was added since the newest replica: {seen:#?}");
    let replica =
        "newest_replicas (source_project_id=? AND destination_region=? AND resource_id=? AND protected_at>?)";
    assert!(seen.iter().any(|detail| detail.contains(replica)), "{seen:#?}");
}
