//! The stored price list: what targets cost from when on, what tenants are charged for it, and what is done about targets
//! that have no price. Nothing here is ever changed or taken away; the latest word counts.

mod book;
mod community;
mod import;
pub(crate) mod pattern;
mod rerate;

use sha2::{Digest, Sha256};

use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, MarkupRule, Org, Price, PricingTerms, Team};
use crate::ledger::Ledger;
use crate::price::{Markup, Rates};
use crate::store::Database;
use crate::store::prices as rows;
use crate::store::tenants::{self, Change};
use crate::tenants::people::{check_org, check_team};
use crate::tenants::{Mark, Page, TenantError, check};

pub use book::{Listed, PriceBook};
pub use import::{Import, Imported, NewlyPriced, Skipped};
pub use rerate::{Rerate, Rerated};

const LONGEST_SOURCE: usize = 200;

/// A price to be added to the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPrice {
    pub id: Id<Price>,
    /// For this organisation alone; else for all that have no price of their own.
    pub org: Option<Id<Org>>,
    /// `provider/model`, or a pattern with `*`; the provider by its id in the configuration, or by its kind.
    pub target: String,
    /// Now, unless said. From the past on, it corrects: what was charged already stays until it is re-rated.
    pub effective_from: Option<Timestamp>,
    pub rates: Rates,
    /// Where it is known from, in a line.
    pub source: String,
}

/// A price in the list. Its id is the version that receipts name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub id: Id<Price>,
    pub org: Option<Id<Org>>,
    pub target: String,
    pub effective_from: Timestamp,
    pub rates: Rates,
    pub source: String,
    pub created_at: Timestamp,
}

/// What a tenant is to be charged for a dollar of cost, from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMarkup {
    pub id: Id<MarkupRule>,
    pub org: Id<Org>,
    /// Only this team's calls.
    pub team: Option<Id<Team>>,
    /// Only calls of this model: a name or pattern of the model as it was asked for, or of the target that serves it.
    pub model: Option<String>,
    /// None withdraws what was said of the same team and model before.
    pub factor: Option<Markup>,
}

/// A markup as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkupRow {
    pub id: Id<MarkupRule>,
    pub org: Id<Org>,
    pub team: Option<Id<Team>>,
    pub model: Option<String>,
    pub factor: Option<Markup>,
    pub created_at: Timestamp,
}

/// What an organisation wants done about targets without a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgPricing {
    pub id: Id<PricingTerms>,
    pub org: Id<Org>,
    /// None: such calls are refused.
    pub default_rates: Option<Rates>,
    pub at: Timestamp,
}

/// Kinds of audit entries about prices.
pub mod kind {
    pub const PRICE_CREATED: &str = "PRICE_CREATED";
    pub const PRICE_RERATING: &str = "PRICE_RERATING";
    pub const PRICE_RERATED: &str = "PRICE_RERATED";
    pub const PRICES_IMPORTED: &str = "PRICES_IMPORTED";
    pub const MARKUP_SET: &str = "MARKUP_SET";
    pub const ORG_PRICING_SET: &str = "ORG_PRICING_SET";
}

impl PriceRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

impl MarkupRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// Prices, as operators read and set them.
#[derive(Clone, Copy)]
pub struct Prices<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// Prices, for reading and for setting.
    pub fn prices(&self) -> Prices<'_> {
        Prices { ledger: self }
    }
}

impl Prices<'_> {
    /// Adds a price to the list.
    pub async fn create(&self, new: NewPrice, actor: &Actor) -> Result<PriceRow, TenantError> {
        check_price(&new)?;
        let content = content(&new);
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<PriceRow>(&mut change.tx, new.id.to_string()).await? {
            return check::repeat(row, &new.id, made_of, content);
        }
        if let Some(org) = new.org {
            check_org(&mut change, org).await?;
        }
        let row = listed(new, self.now());
        rows::insert_price(&mut change.tx, &row, content).await?;
        let entry = created(&row, actor);
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// One price.
    pub async fn get(&self, id: Id<Price>) -> Result<PriceRow, TenantError> {
        tenants::get(self.db(), id.to_string()).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))
    }

    /// Prices, oldest first; of one organisation or one target, if they are named.
    pub async fn list(
        &self,
        org: Option<Id<Org>>,
        target: Option<String>,
        page: &Page,
    ) -> Result<Vec<PriceRow>, TenantError> {
        let filters = [("org_id", org.map(|id| id.to_string())), ("target", target)];
        Ok(tenants::list(self.db(), &filters, page).await?)
    }

    /// Sets a markup. In force at once, for calls that begin then.
    pub async fn set_markup(&self, new: NewMarkup, actor: &Actor) -> Result<MarkupRow, TenantError> {
        if let Some(fault) = new.model.as_deref().and_then(pattern::fault) {
            return Err(check::invalid("model", fault));
        }
        let content = check::content(&(new.org, new.team, &new.model, new.factor));
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<MarkupRow>(&mut change.tx, new.id.to_string()).await? {
            return check::repeat(row, &new.id, made_of, content);
        }
        check_org(&mut change, new.org).await?;
        if let Some(team) = new.team {
            check_team("team", &mut change, new.org, team).await?;
        }
        let NewMarkup { id, org, team, model, factor } = new;
        let row = MarkupRow { id, org, team, model, factor, created_at: self.now() };
        rows::insert_markup(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.org), kind::MARKUP_SET, *actor)
            .with("markup_id", row.id)
            .with("team_id", row.team)
            .with("model", &row.model)
            .with("markup", row.factor);
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// Markups as they were set, oldest first; of one organisation, if one is named.
    pub async fn markups(&self, org: Option<Id<Org>>, page: &Page) -> Result<Vec<MarkupRow>, TenantError> {
        Ok(tenants::list(self.db(), &[("org_id", org.map(|id| id.to_string()))], page).await?)
    }

    /// What an organisation wants done about targets without a price: the rates that it is charged, or none.
    pub async fn default_rates(&self, org: Id<Org>) -> Result<Option<Rates>, TenantError> {
        self.ledger.tenants().org(org).await?;
        Ok(rows::terms(self.db(), org).await?.and_then(|row| row.default_rates))
    }

    /// Says what is to be done about targets without a price: charge these rates, or, without any, refuse.
    pub async fn set_default_rates(
        &self,
        org: Id<Org>,
        default_rates: Option<Rates>,
        actor: &Actor,
    ) -> Result<(), TenantError> {
        if let Some(rates) = &default_rates {
            rates.check().map_err(|fault| check::invalid("default_rates", fault.to_string()))?;
        }
        let mut change = Change::begin(self.db()).await?;
        check_exists(&mut change, org).await?;
        let known = rows::terms_of(&mut change.tx, org).await?.and_then(|row| row.default_rates);
        if known == default_rates {
            return Ok(());
        }
        let row = OrgPricing { id: self.ledger.new_id(), org, default_rates, at: self.now() };
        rows::insert_terms(&mut change.tx, &row).await?;
        let entry = Entry::new(Some(org), kind::ORG_PRICING_SET, *actor)
            .with("unpriced", if row.default_rates.is_some() { "default" } else { "refuse" })
            .with("default_rates", &row.default_rates);
        self.commit(change, row.at, &[entry]).await
    }

    /// Everything that was said of prices, as one view.
    pub async fn book(&self) -> Result<PriceBook, StoreError> {
        rows::book(self.db()).await
    }

    /// Whether anything was said of prices since this view was made.
    pub async fn is_current(&self, book: &PriceBook) -> Result<bool, StoreError> {
        Ok(rows::count(self.db()).await? == book.rows())
    }

    fn db(&self) -> &Database {
        self.ledger.database()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }

    /// Makes a change durable, and known in this process.
    async fn commit(&self, change: Change, at: Timestamp, entries: &[Entry]) -> Result<(), TenantError> {
        change.commit(at, entries).await?;
        // The change is durable whatever this read says; the poll of each second makes up for it.
        if let Err(error) = self.ledger.refresh_revision().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the new revision could not be read back");
        }
        Ok(())
    }
}

async fn check_exists(change: &mut Change, org: Id<Org>) -> Result<(), TenantError> {
    match tenants::has_org(&mut change.tx, org).await? {
        true => Ok(()),
        false => Err(TenantError::Unknown(org.to_string())),
    }
}

fn check_price(new: &NewPrice) -> Result<(), TenantError> {
    if let Some(fault) = pattern::target_fault(&new.target) {
        return Err(check::invalid("target", fault));
    }
    let source = new.source.trim();
    if source.is_empty() || source.chars().count() > LONGEST_SOURCE || source.chars().any(char::is_control) {
        return Err(check::invalid("source", format!("must be one line of 1 to {LONGEST_SOURCE} characters")));
    }
    new.rates.check().map_err(|fault| check::invalid("rates", fault.to_string()))
}

fn content(new: &NewPrice) -> [u8; 32] {
    check::content(&(new.org, &new.target, new.effective_from, &new.rates, &new.source))
}

fn listed(new: NewPrice, created_at: Timestamp) -> PriceRow {
    let NewPrice { id, org, target, effective_from, rates, source } = new;
    PriceRow { id, org, target, effective_from: effective_from.unwrap_or(created_at), rates, source, created_at }
}

fn created(row: &PriceRow, actor: &Actor) -> Entry {
    Entry::new(row.org, kind::PRICE_CREATED, *actor)
        .with("price_id", row.id)
        .with("target", &row.target)
        .with("effective_from", row.effective_from)
        .with("rates", &row.rates)
        // The log is no place for an admin's own words: the price has them.
        .with("source_sha256", hex::encode(Sha256::digest(&row.source)))
}
