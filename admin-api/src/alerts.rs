//! `/alerts`: what somebody should be told, and whether they were.

use axum::Json as Answer;
use axum::extract::State;
use ledger::{Alert, AlertFilter, DeliveryState, Id, Org, Wallet, alert};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::OptionalJson;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::alerts::{AlertBody, Redeliver};
use crate::wire::{Named, word};

/// Which alerts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAlerts {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only this wallet's.
    #[param(value_type = Option<String>)]
    wallet_id: Option<Id<Wallet>>,
    /// Only `soft_limit`, `hard_limit`, `breaker`, `forecast` or `refund_failed`.
    #[param(pattern = "^(soft_limit|hard_limit|breaker|forecast|refund_failed)$")]
    kind: Option<String>,
    /// Only those with a delivery that is `pending`, `delivered` or `failed`.
    #[param(pattern = "^(pending|delivered|failed)$")]
    state: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List alerts and their deliveries, oldest first
#[utoipa::path(get, path = "/alerts", tag = "alerts", operation_id = "list_alerts", params(ListAlerts),
    responses((status = 200, body = Listed<AlertBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListAlerts>,
) -> Result<Answer<Listed<AlertBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let kind = asked.kind.map(|kind| {
        let known = |text: &str| alert::KINDS.contains(&text).then(|| text.to_owned());
        word("kind", &kind, known, "soft_limit, hard_limit, breaker, forecast, refund_failed")
    });
    let delivery = asked.state.map(|text| word("state", &text, DeliveryState::from_word, "pending, delivered, failed"));
    let filter = AlertFilter {
        org: asked.org_id,
        wallet: asked.wallet_id,
        kind: kind.transpose().map_err(Problem::in_query)?,
        state: delivery.transpose().map_err(Problem::in_query)?,
    };
    let rows = state.ledger.outbox().list(&filter, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, ledger::ListedAlert::mark)))
}

/// Deliver an alert again
///
/// To one sink, or to every sink that it is for, whether it arrived before or not.
#[utoipa::path(post, path = "/alerts/{id}/redeliver", tag = "alerts", operation_id = "redeliver_alert",
    params(("id" = String, Path, description = "`alr_…`")), request_body(content = Redeliver),
    responses((status = 200, body = AlertBody)))]
pub(crate) async fn redeliver(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Alert>,
    OptionalJson(body): OptionalJson<Redeliver>,
) -> Result<Answer<AlertBody>, Problem> {
    let told = state.ledger.outbox().redeliver(id, body.sink.as_deref(), &caller.actor()).await?;
    Ok(Answer(told.into()))
}
