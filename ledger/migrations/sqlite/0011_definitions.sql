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
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (kind, name, version)
);

CREATE TRIGGER definitions_no_update BEFORE UPDATE ON definitions
BEGIN SELECT RAISE(ABORT, 'definitions is append-only'); END;
CREATE TRIGGER definitions_no_delete BEFORE DELETE ON definitions
BEGIN SELECT RAISE(ABORT, 'definitions is append-only'); END;
CREATE TRIGGER definitions_no_replace BEFORE INSERT ON definitions
WHEN EXISTS (SELECT 1 FROM definitions WHERE id = NEW.id
             OR (kind = NEW.kind AND name = NEW.name AND version = NEW.version))
BEGIN SELECT RAISE(ABORT, 'definitions is append-only'); END;
