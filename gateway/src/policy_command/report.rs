//! What became of tests, for people, for programs and for continuous integration.

use std::collections::BTreeSet;

use policies::{Coverage, TestReport};
use serde_json::{Value, json};

/// The share of lines that some test comes to, in percent; all of them where there are none.
pub(super) fn share(files: &[Coverage]) -> f64 {
    let covered: usize = files.iter().map(|file| file.covered.len()).sum();
    let missed: usize = files.iter().map(|file| file.missed.len()).sum();
    if covered + missed == 0 { 100.0 } else { 100.0 * covered as f64 / (covered + missed) as f64 }
}

pub(super) fn text(report: &TestReport, with_coverage: bool) -> String {
    let mut text = String::new();
    for test in &report.results {
        match &test.failure {
            None => text.push_str(&format!("pass {}\n", test.name)),
            Some(why) => text.push_str(&format!("FAIL {}: {why}\n", test.name)),
        }
    }
    let failed = report.failures().count();
    text.push_str(&format!("{} passed, {failed} failed\n", report.results.len() - failed));
    for file in report.coverage.iter().filter(|_| with_coverage) {
        let (covered, missed) = (file.covered.len(), file.missed.len());
        let share = share(std::slice::from_ref(file));
        text.push_str(&format!("{}: {share:.1} % ({covered} of {} lines)", file.path, covered + missed));
        match missed {
            0 => text.push('\n'),
            _ => text.push_str(&format!(", not covered: {}\n", ranges(&file.missed))),
        }
    }
    text
}

/// `5-7, 10`
fn ranges(lines: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let range = |(from, to): (u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(", ")
}

pub(super) fn json(report: &TestReport, with_coverage: bool) -> String {
    let failed = report.failures().count();
    let tests: Vec<Value> = report
        .results
        .iter()
        .map(|test| {
            json!({
                "name": test.name,
                "passed": test.failure.is_none(),
                "failure": test.failure,
                "took_us": u64::try_from(test.took.as_micros()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    let mut said = json!({"passed": report.results.len() - failed, "failed": failed, "tests": tests});
    if with_coverage {
        let files: Vec<Value> = report
            .coverage
            .iter()
            .map(|file| {
                let share = share(std::slice::from_ref(file));
                json!({"path": file.path, "percent": share, "covered": file.covered, "not_covered": file.missed})
            })
            .collect();
        said["coverage"] = json!({"percent": share(&report.coverage), "files": files});
    }
    format!("{said:#}\n")
}

pub(super) fn junit(report: &TestReport) -> String {
    let failed = report.failures().count();
    let took: f64 = report.results.iter().map(|test| test.took.as_secs_f64()).sum();
    let counts = format!("tests=\"{}\" failures=\"{failed}\" time=\"{took:.6}\"", report.results.len());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"alfred policy test\" {counts}>\n"
    );
    for test in &report.results {
        let path = test.name.strip_prefix("data.").unwrap_or(&test.name);
        let (package, name) = path.rsplit_once('.').unwrap_or(("", path));
        let took = test.took.as_secs_f64();
        text.push_str(&format!(
            "<testcase classname=\"{}\" name=\"{}\" time=\"{took:.6}\"",
            escaped(package),
            escaped(name)
        ));
        match &test.failure {
            None => text.push_str("/>\n"),
            Some(why) => text.push_str(&format!("><failure message=\"{}\"/></testcase>\n", escaped(why))),
        }
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            letter if letter.is_control() => {} // XML cannot say it
            letter => escaped.push(letter),
        }
    }
    escaped
}
