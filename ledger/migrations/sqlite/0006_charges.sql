-- What is booked without a hold, and what is put right afterwards. All of it stays as it was written.

-- Charges booked by API: each reference of a source once in an organisation. `call_id` names the receipt.
CREATE TABLE charges (
    org_id    TEXT NOT NULL,
    source    TEXT NOT NULL,
    reference TEXT NOT NULL,
    call_id   TEXT NOT NULL,
    wallet_id TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    cost      BIGINT NOT NULL CHECK (cost >= 0),
    price     BIGINT NOT NULL CHECK (price >= 0),
    reason    TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (org_id, source, reference)
);

-- Corrections of receipts: what was asked, what came of it, and what stood before.
CREATE TABLE corrections (
    id            TEXT PRIMARY KEY,
    call_id       TEXT NOT NULL,
    at            BIGINT NOT NULL,
    asked         BIGINT NOT NULL CHECK (asked >= 0),
    cost          BIGINT NOT NULL CHECK (cost >= 0),
    price         BIGINT NOT NULL,
    overrun       BIGINT NOT NULL,
    was_cost      BIGINT NOT NULL,
    was_price     BIGINT NOT NULL,
    was_overrun   BIGINT NOT NULL,
    was_record    TEXT NOT NULL,
    reason        TEXT NOT NULL,
    price_version TEXT,
    usage         TEXT
);
CREATE INDEX corrections_by_call ON corrections (call_id);

-- What was written stays. `INSERT OR REPLACE` deletes without asking a delete trigger, so inserting is watched too.
-- (A `seq` that is left to the database is told to the trigger as -1.)
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
CREATE TRIGGER journal_no_replace BEFORE INSERT ON journal
WHEN NEW.seq >= 0 AND EXISTS (SELECT 1 FROM journal WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
CREATE TRIGGER charges_no_update BEFORE UPDATE ON charges
BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER charges_no_delete BEFORE DELETE ON charges
BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER charges_no_replace BEFORE INSERT ON charges
WHEN EXISTS (SELECT 1 FROM charges WHERE org_id = NEW.org_id AND source = NEW.source AND reference = NEW.reference)
BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER corrections_no_update BEFORE UPDATE ON corrections
BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
CREATE TRIGGER corrections_no_delete BEFORE DELETE ON corrections
BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
CREATE TRIGGER corrections_no_replace BEFORE INSERT ON corrections
WHEN EXISTS (SELECT 1 FROM corrections WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
