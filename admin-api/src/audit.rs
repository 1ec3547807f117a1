//! `/audit`: the log, and exports of it that verify as they are.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use ledger::{Export, Id, Org, Timestamp, TrailFilter};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use crate::AdminState;
use crate::page::{Asked, Limit, Listed, Place};
use crate::problem::Problem;
use crate::wire::audit::{Entries, EntryShape};

/// Which entries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudit {
    /// The organisation whose chain to read; without it, the platform's own.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only entries of this kind, such as `KEY_REVOKED`.
    #[param(pattern = "^[0-9A-Za-z_]{1,64}$")]
    kind: Option<String>,
    /// Only entries from this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only entries before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List audit entries, oldest first
#[utoipa::path(get, path = "/audit", tag = "audit", operation_id = "list_audit", params(ListAudit),
    responses((status = 200, body = Listed<EntryShape>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListAudit>,
) -> Result<Answer<Entries>, Problem> {
    if asked.kind.as_deref().is_some_and(|kind| !is_kind(kind)) {
        let detail = "must be a kind of entry such as KEY_REVOKED".into();
        return Err(Problem::Parameter { name: "kind".into(), detail });
    }
    check_org(&state, asked.org_id).await?;
    let ListAudit { org_id, kind, since, until, limit, cursor } = asked;
    let filter = TrailFilter { kind, since, until, newest_first: false };
    let limit = limit.unwrap_or_default();
    let lines = state.ledger.trail().list(org_id, &filter, cursor.map(Place::seq), limit.and_one()).await?;
    let page = limit.listed(lines, |line| line.seq.to_string(), |line| RawValue::from_string(line.json));
    let data = page.data.into_iter().collect::<Result<_, _>>().map_err(|error| Problem::fault(&error))?;
    Ok(Answer(Entries { data, next_cursor: page.next_cursor }))
}

/// What to export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportAudit {
    /// The organisation whose chain to export; without it, the platform's own.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// `jsonl`: one entry a line, whole, from the first to the last. `jsonl` unless said.
    #[param(pattern = "^jsonl$")]
    format: Option<String>,
}

/// Export a whole chain, for `alfred audit verify`
#[utoipa::path(get, path = "/audit/export", tag = "audit", operation_id = "export_audit", params(ExportAudit),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub(crate) async fn export(
    State(state): State<AdminState>,
    Asked(asked): Asked<ExportAudit>,
) -> Result<Response, Problem> {
    if asked.format.as_deref().is_some_and(|format| format != "jsonl") {
        return Err(Problem::Parameter { name: "format".into(), detail: "must be jsonl".into() });
    }
    check_org(&state, asked.org_id).await?;
    let export = state.ledger.trail().export(asked.org_id).await?;
    let name = asked.org_id.map_or_else(|| "platform".to_owned(), |org| org.to_string());
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"audit-{name}.jsonl\"")),
    ];
    // A fault on the way breaks the connection, so that nobody takes half an export for a whole one.
    Ok((headers, Body::from_stream(stream::try_unfold(export, page))).into_response())
}

async fn page(mut export: Export) -> Result<Option<(Bytes, Export)>, ledger::StoreError> {
    let Some(lines) = export.next().await? else { return Ok(None) };
    let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in &lines {
        text.push_str(line);
        text.push('\n');
    }
    Ok(Some((Bytes::from(text), export)))
}

fn is_kind(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// No such organisation is a 404, not an empty log.
async fn check_org(state: &AdminState, org: Option<Id<Org>>) -> Result<(), Problem> {
    if let Some(org) = org {
        state.ledger.tenants().org(org).await?;
    }
    Ok(())
}
