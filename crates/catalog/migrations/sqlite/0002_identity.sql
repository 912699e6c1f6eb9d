-- Identity in full: what people write about projects and users, application credentials, access keys, and
-- signatures that were used. Tokens come and go; those of before this version end with it.

ALTER TABLE projects ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN email TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN default_project_id TEXT;

-- roles: words with blanks between them.
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

-- The secret is sealed under the KEK of that number.
CREATE TABLE access_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    description TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    kek_number INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX access_keys_by_user ON access_keys (user_id, project_id, created_at, id);
CREATE INDEX access_keys_by_project ON access_keys (project_id);
CREATE INDEX access_keys_by_kek ON access_keys (kek_number, id);

-- A signature orders one change.
CREATE TABLE used_signatures (
    signature BLOB NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX used_signatures_by_end ON used_signatures (expires_at);

DROP TABLE tokens;
CREATE TABLE tokens (
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT REFERENCES projects (id),
    application_credential_id TEXT REFERENCES application_credentials (id),
    by_token INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_end ON tokens (expires_at);
CREATE INDEX tokens_by_user ON tokens (user_id, project_id);
CREATE INDEX tokens_by_project ON tokens (project_id);
CREATE INDEX tokens_by_application_credential ON tokens (application_credential_id);
CREATE INDEX role_assignments_by_project ON role_assignments (project_id, user_id);
