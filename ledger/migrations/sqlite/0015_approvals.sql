-- What admins say of organisations, teams and people, for rules to go by: JSON, none where there is nothing to tell.
ALTER TABLE orgs ADD COLUMN attributes TEXT;
ALTER TABLE teams ADD COLUMN attributes TEXT;
ALTER TABLE users ADD COLUMN attributes TEXT;
ALTER TABLE users ADD COLUMN group_names TEXT;

-- What an operator may do, and whose. An approver with an organisation sees that one alone.
ALTER TABLE operators ADD COLUMN role TEXT NOT NULL DEFAULT 'admin' CHECK (role IN ('admin', 'approver', 'auditor'));
ALTER TABLE operators ADD COLUMN org_id TEXT REFERENCES orgs (id);

-- What somebody has to approve, and their word on it. `asked` is the hash of key, requirements and model: whoever asks for
-- the same again while nobody has decided is given the same. The counters are the sums of `approval_uses`.
CREATE TABLE approvals (
    id           TEXT PRIMARY KEY,
    org_id       TEXT NOT NULL REFERENCES orgs (id),
    team_id      TEXT,
    key_id       TEXT NOT NULL,
    user_id      TEXT,
    call_id      TEXT NOT NULL,
    requirements TEXT NOT NULL,
    asked        BLOB NOT NULL,
    model        TEXT NOT NULL,
    amount       BIGINT NOT NULL CHECK (amount >= 0),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'expired')),
    decided_at   BIGINT,
    decided_by   TEXT,
    reason       TEXT,
    content      BLOB,
    reach        TEXT CHECK (reach IN ('key', 'team', 'org')),
    models       TEXT,
    uses         BIGINT CHECK (uses > 0),
    budget       BIGINT CHECK (budget > 0),
    used         BIGINT NOT NULL DEFAULT 0 CHECK (used >= 0),
    spent        BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX approvals_asked ON approvals (org_id, asked) WHERE state = 'pending';
CREATE INDEX approvals_by_org ON approvals (org_id, created_at, id);
CREATE INDEX approvals_by_age ON approvals (created_at, id);

-- Each use of what was approved, each correction of it to what the call cost, each return: changes that sum up.
CREATE TABLE approval_uses (
    approval_id TEXT NOT NULL REFERENCES approvals (id),
    call_id     TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('used', 'settled', 'returned')),
    uses        BIGINT NOT NULL,
    amount      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (approval_id, call_id, kind)
);
CREATE INDEX approval_uses_by_call ON approval_uses (call_id);

CREATE TRIGGER approval_uses_no_update BEFORE UPDATE ON approval_uses
BEGIN SELECT RAISE(ABORT, 'approval_uses is append-only'); END;
CREATE TRIGGER approval_uses_no_delete BEFORE DELETE ON approval_uses
BEGIN SELECT RAISE(ABORT, 'approval_uses is append-only'); END;
CREATE TRIGGER approval_uses_no_replace BEFORE INSERT ON approval_uses
WHEN EXISTS (SELECT 1 FROM approval_uses
             WHERE approval_id = NEW.approval_id AND call_id = NEW.call_id AND kind = NEW.kind)
BEGIN SELECT RAISE(ABORT, 'approval_uses is append-only'); END;
CREATE TRIGGER approvals_no_delete BEFORE DELETE ON approvals
BEGIN SELECT RAISE(ABORT, 'approvals are kept'); END;
