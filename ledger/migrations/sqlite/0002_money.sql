-- What was held, spent and charged, and the record of it. Money is nano-dollars, times are microseconds.

-- One row a running process. `beat_at` is the database's clock, so that processes need not agree on the time.
CREATE TABLE instances (
    id         TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    beat_at    BIGINT NOT NULL
) WITHOUT ROWID;

-- What a wallet spent and holds, window by window; 0 is the start of a window without end.
-- `warned` is the soft limit that was last warned about in this window.
CREATE TABLE wallet_windows (
    wallet_id    TEXT NOT NULL,
    window_start BIGINT NOT NULL,
    spent        BIGINT NOT NULL,
    held         BIGINT NOT NULL CHECK (held >= 0),
    warned       BIGINT,
    PRIMARY KEY (wallet_id, window_start)
) WITHOUT ROWID;

-- Money set aside. `legs` are the window starts of the chain's wallets, by depth. `opened` is the amount first asked for.
CREATE TABLE holds (
    call_id    TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    wallet_id  TEXT NOT NULL,
    legs       TEXT NOT NULL,
    opened     BIGINT NOT NULL,
    amount     BIGINT NOT NULL,
    owner      TEXT NOT NULL,
    at         BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    claim      BLOB,
    claim_body BLOB,
    record     TEXT NOT NULL
) WITHOUT ROWID;

-- One row an operation. Every wallet of `chain` moved by the same amounts, each in its own window (`legs`, by depth).
CREATE TABLE journal (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    at           BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    chain        TEXT NOT NULL,
    legs         TEXT NOT NULL,
    call_id      TEXT,
    held_delta   BIGINT NOT NULL,
    spent_delta  BIGINT NOT NULL,
    funded_delta BIGINT NOT NULL,
    overrun      BIGINT NOT NULL
);
CREATE INDEX journal_by_chain ON journal (chain, seq);

-- How a call ended. A call that still holds money is in `holds` instead.
-- `refusal` is what its caller was told when it was refused.
CREATE TABLE receipts (
    call_id   TEXT PRIMARY KEY,
    org_id    TEXT NOT NULL,
    wallet_id TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    at        BIGINT NOT NULL,
    status    TEXT NOT NULL CHECK (status IN ('settled', 'released', 'expired', 'refused')),
    cost      BIGINT NOT NULL,
    price     BIGINT NOT NULL,
    overrun   BIGINT NOT NULL,
    refunded  BIGINT NOT NULL CHECK (refunded >= 0 AND refunded <= price),
    review    BIGINT NOT NULL,
    held      BIGINT NOT NULL,
    legs      TEXT NOT NULL,
    reason    TEXT,
    refusal   TEXT,
    record    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX receipts_by_org ON receipts (org_id, call_id);
CREATE INDEX receipts_by_wallet ON receipts (wallet_id, call_id);

-- Idempotency keys, as hashes, of calls that run or were charged.
CREATE TABLE claims (
    key_id  TEXT NOT NULL,
    name    BLOB NOT NULL,
    body    BLOB NOT NULL,
    call_id TEXT NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('running', 'charged')),
    at      BIGINT NOT NULL,
    PRIMARY KEY (key_id, name)
) WITHOUT ROWID;
CREATE INDEX claims_by_age ON claims (at);

CREATE TABLE fundings (
    source    TEXT NOT NULL,
    reference TEXT NOT NULL,
    wallet_id TEXT NOT NULL,
    amount    BIGINT NOT NULL CHECK (amount > 0),
    at        BIGINT NOT NULL,
    PRIMARY KEY (source, reference)
);

CREATE TABLE refunds (
    id      TEXT PRIMARY KEY,
    call_id TEXT NOT NULL,
    asked   BIGINT,
    amount  BIGINT NOT NULL CHECK (amount > 0),
    reason  TEXT NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX refunds_by_call ON refunds (call_id);

-- The platform's own accounts. `overrun`: what providers billed beyond what could be charged.
CREATE TABLE accounts (
    name   TEXT PRIMARY KEY,
    amount BIGINT NOT NULL
);
INSERT INTO accounts (name, amount) VALUES ('overrun', 0);

CREATE TABLE audit_heads (
    chain TEXT PRIMARY KEY,
    seq   BIGINT NOT NULL,
    hash  BLOB NOT NULL
) WITHOUT ROWID;

-- Every chain in one table. `entry` is the canonical line without its hash.
CREATE TABLE audit_log (
    chain     TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    entry     TEXT NOT NULL,
    prev_hash BLOB NOT NULL,
    hash      BLOB NOT NULL,
    PRIMARY KEY (chain, seq)
) WITHOUT ROWID;

-- What was written stays. `INSERT OR REPLACE` deletes without asking a delete trigger, so inserting is watched too.
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE chain = NEW.chain AND seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
