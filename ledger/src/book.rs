//! The rules of money. Pure: wallets and an operation in, what moves or why not out. Both databases, the tests and the
//! simulation decide here and nowhere else.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::error::OverLimit;
use crate::hold::SoftWarning;
use crate::id::{Id, Wallet};
use crate::money::Money;
use crate::window::Window;

/// What a wallet allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    pub suspended: bool,
    /// Most that may be spent and held in a window.
    pub hard_limit: Option<Money>,
    pub soft_limit: Option<Money>,
    pub window: Window,
    /// Whether no more may be spent, ever, than was funded.
    pub prepaid: bool,
    pub funded: Money,
}

/// A wallet in one of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leg {
    pub wallet: Id<Wallet>,
    pub window_start: Timestamp,
}

/// What was spent and is held in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    pub spent: Money,
    pub held: Money,
    /// The soft limit that was last warned about.
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
    /// Holds `amount` in every wallet of the chain.
    Reserve { chain: &'a [Id<Wallet>], amount: Money },
    /// Holds more where something is held already.
    Grow { legs: &'a [Leg], by: Money },
    /// Charges what was used, and frees the rest.
    Settle { legs: &'a [Leg], held: Money, price: Money },
    /// Frees all.
    Release { legs: &'a [Leg], held: Money },
    /// Charges all that is held.
    Expire { legs: &'a [Leg], held: Money },
    /// Brings what was charged at expiry to the true price, though not below what was refunded since.
    Adjust { legs: &'a [Leg], booked: Money, price: Money, refunded: Money },
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
    /// What could not be charged.
    pub overrun: Money,
    /// Wallets past their soft limit.
    pub warnings: Vec<SoftWarning>,
    /// Those of them that were not, as far as this window and limit have been told.
    pub crossed: Vec<SoftWarning>,
}

/// Why nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    OverLimit(OverLimit),
    Suspended(Id<Wallet>),
    Unknown(Id<Wallet>),
    /// A sum that cannot be told in 64 bits.
    TooLarge,
}

/// Decides an operation, and moves what it moves. A denied one moves nothing.
pub fn apply(wallets: &mut Wallets, at: Timestamp, op: &Op<'_>) -> Result<Movement, Denial> {
    match *op {
        Op::Reserve { chain, amount } => {
            let mut legs = Vec::with_capacity(chain.len());
            for &wallet in chain {
                let terms = wallets.terms.get(&wallet).ok_or(Denial::Unknown(wallet))?;
                legs.push(Leg { wallet, window_start: terms.window.start(at) });
            }
            wallets.admit(&legs, amount)?;
            let mut movement = wallets.move_all("reserve", legs, amount, Money::ZERO)?;
            wallets.warn(&mut movement);
            Ok(movement)
        }
        Op::Grow { legs, by } => {
            wallets.admit(legs, by)?;
            let mut movement = wallets.move_all("grow", legs.to_vec(), by, Money::ZERO)?;
            wallets.warn(&mut movement);
            Ok(movement)
        }
        Op::Settle { legs, held, price: asked } => {
            let price = asked.min(held.plus(wallets.room(legs)).unwrap_or(Money::MAX));
            let movement = wallets.move_all("settle", legs.to_vec(), minus(Money::ZERO, held)?, price)?;
            Ok(Movement { price, overrun: minus(asked, price)?, ..movement })
        }
        Op::Release { legs, held } => wallets.move_all("release", legs.to_vec(), minus(Money::ZERO, held)?, Money::ZERO),
        Op::Expire { legs, held } => {
            let movement = wallets.move_all("expire", legs.to_vec(), minus(Money::ZERO, held)?, held)?;
            Ok(Movement { price: held, ..movement })
        }
        Op::Adjust { legs, booked, price: asked, refunded } => {
            let most = booked.plus(wallets.room(legs)).unwrap_or(Money::MAX);
            let price = asked.min(most).max(refunded);
            let movement = wallets.move_all("adjust", legs.to_vec(), Money::ZERO, minus(price, booked)?)?;
            Ok(Movement { price, overrun: minus(asked, price)?.max(Money::ZERO), ..movement })
        }
        Op::Refund { legs, amount } => {
            wallets.move_all("refund", legs.to_vec(), Money::ZERO, minus(Money::ZERO, amount)?)
        }
        Op::Fund { wallet, amount } => {
            let terms = wallets.terms.get_mut(&wallet).ok_or(Denial::Unknown(wallet))?;
            terms.funded = terms.funded.plus(amount).ok_or(Denial::TooLarge)?;
            wallets.funded.insert(wallet);
            let legs = vec![Leg { wallet, window_start: terms.window.start(at) }];
            Ok(Movement { kind: "fund", legs, funded_delta: amount, ..Movement::default() })
        }
    }
}

fn minus(a: Money, b: Money) -> Result<Money, Denial> {
    a.minus(b).ok_or(Denial::TooLarge)
}

impl Wallets {
    /// Nothing moves unless every wallet has room. One with nothing free admits no call, not even one that costs nothing.
    fn admit(&self, legs: &[Leg], amount: Money) -> Result<(), Denial> {
        for leg in legs {
            let terms = self.terms.get(&leg.wallet).ok_or(Denial::Unknown(leg.wallet))?;
            if terms.suspended {
                return Err(Denial::Suspended(leg.wallet));
            }
        }
        let least = i128::from(amount.nanos().max(1));
        for leg in legs {
            let terms = self.terms.get(&leg.wallet).ok_or(Denial::Unknown(leg.wallet))?;
            let bounds = self.bounds(leg, terms);
            if let Some(bound) = bounds.into_iter().flatten().find(|bound| bound.free() < least) {
                return Err(Denial::OverLimit(OverLimit {
                    wallet: leg.wallet,
                    limit: bound.allowance,
                    spent: bound.counter.spent,
                    held: bound.counter.held,
                    asked: amount,
                    window: terms.window,
                    resets_at: terms.window.end(leg.window_start).filter(|_| bound.resets),
                }));
            }
        }
        Ok(())
    }

    /// What bounds a wallet: its hard limit in this window, and its funds in all.
    fn bounds(&self, leg: &Leg, terms: &Terms) -> [Option<Bound>; 2] {
        let counter = self.counters.get(leg).copied().unwrap_or_default();
        let ever = self.ever.get(&leg.wallet).copied().unwrap_or_default();
        let no_limit = !terms.prepaid && terms.hard_limit.is_none();
        // Without any limit the bound is what can be told at all.
        let limit = terms.hard_limit.or(no_limit.then_some(Money::MAX));
        [
            terms.prepaid.then_some(Bound { allowance: terms.funded, counter: ever, resets: false }),
            limit.map(|allowance| Bound { allowance, counter, resets: true }),
        ]
    }

    /// What every wallet of the legs could still hold.
    fn room(&self, legs: &[Leg]) -> Money {
        let free = legs.iter().filter_map(|leg| Some((leg, self.terms.get(&leg.wallet)?))).flat_map(|(leg, terms)| {
            self.bounds(leg, terms).into_iter().flatten().map(|bound| bound.free()).collect::<Vec<_>>()
        });
        let least = free.min().unwrap_or(0).max(0);
        Money::from_nanos(i64::try_from(least).unwrap_or(i64::MAX))
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
            let Some(soft_limit) = self.terms.get(&leg.wallet).and_then(|terms| terms.soft_limit) else { continue };
            let Some(counter) = self.counters.get_mut(leg) else { continue };
            let used = counter.spent.plus(counter.held).unwrap_or(Money::MAX);
            if used <= soft_limit {
                continue;
            }
            let warning = SoftWarning { wallet: leg.wallet, soft_limit, used };
            movement.warnings.push(warning);
            if counter.warned != Some(soft_limit) {
                counter.warned = Some(soft_limit);
                movement.crossed.push(warning);
            }
        }
    }
}

struct Bound {
    allowance: Money,
    counter: Counter,
    resets: bool,
}

impl Bound {
    fn free(&self) -> i128 {
        i128::from(self.allowance.nanos()) - i128::from(self.counter.spent.nanos()) - i128::from(self.counter.held.nanos())
    }
}
