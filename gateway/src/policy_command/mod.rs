//! `alfred policy …`: what an author of rules does before anybody's call meets them.

mod bundle;
mod check;
mod eval;
mod replay;
mod report;
mod test;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use policies::{Fault, Pack, PackLimits, Source};
use serde_json::{Value, json};

pub use bundle::BundleCommand;
pub use check::CheckArguments;
pub use eval::EvalArguments;
pub use replay::{ReplayArguments, replay};
pub use test::TestArguments;

/// Try policies.
#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Run the tests of the shipped rules and of a folder or bundle of your own.
    Test(TestArguments),
    /// Evaluate one input and print the decision.
    Eval(EvalArguments),
    /// Compile rules, hold what they ask for against the facts that there are, and tell what is probably not meant.
    Check(CheckArguments),
    /// Make, sign and verify bundles.
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Ask other rules about calls that were recorded: who would be refused, and what that would have saved or cost.
    Replay(ReplayArguments),
}

/// Runs one of them.
pub fn run(command: PolicyCommand) -> ExitCode {
    let done = match command {
        PolicyCommand::Test(arguments) => test::run(&arguments),
        PolicyCommand::Eval(arguments) => eval::run(&arguments),
        PolicyCommand::Check(arguments) => check::run(&arguments),
        PolicyCommand::Bundle(command) => bundle::run(&command),
        PolicyCommand::Replay(arguments) => return replay(arguments),
    };
    done.unwrap_or_else(|failed| {
        eprintln!("{}", failed.message);
        ExitCode::from(failed.code)
    })
}

/// Why a command came to nothing: 1 where the rules are at fault, 2 where it could not even look.
struct Failed {
    message: String,
    code: u8,
}

impl Failed {
    fn to_look(message: impl Into<String>) -> Failed {
        Failed { message: message.into(), code: 2 }
    }
}

impl From<Vec<Fault>> for Failed {
    fn from(faults: Vec<Fault>) -> Failed {
        let shown: Vec<String> = faults.iter().map(Fault::shown).collect();
        let many = if faults.len() == 1 { "" } else { "s" };
        Failed { message: format!("{}\n{} fault{many}", shown.join("\n"), faults.len()), code: 1 }
    }
}

/// The shipped rules and those of a folder or a bundle, with all of `data`.
struct Loaded {
    sources: Vec<Source>,
    shipped: Vec<Source>,
    data: Value,
}

/// Reads a folder or a bundle, if there is one, and a file of settings for `data.alfred`, which come before its own.
fn load(from: Option<&Path>, settings: Option<&Path>) -> Result<Loaded, Failed> {
    let shipped = policies::shipped();
    let mut sources = shipped.clone();
    let mut data = json!({});
    if let Some(from) = from {
        let pack = pack(from)?;
        sources.extend(pack.modules);
        data = pack.data;
    }
    if let Some(settings) = settings {
        let Value::Object(settings) = file(settings)? else {
            return Err(Failed::to_look(format!("{}: must hold an object", settings.display())));
        };
        match data["alfred"].as_object_mut() {
            Some(alfred) => alfred.extend(settings),
            None => data["alfred"] = settings.into(),
        }
    }
    Ok(Loaded { sources, shipped, data })
}

/// A folder or a bundle. Modules of a folder are named by their place on the disk.
fn pack(from: &Path) -> Result<Pack, Failed> {
    if from.is_dir() {
        let mut pack = Pack::of_dir(from, &PackLimits::default())?;
        for module in &mut pack.modules {
            module.path = from.join(&module.path).display().to_string();
        }
        return Ok(pack);
    }
    Ok(Pack::read(&bytes(from)?, &PackLimits::default())?)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(|error| Failed::to_look(format!("cannot read {}: {error}", path.display())))
}

/// A JSON or YAML file, or standard input.
fn file(path: &Path) -> Result<Value, Failed> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(path).map(|content| text = content),
    };
    read.map_err(|error| Failed::to_look(format!("cannot read {}: {error}", path.display())))?;
    serde_yaml_ng::from_str(&text).map_err(|error| Failed::to_look(format!("{}: {error}", path.display())))
}

/// Writes a file beside its place and moves it there, so that a reader never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|error| Failed::to_look(format!("cannot write {}: {error}", path.display())))
}
