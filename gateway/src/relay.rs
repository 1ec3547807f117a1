//! Carries an answer from the provider to the client, counts on the way, and always ends in a closed case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledger::Hold;
use providers::{AnswerEvent, End, Outcome, ProviderError, Shape, Told};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cache::Stored;
use crate::case::{Case, Ending};
use crate::close::{self, Settled};
use crate::forward::Upstream;
use crate::growth::Growth;
use crate::keeping::Kept;
use crate::refusal::{Exhausted, Refusal};
use crate::reply::{Answered, Flow, Head, Reply};
use crate::telemetry::Step;

/// Chunks that may wait for a slow client before the provider is made to wait too.
const AHEAD: usize = 32;
/// An answer larger than this goes on, but is not kept.
const MOST_KEPT: usize = 4 << 20;
/// So much of an answer is read on for its usage after its client has gone, and for no longer than `deadlines.drain_ms`.
const MOST_DRAINED: u64 = 8 << 20;
/// How long the last bytes of a stream wait for a client that does not read.
const LAST_WORD: Duration = Duration::from_secs(30);

/// A stream goes on in a task of its own; a JSON answer is drained here.
pub async fn answer(app: &Arc<App>, upstream: Upstream, hold: Hold, case: Case) -> Answered {
    if case.stream {
        let head = Head::of(&case, None);
        let (client, frames) = mpsc::channel(AHEAD);
        let torn = CancellationToken::new();
        let content_type = upstream.answer.content_type().map(str::to_owned);
        let flow = Flow { frames, content_type, torn: torn.clone() };
        let keeper = Arc::clone(app);
        app.tasks.spawn(async move { stream(&keeper, upstream, hold, case, client, torn).await });
        return Answered { head, outcome: Ok(Reply::Stream(flow)) };
    }
    whole(app, upstream, hold, case).await
}

/// What a relay leaves behind.
struct Relayed {
    ending: Ending,
    end: Option<End>,
    frames: Option<Vec<Bytes>>,
    failure: Option<ProviderError>,
}

async fn stream(
    app: &Arc<App>,
    mut upstream: Upstream,
    hold: Hold,
    mut case: Case,
    client: mpsc::Sender<Bytes>,
    torn: CancellationToken,
) {
    let keeping = upstream.keep.is_some() || case.claim.is_some();
    let mut growth = Growth::new(hold, upstream.cover.clone());
    let Relayed { ending, end, frames, failure } =
        relay(app, &mut upstream, Some(&client), keeping, &mut growth, &mut case).await;
    let shape = case.shape;
    let complete = end.is_some() && ending != Ending::OutOfMoney;
    let hold = growth.into_hold().await;
    let settled = close::settle(app, &mut upstream, hold, &mut case, ending, complete).await;
    let last = match end {
        Some(end) => {
            let closing = end.closing(settled.cost_usd().as_deref(), Some(&settled.counted));
            keep(app, &upstream, &case, &settled, frames, end, complete);
            closing
        }
        // Sound has no words for an error: its connection is broken, lest half of it is taken for all.
        None if upstream.answer.content_type().is_some() => {
            torn.cancel();
            Bytes::new()
        }
        None => broken_stream(ending, failure, &case).frame_after(shape, &case.last_frame),
    };
    // The call is closed: what is left is a matter of manners, and must keep nobody else waiting.
    let Upstream { meter, target, answer, .. } = upstream;
    drop((answer, case));
    if last.is_empty() {
        drop(client);
    } else {
        tokio::select! {
        biased;
        // The client may have left just now; then there is nobody to tell.
        _ = client.send(last) => {}
        () = tokio::time::sleep(LAST_WORD) => {}
        () = app.stop_now.cancelled() => {}
        }
    }
    if complete {
        meter.teach(&app.calibration, &target);
    }
}

async fn whole(app: &Arc<App>, mut upstream: Upstream, hold: Hold, mut case: Case) -> Answered {
    let mut growth = Growth::new(hold, upstream.cover.clone());
    let Relayed { ending, end, failure, .. } = relay(app, &mut upstream, None, false, &mut growth, &mut case).await;
    let complete = end.is_some() && ending != Ending::OutOfMoney;
    let hold = growth.into_hold().await;
    let settled = close::settle(app, &mut upstream, hold, &mut case, ending, complete).await;
    let head = Head::of(&case, settled.price());
    let outcome = match end {
        Some(end) => {
            let body = end.closing(None, Some(&settled.counted));
            keep(app, &upstream, &case, &settled, Some(Vec::new()), end, complete);
            Ok(Reply::Whole(body, upstream.answer.content_type().map(str::to_owned)))
        }
        None => Err(broken_stream(ending, failure, &case)),
    };
    if complete {
        upstream.meter.teach(&app.calibration, &upstream.target);
    }
    Answered { head, outcome }
}

/// Returns however the call ends, so that the case is always closed.
async fn relay(
    app: &Arc<App>,
    upstream: &mut Upstream,
    client: Option<&mpsc::Sender<Bytes>>,
    keeping: bool,
    growth: &mut Growth,
    case: &mut Case,
) -> Relayed {
    case.enter(Step::Relay);
    upstream.meter.calibrated(app.calibration.ratio(&upstream.target.name));
    let mut told = (client.is_some() && !growth.is_whole()).then(|| Told::of(&upstream.request));
    let mut passed = 0;
    let left = case.total.saturating_sub(case.started.elapsed());
    let deadline = tokio::time::sleep(left);
    tokio::pin!(deadline);
    let mut kept = keeping.then(|| Kept::up_to(MOST_KEPT));
    // Where hanging up saves nothing, what comes after the client has gone is read for its usage alone, for a while.
    let mut client = client;
    let patience = tokio::time::sleep(left);
    tokio::pin!(patience);
    let mut left_early = false;
    let mut drained_to = u64::MAX;
    let relayed = |ending, end, failure, frames| Relayed { ending, end, frames, failure };
    loop {
        let waited = Instant::now();
        let event = match upstream.begun.pop_front() {
            Some(event) => Some(Ok(event)),
            None => tokio::select! {
                biased;
                // First the ends: a provider that always has more to say must not keep them from being seen.
                () = &mut deadline => return relayed(Ending::DeadlinePassed, None, None, None),
                () = app.stop_now.cancelled() => return relayed(Ending::ShutDown, None, None, None),
                () = &mut patience, if left_early => return relayed(Ending::ClientLeft, None, None, None),
                event = upstream.answer.next() => event,
                () = gone(client) => {
                    if !upstream.bills_on {
                        return relayed(Ending::ClientLeft, None, None, None);
                    }
                    (client, left_early, kept) = (None, true, None);
                    patience.as_mut().reset(tokio::time::Instant::now() + app.deadlines.drain().min(left));
                    drained_to = upstream.answer.bytes().saturating_add(MOST_DRAINED);
                    continue;
                }
            },
        };
        case.upstream += waited.elapsed();
        if upstream.answer.bytes() > drained_to
            && !matches!(event, Some(Ok(AnswerEvent::Usage(_) | AnswerEvent::End(_))))
        {
            return relayed(Ending::ClientLeft, None, None, None);
        }
        match event {
            None => {
                let failure = ProviderError::broken("the answer broke off");
                return relayed(Ending::UpstreamBroke, None, Some(failure), None);
            }
            Some(Err(failure)) => {
                app.health.outcome(&upstream.target.name, Outcome::from(&failure), app.millis());
                return relayed(Ending::UpstreamBroke, None, Some(failure), None);
            }
            Some(Ok(AnswerEvent::Usage(usage))) => upstream.meter.billed(usage),
            Some(Ok(AnswerEvent::End(end))) => {
                case.marks.finished(end.finish_reason());
                let ending = if left_early { Ending::ClientLeft } else { Ending::Finished };
                return relayed(ending, Some(end), None, kept.and_then(Kept::into_frames));
            }
            Some(Ok(AnswerEvent::Delta(delta))) => {
                ledger::failpoint(if case.first_byte.is_none() { "call.first_byte" } else { "call.mid_stream" });
                upstream.meter.heard(&delta, &upstream.target);
                // A body that came whole is billed already: withholding it would save nobody anything.
                if !growth.is_whole() && !delta.texts.is_empty() && !upstream.answer.is_whole() {
                    let count = upstream.meter.output(&upstream.target);
                    growth.look_ahead(app, count);
                    let admitted = tokio::select! {
                        admitted = growth.admits(app, count) => admitted,
                        () = &mut deadline => return relayed(Ending::DeadlinePassed, None, None, None),
                        () = app.stop_now.cancelled() => return relayed(Ending::ShutDown, None, None, None),
                    };
                    if !admitted {
                        upstream.meter.ended_at(passed);
                        let note = growth.note();
                        let end = match told {
                            Some(told) => Some(told.cut(&delta.frame, &note)),
                            None => upstream.answer.cut(&note).or_else(|| client.is_none().then(|| bare(case, &note))),
                        };
                        upstream.answer.hang_up();
                        return relayed(Ending::OutOfMoney, end, None, kept.and_then(Kept::into_frames));
                    }
                    passed = count;
                }
                if delta.content && case.first_byte.is_none() {
                    case.first_byte = Some(case.started.elapsed());
                    app.telemetry.first_token(case.kind, &upstream.target, case.started.elapsed());
                }
                let Some(listening) = client.filter(|_| !delta.frame.is_empty()) else { continue };
                if let Some(told) = &mut told {
                    told.heard(&delta.frame);
                }
                if case.shape == Shape::Responses {
                    // An error that ends the stream goes on counting where it stands.
                    case.last_frame = delta.frame.clone();
                }
                if let Some(kept) = &mut kept {
                    kept.push(&delta.frame);
                }
                // Back-pressure: a full channel makes the provider wait, up to the call's deadline.
                tokio::select! {
                    sent = listening.send(delta.frame) => if sent.is_err() && !upstream.bills_on {
                        return relayed(Ending::ClientLeft, None, None, None);
                    },
                    () = &mut deadline => return relayed(Ending::DeadlinePassed, None, None, None),
                    () = app.stop_now.cancelled() => return relayed(Ending::ShutDown, None, None, None),
                }
            }
        }
    }
}

/// The least that a JSON caller can be given of an answer that was cut and cannot be read back: that it was, and why. It is charged.
fn bare(case: &Case, note: &str) -> End {
    let (id, created, model) = (case.id.to_string(), case.at.micros().div_euclid(1_000_000), case.model.clone());
    let (shape, note) = (case.shape, serde_json::from_str::<Value>(note).unwrap_or_default());
    End::new(Some("length".to_owned()), move |_, counted| {
        let (input, output) = counted.map_or((0, 0), |counted| (counted.input, counted.output));
        let body = match shape {
            Shape::Anthropic => json!({
                "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
                "stop_reason": "max_tokens", "stop_sequence": null,
                "usage": {"input_tokens": input, "output_tokens": output},
                "alfred": note,
            }),
            Shape::Responses => json!({
                "id": id, "object": "response", "created_at": created, "status": "incomplete", "error": null,
                "incomplete_details": {"reason": "max_output_tokens"}, "model": model, "output": [],
                "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
                "usage": {
                    "input_tokens": input, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": input.saturating_add(output),
                },
                "alfred": note,
            }),
            Shape::Gemini => json!({
                "candidates": [{
                    "content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0,
                }],
                "modelVersion": model, "responseId": id,
                "usageMetadata": {
                    "promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input.saturating_add(output),
                },
                "alfred": note,
            }),
            _ => json!({
                "id": id, "object": "chat.completion", "created": created, "model": model,
                "choices": [{
                    "index": 0, "message": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": "length",
                }],
                "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output)},
                "alfred": note,
            }),
        };
        body.to_string().into()
    })
}

/// Ends when the client has gone; a JSON caller is not watched, its answer is paid for either way.
async fn gone(client: Option<&mpsc::Sender<Bytes>>) {
    match client {
        Some(client) => client.closed().await,
        None => std::future::pending().await,
    }
}

fn broken_stream(ending: Ending, failure: Option<ProviderError>, case: &Case) -> Refusal {
    let target = case.target.as_ref().map(|target| target.name.clone()).unwrap_or_default();
    let (kind, what) = match (ending, failure) {
        (Ending::DeadlinePassed, _) => (Exhausted::Timeout, "deadline passed".to_owned()),
        (Ending::ShutDown, _) => (Exhausted::Unavailable, "the gateway is shutting down".to_owned()),
        (_, Some(error)) if error.class == providers::Class::Timeout => (Exhausted::Timeout, "timeout".to_owned()),
        (_, Some(error)) => (Exhausted::Error, error.class.as_str().to_owned()),
        (_, None) => (Exhausted::Error, ending.as_str().to_owned()),
    };
    Refusal::Exhausted { kind, attempts: vec![format!("{target} ({what})")], retry_after: None }
}

/// Only complete answers are kept, and only where policy or an Idempotency-Key asks for it. One that was cut is kept for the key
/// alone: it was charged.
fn keep(
    app: &App,
    upstream: &Upstream,
    case: &Case,
    settled: &Settled,
    frames: Option<Vec<Bytes>>,
    end: End,
    complete: bool,
) {
    let Some(frames) = frames else { return };
    if upstream.keep.is_none() && case.claim.is_none() {
        return;
    }
    let stored = Arc::new(Stored {
        target: upstream.target.name.clone(),
        stream: case.stream,
        frames,
        end,
        counted: settled.counted,
        price: settled.price(),
        content_type: upstream.answer.content_type().map(str::to_owned),
    });
    if let Some(keep) = upstream.keep.as_ref().filter(|_| complete) {
        app.cache.store(keep.key.clone(), Arc::clone(&stored), keep.ttl, app.clock().now());
    }
    if case.claim.is_some() {
        app.replays.store(case.id, stored);
    }
}
