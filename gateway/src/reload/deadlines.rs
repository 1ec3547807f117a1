//! Deadlines that a new configuration moves, for the waiting that begins then.

use std::time::Duration;

use arc_swap::ArcSwap;
use providers::Deadlines;

use crate::config::DeadlineConfig;

/// The deadlines in force.
pub struct LiveDeadlines(ArcSwap<DeadlineConfig>);

impl LiveDeadlines {
    pub fn new(deadlines: DeadlineConfig) -> LiveDeadlines {
        LiveDeadlines(ArcSwap::from_pointee(deadlines))
    }

    pub fn set(&self, deadlines: DeadlineConfig) {
        self.0.store(std::sync::Arc::new(deadlines));
    }

    pub fn total(&self) -> Duration {
        self.0.load().total()
    }

    pub fn drain(&self) -> Duration {
        self.0.load().drain()
    }

    pub fn shutdown(&self) -> Duration {
        self.0.load().shutdown()
    }

    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.0.load().idle_ms)
    }

    pub fn whole(&self) -> Duration {
        Duration::from_millis(self.0.load().whole_ms)
    }

    /// Those of calls to providers.
    pub fn outbound(&self) -> Deadlines {
        let deadlines = self.0.load();
        Deadlines {
            connect: Duration::from_millis(deadlines.connect_ms),
            first_byte: Duration::from_millis(deadlines.first_byte_ms),
            whole: Duration::from_millis(deadlines.whole_ms),
            idle: Duration::from_millis(deadlines.idle_ms),
        }
    }
}
