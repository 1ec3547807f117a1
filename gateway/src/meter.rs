//! What an answer used: the provider's word where it gives one, else our own count, marked as such.

use providers::{ChatRequest, Target};

/// Text is counted in pieces of this size, so that a long answer needs no more memory than this.
const PIECE: usize = 256 << 10;

/// Reads along while an answer flows.
#[derive(Debug, Default)]
pub struct Meter {
    reported: Option<providers::Usage>,
    uncounted: String,
    counted: u64,
}

impl Meter {
    /// Output that was seen.
    pub fn heard(&mut self, text: &str, target: &Target) {
        self.uncounted.push_str(text);
        if self.uncounted.len() >= PIECE {
            self.counted += target.count_output(&self.uncounted);
            self.uncounted.clear();
        }
    }

    /// The provider's own count; a later one replaces an earlier one.
    pub fn billed(&mut self, usage: providers::Usage) {
        self.reported = Some(usage);
    }

    /// What was used, all told. `complete`: the provider has said its last word.
    pub fn usage(&self, target: &Target, request: &ChatRequest, complete: bool) -> ledger::Usage {
        let own = || self.counted + target.count_output(&self.uncounted);
        match (&self.reported, complete) {
            (Some(usage), true) => read(usage, usage.output, false),
            // A count from the middle of a stream knows the input, but not all of the output.
            (Some(usage), false) => read(usage, usage.output.max(own()), true),
            (None, _) => {
                ledger::Usage { input: target.count_input(request), output: own(), estimated: true, ..Default::default() }
            }
        }
    }

    /// The provider has counted.
    pub fn is_reported(&self) -> bool {
        self.reported.is_some()
    }
}

fn read(usage: &providers::Usage, output: u64, estimated: bool) -> ledger::Usage {
    ledger::Usage {
        input: usage.input,
        cached_input: usage.cached_input,
        cache_write: usage.cache_write,
        output,
        estimated,
    }
}
