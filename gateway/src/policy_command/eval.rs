//! `alfred policy eval`: one input, one answer, and on request what led to it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use policies::{Facts, PolicySet};
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
}

pub(super) fn run(arguments: &EvalArguments) -> Result<ExitCode, Failed> {
    println!("{:#}", answer(arguments)?);
    Ok(ExitCode::SUCCESS)
}

fn answer(arguments: &EvalArguments) -> Result<Value, Failed> {
    let input = file(arguments.facts.as_ref().unwrap_or(&arguments.input))?;
    let loaded = load(arguments.dir.as_deref(), arguments.data.as_deref())?;
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
