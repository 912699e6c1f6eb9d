-- A paused record keeps its state and its place; its job is closed until it is resumed. What ended is not
-- paused, and no record is done without the receipt of its destination: the engine itself refuses it.
ALTER TABLE replication_records ADD COLUMN paused_at INTEGER
    CONSTRAINT only_what_is_open_is_paused
        CHECK (paused_at IS NULL OR state IN ('waiting', 'copying', 'verifying', 'publishing'))
    CONSTRAINT done_has_its_receipt CHECK (state <> 'done' OR COALESCE(LENGTH(receipt), 0) > 0);

-- How many bytes a second may be sent to a region; a region without a row has no limit.
CREATE TABLE peer_limits (
    region TEXT NOT NULL PRIMARY KEY,
    bytes_per_second INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
