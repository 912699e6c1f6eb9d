-- The project stands beside each tag, so that a project's tags are found without looking at what carries them.
ALTER TABLE item_tags ADD COLUMN project_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE item_tags SET project_id = (SELECT project_id FROM checkpoint_items WHERE id = item_id);
CREATE UNIQUE INDEX one_item_tag_a_key ON item_tags (item_id, tag_key);
CREATE INDEX item_tags_by_key ON item_tags (project_id, tag_key, tag_value, item_id);

ALTER TABLE policy_tags ADD COLUMN project_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE policy_tags SET project_id = (SELECT project_id FROM policies WHERE id = policy_id);
CREATE UNIQUE INDEX one_policy_tag_a_key ON policy_tags (policy_id, tag_key);
CREATE INDEX policy_tags_by_key ON policy_tags (project_id, tag_key, tag_value, policy_id);

-- A deleted policy leaves its id, so that another one can adopt its backups. adopted_by: the one that did.
CREATE TABLE deleted_policies (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    deleted_at BIGINT NOT NULL,
    adopted_by TEXT COLLATE "C"
);
INSERT INTO deleted_policies (id, project_id, deleted_at)
    SELECT policy_id, MIN(project_id), MAX(created_at) FROM checkpoints
    WHERE policy_id IS NOT NULL AND policy_id NOT IN (SELECT id FROM policies) GROUP BY policy_id;
