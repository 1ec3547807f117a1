//! What is let in: orders, growth, charges, and the money paid in for them. The contract's rules 1 and 5.

use super::*;

pub(super) struct Asked<'a> {
    pub who: &'a Who,
    pub extra: &'a [Id<Wallet>],
    pub worst: i128,
    pub estimate: Option<Estimate>,
    pub patient: bool,
    pub downgraded: bool,
    pub claim: Option<Claim>,
}

pub(super) struct Growth<'a> {
    pub who: &'a Who,
    pub from: i128,
    pub to: i128,
    pub patient: bool,
    pub at: Timestamp,
}

impl Books {
    pub(super) fn reserve(
        &mut self,
        call: Id<Call>,
        asked: &Asked<'_>,
        at: Timestamp,
        told: &Result<Taken, ReserveError>,
    ) -> Verdict {
        let Asked { who, worst, claim, .. } = *asked;
        match self.calls.get(&call) {
            Some(Life::Open(open)) => {
                let same = (open.who, open.asked, open.claim) == (*who, worst, claim);
                return match told {
                    Ok(Taken::New { amount, .. }) if same && nanos(*amount) == open.amount => Ok(()),
                    Err(ReserveError::Conflict(_)) if !same => Ok(()),
                    _ => Err(format!("repeated reserve, same content {same}: {:?}", told.as_ref().err())),
                };
            }
            Some(Life::Ended(bill)) => {
                let same = bill.told.as_ref().filter(|(_, asked)| (bill.who.key, *asked) == (who.key, worst));
                let same = same.filter(|_| bill.who.wallet == who.wallet);
                return match (told, same) {
                    (Err(error), Some((before, _))) if alike(error, before) => Ok(()),
                    (Err(ReserveError::Conflict(_)), None) => Ok(()),
                    _ => Err(format!("reserve of an ended call: {:?}, before {same:?}", told.as_ref().err())),
                };
            }
            None => {}
        }
        let Some(legs) = self.legs(who, asked.extra, at) else {
            ensure!(matches!(told, Err(ReserveError::UnknownWallet(_))), "a foreign wallet was not refused");
            return Ok(());
        };
        let binding = claim.and_then(|claim| self.claims.get(&(who.key, claim.name)).map(|found| (claim, *found)));
        if let Some((claim, found)) = binding.filter(|(_, found)| at.micros() - found.at.micros() < DAY) {
            let right = match told {
                Ok(Taken::Replay(first)) => claim.body == found.body && found.charged && *first == found.call,
                Err(ReserveError::IdempotencyMismatch) => claim.body != found.body,
                Err(ReserveError::IdempotencyInProgress) => claim.body == found.body && !found.charged,
                _ => false,
            };
            ensure!(right, "a claim that binds was answered {:?}: {found:?}", told.as_ref().err());
            return Ok(());
        }
        let amount = self.ask(&legs, worst, asked.estimate);
        let dear = self.wants_less(&legs, amount).filter(|_| !asked.downgraded);
        if let Err(ReserveError::Downgrade { wallet }) = told {
            ensure!(dear == Some(*wallet), "{wallet} wants no cheaper plan for {amount}: {dear:?}");
            return self.open(&legs);
        }
        ensure!(dear.is_none() || self.open(&legs).is_err(), "{dear:?} was not asked for a cheaper plan");
        if let Err(ReserveError::Held(over)) = told {
            // Nothing is written down: whoever is patient asks again.
            ensure!(asked.patient && self.is_held(&legs, amount), "{over:?} is not for lack of patience");
            return self.admission(&legs, amount, Some(&ReserveError::OverLimit(*over)));
        }
        self.admission(&legs, amount, told.as_ref().err())?;
        if matches!(told, Err(ReserveError::OverLimit(_))) {
            ensure!(!asked.patient || !self.is_held(&legs, amount), "{amount} could have waited for what is held");
        }
        let chain = ChainId::of(who.wallet, asked.extra);
        match told {
            Ok(Taken::New { amount: held, warnings }) => {
                ensure!(nanos(*held) == amount, "held {held} instead of {amount}");
                self.entry(who.org, "RESERVE", call.to_string());
                self.hold_more(&legs, amount, who, call, warnings)?;
                self.post("reserve", chain.to_string(), &legs, Some(call), (amount, 0, 0));
                if let Some(claim) = claim {
                    let place = (who.key, claim.name);
                    self.claims.insert(place, Claimed { body: claim.body, call, charged: false, at });
                    self.moved.claims.insert(place);
                }
                self.put(
                    call,
                    Life::Open(Open { who: *who, chain, legs, asked: worst, opened: amount, amount, claim }),
                );
                Ok(())
            }
            Err(error) => {
                self.entry(who.org, "BLOCK", call.to_string());
                self.alert_limit(error, at);
                let bill = Bill {
                    told: Some((error.clone(), worst)),
                    ..Bill::of(*who, (ChainId::leaf(who.wallet), Vec::new()), Status::Refused, ASKED)
                };
                self.put(call, Life::Ended(bill));
                Ok(())
            }
            Ok(Taken::Replay(first)) => Err(format!("a replay of {first} without a claim that binds")),
        }
    }

    pub(super) fn grow(
        &mut self,
        call: Id<Call>,
        growth: &Growth<'_>,
        told: Result<(i128, &[SoftWarning]), &ReserveError>,
    ) -> Verdict {
        let Growth { who, from, to, .. } = *growth;
        let open = match self.calls.get(&call) {
            Some(Life::Open(open)) => open.clone(),
            _ => {
                ensure!(matches!(told, Err(ReserveError::Conflict(_))), "a hold that is not there grew: {told:?}");
                return Ok(());
            }
        };
        if open.amount != from {
            let right = matches!(told, Ok((held, [])) if held == open.amount);
            ensure!(right, "a growth from {from} to {to} of {} was answered {told:?}", open.amount);
            return Ok(());
        }
        self.admission(&open.legs, to - from, told.err())?;
        let (held, warnings) = match told {
            Ok(grown) => grown,
            Err(error) => {
                if !growth.patient {
                    self.entry(who.org, "BLOCK", call.to_string());
                    self.alert_limit(error, growth.at);
                }
                return Ok(());
            }
        };
        ensure!(held == to, "grew to {held}, asked for {to}");
        self.entry(who.org, "GROW", call.to_string());
        self.hold_more(&open.legs, to - from, &open.who, call, warnings)?;
        self.post("grow", open.chain.to_string(), &open.legs, Some(call), (to - from, 0, 0));
        self.put(call, Life::Open(Open { amount: to, ..open }));
        Ok(())
    }

    /// Neither suspended nor closed.
    pub(super) fn open(&self, legs: &[Leg]) -> Verdict {
        for leg in legs {
            let terms = &self.terms[&leg.wallet];
            ensure!(!terms.suspended && !terms.closed, "{} is not open", leg.wallet);
        }
        Ok(())
    }

    /// The first wallet that would come past a soft limit by this and wants a cheaper plan then.
    pub(super) fn wants_less(&self, legs: &[Leg], amount: i128) -> Option<Id<Wallet>> {
        let past = |leg: &&Leg| {
            let (terms, pot) = (&self.terms[&leg.wallet], self.pots.get(leg).copied().unwrap_or_default());
            let used = pot.spent + pot.held + amount;
            terms.soft_action == SoftAction::Downgrade && soft_limits(terms).iter().any(|limit| used > nanos(*limit))
        };
        legs.iter().filter(|_| amount > 0).find(past).map(|leg| leg.wallet)
    }

    /// Whether every wallet had room if it held nothing.
    fn is_held(&self, legs: &[Leg], amount: i128) -> bool {
        legs.iter().all(|leg| self.admitting_unheld(leg) >= amount.max(1))
    }

    /// Rule 5 and rule 1: nothing is admitted by a wallet that is suspended or has not so much free; all else is.
    pub(super) fn admission(&self, legs: &[Leg], amount: i128, refused: Option<&ReserveError>) -> Verdict {
        let of_chain = |wallet: &Id<Wallet>| legs.iter().any(|leg| leg.wallet == *wallet);
        match refused {
            None => {
                self.open(legs)?;
                for leg in legs {
                    let free = self.admitting(leg);
                    ensure!(free >= amount.max(1), "{leg:?} has {free} free and admitted {amount}");
                }
                Ok(())
            }
            Some(ReserveError::Suspended { wallet }) => {
                ensure!(of_chain(wallet) && self.terms[wallet].suspended, "{wallet} is not suspended");
                Ok(())
            }
            Some(ReserveError::Closed { wallet }) => {
                ensure!(of_chain(wallet) && self.terms[wallet].closed, "{wallet} is not closed");
                Ok(())
            }
            Some(ReserveError::OverLimit(over)) => {
                let leg = legs.iter().find(|leg| leg.wallet == over.wallet);
                let leg = leg.ok_or_else(|| format!("refused for {}, which is not in the chain", over.wallet))?;
                let free = self.admitting(leg);
                ensure!(free < amount.max(1), "{leg:?} has {free} free and refused {amount}");
                let told = nanos(over.limit) - nanos(over.spent) - nanos(over.held);
                ensure!(nanos(over.asked) == amount && told < amount.max(1), "refused {amount} with {over:?}");
                Ok(())
            }
            Some(error) => Err(format!("{amount} was refused with {error:?}")),
        }
    }

    /// The wallets that an order has to satisfy, each in its window; none if one of them is another organisation's.
    pub(super) fn legs(&self, who: &Who, extra: &[Id<Wallet>], at: Timestamp) -> Option<Vec<Leg>> {
        let mut wallets =
            self.chains.get(&who.wallet).filter(|_| self.orgs.get(&who.wallet) == Some(&who.org))?.clone();
        let beside: BTreeSet<Id<Wallet>> = extra.iter().copied().collect();
        for wallet in beside {
            if self.orgs.get(&wallet) != Some(&who.org) {
                return None;
            }
            if !wallets.contains(&wallet) {
                wallets.push(wallet);
            }
        }
        let leg = |wallet| Leg { wallet, window: self.terms[&wallet].window.period(at) };
        Some(wallets.into_iter().map(leg).collect())
    }

    /// The worst case where it is at most a hundredth of what is free; else the estimate, for holds that cannot grow no less
    /// than a tenth of what is free. Never more than the worst case.
    pub(super) fn ask(&self, legs: &[Leg], worst: i128, estimate: Option<Estimate>) -> i128 {
        let Some(estimate) = estimate else { return worst };
        let free = legs.iter().map(|leg| self.admitting(leg)).min().unwrap_or(0).max(0);
        if worst * 100 <= free {
            return worst;
        }
        let least = if estimate.elastic { 0 } else { free / 10 };
        worst.min(nanos(estimate.amount).max(least))
    }

    pub(super) fn fund(
        &mut self,
        org: Id<Org>,
        wallet: Id<Wallet>,
        amount: i64,
        reference: &str,
        told: &Result<(), FundError>,
    ) -> Verdict {
        if let Some(done) = self.fundings.get(reference) {
            let same = *done == (wallet, amount);
            // Of a closed wallet either refusal is true: which one is told goes by the batch that the two met in, or did not.
            let closed = self.terms.get(&wallet).is_some_and(|terms| terms.closed);
            let right = match told {
                Ok(()) => same,
                Err(FundError::Conflict) => !same,
                Err(FundError::Closed(_)) => !same && closed,
                Err(_) => false,
            };
            ensure!(right, "funding twice, same content {same}: {told:?}");
            return Ok(());
        }
        let Some(terms) = self.terms.get_mut(&wallet) else {
            ensure!(matches!(told, Err(FundError::UnknownWallet(_))), "an unknown wallet was funded: {told:?}");
            return Ok(());
        };
        if terms.closed {
            ensure!(matches!(told, Err(FundError::Closed(_))), "a closed wallet was funded: {told:?}");
            return Ok(());
        }
        let Some(funded) = terms.funded.plus(Money::from_nanos(amount)) else {
            ensure!(matches!(told, Err(FundError::Amount(_))), "more than can be told was funded: {told:?}");
            return Ok(());
        };
        ensure!(told.is_ok(), "funding failed: {told:?}");
        terms.funded = funded;
        self.moved.funded.insert(wallet);
        self.fundings.insert(reference.to_owned(), (wallet, amount));
        self.entry(org, "FUND", wallet.to_string());
        self.post("fund", format!("solo_{wallet}"), &[], None, (0, 0, i128::from(amount)));
        Ok(())
    }

    /// Something delivered elsewhere is charged where it fits, once for each reference.
    pub(super) fn charge(
        &mut self,
        charge: Charged,
        reference: &str,
        at: Timestamp,
        told: &Result<Id<Call>, ChargeError>,
    ) -> Verdict {
        let (call, who, keyed, cost, price) = charge;
        let name = (who.org, reference.to_owned());
        if let Some(done) = self.charges.get(&name) {
            // On nobody's behalf, any key of the wallet is none.
            let who = if keyed { who } else { Who { key: done.1.key, ..who } };
            let right = match told {
                Ok(first) => *done == (done.0, who, keyed, cost, price) && *first == done.0,
                Err(ChargeError::Reference(first)) => *done != (done.0, who, keyed, cost, price) && *first == done.0,
                Err(_) => false,
            };
            ensure!(right, "a reference charged again was answered {told:?}, before {done:?}");
            return Ok(());
        }
        if self.calls.contains_key(&call) {
            ensure!(matches!(told, Err(ChargeError::Conflict(_))), "a call was charged again: {told:?}");
            return Ok(());
        }
        let legs = self.legs(&who, &[], at).ok_or("a charge of a wallet that is not there")?;
        let error = match told {
            Ok(_) => None,
            Err(ChargeError::OverLimit(over)) => Some(ReserveError::OverLimit(*over)),
            Err(ChargeError::Suspended { wallet }) => Some(ReserveError::Suspended { wallet: *wallet }),
            Err(ChargeError::Closed { wallet }) => Some(ReserveError::Closed { wallet: *wallet }),
            Err(error) => return Err(format!("a charge was answered {error:?}")),
        };
        self.admission(&legs, i128::from(price), error.as_ref())?;
        if let Some(error) = error {
            self.entry(who.org, "BLOCK", call.to_string());
            self.alert_limit(&error, at);
            return Ok(());
        }
        let (chain, amount) = (ChainId::leaf(who.wallet), i128::from(price));
        self.entry(who.org, "CHARGE", call.to_string());
        self.shift(&legs, 0, amount);
        self.warn(&legs, who.org, call);
        self.post("settle", chain.to_string(), &legs, Some(call), (0, amount, 0));
        self.charges.insert(name, charge);
        let who = if keyed { who } else { Who { key: NO_KEY, ..who } };
        let (cost, price) = (i128::from(cost), amount);
        let bill = Bill { cost, price, asked: price, ..Bill::of(who, (chain, legs), Status::Settled, ASKED) };
        self.put(call, Life::Ended(bill));
        Ok(())
    }

    /// Every wallet past a soft limit is named with the highest; the first time in a window each is also written down.
    pub(super) fn hold_more(
        &mut self,
        legs: &[Leg],
        amount: i128,
        who: &Who,
        call: Id<Call>,
        warnings: &[SoftWarning],
    ) -> Verdict {
        self.shift(legs, amount, 0);
        let due = self.warn(legs, who.org, call);
        let told: Vec<_> = warnings.iter().map(|it| (it.wallet, it.soft_limit, nanos(it.used))).collect();
        ensure!(told == due, "warned of {told:?} instead of {due:?}");
        Ok(())
    }
}

/// The same refusal, told again.
fn alike(one: &ReserveError, other: &ReserveError) -> bool {
    match (one, other) {
        (ReserveError::OverLimit(one), ReserveError::OverLimit(other)) => one == other,
        (ReserveError::Suspended { wallet: one }, ReserveError::Suspended { wallet: other }) => one == other,
        (ReserveError::Closed { wallet: one }, ReserveError::Closed { wallet: other }) => one == other,
        _ => false,
    }
}
