//! `/wallets`: what may be spent, what is, and the journal of it.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{Fund, FundError, Id, Org, Wallet, WalletRow};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, label};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Place, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::breakers::{BreakerBody, SetBreaker};
use crate::wire::wallets::{ChangeWallet, EntryBody, FundWallet, NewWallet, WalletBody};

/// Make a wallet
///
/// Its parent is never guessed: without `parent_id` it is a root of its own.
#[utoipa::path(post, path = "/wallets", tag = "wallets", operation_id = "create_wallet", request_body = NewWallet,
    responses((status = 201, body = WalletBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewWallet>,
) -> Result<(StatusCode, Answer<WalletBody>), Problem> {
    let new = body.named(once.id(&state))?;
    let row = state.ledger.tenants().create_wallet(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(tell(&state, row).await?)))
}

/// Which wallets to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListWallets {
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

/// List wallets, oldest first
#[utoipa::path(get, path = "/wallets", tag = "wallets", operation_id = "list_wallets", params(ListWallets),
    responses((status = 200, body = Listed<WalletBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListWallets>,
) -> Result<Answer<Listed<WalletBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().wallets(asked.org_id, &wanted.page()).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let standings = state.ledger.standings(&ids).await?;
    let breakers = state.ledger.tenants().breakers(&ids).await?;
    // A wallet is never removed, so each that was listed has a standing.
    let rows: Vec<_> = rows.into_iter().filter_map(|row| Some((standings.get(&row.id)?, row))).collect();
    Ok(Answer(wanted.listed_as(
        rows,
        |(_, row)| row.mark(),
        |(standing, row)| {
            let breaker = breakers.get(&row.id).copied().unwrap_or_default();
            WalletBody::of(row, standing, breaker)
        },
    )))
}

/// Read a wallet
#[utoipa::path(get, path = "/wallets/{id}", tag = "wallets", operation_id = "get_wallet",
    params(("id" = String, Path, description = "`wal_…`")), responses((status = 200, body = WalletBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Named(id): Named<Wallet>,
) -> Result<Answer<WalletBody>, Problem> {
    let row = state.ledger.tenants().wallet(id).await?;
    Ok(Answer(tell(&state, row).await?))
}

/// Change a wallet's name, limits, window, coverage or status
#[utoipa::path(patch, path = "/wallets/{id}", tag = "wallets", operation_id = "change_wallet",
    params(("id" = String, Path, description = "`wal_…`")), request_body = ChangeWallet,
    responses((status = 200, body = WalletBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Wallet>,
    Json(body): Json<ChangeWallet>,
) -> Result<Answer<WalletBody>, Problem> {
    let row = state.ledger.tenants().change_wallet(id, body.read()?, &caller.actor()).await?;
    Ok(Answer(tell(&state, row).await?))
}

/// Set when a wallet's spend-spike breaker trips
///
/// What was set before is replaced; what is left out has its default. An open breaker is closed where the new mode suspends
/// nothing; to close it otherwise, make the wallet `active`.
#[utoipa::path(put, path = "/wallets/{id}/breaker", tag = "wallets", operation_id = "set_wallet_breaker",
    params(("id" = String, Path, description = "`wal_…`")), request_body = SetBreaker,
    responses((status = 200, body = BreakerBody)))]
pub(crate) async fn set_breaker(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Wallet>,
    Json(body): Json<SetBreaker>,
) -> Result<Answer<BreakerBody>, Problem> {
    let row = state.ledger.tenants().set_breaker(id, body.read()?, &caller.actor()).await?;
    Ok(Answer(row.into()))
}

/// Put money into a wallet
///
/// Needs an `Idempotency-Key`. Each `reference` of a `source` is booked once; the same again with another amount or
/// wallet is a 409.
#[utoipa::path(post, path = "/wallets/{id}/fund", tag = "wallets", operation_id = "fund_wallet",
    params(("id" = String, Path, description = "`wal_…`")), request_body = FundWallet,
    responses((status = 200, body = WalletBody)))]
pub(crate) async fn fund(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Named(wallet): Named<Wallet>,
    Json(body): Json<FundWallet>,
) -> Result<Answer<WalletBody>, Problem> {
    label("source", &body.source, 100)?;
    label("reference", &body.reference, 200)?;
    let FundWallet { amount_usd: amount, source, reference } = body;
    let claimed = once.claim(&state, &format!("{amount}\n{source}\n{reference}")).await?;
    let fund = Fund { wallet, amount, source, reference, actor: caller.actor() };
    match state.ledger.fund(fund).await {
        Ok(()) => {}
        // It may have been booked all the same: the name stays taken for this body.
        Err(FundError::Store(error)) => return Err(error.into()),
        Err(refused) => {
            claimed.free(&state).await;
            return Err(refused.into());
        }
    }
    let row = state.ledger.tenants().wallet(wallet).await?;
    Ok(Answer(tell(&state, row).await?))
}

impl From<FundError> for Problem {
    fn from(error: FundError) -> Problem {
        match error {
            FundError::UnknownWallet(id) => Problem::NotFound(format!("there is no {id}")),
            FundError::Amount(_) => Problem::Member {
                member: "amount_usd".into(),
                detail: "must be more than nothing, and the sum within what can be told".into(),
            },
            FundError::Closed(id) => {
                Problem::Refused { code: "wallet_closed", detail: format!("{id} is closed: no money goes into it") }
            }
            FundError::Conflict => {
                Problem::Mismatch("this reference of this source funded something else before".into())
            }
            FundError::Store(error) => error.into(),
        }
    }
}

/// Which part of a numbered list to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEntries {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub(crate) cursor: Option<Place>,
}

/// List a wallet's journal, oldest first
#[utoipa::path(get, path = "/wallets/{id}/entries", tag = "wallets", operation_id = "list_wallet_entries",
    params(("id" = String, Path, description = "`wal_…`"), ListEntries),
    responses((status = 200, body = Listed<EntryBody>)))]
pub(crate) async fn entries(
    State(state): State<AdminState>,
    Named(id): Named<Wallet>,
    Asked(asked): Asked<ListEntries>,
) -> Result<Answer<Listed<EntryBody>>, Problem> {
    let limit = asked.limit.unwrap_or_default();
    let rows = state.ledger.entries(id, asked.cursor.map(Place::seq), limit.and_one()).await?;
    if rows.is_empty() {
        state.ledger.tenants().wallet(id).await?; // no such wallet is a 404, no journal an empty list
    }
    Ok(Answer(limit.listed(rows, |row| row.seq.to_string(), EntryBody::from)))
}

async fn tell(state: &AdminState, row: WalletRow) -> Result<WalletBody, Problem> {
    let standings = state.ledger.standings(&[row.id]).await?;
    let standing = standings.get(&row.id).ok_or_else(|| Problem::NotFound(format!("there is no {}", row.id)))?;
    let breaker = state.ledger.tenants().breakers(&[row.id]).await?.remove(&row.id).unwrap_or_default();
    Ok(WalletBody::of(row, standing, breaker))
}
