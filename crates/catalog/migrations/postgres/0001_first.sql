-- The whole catalog, first version. Ids are hyphenated text, times microseconds since 1970 in UTC,
-- truth values 0 and 1, digests and signed bytes are blobs. Lists keep their order in "position".

CREATE TABLE region (
    only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    name TEXT COLLATE "C" NOT NULL,
    region_id BYTEA NOT NULL,
    incarnation BYTEA NOT NULL,
    state_sequence BIGINT NOT NULL,
    head_counter BIGINT NOT NULL,
    blocked_reason TEXT COLLATE "C",
    frozen_reason TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "C" NOT NULL,
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- An empty project_id means: held outside any project.
CREATE TABLE role_assignments (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    project_id TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, project_id, role)
);

CREATE TABLE tokens (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    project_id TEXT COLLATE "C" REFERENCES projects (id),
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tokens_by_end ON tokens (expires_at);

CREATE TABLE servers (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX servers_by_project ON servers (project_id, created_at, id);

-- A path belongs to one volume, so that no disk is read for two projects.
CREATE TABLE volumes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    server_id TEXT COLLATE "C" NOT NULL REFERENCES servers (id),
    position BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL UNIQUE,
    format TEXT COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL,
    bootable BIGINT NOT NULL
);
CREATE INDEX volumes_by_server ON volumes (server_id, position);

CREATE TABLE policies (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    parameters TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (project_id, name)
);

-- A server is in one policy at most.
CREATE TABLE policy_resources (
    resource_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    position BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    extra_info TEXT COLLATE "C"
);
CREATE INDEX policy_resources_by_policy ON policy_resources (policy_id, position);

CREATE TABLE policy_excluded_volumes (
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    resource_id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    volume_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (policy_id, resource_id, position)
);

CREATE TABLE policy_tags (
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    position BIGINT NOT NULL,
    tag_key TEXT COLLATE "C" NOT NULL,
    tag_value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (policy_id, position)
);

-- next_run_at: nothing means not yet computed; the largest number means never.
CREATE TABLE scheduled_operations (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    position BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    enabled BIGINT NOT NULL,
    operation_type TEXT COLLATE "C" NOT NULL,
    keep_permanent BIGINT NOT NULL,
    keep_max_backups BIGINT NOT NULL,
    keep_duration_days BIGINT NOT NULL,
    keep_day_backups BIGINT NOT NULL,
    keep_week_backups BIGINT NOT NULL,
    keep_month_backups BIGINT NOT NULL,
    keep_year_backups BIGINT NOT NULL,
    keep_timezone TEXT COLLATE "C",
    destination_region TEXT COLLATE "C",
    destination_project_id TEXT COLLATE "C",
    enable_acceleration BIGINT NOT NULL,
    trigger_id TEXT COLLATE "C" NOT NULL,
    trigger_pattern TEXT COLLATE "C" NOT NULL,
    trigger_start_time BIGINT NOT NULL,
    next_run_at BIGINT
);
CREATE INDEX scheduled_operations_by_policy ON scheduled_operations (policy_id, position);
CREATE INDEX scheduled_operations_by_next_run ON scheduled_operations (next_run_at);

-- A slot is one planned moment of one operation; its key makes every slot run once.
CREATE TABLE schedule_slots (
    operation_id TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL,
    PRIMARY KEY (operation_id, slot)
);

CREATE TABLE checkpoints (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    policy_id TEXT COLLATE "C",
    plan_id TEXT COLLATE "C" NOT NULL,
    plan_name TEXT COLLATE "C" NOT NULL,
    auto_trigger BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);

CREATE TABLE checkpoint_items (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    checkpoint_id TEXT COLLATE "C" NOT NULL REFERENCES checkpoints (id),
    project_id TEXT COLLATE "C" NOT NULL,
    policy_id TEXT COLLATE "C",
    resource_id TEXT COLLATE "C" NOT NULL,
    resource_name TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL,
    auto_trigger BIGINT NOT NULL,
    incremental BIGINT NOT NULL,
    progress_percent BIGINT NOT NULL,
    progress_bytes BIGINT NOT NULL,
    logical_bytes BIGINT NOT NULL,
    added_bytes BIGINT NOT NULL,
    manifest_digest BYTEA,
    domain BYTEA,
    operation_id TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    origin_region TEXT COLLATE "C",
    origin_project_id TEXT COLLATE "C",
    origin_checkpoint_id TEXT COLLATE "C",
    origin_item_id TEXT COLLATE "C",
    origin_record_id TEXT COLLATE "C",
    origin_arrived_at BIGINT,
    origin_keep_until BIGINT,
    origin_generation BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    protected_at BIGINT,
    finished_at BIGINT,
    expired_at BIGINT,
    failure_operation TEXT COLLATE "C",
    failure_code TEXT COLLATE "C",
    failure_reason TEXT COLLATE "C",
    deleted_at BIGINT,
    purge_after BIGINT,
    purged_at BIGINT,
    undeleted_at BIGINT
);
CREATE INDEX checkpoint_items_by_project ON checkpoint_items (project_id, created_at, id);
CREATE INDEX checkpoint_items_by_checkpoint ON checkpoint_items (checkpoint_id);
CREATE INDEX checkpoint_items_by_policy ON checkpoint_items (policy_id, created_at, id);
CREATE INDEX checkpoint_items_running ON checkpoint_items (policy_id)
    WHERE state IN ('waiting_protect', 'protecting');
CREATE INDEX checkpoint_items_by_resource ON checkpoint_items (project_id, resource_id, protected_at);
CREATE INDEX checkpoint_items_by_manifest ON checkpoint_items (domain, manifest_digest);
-- Deleted and still to be had back, until a collection purges them.
CREATE INDEX checkpoint_items_quarantined ON checkpoint_items (domain, purge_after)
    WHERE state = 'deleted' AND purged_at IS NULL;
CREATE INDEX checkpoint_items_by_end ON checkpoint_items (expired_at) WHERE expired_at IS NOT NULL;

CREATE TABLE volume_backups (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    item_id TEXT COLLATE "C" NOT NULL REFERENCES checkpoint_items (id),
    position BIGINT NOT NULL,
    volume_id TEXT COLLATE "C" NOT NULL,
    volume_name TEXT COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL,
    bootable BIGINT NOT NULL
);
CREATE INDEX volume_backups_by_item ON volume_backups (item_id, position);

CREATE TABLE item_tags (
    item_id TEXT COLLATE "C" NOT NULL REFERENCES checkpoint_items (id),
    position BIGINT NOT NULL,
    tag_key TEXT COLLATE "C" NOT NULL,
    tag_value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (item_id, position)
);

-- The last manifest sequence handed out for one server in one key domain and incarnation.
CREATE TABLE item_sequences (
    domain BYTEA NOT NULL,
    incarnation BYTEA NOT NULL,
    resource_id TEXT COLLATE "C" NOT NULL,
    last_sequence BIGINT NOT NULL,
    PRIMARY KEY (domain, incarnation, resource_id)
);

CREATE TABLE replication_records (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    checkpoint_item_id TEXT COLLATE "C" NOT NULL REFERENCES checkpoint_items (id),
    checkpoint_id TEXT COLLATE "C" NOT NULL,
    source_project_id TEXT COLLATE "C" NOT NULL,
    destination_region TEXT COLLATE "C" NOT NULL,
    destination_project_id TEXT COLLATE "C" NOT NULL,
    policy_id TEXT COLLATE "C",
    grant_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    is_current BIGINT NOT NULL,
    auto_trigger BIGINT NOT NULL,
    by_scheduler BIGINT NOT NULL,
    enable_acceleration BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    replica_name TEXT COLLATE "C",
    replica_description TEXT COLLATE "C",
    keep_days BIGINT,
    sent_bytes BIGINT NOT NULL,
    resent_bytes BIGINT NOT NULL,
    skipped_bytes BIGINT NOT NULL,
    planned_bytes BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    try_at BIGINT NOT NULL,
    reason_code TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    destination_checkpoint_id TEXT COLLATE "C",
    destination_item_id TEXT COLLATE "C",
    receipt BYTEA,
    receipt_head_counter BIGINT,
    replica_gone_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX one_current_replication ON replication_records (checkpoint_item_id, destination_region)
    WHERE is_current = 1;
CREATE INDEX replication_records_by_project ON replication_records (source_project_id, created_at, id);
CREATE INDEX replication_records_by_item ON replication_records (checkpoint_item_id, destination_region);
CREATE INDEX replication_records_by_destination ON replication_records (destination_region, state);

-- A job is the leased work on one subject. Its row stays when it is finished: fences only grow.
CREATE TABLE jobs (
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    is_open BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    lease_owner TEXT COLLATE "C",
    lease_until BIGINT NOT NULL,
    reason_code TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX jobs_by_turn ON jobs (is_open, run_at, priority DESC, subject);
CREATE INDEX jobs_by_fence ON jobs (fence);

CREATE TABLE restores (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    checkpoint_id TEXT COLLATE "C" NOT NULL,
    item_id TEXT COLLATE "C" NOT NULL REFERENCES checkpoint_items (id),
    target_server_id TEXT COLLATE "C" NOT NULL,
    power_on BIGINT NOT NULL,
    restore_target TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    total_bytes BIGINT NOT NULL,
    done_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX one_restore_of_a_server ON restores (target_server_id) WHERE state = 'in_progress';
CREATE INDEX restores_by_project ON restores (project_id, created_at, id);

CREATE TABLE restore_volumes (
    restore_id TEXT COLLATE "C" NOT NULL REFERENCES restores (id),
    position BIGINT NOT NULL,
    backup_id TEXT COLLATE "C" NOT NULL,
    volume_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (restore_id, position)
);

CREATE TABLE invitations (
    secret_hash BYTEA NOT NULL PRIMARY KEY,
    region TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE peers (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    region_id BYTEA NOT NULL UNIQUE,
    url TEXT COLLATE "C" NOT NULL,
    card BYTEA NOT NULL,
    tls_key_hash BYTEA NOT NULL UNIQUE,
    is_confirmed BIGINT NOT NULL,
    pairing_code TEXT COLLATE "C" NOT NULL,
    paired_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Consent given here, by a project of this region.
CREATE TABLE grants (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    source_region TEXT COLLATE "C" NOT NULL,
    source_project_id TEXT COLLATE "C" NOT NULL,
    destination_region TEXT COLLATE "C" NOT NULL,
    destination_project_id TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    bytes_max BIGINT,
    keep_days_min BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX grants_by_project ON grants (destination_project_id, created_at);
CREATE INDEX grants_by_source ON grants (source_region, source_project_id);

-- Consent given to this region by others, as they last told us.
CREATE TABLE remote_grants (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    source_region TEXT COLLATE "C" NOT NULL,
    source_project_id TEXT COLLATE "C" NOT NULL,
    destination_region TEXT COLLATE "C" NOT NULL,
    destination_project_id TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    bytes_max BIGINT,
    keep_days_min BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX remote_grants_by_source ON remote_grants (source_project_id, destination_region);

CREATE TABLE peer_heads (
    region TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    counter BIGINT NOT NULL,
    head BYTEA NOT NULL,
    received_at BIGINT NOT NULL
);

-- history_seq: rows of deleted packs whose last change came no later than this are gone.
-- One row a vault: the home of a key domain, or one replica of it for one project here. Everything
-- that publishes, pins or condemns updates it first, so that these serialise on every engine.
CREATE TABLE vaults (
    id BYTEA NOT NULL PRIMARY KEY,
    domain BYTEA NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    source_region TEXT COLLATE "C",
    source_project_id TEXT COLLATE "C",
    commit_seq BIGINT NOT NULL,
    last_pack BIGINT NOT NULL,
    history_seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain, project_id)
);
CREATE UNIQUE INDEX one_primary_vault ON vaults (project_id) WHERE kind = 'primary';

CREATE TABLE operations (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    vault_id BYTEA NOT NULL REFERENCES vaults (id),
    base_manifest BYTEA,
    is_open BIGINT NOT NULL,
    ended_commit_seq BIGINT,
    begun_at BIGINT NOT NULL
);
CREATE INDEX operations_by_vault ON operations (vault_id, is_open);

-- commit_seq is 0 until the pack is sealed, and counts every later change of its state: reserved, live,
-- condemned, and deleted once the store holds it no more.
CREATE TABLE packs (
    vault_id BYTEA NOT NULL REFERENCES vaults (id),
    number BIGINT NOT NULL,
    operation_id TEXT COLLATE "C" NOT NULL REFERENCES operations (id),
    state TEXT COLLATE "C" NOT NULL,
    incarnation BYTEA,
    bytes BIGINT NOT NULL,
    object_count BIGINT NOT NULL,
    footer_digest BYTEA,
    commit_seq BIGINT NOT NULL,
    quick_verified_at BIGINT,
    deep_verified_at BIGINT,
    PRIMARY KEY (vault_id, number)
);
CREATE INDEX packs_by_commit ON packs (vault_id, commit_seq);
CREATE INDEX packs_condemned ON packs (vault_id, number) WHERE state = 'condemned';
CREATE INDEX packs_reserved ON packs (vault_id, number) WHERE state = 'reserved';
CREATE INDEX packs_by_operation ON packs (operation_id, number);

CREATE TABLE pins (
    operation_id TEXT COLLATE "C" NOT NULL REFERENCES operations (id),
    vault_id BYTEA NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (operation_id, number)
);
CREATE INDEX pins_by_pack ON pins (vault_id, number);

-- Manifests that no item needs any more. deleted_at: when the store held it no more; a transfer of the same
-- manifest is refused until some time after that.
CREATE TABLE condemned_manifests (
    vault_id BYTEA NOT NULL REFERENCES vaults (id),
    manifest_digest BYTEA NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (vault_id, manifest_digest)
);

-- The newest collection of each vault, going or over. finished_seq is the vault's commit_seq when it came to
-- its end with nothing left to do.
CREATE TABLE collections (
    vault_id BYTEA NOT NULL PRIMARY KEY REFERENCES vaults (id),
    operation_id TEXT COLLATE "C",
    phase TEXT COLLATE "C" NOT NULL,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    phase_begun_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT,
    finished_seq BIGINT NOT NULL,
    live_bytes BIGINT NOT NULL,
    deleted_pack_count BIGINT NOT NULL,
    deleted_bytes BIGINT NOT NULL,
    rewritten_bytes BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);

-- Every sequence a source showed us, so that two digests under one number are found out.
CREATE TABLE seen_manifests (
    domain BYTEA NOT NULL,
    resource_tag BYTEA NOT NULL,
    incarnation BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    manifest_digest BYTEA NOT NULL,
    PRIMARY KEY (domain, resource_tag, incarnation, sequence)
);

CREATE TABLE transfers (
    source_region TEXT COLLATE "C" NOT NULL,
    source_item_id TEXT COLLATE "C" NOT NULL,
    destination_project_id TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    manifest_digest BYTEA NOT NULL,
    vault_id BYTEA NOT NULL REFERENCES vaults (id),
    grant_id TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    attempt BIGINT NOT NULL,
    operation_id TEXT COLLATE "C" NOT NULL UNIQUE,
    reserved_bytes BIGINT NOT NULL,
    is_open BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (source_region, source_item_id, destination_project_id, generation)
);
CREATE INDEX transfers_by_grant ON transfers (grant_id, is_open);

-- Replicas that arrived here. The row outlives its item, so that a head can say how it ended.
CREATE TABLE replicas (
    item_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    source_region TEXT COLLATE "C" NOT NULL,
    source_item_id TEXT COLLATE "C" NOT NULL,
    destination_project_id TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    manifest_digest BYTEA NOT NULL,
    vault_id BYTEA NOT NULL,
    grant_id TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    level TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    stored_bytes BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    receipt BYTEA NOT NULL,
    published_at BIGINT NOT NULL,
    ended_at BIGINT,
    UNIQUE (source_region, source_item_id, destination_project_id, generation)
);
CREATE INDEX replicas_by_grant ON replicas (grant_id, state);

-- What was decided and does not stand in the store yet: one row a subject, of its newest revision. A
-- deletion that is only ordered has no deleted_at.
CREATE TABLE state_outbox (
    subject_kind TEXT COLLATE "C" NOT NULL,
    subject_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    deletion TEXT COLLATE "C",
    deleted_at BIGINT,
    purge_after BIGINT,
    is_undone BIGINT NOT NULL,
    manifest_digest BYTEA,
    PRIMARY KEY (subject_kind, subject_id)
);
