//! `alfred policy eval`: one input, one answer, and on request what led to it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use policies::{Facts, PolicySet, Rulebook};
use serde_json::Value;

use super::check::patient;
use super::{Failed, file, load};

const DECISION: &str = "data.alfred.main.decision";

/// What is evaluated.
#[derive(Args)]
pub struct EvalArguments {
    /// A JSON file with the facts, or - for standard input.
    #[arg(value_name = "INPUT")]
    pub facts: Option<PathBuf>,
    /// What to evaluate; the decision unless given.
    #[arg(value_name = "QUERY", conflicts_with = "query")]
    pub asked: Option<String>,
    /// The same as INPUT.
    #[arg(long, default_value = "-", conflicts_with = "facts")]
    pub input: PathBuf,
    /// A folder of modules, or a bundle, beside the shipped rules.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// A JSON or YAML file that the rules read as `data.alfred`.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The same as QUERY.
    #[arg(long)]
    pub query: Option<String>,
    /// Tell of every rule whether it fired, with file and line, as a call with all facts would be decided.
    #[arg(long, conflicts_with_all = ["query", "asked"])]
    pub explain: bool,
}

pub(super) fn run(arguments: &EvalArguments) -> Result<ExitCode, Failed> {
    println!("{:#}", answer(arguments)?);
    Ok(ExitCode::SUCCESS)
}

fn answer(arguments: &EvalArguments) -> Result<Value, Failed> {
    let input = file(arguments.facts.as_ref().unwrap_or(&arguments.input))?;
    let loaded = load(arguments.dir.as_deref(), arguments.data.as_deref())?;
    if arguments.explain {
        let facts = serde_json::from_value::<Facts>(input)
            .map_err(|error| Failed::to_look(format!("a call has all its facts, and these are not: {error}")))?;
        let set = PolicySet::compile(&loaded.sources, loaded.data, patient())?;
        let explanation = Rulebook::new(Arc::new(set)).explain(&facts);
        return serde_json::to_value(explanation).map_err(|error| Failed::to_look(error.to_string()));
    }
    let query = arguments.asked.as_ref().or(arguments.query.as_ref()).map_or(DECISION, String::as_str);
    if query == DECISION {
        match serde_json::from_value::<Facts>(input.clone()) {
            // What the contributions below come to.
            Ok(facts) => {
                let set = PolicySet::compile(&loaded.sources, loaded.data.clone(), patient())?;
                eprintln!("decision: {}", serde_json::json!(set.decide(&facts)));
            }
            // Rules may be tried with a part of the facts; a misspelt one would only look like one that is missing.
            Err(error) => eprintln!("note: no call has these facts: {error}"),
        }
    }
    Ok(policies::eval(&loaded.sources, loaded.data, input, query)?.unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fired_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let rule =
            "package alfred.rules.eu\n\nimport rego.v1\n\nregions contains [\"eu\"] if input.request.model == \"m\"\n";
        std::fs::write(dir.path().join("eu.rego"), rule).unwrap();
        let facts = dir.path().join("facts.json");
        let mut call = serde_json::to_value(Facts::default()).unwrap();
        call["request"]["model"] = "m".into();
        std::fs::write(&facts, call.to_string()).unwrap();
        let arguments = |explain| EvalArguments {
            facts: Some(facts.clone()),
            asked: None,
            input: "-".into(),
            dir: Some(dir.path().to_owned()),
            data: None,
            query: None,
            explain,
        };
        let answer = answer(&arguments(true)).map_err(|failed| failed.message).unwrap();
        let rules = answer["layers"][0]["rules"].as_array().unwrap();
        let ours = rules.iter().find(|it| it["package"] == "eu").unwrap();
        assert_eq!((&ours["outcome"], &ours["line"]), (&"fired".into(), &5.into()), "{ours}");
        assert!(ours["path"].as_str().unwrap().ends_with("eu.rego"));
    }
}
