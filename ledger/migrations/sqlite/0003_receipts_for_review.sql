-- What somebody should look at is rare: found without reading all receipts, and costing nothing to write where it is not.
CREATE INDEX receipts_for_review ON receipts (call_id) WHERE review = 1;
