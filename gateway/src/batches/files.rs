//! Files: taken when every line of them may leave, kept at the provider, and read from there.

use std::sync::Arc;

use ledger::{BatchFileRow, FileKind};
use providers::{Attachment, FileForm};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lines::{self, Checked};
use super::{Outcome, Page, admitted, answered, bad, failed, find, target, tell, told, unavailable, unsupported};
use crate::app::App;
use crate::case::{Call, Caller, Case};
use crate::parse::{body, on_this_thread_if_small};
use crate::refusal::Refusal;
use crate::reply::{Answered, Flow, Reply};
use crate::snapshot::Snapshot;

/// Pieces of a file that wait for a slow reader.
const PIECES: usize = 8;

/// `POST /v1/files`.
pub async fn upload(app: &Arc<App>, mut call: Call, mut case: Case, _: &str) -> Answered {
    let outcome = uploaded(app, &mut call, &mut case).await;
    answered(app, case, outcome).await
}

async fn uploaded(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Outcome {
    let (snapshot, caller) = admitted(app, call, case).await?;
    let bytes = body(app, call, case).await?;
    let form = FileForm::read(call.outside.content_type.as_deref(), &bytes).map_err(Refusal::BadRequest)?;
    let file = asked(form)?;
    case.left = app.headroom.left(app, &snapshot, &caller).await;
    let checked =
        on_this_thread_if_small(file.bytes.len(), || lines::check(app, &snapshot, &caller, &file.bytes, case))?;
    app.decisions.take(case, &app.ledger);
    let Checked { target, endpoint, lines, text, terms } = checked;
    case.target = Some(Arc::clone(&target));
    let asked_at = std::time::Instant::now();
    let sent = app.outbound.upload_batch(&target, &text).await;
    case.upstream += asked_at.elapsed();
    let upstream = sent.map_err(|error| failed(case, &target, error))?;
    case.tried += 1;
    let credential = &caller.credential;
    let row = BatchFileRow {
        id: app.ledger.new_id(),
        org: credential.org,
        key: credential.key,
        wallet: credential.wallet,
        kind: FileKind::Input,
        target: target.name.clone(),
        upstream,
        endpoint: endpoint.url().to_owned(),
        bytes: file.bytes.len() as u64,
        lines,
        terms: Some(terms),
        created_at: app.clock().now(),
        expires_at: None,
    };
    if let Err(error) = app.ledger.batches().put_file(&row).await {
        // Nobody would ever find it there.
        if let Err(error) = app.outbound.delete_file(&target, &row.upstream).await {
            tracing::warn!(class = error.class.as_str(), "a file stays at its provider, and nobody knows of it");
        }
        return Err(unavailable(&error));
    }
    told(&tell::file(&row))
}

/// The one file of the form, for the one purpose that something here could use.
fn asked(form: FileForm) -> Result<Attachment, Refusal> {
    for (name, value) in &form.fields {
        match name.as_str() {
            "purpose" if value == "batch" => {}
            "purpose" => {
                return Err(unsupported("purpose", "files are taken for batches alone: 'purpose' must be 'batch'"));
            }
            _ => return Err(unsupported("file", "a file is uploaded with 'purpose' and 'file', and nothing else")),
        }
    }
    if !form.fields.contains_key("purpose") {
        return Err(bad("purpose", "'purpose' is missing."));
    }
    let mut files = form.files.into_iter();
    match (files.next(), files.next()) {
        (Some(file), None) if file.field == "file" => Ok(file),
        _ => Err(bad("file", "The form must have one file, named 'file'.")),
    }
}

/// `GET /v1/files`.
pub async fn files(app: &Arc<App>, call: Call, mut case: Case, query: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (_, caller) = who?;
        let page = Page::read(query, 1_000, 1_000)?;
        let kind = match page.purpose.as_deref() {
            None => None,
            Some("batch") => Some(FileKind::Input),
            Some("batch_output") => Some(FileKind::Output),
            Some(_) => return Err(bad("purpose", "Files here are of purpose 'batch' or 'batch_output'.")),
        };
        let wallet = caller.credential.wallet;
        let rows = app.ledger.batches().files(wallet, kind, page.after, page.limit + 1).await;
        page.told(rows.map_err(|error| unavailable(&error))?, tell::file)
    }
    .await;
    answered(app, case, outcome).await
}

/// `GET /v1/files/{id}`.
pub async fn file(app: &Arc<App>, call: Call, mut case: Case, id: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (_, caller) = who?;
        told(&tell::file(&find(app, caller.credential.wallet, id).await?))
    }
    .await;
    answered(app, case, outcome).await
}

/// `DELETE /v1/files/{id}`: at the provider, then here.
pub async fn delete_file(app: &Arc<App>, call: Call, mut case: Case, id: &str) -> Answered {
    let who = admitted(app, &call, &mut case).await;
    let outcome = async {
        let (snapshot, caller) = who?;
        let file = find(app, caller.credential.wallet, id).await?;
        let target = target(&snapshot, &file.target)?;
        let deleted = app.outbound.delete_file(&target, &file.upstream).await;
        deleted.map_err(|error| failed(&mut case, &target, error))?;
        app.ledger.batches().delete_file(&file).await.map_err(|error| unavailable(&error))?;
        told(&json!({"id": file.id, "object": "file", "deleted": true}))
    }
    .await;
    answered(app, case, outcome).await
}

/// `GET /v1/files/{id}/content`: as it lies at the provider, and as it comes.
pub async fn content(app: &Arc<App>, call: Call, mut case: Case, id: &str) -> Answered {
    let outcome = match admitted(app, &call, &mut case).await {
        Ok(who) => streamed(app, who, &mut case, id).await,
        Err(refusal) => Err(refusal),
    };
    answered(app, case, outcome).await
}

async fn streamed(app: &Arc<App>, (snapshot, caller): (Arc<Snapshot>, Caller), case: &mut Case, id: &str) -> Outcome {
    let file = find(app, caller.credential.wallet, id).await?;
    let target = target(&snapshot, &file.target)?;
    let begun = app.outbound.file_content(&target, &file.upstream).await;
    let mut content = begun.map_err(|error| failed(case, &target, error))?;
    let (out, frames) = mpsc::channel(PIECES);
    let torn = CancellationToken::new();
    let (tears, stop, place) = (torn.clone(), app.stop_now.clone(), case.place.take());
    app.tasks.spawn(async move {
        let _place = place;
        loop {
            let piece = tokio::select! {
                piece = content.next() => piece,
                () = stop.cancelled() => return tears.cancel(),
                () = out.closed() => return,
            };
            match piece {
                None => return,
                Some(Err(_)) => return tears.cancel(),
                Some(Ok(bytes)) => {
                    if out.send(bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    let content_type = Some("application/octet-stream".to_owned());
    Ok((Reply::Stream(Flow { frames, content_type, torn }), None))
}
