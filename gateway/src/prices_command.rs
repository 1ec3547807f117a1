//! `alfred prices import`: the community's price list into the database, without a server.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ledger::prices::{Import, Imported};
use ledger::{Actor, Id, Ledger, Org, StoreError, Timestamp};

use crate::{commands, serve};

/// Skipped models that are named for a reason; of the others only the number is told.
const EXAMPLES: usize = 3;

/// How to take a price list over.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// A file in the layout of `model_prices_and_context_window.json`, or - for standard input.
    file: PathBuf,
    #[arg(long, env = "ALFRED_CONFIG")]
    config: Option<PathBuf>,
    /// For this organisation alone (`org_…`); for all unless given.
    #[arg(long)]
    org: Option<Id<Org>>,
    /// A provider of the file that is known here under another name, as perplexity=pplx; any number of times.
    #[arg(long = "provider", value_name = "THEIRS=OURS", value_parser = pair)]
    providers: Vec<(String, String)>,
    /// From when the prices hold (RFC 3339); now unless given.
    #[arg(long, value_name = "TIME")]
    effective_from: Option<Timestamp>,
    /// Take a price of 0 for one. The list says 0 where nobody knows, so such models are left out unless this is given.
    #[arg(long)]
    free: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => Ok((theirs.to_owned(), ours.to_owned())),
        _ => Err("must be two names, such as perplexity=pplx".to_owned()),
    }
}

/// Takes a price list over; 0 if what could be taken was.
pub fn import(arguments: ImportArguments) -> ExitCode {
    let ImportArguments { file, config, org, providers, effective_from, free, dry_run } = arguments;
    let text = match read(&file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read {}: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    let url = match commands::database_url(config) {
        Ok(url) => url,
        Err(code) => return code,
    };
    let how = Import { org, providers: BTreeMap::from_iter(providers), effective_from, free, dry_run };
    match serve::runtime().block_on(take_over(&url, &text, &how)) {
        Ok(done) => {
            tell(&done, dry_run);
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

async fn take_over(url: &str, text: &str, how: &Import) -> Result<Imported, String> {
    let ledger = Ledger::open(ledger::Options::new(url)).await.map_err(|error| match error {
        StoreError::InUse { .. } => format!(
            "{error}. A server runs on this database: stop it, or send the file to it with POST /admin/v1/prices/import"
        ),
        error => serve::chain(&error),
    })?;
    let done = ledger.prices().import(text, how, &Actor::System).await;
    ledger.close().await;
    done.map_err(|error| serve::chain(&error))
}

fn read(file: &Path) -> std::io::Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map(|_| text)
}

fn tell(done: &Imported, dry_run: bool) {
    for price in &done.imported {
        println!("{} {}", price.id, price.target);
        price.notes.iter().for_each(|note| println!("    {note}"));
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for skipped in &done.skipped {
        reasons.entry(&skipped.reason).or_default().push(&skipped.name);
    }
    for (reason, names) in reasons {
        let more = names.len().saturating_sub(EXAMPLES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        println!("skipped, {reason}: {}{more}", names[..names.len().min(EXAMPLES)].join(", "));
    }
    let done_or_not = if dry_run { "would be imported" } else { "imported" };
    let (imported, unchanged, skipped) = (done.imported.len(), done.unchanged, done.skipped.len());
    println!("ok: {imported} {done_or_not}, {unchanged} unchanged, {skipped} skipped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_over_once_and_a_running_server_is_not_passed_by() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/alfred.db", folder.path().display());
        let model = r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}}"#;
        let runtime = serve::runtime();
        for (imported, unchanged) in [(1, 0), (0, 1)] {
            let done = runtime.block_on(take_over(&url, model, &Import::default())).expect("an import");
            assert_eq!((done.imported.len(), done.unchanged), (imported, unchanged));
        }
        let server = runtime.block_on(Ledger::open(ledger::Options::new(url.as_str()))).expect("a server");
        let complaint = runtime.block_on(take_over(&url, model, &Import::default())).expect_err("it runs");
        assert!(complaint.contains("/admin/v1/prices/import"), "{complaint}");
        let trail = runtime.block_on(server.prices().list(None, None, &ledger::Page::first(10))).expect("a list");
        assert_eq!(trail.len(), 1);
        runtime.block_on(server.close());
        let complaint = runtime.block_on(take_over(&url, "[]", &Import::default())).expect_err("no list");
        assert!(complaint.contains("layout of model_prices_and_context_window.json"), "{complaint}");
    }
}
