//! The database, in memory: loads exactly what a batch needs, takes what it changed whole or not at all, and refuses
//! what a unique key or a check of the real tables would refuse. Rows are copied in and out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::audit::{GENESIS, Hash, Sealed};
use crate::book::{Counter, Leg, Terms};
use crate::clock::Timestamp;
use crate::id::{Alert, Call, Id, Instance, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::rows::{
    AlertRow, Chain, ChainId, ChargeName, ChargeRow, ClaimRow, CorrectionRow, Effect, HoldRow, Line, Loaded, Mark,
    Needs, ReceiptRow, RefundRow,
};
use crate::window::Period;

/// A wallet as it was made: from itself up to its root, and what it allows today.
#[derive(Debug, Clone)]
pub(super) struct Purse {
    pub org: Id<Org>,
    pub chain: Vec<Id<Wallet>>,
    pub terms: Terms,
}

#[derive(Debug, Clone)]
pub(super) struct Posted {
    pub id: Id<JournalRow>,
    pub at: Timestamp,
    pub kind: &'static str,
    pub chain: String,
    pub legs: String,
    pub call: Option<Id<Call>>,
    pub held: i64,
    pub spent: i64,
    pub funded: i64,
    pub overrun: i64,
}

/// What can be wrong with a database, to prove that the simulation would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The book sees limits that are a nano-dollar too high.
    LimitOffByOne,
    LosesJournalRow,
    LosesCounter,
    LosesAuditEntry,
    LosesClaim,
    KeepsResolvedHold,
    /// A batch that fails has written its counters.
    SavesHalf,
    /// The writer decides anew what may have been committed, without asking whether it was.
    RetriesBlindly,
}

/// Another process was first: nothing was saved.
#[derive(Debug)]
pub(super) struct Collision;

#[derive(Default)]
pub(super) struct Image {
    pub wallets: BTreeMap<Id<Wallet>, Purse>,
    /// The wallets of every chain that a call may name.
    pub chains: BTreeMap<ChainId, (Id<Org>, Vec<Id<Wallet>>)>,
    pub windows: BTreeMap<Leg, Counter>,
    pub holds: BTreeMap<Id<Call>, (HoldRow, Id<Instance>)>,
    pub receipts: BTreeMap<Id<Call>, ReceiptRow>,
    pub claims: BTreeMap<(Id<Key>, [u8; 32]), ClaimRow>,
    pub refunds: BTreeMap<Id<JournalRow>, RefundRow>,
    pub charges: BTreeMap<ChargeName, ChargeRow>,
    pub corrections: BTreeMap<Id<JournalRow>, CorrectionRow>,
    pub fundings: BTreeMap<(String, String), (Id<Wallet>, Money)>,
    pub journal: Vec<Posted>,
    pub audit: BTreeMap<String, Vec<Sealed>>,
    pub overrun: i64,
    pub alerts: BTreeMap<Id<Alert>, AlertRow>,
    pub fault: Option<Fault>,
    locks: BTreeMap<Id<Wallet>, usize>,
    head_locks: BTreeMap<String, usize>,
    commits: u64,
}

impl Image {
    pub fn new(fault: Option<Fault>) -> Image {
        Image { fault, ..Image::default() }
    }

    /// Locks the roots of what the batch moves, and the heads of what it writes; reads what it needs. Nothing while another
    /// process has any of them.
    pub fn load(&mut self, process: usize, needs: &Needs, at: Timestamp) -> Option<Loaded> {
        let mut loaded = Loaded::default();
        self.read_chains(needs, &mut loaded);
        let all = wallets_of(&loaded);
        let roots: BTreeSet<Id<Wallet>> =
            loaded.chains.values().flat_map(|chain| chain.roots.iter().copied()).collect();
        if roots.iter().any(|wallet| self.is_locked(*wallet, process))
            || needs.heads.iter().any(|chain| self.is_head_locked(chain, process))
        {
            return None;
        }
        self.locks.extend(roots.into_iter().map(|wallet| (wallet, process)));
        self.head_locks.extend(needs.heads.iter().map(|chain| (chain.to_string(), process)));
        self.read(needs, &all, at, &mut loaded);
        Some(loaded)
    }

    /// The same without locks, for whoever only looks.
    pub fn look(&self, needs: &Needs, at: Timestamp) -> Loaded {
        let mut loaded = Loaded::default();
        self.read_chains(needs, &mut loaded);
        let all = wallets_of(&loaded);
        self.read(needs, &all, at, &mut loaded);
        loaded
    }

    fn read_chains(&self, needs: &Needs, loaded: &mut Loaded) {
        for name in &needs.chains {
            if let Some((org, wallets)) = self.chains.get(name).cloned() {
                let roots = wallets.iter().copied().filter(|wallet| self.wallets[wallet].chain.len() == 1).collect();
                loaded.chains.insert(*name, Arc::new(Chain { org, wallets, roots, new: false }));
            }
        }
        if needs.mixes.is_empty() {
            return;
        }
        let orgs: HashMap<Id<Wallet>, Id<Org>> = self.wallets.iter().map(|(wallet, it)| (*wallet, it.org)).collect();
        for (name, (leaf, extra)) in &needs.mixes {
            let leaf = loaded.chains.get(&ChainId::leaf(*leaf)).filter(|_| !loaded.chains.contains_key(name));
            if let Some(chain) = leaf.and_then(|leaf| leaf.mixed(extra, &orgs)) {
                loaded.chains.insert(*name, Arc::new(chain));
            }
        }
    }

    /// A new wallet, and the chain that begins with it.
    pub fn make(&mut self, wallet: Id<Wallet>, purse: Purse) {
        self.chains.insert(ChainId::leaf(wallet), (purse.org, purse.chain.clone()));
        self.wallets.insert(wallet, purse);
    }

    /// Whether a chain goes through a wallet.
    pub fn is_in(&self, wallet: Id<Wallet>, chain: ChainId) -> bool {
        self.chains.get(&chain).is_some_and(|(_, wallets)| wallets.contains(&wallet))
    }

    fn read(&self, needs: &Needs, all: &BTreeSet<Id<Wallet>>, at: Timestamp, loaded: &mut Loaded) {
        self.read_calls(needs, loaded);
        self.read_wallets(all, at, loaded);
        for place in &needs.claims {
            loaded.claims.extend(self.claims.get(place).map(|row| (*place, row.clone())));
        }
        for refund in &needs.refunds {
            loaded.refunds.extend(self.refunds.get(refund).map(|row| (*refund, row.clone())));
        }
        for reference in &needs.fundings {
            loaded.fundings.extend(self.fundings.get(reference).map(|row| (reference.clone(), *row)));
        }
        for name in &needs.charges {
            loaded.charges.extend(self.charges.get(name).map(|row| (name.clone(), row.clone())));
        }
        for id in &needs.corrections {
            loaded.corrections.extend(self.corrections.get(id).map(|row| (*id, row.clone())));
        }
        for chain in &needs.heads {
            loaded.heads.extend(self.head(chain).map(|head| (chain.clone(), head)));
        }
    }

    fn read_calls(&self, needs: &Needs, loaded: &mut Loaded) {
        for call in &needs.calls {
            if let Some((hold, _)) = self.holds.get(call) {
                loaded.holds.insert(*call, hold.clone());
            } else if let Some(receipt) = self.receipts.get(call) {
                loaded.receipts.insert(*call, receipt.clone());
            }
        }
    }

    fn read_wallets(&self, all: &BTreeSet<Id<Wallet>>, at: Timestamp, loaded: &mut Loaded) {
        let mut legs: BTreeSet<Leg> = BTreeSet::new();
        for wallet in all {
            let Some(purse) = self.wallets.get(wallet) else { continue };
            let mut terms = Terms::clone(&purse.terms);
            if self.fault == Some(Fault::LimitOffByOne) {
                terms.hard_limit = terms.hard_limit.and_then(|limit| limit.plus(Money::from_nanos(1)));
            }
            legs.insert(Leg { wallet: *wallet, window: terms.window.period(at) });
            if terms.prepaid {
                loaded.wallets.ever.insert(*wallet, self.ever(*wallet));
            }
            loaded.wallets.terms.insert(*wallet, terms);
        }
        let of_calls = loaded.holds.values().map(|hold| (hold.chain, &hold.legs));
        let of_calls = of_calls.chain(loaded.receipts.values().map(|receipt| (receipt.chain, &receipt.legs)));
        for (name, text) in of_calls.filter(|(_, text)| !text.is_empty()) {
            if let Some(chain) = loaded.chains.get(&name) {
                legs.extend(chain.legs(text).expect("legs that were written here"));
            }
        }
        let counters = legs.into_iter().filter_map(|leg| self.windows.get(&leg).map(|counter| (leg, *counter)));
        loaded.wallets.counters.extend(counters);
    }

    fn ever(&self, wallet: Id<Wallet>) -> Counter {
        let (mut spent, mut held) = (0, 0);
        for (leg, counter) in self.windows.range(first_leg(wallet)..) {
            if leg.wallet != wallet {
                break;
            }
            spent += counter.spent.nanos();
            held += counter.held.nanos();
        }
        Counter { spent: Money::from_nanos(spent), held: Money::from_nanos(held), warned: None }
    }

    pub fn head(&self, chain: &str) -> Option<(i64, Hash)> {
        self.audit.get(chain)?.last().map(|last| (last.seq, last.hash))
    }

    /// Whether an entry with this place and hash is there: then so is its whole batch.
    pub fn committed(&self, chain: &str, seq: i64, hash: &Hash) -> bool {
        let entries = self.audit.get(chain);
        entries.and_then(|entries| entries.iter().rev().find(|entry| entry.seq == seq)).map(|entry| &entry.hash)
            == Some(hash)
    }

    pub fn is_locked(&self, wallet: Id<Wallet>, process: usize) -> bool {
        self.locks.get(&wallet).is_some_and(|owner| *owner != process)
    }

    pub fn is_head_locked(&self, chain: &str, process: usize) -> bool {
        self.head_locks.get(chain).is_some_and(|owner| *owner != process)
    }

    /// Ends a transaction: whatever it had not committed is gone.
    pub fn unlock(&mut self, process: usize) {
        self.locks.retain(|_, owner| *owner != process);
        self.head_locks.retain(|_, owner| *owner != process);
    }

    /// Saves a batch and commits it.
    pub fn commit(&mut self, owner: Id<Instance>, loaded: &Loaded, effect: &Effect) -> Result<(), Collision> {
        let taken = loaded.holds.values().any(|row| row.mark == Mark::New && self.holds.contains_key(&row.call))
            || loaded.receipts.values().any(|row| row.mark == Mark::New && self.receipts.contains_key(&row.call))
            || effect.refunds.iter().any(|(refund, _)| self.refunds.contains_key(refund))
            || effect.fundings.iter().any(|row| self.fundings.contains_key(&(row.0.clone(), row.1.clone())))
            || effect.charges.iter().any(|(name, _)| self.charges.contains_key(name))
            || effect.corrections.iter().any(|(id, _)| self.corrections.contains_key(id))
            || self.follows_not(effect);
        if taken {
            return Err(Collision);
        }
        self.commits += 1;
        self.save_chains(loaded);
        self.save_wallets(loaded);
        self.save_calls(owner, loaded, effect);
        self.save_claims(loaded, effect);
        for (source, reference, wallet, amount) in &effect.fundings {
            self.fundings.insert((source.clone(), reference.clone()), (*wallet, *amount));
        }
        self.refunds.extend(effect.refunds.iter().cloned());
        self.corrections.extend(effect.corrections.iter().cloned());
        for (name, row) in &effect.charges {
            self.charges.insert(name.clone(), row.clone());
        }
        self.overrun = self.overrun.checked_add(effect.overrun.nanos()).expect("an overrun that can be told");
        for alert in &effect.alerts {
            self.alerts.entry(alert.id).or_insert_with(|| alert.clone());
        }
        for line in &effect.journal {
            if !(self.fault == Some(Fault::LosesJournalRow) && self.commits.is_multiple_of(500)) {
                self.journal.push(posted(line, effect.at));
            }
        }
        for entry in &effect.audit {
            if !(self.fault == Some(Fault::LosesAuditEntry) && self.commits.is_multiple_of(500)) {
                self.append(entry.clone());
            }
        }
        Ok(())
    }

    // The primary key of the audit log.
    fn follows_not(&self, effect: &Effect) -> bool {
        let first = effect.audit.first();
        first.is_some_and(|entry| self.head(&entry.chain).map_or(0, |(seq, _)| seq) >= entry.seq)
    }

    pub fn append(&mut self, entry: Sealed) {
        let chain = match &entry.chain {
            Cow::Borrowed(name) => (*name).to_owned(),
            Cow::Owned(name) => name.clone(),
        };
        self.audit.entry(chain).or_default().push(entry);
    }

    // Those that a call of this batch is the first to use.
    fn save_chains(&mut self, loaded: &Loaded) {
        for (name, chain) in loaded.chains.iter().filter(|(_, chain)| chain.new) {
            let used = |hold: &HoldRow| hold.mark == Mark::New && hold.chain == *name;
            let charged = |receipt: &ReceiptRow| receipt.mark == Mark::New && receipt.chain == *name;
            if loaded.holds.values().any(used) || loaded.receipts.values().any(charged) {
                self.chains.insert(*name, (chain.org, chain.wallets.clone()));
            }
        }
    }

    pub fn save_wallets(&mut self, loaded: &Loaded) {
        for leg in &loaded.wallets.touched {
            if self.fault == Some(Fault::LosesCounter) && self.commits.is_multiple_of(500) {
                continue;
            }
            let counter = loaded.wallets.counters[leg];
            assert!(counter.held >= Money::ZERO, "CHECK (held >= 0) of {leg:?}");
            self.windows.insert(*leg, counter);
        }
        for wallet in &loaded.wallets.funded {
            let funded = loaded.wallets.terms[wallet].funded;
            self.wallets.get_mut(wallet).expect("a wallet that was loaded").terms.funded = funded;
        }
    }

    fn save_calls(&mut self, owner: Id<Instance>, loaded: &Loaded, effect: &Effect) {
        for call in effect.holds_gone.iter().filter(|_| self.fault != Some(Fault::KeepsResolvedHold)) {
            self.holds.remove(call);
        }
        for hold in loaded.holds.values() {
            let stored = HoldRow { mark: Mark::Stored, ..hold.clone() };
            match hold.mark {
                Mark::Stored => {}
                Mark::New => drop(self.holds.insert(hold.call, (stored, owner))),
                Mark::Changed => {
                    if let Some((row, _)) = self.holds.get_mut(&hold.call) {
                        row.amount = hold.amount;
                    }
                }
            }
        }
        for receipt in loaded.receipts.values().filter(|receipt| receipt.mark != Mark::Stored) {
            assert!(
                receipt.refunded >= Money::ZERO && receipt.refunded <= receipt.price,
                "CHECK (refunded <= price) of {receipt:?}"
            );
            let stored = ReceiptRow { mark: Mark::Stored, ..receipt.clone() };
            self.receipts.insert(receipt.call, stored);
        }
    }

    // In the order in which the statements run.
    fn save_claims(&mut self, loaded: &Loaded, effect: &Effect) {
        for (key, name, call) in &effect.claims_charged {
            if let Some(row) = self.claims.get_mut(&(*key, *name)).filter(|row| row.call == *call) {
                row.charged = true;
            }
        }
        for (key, name, call) in &effect.claims_freed {
            if self.claims.get(&(*key, *name)).is_some_and(|row| row.call == *call) {
                self.claims.remove(&(*key, *name));
            }
        }
        if !effect.claims_dropped.is_empty() {
            self.claims.retain(|(key, _), row| !effect.claims_dropped.contains(&(*key, row.call)));
        }
        for place in effect.claims_put.iter().filter(|_| self.fault != Some(Fault::LosesClaim)) {
            if let Some(row) = loaded.claims.get(place) {
                self.claims.insert(*place, ClaimRow { charged: false, ..row.clone() });
            }
        }
    }

    /// Holds that nobody will settle any more: of processes that are gone, or past their time.
    pub fn orphans(&self, alive: &BTreeSet<Id<Instance>>, now: Timestamp) -> Vec<HoldRow> {
        let lost = |(hold, owner): &&(HoldRow, Id<Instance>)| hold.expires_at <= now || !alive.contains(owner);
        self.holds.values().filter(lost).take(256).map(|(hold, _)| hold.clone()).collect()
    }
}

fn posted(line: &Line, at: Timestamp) -> Posted {
    Posted {
        id: line.id,
        at,
        kind: line.kind,
        chain: line.chain.clone(),
        legs: line.legs.to_string(),
        call: line.call,
        held: line.held_delta.nanos(),
        spent: line.spent_delta.nanos(),
        funded: line.funded_delta.nanos(),
        overrun: line.overrun.nanos(),
    }
}

fn wallets_of(loaded: &Loaded) -> BTreeSet<Id<Wallet>> {
    loaded.chains.values().flat_map(|chain| chain.wallets.iter().copied()).collect()
}

fn first_leg(wallet: Id<Wallet>) -> Leg {
    Leg { wallet, window: Period::from_key(0).expect("the window without end") }
}

/// What stands before the first entry of a chain.
pub(super) fn head_or_none(head: Option<(i64, Hash)>) -> (i64, Hash) {
    head.unwrap_or((0, GENESIS))
}
