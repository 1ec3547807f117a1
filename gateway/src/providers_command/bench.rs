//! How fast a model answers and what it costs, measured by a few plain calls with the operator's own key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{Exact, Markup, Money, Rates, Timestamp};
use providers::{AnswerEvent, Fleet, ModelRequest, Outbound, ProviderError, Shape, Target, Task};
use serde_json::json;

use super::page::Row;
use crate::meter::Meter;

/// A task that every model knows how to go on with until it is stopped.
const PROMPT: &str = "Write the numbers from one to two hundred in words, one a line.";

/// What is measured.
pub(super) struct Wanted {
    pub target: Arc<Target>,
    /// Nobody has to have said: then no cost is told.
    pub rates: Option<Arc<Rates>>,
    pub requests: u32,
    pub max_tokens: u32,
}

/// One call.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: Duration,
    whole: Duration,
    input: u64,
    output: u64,
    cost: Option<Exact>,
    /// The provider told no usage: its tokens were counted here.
    counted: bool,
}

/// All calls to one model.
pub(super) struct Figures {
    target: Arc<Target>,
    runs: Vec<Run>,
}

/// The model that is meant.
pub(super) fn target(fleet: &Fleet, provider: &str, model: Option<&str>) -> Result<Arc<Target>, String> {
    match model {
        Some(model) => {
            fleet.target(&format!("{provider}/{model}")).ok_or_else(|| format!("{provider} cannot serve {model}"))
        }
        None => {
            let first = fleet.models().iter().find(|it| it.provider == provider && it.serves(Task::Chat));
            first.cloned().ok_or_else(|| format!("no model of {provider} is known: name one with --model"))
        }
    }
}

/// One call after the other, the first of which also makes the connection.
pub(super) async fn measure(outbound: &Outbound, wanted: Wanted) -> Result<Figures, String> {
    let body = json!({
        "model": wanted.target.name,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": wanted.max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let request = ModelRequest::parse(Shape::OpenAi, body.to_string().into()).map_err(|it| it.message)?;
    let mut runs = Vec::new();
    for number in 1..=wanted.requests {
        let run = call(outbound, &wanted, &request).await;
        runs.push(run.map_err(|error| {
            format!("call {number} to {} failed: {} ({})", wanted.target.name, error.message, error.class.as_str())
        })?);
    }
    Ok(Figures { target: wanted.target, runs })
}

async fn call(outbound: &Outbound, wanted: &Wanted, request: &ModelRequest) -> Result<Run, ProviderError> {
    let target = &wanted.target;
    let (began, mut first, mut meter) = (Instant::now(), None, Meter::default());
    let mut answer = outbound.send(target, request, wanted.max_tokens.into()).await?;
    while let Some(event) = answer.next().await {
        match event? {
            AnswerEvent::Delta(delta) => {
                if delta.content {
                    first.get_or_insert_with(|| began.elapsed());
                }
                meter.heard(&delta, target);
            }
            AnswerEvent::Usage(usage) => meter.billed(usage),
            AnswerEvent::End(_) => break,
        }
    }
    let whole = began.elapsed();
    let usage = meter.usage(target, request, true);
    Ok(Run {
        first: first.unwrap_or(whole),
        whole,
        input: usage.all_input(),
        output: usage.all_output(),
        cost: wanted.rates.as_ref().map(|rates| rates.exact(&usage)),
        counted: usage.estimated,
    })
}

impl Figures {
    /// For the terminal.
    pub(super) fn table(&self) -> String {
        let row = |name: &str, value: String| format!("    {name:<22}{value}\n");
        let counted = if self.runs.iter().any(|it| it.counted) { ", counted here" } else { "" };
        let calls = self.runs.len();
        format!("{}: {calls} call{}\n", self.target.name, if calls == 1 { "" } else { "s" })
            + &row("first token", self.of(|run| run.first))
            + &row("whole answer", self.of(|run| run.whole))
            + &row("tokens per second", self.speed())
            + &row("tokens in, out", format!("{}, {}{counted}", self.sum(|it| it.input), self.sum(|it| it.output)))
            + &row("cost of a call", self.cost().map_or_else(|| "no price is known".to_owned(), |it| format!("${it}")))
    }

    /// For the page.
    pub(super) fn row(&self, now: Timestamp) -> Row {
        let Target { kind, model, .. } = &*self.target;
        let calls = u64::try_from(self.runs.len()).unwrap_or(u64::MAX);
        Row {
            name: format!("{kind}/{model}"),
            cells: vec![
                now.to_string().chars().take(10).collect(),
                calls.to_string(),
                self.of(|run| run.first),
                self.of(|run| run.whole),
                self.speed(),
                format!("{} / {}", self.sum(|it| it.input) / calls, self.sum(|it| it.output) / calls),
                self.cost().map_or_else(|| "–".to_owned(), |it| format!("${it}")),
            ],
        }
    }

    /// The middle one and the one that nineteen of twenty are within.
    fn of(&self, what: impl Fn(&Run) -> Duration) -> String {
        let mut all: Vec<Duration> = self.runs.iter().map(what).collect();
        all.sort_unstable();
        let at = |part: usize| all.get((all.len() * part).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        format!("{} / {} ms", at(50).as_millis(), at(95).as_millis())
    }

    /// After the first token, all calls together.
    fn speed(&self) -> String {
        let time: Duration = self.runs.iter().map(|run| run.whole.saturating_sub(run.first)).sum();
        let tokens = u128::from(self.sum(|run| run.output.saturating_sub(1)));
        match (time.as_micros(), tokens) {
            (0, _) | (_, 0) => "–".to_owned(),
            (time, tokens) => (tokens * 1_000_000 / time).to_string(),
        }
    }

    fn sum(&self, what: impl Fn(&Run) -> u64) -> u64 {
        self.runs.iter().map(what).fold(0, u64::saturating_add)
    }

    /// The mean, rounded up as one charge is.
    fn cost(&self) -> Option<Money> {
        let sum = self.runs.iter().try_fold(Exact::ZERO, |sum, run| Some(sum.plus(run.cost?)))?;
        let calls = i64::try_from(self.runs.len()).ok().filter(|it| *it > 0)?;
        let all = sum.with_markup(Markup::NONE).rounded_up()?.nanos();
        Some(Money::from_nanos(all.div_euclid(calls) + i64::from(all % calls != 0)))
    }
}
