//! `/reconciliations`: a provider's own account of what was used, held against our receipts.

mod compare;
mod layout;
mod report;

use axum::Json as Answer;
use axum::extract::State;
use ledger::{Entry, Money};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Csv;
use crate::operator::Caller;
use crate::page::Asked;
use crate::problem::Problem;
use crate::wire::word;
use layout::Layout;
use report::ReportBody;

/// The longest time that one export may tell of: every receipt of it is read.
const MOST_DAYS: i64 = 92;
/// Each is a line of the answer.
const MOST_NAMES: usize = 5_000;
/// One export is compared at a time.
static TURN: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
/// Bills are rounded to the cent.
const TOLERANCE: Money = Money::from_nanos(10_000_000);

/// How to read an export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AskReconciliation {
    /// The provider, as the configuration names it: the part before the `/` of a request's target.
    #[param(pattern = "^[0-9A-Za-z_.-]{1,64}$")]
    provider: String,
    /// `openai` (a usage export by key and model, or costs by line item), `anthropic` (a usage or a cost export) or
    /// `generic` (columns `date`, `model`, and any of `key`, `requests`, `input_tokens`, `output_tokens`, `cost_usd`). Told
    /// by the header, unless said. Further columns are passed over.
    #[param(pattern = "^(openai|anthropic|generic)$")]
    format: Option<String>,
    /// Which of the export's keys is the gateway's, where it names several. Keys of our own (`key_…`) are compared one by
    /// one.
    key: Option<String>,
    /// Costs of a key, model and day that differ by no more than this are the same. 0.01 unless said.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,10}([.][0-9]{1,9})?$")]
    tolerance_usd: Option<Money>,
}

/// Hold a provider's export against the receipts of the same days
///
/// The body is the export, as CSV of at most 16 MiB over at most 92 days. Nothing is changed: what is to be corrected is
/// corrected request by request. Days are those of UTC; a call counts on the day on which it began.
#[utoipa::path(post, path = "/reconciliations", tag = "requests", operation_id = "create_reconciliation",
    params(AskReconciliation), request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = ReportBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    Asked(asked): Asked<AskReconciliation>,
    Csv(csv): Csv,
) -> Result<Answer<ReportBody>, Problem> {
    let AskReconciliation { provider, format, key, tolerance_usd } = asked;
    let layout = format
        .map(|format| word("format", &format, Layout::from_word, Layout::WORDS).map_err(Problem::in_query))
        .transpose()?;
    let parameter = |name: &str, detail: String| Problem::Parameter { name: name.into(), detail };
    if !is_provider(&provider) {
        return Err(parameter("provider", "must be a provider's name, such as openai".into()));
    }
    let tolerance = tolerance_usd.unwrap_or(TOLERANCE);
    if tolerance.is_negative() {
        return Err(parameter("tolerance_usd", "must not be negative".into()));
    }
    // Exports are large and calls are not: one at a time, and never on the threads that carry calls.
    let _turn = TURN.acquire().await.map_err(|_| Problem::Fault)?;
    let (layout, billed) = apart(move || layout::read(&csv, layout)).await??;
    let (Some(first), Some(last)) = (billed.iter().map(|it| it.day).min(), billed.iter().map(|it| it.day).max()) else {
        return Err(whole("the export has a header and no lines that tell of any use"));
    };
    if last - first >= MOST_DAYS {
        let detail = format!(
            "the export is of {} to {}: at most {MOST_DAYS} days can be compared at once",
            report::date(first),
            report::date(last)
        );
        return Err(whole(detail));
    }
    let keys = compare::keys(&billed, key.as_deref()).map_err(|found| parameter("key", which(&found)))?;
    let used = state.ledger.receipts().usage(&provider, first..last + 1).await?;
    let found = apart(move || compare::compare(&used, &billed, &keys, tolerance))
        .await?
        .map_err(|_| whole("the sums of the export are more than can be told"))?;
    if found.by_model.len().max(found.by_key.len()) > MOST_NAMES {
        return Err(whole(format!("the export names more than {MOST_NAMES} models or keys: send it in parts")));
    }
    let answer = ReportBody::of(provider, layout.word(), first..=last, found);
    let entry = Entry::new(None, "RECONCILED", caller.actor())
        .with("provider", &answer.provider)
        .with("format", answer.format)
        .with("from", &answer.from)
        .with("to", &answer.to)
        .with("cost_delta_usd", answer.total.cost_delta_usd)
        .with("differences", answer.differences.len() + answer.differences_left_out);
    state.ledger.record(entry).await?;
    Ok(Answer(answer))
}

/// A file takes its time, which no other call should wait for.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::Fault)
}

/// A fault of the export as a whole.
fn whole(detail: impl Into<String>) -> Problem {
    Problem::Member { member: "body".into(), detail: detail.into() }
}

fn is_provider(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn which(found: &[String]) -> String {
    const MOST: usize = 10;
    let named: Vec<_> = found.iter().take(MOST).map(|key| key.chars().take(60).collect::<String>()).collect();
    let more = if found.len() > MOST { ", …" } else { "" };
    format!("must be one of the export's keys, that which the gateway uses: {}{more}", named.join(", "))
}
