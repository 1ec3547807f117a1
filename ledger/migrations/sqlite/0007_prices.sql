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
    content        BLOB NOT NULL,
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
    content    BLOB NOT NULL,
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

CREATE TRIGGER prices_no_update BEFORE UPDATE ON prices
BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER prices_no_delete BEFORE DELETE ON prices
BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER prices_no_replace BEFORE INSERT ON prices
WHEN EXISTS (SELECT 1 FROM prices WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER markups_no_update BEFORE UPDATE ON markups
BEGIN SELECT RAISE(ABORT, 'markups is append-only'); END;
CREATE TRIGGER markups_no_delete BEFORE DELETE ON markups
BEGIN SELECT RAISE(ABORT, 'markups is append-only'); END;
CREATE TRIGGER markups_no_replace BEFORE INSERT ON markups
WHEN EXISTS (SELECT 1 FROM markups WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'markups is append-only'); END;
CREATE TRIGGER org_pricing_no_update BEFORE UPDATE ON org_pricing
BEGIN SELECT RAISE(ABORT, 'org_pricing is append-only'); END;
CREATE TRIGGER org_pricing_no_delete BEFORE DELETE ON org_pricing
BEGIN SELECT RAISE(ABORT, 'org_pricing is append-only'); END;
CREATE TRIGGER org_pricing_no_replace BEFORE INSERT ON org_pricing
WHEN EXISTS (SELECT 1 FROM org_pricing WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'org_pricing is append-only'); END;
