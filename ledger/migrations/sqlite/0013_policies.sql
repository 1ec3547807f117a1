-- Where rules come from. A revision is the content of one layer, never changed; what is in force is the last activation of
-- its scope, and one without a revision says that the scope has no layer any more. The shadow is the revision that is
-- evaluated beside the live ones without effect. Nothing here changes or goes. Times are microseconds.
CREATE TABLE policy_revisions (
    id         TEXT PRIMARY KEY,
    scope      TEXT NOT NULL,
    digest     BLOB NOT NULL,
    revision   TEXT NOT NULL,
    bundle     BLOB NOT NULL,
    bytes      BIGINT NOT NULL,
    source     TEXT NOT NULL,
    note       TEXT,
    author     TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX policy_revisions_by_scope ON policy_revisions (scope, created_at, id);

CREATE TABLE policy_activations (
    id         TEXT PRIMARY KEY,
    scope      TEXT NOT NULL,
    version    BIGINT NOT NULL,
    policy_id  TEXT REFERENCES policy_revisions (id),
    restores   BIGINT,
    author     TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (scope, version)
);

CREATE TABLE policy_shadows (
    id         TEXT PRIMARY KEY,
    version    BIGINT NOT NULL UNIQUE,
    policy_id  TEXT REFERENCES policy_revisions (id),
    author     TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TRIGGER policy_revisions_no_update BEFORE UPDATE ON policy_revisions
BEGIN SELECT RAISE(ABORT, 'policy_revisions is append-only'); END;
CREATE TRIGGER policy_revisions_no_delete BEFORE DELETE ON policy_revisions
BEGIN SELECT RAISE(ABORT, 'policy_revisions is append-only'); END;
CREATE TRIGGER policy_revisions_no_replace BEFORE INSERT ON policy_revisions
WHEN EXISTS (SELECT 1 FROM policy_revisions WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'policy_revisions is append-only'); END;

CREATE TRIGGER policy_activations_no_update BEFORE UPDATE ON policy_activations
BEGIN SELECT RAISE(ABORT, 'policy_activations is append-only'); END;
CREATE TRIGGER policy_activations_no_delete BEFORE DELETE ON policy_activations
BEGIN SELECT RAISE(ABORT, 'policy_activations is append-only'); END;
CREATE TRIGGER policy_activations_no_replace BEFORE INSERT ON policy_activations
WHEN EXISTS (SELECT 1 FROM policy_activations WHERE id = NEW.id OR (scope = NEW.scope AND version = NEW.version))
BEGIN SELECT RAISE(ABORT, 'policy_activations is append-only'); END;

CREATE TRIGGER policy_shadows_no_update BEFORE UPDATE ON policy_shadows
BEGIN SELECT RAISE(ABORT, 'policy_shadows is append-only'); END;
CREATE TRIGGER policy_shadows_no_delete BEFORE DELETE ON policy_shadows
BEGIN SELECT RAISE(ABORT, 'policy_shadows is append-only'); END;
CREATE TRIGGER policy_shadows_no_replace BEFORE INSERT ON policy_shadows
WHEN EXISTS (SELECT 1 FROM policy_shadows WHERE id = NEW.id OR version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'policy_shadows is append-only'); END;
