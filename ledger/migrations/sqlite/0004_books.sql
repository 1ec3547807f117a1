-- How calls are found again. An index entry made with every row touches a page of its own for every wallet in use, and all
-- of them are written at every commit; entries placed by the thousand, in their order, touch each page once. `placed` says
-- up to which row that was done; readers look through the few rows after it.

CREATE TABLE placed (
    name TEXT PRIMARY KEY,
    seq  BIGINT NOT NULL
) WITHOUT ROWID;

-- Journal rows by chain.
CREATE TABLE journal_places (
    chain TEXT NOT NULL,
    seq   BIGINT NOT NULL,
    PRIMARY KEY (chain, seq)
) WITHOUT ROWID;
INSERT INTO journal_places (chain, seq) SELECT chain, seq FROM journal ORDER BY chain, seq;
INSERT INTO placed (name, seq) SELECT 'journal', COALESCE(MAX(seq), 0) FROM journal;
DROP INDEX journal_by_chain;

-- `chain` names the wallets that the call holds money in: its wallet with all above it, or those with others beside them.
-- `asked` is the worst case that was ordered, `opened` what was held of it at first.
ALTER TABLE holds ADD COLUMN chain TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
UPDATE holds SET chain = wallet_id, asked = opened;

CREATE TABLE receipts_in_order (
    seq       INTEGER PRIMARY KEY,
    call_id   TEXT NOT NULL UNIQUE,
    org_id    TEXT NOT NULL,
    wallet_id TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    chain     TEXT NOT NULL,
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
);
INSERT INTO receipts_in_order (call_id, org_id, wallet_id, key_id, chain, at, status, cost, price, overrun, refunded, review, held,
                               legs, reason, refusal, record)
SELECT call_id, org_id, wallet_id, key_id, wallet_id, at, status, cost, price, overrun, refunded, review, held, legs, reason,
       refusal, record
  FROM receipts ORDER BY call_id;
DROP TABLE receipts;
ALTER TABLE receipts_in_order RENAME TO receipts;
CREATE INDEX receipts_for_review ON receipts (call_id) WHERE review = 1;

-- Receipts by wallet and by organisation: `owner` is either.
CREATE TABLE receipt_places (
    owner   TEXT NOT NULL,
    call_id TEXT NOT NULL,
    PRIMARY KEY (owner, call_id)
) WITHOUT ROWID;
INSERT INTO receipt_places (owner, call_id) SELECT wallet_id, call_id FROM receipts ORDER BY wallet_id, call_id;
INSERT INTO receipt_places (owner, call_id) SELECT org_id, call_id FROM receipts ORDER BY org_id, call_id;
INSERT INTO placed (name, seq) SELECT 'receipts', COALESCE(MAX(seq), 0) FROM receipts;

-- What somebody should be told, written with the change that it tells of. `content` holds ids and amounts, as JSON.
CREATE TABLE alerts (
    id        TEXT PRIMARY KEY,
    at        BIGINT NOT NULL,
    org_id    TEXT NOT NULL,
    wallet_id TEXT,
    kind      TEXT NOT NULL,
    content   TEXT NOT NULL
);
CREATE INDEX alerts_by_age ON alerts (at, id);
