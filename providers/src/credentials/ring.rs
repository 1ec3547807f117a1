//! The keys of one provider while the house runs: each may be replaced at any moment by whoever reads its source again.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Secret;

/// A key that can change. Empty: its source is silent for longer than its last word is good for.
#[derive(Debug, Default)]
pub struct LiveKey(ArcSwapOption<Secret>);

impl LiveKey {
    /// A key that is known.
    pub fn new(secret: Secret) -> LiveKey {
        LiveKey(ArcSwapOption::from_pointee(secret))
    }

    /// What it is now.
    pub fn get(&self) -> Option<Arc<Secret>> {
        self.0.load_full()
    }

    /// From now on it is this, or nothing.
    pub fn set(&self, secret: Option<Secret>) {
        self.0.store(secret.map(Arc::new));
    }
}

/// All keys of a provider. None at all: it asks for none.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(Vec<Arc<LiveKey>>);

impl KeyRing {
    /// Of these keys, in the order of the configuration.
    pub fn new(keys: Vec<Arc<LiveKey>>) -> KeyRing {
        KeyRing(keys)
    }

    /// A provider that asks for no key.
    pub fn is_keyless(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them is known, or none is asked for.
    pub fn is_known(&self) -> bool {
        self.is_keyless() || self.0.iter().any(|key| key.get().is_some())
    }

    /// The key to show next; none where none is asked for, or none is known.
    pub fn pick(&self) -> Option<Arc<Secret>> {
        self.0.iter().find_map(|key| key.get())
    }
}
