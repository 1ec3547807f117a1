//! A file of requests, line by line: each goes the way of a call up to where it would leave the house, and all go to one target.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use ledger::{BatchTerms, Exact, Id, Wallet};
use providers::{AskedLine, BatchEndpoint, HealthView, ModelRequest, Target};

use super::{bad, unsupported};
use crate::app::App;
use crate::approvals::none_needed;
use crate::case::{Caller, Case};
use crate::permit::permit;
use crate::quote::{quote, too_much};
use crate::refusal::Refusal;
use crate::scan::scan;
use crate::snapshot::Snapshot;

/// As OpenAI has it.
const MOST_LINES: u64 = 50_000;

/// A file whose every line may leave, as it leaves.
pub struct Checked {
    pub target: Arc<Target>,
    pub endpoint: BatchEndpoint,
    pub lines: u64,
    pub text: Vec<u8>,
    pub terms: BatchTerms,
}

/// Checks a whole file, or says of the first line that may not leave why.
pub fn check(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    file: &Bytes,
    case: &mut Case,
) -> Result<Checked, Refusal> {
    let health = app.health.view(app.millis());
    let mut so_far: Option<SoFar> = None;
    let mut lines = 0;
    for (number, line) in (1_u64..).zip(file.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        lines += 1;
        if lines > MOST_LINES {
            return Err(bad("file", format!("A batch has at most {MOST_LINES} lines.")));
        }
        case.judged.clear(); // of a file the last line's decision is kept, which is that of the line it is refused for
        one(app, snapshot, caller, (&health, file), line, &mut so_far, case)
            .map_err(|refusal| Refusal::InLine { line: number, refusal: Box::new(refusal) })?;
    }
    let all = so_far.ok_or_else(|| bad("file", "The file has no lines."))?;
    case.input_tokens = all.input_tokens;
    let terms = BatchTerms { worst: all.worst.rounded_up().ok_or_else(too_much)?, ..all.terms };
    Ok(Checked { target: all.target, endpoint: all.endpoint, lines, text: all.text, terms })
}

/// What the lines before have in common with those that follow.
struct SoFar {
    target: Arc<Target>,
    endpoint: BatchEndpoint,
    model: String,
    names: HashSet<String>,
    text: Vec<u8>,
    worst: Exact,
    input_tokens: u64,
    terms: BatchTerms,
}

fn one(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    (health, file): (&HealthView, &Bytes),
    line: &[u8],
    so_far: &mut Option<SoFar>,
    case: &mut Case,
) -> Result<(), Refusal> {
    let line = AskedLine::read(file, line).map_err(Refusal::BadRequest)?;
    // It comes back with its answer, so it cannot be masked.
    if app.masked(&line.custom_id) != line.custom_id {
        return Err(Refusal::Content { detector: "personal data".to_owned(), place: "custom_id".to_owned() });
    }
    if so_far.as_ref().is_some_and(|all| all.endpoint != line.endpoint) {
        return Err(bad("url", "All lines of a file must have the same 'url'."));
    }
    let asked = ModelRequest::parse(line.endpoint.shape(), line.body.clone()).map_err(Refusal::BadRequest)?;
    if let Some(all) = so_far.as_mut() {
        if all.model != asked.model() {
            return Err(bad("model", "All lines of a file must name the same model."));
        }
        if !all.names.insert(line.custom_id.clone()) {
            return Err(bad("custom_id", "Each line must have a 'custom_id' of its own."));
        }
    }
    let found = scan(&app.scanner, &asked);
    let permit = permit(snapshot, caller, &asked, &found, health, case)?;
    none_needed(&permit, "a line of a batch")?;
    let permit = permit.apply(&asked, &found, case)?;
    let extra = permit.extra.clone();
    let input_tokens = case.input_tokens;
    let quote = quote(app, snapshot, health, caller, permit, None, case)?;
    let usable = quote.plan.targets.iter().filter(|target| target.batches);
    let target = match so_far.as_ref() {
        None => usable.into_iter().next().ok_or_else(|| {
            unsupported("model", "none of this model's targets serves batches; those of openai and groq do")
        })?,
        Some(all) => usable.into_iter().find(|target| target.name == all.target.name).ok_or_else(|| {
            let message = format!("it cannot go to {}, and all lines of a file go to the same target", all.target.name);
            unsupported("body", message)
        })?,
    };
    let offer = quote.offers.iter().find(|offer| offer.target.name == target.name).ok_or(Refusal::Internal)?;
    let text = target
        .batch_line(&line.custom_id, line.endpoint, &quote.permit.request, offer.cover.cap())
        .map_err(|error| Refusal::Unsupported { param: error.param, message: error.message })?;
    let all = so_far.get_or_insert_with(|| SoFar {
        target: Arc::clone(target),
        endpoint: line.endpoint,
        model: asked.model().to_owned(),
        names: HashSet::from([line.custom_id]),
        text: Vec::new(),
        worst: Exact::ZERO,
        input_tokens: 0,
        terms: BatchTerms {
            model: case.model.clone(),
            worst: ledger::Money::ZERO,
            input_bound: 0,
            price_version: offer.price_version.to_string(),
            rates: (*offer.rates).clone(),
            markup: offer.markup,
            team: caller.credential.team,
            user: caller.credential.user,
            policy: case.policy.clone(),
            routing: case.routing.clone(),
            extra: Vec::new(),
        },
    });
    all.text.extend_from_slice(text.as_bytes());
    all.text.push(b'\n');
    all.worst = all.worst.plus(offer.cover.worst_in_batch());
    all.input_tokens = all.input_tokens.saturating_add(input_tokens);
    all.terms.input_bound = all.terms.input_bound.saturating_add(offer.cover.input_bound());
    add(&mut all.terms.extra, extra);
    Ok(())
}

fn add(wallets: &mut Vec<Id<Wallet>>, more: Vec<Id<Wallet>>) {
    for wallet in more {
        if !wallets.contains(&wallet) {
            wallets.push(wallet);
        }
    }
}
