-- Work that a provider does at leisure, and the files that go there and come back. No text of theirs is kept here: a row says
-- where a file is, what it may cost, and whose it is.

CREATE TABLE batch_files (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    wallet_id   TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('input', 'output', 'errors')),
    target      TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    bytes       BIGINT NOT NULL,
    lines       BIGINT NOT NULL,
    terms       TEXT,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT
) WITHOUT ROWID;
CREATE INDEX batch_files_by_wallet ON batch_files (wallet_id, id);

-- Whose hold has the owner 'job' has a row here, made in the transaction that gave it that owner. `next_at` is when the
-- provider is asked next; whoever asks sets `leased_until` first, so that nobody else does meanwhile.
CREATE TABLE batches (
    id           TEXT PRIMARY KEY,
    org_id       TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    wallet_id    TEXT NOT NULL,
    call_id      TEXT NOT NULL,
    file_id      TEXT NOT NULL,
    target       TEXT NOT NULL,
    upstream_id  TEXT,
    endpoint     TEXT NOT NULL,
    lines        BIGINT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('submitting', 'open', 'ended')),
    terms        TEXT NOT NULL,
    told         TEXT NOT NULL,
    claim        BLOB,
    claim_body   BLOB,
    output_id    TEXT,
    errors_id    TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX batches_by_wallet ON batches (wallet_id, id);
CREATE INDEX batches_due ON batches (next_at) WHERE state <> 'ended';
CREATE UNIQUE INDEX batches_by_claim ON batches (key_id, claim, created_at) WHERE claim IS NOT NULL;
