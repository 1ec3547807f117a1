-- Who may spend: organisations, teams, people, wallets, keys, operators.
-- Ids are printed ids (TEXT with their prefix), times are microseconds, money is nano-dollars, hashes are 32 bytes.
-- `content` is the SHA-256 of what a row was made of: the same id and content again is a repeat, other content a conflict.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('config_revision', '0');

CREATE TABLE orgs (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX orgs_by_age ON orgs (created_at, id);

CREATE TABLE teams (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL REFERENCES orgs (id),
    name       TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX teams_by_org ON teams (org_id, created_at, id);
CREATE INDEX teams_by_age ON teams (created_at, id);

CREATE TABLE users (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL REFERENCES orgs (id),
    name       TEXT NOT NULL,
    email      TEXT,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX users_by_org ON users (org_id, created_at, id);
CREATE INDEX users_by_age ON users (created_at, id);

CREATE TABLE user_teams (
    user_id TEXT NOT NULL REFERENCES users (id),
    team_id TEXT NOT NULL REFERENCES teams (id),
    PRIMARY KEY (user_id, team_id)
);
CREATE INDEX user_teams_by_team ON user_teams (team_id);

-- A parent never changes, so a wallet's chain may be remembered; limits, status and amounts may not.
CREATE TABLE wallets (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL REFERENCES orgs (id),
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    parent_id   TEXT REFERENCES wallets (id),
    team_id     TEXT REFERENCES teams (id),
    user_id     TEXT REFERENCES users (id),
    status      TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    hard_limit  BIGINT CHECK (hard_limit >= 0),
    soft_limit  BIGINT CHECK (soft_limit >= 0),
    window_kind TEXT NOT NULL DEFAULT 'none' CHECK (window_kind IN ('none', 'day', 'week', 'month')),
    funding     TEXT NOT NULL DEFAULT 'budget' CHECK (funding IN ('budget', 'prepaid')),
    funded      BIGINT NOT NULL DEFAULT 0 CHECK (funded >= 0),
    content     BLOB NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX wallets_by_org ON wallets (org_id, created_at, id);
CREATE INDEX wallets_by_age ON wallets (created_at, id);
CREATE INDEX wallets_by_parent ON wallets (parent_id);

-- The wallets that a call of one leaf holds money in: depth 0 is the leaf, the highest depth the root.
-- A chain is named by its leaf wallet; `solo_<wallet>` is that wallet alone, for what moves in one wallet only.
CREATE TABLE chain_members (
    chain     TEXT NOT NULL,
    wallet_id TEXT NOT NULL REFERENCES wallets (id),
    depth     BIGINT NOT NULL,
    PRIMARY KEY (chain, wallet_id)
);
CREATE INDEX chain_members_by_wallet ON chain_members (wallet_id, chain);

CREATE TABLE keys (
    id             TEXT PRIMARY KEY,
    org_id         TEXT NOT NULL REFERENCES orgs (id),
    wallet_id      TEXT NOT NULL REFERENCES wallets (id),
    team_id        TEXT REFERENCES teams (id),
    user_id        TEXT REFERENCES users (id),
    name           TEXT NOT NULL,
    secret_hash    BLOB NOT NULL,
    previous_hash  BLOB,
    previous_until BIGINT,
    models         TEXT,
    rpm            BIGINT,
    tpm            BIGINT,
    expires_at     BIGINT,
    rotated_at     BIGINT,
    revoked_at     BIGINT,
    content        BLOB NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX keys_by_org ON keys (org_id, created_at, id);
CREATE INDEX keys_by_age ON keys (created_at, id);
CREATE INDEX keys_by_wallet ON keys (wallet_id);

-- Rotations by the id that their asker gave them, so that one asked for twice happens once.
CREATE TABLE key_rotations (
    id      TEXT PRIMARY KEY,
    key_id  TEXT NOT NULL REFERENCES keys (id),
    content BLOB NOT NULL,
    at      BIGINT NOT NULL
);

-- Keys for the admin API. At most one living row has source `bootstrap`: the key given by the environment or made at first start.
CREATE TABLE operators (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    source      TEXT NOT NULL CHECK (source IN ('bootstrap', 'minted')),
    secret_hash BLOB NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);
CREATE UNIQUE INDEX operators_one_bootstrap ON operators (source) WHERE source = 'bootstrap' AND revoked_at IS NULL;

-- What an operator's Idempotency-Key was used for, where the thing done has no id of its own. Kept for 24 hours.
CREATE TABLE admin_claims (
    name    BLOB PRIMARY KEY,
    content BLOB NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX admin_claims_by_age ON admin_claims (at);
