//! Rules, compiled once, evaluated by the interpreter and limited. Never by regorus's virtual machine: it answers some rules wrongly,
//! without an error and sometimes open. Only rules that can apply are evaluated (`index`), each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regorus::Value;

use crate::bundle::{self, Bundle, Recipe};
use crate::index::Index;
use crate::input::input;
use crate::reads::Reads;
use crate::rulebook::Scope;
use crate::verdict::Said;
use crate::workers::{Worker, Workers, Wrong};
use crate::{
    AttributeFacts, BudgetFacts, CallerFacts, Candidate, Decision, Facts, Fault, Limits, RequestFacts, Source,
    TimeFacts, data, verdict,
};

/// How many times the limit a second evaluation may take.
const PATIENCE: u32 = 4;
/// And how many times the limit the very first one may take, of all rules together.
const FIRST_PATIENCE: u32 = 20;

/// Compiled rules and data. Safe to share; calls decide side by side.
pub struct PolicySet {
    revision: String,
    /// Paths that a complaint may name.
    paths: Vec<String>,
    time: Duration,
    index: Arc<Index>,
    workers: Workers,
    /// Packages that are tried without effect.
    log_only: BTreeSet<String>,
    /// Which facts a decision may depend on.
    reads: Reads,
}

impl PolicySet {
    /// Reads the sources and the data, or says everything that is wrong with them.
    pub fn compile(sources: &[Source], data: serde_json::Value, limits: Limits) -> Result<PolicySet, Vec<Fault>> {
        let Bundle { mut engine, revision, reads, mut index, asleep, .. } =
            Bundle::read(sources, &data, &limits, false)?;
        let fault = |message: &str| {
            let mut fault = bundle::fault_of(&message, sources, "rules");
            fault.message = format!("a sample call cannot be decided: {}", fault.message);
            vec![fault.quoting(sources)]
        };
        let panicked = |_| fault("error: the interpreter panicked");
        catch_unwind(AssertUnwindSafe(|| bundle::prepare(&mut engine)))
            .map_err(panicked)?
            .map_err(|error| fault(&error))?;
        // Clones are made of an engine that has evaluated nothing but is prepared; this one only tries the rules.
        let first = Worker::new(engine.clone(), &index);
        let mut trying = Worker::new(engine, &index);
        let wrong = |wrong: Failure| match wrong {
            Failure::Late => fault("error: evaluation takes too long"),
            Failure::Wrong(message) => fault(&message),
            Failure::Panicked => fault("error: the interpreter panicked"),
        };
        let patience = limits.time * FIRST_PATIENCE;
        let once = index.once();
        let values = evaluated(&mut trying, &index, &once, Value::Undefined, patience).map_err(wrong)?;
        for (entry, values) in once.into_iter().zip(values) {
            index.stands(entry, values);
        }
        // A machine that starts has more to do: no call waits for this one.
        let live: Vec<usize> = index.live().collect();
        evaluated(&mut trying, &index, &live, input(&sample()), patience).map_err(wrong)?;
        let index = Arc::new(index);
        let awake: Vec<Source> = sources.iter().filter(|it| !asleep.contains(&it.path)).cloned().collect();
        Ok(PolicySet {
            revision,
            paths: sources.iter().map(|source| source.path.clone()).collect(),
            time: limits.time,
            log_only: data::log_only(&data),
            workers: Workers::new(first, Recipe::new(&awake, data, limits), Arc::clone(&index), &limits),
            index,
            reads,
        })
    }

    /// May this call happen, by these rules alone? What cannot be decided is denied.
    pub fn decide(&self, facts: &Facts) -> Decision {
        let decided = self.contributions(&Scope::House, facts).and_then(|said| verdict::decision(&said, facts));
        decided.unwrap_or_else(Decision::fault)
    }

    /// The same with every rule evaluated, whether it can apply or not: what `decide` is compared with.
    pub fn decide_unindexed(&self, facts: &Facts) -> Decision {
        let decided = self.all_contributions(&Scope::House, facts).and_then(|said| verdict::decision(&said, facts));
        decided.unwrap_or_else(Decision::fault)
    }

    /// What the rules contribute as a layer of that scope; an error says in words for operators why that failed.
    pub(crate) fn contributions(&self, scope: &Scope, facts: &Facts) -> Result<Vec<Said>, String> {
        let input = input(facts);
        let entries = self.index.matching(&input);
        self.said(scope, &entries, input)
    }

    /// The same with every rule evaluated.
    pub(crate) fn all_contributions(&self, scope: &Scope, facts: &Facts) -> Result<Vec<Said>, String> {
        let entries: Vec<usize> = self.index.live().collect();
        self.said(scope, &entries, input(facts))
    }

    fn said(&self, scope: &Scope, entries: &[usize], input: Value) -> Result<Vec<Said>, String> {
        let mut sections: BTreeMap<usize, BTreeSet<Value>> =
            self.index.always().map(|(at, section)| (at, section.standing.clone())).collect();
        let values = self.values(entries, input)?;
        for (entry, values) in entries.iter().zip(values) {
            if !values.is_empty() {
                sections.entry(self.index.entries[*entry].section).or_default().extend(values);
            }
        }
        let said = sections.into_iter().map(|(at, values)| {
            let section = &self.index.sections[at];
            let name = &section.package;
            let package = if *scope == Scope::House { name.clone() } else { format!("{scope}:{name}") };
            let log_only = self.log_only.contains(name);
            Said {
                layer: scope.clone(),
                package,
                member: section.member,
                values: values.into_iter().collect(),
                log_only,
            }
        });
        Ok(said.collect())
    }

    /// What each of some entries contributes.
    pub(crate) fn values(&self, entries: &[usize], input: Value) -> Result<Vec<Vec<Value>>, String> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = match self.evaluate(self.workers.take(), entries, input.clone(), self.time) {
            // The clock runs on while a busy machine lets the thread wait. A rule that really runs away is stopped
            // the second time.
            Err(Failure::Late) => self.evaluate(self.workers.fresh(), entries, input, self.time * PATIENCE),
            outcome => outcome,
        };
        outcome.map_err(|failure| match failure {
            Failure::Late => format!("evaluation took longer than {:?}", self.time),
            Failure::Wrong(message) => self.complaint(&message),
            Failure::Panicked => "the interpreter panicked".into(),
        })
    }

    /// One evaluation. An engine that failed is not used again.
    fn evaluate(
        &self,
        mut worker: Worker,
        entries: &[usize],
        input: Value,
        time: Duration,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        let values = evaluated(&mut worker, &self.index, entries, input, time);
        match values {
            Ok(_) => self.workers.give_back(worker),
            Err(_) => self.workers.replace(worker.place()),
        }
        values
    }

    /// Which facts a decision may depend on.
    pub(crate) fn reads(&self) -> Reads {
        self.reads
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn is_log_only(&self, package: &str) -> bool {
        self.log_only.contains(package)
    }

    /// A short hash of sources and data.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Makes an engine for every core now. Left alone, they are made beside the calls once calls meet.
    pub fn warm(&self) {
        self.workers.warm();
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
    /// Anything else, in the interpreter's words.
    Wrong(String),
    Panicked,
}

/// The values of some entries, all within one limit.
fn evaluated(
    worker: &mut Worker,
    index: &Index,
    entries: &[usize],
    input: Value,
    time: Duration,
) -> Result<Vec<Vec<Value>>, Failure> {
    let started = Instant::now();
    let mut limit = time;
    worker.limit(limit);
    worker.ask(input);
    let each = |entry: &usize| {
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Failure::Late);
        }
        // Setting the limit costs something, and a rule may be a little late.
        if left < limit - limit / 8 {
            limit = left;
            worker.limit(limit);
        }
        worker.contributes(*entry, &index.sections[index.entries[*entry].section]).map_err(|wrong| match *wrong {
            Wrong { late: true, .. } => Failure::Late,
            Wrong { message, .. } => Failure::Wrong(message),
        })
    };
    catch_unwind(AssertUnwindSafe(|| entries.iter().map(each).collect())).unwrap_or(Err(Failure::Panicked))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever in an evaluation the time is up, it is told as that, and the set goes on.
    #[test]
    fn an_evaluation_that_is_late_is_told_as_late() {
        let slow = "package alfred.rules.slow\nimport rego.v1\n\ndeny contains {\"code\": \"policy_denied\", \"message\": message} if {\n\tsome c in input.candidates\n\tall := [x | some n in numbers.range(1, 300); x := double(n)]\n\tevery x in all { x > 0 }\n\tcount({x: y | some x in all; y := sprintf(\"%d %s\", [x, c.target])}) == 1\n\tmessage := object.get(input.caller, \"team\", lower(c.name))\n}\n\ndouble(n) := twice if {\n\tn < 500\n\ttwice := n * 2\n}\n";
        let sources: Vec<Source> = crate::shipped().into_iter().chain([Source::new("slow.rego", slow)]).collect();
        let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
        let mut set = PolicySet::compile(&sources, serde_json::json!({}), limits).unwrap();
        let mut late = 0;
        for micros in (1..400).map(|at| at * 3) {
            set.time = Duration::from_micros(micros);
            match set.contributions(&Scope::House, &sample()) {
                Ok(_) => {}
                Err(message) => {
                    late += 1;
                    assert_eq!(message, format!("evaluation took longer than {:?}", set.time));
                }
            }
        }
        assert!(late > 20, "{late}");
        set.time = Duration::from_secs(60);
        set.contributions(&Scope::House, &sample()).unwrap();
    }

    /// How far texts grow that are joined with themselves again and again until the time is up: a figure for decision 017.
    #[test]
    #[ignore = "takes gigabytes"]
    fn what_a_module_that_doubles_a_text_takes() {
        let doubling: Vec<String> =
            (1..22).map(|at| format!("\tx{at} := concat(\"\", [x{0}, x{0}])", at - 1)).collect();
        let module = format!(
            "package alfred.rules.bad\nimport rego.v1\n\nrouting contains y if {{\n\tinput.caller.org == \"org_1\"\n\tx0 := sprintf(\"%900d\", [1])\n{}\n\ty := count(x21)\n}}\n",
            doubling.join("\n")
        );
        let sources: Vec<Source> = crate::shipped().into_iter().chain([Source::new("bad.rego", module)]).collect();
        let set = PolicySet::compile(&sources, serde_json::json!({}), Limits::default()).unwrap();
        let mut facts = sample();
        facts.caller.org = "org_1".into();
        let started = Instant::now();
        let outcome = set.contributions(&Scope::House, &facts).map(|said| said.len());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        assert_eq!(outcome, Err("evaluation took longer than 50ms".into()));
        println!("stopped after {:?}, {peak}", started.elapsed());
    }
}
