//! `alfred policy check`: everything that can be told of rules before a call meets them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use policies::lint::{self, Findings};
use policies::{Fault, Limits};

use super::{Failed, load};

/// What is looked at.
#[derive(Args)]
pub struct CheckArguments {
    /// A folder of modules, or a bundle, beside the shipped rules.
    pub from: Option<PathBuf>,
    /// A JSON or YAML file that the rules read as `data.alfred`.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Fail on warnings, too.
    #[arg(long)]
    pub strict: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failed> {
    let found = findings(arguments)?;
    for fault in &found.faults {
        println!("fault: {}", fault.shown());
    }
    for warning in &found.warnings {
        println!("warning: {}", warning.shown());
    }
    let many = |list: &[Fault], what: &str| format!("{} {what}{}", list.len(), if list.len() == 1 { "" } else { "s" });
    println!("{}, {}", many(&found.faults, "fault"), many(&found.warnings, "warning"));
    let passed = found.faults.is_empty() && (found.warnings.is_empty() || !arguments.strict);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings(arguments: &CheckArguments) -> Result<Findings, Failed> {
    let loaded = load(arguments.from.as_deref(), arguments.data.as_deref())?;
    Ok(lint::check(&loaded.sources, &loaded.data, patient(), &loaded.shipped))
}

/// People wait longer than calls do.
pub(super) fn patient() -> Limits {
    Limits { time: std::time::Duration::from_secs(2), ..Limits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_checked_with_its_data() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let rule = |fact: &str| {
            format!(
                "package alfred.rules.house\n\nimport rego.v1\n\nmax_output_tokens contains data.acme.cap if {fact}\n"
            )
        };
        let check = |data: Option<PathBuf>| {
            findings(&CheckArguments { from: Some(dir.path().to_owned()), data, strict: false })
                .map_err(|it| it.message)
        };
        put(
            "house.rego",
            &rule("input.request.images")
                .replace("data.acme.cap", "cap")
                .replace("if ", "if {\n\tcap := data.acme.cap\n\t")
                .replace("images\n", "images\n}\n"),
        );
        let found = check(None).unwrap();
        assert_eq!(found.faults, []);
        assert!(
            found.warnings.iter().any(|it| it.message.starts_with("there is nothing at data.acme.cap")),
            "{found:?}"
        );
        put("data.json", r#"{"acme": {"cap": 100}}"#);
        let found = check(None).unwrap();
        assert_eq!(found.warnings.len(), 1, "{found:?}");
        assert!(found.warnings[0].message.starts_with("no test reads package"));
        put("settings.yaml", "cpas: {}");
        let found = check(Some(dir.path().join("settings.yaml"))).unwrap();
        assert_eq!(found.faults[0].path, "data.alfred.cpas");
        put("data.json", r#"{"acme": "#);
        assert!(check(None).unwrap_err().starts_with("data.json: is not JSON"));
        put("data.json", "{}");
        put("house.rego", &rule("input.request.imagse"));
        let found = check(None).unwrap();
        assert!(!found.faults.is_empty());
        assert!(check(Some(dir.path().join("none.yaml"))).unwrap_err().starts_with("cannot read"));
    }
}
