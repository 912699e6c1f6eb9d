-- How much a project may hold of backups made here; no row means no limit, and so does an empty column.
CREATE TABLE project_quotas (
    project_id TEXT NOT NULL PRIMARY KEY REFERENCES projects (id),
    backups_max INTEGER,
    capacity_gib_max INTEGER,
    updated_at INTEGER NOT NULL
) STRICT;

-- Operation logs that somebody deleted, and when: all else about them stands in the things themselves. A later
-- operation under the same id shows again.
CREATE TABLE hidden_operation_logs (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    hidden_at INTEGER NOT NULL
) STRICT;

-- What was done in a project, from the things that it was done to. A deletion has no row of its own: its log has
-- the id of the item with another version digit.
CREATE VIEW operation_logs AS
SELECT l.* FROM (
    SELECT i.id AS id, i.project_id AS project_id, 'protect' AS operation_type,
        CASE WHEN i.finished_at IS NULL AND i.state IN ('waiting_protect', 'protecting') THEN 'running'
            WHEN i.failure_operation = 'backup' THEN 'failed' ELSE 'success' END AS status,
        i.id AS item_id, i.checkpoint_id AS checkpoint_id, i.policy_id AS policy_id,
        CAST(NULL AS TEXT) AS restore_id, CAST(NULL AS TEXT) AS destination_region,
        i.auto_trigger AS auto_trigger,
        CASE WHEN i.failure_operation = 'backup' THEN i.failure_code ELSE '' END AS error_code,
        CASE WHEN i.failure_operation = 'backup' THEN i.failure_reason ELSE '' END AS error_reason,
        i.created_at AS started_at, i.finished_at AS ended_at
    FROM checkpoint_items i WHERE i.origin_region IS NULL
    UNION ALL
    SELECT substr(i.id, 1, 14) || '5' || substr(i.id, 16), i.project_id, 'delete',
        CASE WHEN i.state = 'deleted' THEN 'success' ELSE 'running' END,
        i.id, i.checkpoint_id, i.policy_id, CAST(NULL AS TEXT), CAST(NULL AS TEXT), 0, '', '',
        COALESCE(j.created_at, i.deleted_at, i.updated_at), i.deleted_at
    FROM checkpoint_items i LEFT JOIN jobs j ON j.kind = 'delete' AND j.subject = i.id
    WHERE i.state IN ('waiting_delete', 'deleting', 'deleted')
    UNION ALL
    SELECT r.id, r.project_id, 'restore',
        CASE r.state WHEN 'in_progress' THEN 'running' WHEN 'success' THEN 'success' ELSE 'failed' END,
        r.item_id, r.checkpoint_id, CAST(NULL AS TEXT), r.id, CAST(NULL AS TEXT), 0,
        CASE WHEN r.state = 'fail' THEN 'CSBS.9999' ELSE '' END, r.reason,
        r.created_at, CASE WHEN r.state = 'in_progress' THEN NULL ELSE r.updated_at END
    FROM restores r
    UNION ALL
    SELECT c.id, c.source_project_id, 'copy',
        CASE c.state WHEN 'waiting' THEN 'waiting' WHEN 'done' THEN 'success' WHEN 'skipped' THEN 'skipped'
            WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'failed' WHEN 'lost' THEN 'failed'
            ELSE 'running' END,
        c.checkpoint_item_id, c.checkpoint_id, c.policy_id, CAST(NULL AS TEXT), c.destination_region,
        c.auto_trigger, c.reason_code, c.reason, c.created_at,
        CASE WHEN c.state IN ('done', 'skipped', 'failed', 'cancelled', 'lost') THEN c.updated_at ELSE NULL END
    FROM replication_records c
) l
WHERE NOT EXISTS (SELECT 1 FROM hidden_operation_logs h WHERE h.id = l.id AND h.hidden_at >= l.started_at);
