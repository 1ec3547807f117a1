//! The rules of money. Pure: wallets and an operation in, what moves or why not out. Both databases, the tests and the
//! simulation decide here and nowhere else.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::error::OverLimit;
use crate::hold::SoftWarning;
use crate::id::{Id, Wallet};
use crate::money::Money;
use crate::order::Estimate;
use crate::soft::{SoftAction, Thresholds};
use crate::window::{Calendar, Period};

/// What a wallet allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    pub suspended: bool,
    /// For good.
    pub closed: bool,
    /// Most that may be spent and held in a window.
    pub hard_limit: Option<Money>,
    pub soft_limit: Option<Money>,
    /// More soft limits.
    pub thresholds: Thresholds,
    /// What happens to a call that would bring the wallet past one of its soft limits.
    pub soft_action: SoftAction,
    pub window: Calendar,
    /// Whether no more may be spent, ever, than was funded.
    pub prepaid: bool,
    pub funded: Money,
}

/// A wallet in one of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leg {
    pub wallet: Id<Wallet>,
    pub window: Period,
}

/// What was spent and is held in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    pub spent: Money,
    pub held: Money,
    /// The highest soft limit that was warned about.
    pub warned: Option<Money>,
}

/// The wallets that an operation may touch, as they stand.
#[derive(Debug, Clone, Default)]
pub struct Wallets {
    pub terms: HashMap<Id<Wallet>, Terms>,
    /// A window that is not there has seen nothing.
    pub counters: HashMap<Leg, Counter>,
    /// Spent and held in all windows together: of prepaid wallets.
    pub ever: HashMap<Id<Wallet>, Counter>,
    /// What `apply` changed.
    pub touched: BTreeSet<Leg>,
    pub funded: BTreeSet<Id<Wallet>>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Op<'a> {
    /// Holds `amount` in every wallet of the chain, or by its estimate less. A call that was downgraded already is not asked
    /// for a cheaper plan again.
    Reserve { chain: &'a [Id<Wallet>], amount: Money, estimate: Option<Estimate>, downgraded: bool },
    /// Holds more where something is held already.
    Grow { legs: &'a [Leg], by: Money },
    /// Charges what was used, and frees the rest.
    Settle { legs: &'a [Leg], held: Money, price: Money },
    /// Frees all.
    Release { legs: &'a [Leg], held: Money },
    /// Charges all that is held.
    Expire { legs: &'a [Leg], held: Money },
    /// Charges what nothing was held for. As a reserve, it needs room in every wallet.
    Charge { chain: &'a [Id<Wallet>], price: Money },
    /// Brings what was charged to another price: as far as there is room, and not below what was refunded since.
    /// `overrun` is what of the old price was booked as such.
    Adjust { legs: &'a [Leg], booked: Money, overrun: Money, price: Money, refunded: Money },
    /// Gives back some of what was charged.
    Refund { legs: &'a [Leg], amount: Money },
    /// Puts money into one wallet.
    Fund { wallet: Id<Wallet>, amount: Money },
}

/// What moved, in every wallet of `legs` alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Movement {
    /// As the journal calls it.
    pub kind: &'static str,
    pub legs: Vec<Leg>,
    pub held_delta: Money,
    pub spent_delta: Money,
    pub funded_delta: Money,
    /// What the call is charged in all, after this.
    pub price: Money,
    /// What of the call's price could not be charged, after this; and by how much that is more than before.
    pub overrun: Money,
    pub overrun_delta: Money,
    /// Wallets past a soft limit, each with the highest that it is past.
    pub warnings: Vec<SoftWarning>,
    /// Soft limits that were not passed before in their window, lowest first.
    pub crossed: Vec<SoftWarning>,
}

/// Why nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    OverLimit(OverLimit),
    /// The same, where only what is held is in the way: were nothing held, every wallet would have room.
    Held(OverLimit),
    Suspended(Id<Wallet>),
    Closed(Id<Wallet>),
    /// A cheaper plan is to be asked for first.
    Downgrade(Id<Wallet>),
    Unknown(Id<Wallet>),
    /// A sum that cannot be told in 64 bits.
    TooLarge,
}

/// Decides an operation, and moves what it moves. A denied one moves nothing.
pub fn apply(wallets: &mut Wallets, at: Timestamp, op: &Op<'_>) -> Result<Movement, Denial> {
    match *op {
        Op::Reserve { chain, amount, estimate, downgraded } => {
            let legs = wallets.current(chain, at)?;
            let amount = wallets.ask(&legs, amount, estimate);
            wallets.open(&legs)?;
            if !downgraded && let Some(wallet) = wallets.wants_less(&legs, amount) {
                return Err(Denial::Downgrade(wallet));
            }
            wallets.fits(&legs, amount)?;
            let mut movement = wallets.move_all("reserve", legs, amount, Money::ZERO)?;
            wallets.warn(&mut movement);
            Ok(movement)
        }
        Op::Grow { legs, by } => {
            wallets.open(legs)?;
            wallets.fits(legs, by)?;
            let mut movement = wallets.move_all("grow", legs.to_vec(), by, Money::ZERO)?;
            wallets.warn(&mut movement);
            Ok(movement)
        }
        Op::Settle { legs, held, price: asked } => {
            let price = asked.min(held.plus(wallets.room(legs)).unwrap_or(Money::MAX));
            let overrun = overrun(asked, price)?;
            let movement = wallets.move_all("settle", legs.to_vec(), minus(Money::ZERO, held)?, price)?;
            Ok(Movement { price, overrun, overrun_delta: overrun, ..movement })
        }
        Op::Release { legs, held } => {
            wallets.move_all("release", legs.to_vec(), minus(Money::ZERO, held)?, Money::ZERO)
        }
        Op::Expire { legs, held } => {
            let movement = wallets.move_all("expire", legs.to_vec(), minus(Money::ZERO, held)?, held)?;
            Ok(Movement { price: held, ..movement })
        }
        Op::Charge { chain, price } => {
            let legs = wallets.current(chain, at)?;
            wallets.open(&legs)?;
            wallets.fits(&legs, price)?; // there is no cheaper plan for what is delivered
            let mut movement = wallets.move_all("settle", legs, Money::ZERO, price)?;
            wallets.warn(&mut movement);
            Ok(Movement { price, ..movement })
        }
        Op::Adjust { legs, booked, overrun: was, price: asked, refunded } => {
            let most = booked.plus(wallets.room(legs)).unwrap_or(Money::MAX);
            let price = asked.min(most).max(refunded);
            let overrun = overrun(asked, price)?;
            let overrun_delta = minus(overrun, was)?;
            let movement = wallets.move_all("adjust", legs.to_vec(), Money::ZERO, minus(price, booked)?)?;
            Ok(Movement { price, overrun, overrun_delta, ..movement })
        }
        Op::Refund { legs, amount } => {
            wallets.move_all("refund", legs.to_vec(), Money::ZERO, minus(Money::ZERO, amount)?)
        }
        Op::Fund { wallet, amount } => {
            let terms = wallets.terms.get_mut(&wallet).ok_or(Denial::Unknown(wallet))?;
            if terms.closed {
                return Err(Denial::Closed(wallet));
            }
            terms.funded = terms.funded.plus(amount).ok_or(Denial::TooLarge)?;
            wallets.funded.insert(wallet);
            let legs = vec![Leg { wallet, window: terms.window.period(at) }];
            Ok(Movement { kind: "fund", legs, funded_delta: amount, ..Movement::default() })
        }
    }
}

/// The most of one call's price that is booked as overrun, some nine million dollars. What is beyond it is a provider's
/// slip, or ours: the account of all overrun must not come to where no sum can be told, and no call be settled.
pub const MOST_OVERRUN: Money = Money::from_nanos(i64::MAX / 1024);

/// What of a price cannot be charged.
pub(crate) fn overrun(asked: Money, price: Money) -> Result<Money, Denial> {
    Ok(minus(asked, price)?.clamp(Money::ZERO, MOST_OVERRUN))
}

fn minus(a: Money, b: Money) -> Result<Money, Denial> {
    a.minus(b).ok_or(Denial::TooLarge)
}

impl Wallets {
    /// How much of a worst case is to be held: all of it where that is little, else what the call will likely need.
    fn ask(&self, legs: &[Leg], worst: Money, estimate: Option<Estimate>) -> Money {
        let Some(estimate) = estimate else { return worst };
        let free = self.least(legs, Wallets::admitting).nanos();
        if worst.nanos() <= free / 100 {
            return worst;
        }
        let least = if estimate.elastic { Money::ZERO } else { Money::from_nanos(free / 10) };
        estimate.amount.max(least).min(worst)
    }

    /// The wallets of a chain, each in its window of this time.
    fn current(&self, chain: &[Id<Wallet>], at: Timestamp) -> Result<Vec<Leg>, Denial> {
        let leg = |&wallet| {
            let terms = self.terms.get(&wallet).ok_or(Denial::Unknown(wallet))?;
            Ok(Leg { wallet, window: terms.window.period(at) })
        };
        chain.iter().map(leg).collect()
    }

    /// Suspended or closed, a wallet admits nothing.
    fn open(&self, legs: &[Leg]) -> Result<(), Denial> {
        for leg in legs {
            let terms = self.terms.get(&leg.wallet).ok_or(Denial::Unknown(leg.wallet))?;
            if terms.closed {
                return Err(Denial::Closed(leg.wallet));
            }
            if terms.suspended {
                return Err(Denial::Suspended(leg.wallet));
            }
        }
        Ok(())
    }

    /// The first wallet that would come past a soft limit of its own by this and wants a cheaper plan then. It is asked before
    /// it is seen whether the amount fits at all: a cheaper plan may. What costs nothing cannot be had for less.
    fn wants_less(&self, legs: &[Leg], amount: Money) -> Option<Id<Wallet>> {
        let past = |leg: &&Leg| {
            let Some(terms) = self.terms.get(&leg.wallet).filter(|terms| terms.soft_action == SoftAction::Downgrade)
            else {
                return false;
            };
            let counter = self.counters.get(leg).copied().unwrap_or_default();
            let used = counter.used().plus(amount).unwrap_or(Money::MAX);
            terms.soft_limits().any(|limit| used > limit)
        };
        legs.iter().filter(|_| amount > Money::ZERO).find(past).map(|leg| leg.wallet)
    }

    /// Nothing moves unless every wallet has room. One with nothing free admits no call, not even one that costs nothing.
    fn fits(&self, legs: &[Leg], amount: Money) -> Result<(), Denial> {
        let least = i128::from(amount.nanos().max(1));
        for leg in legs {
            let terms = self.terms.get(&leg.wallet).ok_or(Denial::Unknown(leg.wallet))?;
            if let Some(bound) = self.admitting(leg, terms).find(|bound| bound.free() < least) {
                let over = OverLimit {
                    wallet: leg.wallet,
                    limit: bound.allowance,
                    spent: bound.counter.spent,
                    held: bound.counter.held,
                    asked: amount,
                    window: leg.window.kind(),
                    // A hold from before the calendar was changed counts in a window that this calendar does not end.
                    resets_at: terms.window.end(leg.window).filter(|_| bound.resets),
                };
                let known = legs.iter().filter_map(|leg| Some((leg, self.terms.get(&leg.wallet)?)));
                let mut bounds = known.flat_map(|(leg, terms)| self.admitting(leg, terms));
                let is_held = bounds.all(|bound| bound.unheld() >= least);
                return Err(if is_held { Denial::Held(over) } else { Denial::OverLimit(over) });
            }
        }
        Ok(())
    }

    /// What bounds a wallet: its hard limit in this window, and its funds in all.
    fn bounds(&self, leg: &Leg, terms: &Terms) -> impl Iterator<Item = Bound> + use<> {
        let counter = self.counters.get(leg).copied().unwrap_or_default();
        let ever = self.ever.get(&leg.wallet).copied().unwrap_or_default();
        let no_limit = !terms.prepaid && terms.hard_limit.is_none();
        // Without any limit the bound is what can be told at all.
        let limit = terms.hard_limit.or(no_limit.then_some(Money::MAX));
        let funds = terms.prepaid.then_some(Bound { allowance: terms.funded, counter: ever, resets: false });
        funds.into_iter().chain(limit.map(|allowance| Bound { allowance, counter, resets: true }))
    }

    /// The same, and a soft limit that blocks: it bounds what is admitted, never what is charged for what was admitted.
    fn admitting(&self, leg: &Leg, terms: &Terms) -> impl Iterator<Item = Bound> + use<> {
        let counter = self.counters.get(leg).copied().unwrap_or_default();
        let soft = terms.blocks_at().map(|allowance| Bound { allowance, counter, resets: true });
        self.bounds(leg, terms).chain(soft)
    }

    /// What every wallet of the legs could still be charged.
    fn room(&self, legs: &[Leg]) -> Money {
        self.least(legs, Wallets::bounds)
    }

    /// The least that any of these bounds leaves free.
    fn least<B: Iterator<Item = Bound>>(&self, legs: &[Leg], bounds: impl Fn(&Wallets, &Leg, &Terms) -> B) -> Money {
        let known = legs.iter().filter_map(|leg| Some((leg, self.terms.get(&leg.wallet)?)));
        let least = known.flat_map(|(leg, terms)| bounds(self, leg, terms)).map(|bound| bound.free()).min();
        Money::from_nanos(i64::try_from(least.unwrap_or(0).max(0)).unwrap_or(i64::MAX))
    }

    /// Moves the same amounts in all wallets, or in none.
    fn move_all(
        &mut self,
        kind: &'static str,
        legs: Vec<Leg>,
        held_delta: Money,
        spent_delta: Money,
    ) -> Result<Movement, Denial> {
        let moved = |counter: Counter| {
            let held = counter.held.plus(held_delta).ok_or(Denial::TooLarge)?;
            let spent = counter.spent.plus(spent_delta).ok_or(Denial::TooLarge)?;
            spent.plus(held).ok_or(Denial::TooLarge)?;
            Ok(Counter { spent, held, ..counter })
        };
        let mut after = Vec::with_capacity(legs.len());
        for leg in &legs {
            let counter = moved(self.counters.get(leg).copied().unwrap_or_default())?;
            let ever = self.ever.get(&leg.wallet).map(|ever| moved(*ever)).transpose()?;
            after.push((*leg, counter, ever));
        }
        for (leg, counter, ever) in after {
            self.counters.insert(leg, counter);
            self.touched.insert(leg);
            if let Some(ever) = ever {
                self.ever.insert(leg.wallet, ever);
            }
        }
        Ok(Movement { kind, legs, held_delta, spent_delta, ..Movement::default() })
    }

    fn warn(&mut self, movement: &mut Movement) {
        for leg in &movement.legs {
            let Some(terms) = self.terms.get(&leg.wallet) else { continue };
            let Some(counter) = self.counters.get_mut(leg) else { continue };
            let used = counter.used();
            let warning = |soft_limit| SoftWarning { wallet: leg.wallet, soft_limit, used };
            let past = || terms.soft_limits().filter(|limit| used > *limit);
            let Some(highest) = past().max() else { continue };
            movement.warnings.push(warning(highest));
            if counter.warned.is_some_and(|warned| warned >= highest) {
                continue;
            }
            let mut crossed: Vec<Money> =
                past().filter(|limit| counter.warned.is_none_or(|warned| *limit > warned)).collect();
            crossed.sort_unstable();
            crossed.dedup();
            movement.crossed.extend(crossed.into_iter().map(warning));
            counter.warned = Some(highest);
        }
    }
}

impl Terms {
    /// All soft limits, in no order.
    pub fn soft_limits(&self) -> impl Iterator<Item = Money> + '_ {
        let more = self.thresholds.iter().filter_map(|threshold| threshold.amount(self.hard_limit));
        self.soft_limit.into_iter().chain(more)
    }

    /// The soft limit above which nothing is admitted, if one blocks.
    pub fn blocks_at(&self) -> Option<Money> {
        (self.soft_action == SoftAction::Block).then(|| self.soft_limits().min()).flatten()
    }
}

impl Counter {
    /// Spent and held.
    fn used(&self) -> Money {
        self.spent.plus(self.held).unwrap_or(Money::MAX)
    }
}

struct Bound {
    allowance: Money,
    counter: Counter,
    resets: bool,
}

impl Bound {
    fn free(&self) -> i128 {
        i128::from(self.allowance.nanos())
            - i128::from(self.counter.spent.nanos())
            - i128::from(self.counter.held.nanos())
    }

    /// What were free if nothing were held.
    fn unheld(&self) -> i128 {
        self.free() + i128::from(self.counter.held.nanos())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::window::{Window, Zone};

    const START: Timestamp = Timestamp::from_micros(1_773_230_400_000_000);

    fn id(n: u128) -> Id<Wallet> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn nanos(n: i64) -> Money {
        Money::from_nanos(n)
    }

    /// What a caller may try. The numbers choose among what is open at the time.
    #[derive(Debug, Clone)]
    enum Step {
        Reserve { leaf: usize, amount: i64, downgraded: bool },
        Grow { hold: usize, by: i64 },
        Settle { hold: usize, price: i64 },
        Release { hold: usize },
        Expire { hold: usize },
        Charge { leaf: usize, price: i64 },
        Adjust { charge: usize, price: i64 },
        Refund { charge: usize, amount: i64 },
        Fund { wallet: usize, amount: i64 },
        Limit { wallet: usize, limit: Option<i64> },
        Suspend { wallet: usize, yes: bool },
        Wait { hours: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = 0_usize..64;
        prop_oneof![
            4 => (0_usize..3, 0_i64..400, any::<bool>())
                .prop_map(|(leaf, amount, downgraded)| Step::Reserve { leaf, amount, downgraded }),
            1 => (some.clone(), 0_i64..200).prop_map(|(hold, by)| Step::Grow { hold, by }),
            3 => (some.clone(), 0_i64..600).prop_map(|(hold, price)| Step::Settle { hold, price }),
            1 => some.clone().prop_map(|hold| Step::Release { hold }),
            1 => some.clone().prop_map(|hold| Step::Expire { hold }),
            1 => (0_usize..3, 0_i64..300).prop_map(|(leaf, price)| Step::Charge { leaf, price }),
            2 => (some.clone(), 0_i64..600).prop_map(|(charge, price)| Step::Adjust { charge, price }),
            1 => (some, 1_i64..300).prop_map(|(charge, amount)| Step::Refund { charge, amount }),
            1 => (0_usize..5, 1_i64..500).prop_map(|(wallet, amount)| Step::Fund { wallet, amount }),
            1 => (0_usize..6, prop::option::of(0_i64..2_000)).prop_map(|(wallet, limit)| Step::Limit { wallet, limit }),
            1 => (0_usize..6, any::<bool>()).prop_map(|(wallet, yes)| Step::Suspend { wallet, yes }),
            1 => (1_u64..40).prop_map(|hours| Step::Wait { hours }),
        ]
    }

    /// Six wallets: a root, a team of prepaid money, three leaves with windows of their own, and one of no chain that the
    /// second leaf's calls have to satisfy too. Some want less past a threshold, or block at it.
    fn wallets() -> (Wallets, [Vec<Id<Wallet>>; 3]) {
        let mut wallets = Wallets::default();
        let berlin: Zone = "Europe/Berlin".parse().expect("a zone");
        let terms = |window: Window, limit: Option<i64>, prepaid| Terms {
            window: window.into(),
            hard_limit: limit.map(nanos),
            soft_limit: Some(nanos(300)),
            prepaid,
            funded: if prepaid { nanos(900) } else { Money::ZERO },
            ..Terms::default()
        };
        let thresholds = |texts: &[&str]| {
            let all: Vec<_> = texts.iter().map(|text| text.parse().expect("a threshold")).collect();
            Thresholds::new(&all).expect("few")
        };
        let month = Calendar::new(Window::Month, berlin, Some(12)).expect("a day");
        let many = thresholds(&["50%", "0.0000008", "90%", "100%"]);
        wallets
            .terms
            .insert(id(0), Terms { window: month, thresholds: many, ..terms(Window::Month, Some(2_000), false) });
        wallets.terms.insert(id(1), terms(Window::Day, None, true));
        let soft_action = SoftAction::Downgrade;
        wallets.terms.insert(id(2), Terms { soft_action, ..terms(Window::Day, Some(500), false) });
        let week = Calendar::new(Window::Week, berlin, Some(4)).expect("a day");
        wallets.terms.insert(id(3), Terms { window: week, ..terms(Window::Week, Some(700), false) });
        wallets.terms.insert(id(4), terms(Window::None, None, false));
        let (soft_action, soft_limit) = (SoftAction::Block, None);
        let thresholds = thresholds(&["80%", "0.0000006"]);
        let blocks = Terms { soft_action, soft_limit, thresholds, ..terms(Window::Day, Some(700), false) };
        wallets.terms.insert(id(5), blocks);
        wallets.ever.insert(id(1), Counter::default());
        (wallets, [vec![id(2), id(1), id(0)], vec![id(3), id(0), id(5)], vec![id(4), id(1), id(0)]])
    }

    fn sum(counter: &Counter) -> i64 {
        counter.spent.nanos() + counter.held.nanos()
    }

    fn ever(wallets: &Wallets, wallet: Id<Wallet>) -> i64 {
        wallets.counters.iter().filter(|(leg, _)| leg.wallet == wallet).map(|(_, counter)| sum(counter)).sum()
    }

    /// The rules of the contract, between what was before an operation and what came after.
    fn obeys(before: &Wallets, after: &Wallets, outcome: &Result<Movement, Denial>) {
        let Ok(movement) = outcome else {
            assert_eq!(before.counters, after.counters, "a denied operation moves nothing");
            assert_eq!(before.terms, after.terms);
            return;
        };
        for (leg, counter) in &after.counters {
            let was = before.counters.get(leg).copied().unwrap_or_default();
            let deltas = (counter.held.nanos() - was.held.nanos(), counter.spent.nanos() - was.spent.nanos());
            if movement.legs.contains(leg) {
                assert_eq!(deltas, (movement.held_delta.nanos(), movement.spent_delta.nanos()), "all move alike");
            } else {
                assert_eq!(deltas, (0, 0), "and nobody else");
            }
            assert!(counter.held >= Money::ZERO && counter.spent >= Money::ZERO, "{leg:?} {counter:?}");
            let terms = &after.terms[&leg.wallet];
            let (now, then) = (sum(counter), sum(&was));
            if terms.soft_action == SoftAction::Block && ["reserve", "grow"].contains(&movement.kind) {
                let least = terms.soft_limits().map(Money::nanos).min().unwrap_or(i64::MAX);
                assert!(
                    now <= then.max(least),
                    "{leg:?} was admitted from {then} to {now} above {least}, which blocks"
                );
            }
            assert!(counter.warned >= was.warned, "what was warned about stays so");
            let crossed = movement.crossed.iter().filter(|it| it.wallet == leg.wallet && movement.legs.contains(leg));
            let crossed: Vec<Money> = crossed.map(|it| it.soft_limit).collect();
            assert!(crossed.windows(2).all(|pair| pair[0] < pair[1]), "{crossed:?}");
            assert!(
                crossed.iter().all(|limit| Some(*limit) > was.warned && limit.nanos() < now),
                "once each: {crossed:?}"
            );
            if let Some(limit) = terms.hard_limit {
                assert!(now <= then.max(limit.nanos()), "{leg:?} rose from {then} to {now} above {limit:?}");
            }
        }
        for (wallet, terms) in after.terms.iter().filter(|(_, terms)| terms.prepaid) {
            assert_eq!(ever(after, *wallet), sum(&after.ever[wallet]));
            assert!(ever(after, *wallet) <= ever(before, *wallet).max(terms.funded.nanos()), "spent once");
        }
    }

    /// What a call was charged, as its receipt has it.
    #[derive(Debug, Clone)]
    struct Charged {
        legs: Vec<Leg>,
        price: i64,
        overrun: i64,
        refunded: i64,
    }

    impl Charged {
        fn by(legs: Vec<Leg>, movement: &Movement) -> Charged {
            Charged { legs, price: movement.price.nanos(), overrun: movement.overrun.nanos(), refunded: 0 }
        }
    }

    /// Whether every wallet of the chain has room for so much, told another way than the book does.
    fn fits(book: &Wallets, chain: &[Id<Wallet>], at: Timestamp, amount: i64, downgraded: bool) -> bool {
        chain.iter().all(|wallet| {
            let terms = &book.terms[wallet];
            let leg = Leg { wallet: *wallet, window: terms.window.period(at) };
            let used = sum(&book.counters.get(&leg).copied().unwrap_or_default());
            let by_limit = terms.hard_limit.is_none_or(|limit| limit.nanos() - used >= amount.max(1));
            let by_funds = !terms.prepaid || terms.funded.nanos() - ever(book, *wallet) >= amount.max(1);
            let soft = terms.soft_limits().map(Money::nanos).min().unwrap_or(i64::MAX);
            let by_block = terms.soft_action != SoftAction::Block || soft - used >= amount.max(1);
            let past = used + amount > soft && amount > 0;
            let by_plan = terms.soft_action != SoftAction::Downgrade || downgraded || !past;
            !terms.suspended && !terms.closed && by_limit && by_funds && by_block && by_plan
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn no_order_of_operations_breaks_a_rule(steps in prop::collection::vec(step(), 1..80)) {
            let (mut book, chains) = wallets();
            let mut at = START;
            let mut holds: Vec<(Vec<Leg>, i64)> = Vec::new();
            let mut charges: Vec<Charged> = Vec::new();
            let mut overrun = 0; // as the platform's account has it
            for step in steps {
                let before = book.clone();
                let some = |n: usize, of: usize| (of > 0).then(|| n % of);
                match step {
                    Step::Reserve { leaf, amount, downgraded } => {
                        let chain = &chains[leaf];
                        let free = fits(&book, chain, at, amount, downgraded);
                        let op = Op::Reserve { chain, amount: nanos(amount), estimate: None, downgraded };
                        let outcome = apply(&mut book, at, &op);
                        obeys(&before, &book, &outcome);
                        prop_assert_eq!(outcome.is_ok(), free, "admitted exactly where all have room");
                        if let Ok(movement) = outcome {
                            holds.push((movement.legs, amount));
                        }
                    }
                    Step::Grow { hold, by } => {
                        let Some(at_hold) = some(hold, holds.len()) else { continue };
                        let legs = holds[at_hold].0.clone();
                        let outcome = apply(&mut book, at, &Op::Grow { legs: &legs, by: nanos(by) });
                        obeys(&before, &book, &outcome);
                        if outcome.is_ok() {
                            holds[at_hold].1 += by;
                        }
                    }
                    Step::Settle { hold, price } => {
                        let Some(at_hold) = some(hold, holds.len()) else { continue };
                        let (legs, held) = holds.swap_remove(at_hold);
                        let outcome = apply(&mut book, at, &Op::Settle { legs: &legs, held: nanos(held), price: nanos(price) });
                        obeys(&before, &book, &outcome);
                        let movement = outcome.expect("a settlement is never refused");
                        prop_assert_eq!(movement.price.nanos() + movement.overrun.nanos(), price);
                        prop_assert!(movement.price.nanos() >= price.min(held), "what is held is there to be charged");
                        overrun += movement.overrun_delta.nanos();
                        charges.push(Charged::by(legs, &movement));
                    }
                    Step::Release { hold } => {
                        let Some(at_hold) = some(hold, holds.len()) else { continue };
                        let (legs, held) = holds.swap_remove(at_hold);
                        let outcome = apply(&mut book, at, &Op::Release { legs: &legs, held: nanos(held) });
                        obeys(&before, &book, &outcome);
                        prop_assert_eq!(outcome.expect("never refused").spent_delta, Money::ZERO);
                    }
                    Step::Expire { hold } => {
                        let Some(at_hold) = some(hold, holds.len()) else { continue };
                        let (legs, held) = holds.swap_remove(at_hold);
                        let outcome = apply(&mut book, at, &Op::Expire { legs: &legs, held: nanos(held) });
                        obeys(&before, &book, &outcome);
                        charges.push(Charged::by(legs, &outcome.expect("never refused")));
                    }
                    Step::Charge { leaf, price } => {
                        let chain = &chains[leaf];
                        let free = fits(&book, chain, at, price, true);
                        let outcome = apply(&mut book, at, &Op::Charge { chain, price: nanos(price) });
                        obeys(&before, &book, &outcome);
                        prop_assert_eq!(outcome.is_ok(), free, "charged exactly where all have room");
                        if let Ok(movement) = outcome {
                            prop_assert_eq!((movement.price.nanos(), movement.held_delta.nanos()), (price, 0));
                            charges.push(Charged::by(movement.legs.clone(), &movement));
                        }
                    }
                    Step::Adjust { charge, price } => {
                        let Some(at_charge) = some(charge, charges.len()) else { continue };
                        let was = charges[at_charge].clone();
                        let op = Op::Adjust {
                            legs: &was.legs,
                            booked: nanos(was.price),
                            overrun: nanos(was.overrun),
                            price: nanos(price),
                            refunded: nanos(was.refunded),
                        };
                        let outcome = apply(&mut book, at, &op);
                        obeys(&before, &book, &outcome);
                        let movement = outcome.expect("never refused");
                        let now = movement.price.nanos();
                        prop_assert!(now >= was.refunded && (now <= price || now == was.refunded));
                        prop_assert_eq!(movement.overrun.nanos(), (price - now).max(0), "nothing is lost");
                        overrun += movement.overrun_delta.nanos();
                        charges[at_charge] = Charged { refunded: was.refunded, ..Charged::by(was.legs, &movement) };
                    }
                    Step::Refund { charge, amount } => {
                        let Some(at_charge) = some(charge, charges.len()) else { continue };
                        let was = charges[at_charge].clone();
                        let amount = amount.min(was.price - was.refunded);
                        let outcome = apply(&mut book, at, &Op::Refund { legs: &was.legs, amount: nanos(amount) });
                        obeys(&before, &book, &outcome);
                        charges[at_charge].refunded += amount;
                    }
                    Step::Fund { wallet, amount } => {
                        let op = Op::Fund { wallet: id(wallet as u128), amount: nanos(amount) };
                        let outcome = apply(&mut book, at, &op);
                        prop_assert_eq!(outcome.expect("small sums").funded_delta, nanos(amount));
                    }
                    Step::Limit { wallet, limit } => {
                        book.terms.entry(id(wallet as u128)).and_modify(|terms| terms.hard_limit = limit.map(nanos));
                    }
                    Step::Suspend { wallet, yes } => {
                        book.terms.entry(id(wallet as u128)).and_modify(|terms| terms.suspended = yes);
                    }
                    Step::Wait { hours } => at = at.after(Duration::from_secs(hours * 3_600)),
                }
            }
            // What is left to hold and to have charged is exactly what the counters say.
            for n in 0..6 {
                let wallet = id(n);
                let (mut held, mut spent) = (0, 0);
                for (leg, counter) in &book.counters {
                    if leg.wallet == wallet {
                        held += counter.held.nanos();
                        spent += counter.spent.nanos();
                    }
                }
                let mine = |legs: &[Leg]| legs.iter().any(|leg| leg.wallet == wallet);
                prop_assert_eq!(held, holds.iter().filter(|(legs, _)| mine(legs)).map(|(_, held)| held).sum::<i64>());
                let charged = charges.iter().filter(|it| mine(&it.legs)).map(|it| it.price - it.refunded);
                prop_assert_eq!(spent, charged.sum::<i64>());
            }
            prop_assert_eq!(overrun, charges.iter().map(|it| it.overrun).sum::<i64>());
        }
    }

    #[test]
    fn a_correction_is_bounded_by_the_room_there_is_and_by_what_was_refunded() {
        // limit, spent by others, booked, overrun, refunded, new price → price, overrun, its change
        for (limit, others, booked, overrun, refunded, asked, expected) in [
            (100, 0, 40, 0, 0, 30, (30, 0, 0)),
            (100, 0, 40, 0, 0, 90, (90, 0, 0)),
            (100, 20, 40, 0, 0, 90, (80, 10, 10)),
            (100, 60, 40, 0, 0, 90, (40, 50, 50)),
            (100, 60, 40, 15, 0, 50, (40, 10, -5)),
            (100, 60, 40, 15, 0, 20, (20, 0, -15)),
            (100, 0, 40, 0, 25, 10, (25, 0, 0)),
            (50, 60, 40, 0, 0, 45, (40, 5, 5)), // lowered below what is spent: nothing rises
            (100, 0, 0, 0, 0, 0, (0, 0, 0)),
        ] {
            let mut book = Wallets::default();
            let terms = Terms { hard_limit: Some(nanos(limit)), ..Terms::default() };
            let leg = Leg { wallet: id(0), window: terms.window.period(START) };
            book.terms.insert(id(0), terms);
            book.counters.insert(leg, Counter { spent: nanos(others + booked - refunded), ..Counter::default() });
            let op = Op::Adjust {
                legs: &[leg],
                booked: nanos(booked),
                overrun: nanos(overrun),
                price: nanos(asked),
                refunded: nanos(refunded),
            };
            let moved = apply(&mut book, START, &op).expect("never refused");
            let got = (moved.price.nanos(), moved.overrun.nanos(), moved.overrun_delta.nanos());
            assert_eq!(got, expected, "limit {limit}, {others} by others, {booked} to {asked}");
        }
    }

    #[test]
    fn a_worst_case_that_would_freeze_a_wallet_is_held_by_its_estimate() {
        let asked = |worst, estimate, elastic| (worst, Some(Estimate { amount: nanos(estimate), elastic }));
        for (limit, (worst, estimate), held, why) in [
            (10_000, (100, None), Some(100), "no estimate: the worst case"),
            (10_000, asked(100, 7, true), Some(100), "a hundredth of what is free freezes nobody"),
            (9_999, asked(100, 7, true), Some(7), "more than a hundredth"),
            (9_999, asked(100, 700, true), Some(100), "never more than the worst case"),
            (500, asked(400, 70, false), Some(70), "what is held must last, and the estimate is above a tenth"),
            (500, asked(400, 30, false), Some(50), "at least a tenth of what is free"),
            (500, asked(40, 30, false), Some(40), "never more than the worst case"),
            (60, asked(400, 70, true), None, "an estimate that does not fit is refused, not shrunk"),
            (60, asked(400, 70, false), None, "of whatever kind"),
            (60, asked(400, 60, true), Some(60), "it just fits"),
        ] {
            let mut book = Wallets::default();
            book.terms.insert(id(0), Terms { hard_limit: Some(nanos(limit)), ..Terms::default() });
            let op = Op::Reserve { chain: &[id(0)], amount: nanos(worst), estimate, downgraded: false };
            let moved = apply(&mut book, START, &op).ok().map(|movement| movement.held_delta.nanos());
            assert_eq!(moved, held, "{why}");
        }
    }

    #[test]
    fn a_threshold_does_what_its_wallet_says() {
        use SoftAction::{Block, Downgrade, Warn};
        // Of a hard limit of 1,000, with thresholds at 500 and 800.
        for (action, used, amount, downgraded, outcome, why) in [
            (Warn, 0, 500, false, Ok(vec![]), "at a threshold is not past it"),
            (Warn, 0, 501, false, Ok(vec![500]), "past the first"),
            (Warn, 400, 500, false, Ok(vec![500, 800]), "past both at once: each is told"),
            (Warn, 600, 300, false, Ok(vec![800]), "the first was told before"),
            (Warn, 900, 50, false, Ok(vec![]), "both were"),
            (Warn, 900, 101, false, Err(1_000), "above the hard limit"),
            (Block, 0, 500, false, Ok(vec![]), "up to the lowest"),
            (Block, 0, 501, false, Err(500), "not above it: it is named as the limit"),
            (Block, 500, 0, false, Err(500), "with nothing free, not even what is free of charge"),
            (Block, 0, 501, true, Err(500), "downgraded or not"),
            (Downgrade, 0, 500, false, Ok(vec![]), "nothing is passed"),
            (Downgrade, 0, 501, false, Err(-1), "something cheaper, please"),
            (Downgrade, 0, 501, true, Ok(vec![500]), "there was nothing cheaper"),
            (Downgrade, 900, 101, false, Err(-1), "a cheaper one might fit"),
            (Downgrade, 900, 101, true, Err(1_000), "it did not"),
            (Downgrade, 600, 0, false, Ok(vec![]), "nothing is cheaper than nothing"),
        ] {
            let mut book = Wallets::default();
            let thresholds = ["50%", "0.0000008"].map(|text| text.parse().expect("a threshold"));
            let thresholds = Thresholds::new(&thresholds).expect("two");
            let terms = Terms { hard_limit: Some(nanos(1_000)), thresholds, ..Terms::default() };
            book.terms.insert(id(0), terms);
            let chain = [id(0)];
            let reserve = |amount, downgraded| Op::Reserve { chain: &chain, amount, estimate: None, downgraded };
            apply(&mut book, START, &reserve(nanos(used), true)).expect("warned about, no more");
            book.terms.insert(id(0), Terms { soft_action: action, ..terms });
            let found = match apply(&mut book, START, &reserve(nanos(amount), downgraded)) {
                Ok(movement) => Ok(movement.crossed.iter().map(|it| it.soft_limit.nanos()).collect()),
                Err(Denial::OverLimit(over) | Denial::Held(over)) => Err(over.limit.nanos()),
                Err(Denial::Downgrade(_)) => Err(-1),
                Err(denial) => panic!("{denial:?}"),
            };
            assert_eq!(found, outcome, "{action:?} at {used} + {amount}: {why}");
        }
    }

    #[test]
    fn a_threshold_bounds_what_is_admitted_and_not_what_is_charged() {
        let mut book = Wallets::default();
        let (hard_limit, soft_limit) = (Some(nanos(1_000)), Some(nanos(500)));
        let terms = Terms { hard_limit, soft_limit, soft_action: SoftAction::Block, ..Terms::default() };
        book.terms.insert(id(0), terms);
        let op = Op::Reserve { chain: &[id(0)], amount: nanos(450), estimate: None, downgraded: false };
        let legs = apply(&mut book, START, &op).expect("fits").legs;
        let grown = apply(&mut book, START, &Op::Grow { legs: &legs, by: nanos(51) });
        assert!(
            matches!(grown, Err(Denial::OverLimit(over) | Denial::Held(over)) if over.limit == nanos(500)),
            "{grown:?}"
        );
        let op = Op::Settle { legs: &legs, held: nanos(450), price: nanos(1_200) };
        let settled = apply(&mut book, START, &op).expect("a settlement is never refused");
        assert_eq!((settled.price, settled.overrun), (nanos(1_000), nanos(200)), "up to the hard limit");
    }

    #[test]
    fn a_closed_wallet_admits_nothing_and_takes_no_money() {
        let mut book = Wallets::default();
        book.terms.insert(id(0), Terms { closed: true, suspended: true, ..Terms::default() });
        let op = Op::Reserve { chain: &[id(0)], amount: Money::ZERO, estimate: None, downgraded: false };
        assert_eq!(apply(&mut book, START, &op), Err(Denial::Closed(id(0))));
        assert_eq!(apply(&mut book, START, &Op::Fund { wallet: id(0), amount: nanos(1) }), Err(Denial::Closed(id(0))));
    }

    #[test]
    fn sums_that_cannot_be_told_are_refused_and_move_nothing() {
        let mut book = Wallets::default();
        book.terms.insert(id(0), Terms::default());
        let whole = apply(
            &mut book,
            START,
            &Op::Reserve { chain: &[id(0)], amount: nanos(i64::MAX), estimate: None, downgraded: false },
        )
        .expect("a wallet without limit");
        let before = book.clone();
        let more = apply(
            &mut book,
            START,
            &Op::Reserve { chain: &[id(0)], amount: nanos(1), estimate: None, downgraded: false },
        );
        assert!(
            matches!(more, Err(Denial::OverLimit(over) | Denial::Held(over)) if over.limit == Money::MAX),
            "{more:?}"
        );
        assert_eq!(before.counters, book.counters);
        let op = Op::Settle { legs: &whole.legs, held: nanos(i64::MAX), price: nanos(i64::MAX) };
        assert_eq!(apply(&mut book, START, &op).expect("fits").price, nanos(i64::MAX));
        let fund = |amount| Op::Fund { wallet: id(0), amount };
        apply(&mut book, START, &fund(Money::MAX)).expect("fits");
        assert_eq!(apply(&mut book, START, &fund(nanos(1))), Err(Denial::TooLarge));
        assert_eq!(apply(&mut book, START, &Op::Fund { wallet: id(9), amount: nanos(1) }), Err(Denial::Unknown(id(9))));
    }

    #[test]
    fn money_is_only_held_where_no_wallet_of_the_chain_has_spent_it() {
        let room = |limit: i64, spent: i64, held: i64| (limit, spent, held);
        for (leaf, root, is_held, why) in [
            (room(100, 0, 60), room(1_000, 0, 60), true, "the leaf holds it"),
            (room(100, 60, 0), room(1_000, 60, 0), false, "the leaf has spent it"),
            (room(100, 0, 60), room(100, 60, 40), false, "the leaf holds it, and its parent has spent it"),
            (room(1_000, 0, 0), room(100, 20, 40), true, "the parent holds it"),
            (room(100, 0, 60), room(100, 50, 40), true, "both hold it"),
            (room(100, 60, 0), room(100, 0, 100), false, "the leaf has spent it, and its parent holds it"),
        ] {
            let mut wallets = Wallets::default();
            let chain = [id(1), id(2)];
            for (wallet, (limit, spent, held)) in chain.into_iter().zip([leaf, root]) {
                let terms = Terms { hard_limit: Some(nanos(limit)), ..Terms::default() };
                wallets.terms.insert(wallet, terms);
                let leg = Leg { wallet, window: terms.window.period(START) };
                wallets.counters.insert(leg, Counter { spent: nanos(spent), held: nanos(held), warned: None });
            }
            let op = Op::Reserve { chain: &chain, amount: nanos(50), estimate: None, downgraded: false };
            let denied = apply(&mut wallets, START, &op).expect_err(why);
            assert_eq!(matches!(denied, Denial::Held(_)), is_held, "{why}: {denied:?}");
        }
    }
}
