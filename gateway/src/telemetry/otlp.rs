//! Traces on their way to a collector: a bounded queue that calls never wait for, and one task that empties it in batches, as OTLP over
//! HTTP. What finds no room, and what the collector does not take, is dropped and counted.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use metrics::{Counter, counter};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Collector;
use super::spans::{Said, Trace};

/// Calls that may wait; some 2 kB each.
const QUEUE: usize = 2_048;
/// Calls in one batch.
const BATCH: usize = 256;
/// A batch that does not fill up is sent so long after its first call.
const LINGER: Duration = Duration::from_millis(500);
/// What is left at shutdown has so long in all, the calls that are only now settled included.
const FAREWELL: Duration = Duration::from_secs(4);
/// How often it is looked whether those have ended.
const GLANCE: Duration = Duration::from_millis(20);
/// A collector's answer is read no further.
const LARGEST_ANSWER: usize = 64 << 10;

/// Where calls put their traces.
pub struct Queue {
    traces: mpsc::Sender<Trace>,
    dropped: Counter,
}

impl Queue {
    /// Never waits.
    pub fn push(&self, trace: Trace) {
        if let Err(mpsc::error::TrySendError::Full(trace) | mpsc::error::TrySendError::Closed(trace)) =
            self.traces.try_send(trace)
        {
            self.dropped.increment(trace.len());
        }
    }
}

/// Empties the queue.
pub struct Exporter {
    traces: mpsc::Receiver<Trace>,
    collector: Collector,
    resource: Resource,
    dropped: Counter,
    exported: Counter,
    /// The collector did not take the last batch: said once, not for each.
    ailing: bool,
}

pub fn queue(collector: Collector) -> (Queue, Exporter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = counter!("alfred_spans_dropped_total");
    let mut resource = Resource::default();
    let mut said = Said(&mut resource.attributes);
    for (name, value) in &collector.resource {
        said.text(name, value);
    }
    let exported = counter!("alfred_spans_exported_total");
    let exporter =
        Exporter { traces: receiver, collector, resource, dropped: dropped.clone(), exported, ailing: false };
    (Queue { traces: sender, dropped }, exporter)
}

impl Exporter {
    /// Runs until the house stops; then sends what is left, within a bound. `tasks` are those that may still close calls, this one
    /// among them.
    pub async fn run(mut self, stop: CancellationToken, tasks: TaskTracker) {
        let client = match client(self.collector.timeout) {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, "traces cannot be sent securely and are dropped"),
        };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let first = tokio::select! {
                first = self.traces.recv() => first,
                () = stop.cancelled() => break,
            };
            let Some(first) = first else { return };
            batch.push(first);
            self.fill(&mut batch, &stop).await;
            if stop.is_cancelled() {
                break;
            }
            let too_late = async {
                stop.cancelled().await;
                tokio::time::sleep(FAREWELL).await;
            };
            tokio::select! {
                () = self.send(&client, &mut batch) => {}
                () = too_late => {
                    // It is on its way, and may have arrived: it is not sent twice.
                    self.dropped.increment(batch.iter().map(Trace::len).sum());
                    batch.clear();
                }
            }
        }
        if tokio::time::timeout(FAREWELL, self.farewell(&client, &mut batch, &tasks)).await.is_err() {
            self.traces.close();
            while let Ok(trace) = self.traces.try_recv() {
                batch.push(trace);
            }
            let lost: u64 = batch.iter().map(Trace::len).sum();
            self.dropped.increment(lost);
            tracing::warn!(spans = lost, "the collector did not take the last spans in time");
        }
    }

    /// What waits, for tests.
    #[cfg(test)]
    pub fn next(&mut self) -> Option<Trace> {
        self.traces.try_recv().ok()
    }

    /// Until the batch is full, or old enough.
    async fn fill(&mut self, batch: &mut Vec<Trace>, stop: &CancellationToken) {
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.len() < BATCH {
            tokio::select! {
                more = self.traces.recv_many(batch, BATCH - batch.len()) => if more == 0 { return },
                () = &mut linger => return,
                () = stop.cancelled() => return,
            }
        }
    }

    /// Calls that were told to end are settled just now: they are waited for, and sent with the rest.
    async fn farewell(&mut self, client: &reqwest::Client, batch: &mut Vec<Trace>, tasks: &TaskTracker) {
        while tasks.len() > 1 {
            tokio::time::sleep(GLANCE).await;
        }
        loop {
            while batch.len() < BATCH
                && let Ok(trace) = self.traces.try_recv()
            {
                batch.push(trace);
            }
            if batch.is_empty() {
                return;
            }
            self.send(client, batch).await;
        }
    }

    /// Sends a batch, once: traces are worth no more than that.
    async fn send(&mut self, client: &reqwest::Client, batch: &mut Vec<Trace>) {
        let spans: Vec<_> = batch.iter().flat_map(Trace::spans).collect();
        let count = spans.len() as u64;
        let body = self.request(spans).encode_to_vec();
        let asked = client
            .post(self.collector.url.clone())
            .headers(self.collector.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let taken = match asked.send().await {
            Ok(answer) if answer.status().is_success() => Ok(rejected(answer).await.min(count)),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            // Without the address: a part of it may be a secret.
            Err(error) => Err(crate::serve::chain(&error.without_url())),
        };
        match taken {
            Ok(rejected) => {
                self.exported.increment(count - rejected);
                self.dropped.increment(rejected);
                if std::mem::take(&mut self.ailing) {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(why) => {
                self.dropped.increment(count);
                if !std::mem::replace(&mut self.ailing, true) {
                    tracing::warn!(why, "the collector takes no traces; they are dropped and counted until it does");
                }
            }
        }
        batch.clear();
    }

    fn request(&self, spans: Vec<opentelemetry_proto::tonic::trace::v1::Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "alfred".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }],
        }
    }
}

/// How many spans a collector that took a batch did not take after all.
async fn rejected(mut answer: reqwest::Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        if body.len() + piece.len() > LARGEST_ANSWER {
            return 0;
        }
        body.extend_from_slice(&piece);
    }
    let said = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
    said.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

/// No redirects: an address is where it says it is, and headers are for it alone.
fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("alfred/", env!("CARGO_PKG_VERSION")))
        .build()
}
