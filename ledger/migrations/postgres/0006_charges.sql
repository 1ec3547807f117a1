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

-- What was written stays. Inserting onto what is there is refused by the primary keys.
CREATE FUNCTION books_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER journal_no_change BEFORE UPDATE OR DELETE ON journal
FOR EACH ROW EXECUTE FUNCTION books_are_append_only();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal
FOR EACH STATEMENT EXECUTE FUNCTION books_are_append_only();
CREATE TRIGGER charges_no_change BEFORE UPDATE OR DELETE ON charges
FOR EACH ROW EXECUTE FUNCTION books_are_append_only();
CREATE TRIGGER charges_no_truncate BEFORE TRUNCATE ON charges
FOR EACH STATEMENT EXECUTE FUNCTION books_are_append_only();
CREATE TRIGGER corrections_no_change BEFORE UPDATE OR DELETE ON corrections
FOR EACH ROW EXECUTE FUNCTION books_are_append_only();
CREATE TRIGGER corrections_no_truncate BEFORE TRUNCATE ON corrections
FOR EACH STATEMENT EXECUTE FUNCTION books_are_append_only();
