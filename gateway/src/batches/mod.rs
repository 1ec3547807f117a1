//! Work that a provider does at leisure: a file of requests checked line by line, held for whole, and settled by what its lines
//! used. Files stay at the provider; what is kept here is whose they are and what they may cost.

mod files;
mod lines;
mod poll;
mod submit;
mod tell;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ledger::{BatchFileRow, FileKind, Id, Kind, Money, StoreError, Wallet};
use providers::{BadRequest, ProviderError, Target};
use serde_json::{Value, json};

use crate::app::App;
use crate::authenticate::authenticate;
use crate::case::{Call, Caller, Case};
use crate::close;
use crate::forward;
use crate::refusal::Refusal;
use crate::reply::{Answered, Head, Reply};
use crate::snapshot::Snapshot;

pub use files::{content, delete_file, file, files, upload};
pub use poll::keep;
pub use submit::{cancel, list, one, submit};

/// The only window that there is, in which a provider does the work or gives it up.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// For so long after it a provider that cannot be asked is asked again; then the hold expires, in full and for review.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Whoever works on a batch has it for so long.
const LEASE: Duration = Duration::from_secs(600);

/// What an answer says, and what the call was charged if that is known.
type Outcome = Result<(Reply, Option<Money>), Refusal>;

fn told(body: &Value) -> Outcome {
    Ok((Reply::Whole(Bytes::from(body.to_string()), None), None))
}

/// Ends a call that has no hold of its own: what is charged is charged when its batch ends.
async fn answered(app: &Arc<App>, case: Case, outcome: Outcome) -> Answered {
    match outcome {
        Ok((reply, price)) => {
            app.telemetry.closed(&case, "finished");
            Answered { head: Head::of(&case, price), outcome: Ok(reply) }
        }
        Err(refusal) => close::refused(app, case, refusal).await,
    }
}

/// Who asks, if they may. The call itself is not held while limits are asked: its body is one reader's.
fn admitted<'a>(
    app: &'a App,
    call: &Call,
    case: &'a mut Case,
) -> impl Future<Output = Result<(Arc<Snapshot>, Caller), Refusal>> + Send + use<'a> {
    let known = known(app, call, case);
    async move {
        let (snapshot, caller) = known?;
        app.limits.question(&caller, case).await?;
        Ok((snapshot, caller))
    }
}

fn known(app: &App, call: &Call, case: &mut Case) -> Result<(Arc<Snapshot>, Caller), Refusal> {
    let snapshot = app.snapshot()?;
    let caller = case.called_by(authenticate(app, &snapshot, &call.presented)?);
    Ok((snapshot, caller))
}

fn bad(param: &str, message: impl Into<String>) -> Refusal {
    Refusal::BadRequest(BadRequest { code: "invalid_value", param: Some(param.to_owned()), message: message.into() })
}

fn unsupported(param: &str, message: impl Into<String>) -> Refusal {
    Refusal::Unsupported { param: Some(param.to_owned()), message: message.into() }
}

fn unavailable(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the ledger cannot be asked about batches");
    Refusal::LedgerUnavailable
}

/// A provider could not be asked, or would not.
fn failed(case: &mut Case, target: &Target, error: ProviderError) -> Refusal {
    tracing::warn!(call = %case.id, target = %target.name, class = error.class.as_str(), status = error.status, "files and batches cannot be had");
    case.tried += 1;
    case.attempts.push(ledger::AttemptRecord {
        target: target.name.clone(),
        outcome: error.class.as_str().to_owned(),
        status: error.status,
        ..ledger::AttemptRecord::default()
    });
    forward::refusal(Some(error), case)
}

/// The target of a file or a batch that lies there, as it is configured now.
fn target(snapshot: &Snapshot, name: &str) -> Result<Arc<Target>, Refusal> {
    let found = snapshot.routes.fleet.target(name).filter(|target| target.batches);
    found.ok_or_else(|| unsupported("model", "the provider of this file is no longer configured"))
}

async fn find(app: &App, wallet: Id<Wallet>, id: &str) -> Result<BatchFileRow, Refusal> {
    let unknown = Refusal::NotFound { what: "file" };
    let Ok(id) = id.parse() else { return Err(unknown) };
    app.ledger.batches().file(wallet, id).await.map_err(|error| unavailable(&error))?.ok_or(unknown)
}

/// What a list was asked for.
struct Page<K> {
    after: Option<Id<K>>,
    limit: u32,
    purpose: Option<String>,
}

impl<K: Kind> Page<K> {
    fn read(query: &str, usual: u32, most: u32) -> Result<Page<K>, Refusal> {
        let mut page = Page { after: None, limit: usual, purpose: None };
        for (name, value) in query.split('&').filter_map(|it| it.split_once('=')) {
            match name {
                "limit" => {
                    let limit = value.parse().ok().filter(|it| (1..=most).contains(it));
                    page.limit = limit.ok_or_else(|| bad("limit", format!("'limit' must be from 1 to {most}.")))?;
                }
                "after" => {
                    page.after = Some(value.parse().map_err(|_| bad("after", "'after' is no id of this list."))?)
                }
                "purpose" => page.purpose = Some(value.to_owned()),
                "order" if value == "desc" => {}
                "order" => return Err(unsupported("order", "lists are told newest first")),
                _ => {}
            }
        }
        Ok(page)
    }

    /// The page that begins a list of rows, of which one more was asked for than is told.
    fn told<T>(&self, mut rows: Vec<T>, object: impl Fn(&T) -> Value) -> Outcome {
        let has_more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let data: Vec<Value> = rows.iter().map(object).collect();
        let id = |it: Option<&Value>| it.map_or(Value::Null, |it| it["id"].clone());
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        told(&json!({"object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": has_more}))
    }
}

fn purpose(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Input => "batch",
        FileKind::Output | FileKind::Errors => "batch_output",
    }
}
