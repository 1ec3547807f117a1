//! `/prices` and `/markups`: what targets cost, what tenants are charged for it, and what is done where nobody knows.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::prices::{Import, MarkupRow, PriceRow, Rerate};
use ledger::{Id, Org, Price, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, JsonFile};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::prices::{
    ImportedBody, MarkupBody, NewMarkup, NewPrice, OrgPricing, PriceBody, RerateBody, RerateRequest,
};

/// Add a price to the list
///
/// A price never changes: a correction is another one. Of those for the same target the one with the latest
/// `effective_from` that has come is in force, and of equal ones the last that was made. The configuration's prices come
/// before these; an organisation's own before those for all; the built-in catalogue's after them.
#[utoipa::path(post, path = "/prices", tag = "prices", operation_id = "create_price", request_body = NewPrice,
    responses((status = 201, body = PriceBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewPrice>,
) -> Result<(StatusCode, Answer<PriceBody>), Problem> {
    let NewPrice { org_id: org, target, effective_from, rates, source } = body;
    let rates = rates.checked("rates")?;
    // A misspelt name would leave another price in force without a word.
    let serves = state.refresh.serves(&target).ok_or_else(|| {
        Problem::Unavailable("what is configured could not be confirmed lately: no price was added".to_owned())
    })?;
    if !serves {
        let detail = "is no target or pattern of targets of a configured provider".to_owned();
        return Err(Problem::Member { member: "target".into(), detail });
    }
    let new = ledger::prices::NewPrice { id: once.id(&state), org, target, effective_from, rates, source };
    let row = state.ledger.prices().create(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which prices to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPrices {
    /// Only this organisation's own.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only those of this target or pattern, as it was written.
    target: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List prices, oldest first
#[utoipa::path(get, path = "/prices", tag = "prices", operation_id = "list_prices", params(ListPrices),
    responses((status = 200, body = Listed<PriceBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListPrices>,
) -> Result<Answer<Listed<PriceBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.prices().list(asked.org_id, asked.target, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, PriceRow::mark)))
}

/// Read a price
#[utoipa::path(get, path = "/prices/{id}", tag = "prices", operation_id = "get_price",
    params(("id" = String, Path, description = "`prc_…`")), responses((status = 200, body = PriceBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Named(id): Named<Price>,
) -> Result<Answer<PriceBody>, Problem> {
    Ok(Answer(state.ledger.prices().get(id).await?.into()))
}

/// How to take a file over.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportPrices {
    /// For this organisation alone; else for all.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Now, unless said.
    #[param(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Timestamp>,
    /// Providers of the file that are known here under another name, as `theirs=ours` with commas between.
    #[param(example = "perplexity=pplx")]
    providers: Option<String>,
    /// Take a price of nothing for one; else such models are left out, as the file says 0 where it does not know.
    #[serde(default)]
    free: bool,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Take over a community price list
///
/// The body is a file in the layout of `model_prices_and_context_window.json`, of at most 16 MiB. Prices that are new or
/// other than those in force are added; doing it again changes nothing.
#[utoipa::path(post, path = "/prices/import", tag = "prices", operation_id = "import_prices", params(ImportPrices),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, body = ImportedBody)))]
pub(crate) async fn import(
    State(state): State<AdminState>,
    caller: Caller,
    Asked(asked): Asked<ImportPrices>,
    JsonFile(file): JsonFile,
) -> Result<Answer<ImportedBody>, Problem> {
    let ImportPrices { org_id: org, effective_from, providers, free, dry_run } = asked;
    let providers = mapping(providers.as_deref().unwrap_or_default())?;
    let how = Import { org, providers, effective_from, free, dry_run };
    Ok(Answer(state.ledger.prices().import(&file, &how, &caller.actor()).await?.into()))
}

fn mapping(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (theirs, ours) = pair.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty())?;
        Some((theirs.to_owned(), ours.to_owned()))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| Problem::Parameter {
        name: "providers".into(),
        detail: "must be pairs such as perplexity=pplx with commas between".into(),
    })
}

/// Bring what was charged to a price
///
/// Corrects every settled call of the price's target that began in the period and was charged otherwise, newest first and
/// up to 1,000 in one go; `next_cursor` says where to go on. Doing it again changes nothing. Calls that the configuration's
/// price was charged for are left as they are.
#[utoipa::path(post, path = "/prices/{id}/rerate", tag = "prices", operation_id = "rerate_price",
    params(("id" = String, Path, description = "`prc_…`")), request_body = RerateRequest,
    responses((status = 200, body = RerateBody)))]
pub(crate) async fn rerate(
    State(state): State<AdminState>,
    caller: Caller,
    Named(price): Named<Price>,
    Json(body): Json<RerateRequest>,
) -> Result<Answer<RerateBody>, Problem> {
    let asked = Rerate { price, from: body.from, to: body.to, cursor: body.cursor };
    let goes_by = |target: &str| state.refresh.goes_by(target);
    Ok(Answer(state.ledger.prices().rerate(asked, &goes_by, &caller.actor()).await?.into()))
}

/// Set a markup
///
/// In force at once, for calls that begin then. Of the same organisation, team and model the last one counts.
#[utoipa::path(post, path = "/markups", tag = "prices", operation_id = "set_markup", request_body = NewMarkup,
    responses((status = 201, body = MarkupBody)))]
pub(crate) async fn set_markup(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewMarkup>,
) -> Result<(StatusCode, Answer<MarkupBody>), Problem> {
    let NewMarkup { org_id: org, team_id: team, model, markup: factor } = body;
    let new = ledger::prices::NewMarkup { id: once.id(&state), org, team, model, factor };
    let row = state.ledger.prices().set_markup(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which markups to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListMarkups {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List markups as they were set, oldest first
#[utoipa::path(get, path = "/markups", tag = "prices", operation_id = "list_markups", params(ListMarkups),
    responses((status = 200, body = Listed<MarkupBody>)))]
pub(crate) async fn markups(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListMarkups>,
) -> Result<Answer<Listed<MarkupBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.prices().markups(asked.org_id, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, MarkupRow::mark)))
}

/// Read what is done about targets without a price
#[utoipa::path(get, path = "/orgs/{id}/pricing", tag = "prices", operation_id = "get_org_pricing",
    params(("id" = String, Path, description = "`org_…`")), responses((status = 200, body = OrgPricing)))]
pub(crate) async fn terms(
    State(state): State<AdminState>,
    Named(org): Named<Org>,
) -> Result<Answer<OrgPricing>, Problem> {
    Ok(Answer(state.ledger.prices().default_rates(org).await?.into()))
}

/// Say what is to be done about targets without a price
///
/// Refuse their calls, which holds unless said otherwise, or charge default rates.
#[utoipa::path(put, path = "/orgs/{id}/pricing", tag = "prices", operation_id = "set_org_pricing",
    params(("id" = String, Path, description = "`org_…`")), request_body = OrgPricing,
    responses((status = 200, body = OrgPricing)))]
pub(crate) async fn set_terms(
    State(state): State<AdminState>,
    caller: Caller,
    Named(org): Named<Org>,
    Json(body): Json<OrgPricing>,
) -> Result<Answer<OrgPricing>, Problem> {
    let rates = body.rates()?;
    state.ledger.prices().set_default_rates(org, rates.clone(), &caller.actor()).await?;
    Ok(Answer(rates.into()))
}
