//! The paths that lead into the pipeline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, header};
use providers::{Outside, Shape};
use tokio_util::sync::CancellationToken;

use super::{presented, refused};
use crate::app::App;
use crate::approvals;
use crate::case::{Call, Case};
use crate::count_tokens;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::reply::Answered;
use crate::telemetry::Parent;

pub async fn chat_completions(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    take(app, Shape::OpenAi, "chat.completions", peer, request).await
}

pub async fn messages(State(app): State<Arc<App>>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response<Body> {
    take(app, Shape::Anthropic, "messages", peer, request).await
}

/// How many tokens a message would have. Nothing is generated, held or billed.
pub async fn count_tokens(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let outside = Outside { counts: true, ..Outside::default() };
    take_with(app, Shape::Anthropic, "messages.count_tokens", outside, peer, request).await
}

/// A path of one-shot tasks: its shape, and what receipts call it.
macro_rules! task {
    ($name:ident, $shape:ident, $kind:literal) => {
        pub async fn $name(
            State(app): State<Arc<App>>,
            peer: ConnectInfo<SocketAddr>,
            request: Request,
        ) -> Response<Body> {
            take(app, Shape::$shape, $kind, peer, request).await
        }
    };
}

task!(completions, Completions, "completions");
task!(embeddings, Embeddings, "embeddings");
task!(moderations, Moderations, "moderations");
task!(images, Images, "images.generations");
task!(image_edits, ImageEdits, "images.edits");
task!(speech, Speech, "audio.speech");
task!(transcriptions, Transcriptions, "audio.transcriptions");
task!(translations, Translations, "audio.translations");
task!(rerank, Rerank, "rerank");

pub async fn responses(State(app): State<Arc<App>>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response<Body> {
    take(app, Shape::Responses, "responses", peer, request).await
}

/// A call that says everything in its body.
async fn take(
    app: Arc<App>,
    shape: Shape,
    kind: &'static str,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    take_with(app, shape, kind, Outside::default(), peer, request).await
}

/// Runs the call in a task of its own, so that a client that leaves cannot cancel it between reserve and close.
pub(super) async fn take_with(
    app: Arc<App>,
    shape: Shape,
    kind: &'static str,
    outside: Outside,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    run(app, shape, kind, outside, peer, request, |app, call, case| async move {
        match call.outside.counts {
            true => count_tokens::answer(&app, call, case).await,
            false => pipeline::answer(&app, call, case).await,
        }
    })
    .await
}

/// Does `work` for a call in a task of its own.
pub(super) async fn run<Work, Done>(
    app: Arc<App>,
    shape: Shape,
    kind: &'static str,
    outside: Outside,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
    work: Work,
) -> Response<Body>
where
    Work: FnOnce(Arc<App>, Call, Case) -> Done + Send + 'static,
    Done: Future<Output = Answered> + Send + 'static,
{
    let started = Instant::now();
    let Ok(place) = Arc::clone(&app.places).try_acquire_owned() else {
        return refused(&app, shape, &Refusal::Overloaded);
    };
    if app.stopping.is_cancelled() {
        return refused(&app, shape, &Refusal::Overloaded);
    }
    let (head, body) = request.into_parts();
    // The server drops this future when the client leaves.
    let gone = CancellationToken::new();
    let _here = gone.clone().drop_guard();
    let presented = presented(&app, &head.headers, peer, shape);
    let betas = (shape == Shape::Anthropic).then(|| betas(&head.headers)).flatten();
    let arrived = u64::try_from(presented.at.micros().div_euclid(1_000_000)).unwrap_or(0);
    let call = Call {
        id: app.ledger.new_id(),
        shape,
        kind,
        started,
        presented,
        idempotency_key: idempotency_key(&head.headers),
        tags: tags(&head.headers),
        approvals: approvals::shown(&head.headers),
        content_length: head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()),
        compressed: compressed(&head.headers),
        outside: Outside { content_type: content_type(&head.headers), arrived, betas, ..outside },
        parent: Parent::read(&head.headers),
        body,
        gone,
    };
    let case = Case::open(&call, place, app.deadlines.total());
    // Boxed: what a call needs on its way is kilobytes, and would be moved several times until it runs.
    let answered = app.tasks.spawn(Box::pin(work(Arc::clone(&app), call, case))).await;
    match answered {
        Ok(answered) => answered.into_response(shape),
        Err(_) => {
            tracing::error!("a call's task panicked");
            refused(&app, shape, &Refusal::Internal)
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Each `anthropic-beta`, as one list. One that is no text is told as one that no list may have.
fn betas(headers: &HeaderMap) -> Option<String> {
    let all: Vec<&str> = headers.get_all("anthropic-beta").iter().map(|it| it.to_str().unwrap_or("?")).collect();
    Some(all.join(",")).filter(|it| !it.is_empty())
}

/// Any coding of the body but none at all.
fn compressed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|it| !it.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// A header that is no text is kept as one that no key may have, so that it is refused rather than ignored.
fn idempotency_key(headers: &HeaderMap) -> Option<String> {
    headers.get("idempotency-key").map(|value| value.to_str().unwrap_or_default().to_owned())
}

/// The client's own attribution, and the names by which other gateways know it.
pub(super) fn tags(headers: &HeaderMap) -> Vec<String> {
    ["x-alfred-tags", "x-litellm-tags", "x-portkey-metadata"]
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect()
}
