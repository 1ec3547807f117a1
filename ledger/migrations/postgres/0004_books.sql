-- `chain` names the wallets that the call holds money in: its wallet with all above it, or those with others beside them.
-- `asked` is the worst case that was ordered, `opened` what was held of it at first.
ALTER TABLE holds ADD COLUMN chain TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
UPDATE holds SET chain = wallet_id, asked = opened;

ALTER TABLE receipts ADD COLUMN chain TEXT NOT NULL DEFAULT '';
UPDATE receipts SET chain = wallet_id;

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
