//! What the one process of a SQLite database need not read again. Nobody else moves money or opens holds there, and whoever
//! changes a wallet raises the configuration's revision: so what a committed batch left behind is what the next one finds.
//! Any batch that fails ends all of it.

use std::collections::{HashMap, HashSet};

use crate::book::{Counter, Leg, Terms};
use crate::id::{Call, Id, Wallet};
use crate::rows::{Effect, HoldRow, Loaded, Mark};

/// Counters kept; beyond that all are read anew.
const MOST: usize = 200_000;

#[derive(Default)]
pub(super) struct Memory {
    /// Of the revision that `terms` are of.
    revision: Option<i64>,
    terms: HashMap<Id<Wallet>, Terms>,
    counters: HashMap<Leg, Counter>,
    ever: HashMap<Id<Wallet>, Counter>,
    /// All that are open, once they were read.
    holds: Option<HashMap<Id<Call>, HoldRow>>,
    staged: Option<Staged>,
}

/// What a batch leaves behind if it is committed.
struct Staged {
    terms: Vec<(Id<Wallet>, Terms)>,
    counters: Vec<(Leg, Counter)>,
    ever: Vec<(Id<Wallet>, Counter)>,
    opened: Vec<HoldRow>,
    gone: Vec<Id<Call>>,
}

impl Memory {
    /// Forgets what another revision may have changed.
    pub fn at(&mut self, revision: i64) {
        if self.revision != Some(revision) {
            self.terms.clear();
            self.revision = Some(revision);
        }
        if self.counters.len() > MOST {
            self.counters.clear();
            self.terms.clear();
            self.ever.clear();
        }
    }

    pub fn terms(&self, wallet: Id<Wallet>) -> Option<Terms> {
        self.terms.get(&wallet).cloned()
    }

    pub fn ever(&self, wallet: Id<Wallet>) -> Option<Counter> {
        self.ever.get(&wallet).copied()
    }

    pub fn counter(&self, leg: &Leg) -> Option<Counter> {
        self.counters.get(leg).copied()
    }

    /// What was read: true as long as nobody else writes.
    pub fn read_terms(&mut self, wallet: Id<Wallet>, terms: &Terms, ever: Option<Counter>) {
        self.terms.insert(wallet, Terms::clone(terms));
        self.ever.extend(ever.map(|ever| (wallet, ever)));
    }

    pub fn read_counter(&mut self, leg: Leg, counter: Counter) {
        self.counters.insert(leg, counter);
    }

    /// All open holds, if they are known.
    pub fn holds(&self) -> Option<&HashMap<Id<Call>, HoldRow>> {
        self.holds.as_ref()
    }

    pub fn read_holds(&mut self, rows: impl Iterator<Item = HoldRow>) {
        self.holds = Some(rows.map(|row| (row.call, row)).collect());
    }

    /// What a batch is about to leave behind.
    pub fn stage(&mut self, loaded: &Loaded, effect: &Effect) {
        let wallets = &loaded.wallets;
        let touched: HashSet<Id<Wallet>> = wallets.touched.iter().map(|leg| leg.wallet).collect();
        let opened = loaded.holds.values().filter(|hold| hold.mark != Mark::Stored);
        self.staged = Some(Staged {
            terms: wallets
                .funded
                .iter()
                .filter_map(|id| wallets.terms.get(id).map(|terms| (*id, Terms::clone(terms))))
                .collect(),
            counters: wallets.touched.iter().filter_map(|leg| Some((*leg, *wallets.counters.get(leg)?))).collect(),
            ever: touched.iter().filter_map(|id| Some((*id, *wallets.ever.get(id)?))).collect(),
            opened: opened.map(|hold| HoldRow { mark: Mark::Stored, ..hold.clone() }).collect(),
            gone: effect.holds_gone.clone(),
        });
    }

    /// It was committed.
    pub fn keep(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        self.terms.extend(staged.terms);
        self.counters.extend(staged.counters);
        self.ever.extend(staged.ever);
        if let Some(holds) = &mut self.holds {
            holds.extend(staged.opened.into_iter().map(|hold| (hold.call, hold)));
            for call in &staged.gone {
                holds.remove(call);
            }
        }
    }

    /// It was not, or nobody knows.
    pub fn forget(&mut self) {
        *self = Memory::default();
    }
}
