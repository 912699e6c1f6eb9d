-- What a region can say about its replicas at once: of which server and moment each one is, how much is proved of
-- it, and when the destination last listed it. The three columns are written together with the receipt.
ALTER TABLE replication_records ADD COLUMN resource_id TEXT COLLATE "C";
ALTER TABLE replication_records ADD COLUMN protected_at BIGINT;
ALTER TABLE replication_records ADD COLUMN replica_level TEXT COLLATE "C";
UPDATE replication_records SET replica_level = 'stored',
    resource_id = (SELECT i.resource_id FROM checkpoint_items i WHERE i.id = checkpoint_item_id),
    protected_at = (SELECT i.protected_at FROM checkpoint_items i WHERE i.id = checkpoint_item_id)
    WHERE state = 'done';

-- When the last claim began, from which the speed of a link is measured.
ALTER TABLE replication_records ADD COLUMN begun_at BIGINT;

-- The newest replica of a server in a region is one look, however many there are.
CREATE INDEX newest_replicas ON replication_records (source_project_id, destination_region, resource_id, protected_at)
    WHERE state = 'done' AND is_current = 1 AND replica_gone_at IS NULL;

CREATE INDEX measured_replications ON replication_records (destination_region, updated_at)
    WHERE state = 'done' AND attempts = 1 AND begun_at IS NOT NULL;

-- All bytes that the item's tree lists, new to the vault or not; null for items of an earlier release.
ALTER TABLE checkpoint_items ADD COLUMN stored_bytes BIGINT;

-- So is the newest backup of a server; and what was added after a moment is a run of entries. Engines look at the
-- last two again, so they stand in it.
CREATE INDEX newest_backups
    ON checkpoint_items (project_id, resource_id, protected_at, id, added_bytes, state, origin_region)
    WHERE origin_region IS NULL AND state IN ('available', 'waiting_restore', 'restoring');

-- The newest head that was compared with the records, and when it was asked for; the other columns are those of the
-- newest one that came.
ALTER TABLE peer_heads ADD COLUMN compared_counter BIGINT;
ALTER TABLE peer_heads ADD COLUMN asked_at BIGINT;

-- What a policy promises for a region, whether it goes there by schedule or by hand.
CREATE TABLE policy_destinations (
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    destination_region TEXT COLLATE "C" NOT NULL,
    rpo_seconds BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (policy_id, destination_region)
);
