//! The way of one call from target to target: whom to ask next, whom to ask again and when, and when to give up. Pure but for what it
//! asks of [`Health`]; time is handed in, chance is a seed, waiting is the caller's part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Instead, Plan};
use crate::chance::{mixed, unit};
use crate::error::{ProviderError, Retry};
use crate::fleet::Target;
use crate::health::{Health, InFlight, Knock};

/// So many of a provider's keys are tried in one call.
const MOST_KEYS: u32 = 8;

/// How often and how fast a target is asked again within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// Requests to one target in one call, the first included; one of several keys that is refused does not count.
    pub attempts: u32,
    /// So many requests beside the first ones of calls, of a hundred of those, by target.
    pub budget_percent: u32,
    /// The first wait is between half of this and all of it, the next twice as long.
    pub base_ms: u64,
    /// Nobody is waited for longer.
    pub max_ms: u64,
}

impl Default for RetryRules {
    fn default() -> RetryRules {
        RetryRules { attempts: 2, budget_percent: 20, base_ms: 100, max_ms: 2_000 }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Move {
    /// Ask this one.
    Ask(Asked),
    /// Wait so long, then come again.
    Wait(Duration),
    /// This one is not asked, for this reason.
    Skip(Arc<Target>, &'static str),
    /// There is nobody left.
    Over,
}

/// A target that may be asked now.
#[derive(Debug)]
pub struct Asked {
    /// Which.
    pub target: Arc<Target>,
    /// Counts it as busy; its outcome is to be told to it.
    pub flight: InFlight,
    /// Nobody is known to come after it.
    pub last: bool,
}

/// One call's way.
#[derive(Debug)]
pub struct Walk {
    next: VecDeque<Stop>,
    /// May be asked once more, not before a time.
    later: Vec<(u64, Arc<Target>)>,
    instead: Vec<(Arc<Target>, Instead)>,
    /// How often each was asked in earnest, and how often at once with something else about it.
    tries: Vec<Tried>,
    rules: RetryRules,
    seed: u64,
}

#[derive(Debug)]
struct Tried {
    target: Arc<Target>,
    asked: u32,
    anew: u32,
}

#[derive(Debug)]
struct Stop {
    target: Arc<Target>,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    First,
    /// With another key, or over a connection that is alive: at once.
    Anew {
        paid: bool,
    },
    Again,
}

impl Walk {
    /// Along this plan.
    pub fn new(plan: Plan, rules: RetryRules, seed: u64) -> Walk {
        let next = plan.targets.into_iter().map(|target| Stop { target, how: How::First }).collect();
        Walk { next, later: Vec::new(), instead: plan.instead, tries: Vec::new(), rules, seed }
    }

    /// Whom to ask now. Asked again whenever its answer was no [`Move::Over`].
    pub fn step(&mut self, health: &Health, now: u64) -> Move {
        let stop = match self.next.pop_front() {
            Some(stop) => stop,
            None => {
                let soonest = self.later.iter().enumerate().min_by_key(|(i, (at, _))| (*at, *i)).map(|(i, _)| i);
                let Some(soonest) = soonest else { return Move::Over };
                let at = self.later[soonest].0;
                if now < at {
                    return Move::Wait(Duration::from_millis(at - now));
                }
                Stop { target: self.later.remove(soonest).1, how: How::Again }
            }
        };
        let Stop { target, how } = stop;
        let last = self.next.is_empty() && self.later.is_empty();
        let knock = match how {
            How::First => Knock::First { percent: self.rules.budget_percent },
            // Not paid for where it could not be sent anyway.
            How::Anew { paid: true } | How::Again if !last && health.closed_until(&target.name, now).is_some() => {
                return Move::Skip(target, "unwell");
            }
            How::Anew { paid: true } | How::Again if !health.again(&target.name, now) => {
                return Move::Skip(target, "retry_budget");
            }
            How::Anew { paid: true } | How::Again => Knock::Again,
            How::Anew { paid: false } => Knock::Again,
        };
        match health.enter(&target.name, knock, last, now) {
            Some(flight) => {
                self.count(&target, how);
                Move::Ask(Asked { target, flight, last })
            }
            None => Move::Skip(target, "unwell"),
        }
    }

    /// Who would be asked next, if anybody is left who was not asked yet.
    pub fn ahead(&self) -> Option<&Arc<Target>> {
        self.next.front().filter(|stop| stop.how == How::First).map(|stop| &stop.target)
    }

    /// A second target beside the one that is being asked, if one is left that is well. It is one request more than the call needs, so
    /// the first one's budget pays: what keeps retries within bounds keeps hedges there too.
    pub fn beside(&mut self, first: &Target, health: &Health, now: u64) -> Option<Asked> {
        let target = Arc::clone(self.ahead()?);
        if !health.again(&first.name, now) {
            return None;
        }
        let flight = health.enter(&target.name, Knock::Again, false, now)?;
        self.next.pop_front();
        self.count(&target, How::First);
        Some(Asked { target, flight, last: false })
    }

    /// It was asked, and failed. `left`: until the call's own deadline. Says whether there is anybody else to ask.
    pub fn failed(&mut self, target: &Arc<Target>, error: &ProviderError, now: u64, left: Duration) -> bool {
        match error.retry {
            // Once: where a second connection is dead too, there is more to it.
            Retry::Here => self.anew(target, false, 1),
            Retry::NextKey => self.anew(target, true, MOST_KEYS),
            Retry::Elsewhere => {
                if let Some(wait) = self.patience(target, error, left) {
                    self.later.push((now.saturating_add(wait), Arc::clone(target)));
                }
            }
            Retry::Never => {
                let reason = match error.code {
                    "context_length_exceeded" => Some(Instead::TooLong),
                    "provider_content_filter" => Some(Instead::Filtered),
                    _ => None,
                };
                let turn = |(_, why): &(Arc<Target>, Instead)| Some(*why) == reason;
                let others = self.instead.iter().filter(|it| turn(it)).map(|(target, _)| Arc::clone(target));
                self.next = others.map(|target| Stop { target, how: How::First }).collect();
                self.later.clear();
                self.instead.retain(|it| !turn(it));
                // Who has refused it already is not asked again.
                self.next.retain(|stop| !self.tries.iter().any(|tried| tried.target.name == stop.target.name));
            }
        }
        !self.next.is_empty() || !self.later.is_empty()
    }

    fn anew(&mut self, target: &Arc<Target>, paid: bool, most: u32) {
        let tried = self.tried(target);
        if tried.anew < most {
            tried.anew += 1;
            self.next.push_front(Stop { target: Arc::clone(target), how: How::Anew { paid } });
        }
    }

    /// How long to wait before the same target is asked again, if it is at all.
    fn patience(&mut self, target: &Arc<Target>, error: &ProviderError, left: Duration) -> Option<u64> {
        let tries = self.tried(target).asked;
        if !error.passes() || tries >= self.rules.attempts {
            return None;
        }
        let most = self.rules.base_ms.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(self.rules.max_ms);
        let chance = unit(mixed(self.seed ^ u64::from(tries) ^ (target.name.len() as u64) << 32));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a wait"
        )]
        let backoff = most / 2 + (chance * (most - most / 2) as f64) as u64;
        let asked = error.retry_after.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let wait = backoff.max(asked);
        // Whoever wants to be left alone for long is: and nobody waits into the call's own end.
        (asked <= self.rules.max_ms && Duration::from_millis(wait) < left).then_some(wait)
    }

    fn count(&mut self, target: &Arc<Target>, how: How) {
        let tried = self.tried(target);
        if !matches!(how, How::Anew { .. }) {
            tried.asked += 1;
        }
    }

    fn tried(&mut self, target: &Arc<Target>) -> &mut Tried {
        let at = self.tries.iter().position(|it| it.target.name == target.name).unwrap_or_else(|| {
            self.tries.push(Tried { target: Arc::clone(target), asked: 0, anew: 0 });
            self.tries.len() - 1
        });
        &mut self.tries[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;
    use crate::health::Outcome;
    use crate::{Fleet, ProviderConfig};

    const LONG: Duration = Duration::from_secs(60);

    fn plan(targets: &[&str], instead: &[(&str, Instead)]) -> Plan {
        let yaml = "{ id: up, kind: vllm, models: [{ id: a }, { id: b }, { id: c }] }";
        let config: ProviderConfig = serde_yaml_ng::from_str(yaml).unwrap();
        let fleet = Fleet::build(&[config], &|_| None).unwrap();
        let target = |name: &str| fleet.target(&format!("up/{name}")).unwrap();
        let instead = instead.iter().map(|(name, why)| (target(name), *why)).collect();
        Plan { targets: targets.iter().map(|it| target(it)).collect(), instead, set_aside: Vec::new() }
    }

    fn failure(name: &str) -> ProviderError {
        let server = |status| ProviderError { status: Some(status), ..ProviderError::new(Class::Server, "x") };
        let limited = |ms| ProviderError {
            status: Some(429),
            retry_after: Some(Duration::from_millis(ms)),
            ..ProviderError::new(Class::RateLimited, "x")
        };
        let rejected = |code| ProviderError { code, status: Some(400), ..ProviderError::new(Class::Rejected, "x") };
        match name {
            "503" => server(503),
            "short" => limited(700),
            "long" => limited(30_000),
            "key" => ProviderError { retry: Retry::NextKey, ..limited(30_000) },
            "stale" => ProviderError { retry: Retry::Here, ..ProviderError::broken("x") },
            "torn" => ProviderError::broken("x"),
            "silent" => ProviderError::new(Class::Timeout, "x"),
            "too long" => rejected("context_length_exceeded"),
            "filtered" => rejected("provider_content_filter"),
            _ => rejected("provider_rejected"),
        }
    }

    /// Plays failures in turn and tells the way: who was asked, `~` for a wait, `-x` for who was passed over.
    fn way(plan: Plan, attempts: u32, failures: &[&str]) -> String {
        let (health, rules) = (Health::new(), RetryRules { attempts, ..RetryRules::default() });
        let (mut walk, mut now, mut way) = (Walk::new(plan, rules, 1), 0, Vec::new());
        let mut failures = failures.iter();
        loop {
            match walk.step(&health, now) {
                Move::Over => return way.join(" "),
                Move::Skip(target, _) => way.push(format!("-{}", target.model)),
                Move::Wait(wait) => {
                    now += wait.as_millis() as u64;
                    way.push("~".to_owned());
                }
                Move::Ask(mut asked) => {
                    way.push(asked.target.model.clone());
                    let Some(name) = failures.next() else { return way.join(" ") };
                    let error = failure(name);
                    asked.flight.ended(Outcome::from(&error), now);
                    walk.failed(&asked.target, &error, now, LONG);
                }
            }
        }
    }

    #[test]
    fn everybody_is_asked_once_before_anybody_is_asked_again() {
        for (attempts, failures, expected) in [
            (1, &["503", "503"][..], &["a b"][..]),
            // Who of two waits less is up to chance.
            (2, &["503", "503"], &["a b ~ a", "a b ~ b"]),
            (2, &["503", "long", "503"], &["a b ~ a"]),
            (3, &["503", "long", "503", "503"], &["a b ~ a ~ a"]),
            (2, &["torn", "silent"], &["a b"]),
            (2, &["long", "503", "503"], &["a b ~ b"]),
            (2, &["short", "503"], &["a b ~ b"]),
            (2, &["short", "long", "503"], &["a b ~ a"]),
            (2, &["other"], &["a"]),
            (2, &["503", "other"], &["a b"]),
        ] {
            let way = way(plan(&["a", "b"], &[]), attempts, failures);
            assert!(expected.contains(&&*way), "{failures:?}: {way}");
        }
    }

    #[test]
    fn another_key_and_another_connection_are_tried_at_once_and_the_latter_once() {
        assert_eq!(way(plan(&["a", "b"], &[]), 1, &["key", "key", "503"]), "a a a b");
        assert_eq!(way(plan(&["a", "b"], &[]), 1, &["stale", "stale", "503"]), "a a b");
    }

    #[test]
    fn fallbacks_are_asked_for_their_reason_alone_and_nobody_is_asked_after_them_who_was_in_line() {
        let instead = [("c", Instead::TooLong), ("b", Instead::Filtered)];
        for (failures, expected) in [
            (&["too long", "other"][..], "a c"),
            (&["filtered", "other"], "a b"),
            (&["other"], "a"),
            (&["503"], "a"),
            (&["too long", "filtered", "other"], "a c b"),
            (&["too long", "too long"], "a c"),
        ] {
            assert_eq!(way(plan(&["a"], &instead), 1, failures), expected, "{failures:?}");
        }
        assert_eq!(way(plan(&["a", "b"], &[("c", Instead::TooLong)]), 1, &["too long"]), "a c");
    }

    #[test]
    fn nobody_waits_into_the_calls_own_end() {
        let (health, rules) = (Health::new(), RetryRules::default());
        let mut walk = Walk::new(plan(&["a"], &[]), rules, 1);
        let Move::Ask(mut asked) = walk.step(&health, 0) else { panic!("nobody is asked") };
        let error = failure("short");
        asked.flight.ended(Outcome::from(&error), 0);
        assert!(!walk.failed(&asked.target, &error, 0, Duration::from_millis(700)));
        assert!(matches!(walk.step(&health, 0), Move::Over));
    }
}
