-- Generated from migrations/sqlite by the example "schema"; a test compares it.

CREATE TABLE access_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    description TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    kek_number INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX access_keys_by_kek ON access_keys (kek_number, id);

CREATE INDEX access_keys_by_project ON access_keys (project_id);

CREATE INDEX access_keys_by_user ON access_keys (user_id, project_id, created_at, id);

CREATE TABLE application_credentials (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    unrestricted INTEGER NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

CREATE INDEX application_credentials_by_project ON application_credentials (project_id);

CREATE TABLE checkpoint_items (
    id TEXT NOT NULL PRIMARY KEY,
    checkpoint_id TEXT NOT NULL REFERENCES checkpoints (id),
    project_id TEXT NOT NULL,
    policy_id TEXT,
    resource_id TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    state TEXT NOT NULL,
    auto_trigger INTEGER NOT NULL,
    incremental INTEGER NOT NULL,
    progress_percent INTEGER NOT NULL,
    progress_bytes INTEGER NOT NULL,
    logical_bytes INTEGER NOT NULL,
    added_bytes INTEGER NOT NULL,
    manifest_digest BLOB,
    domain BLOB,
    operation_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    origin_region TEXT,
    origin_project_id TEXT,
    origin_checkpoint_id TEXT,
    origin_item_id TEXT,
    origin_record_id TEXT,
    origin_arrived_at INTEGER,
    origin_keep_until INTEGER,
    origin_generation INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    protected_at INTEGER,
    finished_at INTEGER,
    expired_at INTEGER,
    failure_operation TEXT,
    failure_code TEXT,
    failure_reason TEXT,
    deleted_at INTEGER,
    purge_after INTEGER,
    purged_at INTEGER,
    undeleted_at INTEGER
, stored_bytes INTEGER) STRICT;

CREATE INDEX checkpoint_items_by_checkpoint ON checkpoint_items (checkpoint_id);

CREATE INDEX checkpoint_items_by_end ON checkpoint_items (expired_at) WHERE expired_at IS NOT NULL;

CREATE INDEX checkpoint_items_by_manifest ON checkpoint_items (domain, manifest_digest);

CREATE INDEX checkpoint_items_by_policy ON checkpoint_items (policy_id, created_at, id);

CREATE INDEX checkpoint_items_by_project ON checkpoint_items (project_id, created_at, id);

CREATE INDEX checkpoint_items_by_resource ON checkpoint_items (project_id, resource_id, protected_at);

CREATE INDEX checkpoint_items_quarantined ON checkpoint_items (domain, purge_after)
    WHERE state = 'deleted' AND purged_at IS NULL;

CREATE INDEX checkpoint_items_running ON checkpoint_items (policy_id)
    WHERE state IN ('waiting_protect', 'protecting');

CREATE INDEX live_items_by_created
    ON checkpoint_items (project_id, created_at, id, state, origin_region, (LOWER(name)), (LOWER(resource_name)))
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_id ON checkpoint_items (project_id, id, state) WHERE state <> 'deleted';

CREATE INDEX live_items_by_name ON checkpoint_items (project_id, name, id, state, (LOWER(name)))
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_protected ON checkpoint_items (project_id, (COALESCE(protected_at, 0)), id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_state ON checkpoint_items (project_id, state, id) WHERE state <> 'deleted';

CREATE INDEX live_items_by_updated ON checkpoint_items (project_id, updated_at, id, state) WHERE state <> 'deleted';

CREATE INDEX live_items_changed ON checkpoint_items (policy_id, updated_at, state) WHERE state <> 'deleted';

CREATE INDEX live_items_in_state ON checkpoint_items (project_id, state, created_at, id) WHERE state <> 'deleted';

CREATE INDEX live_items_of_checkpoint ON checkpoint_items (project_id, checkpoint_id, created_at, id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_of_policy ON checkpoint_items (project_id, policy_id, created_at, id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_of_server ON checkpoint_items (project_id, resource_id, created_at, id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_to_replicate ON checkpoint_items (policy_id, created_at, id, state, origin_region)
    WHERE state <> 'deleted';

CREATE INDEX newest_backups
    ON checkpoint_items (project_id, resource_id, protected_at, id, added_bytes, state, origin_region)
    WHERE origin_region IS NULL AND state IN ('available', 'waiting_restore', 'restoring');

CREATE TABLE checkpoints (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    policy_id TEXT,
    plan_id TEXT NOT NULL,
    plan_name TEXT NOT NULL,
    auto_trigger INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;

CREATE TABLE collections (
    vault_id BLOB NOT NULL PRIMARY KEY REFERENCES vaults (id),
    operation_id TEXT,
    phase TEXT NOT NULL,
    done_bytes INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    phase_begun_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    finished_seq INTEGER NOT NULL,
    live_bytes INTEGER NOT NULL,
    deleted_pack_count INTEGER NOT NULL,
    deleted_bytes INTEGER NOT NULL,
    rewritten_bytes INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE condemned_manifests (
    vault_id BLOB NOT NULL REFERENCES vaults (id),
    manifest_digest BLOB NOT NULL,
    deleted_at INTEGER,
    PRIMARY KEY (vault_id, manifest_digest)
) STRICT;

CREATE TABLE deleted_policies (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    adopted_by TEXT
) STRICT;

CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    source_region TEXT NOT NULL,
    source_project_id TEXT NOT NULL,
    destination_region TEXT NOT NULL,
    destination_project_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    bytes_max INTEGER,
    keep_days_min INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE INDEX grants_by_project ON grants (destination_project_id, created_at);

CREATE INDEX grants_by_source ON grants (source_region, source_project_id);

CREATE TABLE hidden_operation_logs (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    hidden_at INTEGER NOT NULL
) STRICT;

CREATE TABLE invitations (
    secret_hash BLOB NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE item_sequences (
    domain BLOB NOT NULL,
    incarnation BLOB NOT NULL,
    resource_id TEXT NOT NULL,
    last_sequence INTEGER NOT NULL,
    PRIMARY KEY (domain, incarnation, resource_id)
) STRICT;

CREATE TABLE item_tags (
    item_id TEXT NOT NULL REFERENCES checkpoint_items (id),
    position INTEGER NOT NULL,
    tag_key TEXT NOT NULL,
    tag_value TEXT NOT NULL, project_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (item_id, position)
) STRICT;

CREATE INDEX item_tags_by_key ON item_tags (project_id, tag_key, tag_value, item_id);

CREATE UNIQUE INDEX one_item_tag_a_key ON item_tags (item_id, tag_key);

CREATE TABLE jobs (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER NOT NULL,
    reason_code TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT;

CREATE INDEX jobs_by_fence ON jobs (fence);

CREATE INDEX open_jobs_by_turn ON jobs (kind, run_at, priority DESC, subject) WHERE is_open = 1;

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

CREATE TABLE operations (
    id TEXT NOT NULL PRIMARY KEY,
    vault_id BLOB NOT NULL REFERENCES vaults (id),
    base_manifest BLOB,
    is_open INTEGER NOT NULL,
    ended_commit_seq INTEGER,
    begun_at INTEGER NOT NULL
) STRICT;

CREATE INDEX operations_by_vault ON operations (vault_id, is_open);

CREATE TABLE packs (
    vault_id BLOB NOT NULL REFERENCES vaults (id),
    number INTEGER NOT NULL,
    operation_id TEXT NOT NULL REFERENCES operations (id),
    state TEXT NOT NULL,
    incarnation BLOB,
    bytes INTEGER NOT NULL,
    object_count INTEGER NOT NULL,
    footer_digest BLOB,
    commit_seq INTEGER NOT NULL,
    quick_verified_at INTEGER,
    deep_verified_at INTEGER,
    PRIMARY KEY (vault_id, number)
) STRICT;

CREATE INDEX packs_by_commit ON packs (vault_id, commit_seq);

CREATE INDEX packs_by_operation ON packs (operation_id, number);

CREATE INDEX packs_condemned ON packs (vault_id, number) WHERE state = 'condemned';

CREATE INDEX packs_reserved ON packs (vault_id, number) WHERE state = 'reserved';

CREATE TABLE peer_heads (
    region TEXT NOT NULL PRIMARY KEY,
    counter INTEGER NOT NULL,
    head BLOB NOT NULL,
    received_at INTEGER NOT NULL
, compared_counter INTEGER, asked_at INTEGER) STRICT;

CREATE TABLE peer_limits (
    region TEXT NOT NULL PRIMARY KEY,
    bytes_per_second INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE peers (
    name TEXT NOT NULL PRIMARY KEY,
    region_id BLOB NOT NULL UNIQUE,
    url TEXT NOT NULL,
    card BLOB NOT NULL,
    tls_key_hash BLOB NOT NULL UNIQUE,
    is_confirmed INTEGER NOT NULL,
    pairing_code TEXT NOT NULL,
    paired_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pins (
    operation_id TEXT NOT NULL REFERENCES operations (id),
    vault_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (operation_id, number)
) STRICT;

CREATE INDEX pins_by_pack ON pins (vault_id, number);

CREATE TABLE policies (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    parameters TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE policy_destinations (
    policy_id TEXT NOT NULL REFERENCES policies (id),
    destination_region TEXT NOT NULL,
    rpo_seconds INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (policy_id, destination_region)
) STRICT;

CREATE TABLE policy_excluded_volumes (
    policy_id TEXT NOT NULL REFERENCES policies (id),
    resource_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    volume_id TEXT NOT NULL,
    PRIMARY KEY (policy_id, resource_id, position)
) STRICT;

CREATE TABLE policy_resources (
    resource_id TEXT NOT NULL PRIMARY KEY,
    policy_id TEXT NOT NULL REFERENCES policies (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    extra_info TEXT
) STRICT;

CREATE INDEX policy_resources_by_policy ON policy_resources (policy_id, position);

CREATE TABLE policy_tags (
    policy_id TEXT NOT NULL REFERENCES policies (id),
    position INTEGER NOT NULL,
    tag_key TEXT NOT NULL,
    tag_value TEXT NOT NULL, project_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (policy_id, position)
) STRICT;

CREATE UNIQUE INDEX one_policy_tag_a_key ON policy_tags (policy_id, tag_key);

CREATE INDEX policy_tags_by_key ON policy_tags (project_id, tag_key, tag_value, policy_id);

CREATE TABLE project_quotas (
    project_id TEXT NOT NULL PRIMARY KEY REFERENCES projects (id),
    backups_max INTEGER,
    capacity_gib_max INTEGER,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL
, description TEXT NOT NULL DEFAULT '') STRICT;

CREATE TABLE region (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    name TEXT NOT NULL,
    region_id BLOB NOT NULL,
    incarnation BLOB NOT NULL,
    state_sequence INTEGER NOT NULL,
    head_counter INTEGER NOT NULL,
    blocked_reason TEXT,
    frozen_reason TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE remote_grants (
    id TEXT NOT NULL PRIMARY KEY,
    source_region TEXT NOT NULL,
    source_project_id TEXT NOT NULL,
    destination_region TEXT NOT NULL,
    destination_project_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    bytes_max INTEGER,
    keep_days_min INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE INDEX remote_grants_by_source ON remote_grants (source_project_id, destination_region);

CREATE TABLE replicas (
    item_id TEXT NOT NULL PRIMARY KEY,
    source_region TEXT NOT NULL,
    source_item_id TEXT NOT NULL,
    destination_project_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    manifest_digest BLOB NOT NULL,
    vault_id BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    level TEXT NOT NULL,
    state TEXT NOT NULL,
    stored_bytes INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    published_at INTEGER NOT NULL,
    ended_at INTEGER,
    UNIQUE (source_region, source_item_id, destination_project_id, generation)
) STRICT;

CREATE INDEX replicas_by_grant ON replicas (grant_id, state);

CREATE TABLE replication_records (
    id TEXT NOT NULL PRIMARY KEY,
    checkpoint_item_id TEXT NOT NULL REFERENCES checkpoint_items (id),
    checkpoint_id TEXT NOT NULL,
    source_project_id TEXT NOT NULL,
    destination_region TEXT NOT NULL,
    destination_project_id TEXT NOT NULL,
    policy_id TEXT,
    grant_id TEXT NOT NULL,
    state TEXT NOT NULL,
    is_current INTEGER NOT NULL,
    auto_trigger INTEGER NOT NULL,
    by_scheduler INTEGER NOT NULL,
    enable_acceleration INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    replica_name TEXT,
    replica_description TEXT,
    keep_days INTEGER,
    sent_bytes INTEGER NOT NULL,
    resent_bytes INTEGER NOT NULL,
    skipped_bytes INTEGER NOT NULL,
    planned_bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    try_at INTEGER NOT NULL,
    reason_code TEXT NOT NULL,
    reason TEXT NOT NULL,
    destination_checkpoint_id TEXT,
    destination_item_id TEXT,
    receipt BLOB,
    receipt_head_counter INTEGER,
    replica_gone_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
, resource_id TEXT, protected_at INTEGER, replica_level TEXT, begun_at INTEGER, paused_at INTEGER
    CONSTRAINT only_what_is_open_is_paused
        CHECK (paused_at IS NULL OR state IN ('waiting', 'copying', 'verifying', 'publishing'))
    CONSTRAINT done_has_its_receipt CHECK (state <> 'done' OR COALESCE(LENGTH(receipt), 0) > 0)) STRICT;

CREATE INDEX measured_replications ON replication_records (destination_region, updated_at)
    WHERE state = 'done' AND attempts = 1 AND begun_at IS NOT NULL;

CREATE INDEX newest_replicas ON replication_records (source_project_id, destination_region, resource_id, protected_at)
    WHERE state = 'done' AND is_current = 1 AND replica_gone_at IS NULL;

CREATE UNIQUE INDEX one_current_replication ON replication_records (checkpoint_item_id, destination_region)
    WHERE is_current = 1;

CREATE INDEX replication_records_by_destination ON replication_records (destination_region, state);

CREATE INDEX replication_records_by_item ON replication_records (checkpoint_item_id, destination_region);

CREATE INDEX replication_records_by_project ON replication_records (source_project_id, created_at, id);

CREATE INDEX replication_records_in_state ON replication_records (source_project_id, state, created_at, id);

CREATE INDEX replication_records_of_policy ON replication_records (source_project_id, policy_id, created_at, id);

CREATE TABLE restore_volumes (
    restore_id TEXT NOT NULL REFERENCES restores (id),
    position INTEGER NOT NULL,
    backup_id TEXT NOT NULL,
    volume_id TEXT NOT NULL,
    PRIMARY KEY (restore_id, position)
) STRICT;

CREATE TABLE restores (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    item_id TEXT NOT NULL REFERENCES checkpoint_items (id),
    target_server_id TEXT NOT NULL,
    power_on INTEGER NOT NULL,
    restore_target TEXT,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    total_bytes INTEGER NOT NULL,
    done_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX one_restore_of_a_server ON restores (target_server_id) WHERE state = 'in_progress';

CREATE INDEX restores_by_project ON restores (project_id, created_at, id);

CREATE TABLE role_assignments (
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, project_id, role)
) STRICT;

CREATE INDEX role_assignments_by_project ON role_assignments (project_id, user_id);

CREATE TABLE schedule_slots (
    operation_id TEXT NOT NULL,
    slot INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (operation_id, slot)
) STRICT;

CREATE TABLE scheduled_operations (
    id TEXT NOT NULL PRIMARY KEY,
    policy_id TEXT NOT NULL REFERENCES policies (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    operation_type TEXT NOT NULL,
    keep_permanent INTEGER NOT NULL,
    keep_max_backups INTEGER NOT NULL,
    keep_duration_days INTEGER NOT NULL,
    keep_day_backups INTEGER NOT NULL,
    keep_week_backups INTEGER NOT NULL,
    keep_month_backups INTEGER NOT NULL,
    keep_year_backups INTEGER NOT NULL,
    keep_timezone TEXT,
    destination_region TEXT,
    destination_project_id TEXT,
    enable_acceleration INTEGER NOT NULL,
    trigger_id TEXT NOT NULL,
    trigger_pattern TEXT NOT NULL,
    trigger_start_time INTEGER NOT NULL,
    next_run_at INTEGER
) STRICT;

CREATE INDEX scheduled_operations_by_next_run ON scheduled_operations (next_run_at);

CREATE INDEX scheduled_operations_by_policy ON scheduled_operations (policy_id, position);

CREATE TABLE seen_manifests (
    domain BLOB NOT NULL,
    resource_tag BLOB NOT NULL,
    incarnation BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    manifest_digest BLOB NOT NULL,
    PRIMARY KEY (domain, resource_tag, incarnation, sequence)
) STRICT;

CREATE TABLE servers (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX servers_by_project ON servers (project_id, created_at, id);

CREATE TABLE state_outbox (
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    deletion TEXT,
    deleted_at INTEGER,
    purge_after INTEGER,
    is_undone INTEGER NOT NULL,
    manifest_digest BLOB,
    PRIMARY KEY (subject_kind, subject_id)
) STRICT;

CREATE TABLE tokens (
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT REFERENCES projects (id),
    application_credential_id TEXT REFERENCES application_credentials (id),
    by_token INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX tokens_by_application_credential ON tokens (application_credential_id);

CREATE INDEX tokens_by_end ON tokens (expires_at);

CREATE INDEX tokens_by_project ON tokens (project_id);

CREATE INDEX tokens_by_user ON tokens (user_id, project_id);

CREATE TABLE transfers (
    source_region TEXT NOT NULL,
    source_item_id TEXT NOT NULL,
    destination_project_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    manifest_digest BLOB NOT NULL,
    vault_id BLOB NOT NULL REFERENCES vaults (id),
    grant_id TEXT NOT NULL REFERENCES grants (id),
    attempt INTEGER NOT NULL,
    operation_id TEXT NOT NULL UNIQUE,
    reserved_bytes INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source_region, source_item_id, destination_project_id, generation)
) STRICT;

CREATE INDEX transfers_by_grant ON transfers (grant_id, is_open);

CREATE TABLE used_signatures (
    signature BLOB NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX used_signatures_by_end ON used_signatures (expires_at);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL
, description TEXT NOT NULL DEFAULT '', email TEXT NOT NULL DEFAULT '', default_project_id TEXT) STRICT;

CREATE TABLE vaults (
    id BLOB NOT NULL PRIMARY KEY,
    domain BLOB NOT NULL,
    kind TEXT NOT NULL,
    project_id TEXT NOT NULL,
    source_region TEXT,
    source_project_id TEXT,
    commit_seq INTEGER NOT NULL,
    last_pack INTEGER NOT NULL,
    history_seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (domain, project_id)
) STRICT;

CREATE UNIQUE INDEX one_primary_vault ON vaults (project_id) WHERE kind = 'primary';

CREATE TABLE volume_backups (
    id TEXT NOT NULL PRIMARY KEY,
    item_id TEXT NOT NULL REFERENCES checkpoint_items (id),
    position INTEGER NOT NULL,
    volume_id TEXT NOT NULL,
    volume_name TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    bootable INTEGER NOT NULL
) STRICT;

CREATE INDEX volume_backups_by_item ON volume_backups (item_id, position);

CREATE TABLE volumes (
    id TEXT NOT NULL PRIMARY KEY,
    server_id TEXT NOT NULL REFERENCES servers (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    format TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    bootable INTEGER NOT NULL
) STRICT;

CREATE INDEX volumes_by_server ON volumes (server_id, position);
