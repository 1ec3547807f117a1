-- The worst case that was ordered, beside what is held of it.
ALTER TABLE holds ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
