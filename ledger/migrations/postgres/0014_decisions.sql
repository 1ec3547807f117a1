-- What rules decided: a row a decision, newest at the end. Rows never change; those older than policies.log.keep_days go in small
-- batches. An id is its call's with another prefix (the first decision of a call), so a call's is found without an index of its own;
-- later ones of the same call name it. `facts` holds what varies, as JSON, and refers to frames by their hash. Times are
-- microseconds, `took` nanoseconds. A row whose result is 'gap' says how many decisions could not be written, and since when.
CREATE TABLE decisions (
    id              TEXT PRIMARY KEY,
    call_id         TEXT,
    at              BIGINT NOT NULL,
    org_id          TEXT,
    team_id         TEXT,
    key_id          TEXT,
    model           TEXT NOT NULL,
    revision        TEXT NOT NULL,
    facts_hash      BYTEA,
    result          TEXT NOT NULL,
    code            TEXT,
    target          TEXT,
    rerouted        TEXT,
    observed        BIGINT NOT NULL,
    took            BIGINT NOT NULL,
    remembered      BIGINT NOT NULL,
    level           TEXT NOT NULL,
    facts           TEXT,
    outcome         TEXT,
    shadow_revision TEXT,
    shadow_result   TEXT,
    differs         TEXT,
    lost            BIGINT,
    lost_since      BIGINT
);
CREATE INDEX decisions_by_org ON decisions (org_id, id);
CREATE INDEX decisions_by_team ON decisions (team_id, id) WHERE team_id IS NOT NULL;
CREATE INDEX decisions_by_model ON decisions (model, id);
CREATE INDEX decisions_not_allowed ON decisions (id) WHERE result <> 'allow';
CREATE INDEX decisions_that_differ ON decisions (id) WHERE differs IS NOT NULL;
CREATE INDEX decisions_later_of_call ON decisions (call_id) WHERE call_id IS NOT NULL;

-- What many decisions share: caller, candidates and hops; what was decided, and by which layers. Under the first 16 bytes of its
-- SHA-256. `last_at` says when it was last referred to, by about a day.
CREATE TABLE decision_frames (
    hash    TEXT PRIMARY KEY,
    body    TEXT NOT NULL,
    last_at BIGINT NOT NULL
);

CREATE FUNCTION decisions_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions
FOR EACH ROW EXECUTE FUNCTION decisions_are_append_only();
CREATE TRIGGER decision_frames_no_update BEFORE UPDATE OF hash, body ON decision_frames
FOR EACH ROW EXECUTE FUNCTION decisions_are_append_only();
CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON decisions
FOR EACH STATEMENT EXECUTE FUNCTION decisions_are_append_only();
