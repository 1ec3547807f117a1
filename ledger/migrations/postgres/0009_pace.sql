-- How fast wallets spend, sampled beside the hot path, and what follows from it.

-- Work that one process does at a time. `until` is the database's clock, `done_at` that of whoever did it last.
CREATE TABLE leases (
    name    TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    until   BIGINT NOT NULL,
    done_at BIGINT
);

-- What a wallet had spent, in all its windows together, by the end of a bucket of 5 minutes in which that changed. Only
-- differences count. `left_out`: what came with this bucket is no history to judge others by. Kept 14 days.
CREATE TABLE wallet_pace (
    wallet_id    TEXT NOT NULL,
    bucket_start BIGINT NOT NULL,
    spent        BIGINT NOT NULL,
    left_out     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (wallet_id, bucket_start)
);
CREATE INDEX wallet_pace_by_age ON wallet_pace (bucket_start);

-- Breakers that are set, or have moved; a wallet without a row has the defaults and a closed one. Times are microseconds.
CREATE TABLE wallet_breakers (
    wallet_id   TEXT PRIMARY KEY,
    mode        TEXT NOT NULL CHECK (mode IN ('off', 'alert', 'suspend')),
    minimum     BIGINT NOT NULL,
    ratio       BIGINT NOT NULL,
    deviations  BIGINT NOT NULL,
    cool_down   BIGINT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    since       BIGINT,
    until       BIGINT,
    threshold   BIGINT,
    trial_from  BIGINT,
    allowance   BIGINT,
    quiet_until BIGINT
);

-- What was forecast last: once a window and allowance.
CREATE TABLE wallet_forecasts (
    wallet_id    TEXT PRIMARY KEY,
    window_start BIGINT NOT NULL,
    allowance    BIGINT NOT NULL,
    at           BIGINT NOT NULL
);
