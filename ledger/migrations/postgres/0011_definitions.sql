-- Providers and models that operators manage, as they say. Each write is another row: the state of things is the last
-- version of its kind and name, and one without a body says that there is no such thing any more. A body is what the
-- configuration file would hold, in JSON; keys are named in it and never told. Times are microseconds.
CREATE TABLE definitions (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT,
    author     TEXT NOT NULL,
    content    BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (kind, name, version)
);

CREATE FUNCTION definitions_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER definitions_no_change BEFORE UPDATE OR DELETE ON definitions
FOR EACH ROW EXECUTE FUNCTION definitions_are_append_only();
CREATE TRIGGER definitions_no_truncate BEFORE TRUNCATE ON definitions
FOR EACH STATEMENT EXECUTE FUNCTION definitions_are_append_only();
