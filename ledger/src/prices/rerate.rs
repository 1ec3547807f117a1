//! Brings what was charged to a price that was corrected later: by corrections of the calls, never by edits.

use sha2::{Digest, Sha256};

use super::{PriceBook, PriceRow, Prices, kind, pattern};
use crate::audit::{Actor, Entry};
use crate::charge::{CorrectError, Correction};
use crate::clock::Timestamp;
use crate::id::{Call, Id, JournalRow, Price};
use crate::money::Money;
use crate::order::Receipt;
use crate::price::Markup;
use crate::store::receipts::ReceiptFilter;
use crate::tenants::{TenantError, check};

/// So many receipts are looked at in one go.
const AT_A_TIME: u32 = 1_000;
const PAGE: u32 = 200;
/// The id of a call is made with the call, and yet not in the same microsecond.
const MARGIN_MICROS: i64 = 1_000_000;

/// Which calls to bring to a price: those that began at `from` or later and before `to`.
#[derive(Debug, Clone, Copy)]
pub struct Rerate {
    pub price: Id<Price>,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Where the last go ended.
    pub cursor: Option<Id<Call>>,
}

/// What came of one go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Settled calls of the period that the price is meant for.
    pub examined: u64,
    pub corrected: u64,
    /// They were charged this much already.
    pub unchanged: u64,
    /// Another price of the list is in force for them.
    pub outranked: u64,
    /// Charged by the configuration's price, which comes before the list, or by a version that named no price.
    pub left: u64,
    /// What tenants are charged more, or less.
    pub price_delta: Money,
    /// What the platform's cost is more, or less.
    pub cost_delta: Money,
    /// Where to go on; none at the end.
    pub next: Option<Id<Call>>,
}

/// What is to be done about a call.
enum Verdict {
    NotMeant,
    Left,
    Outranked,
    Unchanged,
    Correct { cost: Money, price: Money },
}

impl Prices<'_> {
    /// Corrects every settled call of the price's target in a period whose booked price is another. Newest first, a bounded
    /// number in one go; doing it again changes nothing. `goes_by` is what else a target is called.
    pub async fn rerate(
        &self,
        asked: Rerate,
        goes_by: &(dyn Fn(&str) -> Option<String> + Sync),
        actor: &Actor,
    ) -> Result<Rerated, TenantError> {
        if asked.from >= asked.to {
            return Err(check::invalid("to", "must be later than from"));
        }
        let price = self.get(asked.price).await?;
        let book = self.book().await?;
        // Each correction has its own entry. This one says why they are there, should whoever asked be gone before the sums.
        let period = |kind| {
            let entry = Entry::new(price.org, kind, *actor).with("price_id", price.id);
            entry.with("from", asked.from).with("to", asked.to)
        };
        self.ledger.record(period(kind::PRICE_RERATING).with("before", asked.cursor)).await?;
        let mut done = Rerated::default();
        let filter = ReceiptFilter { org: price.org, status: Some("settled".to_owned()), ..ReceiptFilter::default() };
        let after_all = Id::new(Timestamp::from_micros(asked.to.micros().saturating_add(MARGIN_MICROS)), [0xff; 10]);
        let before_all = Id::new(Timestamp::from_micros(asked.from.micros().saturating_sub(MARGIN_MICROS)), [0; 10]);
        let mut cursor: Id<Call> = asked.cursor.unwrap_or(after_all);
        let mut read = 0;
        loop {
            let page = self.ledger.receipts().list(&filter, Some(cursor), PAGE).await?;
            for receipt in &page {
                if receipt.call < before_all {
                    break;
                }
                let names = receipt.record.target.as_deref().map(|target| (target, goes_by(target)));
                match judge(&price, &book, &asked, receipt, names.as_ref().map(|(a, b)| (*a, b.as_deref()))) {
                    Verdict::NotMeant => continue,
                    Verdict::Left => done.left += 1,
                    Verdict::Outranked => done.outranked += 1,
                    Verdict::Unchanged => done.unchanged += 1,
                    Verdict::Correct { cost, price: new } => {
                        self.correct(&price, receipt, (cost, new), actor, &mut done).await?;
                    }
                }
                done.examined += 1;
            }
            read += PAGE;
            match page.last() {
                Some(last) if page.len() == PAGE as usize && last.call >= before_all => cursor = last.call,
                _ => break,
            }
            if read >= AT_A_TIME {
                done.next = Some(cursor);
                break;
            }
        }
        let entry = period(kind::PRICE_RERATED)
            .with("examined", done.examined)
            .with("corrected", done.corrected)
            .with("price_delta_usd", done.price_delta)
            .with("cost_delta_usd", done.cost_delta);
        self.ledger.record(entry).await?;
        Ok(done)
    }

    async fn correct(
        &self,
        price: &PriceRow,
        was: &Receipt,
        (cost, new): (Money, Money),
        actor: &Actor,
        done: &mut Rerated,
    ) -> Result<(), TenantError> {
        let correction = Correction {
            id: correction_id(price.id, was.call),
            call: was.call,
            cost,
            price: new,
            reason: format!("re-rated by {}", price.id),
            price_version: Some(price.id.to_string()),
            usage: None,
            actor: *actor,
        };
        match self.ledger.correct(correction).await {
            Ok(now) => {
                let delta = |now: Money, was: Money| now.minus(was).unwrap_or_default();
                done.corrected += 1;
                done.price_delta = done.price_delta.plus(delta(now.price, was.price)).unwrap_or(Money::MAX);
                done.cost_delta = done.cost_delta.plus(delta(now.cost, was.cost)).unwrap_or(Money::MAX);
                Ok(())
            }
            Err(CorrectError::Store(error)) => Err(error.into()),
            // Somebody else had a word about this call meanwhile; theirs counts.
            Err(error) => {
                tracing::warn!(call = %was.call, %error, "a call could not be re-rated");
                done.left += 1;
                Ok(())
            }
        }
    }
}

fn judge(
    price: &PriceRow,
    book: &PriceBook,
    asked: &Rerate,
    receipt: &Receipt,
    names: Option<(&str, Option<&str>)>,
) -> Verdict {
    let Some((target, as_kind)) = names else { return Verdict::NotMeant };
    let names: Vec<&str> = std::iter::once(target).chain(as_kind).collect();
    let record = &receipt.record;
    let began = record.started_at.unwrap_or(receipt.at);
    let in_time = asked.from <= began && began < asked.to && price.effective_from <= began;
    // What the cache answered cost nothing, at whatever price.
    let asked_a_provider = record.attempts.iter().any(|attempt| attempt.outcome == ANSWERED);
    if !in_time || !asked_a_provider || !names.iter().any(|name| pattern::matches(&price.target, name)) {
        return Verdict::NotMeant;
    }
    let version = price.id.to_string();
    if record.price_version.is_empty() || record.price_version.starts_with("config:") {
        return Verdict::Left;
    }
    if book.price(receipt.org, &names, began).is_none_or(|listed| *listed.version != *version) {
        return Verdict::Outranked;
    }
    // A sum of many calls does not say which of their prompts were long.
    if record.usage.requests > 1 && !price.rates.long_context.is_empty() {
        return Verdict::Left;
    }
    let charged = price.rates.exact(&record.usage).with_markup(record.markup.unwrap_or(Markup::NONE));
    let billed = price.rates.exact(record.counted.as_ref().unwrap_or(&record.usage));
    let (Some(new), Some(own)) = (charged.rounded_up(), billed.rounded_up()) else { return Verdict::Left };
    // What was booked, with what could not be charged then.
    if record.price_version == version || receipt.price.plus(receipt.overrun) == Some(new) {
        return Verdict::Unchanged;
    }
    let mut failed = record.attempts.iter().filter(|attempt| attempt.outcome != ANSWERED).map(|attempt| attempt.cost);
    match failed.try_fold(own, Money::plus) {
        Some(cost) => Verdict::Correct { cost, price: new },
        None => Verdict::Left,
    }
}

/// How an attempt is written down that the client got its answer from.
const ANSWERED: &str = "answered";

/// The same price corrects the same call once.
fn correction_id(price: Id<Price>, call: Id<Call>) -> Id<JournalRow> {
    let hash = Sha256::digest(format!("rerate\n{price}\n{call}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Id::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
