//! What must hold after every commit, for what it touched; and over the whole database, once in a while and at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{exported, verify_export};
use crate::book::Leg;
use crate::id::{Call, Id, Wallet};
use crate::money::Money;
use crate::rows::{ChainId, Effect, Status, legs_text};
use crate::sim::Verdict;
use crate::sim::image::{Image, Posted, head_or_none};
use crate::sim::model::{Books, Life, Moved, Pot, ensure};
use crate::window::Period;

/// The journal, summed up beside the counters.
#[derive(Default)]
pub(super) struct Checker {
    sums: BTreeMap<Leg, (i128, i128)>,
    funded: BTreeMap<Id<Wallet>, i128>,
    overrun: i128,
    read: usize,
}

impl Checker {
    /// After a commit, or after a batch that changed nothing.
    pub fn after(&mut self, image: &Image, books: &mut Books, effect: &Effect) -> Verdict {
        let moved = std::mem::take(&mut books.moved);
        same_rows(&moved, effect)?;
        self.read_journal(image)?;
        for entry in effect.audit.iter().rev().take(1) {
            let head = image.head(&entry.chain);
            ensure!(head == Some((entry.seq, entry.hash)), "entry {} of {} was not written", entry.seq, entry.chain);
        }
        for (leg, before) in &moved.pots {
            self.pot(image, books, leg, before)?;
        }
        for call in &moved.calls {
            same_call(image, books, *call)?;
        }
        for place in &moved.claims {
            let (row, claimed) = (image.claims.get(place), books.claims.get(place));
            let stored = row.map(|row| (row.body, row.call, row.charged, row.at));
            let due = claimed.map(|it| (it.body, it.call, it.charged, it.at));
            ensure!(stored == due, "claim {row:?} instead of {claimed:?}");
        }
        for wallet in &moved.funded {
            self.purse(image, books, *wallet)?;
        }
        ensure!(
            i128::from(image.overrun) == self.overrun && books.overrun == self.overrun,
            "the overrun account has {}, its journal {}, the contract says {}",
            image.overrun,
            self.overrun,
            books.overrun
        );
        Ok(())
    }

    fn read_journal(&mut self, image: &Image) -> Verdict {
        for row in &image.journal[self.read..] {
            for leg in legs(image, row)? {
                let sum = self.sums.entry(leg).or_default();
                sum.0 += i128::from(row.spent);
                sum.1 += i128::from(row.held);
                *self.funded.entry(leg.wallet).or_default() += i128::from(row.funded);
            }
            self.overrun += i128::from(row.overrun);
        }
        self.read = image.journal.len();
        Ok(())
    }

    /// A wallet is the sum of its journal, window by window; and no commit raised it above its limit.
    fn pot(&self, image: &Image, books: &Books, leg: &Leg, before: &Pot) -> Verdict {
        let stored = image.windows.get(leg).copied().unwrap_or_default();
        let stored = Pot { spent: nanos(stored.spent), held: nanos(stored.held), warned: stored.warned };
        let due = books.pots.get(leg).copied().unwrap_or_default();
        ensure!(stored == due, "{leg:?} has {stored:?} instead of {due:?}");
        let sum = self.sums.get(leg).copied().unwrap_or_default();
        ensure!(sum == (stored.spent, stored.held), "{leg:?} has {stored:?}, its journal sums to {sum:?}");
        ensure!(stored.held >= 0 && stored.spent >= 0, "{leg:?} has {stored:?}");
        let (then, now) = (before.spent + before.held, stored.spent + stored.held);
        if let Some(limit) = image.wallets[&leg.wallet].terms.hard_limit {
            ensure!(now <= then.max(nanos(limit)), "{leg:?} rose from {then} to {now} above {limit}");
        }
        Ok(())
    }

    fn purse(&self, image: &Image, books: &Books, wallet: Id<Wallet>) -> Verdict {
        let (stored, due) = (&image.wallets[&wallet].terms, &books.terms[&wallet]);
        ensure!(stored == due, "{wallet} has {stored:?} instead of {due:?}");
        let sum = self.funded.get(&wallet).copied().unwrap_or_default();
        ensure!(nanos(stored.funded) == sum, "{wallet} was funded with {}, its journal says {sum}", stored.funded);
        Ok(())
    }

    /// Everything, from the rows alone, without what was summed up before.
    pub fn whole(&self, image: &Image, books: &Books) -> Verdict {
        let mut afresh = Checker::default();
        afresh.read_journal(image)?;
        let windows: BTreeSet<&Leg> = image.windows.keys().chain(afresh.sums.keys()).chain(books.pots.keys()).collect();
        for leg in windows {
            let before = books.pots.get(leg).copied().unwrap_or_default();
            afresh.pot(image, books, leg, &before)?;
        }
        for wallet in image.wallets.keys() {
            afresh.purse(image, books, *wallet)?;
        }
        ensure!(image.holds.keys().all(|call| !image.receipts.contains_key(call)), "a call runs and has ended");
        let calls = image.holds.len() + image.receipts.len();
        ensure!(calls == books.calls.len(), "{calls} calls are stored, {} were made", books.calls.len());
        for call in books.calls.keys() {
            same_call(image, books, *call)?;
        }
        stories(image)?;
        accounts(image)?;
        claims(image, books)?;
        let (told, due) = (image.alerts.len(), books.alerts.len() + books.failed.len());
        ensure!(told == due, "{told} alerts instead of {due}");
        Ok(())
    }
}

fn nanos(amount: Money) -> i128 {
    i128::from(amount.nanos())
}

/// The journal and the audit log say what happened, in the order in which it did.
fn same_rows(moved: &Moved, effect: &Effect) -> Verdict {
    ensure!(moved.journal.len() == effect.journal.len(), "{} rows in the journal", effect.journal.len());
    for (due, line) in moved.journal.iter().zip(&effect.journal) {
        let money = [line.held_delta, line.spent_delta, line.funded_delta, line.overrun].map(nanos);
        let right = (due.kind, &due.chain, due.call) == (line.kind, &line.chain, line.call)
            && money == [due.held, due.spent, due.funded, due.overrun]
            && (due.kind == "fund" || *legs_text(&due.legs) == *line.legs);
        ensure!(right, "journal has {} of {:?} by {money:?} in {} instead of {due:?}", line.kind, line.call, line.legs);
    }
    ensure!(moved.audit.len() == effect.audit.len(), "{} entries instead of {:?}", effect.audit.len(), moved.audit);
    for ((chain, kind, holds), entry) in moved.audit.iter().zip(&effect.audit) {
        // Looking through all lines would take as long as writing them.
        let looked = entry.seq % 8 > 0 || entry.line.contains(holds);
        let right = (&**chain, *kind) == (&*entry.chain, entry.kind) && looked;
        ensure!(right, "audit has {} instead of {kind} of {holds}", entry.line);
    }
    Ok(())
}

/// The wallets that a row moved, each in its window.
fn legs(image: &Image, row: &Posted) -> Result<Vec<Leg>, String> {
    let corrupt = || format!("journal row of chain {} with legs {:?}", row.chain, row.legs);
    let alone = row.chain.strip_prefix("solo_");
    let name: ChainId = alone.unwrap_or(&row.chain).parse().map_err(|_| corrupt())?;
    let (_, wallets) = image.chains.get(&name).ok_or_else(corrupt)?;
    let wallets = if alone.is_some() { &wallets[..1] } else { &wallets[..] };
    let windows: Option<Vec<Period>> = row.legs.split(',').map(|key| Period::from_key(key.parse().ok()?)).collect();
    let windows = windows.filter(|windows| windows.len() == wallets.len()).ok_or_else(corrupt)?;
    Ok(wallets.iter().zip(windows).map(|(&wallet, window)| Leg { wallet, window }).collect())
}

fn same_call(image: &Image, books: &Books, call: Id<Call>) -> Verdict {
    let (hold, receipt) = (image.holds.get(&call), image.receipts.get(&call));
    match (books.calls.get(&call), hold, receipt) {
        (Some(Life::Open(open)), Some((hold, _)), None) => {
            let money = [hold.asked, hold.opened, hold.amount].map(nanos);
            let right = (money, hold.claim) == ([open.asked, open.opened, open.amount], open.claim)
                && (hold.org, hold.key, hold.wallet) == (open.who.org, open.who.key, open.who.wallet)
                && hold.chain == open.chain
                && *hold.legs == *legs_text(&open.legs);
            ensure!(right, "hold {hold:?} instead of {open:?}");
            Ok(())
        }
        (Some(Life::Ended(bill)), None, Some(receipt)) => bill.is(receipt),
        (life, ..) => Err(format!("{call} is {life:?}, stored are {hold:?} and {receipt:?}")),
    }
}

#[derive(Default)]
struct Story {
    made: u32,
    resolved: u32,
    held: i128,
    spent: i128,
    overrun: i128,
}

/// Each hold is made once and resolves once; its rows sum to what is held, or to what was charged and not given back.
fn stories(image: &Image) -> Verdict {
    let mut stories: BTreeMap<Id<Call>, Story> = BTreeMap::new();
    let charged: BTreeSet<Id<Call>> = image.charges.values().map(|row| row.call).collect();
    for row in &image.journal {
        let Some(call) = row.call else { continue };
        let story = stories.entry(call).or_default();
        let open = story.made == 1 && story.resolved == 0;
        match row.kind {
            "reserve" => story.made += 1,
            "grow" => ensure!(open, "{call} grew while nothing was held"),
            // Nothing was held for what is charged by API.
            "settle" if charged.contains(&call) => (story.made, story.resolved) = (story.made + 1, story.resolved + 1),
            "settle" | "release" | "expire" => story.resolved += 1,
            "adjust" | "refund" => ensure!(story.resolved == 1, "{} of {call}, which has not ended", row.kind),
            other => return Err(format!("{other} of {call}")),
        }
        ensure!(story.made == 1 && story.resolved <= 1, "{call} was held or resolved twice: {}", row.kind);
        story.held += i128::from(row.held);
        story.spent += i128::from(row.spent);
        story.overrun += i128::from(row.overrun);
    }
    for (call, story) in &stories {
        let hold = image.holds.get(call).map_or(0, |(hold, _)| nanos(hold.amount));
        let receipt = image.receipts.get(call);
        let charged = receipt.map_or(0, |receipt| nanos(receipt.price) - nanos(receipt.refunded));
        let overrun = receipt.map_or(0, |receipt| nanos(receipt.overrun));
        let right = (story.held, story.spent, story.overrun) == (hold, charged, overrun);
        ensure!(right, "the journal of {call} sums to {} held, {} spent", story.held, story.spent);
        ensure!(receipt.is_some() == (story.resolved == 1), "{call} has a receipt and no resolution, or the reverse");
    }
    let ended = image.receipts.values().filter(|receipt| receipt.status != Status::Refused).count();
    ensure!(stories.len() == image.holds.len() + ended, "a call that moved money has no rows");
    Ok(())
}

/// What is kept beside the receipts sums to what they say.
fn accounts(image: &Image) -> Verdict {
    let mut refunded: BTreeMap<Id<Call>, i128> = BTreeMap::new();
    for refund in image.refunds.values() {
        *refunded.entry(refund.call).or_default() += nanos(refund.amount);
    }
    let mut overrun = 0;
    for (call, receipt) in &image.receipts {
        let due = refunded.get(call).copied().unwrap_or(0);
        ensure!(nanos(receipt.refunded) == due, "{call}: {due} were refunded, its receipt says {}", receipt.refunded);
        overrun += nanos(receipt.overrun);
    }
    ensure!(i128::from(image.overrun) == overrun, "receipts have {overrun} of overrun, the account {}", image.overrun);
    let mut funded: BTreeMap<Id<Wallet>, i128> = BTreeMap::new();
    for (wallet, amount) in image.fundings.values() {
        *funded.entry(*wallet).or_default() += nanos(*amount);
    }
    for (wallet, purse) in &image.wallets {
        let due = funded.get(wallet).copied().unwrap_or(0);
        ensure!(nanos(purse.terms.funded) == due, "{wallet}: fundings sum to {due}, not {}", purse.terms.funded);
    }
    Ok(())
}

/// A claim runs as long as its call holds money, and stays with what was charged.
fn claims(image: &Image, books: &Books) -> Verdict {
    ensure!(image.claims.len() == books.claims.len(), "{} claims, not {}", image.claims.len(), books.claims.len());
    for ((key, _), claim) in &image.claims {
        let charged = image.receipts.get(&claim.call).is_some_and(|receipt| receipt.status != Status::Refused);
        let right = if claim.charged { charged } else { image.holds.contains_key(&claim.call) };
        ensure!(right, "claim of {key} by {} is charged: {}", claim.call, claim.charged);
    }
    Ok(())
}

/// Every chain verifies as it would be exported; and every movement of money has its entry.
pub(super) fn trail(image: &Image, books: &Books) -> Verdict {
    let mut entries: BTreeMap<String, i64> = BTreeMap::new();
    for (chain, sealed) in &image.audit {
        let mut export = String::new();
        for entry in sealed {
            export.push_str(&exported(&entry.line, &entry.hash));
            export.push('\n');
            let kind = if entry.kind == "CHARGE" { "SETTLE" } else { entry.kind };
            *entries.entry(kind.to_lowercase()).or_default() += 1;
        }
        let summary = verify_export(export.as_bytes()).map_err(|damage| format!("audit of {chain}: {damage}"))?;
        ensure!((summary.seq, summary.hash) == head_or_none(image.head(chain)), "audit of {chain} has another head");
    }
    for row in &image.journal {
        *entries.entry(row.kind.to_owned()).or_default() -= 1;
    }
    for kind in ["reserve", "grow", "settle", "release", "expire", "adjust", "refund", "fund"] {
        let left = entries.get(kind).copied().unwrap_or(0);
        ensure!(left == 0, "{left} more entries than journal rows of kind {kind}");
    }
    let notes = entries.get("note").copied().unwrap_or(0);
    ensure!(i64::try_from(books.noted.len()) == Ok(notes), "{notes} notes are written");
    Ok(())
}
