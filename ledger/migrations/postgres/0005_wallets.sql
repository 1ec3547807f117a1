-- Windows by the midnights of a zone (none: UTC) from a day of the week (1 is Monday) or of the month (none: the first).
ALTER TABLE wallets ADD COLUMN time_zone TEXT;
ALTER TABLE wallets ADD COLUMN anchor BIGINT;

-- More soft limits, as a JSON array of texts such as "80%" and "12.5", and what happens past one.
ALTER TABLE wallets ADD COLUMN thresholds TEXT;
ALTER TABLE wallets ADD COLUMN soft_action TEXT NOT NULL DEFAULT 'warn' CHECK (soft_action IN ('warn', 'downgrade', 'block'));

-- A closed wallet is suspended for good.
ALTER TABLE wallets ADD COLUMN closed_at BIGINT;

-- A wallet of kind `scope` has no parent and no wallets below it: calls of keys on `under_id` or below it (none: of the whole
-- organisation) that `scope` covers hold money in it too. `scope` is {"models": […], "tags": {…}}.
ALTER TABLE wallets ADD COLUMN scope TEXT;
ALTER TABLE wallets ADD COLUMN under_id TEXT REFERENCES wallets (id);
CREATE INDEX wallets_of_scope ON wallets (id) WHERE kind = 'scope';

-- What an admin says of the calls of a key, as a JSON object of texts.
ALTER TABLE keys ADD COLUMN tags TEXT;
