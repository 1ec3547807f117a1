//! What is told of a call, as spans: one for the call, one for each step, one for each attempt. Taken from the case in a few copies when
//! the call is closed; put into the protocol's words later, where nobody waits.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Call, Credential, Id};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};

use super::Finished;
use super::context::{span_of, trace_of};
use super::marks::{Attempt, Marks, Step};
use super::words::{OTHER, operation, provider};

/// `flags` of a span: sampled, and that it is known whether its parent is somebody else's, which it is or is not.
const SAMPLED: u32 = 0x1;
const PARENT_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// The nth span of a call: itself, its steps in order, its attempts in order.
const ROOT: u64 = 0;
const STEPS: u64 = 1;
const ATTEMPTS: u64 = 1_000;

/// Which of a call's spans an attempt is.
pub fn attempt(nth: usize) -> u64 {
    ATTEMPTS + nth as u64
}

/// A call that is to be told.
pub struct Trace {
    call: Id<Call>,
    kind: &'static str,
    outcome: &'static str,
    is_error: bool,
    /// Since 1970, in nanoseconds.
    began: u64,
    end: Duration,
    overhead: Duration,
    stream: bool,
    model: String,
    /// The target that answered is one of ours: its provider's word for the model is no echo of a client's.
    known: bool,
    policy: String,
    cache: &'static str,
    tried: u32,
    first_byte: Option<Duration>,
    caller: Option<Arc<Credential>>,
    marks: Marks,
}

impl Trace {
    pub fn of(finished: &Finished<'_>, is_error: bool, known: bool) -> Trace {
        let case = finished.case;
        Trace {
            call: case.id,
            kind: case.kind,
            outcome: finished.outcome,
            is_error,
            began: u64::try_from(case.at.micros()).unwrap_or(0).saturating_mul(1_000),
            end: finished.end,
            overhead: finished.overhead,
            stream: case.stream,
            model: case.model.clone(),
            known,
            policy: case.policy.clone(),
            cache: case.cache.as_str(),
            tried: case.tried,
            first_byte: case.first_byte,
            caller: case.caller.as_ref().map(|caller| Arc::clone(&caller.credential)),
            marks: case.marks.clone(),
        }
    }

    /// How many spans it becomes.
    pub fn len(&self) -> u64 {
        1 + self.marks.steps(self.end).count() as u64 + self.marks.attempts.len() as u64
    }

    /// In the protocol's words.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = vec![self.root()];
        let mut forward = ROOT;
        for (nth, (step, from, to)) in self.marks.steps(self.end).enumerate() {
            let nth = STEPS + nth as u64;
            if step == Step::Forward {
                forward = nth;
            }
            spans.push(self.span(nth, ROOT, step.as_str().to_owned(), SpanKind::Internal, (from, to)));
        }
        let relayed = self.marks.steps(self.end).find(|(step, ..)| *step == Step::Settle).map(|(_, from, _)| from);
        for (nth, asked) in self.marks.attempts.iter().enumerate() {
            spans.push(self.attempt(nth, forward, asked, relayed.unwrap_or(self.end)));
        }
        spans
    }

    fn span(&self, nth: u64, parent: u64, name: String, kind: SpanKind, (from, to): (Duration, Duration)) -> Span {
        Span {
            trace_id: trace_of(self.call, self.marks.parent.as_ref()).to_vec(),
            span_id: span_of(self.call, nth).to_vec(),
            parent_span_id: span_of(self.call, parent).to_vec(),
            flags: SAMPLED | PARENT_KNOWN,
            name,
            kind: kind.into(),
            start_time_unix_nano: self.began.saturating_add(nanos(from)),
            end_time_unix_nano: self.began.saturating_add(nanos(to)),
            ..Span::default()
        }
    }

    fn root(&self) -> Span {
        let mut span = self.span(ROOT, ROOT, self.kind.to_owned(), SpanKind::Server, (Duration::ZERO, self.end));
        match &self.marks.parent {
            Some(parent) => {
                span.parent_span_id = parent.span.to_vec();
                span.flags |= PARENT_IS_REMOTE;
            }
            None => span.parent_span_id.clear(),
        }
        let mut said = Said(&mut span.attributes);
        said.text("gen_ai.operation.name", operation(self.kind).1);
        if !self.model.is_empty() {
            said.text("gen_ai.request.model", &self.model);
        }
        said.whole("http.response.status_code", u64::from(self.marks.status.unwrap_or(200)));
        said.text("alfred.call.id", &self.call.to_string());
        said.text("alfred.outcome", self.outcome);
        said.text("alfred.cache", self.cache);
        said.whole("alfred.attempts", u64::from(self.tried));
        said.flag("alfred.stream", self.stream);
        said.seconds("alfred.overhead_seconds", self.overhead);
        if !self.policy.is_empty() {
            said.text("alfred.policy.revision", &self.policy);
        }
        if let Some(caller) = &self.caller {
            said.text("alfred.org.id", &caller.org.to_string());
            said.text("alfred.key.id", &caller.key.to_string());
            said.text("alfred.wallet.id", &caller.wallet.to_string());
            if let Some(team) = caller.team {
                said.text("alfred.team.id", &team.to_string());
            }
        }
        if let Some(price) = self.marks.answer.as_ref().and_then(|answer| answer.price) {
            said.text("alfred.cost_usd", &price.to_string());
        }
        if let Some(step) = self.marks.stopped_in {
            said.text("alfred.stopped_in", step.as_str());
        }
        if self.is_error {
            said.text("error.type", self.outcome);
            span.status = Some(error());
        }
        span
    }

    fn attempt(&self, nth: usize, parent: u64, asked: &Attempt, relayed: Duration) -> Span {
        let word = operation(self.kind).1;
        let answered = asked.outcome == "answered";
        let model = if self.known || !answered { &asked.target.model } else { OTHER };
        let model = if self.model == OTHER { OTHER } else { model };
        let to = asked.to.unwrap_or(relayed).max(asked.from);
        let mut span = self.span(attempt(nth), parent, format!("{word} {model}"), SpanKind::Client, (asked.from, to));
        let mut said = Said(&mut span.attributes);
        said.text("gen_ai.operation.name", word);
        said.text("gen_ai.provider.name", provider(&asked.target.kind));
        said.text("gen_ai.request.model", model);
        said.flag("gen_ai.request.stream", self.stream);
        said.text("alfred.provider", &asked.target.provider);
        said.text("alfred.region", &asked.target.region);
        said.text("alfred.outcome", asked.outcome);
        if let Some((host, port)) = asked.target.server() {
            said.text("server.address", host);
            said.whole("server.port", u64::from(port));
        }
        if let Some(status) = asked.status {
            said.whole("http.response.status_code", u64::from(status));
        }
        if !answered {
            said.text("error.type", asked.outcome);
            span.status = Some(error());
            return span;
        }
        if let Some(first) = self.first_byte.filter(|_| self.stream) {
            said.seconds("gen_ai.response.time_to_first_chunk", first.saturating_sub(asked.from));
        }
        if let Some(reason) = self.marks.finish_reason {
            said.texts("gen_ai.response.finish_reasons", &[reason]);
        }
        if let Some(answer) = &self.marks.answer {
            said.whole("gen_ai.usage.input_tokens", answer.usage.all_input());
            said.whole("gen_ai.usage.output_tokens", answer.usage.all_output());
            if answer.usage.cached_input > 0 {
                said.whole("gen_ai.usage.cache_read.input_tokens", answer.usage.cached_input);
            }
            if let Some(model) = answer.model.as_ref().filter(|_| self.known && self.model != OTHER) {
                said.text("gen_ai.response.model", model);
            }
        }
        if self.is_error {
            said.text("error.type", self.outcome);
            span.status = Some(error());
        }
        span
    }
}

/// Without a message: there is none that could be told.
fn error() -> Status {
    Status { message: String::new(), code: StatusCode::Error.into() }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is said of a span or a process.
pub struct Said<'a>(pub &'a mut Vec<KeyValue>);

impl Said<'_> {
    pub fn text(&mut self, name: &str, text: &str) {
        self.put(name, Value::StringValue(text.to_owned()));
    }

    fn texts(&mut self, name: &str, texts: &[&str]) {
        let value = |text: &&str| AnyValue { value: Some(Value::StringValue((*text).to_owned())) };
        self.put(name, Value::ArrayValue(ArrayValue { values: texts.iter().map(value).collect() }));
    }

    fn whole(&mut self, name: &str, number: u64) {
        self.put(name, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)));
    }

    fn seconds(&mut self, name: &str, duration: Duration) {
        self.put(name, Value::DoubleValue(duration.as_secs_f64()));
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.put(name, Value::BoolValue(flag));
    }

    fn put(&mut self, name: &str, value: Value) {
        self.0.push(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }
}
