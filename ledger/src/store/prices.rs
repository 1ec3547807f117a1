//! Prices, markups and defaults in SQL: one text for both databases.

use super::tenants::Stored;
use super::{Database, Row, Tx, values};
use crate::error::StoreError;
use crate::id::{Id, Org};
use crate::price::Rates;
use crate::prices::{MarkupRow, OrgPricing, PriceBook, PriceRow};

const PRICE: &str = "SELECT id, org_id, target, effective_from, rates, source, content, created_at FROM prices";
const MARKUP: &str = "SELECT id, org_id, team_id, model, factor, content, created_at FROM markups";
const TERMS: &str = "SELECT id, org_id, default_rates, created_at FROM org_pricing";

impl Stored for PriceRow {
    const SELECT: &'static str = PRICE;
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(PriceRow {
            id: row.id("id")?,
            org: row.maybe_id("org_id")?,
            target: row.get("target")?,
            effective_from: row.time("effective_from")?,
            rates: rates(&row.get::<String>("rates")?)?,
            source: row.get("source")?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for MarkupRow {
    const SELECT: &'static str = MARKUP;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let factor: Option<String> = row.get("factor")?;
        let factor = factor.map(|it| it.parse().map_err(|_| StoreError::Corrupt(format!("markup {it:?}"))));
        Ok(MarkupRow {
            id: row.id("id")?,
            org: row.id("org_id")?,
            team: row.maybe_id("team_id")?,
            model: row.get("model")?,
            factor: factor.transpose()?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for OrgPricing {
    const SELECT: &'static str = TERMS;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let default_rates: Option<String> = row.get("default_rates")?;
        Ok(OrgPricing {
            id: row.id("id")?,
            org: row.id("org_id")?,
            default_rates: default_rates.map(|json| rates(&json)).transpose()?,
            at: row.time("created_at")?,
        })
    }
}

fn rates(json: &str) -> Result<Rates, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Corrupt(format!("rates: {error}")))
}

fn json(rates: &Rates) -> String {
    serde_json::to_string(rates).expect("prices always print as JSON")
}

pub(crate) async fn insert_price(tx: &mut Tx, price: &PriceRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO prices (id, org_id, target, effective_from, rates, source, content, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            price.id,
            price.org,
            &price.target,
            price.effective_from,
            json(&price.rates),
            &price.source,
            content,
            price.created_at,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn insert_markup(tx: &mut Tx, markup: &MarkupRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO markups (id, org_id, team_id, model, factor, content, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![
            markup.id,
            markup.org,
            markup.team,
            markup.model.as_ref(),
            markup.factor.map(|it| it.to_string()),
            content,
            markup.created_at,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn insert_terms(tx: &mut Tx, terms: &OrgPricing) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO org_pricing (id, org_id, default_rates, created_at) VALUES ($1, $2, $3, $4)",
        values![terms.id, terms.org, terms.default_rates.as_ref().map(json), terms.at],
    )
    .await?;
    Ok(())
}

fn last_terms() -> String {
    format!("{TERMS} WHERE org_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1")
}

/// The last word of an organisation about targets without a price.
pub(crate) async fn terms(db: &Database, org: Id<Org>) -> Result<Option<OrgPricing>, StoreError> {
    db.row(last_terms(), values![org]).await?.as_ref().map(OrgPricing::read).transpose()
}

/// The same, while it is being changed.
pub(crate) async fn terms_of(tx: &mut Tx, org: Id<Org>) -> Result<Option<OrgPricing>, StoreError> {
    tx.row(last_terms(), values![org]).await?.as_ref().map(OrgPricing::read).transpose()
}

/// How many rows there are of each kind: as none ever changes or goes, the same numbers mean the same rows.
pub(crate) async fn count(db: &Database) -> Result<[usize; 3], StoreError> {
    let row = db
        .row(
            "SELECT (SELECT COUNT(*) FROM prices) AS prices, (SELECT COUNT(*) FROM markups) AS markups,
                    (SELECT COUNT(*) FROM org_pricing) AS terms",
            values![],
        )
        .await?
        .ok_or_else(|| StoreError::Corrupt("counts of prices".to_owned()))?;
    let count = |column: &str| Ok::<usize, StoreError>(usize::try_from(row.get::<i64>(column)?).unwrap_or(0));
    Ok([count("prices")?, count("markups")?, count("terms")?])
}

pub(crate) async fn book(db: &Database) -> Result<PriceBook, StoreError> {
    Ok(PriceBook::new(all(db).await?, all(db).await?, all(db).await?))
}

async fn all<T: Stored>(db: &Database) -> Result<Vec<T>, StoreError> {
    db.rows(T::SELECT, values![]).await?.iter().map(T::read).collect()
}
