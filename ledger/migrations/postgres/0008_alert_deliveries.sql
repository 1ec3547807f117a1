-- Alerts on their way out. An alert is routed once: every sink that wants it gets a row. Sinks are named by the configuration.

ALTER TABLE alerts ADD COLUMN routed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX alerts_to_route ON alerts (at, id) WHERE routed = 0;

-- `next_at` is when it is due; whoever delivers moves it on first, so that nobody else does meanwhile, and a process that
-- dies in between leaves a row that becomes due again.
CREATE TABLE alert_deliveries (
    alert_id     TEXT NOT NULL,
    sink         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    last_error   TEXT,
    delivered_at BIGINT,
    PRIMARY KEY (alert_id, sink)
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (sink, next_at) WHERE state = 'pending';
CREATE INDEX alert_deliveries_failed ON alert_deliveries (alert_id) WHERE state = 'failed';
