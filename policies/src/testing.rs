//! Running the rules' own tests, and evaluating one query by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use regorus::{Engine, LimitError, Value};

use crate::bundle::{Bundle, fault_of};
use crate::{Fault, Limits, Source, outline};

/// What became of every test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestReport {
    /// One result a test, in order of name.
    pub results: Vec<TestResult>,
    /// What the tests have evaluated of each module that is no test, in order of path, where that was asked for.
    pub coverage: Vec<Coverage>,
}

/// Which tests are run, and what is looked at beside them.
#[derive(Clone, Debug, Default)]
pub struct TestPlan {
    run: Option<regex::Regex>,
    coverage: bool,
}

impl TestPlan {
    /// Tests whose name matches, or all of them; and whether to note which lines they come to.
    pub fn new(run: Option<&str>, coverage: bool) -> Result<TestPlan, String> {
        let run = run.map(regex::Regex::new).transpose().map_err(|error| error.to_string())?;
        Ok(TestPlan { run, coverage })
    }
}

/// Which lines of a module were evaluated by some test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The module.
    pub path: String,
    /// Lines that were.
    pub covered: BTreeSet<u32>,
    /// Lines that could have been.
    pub missed: BTreeSet<u32>,
}

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// `data.alfred.rules.models_test.test_…`
    pub name: String,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl TestReport {
    /// Whether there was at least one test and none failed.
    pub fn passed(&self) -> bool {
        !self.results.is_empty() && self.failures().next().is_none()
    }

    /// The tests that failed.
    pub fn failures(&self) -> impl Iterator<Item = &TestResult> {
        self.results.iter().filter(|result| result.failure.is_some())
    }
}

/// Runs every rule named `test_…`, each in an evaluation of its own. One that is false, undefined or errs has failed.
pub fn test(sources: &[Source], data: serde_json::Value) -> Result<TestReport, Vec<Fault>> {
    test_by(sources, data, &TestPlan::default())
}

/// The same for some of them, or with a look at what they cover.
pub fn test_by(sources: &[Source], data: serde_json::Value, plan: &TestPlan) -> Result<TestReport, Vec<Fault>> {
    let mut bundle = read(sources, &data)?;
    bundle.engine.set_enable_coverage(plan.coverage);
    let mut seen = Seen::default();
    let wanted = |name: &String| plan.run.as_ref().is_none_or(|run| run.is_match(name));
    let results = bundle
        .tests
        .into_iter()
        .filter(wanted)
        .map(|name| {
            let started = Instant::now();
            let mut engine = bundle.engine.clone();
            let failure = failure(&mut engine, &name, sources);
            let took = started.elapsed();
            if plan.coverage {
                seen.note(&engine);
            }
            TestResult { name, failure, took }
        })
        .collect();
    let coverage = if plan.coverage { seen.of(sources, &mut bundle.engine) } else { Vec::new() };
    Ok(TestReport { results, coverage })
}

/// Lines by module.
#[derive(Default)]
struct Seen {
    covered: BTreeMap<String, BTreeSet<u32>>,
    missed: BTreeMap<String, BTreeSet<u32>>,
}

impl Seen {
    fn note(&mut self, engine: &Engine) {
        let Ok(report) = engine.get_coverage_report() else { return };
        for file in report.files {
            self.covered.entry(file.path.to_string()).or_default().extend(file.covered);
            self.missed.entry(file.path.to_string()).or_default().extend(file.not_covered);
        }
    }

    fn of(mut self, sources: &[Source], engine: &mut Engine) -> Vec<Coverage> {
        let mut coverage: Vec<Coverage> = Vec::new();
        for module in engine.get_modules().iter() {
            let path = module.package.span.source.get_path();
            let Some(source) = sources.iter().find(|it| it.path == *path && !it.is_test()) else { continue };
            let lines = outline::lines(module);
            let covered = self.covered.remove(&source.path).unwrap_or_default();
            // A module that no test has touched is not spoken of.
            let missed = self.missed.remove(&source.path).unwrap_or_else(|| lines.evaluated.clone());
            let missed = missed.into_iter().filter(|line| !covered.contains(line) && !lines.defaults.contains(line));
            coverage.push(Coverage { path: source.path.clone(), missed: missed.collect(), covered });
        }
        coverage.sort_by(|a, b| a.path.cmp(&b.path));
        coverage
    }
}

/// Evaluates one query with an input, for people at a terminal. `None`: undefined.
pub fn eval(
    sources: &[Source],
    data: serde_json::Value,
    input: serde_json::Value,
    query: &str,
) -> Result<Option<serde_json::Value>, Vec<Fault>> {
    asked(&mut read(sources, &data)?.engine, sources, input, query)
}

/// What a query comes to; `None`: undefined.
pub type Evaluated = Result<Option<serde_json::Value>, Vec<Fault>>;

/// One query with many inputs, each evaluated by itself: what one of them comes to is no other's affair.
pub fn eval_each(
    sources: &[Source],
    data: serde_json::Value,
    inputs: &[serde_json::Value],
    query: &str,
) -> Result<Vec<Evaluated>, Vec<Fault>> {
    let engine = read(sources, &data)?.engine;
    Ok(inputs.iter().map(|input| asked(&mut engine.clone(), sources, input.clone(), query)).collect())
}

fn asked(
    engine: &mut Engine,
    sources: &[Source],
    input: serde_json::Value,
    query: &str,
) -> Result<Option<serde_json::Value>, Vec<Fault>> {
    engine.set_input(Value::from(input));
    let results =
        engine.eval_query(query.to_owned(), false).map_err(|error| vec![fault_of(&error, sources, "query")])?;
    let json = |value: &Value| match value {
        Value::Undefined => None,
        value => serde_json::to_value(value).ok(),
    };
    let mut rows = results.result.iter().map(|row| {
        let values: Vec<serde_json::Value> = row.expressions.iter().filter_map(|each| json(&each.value)).collect();
        match <[serde_json::Value; 1]>::try_from(values) {
            Ok([value]) => value,
            Err(values) => serde_json::Value::Array(values),
        }
    });
    let Some(first) = rows.next() else {
        return Ok(None);
    };
    let rest: Vec<serde_json::Value> = rows.collect();
    let nothing = |value: &serde_json::Value| value.as_array().is_some_and(Vec::is_empty);
    let undefined = rest.is_empty()
        && nothing(&first)
        && results.result[0].expressions.iter().all(|each| each.value == Value::Undefined);
    Ok(match (undefined, rest.is_empty()) {
        (true, _) => None,
        (false, true) => Some(first),
        (false, false) => Some([vec![first], rest].concat().into()),
    })
}

/// People wait longer than calls do.
fn read(sources: &[Source], data: &serde_json::Value) -> Result<Bundle, Vec<Fault>> {
    Bundle::read(sources, data, &Limits { time: Duration::from_secs(2), ..Limits::default() }, true)
}

fn failure(engine: &mut Engine, name: &str, sources: &[Source]) -> Option<String> {
    match engine.eval_rule(name.to_owned()) {
        Ok(Value::Bool(true)) => None,
        Ok(Value::Undefined) => Some("is undefined: something in it does not hold".into()),
        Ok(value) => Some(format!("is {value}, not true")),
        Err(error) if error.downcast_ref::<LimitError>().is_some() => Some("takes too long".into()),
        Err(error) => Some(fault_of(&error, sources, name).to_string()),
    }
}
