//! Rows that this program never writes.

use catalog::{CatalogError, JobKind, NewOperation, Page, SealedPack};

use super::replication::replicate;
use super::world::{VAULT, World, at, item_id, operation_id, project, sealed, server};

/// One call that reads the damaged table.
async fn read(world: &World, table: &str) -> Result<(), CatalogError> {
    let catalog = &world.catalog;
    match table {
        "policies" | "scheduled_operations" | "policy_resources" => catalog.all_policies().await.map(drop),
        "servers" | "volumes" => catalog.servers(&project(), &Page::first()).await.map(drop),
        "checkpoint_items" | "volume_backups" => catalog.item_by_id(item_id(10)).await.map(drop),
        "replication_records" => catalog.records_of_items(&[item_id(10)]).await.map(drop),
        "vaults" => catalog.vaults().await.map(drop),
        "packs" => catalog.packs_since(VAULT, 0, 9).await.map(drop),
        other => panic!("no reader for {other}"),
    }
}

pub(crate) async fn garbage_in_any_column_is_corrupt_and_never_a_panic(world: &World) {
    world.catalog.register_server(&server("s1", &["v1"])).await.unwrap();
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    replicate(world, &policy, 1).await;
    for (table, column, garbage) in [
        ("policies", "name", "'not a name'"),
        ("policies", "id", "'xyz'"),
        ("policies", "description", "'<script>'"),
        ("scheduled_operations", "trigger_pattern", "'nonsense'"),
        ("scheduled_operations", "operation_type", "'dance'"),
        ("scheduled_operations", "enabled", "2"),
        ("scheduled_operations", "keep_day_backups", "-5"),
        ("scheduled_operations", "keep_year_backups", "5000000000"),
        ("policy_resources", "resource_id", "'a b'"),
        ("servers", "id", "'../x'"),
        ("volumes", "format", "'vmdk'"),
        ("volumes", "size_bytes", "-1"),
        ("volumes", "bootable", "7"),
        ("checkpoint_items", "state", "'fine'"),
        ("checkpoint_items", "progress_percent", "101"),
        ("checkpoint_items", "added_bytes", "-1"),
        ("checkpoint_items", "operation_id", "'{}'"),
        ("checkpoint_items", "origin_region", "'b'"),
        ("checkpoint_items", "failure_operation", "'backup'"),
        ("volume_backups", "volume_id", "''"),
        ("replication_records", "state", "'flying'"),
        ("replication_records", "generation", "-1"),
        ("replication_records", "destination_item_id", "'1'"),
        ("vaults", "kind", "'tertiary'"),
        ("vaults", "commit_seq", "-1"),
        ("packs", "state", "'lost'"),
        ("packs", "object_count", "4294967296"),
    ] {
        assert!(read(world, table).await.is_ok(), "{table} before the damage of {column}");
        // Damage may break references; both engines are told to look away, in their own words.
        let kept = format!("CREATE TABLE kept AS SELECT * FROM {table}");
        let restored = format!("UPDATE {table} SET {column} = (SELECT kept.{column} FROM kept)");
        let is_reference = column == "id";
        world.damage(&kept).await;
        if is_reference {
            // A row that others refer to is copied under the damaged id instead.
            damage_key(world, table, garbage).await;
        } else {
            world.damage(&format!("UPDATE {table} SET {column} = {garbage}")).await;
        }
        let result = read(world, table).await;
        assert!(
            matches!(result, Err(CatalogError::Corrupt { .. })),
            "{table}.{column} = {garbage}: {result:?}"
        );
        if is_reference {
            world.damage(&format!("DELETE FROM {table} WHERE id = {garbage}")).await;
        } else {
            world.damage(&restored).await;
        }
        world.damage("DROP TABLE kept").await;
    }
    world.damage("UPDATE checkpoint_items SET manifest_digest = domain").await;
    assert!(
        matches!(read(world, "checkpoint_items").await, Err(CatalogError::Corrupt { .. })),
        "16 bytes, not 32"
    );
    world.damage("UPDATE jobs SET kind = 'dance'").await;
    assert_eq!(world.claim(JobKind::Backup, at(9)).await, None);
}

/// Inserts a copy of the one row of a table under another id.
async fn damage_key(world: &World, table: &str, garbage: &str) {
    let columns = match table {
        "policies" => "project_id, name || 'x', description, parameters, created_at, updated_at",
        _ => "project_id, name, created_at",
    };
    world.damage(&format!("INSERT INTO {table} SELECT {garbage}, {columns} FROM {table}")).await;
}

pub(crate) async fn numbers_above_the_limit_are_refused(world: &World) {
    let catalog = &world.catalog;
    world.primary_vault(&project()).await;
    let operation = NewOperation { id: operation_id(1), vault_id: VAULT, base_manifest: None };
    catalog.begin_operation(&operation, at(0)).await.unwrap();
    let number = catalog.reserve_pack(operation.id).await.unwrap();
    let huge = SealedPack { bytes: u64::MAX, ..sealed(number) };
    assert!(matches!(catalog.seal_pack(operation.id, &huge).await, Err(CatalogError::OutOfRange { .. })));
    assert_eq!(catalog.seal_pack(operation.id, &sealed(number)).await.unwrap(), 1, "nothing had happened");
}
