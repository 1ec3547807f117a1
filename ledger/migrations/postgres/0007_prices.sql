-- What targets cost and what tenants are charged for it, as operators say. Rows never change or go: a correction is a new
-- row, and the state of things is the latest row of its kind. Prices and factors are decimal texts, times microseconds.

-- `target` is `provider/model` or a pattern with `*`; without `org_id` it holds for every organisation. In force is the
-- latest `effective_from` that has come, and of equal ones the row that was made last.
CREATE TABLE prices (
    id             TEXT PRIMARY KEY,
    org_id         TEXT REFERENCES orgs (id),
    target         TEXT NOT NULL,
    effective_from BIGINT NOT NULL,
    rates          TEXT NOT NULL,
    source         TEXT NOT NULL,
    content        BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX prices_by_age ON prices (created_at, id);
CREATE INDEX prices_by_target ON prices (target, created_at, id);

-- What the tenant pays for a dollar of cost: of a team, of a model, of both, or of the whole organisation. The last row of
-- the same three counts; one without a factor withdraws it.
CREATE TABLE markups (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL REFERENCES orgs (id),
    team_id    TEXT REFERENCES teams (id),
    model      TEXT,
    factor     TEXT,
    content    BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX markups_by_org ON markups (org_id, created_at, id);
CREATE INDEX markups_by_age ON markups (created_at, id);

-- What an organisation wants done about targets without a price: refuse them, or charge `default_rates`.
CREATE TABLE org_pricing (
    id            TEXT PRIMARY KEY,
    org_id        TEXT NOT NULL REFERENCES orgs (id),
    default_rates TEXT,
    created_at    BIGINT NOT NULL
);
CREATE INDEX org_pricing_by_org ON org_pricing (org_id, created_at, id);

CREATE FUNCTION prices_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER prices_no_change BEFORE UPDATE OR DELETE ON prices
FOR EACH ROW EXECUTE FUNCTION prices_are_append_only();
CREATE TRIGGER prices_no_truncate BEFORE TRUNCATE ON prices
FOR EACH STATEMENT EXECUTE FUNCTION prices_are_append_only();
CREATE TRIGGER markups_no_change BEFORE UPDATE OR DELETE ON markups
FOR EACH ROW EXECUTE FUNCTION prices_are_append_only();
CREATE TRIGGER markups_no_truncate BEFORE TRUNCATE ON markups
FOR EACH STATEMENT EXECUTE FUNCTION prices_are_append_only();
CREATE TRIGGER org_pricing_no_change BEFORE UPDATE OR DELETE ON org_pricing
FOR EACH ROW EXECUTE FUNCTION prices_are_append_only();
CREATE TRIGGER org_pricing_no_truncate BEFORE TRUNCATE ON org_pricing
FOR EACH STATEMENT EXECUTE FUNCTION prices_are_append_only();
