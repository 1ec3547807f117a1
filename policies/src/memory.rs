//! Decisions that were made already, by the fingerprint of what they depend on. Bounded: a newer decision takes an older one's place.

use std::sync::{Mutex, PoisonError};

use crate::Decision;
use crate::decision::Keeping;
use crate::reads::Fingerprint;

/// So many decisions are remembered at most; one takes about a kilobyte.
const PLACES: usize = 2_048;

/// What one revision decided lately.
pub(crate) struct Memory {
    places: Vec<Mutex<Option<(Fingerprint, Decision, Keeping)>>>,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Memory {
        Memory { places: (0..PLACES).map(|_| Mutex::new(None)).collect() }
    }

    /// The decision for exactly these facts.
    pub fn find(&self, print: &Fingerprint) -> Option<(Decision, Keeping)> {
        let place = self.place(print).lock().unwrap_or_else(PoisonError::into_inner);
        let known = place.as_ref().filter(|(known, ..)| known == print);
        known.map(|(_, decision, keeping)| (decision.clone(), keeping.clone()))
    }

    /// Remembers it.
    pub fn keep(&self, print: Fingerprint, decision: &Decision, keeping: &Keeping) {
        *self.place(&print).lock().unwrap_or_else(PoisonError::into_inner) =
            Some((print, decision.clone(), keeping.clone()));
    }

    fn place(&self, print: &Fingerprint) -> &Mutex<Option<(Fingerprint, Decision, Keeping)>> {
        let [a, b, ..] = *print;
        &self.places[usize::from(u16::from_le_bytes([a, b])) % PLACES]
    }
}
