//! The same Rego in our engine and in an independent one (rego-cpp): the shipped rules over many calls, and the language itself, probe
//! by probe, with its definition as the judge.

mod calls;
mod probes;
mod rules;

use std::collections::BTreeMap;
use std::process::Command;

use policies::Source;
use qa::tools::{cached, must_run, repository};
use serde_json::{Value, json};

/// What an evaluation comes to, in either engine.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Is(Value),
    Undefined,
    Fails,
    /// The other engine ended its process.
    Crash,
}

/// Modules, data, a query and the inputs to evaluate it with.
struct Job {
    modules: BTreeMap<String, String>,
    data: Value,
    query: String,
    /// Whether the other engine also counts errors of functions in rules that do not apply: it evaluates more of them than it needs.
    strict: bool,
    inputs: Vec<Value>,
}

impl Job {
    /// By the engine of the house. A text that it refuses fails for every input.
    fn ours(&self) -> Vec<Outcome> {
        let sources: Vec<Source> = self.modules.iter().map(|(path, text)| Source::new(path, text)).collect();
        let Ok(results) = policies::eval_each(&sources, self.data.clone(), &self.inputs, &self.query) else {
            return vec![Outcome::Fails; self.inputs.len()];
        };
        results
            .into_iter()
            .map(|result| match result {
                Ok(Some(value)) => Outcome::Is(value),
                Ok(None) => Outcome::Undefined,
                Err(_) => Outcome::Fails,
            })
            .collect()
    }
}

/// By the independent engine, job by job.
fn theirs(jobs: &[Job]) -> Vec<Vec<Outcome>> {
    let folder = tempfile::tempdir().expect("a folder");
    let (asked, said) = (folder.path().join("asked.json"), folder.path().join("said.json"));
    let list: Vec<Value> = jobs
        .iter()
        .map(|job| json!({"modules": job.modules, "data": job.data, "query": job.query, "strict": job.strict, "inputs": job.inputs}))
        .collect();
    std::fs::write(&asked, Value::from(list).to_string()).expect("the jobs are written");
    let script = repository().join("qa/policy/differential.py");
    must_run(Command::new(cached("rego/bin/python")).arg(script).args([&asked, &said]));
    let said = std::fs::read_to_string(&said).expect("the results are there");
    let said: Vec<Vec<Value>> = serde_json::from_str(&said).expect("lists of results");
    let outcome = |result: &Value| match result {
        _ if result.get("undefined").is_some() => Outcome::Undefined,
        _ if result.get("crash").is_some() => Outcome::Crash,
        _ => result.get("value").map_or(Outcome::Fails, |value| Outcome::Is(value.clone())),
    };
    said.iter().map(|results| results.iter().map(outcome).collect()).collect()
}
