//! How long will the answer be? An upper estimate from what was billed lately: pure, exact, and bounded in memory.
//!
//! The 95th percentile of a window is its smallest output that at least 95 % of the window are not above.
//! Windows are kept whole, so the estimate is that number itself: never below it, and not above.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{Id, Key};

/// Outputs that a window remembers: enough for a 95th percentile that one odd answer does not move.
const WINDOW: usize = 256;
/// Fewer say nothing about one call in twenty.
const ENOUGH: usize = 20;
/// What an answer may need of which nothing is known.
const UNKNOWN: u64 = 1_024;
/// A window takes a KiB, and less while it fills: all together stay below 12 MiB.
const MOST_PAIRS: usize = 8_192;
const MOST_MODELS: usize = 1_024;

/// The estimator of a process. Every call asks it once and tells it once, in microseconds.
#[derive(Default)]
pub struct Estimates(Mutex<Estimator>);

impl Estimates {
    pub fn get(&self) -> MutexGuard<'_, Estimator> {
        // Numbers cannot be left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outputs of recent calls, by key and model and by model.
pub struct Estimator {
    pairs: Recent<(Id<Key>, Arc<str>)>,
    models: Recent<Arc<str>>,
}

impl Default for Estimator {
    fn default() -> Self {
        Estimator { pairs: Recent::new(MOST_PAIRS), models: Recent::new(MOST_MODELS) }
    }
}

impl Estimator {
    /// Remembers what one call was billed, all its choices together. `model` as in `provider/model`.
    pub fn learn(&mut self, key: Id<Key>, model: &str, output: u64) {
        let model: Arc<str> = model.into();
        self.pairs.window((key, Arc::clone(&model))).add(output);
        self.models.window(model).add(output);
    }

    /// The tokens that 19 of 20 such calls do not exceed: of this key and model if enough was seen, else of the model, else
    /// a guess. Never more than `most`, which the call cannot exceed.
    pub fn estimate(&mut self, key: Id<Key>, model: &str, most: u64) -> u64 {
        let model: Arc<str> = model.into();
        let told = |window: Option<&Window>| window.and_then(Window::percentile_95);
        let of_pair = told(self.pairs.find(&(key, Arc::clone(&model))));
        let estimate = of_pair.or_else(|| told(self.models.find(&model)));
        estimate.unwrap_or(UNKNOWN).min(most)
    }
}

/// The last outputs, whole.
#[derive(Debug, Default)]
struct Window {
    outputs: Vec<u32>,
    /// Where the oldest is, once the window is full.
    next: usize,
}

impl Window {
    fn add(&mut self, output: u64) {
        let output = u32::try_from(output).unwrap_or(u32::MAX);
        if self.outputs.len() < WINDOW {
            self.outputs.push(output);
        } else {
            self.outputs[self.next] = output;
            self.next = (self.next + 1) % WINDOW;
        }
    }

    fn percentile_95(&self) -> Option<u64> {
        if self.outputs.len() < ENOUGH {
            return None;
        }
        let mut outputs = [0; WINDOW];
        let outputs = &mut outputs[..self.outputs.len()];
        outputs.copy_from_slice(&self.outputs);
        let rank = (outputs.len() * 95).div_ceil(100);
        Some(u64::from(*outputs.select_nth_unstable(rank - 1).1))
    }
}

/// So many windows and no more: those that were used longest ago go first, many at once, so that one rarely costs anything.
struct Recent<K> {
    most: usize,
    uses: u64,
    windows: HashMap<K, (u64, Window)>,
}

impl<K: Eq + Hash + Clone> Recent<K> {
    fn new(most: usize) -> Recent<K> {
        Recent { most, uses: 0, windows: HashMap::new() }
    }

    fn find(&mut self, of: &K) -> Option<&Window> {
        self.uses += 1;
        let (used, window) = self.windows.get_mut(of)?;
        *used = self.uses;
        Some(window)
    }

    fn window(&mut self, of: K) -> &mut Window {
        self.uses += 1;
        if self.windows.len() >= self.most && !self.windows.contains_key(&of) {
            self.forget();
        }
        let (used, window) = self.windows.entry(of).or_default();
        *used = self.uses;
        window
    }

    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.windows.values().map(|(used, _)| *used).collect();
        let (_, last, _) = uses.select_nth_unstable(self.most / 8);
        let last = *last;
        self.windows.retain(|_, (used, _)| *used > last);
    }
}

#[cfg(test)]
mod quality;
#[cfg(test)]
mod tests;
