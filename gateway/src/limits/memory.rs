//! The limits of one process, in its memory: all of a call's at once, or none. Time is handed in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::Timestamp;

use super::bucket::{Bucket, RateState, force, give_back, nanos, take};
use super::chain::{Chain, Cost, Part, Which, Who, parts};

/// Fewer are not worth a look.
const FEWEST_SWEPT: usize = 1_024;
/// Nobody knows when a place is given back.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The tightest of the limits that apply, as the headers tell them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    pub requests: Option<RateState>,
    pub tokens: Option<RateState>,
}

impl Told {
    pub fn add(&mut self, which: Which, state: RateState) {
        let told = match which {
            Which::Requests => &mut self.requests,
            Which::Tokens => &mut self.tokens,
            Which::Places => return,
        };
        if told.is_none_or(|it| (state.remaining, state.limit) < (it.remaining, it.limit)) {
            *told = Some(state);
        }
    }
}

/// One of the limits has not so much left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    pub who: Who,
    pub which: Which,
    pub limit: u64,
    pub retry_after: Duration,
    pub told: Told,
}

/// What is drawn, by whose it is. Only what is limited gets here.
#[derive(Default)]
pub struct Memory(Mutex<Table>);

#[derive(Default)]
struct Table {
    drawn: HashMap<Who, Drawn>,
    /// Whatever says nothing is forgotten when there are so many.
    sweep_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Drawn {
    requests: i128,
    tokens: i128,
    places: u64,
    /// The shared store will let no request of it through before this.
    shut_until: i128,
}

const NOTHING: Drawn = Drawn { requests: 0, tokens: 0, places: 0, shut_until: 0 };

impl Memory {
    /// Draws from all of the chain's limits, each divided by `processes`, or from none.
    ///
    /// # Errors
    /// When one has not so much left: the one that lasts longest.
    pub fn draw(&self, chain: &Chain, cost: Cost, processes: u64, now: Timestamp) -> Result<Told, Box<Turned>> {
        let (mut table, now) = (self.table(now), nanos(now));
        let told = table.look(chain, cost, processes, now)?;
        for part in parts(chain, cost) {
            table.put(shared_by(part, processes), true, now);
        }
        Ok(told)
    }

    /// What a draw would say. Draws nothing.
    ///
    /// # Errors
    /// As a draw.
    pub fn look(&self, chain: &Chain, cost: Cost, processes: u64, now: Timestamp) -> Result<Told, Box<Turned>> {
        self.table(now).look(chain, cost, processes, nanos(now))
    }

    /// Remembers what was drawn elsewhere, as far as this process's part of it goes: if the store is lost, what is left of that
    /// part is known. Nothing is owed here: who used more than its part has none left, and goes on as it fills.
    pub fn note(&self, chain: &Chain, cost: Cost, processes: u64, now: Timestamp) {
        let (mut table, now) = (self.table(now), nanos(now));
        for part in parts(chain, cost) {
            table.put(shared_by(part, processes), false, now);
        }
    }

    /// The tokens of a call are known: what it used beyond or below what was drawn for it, here or (`elsewhere`) there.
    pub fn settle(&self, chain: &Chain, drawn: u64, used: u64, elsewhere: bool, processes: u64, now: Timestamp) {
        let (mut table, at) = (self.table(now), nanos(now));
        for part in parts(chain, Cost { requests: 0, tokens: 0, place: false }) {
            let Part { who, which: Which::Tokens, limit, .. } = shared_by(part, processes) else { continue };
            let bucket = Bucket { per_minute: limit, owes: !elsewhere };
            let entry = table.drawn.entry(who).or_insert(NOTHING);
            entry.tokens = match used >= drawn {
                true => force(entry.tokens, bucket, used - drawn, at),
                false => give_back(entry.tokens, bucket, drawn - used),
            };
        }
    }

    /// Gives the places back, and tokens that were drawn for nothing.
    pub fn leave(&self, chain: &Chain, tokens: u64, place: bool, processes: u64) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts(chain, Cost { requests: 0, tokens, place }) {
            let Part { who, which, limit, cost } = shared_by(part, processes);
            let Some(entry) = table.drawn.get_mut(&who) else { continue };
            match which {
                Which::Requests => {}
                Which::Tokens => entry.tokens = give_back(entry.tokens, Bucket::owing(limit), cost),
                Which::Places => entry.places = entry.places.saturating_sub(1),
            }
        }
    }

    /// The shared store has no request left for this one until then: it need not be asked again before.
    pub fn shut(&self, turned: &Turned, now: Timestamp) {
        if turned.which == Which::Requests {
            let mut table = self.table(now);
            let until = nanos(now.after(turned.retry_after));
            table.drawn.entry(turned.who).or_insert(NOTHING).shut_until = until;
        }
    }

    /// Who of the chain is shut out, and for how long.
    pub fn shut_out(&self, chain: &Chain, now: Timestamp) -> Option<Turned> {
        let (table, now) = (self.table(now), nanos(now));
        parts(chain, Cost::QUESTION).filter(|part| part.which == Which::Requests).find_map(|part| {
            let until = table.drawn.get(&part.who)?.shut_until;
            // A clock set back must not lock anybody out.
            let left = u64::try_from(until - now).ok().filter(|left| (1..=60_000_000_000).contains(left))?;
            let state = RateState { limit: part.limit, remaining: 0, reset: Duration::from_nanos(left) };
            let told = Told { requests: Some(state), tokens: None };
            let retry_after = Duration::from_nanos(left);
            Some(Turned { who: part.who, which: part.which, limit: part.limit, retry_after, told })
        })
    }

    // A bucket is whole at any moment: a panic elsewhere leaves nothing half done in it.
    fn table(&self, now: Timestamp) -> MutexGuard<'_, Table> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.drawn.len() >= table.sweep_at.max(FEWEST_SWEPT) {
            let now = nanos(now);
            table.drawn.retain(|_, it| it.places > 0 || it.requests.max(it.tokens).max(it.shut_until) > now);
            table.sweep_at = table.drawn.len() * 2;
        }
        table
    }
}

/// A process's part of a limit: never nothing.
fn shared_by(part: Part, processes: u64) -> Part {
    Part { limit: (part.limit / processes.max(1)).max(1), ..part }
}

impl Table {
    fn look(&self, chain: &Chain, cost: Cost, processes: u64, now: i128) -> Result<Told, Box<Turned>> {
        let (mut told, mut turned) = (Told::default(), None::<Turned>);
        for part in parts(chain, cost) {
            let Part { who, which, limit, cost } = shared_by(part, processes);
            let drawn = self.drawn.get(&who).copied().unwrap_or(NOTHING);
            let taken = match which {
                Which::Requests => take(drawn.requests, Bucket::of(limit), cost, now),
                Which::Tokens => take(drawn.tokens, Bucket::owing(limit), cost, now),
                Which::Places if drawn.places < limit => continue,
                Which::Places => {
                    turned = longest(turned, Turned { who, which, limit, retry_after: A_MOMENT, told });
                    continue;
                }
            };
            match taken {
                Ok((_, state)) => told.add(which, state),
                Err(refused) => {
                    told.add(which, refused.state);
                    turned = longest(turned, Turned { who, which, limit, retry_after: refused.retry_after, told });
                }
            }
        }
        turned.map_or(Ok(told), |turned| Err(Box::new(Turned { told, ..turned })))
    }

    fn put(&mut self, part: Part, owes: bool, now: i128) {
        let entry = self.drawn.entry(part.who).or_insert(NOTHING);
        match part.which {
            Which::Requests => entry.requests = force(entry.requests, Bucket::of(part.limit), part.cost, now),
            Which::Tokens => {
                entry.tokens = force(entry.tokens, Bucket { per_minute: part.limit, owes }, part.cost, now)
            }
            Which::Places => entry.places += 1,
        }
    }
}

fn longest(one: Option<Turned>, other: Turned) -> Option<Turned> {
    one.filter(|one| one.retry_after >= other.retry_after).or(Some(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Id, Limits};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(Duration::from_secs(seconds))
    }

    fn key(name: u128) -> Who {
        Who::Key(Id::from_uuid(uuid::Uuid::from_u128(name)))
    }

    fn team(name: u128) -> Who {
        Who::Team(Id::from_uuid(uuid::Uuid::from_u128(name)))
    }

    fn limits(rpm: u32, tpm: u64, max_parallel: u32) -> Limits {
        let some = |it: u32| Some(it).filter(|it| *it > 0);
        Limits { rpm: some(rpm), tpm: Some(tpm).filter(|it| *it > 0), max_parallel: some(max_parallel) }
    }

    fn call(tokens: u64) -> Cost {
        Cost { requests: 1, tokens, place: true }
    }

    #[test]
    fn a_refusal_draws_nothing_from_any_and_names_the_limit_that_lasts_longest() {
        let memory = Memory::default();
        let chain = Chain::new([Some((key(1), limits(10, 1_000, 0))), Some((team(1), limits(2, 0, 3))), None]);
        let told = memory.draw(&chain, call(400), 1, at(0)).expect("room");
        assert_eq!(told.requests.map(|it| (it.limit, it.remaining)), Some((2, 1)), "the tightest is told");
        assert_eq!(told.tokens.map(|it| it.remaining), Some(600));
        for _ in 0..50 {
            let turned = memory.draw(&chain, call(700), 1, at(0)).unwrap_err();
            assert_eq!((turned.who, turned.which, turned.limit), (key(1), Which::Tokens, 1_000));
            assert_eq!(turned.retry_after, Duration::from_secs(6), "100 tokens short");
            assert_eq!(turned.told.tokens.map(|it| it.remaining), Some(600), "what is left is told");
        }
        let told = memory.draw(&chain, call(600), 1, at(0)).expect("nothing was drawn by the refusals");
        assert_eq!((told.requests.unwrap().remaining, told.tokens.unwrap().remaining), (0, 0));
        let turned = memory.draw(&chain, call(1), 1, at(0)).unwrap_err();
        assert_eq!(
            (turned.who, turned.which),
            (team(1), Which::Requests),
            "30 s, where the key's tokens last a moment"
        );
        assert!(memory.draw(&Chain::new([Some((key(2), limits(1, 0, 0))), None, None]), call(1), 1, at(0)).is_ok());
    }

    #[test]
    fn concurrent_calls_cannot_overshoot_by_more_than_their_estimates_were_wrong() {
        let memory = Memory::default();
        let chain = Chain::new([Some((key(1), limits(0, 1_000, 0))), None, None]);
        let admitted = (0..50).filter(|_| memory.draw(&chain, call(250), 1, at(0)).is_ok()).count();
        assert_eq!(admitted, 4, "not one more while none has ended");
        memory.settle(&chain, 250, 50, false, 1, at(0));
        assert_eq!(memory.look(&chain, call(200), 1, at(0)).map(|it| it.tokens.unwrap().remaining), Ok(0), "corrected");
        memory.leave(&chain, 250, true, 1);
        assert!(memory.look(&chain, call(450), 1, at(0)).is_ok(), "a call that came to nothing used nothing");
        memory.settle(&chain, 250, 1_250, false, 1, at(0));
        assert!(memory.look(&chain, call(1), 1, at(30)).is_err(), "what was used beyond is owed");
    }

    #[test]
    fn places_are_given_back_and_belong_to_whoever_has_them() {
        let memory = Memory::default();
        let one = Chain::new([Some((key(1), limits(0, 0, 2))), Some((team(1), limits(0, 0, 3))), None]);
        let other = Chain::new([Some((key(2), limits(0, 0, 2))), Some((team(1), limits(0, 0, 3))), None]);
        for chain in [&one, &one, &other] {
            assert_eq!(memory.draw(chain, call(0), 1, at(0)), Ok(Told::default()));
        }
        let refused = |chain| memory.draw(chain, call(0), 1, at(3_600)).unwrap_err().who;
        assert_eq!((refused(&one), refused(&other)), (key(1), team(1)), "time gives no place back");
        memory.leave(&one, 0, true, 1);
        assert!(memory.draw(&other, call(0), 1, at(0)).is_ok());
        assert_eq!(refused(&one), team(1));
    }

    #[test]
    fn a_share_is_never_nothing_and_knows_what_was_drawn_elsewhere() {
        let memory = Memory::default();
        let chain = Chain::new([Some((key(1), limits(10, 0, 0))), None, None]);
        for _ in 0..3 {
            memory.note(&chain, call(0), 2, at(0));
        }
        let admitted = |processes| (0..20).filter(|_| memory.draw(&chain, call(0), processes, at(0)).is_ok()).count();
        assert_eq!(admitted(2), 2, "five are its half, and three are used");
        let few = Chain::new([Some((key(2), limits(1, 0, 1))), None, None]);
        assert!(memory.draw(&few, call(0), 9, at(0)).is_ok(), "a ninth of one is one");
        let busy = Chain::new([Some((key(3), limits(0, 600, 0))), None, None]);
        memory.note(&busy, call(600), 6, at(0));
        assert!(memory.draw(&busy, call(1), 6, at(1)).is_ok(), "who used more than its share owes nothing");
    }

    #[test]
    fn who_is_shut_out_is_not_asked_for_again_until_then() {
        let memory = Memory::default();
        let chain = Chain::new([Some((key(1), limits(10, 0, 0))), None, None]);
        let (which, told) = (Which::Requests, Told::default());
        let turned = Turned { who: key(1), which, limit: 10, retry_after: Duration::from_secs(5), told };
        memory.shut(&turned, at(0));
        assert_eq!(memory.shut_out(&chain, at(1)).map(|it| it.retry_after), Some(Duration::from_secs(4)));
        assert_eq!(memory.shut_out(&chain, at(5)), None);
        memory.shut(&turned, at(86_400));
        assert_eq!(memory.shut_out(&chain, at(0)), None, "a clock set back");
    }

    #[test]
    fn what_says_nothing_is_forgotten() {
        let memory = Memory::default();
        for name in 0..10_000_u64 {
            let chain = Chain::new([Some((key(u128::from(name)), limits(60, 0, 1))), None, None]);
            assert!(memory.draw(&chain, call(0), 1, at(name * 2)).is_ok());
            if name != 7 {
                memory.leave(&chain, 0, true, 1);
            }
        }
        let table = memory.0.lock().unwrap();
        assert!(table.drawn.len() <= FEWEST_SWEPT && table.drawn.contains_key(&key(7)), "who has a place is not");
    }
}
