-- Lists of a hundred thousand rows: an index for each order and for each filter that a list offers, so that a
-- page costs what is on it and a count looks at an index only. Those of checkpoint items leave out what is
-- deleted, which no list shows unless it is asked for; they end in the state, because engines look at it again.

-- Names in small letters stand in the index because part of one is looked for in all of them.
CREATE INDEX live_items_by_created
    ON checkpoint_items (project_id, created_at, id, state, origin_region, (LOWER(name)), (LOWER(resource_name)))
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_updated ON checkpoint_items (project_id, updated_at, id, state) WHERE state <> 'deleted';

CREATE INDEX live_items_by_protected ON checkpoint_items (project_id, (COALESCE(protected_at, 0)), id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_name ON checkpoint_items (project_id, name, id, state, (LOWER(name)))
    WHERE state <> 'deleted';

CREATE INDEX live_items_by_id ON checkpoint_items (project_id, id, state) WHERE state <> 'deleted';

CREATE INDEX live_items_by_state ON checkpoint_items (project_id, state, id) WHERE state <> 'deleted';

CREATE INDEX live_items_in_state ON checkpoint_items (project_id, state, created_at, id) WHERE state <> 'deleted';

CREATE INDEX live_items_of_policy ON checkpoint_items (project_id, policy_id, created_at, id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_of_server ON checkpoint_items (project_id, resource_id, created_at, id, state)
    WHERE state <> 'deleted';

CREATE INDEX live_items_of_checkpoint ON checkpoint_items (project_id, checkpoint_id, created_at, id, state)
    WHERE state <> 'deleted';

-- What a replication of a policy decides by: the items, oldest first.
CREATE INDEX live_items_to_replicate ON checkpoint_items (policy_id, created_at, id, state, origin_region)
    WHERE state <> 'deleted';

-- Whether retention has anything new to decide about.
CREATE INDEX live_items_changed ON checkpoint_items (policy_id, updated_at, state) WHERE state <> 'deleted';

CREATE INDEX replication_records_in_state ON replication_records (source_project_id, state, created_at, id);

CREATE INDEX replication_records_of_policy ON replication_records (source_project_id, policy_id, created_at, id);

-- Whoever looks for work of one kind steps over no work of another.
CREATE INDEX open_jobs_by_turn ON jobs (kind, run_at, priority DESC, subject) WHERE is_open = 1;

DROP INDEX jobs_by_turn;
