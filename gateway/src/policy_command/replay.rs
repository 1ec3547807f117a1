//! `alfred policy replay`: recorded decisions under other rules, on the database itself. Nothing is changed, and a server that runs on it
//! goes on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use admin_api::rehearsal::{self, Sample};
use clap::Args;
use ledger::{Id, Org, Reader, Timestamp};
use policies::replay::{Class, Report};
use policies::{Pack, PackLimits, Rulebook, Scope};
use serde_json::Value;

use crate::{commands, config, serve};

/// How often a long replay says how far it is.
const TOLD: u64 = 100_000;
/// Teams, models and reasons that are printed of a class.
const PRINTED: usize = 5;

/// Which rules, and which decisions.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    #[arg(long, env = "ALFRED_CONFIG")]
    config: Option<PathBuf>,
    /// A folder of modules, and a data.json if there is one.
    #[arg(long, value_name = "DIR", group = "candidate")]
    dir: Option<PathBuf>,
    /// A bundle.
    #[arg(long, value_name = "FILE", group = "candidate")]
    bundle: Option<PathBuf>,
    /// A revision that is on record.
    #[arg(long, value_name = "pol_…", group = "candidate")]
    revision: Option<String>,
    /// Whose layer a folder or bundle takes the place of: house (beside the shipped rules, under the configuration's data), platform, org_… or
    /// team_….
    #[arg(long, default_value = "house", conflicts_with = "revision")]
    scope: Scope,
    /// Only the last so many decisions; all that are kept, unless it is given.
    #[arg(long)]
    last: Option<u64>,
    /// Only calls from this moment on (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "last")]
    since: Option<Timestamp>,
    /// Only this organisation's calls.
    #[arg(long)]
    org: Option<Id<Org>>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Replays, and prints what it finds; 0 if there is a report.
pub fn replay(arguments: ReplayArguments) -> ExitCode {
    let url = match commands::database_url(arguments.config.clone()) {
        Ok(url) => url,
        Err(code) => return code,
    };
    let (json, began) = (arguments.json, Instant::now());
    match serve::runtime().block_on(replayed(&url, arguments)) {
        Ok(report) if json => {
            println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(report) => {
            print!("{}", told(&report, began.elapsed().as_secs_f64()));
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

async fn replayed(url: &str, arguments: ReplayArguments) -> Result<Report, String> {
    let reader = Reader::open(url).await.map_err(|error| format!("{url}: {}", serve::chain(&error)))?;
    let sample = Sample { org: arguments.org, since: arguments.since, last: arguments.last };
    let decisions = reader.decisions();
    let live = rehearsal::in_force(decisions).await.map_err(|error| serve::chain(&error))?;
    let rulebook = Arc::new(candidate(&reader, &live, arguments).await?);
    let mut next = TOLD;
    let report = rehearsal::replay(decisions, rulebook, sample, |read| {
        if read >= next {
            eprintln!("{read} decisions read");
            next = read + TOLD;
        }
    });
    let report = report.await.map_err(|error| serve::chain(&error));
    reader.close().await;
    report
}

async fn candidate(reader: &Reader, live: &Rulebook, arguments: ReplayArguments) -> Result<Rulebook, String> {
    let ReplayArguments { config, dir, bundle, revision, scope, .. } = arguments;
    if let Some(revision) = revision {
        let candidate = rehearsal::candidate(reader.decisions(), live, &revision).await;
        return candidate.map_err(|error| serve::chain(&error));
    }
    let mut pack = match (dir, bundle) {
        (Some(dir), _) => Pack::of_dir(&dir, &PackLimits::default()).map_err(|faults| listed(&faults))?,
        (None, Some(file)) => {
            let bytes = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            Pack::read(&bytes, &PackLimits::default()).map_err(|faults| listed(&faults))?
        }
        (None, None) => return Err("name a candidate: --dir, --bundle or --revision".to_owned()),
    };
    if scope == Scope::House {
        pack.data = over(configured(config.as_deref())?, pack.data);
    }
    let set = rehearsal::layer(scope.clone(), pack).await.map_err(|error| serve::chain(&error))?;
    Ok(live.with(scope, Some(set)))
}

/// The data that the configuration gives the house's rules.
fn configured(file: Option<&Path>) -> Result<Value, String> {
    let loaded = config::load(file, &commands::environment()).map_err(|fault| fault.to_string())?;
    Ok(serde_json::json!({ "alfred": loaded.config.policies.data }))
}

/// One document with another's members over it.
fn over(mut below: Value, above: Value) -> Value {
    match (&mut below, above) {
        (Value::Object(members), Value::Object(above)) => {
            for (name, value) in above {
                let under = members.remove(&name).unwrap_or(Value::Null);
                members.insert(name, over(under, value));
            }
            below
        }
        (_, above) => above,
    }
}

fn listed(faults: &[policies::Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn told(report: &Report, seconds: f64) -> String {
    let mut text = String::new();
    let money = &report.money;
    let _ = writeln!(
        text,
        "{} decisions read, {} asked again in {seconds:.1} s ({} without facts, {} unreadable, {} with masked claims)",
        report.decisions, report.replayed, report.without_facts, report.unreadable, report.with_masked_claims
    );
    for (name, class) in [
        ("newly denied", &report.newly_denied),
        ("newly allowed", &report.newly_allowed),
        ("rerouted", &report.rerouted),
        ("other duties", &report.duties_changed),
        ("faults", &report.faults),
    ] {
        one(&mut text, name, class);
    }
    let _ = writeln!(text, "saved by refusals:           {} USD", money.saved_by_refusals_usd);
    let _ = writeln!(text, "cost of allowed, estimated:  {} USD", money.estimated_cost_of_allowed_usd);
    let _ = writeln!(text, "by rerouting, estimated:     {} USD", money.estimated_rerouting_delta_usd);
    let _ = writeln!(text, "in all, estimated:           {} USD (less than 0: saved)", money.estimated_delta_usd);
    if money.calls_without_price > 0 {
        let _ = writeln!(text, "not in these sums:           {} calls without a price", money.calls_without_price);
    }
    text
}

fn one(text: &mut String, name: &str, class: &Class) {
    let _ = writeln!(text, "{name}: {} calls, {} USD", class.calls, class.charge_delta_usd);
    let mut reasons: Vec<(&String, &u64)> = class.reasons.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (reason, calls) in reasons.into_iter().take(PRINTED) {
        let _ = writeln!(text, "    {calls} times: {reason}");
    }
    for (kind, shares) in [("team", &class.by_team), ("model", &class.by_model)] {
        let mut shares: Vec<_> = shares.iter().collect();
        shares.sort_by(|a, b| b.1.calls.cmp(&a.1.calls).then(a.0.cmp(b.0)));
        for (key, share) in shares.into_iter().take(PRINTED) {
            let _ = writeln!(text, "    {kind} {key}: {} calls, {} USD", share.calls, share.charge_delta_usd);
        }
    }
    if let Some(example) = class.examples.first() {
        let _ = writeln!(text, "    such as {example}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_candidates_data_lies_over_the_configurations() {
        for (below, above, whole) in [
            (json!({"alfred": {"a": 1}}), json!({}), json!({"alfred": {"a": 1}})),
            (
                json!({"alfred": {"a": 1, "b": {"c": 1}}}),
                json!({"alfred": {"b": {"d": 2}}, "mine": 3}),
                json!({"alfred": {"a": 1, "b": {"c": 1, "d": 2}}, "mine": 3}),
            ),
            (json!({"alfred": {"a": [1]}}), json!({"alfred": {"a": [2]}}), json!({"alfred": {"a": [2]}})),
        ] {
            assert_eq!(over(below, above), whole);
        }
    }

    #[test]
    fn a_report_is_told_in_lines() {
        let class = Class {
            calls: 2,
            charge_delta_usd: "-0.5".into(),
            reasons: [("big is frozen".to_owned(), 2)].into(),
            examples: vec!["dec_1".into()],
            ..Class::default()
        };
        let report = Report { decisions: 7, newly_denied: class, ..Report::default() };
        let text = told(&report, 0.25);
        for line in ["7 decisions read", "newly denied: 2 calls, -0.5 USD", "2 times: big is frozen", "such as dec_1"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn without_a_database_it_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/none.db", folder.path().display());
        let arguments = ReplayArguments {
            config: None,
            dir: None,
            bundle: None,
            revision: Some("pol_1".into()),
            scope: Scope::House,
            last: None,
            since: None,
            org: None,
            json: false,
        };
        let complaint = serve::runtime().block_on(replayed(&url, arguments)).expect_err("there is none");
        assert!(complaint.contains("none.db"), "{complaint}");
    }
}
