-- Where rules come from. A revision is the content of one layer, never changed; what is in force is the last activation of
-- its scope, and one without a revision says that the scope has no layer any more. The shadow is the revision that is
-- evaluated beside the live ones without effect. Nothing here changes or goes. Times are microseconds.
CREATE TABLE policy_revisions (
    id         TEXT PRIMARY KEY,
    scope      TEXT NOT NULL,
    digest     BYTEA NOT NULL,
    revision   TEXT NOT NULL,
    bundle     BYTEA NOT NULL,
    bytes      BIGINT NOT NULL,
    source     TEXT NOT NULL,
    note       TEXT,
    author     TEXT NOT NULL,
    content    BYTEA NOT NULL,
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
    content    BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (scope, version)
);

CREATE TABLE policy_shadows (
    id         TEXT PRIMARY KEY,
    version    BIGINT NOT NULL UNIQUE,
    policy_id  TEXT REFERENCES policy_revisions (id),
    author     TEXT NOT NULL,
    content    BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE FUNCTION policies_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER policy_revisions_no_change BEFORE UPDATE OR DELETE ON policy_revisions
FOR EACH ROW EXECUTE FUNCTION policies_are_append_only();
CREATE TRIGGER policy_revisions_no_truncate BEFORE TRUNCATE ON policy_revisions
FOR EACH STATEMENT EXECUTE FUNCTION policies_are_append_only();
CREATE TRIGGER policy_activations_no_change BEFORE UPDATE OR DELETE ON policy_activations
FOR EACH ROW EXECUTE FUNCTION policies_are_append_only();
CREATE TRIGGER policy_activations_no_truncate BEFORE TRUNCATE ON policy_activations
FOR EACH STATEMENT EXECUTE FUNCTION policies_are_append_only();
CREATE TRIGGER policy_shadows_no_change BEFORE UPDATE OR DELETE ON policy_shadows
FOR EACH ROW EXECUTE FUNCTION policies_are_append_only();
CREATE TRIGGER policy_shadows_no_truncate BEFORE TRUNCATE ON policy_shadows
FOR EACH STATEMENT EXECUTE FUNCTION policies_are_append_only();
