//! The interpreter, compiled once and limited. Never regorus's virtual machine: it answers some rules wrongly, without
//! an error and sometimes open, where the interpreter does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regorus::{Engine, LimitError, Value};

use crate::bundle::{self, Bundle, DECISION};
use crate::input::input;
use crate::reads::Reads;
use crate::rulebook::Scope;
use crate::verdict::Said;
use crate::{
    AttributeFacts, BudgetFacts, CallerFacts, Candidate, Decision, Facts, Fault, Limits, RequestFacts, Source,
    TimeFacts, data, verdict,
};

/// How many times the limit a second evaluation may take.
const PATIENCE: u32 = 4;
/// And how many times the limit the very first one may take.
const FIRST_PATIENCE: u32 = 40;

/// Compiled rules and data. Safe to share; calls decide side by side.
pub struct PolicySet {
    revision: String,
    /// Paths that a complaint may name.
    paths: Vec<String>,
    time: Duration,
    /// Evaluated once and never used again: every other engine is its clone.
    warmed: Mutex<Engine>,
    /// Engines that wait for a call. A lock is held to take or return one, never while it evaluates.
    idle: Mutex<Vec<Engine>>,
    most_idle: usize,
    /// Which facts a decision may depend on.
    reads: Reads,
    /// Packages that are tried without effect.
    log_only: BTreeSet<String>,
}

impl PolicySet {
    /// Reads the sources and the data, or says everything that is wrong with them.
    pub fn compile(sources: &[Source], data: serde_json::Value, limits: Limits) -> Result<PolicySet, Vec<Fault>> {
        let Bundle { mut engine, revision, reads, .. } = Bundle::read(sources, &data, &limits, false)?;
        engine.set_input(input(&sample()));
        // The first evaluation also prepares the rules, and a machine that starts has more to do: no call waits for this one.
        engine.set_execution_timer_config(bundle::timer(limits.time * FIRST_PATIENCE));
        let evaluated = catch_unwind(AssertUnwindSafe(|| engine.eval_rule(DECISION.into()))).map_err(|_| {
            vec![Fault { path: "rules".into(), message: "the interpreter panicked".into(), ..Fault::default() }]
        })?;
        if let Err(error) = evaluated {
            let mut fault = bundle::fault_of(&error, sources, "rules");
            fault.message = format!("a sample call cannot be decided: {}", fault.message);
            return Err(vec![fault.quoting(sources)]);
        }
        engine.set_input(Value::Undefined);
        engine.set_execution_timer_config(bundle::timer(limits.time));
        Ok(PolicySet {
            revision,
            paths: sources.iter().map(|source| source.path.clone()).collect(),
            time: limits.time,
            warmed: Mutex::new(engine),
            idle: Mutex::new(Vec::new()),
            most_idle: limits.engines,
            reads,
            log_only: data::log_only(&data),
        })
    }

    /// May this call happen, by these rules alone? What cannot be decided is denied.
    pub fn decide(&self, facts: &Facts) -> Decision {
        let decided = self.contributions(&Scope::House, facts).and_then(|said| verdict::decision(&said, facts));
        decided.unwrap_or_else(Decision::fault)
    }

    /// What the rules contribute as a layer of that scope; an error says in words for operators why that failed.
    pub(crate) fn contributions(&self, scope: &Scope, facts: &Facts) -> Result<Vec<Said>, String> {
        let input = input(facts);
        let value = match self.evaluate(self.take(), input.clone()) {
            // The clock runs on while a busy machine lets the thread wait. A rule that really runs away is stopped
            // the second time.
            Err(Failure::Late) => {
                let mut patient = self.fresh();
                patient.set_execution_timer_config(bundle::timer(self.time * PATIENCE));
                self.evaluate(patient, input)
            }
            outcome => outcome,
        };
        match value.map(|value| verdict::said(&value, scope, &self.log_only)) {
            Ok(said) => said,
            Err(Failure::Faulty(message)) => Err(message),
            Err(Failure::Late) => Err(format!("evaluation took longer than {:?}", self.time)),
        }
    }

    /// One evaluation. An engine that failed is not used again.
    fn evaluate(&self, mut engine: Engine, input: Value) -> Result<Value, Failure> {
        engine.set_input(input);
        match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(DECISION.into()))) {
            Ok(Ok(value)) => {
                self.give_back(engine);
                Ok(value)
            }
            Ok(Err(error)) => Err(match error.downcast_ref::<LimitError>() {
                Some(LimitError::TimeLimitExceeded { .. }) => Failure::Late,
                _ => Failure::Faulty(self.complaint(&format!("{error:#}"))),
            }),
            Err(_panic) => Err(Failure::Faulty("the interpreter panicked".into())),
        }
    }

    /// Which facts a decision may depend on.
    pub(crate) fn reads(&self) -> Reads {
        self.reads
    }

    /// A short hash of sources and data.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    fn take(&self) -> Engine {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.fresh())
    }

    fn fresh(&self) -> Engine {
        self.warmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn give_back(&self, mut engine: Engine) {
        engine.set_execution_timer_config(bundle::timer(self.time));
        engine.set_input(Value::Undefined); // keep nothing of one call for the next
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.most_idle {
            idle.push(engine);
        }
    }

    /// Where an evaluation failed. Not how: the interpreter quotes values.
    fn complaint(&self, text: &str) -> String {
        match bundle::place(text, |path| self.paths.iter().any(|known| known == path)) {
            Some(place) => format!("evaluation failed at {}:{}", place.path, place.line),
            None => "evaluation failed".into(),
        }
    }
}

/// Why there is no value.
enum Failure {
    /// It took longer than it may.
    Late,
    /// Anything else, in words for operators.
    Faulty(String),
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// A call with every fact known: compiling tries the rules on it.
pub(crate) fn sample() -> Facts {
    let some = |text: &str| Some(text.to_owned());
    Facts {
        caller: CallerFacts {
            org: "org_0".into(),
            team: some("team_0"),
            user: some("usr_0"),
            key: "key_0".into(),
            wallet: some("wal_0"),
            models: Some(vec!["sample".into()]),
            tags: BTreeMap::from([("team".into(), "sample".into())]),
            groups: vec!["sample".into()],
            attributes: AttributeFacts::default(),
        },
        request: RequestFacts {
            kind: "chat.completions".into(),
            model: "sample".into(),
            stream: true,
            max_output_tokens: Some(100),
            input_tokens: 1_000,
            tools: true,
            images: false,
            tool_names: vec!["sample".into()],
            mcp_servers: Vec::new(),
            intent: "chat".into(),
            intent_confidence: 50,
            tier: 1,
            claims: BTreeMap::from([("feature".into(), "sample".into())]),
        },
        candidates: vec![Candidate {
            target: "sim/sample".into(),
            name: "sample".into(),
            provider: "sim".into(),
            model: "sample".into(),
            region: "sim".into(),
            alias: true,
            price_input: some("1"),
            price_output: some("1"),
            context_tokens: Some(8_192),
            healthy: true,
        }],
        findings: BTreeMap::from([("email".into(), 1)]),
        time: TimeFacts::at(0),
        budget: BudgetFacts { downgrade: true, left_usd: some("10"), left_percent: Some(50) },
        hops: BTreeMap::new(),
    }
}
