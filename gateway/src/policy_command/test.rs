//! `alfred policy test`: the rules' own tests, and which lines they come to.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use policies::TestPlan;

use super::{Failed, load, report};

/// What is run, and how it is told.
#[derive(Args)]
pub struct TestArguments {
    /// A folder of modules, or a bundle, beside the shipped rules.
    pub from: Option<PathBuf>,
    /// A JSON or YAML file that the rules read as `data.alfred`.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// How the outcome is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Tell which lines no test comes to.
    #[arg(long)]
    pub coverage: bool,
    /// Fail below this share of lines, in percent, of the modules that are not shipped; brings --coverage along.
    #[arg(long)]
    pub threshold: Option<f64>,
    /// Only tests whose name matches this regular expression.
    #[arg(long)]
    pub run: Option<String>,
}

/// How the outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One document.
    Json,
    /// What continuous integration reads.
    Junit,
}

pub(super) fn run(arguments: &TestArguments) -> Result<ExitCode, Failed> {
    let told = outcome(arguments)?;
    print!("{}", told.text);
    Ok(if told.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Told {
    text: String,
    passed: bool,
}

fn outcome(arguments: &TestArguments) -> Result<Told, Failed> {
    let with_coverage = arguments.coverage || arguments.threshold.is_some();
    let plan = TestPlan::new(arguments.run.as_deref(), with_coverage);
    let plan = plan.map_err(|error| Failed::to_look(format!("--run: {error}")))?;
    let loaded = load(arguments.from.as_deref(), arguments.data.as_deref())?;
    let mut report = policies::test_by(&loaded.sources, loaded.data, &plan)?;
    if arguments.from.is_some() {
        // Nobody's task is to test what is shipped but ours.
        report.coverage.retain(|file| !loaded.shipped.iter().any(|it| it.path == file.path));
    }
    if report.results.is_empty() {
        let which = arguments.run.as_ref().map(|run| format!(" matches {run:?}")).unwrap_or_default();
        return Err(Failed { message: format!("no test{which}"), code: 1 });
    }
    let share = report::share(&report.coverage);
    let enough = arguments.threshold.is_none_or(|threshold| share >= threshold);
    let mut text = match arguments.format {
        Format::Text => report::text(&report, with_coverage),
        Format::Json => report::json(&report, with_coverage),
        Format::Junit => report::junit(&report),
    };
    if let Some(threshold) = arguments.threshold.filter(|_| !enough && arguments.format == Format::Text) {
        text.push_str(&format!("{share:.1} % of the lines are covered, less than {threshold} %\n"));
    }
    Ok(Told { text, passed: report.passed() && enough })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "package alfred.rules.house

import rego.v1

deny contains {\"code\": \"policy_denied\", \"message\": \"no images\"} if {
	input.request.images
	not spared
}

spared if input.caller.team == \"ads\"
";

    fn folder(test: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("house.rego"), RULE).unwrap();
        let test =
            format!("package alfred.rules.house_test\n\nimport rego.v1\nimport data.alfred.rules.house\n\n{test}\n");
        std::fs::write(dir.path().join("house_test.rego"), test).unwrap();
        dir
    }

    const MATCH: &str = "test_images if count(house.deny) == 1 with input as {\"request\": {\"images\": true}}";
    const MISS: &str = "test_words if count(house.deny) == 0 with input as {\"request\": {\"images\": false}}";

    fn told(dir: &tempfile::TempDir, change: impl Fn(&mut TestArguments)) -> Result<Told, String> {
        let mut arguments = TestArguments {
            from: Some(dir.path().to_owned()),
            data: None,
            format: Format::Text,
            coverage: false,
            threshold: None,
            run: Some("house_test".into()),
        };
        change(&mut arguments);
        outcome(&arguments).map_err(|failed| failed.message)
    }

    #[test]
    fn tests_pass_fail_and_are_chosen_by_name() {
        let dir = folder(&format!("{MATCH}\n\n{MISS}"));
        let all = told(&dir, |_| {}).unwrap();
        assert_eq!(
            (all.text.as_str(), all.passed),
            (
                "pass data.alfred.rules.house_test.test_images\npass data.alfred.rules.house_test.test_words\n2 passed, 0 failed\n",
                true
            )
        );
        let one = told(&dir, |it| it.run = Some("words$".into())).unwrap();
        assert_eq!(one.text.lines().count(), 2);
        assert_eq!(
            told(&dir, |it| it.run = Some("no_such_test".into())).err().unwrap(),
            "no test matches \"no_such_test\""
        );
        assert!(told(&dir, |it| it.run = Some("(".into())).err().unwrap().starts_with("--run: "));
        assert!(told(&dir, |it| it.run = None).unwrap().text.contains("pass data.alfred.rules.models_test."));

        let failing = told(&folder("test_wrong if 1 == 2"), |_| {}).unwrap();
        assert!(!failing.passed);
        assert!(
            failing.text.starts_with("FAIL data.alfred.rules.house_test.test_wrong: is undefined"),
            "{}",
            failing.text
        );
    }

    #[test]
    fn lines_that_no_test_comes_to_are_told_and_may_fail_the_run() {
        let half = folder(MISS);
        let told_of = told(&half, |it| it.coverage = true).unwrap();
        assert!(
            // The interpreter evaluates all of a package that is imported, and so line 10 too.
            told_of.text.contains("house.rego: 50.0 % (2 of 4 lines), not covered: 5, 7\n"),
            "{}",
            told_of.text
        );
        assert!(told_of.passed);
        let below = told(&half, |it| it.threshold = Some(90.0)).unwrap();
        assert!(
            below.text.ends_with("50.0 % of the lines are covered, less than 90 %\n") && !below.passed,
            "{}",
            below.text
        );
        let whole = told(&folder(MATCH), |it| it.threshold = Some(100.0)).unwrap();
        assert!(whole.passed, "{}", whole.text);
        assert!(whole.text.contains("house.rego: 100.0 % (4 of 4 lines)\n"), "{}", whole.text);
        // A module that no test touches at all counts, too.
        std::fs::write(half.path().join("other.rego"), RULE.replace("rules.house", "rules.other")).unwrap();
        let other = told(&half, |it| it.coverage = true).unwrap();
        assert!(other.text.contains("other.rego: 0.0 % (0 of 4 lines), not covered: 5-7, 10\n"), "{}", other.text);
    }

    #[test]
    fn machines_read_it_too() {
        let dir = folder(&format!("{MATCH}\n\ntest_wrong if \"<&>\" == \"x\""));
        let json = told(&dir, |it| (it.format, it.coverage) = (Format::Json, true)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json.text).unwrap();
        assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
        assert_eq!(json["tests"][0]["name"], "data.alfred.rules.house_test.test_images");
        assert_eq!(json["tests"][1]["passed"], false);
        assert_eq!(json["coverage"]["percent"], 100.0);
        assert_eq!(json["coverage"]["files"][0]["not_covered"], serde_json::json!([]));
        let junit = told(&dir, |it| it.format = Format::Junit).unwrap().text;
        assert!(
            junit.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"2\" failures=\"1\""),
            "{junit}"
        );
        assert!(junit.contains("<testcase classname=\"alfred.rules.house_test\" name=\"test_images\""), "{junit}");
        assert!(junit.contains("<failure message=\"is undefined"), "{junit}");
    }

    #[test]
    fn a_bundle_is_tested_like_its_folder_and_faults_show_the_line() {
        let dir = folder(MATCH);
        let pack = policies::Pack::of_dir(dir.path(), &policies::PackLimits::default()).unwrap();
        let file = dir.path().join("house.tar.gz");
        std::fs::write(&file, pack.write()).unwrap();
        assert!(told(&dir, |it| it.from = Some(file.clone())).unwrap().passed);
        std::fs::write(dir.path().join("house.rego"), "package alfred.rules.house\n\ndeny := := 1\n").unwrap();
        let faults = told(&dir, |_| {}).err().unwrap();
        assert!(faults.contains("house.rego:3:9: expecting expression\n3 | deny := := 1\n"), "{faults}");
        assert!(told(&dir, |it| it.from = Some(dir.path().join("none"))).err().unwrap().starts_with("cannot read"));
    }
}
