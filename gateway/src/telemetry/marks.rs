//! What is measured of one call while it runs: when each step began, whom it asked, what came of it. Plain numbers in the case; they
//! become figures, a trace and a log line when the call is closed.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Money, Usage};
use providers::Target;

use super::context::Parent;

/// More steps than any call takes; what comes after is part of the last.
const MOST: usize = 24;

/// A step of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Authenticate,
    Limits,
    Parse,
    Safety,
    Policy,
    Cache,
    Quote,
    Reserve,
    Forward,
    Relay,
    Settle,
}

impl Step {
    pub const ALL: [Step; 11] = [
        Step::Authenticate,
        Step::Limits,
        Step::Parse,
        Step::Safety,
        Step::Policy,
        Step::Cache,
        Step::Quote,
        Step::Reserve,
        Step::Forward,
        Step::Relay,
        Step::Settle,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Authenticate => "authenticate",
            Step::Limits => "limits",
            Step::Parse => "parse",
            Step::Safety => "safety",
            Step::Policy => "policy",
            Step::Cache => "cache",
            Step::Quote => "quote",
            Step::Reserve => "reserve",
            Step::Forward => "forward",
            Step::Relay => "relay",
            Step::Settle => "settle",
        }
    }
}

/// One question to one target.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub target: Arc<Target>,
    /// Since the call came.
    pub from: Duration,
    /// None while it runs; an answer that is relayed runs until it has ended.
    pub to: Option<Duration>,
    /// `answered`, or the class of its failure.
    pub outcome: &'static str,
    pub status: Option<u16>,
}

/// What the settlement knows of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub usage: Usage,
    /// As the provider calls it; only where it is a name.
    pub model: Option<String>,
    /// What the tenant is charged, if the ledger has said so.
    pub price: Option<Money>,
}

/// What was measured so far.
#[derive(Debug, Clone)]
pub struct Marks {
    steps: [Step; MOST],
    /// When each began, in nanoseconds since the call came: a case is moved about, so it is kept small.
    begins: [u64; MOST],
    count: usize,
    /// The step in which the call was refused.
    pub stopped_in: Option<Step>,
    /// The status of a refusal; none for an answer.
    pub status: Option<u16>,
    pub attempts: Vec<Attempt>,
    pub answer: Option<Answer>,
    pub finish_reason: Option<&'static str>,
    /// What the client's trace is called, if it said so.
    pub parent: Option<Parent>,
}

impl Marks {
    /// Nothing yet, of a call within a client's trace.
    pub fn within(parent: Option<Parent>) -> Marks {
        Marks {
            steps: [Step::Authenticate; MOST],
            begins: [0; MOST],
            count: 0,
            stopped_in: None,
            status: None,
            attempts: Vec::new(),
            answer: None,
            finish_reason: None,
            parent,
        }
    }

    /// A step begins, and with it the one before ends.
    pub fn enter(&mut self, step: Step, at: Duration) {
        if let (Some(place), Some(begin)) = (self.steps.get_mut(self.count), self.begins.get_mut(self.count)) {
            (*place, *begin) = (step, u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
            self.count += 1;
        }
    }

    /// The call is refused in the step that it is in.
    pub fn stop(&mut self) {
        self.stopped_in = self.steps[..self.count].last().copied();
    }

    /// Each step with its begin and end, in their order; the last ends with the call.
    pub fn steps(&self, end: Duration) -> impl Iterator<Item = (Step, Duration, Duration)> + '_ {
        let begins = self.begins[..self.count].iter().map(|nanos| Duration::from_nanos(*nanos));
        let ends = begins.clone().skip(1).chain(std::iter::once(end));
        let steps = self.steps[..self.count].iter().copied();
        steps.zip(begins).zip(ends).map(|((step, from), to)| (step, from, to.max(from)))
    }

    /// A target is asked; the number of the attempt.
    pub fn ask(&mut self, target: &Arc<Target>, at: Duration) -> usize {
        let target = Arc::clone(target);
        self.attempts.push(Attempt { target, from: at, to: None, outcome: "abandoned", status: None });
        self.attempts.len() - 1
    }

    /// It has failed, or begun to answer.
    pub fn asked(&mut self, attempt: usize, outcome: &'static str, status: Option<u16>, at: Duration) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            (attempt.outcome, attempt.status) = (outcome, status);
            // What answers goes on until the settlement.
            attempt.to = (outcome != "answered").then_some(at);
        }
    }

    /// The answer has ended, for this reason. A provider's words are kept where they are words that we know.
    pub fn finished(&mut self, reason: Option<&str>) {
        const KNOWN: [&str; 16] = [
            "stop",
            "length",
            "tool_calls",
            "content_filter",
            "function_call",
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "tool_use",
            "refusal",
            "pause_turn",
            "STOP",
            "MAX_TOKENS",
            "SAFETY",
            "completed",
            "incomplete",
        ];
        self.finish_reason = reason.map(|reason| KNOWN.into_iter().find(|it| *it == reason).unwrap_or("other"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_where_the_next_begins_and_the_last_with_the_call() {
        let micros = Duration::from_micros;
        let mut marks = Marks::within(None);
        for (step, at) in [(Step::Authenticate, 1), (Step::Policy, 5), (Step::Reserve, 9), (Step::Policy, 20)] {
            marks.enter(step, micros(at));
        }
        marks.stop();
        let steps: Vec<_> = marks.steps(micros(30)).collect();
        let wanted = [
            (Step::Authenticate, micros(1), micros(5)),
            (Step::Policy, micros(5), micros(9)),
            (Step::Reserve, micros(9), micros(20)),
            (Step::Policy, micros(20), micros(30)),
        ];
        assert_eq!((steps.as_slice(), marks.stopped_in), (wanted.as_slice(), Some(Step::Policy)));
        for at in 0..100 {
            marks.enter(Step::Quote, micros(40 + at));
        }
        assert_eq!(marks.steps(micros(200)).count(), MOST, "bounded");
    }

    #[test]
    fn a_reason_that_nobody_knows_is_no_word_of_ours() {
        let mut marks = Marks::within(None);
        for (said, kept) in [(None, None), (Some("stop"), Some("stop")), (Some("the user's secret"), Some("other"))] {
            marks.finished(said);
            assert_eq!(marks.finish_reason, kept);
        }
    }
}
