-- How much a team may do at a time, as its keys have it: requests and tokens a minute, calls in flight. None is no limit.
ALTER TABLE teams ADD COLUMN rpm BIGINT CHECK (rpm > 0);
ALTER TABLE teams ADD COLUMN tpm BIGINT CHECK (tpm > 0);
ALTER TABLE teams ADD COLUMN max_parallel BIGINT CHECK (max_parallel > 0);

-- Calls of a key in flight, and who is shed first under overload: low ones first, high ones last.
ALTER TABLE keys ADD COLUMN max_parallel BIGINT CHECK (max_parallel > 0);
ALTER TABLE keys ADD COLUMN priority TEXT NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high'));
