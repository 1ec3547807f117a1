//! A batch: held for whole before its provider hears of it, then asked after, cancelled and listed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{
    BatchFileRow, BatchRow, BatchState, BatchTerms, BatchTold, FileKind, Order, Release, Reserved, Timestamp,
};
use providers::{BatchEndpoint, Class, ProviderError, Target};
use serde_json::Value;

use super::{
    GRACE, LEASE, Outcome, Page, WINDOW, admitted, answered, bad, failed, find, poll, target, tell, told, unavailable,
    unsupported,
};
use crate::app::App;
use crate::case::{Call, Caller, Case, Ending};
use crate::parse::{body, claim};
use crate::pricing::Buyer;
use crate::refusal::Refusal;
use crate::reply::Answered;
use crate::snapshot::Snapshot;

/// As OpenAI has it.
const MOST_METADATA: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;
/// An Idempotency-Key is remembered so long.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// Whether a batch that nobody answered for was begun is asked after so long.
const DOUBT: Duration = Duration::from_secs(10);
/// A client that asks waits no longer for what its provider says.
const PATIENCE: Duration = Duration::from_secs(20);

/// `POST /v1/batches`.
pub async fn submit(app: &Arc<App>, mut call: Call, mut case: Case, _: &str) -> Answered {
    let outcome = submitted(app, &mut call, &mut case).await;
    answered(app, case, outcome).await
}

struct Asked {
    file: String,
    endpoint: String,
    metadata: BTreeMap<String, String>,
}

async fn submitted(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Outcome {
    let (snapshot, caller) = admitted(app, call, case).await?;
    let bytes = body(app, call, case).await?;
    if let Some(name) = &call.idempotency_key {
        case.claim = Some(claim(app, call, case, name, &bytes)?);
    }
    let asked = read(app, &bytes)?;
    if let Some(claim) = case.claim {
        let since = Timestamp::from_micros(case.at.micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(0));
        let first = app.ledger.batches().claimed(caller.credential.key, claim.name, since).await;
        if let Some(first) = first.map_err(|error| unavailable(&error))? {
            // The same batch, as it is by now.
            let same = first.claim.is_some_and(|it| it.body == claim.body);
            return if same { told(&tell::batch(&first)) } else { Err(Refusal::IdempotencyMismatch) };
        }
    }
    let file = find(app, caller.credential.wallet, &asked.file).await?;
    let terms = file.terms.clone().filter(|_| file.kind == FileKind::Input);
    let terms = terms.ok_or_else(|| bad("input_file_id", "The file is none that a batch can be made of."))?;
    let endpoint = BatchEndpoint::from_url(&file.endpoint).ok_or(Refusal::Internal)?;
    if asked.endpoint != file.endpoint {
        return Err(bad("endpoint", format!("The lines of this file are for {}.", file.endpoint)));
    }
    let target = target(&snapshot, &file.target)?;
    still_good(&snapshot, &caller, &file, &terms, &target, case)?;
    (case.model, case.policy, case.routing) = (terms.model.clone(), terms.policy.clone(), terms.routing.clone());
    case.target = Some(Arc::clone(&target));
    case.claims.clone_from(&asked.metadata);

    let order = Order {
        call: case.id,
        org: caller.credential.org,
        key: caller.credential.key,
        wallet: caller.credential.wallet,
        amount: terms.worst,
        // Nobody can make it grow: it lasts to the end.
        estimate: None,
        patient: false,
        // There is no cheaper plan for a file that lies at its provider.
        downgraded: true,
        extra: terms.extra.clone(),
        expires_at: case.at.after(WINDOW + GRACE),
        claim: case.claim,
        record: case.record(Ending::Running, None),
    };
    let hold = match app.reserve(order).await? {
        Reserved::New(hold) => hold,
        Reserved::Replay(_) => return Err(Refusal::IdempotencyExpired),
    };
    case.warnings = hold.warnings().to_vec();
    let row = BatchRow {
        id: app.ledger.new_id(),
        org: caller.credential.org,
        key: caller.credential.key,
        wallet: caller.credential.wallet,
        call: case.id,
        file: file.id,
        target: file.target.clone(),
        upstream: None,
        endpoint: file.endpoint.clone(),
        lines: file.lines,
        state: BatchState::Submitting,
        terms,
        told: BatchTold {
            status: "validating".to_owned(),
            total: file.lines,
            metadata: asked.metadata,
            ..BatchTold::default()
        },
        claim: case.claim,
        output: None,
        errors: None,
        created_at: case.at,
        expires_at: case.at.after(WINDOW),
        // If this process is lost before it knows what became of it, another one finds out.
        next_at: case.at.after(app.deadlines.whole() + DOUBT),
    };
    if let Err(error) = app.ledger.batches().begin(&hold, &row).await {
        let why = Release {
            reason: "ledger_unavailable".to_owned(),
            cost: ledger::Money::ZERO,
            record: case.record(Ending::Refused, Some("ledger_unavailable")),
        };
        drop(app.ledger.release(hold, why).await);
        return Err(unavailable(&error));
    }
    // From here on the hold is the batch's, whatever becomes of this process.
    drop(hold);
    ledger::failpoint("batch.held");
    begun(app, case, row, &file, endpoint, &target).await
}

/// Asks the provider to begin, and writes down what it says.
async fn begun(
    app: &Arc<App>,
    case: &mut Case,
    mut row: BatchRow,
    file: &BatchFileRow,
    endpoint: BatchEndpoint,
    target: &Arc<Target>,
) -> Outcome {
    let asked_at = Instant::now();
    let answer = app.outbound.create_batch(target, &file.upstream, endpoint, &row.call.to_string()).await;
    case.upstream += asked_at.elapsed();
    ledger::failpoint("batch.forwarded");
    match answer {
        Ok(remote) => {
            case.tried += 1;
            poll::hear(&mut row, &remote);
            row.next_at = poll::next_look(row.created_at, app.clock().now());
            // What cannot be written down now is found again by its mark.
            app.ledger.batches().save(&row).await.map_err(|error| unavailable(&error))?;
            told(&tell::batch(&row))
        }
        Err(error) if was_not_begun(&error) => {
            poll::give_up(app, row, error.code).await;
            Err(failed(case, target, error))
        }
        Err(error) => {
            row.next_at = app.clock().now().after(DOUBT);
            app.ledger.batches().save(&row).await.map_err(|error| unavailable(&error))?;
            Err(failed(case, target, error))
        }
    }
}

/// Whether this error means that there is no batch. After any other there may be one that runs and is billed.
fn was_not_begun(error: &ProviderError) -> bool {
    match error.class {
        Class::Connect | Class::RateLimited | Class::Rejected | Class::Misconfigured | Class::Unsupported => true,
        Class::Timeout | Class::Server | Class::Broken | Class::TooLarge => false,
    }
}

fn read(app: &App, body: &[u8]) -> Result<Asked, Refusal> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(|_| {
        Refusal::BadRequest(providers::BadRequest {
            code: "invalid_json",
            param: None,
            message: "The body must be a JSON object.".to_owned(),
        })
    })?;
    let mut asked = Asked { file: String::new(), endpoint: String::new(), metadata: BTreeMap::new() };
    let mut window = "";
    for (name, value) in &object {
        let text = || value.as_str().ok_or_else(|| bad(name, format!("'{name}' must be a text.")));
        match name.as_str() {
            "input_file_id" => asked.file = text()?.to_owned(),
            "endpoint" => asked.endpoint = text()?.to_owned(),
            "completion_window" => window = text()?,
            "metadata" => asked.metadata = metadata(app, value)?,
            _ if value.is_null() => {}
            "output_expires_after" => {
                return Err(unsupported(name, "files are kept for as long as their provider keeps them"));
            }
            // A name of the client's own making is not repeated.
            _ => return Err(unsupported("body", "it has a member that batches do not have here")),
        }
    }
    for (name, text) in [("input_file_id", &*asked.file), ("endpoint", &*asked.endpoint), ("completion_window", window)]
    {
        if text.is_empty() {
            return Err(bad(name, format!("'{name}' is missing.")));
        }
    }
    if window != "24h" {
        return Err(bad("completion_window", "'completion_window' must be 24h."));
    }
    Ok(asked)
}

/// The client's own words about it: kept masked, and never sent on.
fn metadata(app: &App, value: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let wrong = || bad("metadata", "'metadata' must be an object of at most 16 short texts.");
    if value.is_null() {
        return Ok(BTreeMap::new());
    }
    let object = value.as_object().filter(|it| it.len() <= MOST_METADATA).ok_or_else(wrong)?;
    let pairs = object.iter().map(|(name, value)| {
        let value = value.as_str().filter(|it| it.len() <= LONGEST_VALUE && name.len() <= LONGEST_NAME)?;
        Some((app.masked(name), app.masked(value)))
    });
    pairs.collect::<Option<_>>().ok_or_else(wrong)
}

/// A file was checked under rules and prices of its day, for one key: what is no longer so has to be checked again.
fn still_good(
    snapshot: &Snapshot,
    caller: &Caller,
    file: &BatchFileRow,
    terms: &BatchTerms,
    target: &Target,
    case: &Case,
) -> Result<(), Refusal> {
    let again = |what: &str| Err(bad("input_file_id", format!("{what} since the file was uploaded. Upload it again.")));
    if file.key != caller.credential.key {
        let reason = "The file was checked for another key. Upload it with this one.".to_owned();
        return Err(Refusal::Denied { code: "policy_denied", reasons: vec![reason] });
    }
    let (org, team) = (caller.credential.org.to_string(), caller.credential.team.map(|it| it.to_string()));
    if terms.policy != snapshot.policies.revision_for(&org, team.as_deref()) {
        return again("The rules of this gateway have changed");
    }
    let buyer = Buyer::new(caller, case.at);
    let price = snapshot.price(target, &buyer);
    let same = price.is_some_and(|it| *it.version == *terms.price_version && *it.rates == terms.rates);
    if !same || snapshot.markup(target, &buyer, &terms.model) != terms.markup {
        return again("The price of the model has changed");
    }
    Ok(())
}

/// `GET /v1/batches`.
pub async fn list(app: &Arc<App>, call: Call, mut case: Case, query: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (_, caller) = who?;
        let page = Page::read(query, 20, 100)?;
        let rows = app.ledger.batches().list(caller.credential.wallet, page.after, page.limit + 1).await;
        page.told(rows.map_err(|error| unavailable(&error))?, tell::batch)
    }
    .await;
    answered(app, case, outcome).await
}

/// `GET /v1/batches/{id}`: as its provider has it now, if it says so in time.
pub async fn one(app: &Arc<App>, call: Call, mut case: Case, id: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (_, caller) = who?;
        let row = get(app, &caller, id).await?;
        if row.state == BatchState::Open
            && let Some(leased) =
                app.ledger.batches().lease(row.id, LEASE).await.map_err(|error| unavailable(&error))?
        {
            let worker = Arc::clone(app);
            // In a task of its own: what has been begun is finished, whether or not somebody waits for it.
            let look = app.tasks.spawn(async move { poll::look(&worker, leased).await });
            drop(tokio::time::timeout(PATIENCE, look).await);
        }
        described(app, &caller, id).await
    }
    .await;
    answered(app, case, outcome).await
}

/// `POST /v1/batches/{id}/cancel`.
pub async fn cancel(app: &Arc<App>, call: Call, mut case: Case, id: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (snapshot, caller) = who?;
        let row = get(app, &caller, id).await?;
        if row.state == BatchState::Ended {
            return Err(bad("batch_id", format!("A batch that is {} cannot be cancelled.", row.told.status)));
        }
        let target = target(&snapshot, &row.target)?;
        let leased = app.ledger.batches().lease(row.id, LEASE).await.map_err(|error| unavailable(&error))?;
        // Somebody is at it this very moment, or nobody knows yet whether there is one: in a second they will.
        let mut row = leased.ok_or(Refusal::Overloaded)?;
        let Some(upstream) = row.upstream.clone() else {
            app.ledger.batches().save(&row).await.map_err(|error| unavailable(&error))?;
            return Err(Refusal::Overloaded);
        };
        match app.outbound.cancel_batch(&target, &upstream).await {
            Ok(remote) => {
                poll::hear(&mut row, &remote);
                row.next_at = app.clock().now();
                app.ledger.batches().save(&row).await.map_err(|error| unavailable(&error))?;
                described(app, &caller, id).await
            }
            Err(error) => {
                app.ledger.batches().save(&row).await.map_err(|error| unavailable(&error))?;
                Err(failed(&mut case, &target, error))
            }
        }
    }
    .await;
    answered(app, case, outcome).await
}

async fn get(app: &App, caller: &Caller, id: &str) -> Result<BatchRow, Refusal> {
    let unknown = Refusal::NotFound { what: "batch" };
    let Ok(id) = id.parse() else { return Err(unknown) };
    let row = app.ledger.batches().get(caller.credential.wallet, id).await;
    row.map_err(|error| unavailable(&error))?.ok_or(unknown)
}

/// A batch as it is by now, with what it was charged once that is booked.
async fn described(app: &App, caller: &Caller, id: &str) -> Outcome {
    let row = get(app, caller, id).await?;
    let price = match row.state {
        BatchState::Ended => app.ledger.receipts().get(row.call).await.map_err(|error| unavailable(&error))?,
        BatchState::Submitting | BatchState::Open => None,
    };
    let (reply, _) = told(&tell::batch(&row))?;
    Ok((reply, price.map(|receipt| receipt.price)))
}
