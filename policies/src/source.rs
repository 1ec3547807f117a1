//! Rego sources, the faults found in them, and the bounds they are held to.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::Scope;

/// One Rego module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How faults name it; unique within a set. A name ending in `_test.rego` holds tests: checked, never in force.
    pub path: String,
    /// The module.
    pub text: String,
}

impl Source {
    /// A module and its name.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("_test.rego")
    }
}

/// Why a set of sources and data was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Fault {
    /// The source's path, or `data.alfred.…`.
    pub path: String,
    /// The line, where there is one.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// What a set may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest that one evaluation may run; one that is late is tried once more, four times as long.
    pub time: Duration,
    /// The most modules.
    pub sources: usize,
    /// The most bytes of one module.
    pub source_bytes: usize,
    /// The most bytes of data, as JSON.
    pub data_bytes: usize,
    /// The most warmed engines kept for the next call.
    pub engines: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time: Duration::from_millis(50),
            sources: 256,
            source_bytes: 256 * 1024,
            data_bytes: 4 * 1024 * 1024,
            engines: 64,
        }
    }
}

macro_rules! rules {
    ($($name:literal),+ $(,)?) => {
        [$(
            (concat!("alfred/", $name, ".rego"), include_str!(concat!("../rego/", $name, "/", $name, ".rego"))),
            (concat!("alfred/", $name, "_test.rego"), include_str!(concat!("../rego/", $name, "/", $name, "_test.rego"))),
        )+]
    };
}

/// The shipped rules; a new one is a folder in `rego/` and its name here.
const SHIPPED: [(&str, &str); 60] = rules![
    "approvals",
    "boundary",
    "budget_downgrade",
    "business_hours",
    "cache",
    "callers",
    "canary",
    "caps",
    "chargeback",
    "data_classes",
    "downgrade",
    "features",
    "freeze",
    "intents",
    "log_levels",
    "mcp",
    "minors",
    "models",
    "no_store",
    "patterns",
    "preference",
    "price_ceiling",
    "prompt_size",
    "residency",
    "routing",
    "safety",
    "secrets",
    "spend_tiers",
    "tools",
    "vendors",
];

/// The shipped rules that need no settings. They speak once, for the house.
pub(crate) const BASE: [&str; 3] = ["models", "routing", "safety"];

/// The rules that every installation starts with, and their tests.
pub fn shipped() -> Vec<Source> {
    SHIPPED.into_iter().map(|(path, text)| Source::new(path, text)).collect()
}

/// The shipped rules that a layer starts with: all of them for the house, and for others those that settings drive, so that a
/// layer may be settings alone.
pub fn shipped_for(scope: &Scope) -> Vec<Source> {
    let is_base = |path: &str| BASE.iter().any(|name| shipped_name(path) == Some(name));
    shipped().into_iter().filter(|source| *scope == Scope::House || !is_base(&source.path)).collect()
}

/// Whether a module is one of the shipped ones, to the letter.
pub(crate) fn is_shipped(source: &Source) -> bool {
    SHIPPED.iter().any(|(path, text)| source.path == *path && source.text == *text)
}

/// The package's last name, of a shipped module or its tests.
pub(crate) fn shipped_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix("alfred/")?.strip_suffix(".rego")?;
    Some(name.strip_suffix("_test").unwrap_or(name))
}

/// Every `.rego` file below a directory, in order of path. What is hidden is left out, and linked folders are not
/// followed.
pub fn read_dir(dir: &Path) -> Result<Vec<Source>, Vec<Fault>> {
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let fault = |error: std::io::Error| Fault {
            path: folder.display().to_string(),
            line: None,
            message: format!("cannot be read: {error}"),
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                faults.push(fault(error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry.and_then(|entry| entry.file_type().map(|kind| (entry.path(), kind))) {
                Ok(entry) => entry,
                Err(error) => {
                    faults.push(fault(error));
                    continue;
                }
            };
            match entry {
                (path, _) if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) => {}
                (path, kind) if kind.is_dir() => folders.push(path),
                (path, _) if path.extension().is_some_and(|extension| extension == "rego") => {
                    match std::fs::read_to_string(&path) {
                        Ok(text) => sources.push(Source::new(path.display().to_string(), text)),
                        Err(error) => faults.push(Fault {
                            path: path.display().to_string(),
                            line: None,
                            message: format!("cannot be read: {error}"),
                        }),
                    }
                }
                _ => {}
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}
