//! The keys of one provider while the house runs: each may be replaced at any moment by whoever reads its source again. Several are
//! shown in turn; one that its provider refuses rests for a while, and the others go on.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Secret;
use crate::error::{Class, ProviderError, Retry};

/// How long a key rests whose provider does not say; doubled each time it is refused again, up to the longest.
const FIRST_REST_MS: u64 = 1_000;
const LONGEST_REST_MS: u64 = 120_000;
/// A key that is not accepted at all needs a person, or a new value, which ends its rest at once.
const NOT_ACCEPTED_MS: u64 = 60_000;

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
pub struct KeyRing(Arc<Ring>);

#[derive(Debug, Default)]
struct Ring {
    keys: Vec<Arc<LiveKey>>,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    next: usize,
    rests: Vec<Rest>,
}

#[derive(Debug, Clone, Default)]
struct Rest {
    until: u64,
    /// In a row.
    refused: u32,
    /// What was refused; a new value starts anew.
    of: Option<Arc<Secret>>,
}

/// A key that is shown, and which of the ring it is.
#[derive(Debug, Clone)]
pub struct Pick {
    secret: Arc<Secret>,
    index: usize,
}

impl Deref for Pick {
    type Target = Secret;

    fn deref(&self) -> &Secret {
        &self.secret
    }
}

impl Pick {
    /// Its place in the configuration.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl KeyRing {
    /// Of these keys, in the order of the configuration.
    pub fn new(keys: Vec<Arc<LiveKey>>) -> KeyRing {
        let turns = Mutex::new(Turns { next: 0, rests: vec![Rest::default(); keys.len()] });
        KeyRing(Arc::new(Ring { keys, turns }))
    }

    /// A provider that asks for no key.
    pub fn is_keyless(&self) -> bool {
        self.0.keys.is_empty()
    }

    /// One of them is known, or none is asked for.
    pub fn is_known(&self) -> bool {
        self.is_keyless() || self.0.keys.iter().any(|key| key.get().is_some())
    }

    /// The key to show next: the next in turn that does not rest, else the one that rests least long. None where none is asked for, or
    /// none is known. `now` is in milliseconds of a clock that does not run backwards.
    pub fn pick(&self, now: u64) -> Option<Pick> {
        if let [only] = self.0.keys.as_slice() {
            return only.get().map(|secret| Pick { secret, index: 0 });
        }
        let mut turns = self.turns();
        let mut least: Option<(u64, Pick)> = None;
        for step in 0..self.0.keys.len() {
            let index = (turns.next + step) % self.0.keys.len();
            let Some(secret) = self.0.keys[index].get() else { continue };
            let until = turns.rests[index].until_of(&secret);
            let pick = Pick { secret, index };
            if until <= now {
                turns.next = index + 1;
                return Some(pick);
            }
            if least.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                least = Some((until, pick));
            }
        }
        least.map(|(_, pick)| pick)
    }

    /// The first key that is known. What belongs to an account (files, batches) is found again only with the key it was made with.
    pub fn home(&self) -> Option<Pick> {
        let mut known = self.0.keys.iter().enumerate().filter_map(|(index, key)| Some((index, key.get()?)));
        known.next().map(|(index, secret)| Pick { secret, index })
    }

    /// It was taken: the slate is wiped clean.
    pub fn served(&self, pick: Option<&Pick>) {
        if let (Some(pick), 2..) = (pick, self.0.keys.len())
            && let Some(rest) = self.turns().rests.get_mut(pick.index)
        {
            *rest = Rest::default();
        }
    }

    /// It was answered with this failure. A key that is at fault rests. Where another is free the failure says so from then on; where
    /// none is left it says when the first will be. One key alone never rests here: that is its target's breaker's to say.
    pub fn refused(&self, pick: Option<&Pick>, error: ProviderError, now: u64) -> ProviderError {
        let (Some(pick), 2..) = (pick, self.0.keys.len()) else { return error };
        let its_fault = match (error.class, error.status) {
            (Class::RateLimited, _) => true,
            // Not accepted, or without credit: another account may be.
            (Class::Misconfigured, status) => matches!(status, Some(401..=403 | 429)),
            _ => false,
        };
        let mut turns = self.turns();
        let Some(rest) = turns.rests.get_mut(pick.index).filter(|_| its_fault) else { return error };
        let before = if rest.is_of(&pick.secret) { rest.refused } else { 0 };
        let wait = match (error.class, error.retry_after) {
            (Class::Misconfigured, _) => NOT_ACCEPTED_MS,
            (_, Some(asked)) if !asked.is_zero() => u64::try_from(asked.as_millis()).unwrap_or(u64::MAX),
            _ => FIRST_REST_MS << before.min(7),
        };
        let until = now.saturating_add(wait.min(LONGEST_REST_MS));
        *rest = Rest { until, refused: before.saturating_add(1), of: Some(Arc::clone(&pick.secret)) };
        let free = self.0.keys.iter().zip(&turns.rests).filter_map(|(key, rest)| Some(rest.until_of(&key.get()?)));
        let soonest = free.min().unwrap_or(u64::MAX);
        match error.class {
            _ if soonest <= now => ProviderError { retry: Retry::NextKey, ..error },
            // No key is left: now the provider itself is limited, until the first is free.
            Class::RateLimited => {
                let retry_after = Some(Duration::from_millis((soonest - now).min(LONGEST_REST_MS)));
                ProviderError { retry_after, ..error }
            }
            _ => error,
        }
    }

    /// Which keys rest, for the simulation.
    #[cfg(test)]
    pub(crate) fn resting(&self, now: u64) -> Vec<bool> {
        let turns = self.turns();
        let until = |(key, rest): (&Arc<LiveKey>, &Rest)| key.get().map_or(u64::MAX, |secret| rest.until_of(&secret));
        self.0.keys.iter().zip(&turns.rests).map(until).map(|until| until > now).collect()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    fn is_of(&self, secret: &Arc<Secret>) -> bool {
        // By value: whoever renews a key may well be given the same again.
        self.of.as_ref().is_some_and(|of| of.expose() == secret.expose())
    }

    fn until_of(&self, secret: &Arc<Secret>) -> u64 {
        if self.is_of(secret) { self.until } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[&str]) -> (KeyRing, Vec<Arc<LiveKey>>) {
        let keys: Vec<_> = keys.iter().map(|it| Arc::new(LiveKey::new(Secret::new(*it)))).collect();
        (KeyRing::new(keys.clone()), keys)
    }

    fn limited(seconds: Option<u64>) -> ProviderError {
        let retry_after = seconds.map(Duration::from_secs);
        ProviderError { status: Some(429), retry_after, ..ProviderError::new(Class::RateLimited, "limited") }
    }

    fn shown(ring: &KeyRing, now: u64) -> String {
        ring.pick(now).unwrap().expose().to_owned()
    }

    #[test]
    fn keys_are_shown_in_turn() {
        let (ring, _) = ring(&["a", "b", "c"]);
        assert_eq!((0..6).map(|_| shown(&ring, 0)).collect::<String>(), "abcabc");
    }

    #[test]
    fn a_key_that_is_limited_rests_and_the_others_go_on() {
        let (ring, _) = ring(&["a", "b"]);
        let told = ring.refused(ring.pick(0).as_ref(), limited(Some(7)), 0);
        assert_eq!(told.retry, Retry::NextKey);
        assert_eq!((0..3).map(|_| shown(&ring, 6_999)).collect::<String>(), "bbb");
        assert_eq!((0..2).map(|_| shown(&ring, 7_000)).collect::<String>(), "ab");
    }

    #[test]
    fn where_all_keys_rest_the_provider_is_limited_until_the_first_is_free() {
        let (ring, _) = ring(&["a", "b"]);
        ring.refused(ring.pick(0).as_ref(), limited(Some(7)), 0);
        let told = ring.refused(ring.pick(0).as_ref(), limited(Some(9)), 1_000);
        assert_eq!((told.retry, told.retry_after), (Retry::Elsewhere, Some(Duration::from_secs(6))));
        assert_eq!(shown(&ring, 1_000), "a", "the one that rests least long");
    }

    #[test]
    fn a_key_that_is_not_accepted_rests_until_it_is_another() {
        let (ring, keys) = ring(&["a", "b"]);
        let refused = ProviderError { status: Some(401), ..ProviderError::new(Class::Misconfigured, "no") };
        assert_eq!(ring.refused(ring.pick(0).as_ref(), refused, 0).retry, Retry::NextKey);
        assert_eq!((0..2).map(|_| shown(&ring, 59_999)).collect::<String>(), "bb");
        keys[0].set(Some(Secret::new("A")));
        assert_eq!((0..2).map(|_| shown(&ring, 1)).collect::<String>(), "Ab");
        keys[1].set(None);
        assert_eq!((0..2).map(|_| shown(&ring, 1)).collect::<String>(), "AA", "a key that is not known is not shown");
    }

    #[test]
    fn a_key_that_is_refused_again_and_again_rests_longer_within_a_bound() {
        let (ring, _) = ring(&["a", "b"]);
        let pick = ring.pick(0);
        let mut now = 0;
        let mut rests = Vec::new();
        for _ in 0..9 {
            ring.refused(pick.as_ref(), limited(None), now);
            let from = now;
            now = (now..).step_by(500).find(|at| (0..2).any(|_| shown(&ring, *at) == "a")).unwrap();
            rests.push((now - from) / 1_000);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        ring.served(pick.as_ref());
        ring.refused(pick.as_ref(), limited(None), now);
        assert_eq!((0..2).filter(|_| shown(&ring, now + 1_000) == "a").count(), 1, "an answer wipes the slate clean");
        ring.refused(pick.as_ref(), limited(Some(86_400)), now);
        assert_eq!((0..2).filter(|_| shown(&ring, now + LONGEST_REST_MS) == "a").count(), 1);
    }

    #[test]
    fn one_key_alone_is_always_shown_and_its_failures_stay_as_they_are() {
        let (ring, keys) = ring(&["a"]);
        let told = ring.refused(ring.pick(0).as_ref(), limited(Some(7)), 0);
        assert_eq!((told, shown(&ring, 0)), (limited(Some(7)), "a".to_owned()));
        keys[0].set(None);
        assert!(ring.pick(0).is_none() && KeyRing::default().pick(0).is_none());
        assert!(KeyRing::default().is_keyless() && !ring.is_keyless());
    }
}
