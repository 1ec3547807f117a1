//! Rego sources, the faults found in them, and the bounds they are held to.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::rulebook::Scope;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Fault {
    /// The source's path, or `data.alfred.…`.
    pub path: String,
    /// The line, where there is one.
    pub line: Option<u32>,
    /// The column, from 1, where there is one.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// How it may be written instead.
    pub help: Option<String>,
    /// The line of the policy at fault. Never what a call brought.
    pub excerpt: Option<String>,
}

/// A fault of a whole file.
pub(crate) fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_owned(), message: message.into(), ..Fault::default() }
}

/// A line that is quoted is quoted so far.
const LONGEST_EXCERPT: usize = 160;
const TAB: u32 = 4;

impl Fault {
    /// The fault with its column.
    pub(crate) fn at(mut self, column: u32) -> Fault {
        self.column = Some(column);
        self
    }

    /// The fault with the way to write it instead.
    pub(crate) fn helped(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// The fault with the line of the source that it names.
    pub(crate) fn quoting(mut self, sources: &[Source]) -> Fault {
        if self.excerpt.is_some() {
            return self;
        }
        let source = sources.iter().find(|source| source.path == self.path);
        let line = self.line.and_then(|line| source?.text.lines().nth((line as usize).checked_sub(1)?));
        self.excerpt = line.map(|line| line.trim_end().chars().take(LONGEST_EXCERPT).collect());
        // The parser counts a tab as four; an editor, and everybody else, as one.
        self.column = self.column.zip(line).map(|(column, line)| {
            let mut at = 1;
            let before = line.chars().take_while(|letter| {
                let here = at < column;
                at += if *letter == '\t' { TAB } else { 1 };
                here
            });
            before.count() as u32 + 1
        });
        self
    }

    /// The fault for people: its place, the line, a mark below the column, and the way to write it instead.
    pub fn shown(&self) -> String {
        let mut text = self.to_string();
        if let (Some(excerpt), Some(line)) = (&self.excerpt, self.line) {
            let margin = " ".repeat(line.to_string().len());
            text.push_str(&format!("\n{line} | {excerpt}"));
            if let Some(column) = self.column.map(|column| (column as usize).saturating_sub(1)) {
                // Tabs stay tabs, so that the mark stands where the eye looks.
                let before = excerpt.chars().take(column).map(|letter| if letter == '\t' { '\t' } else { ' ' });
                text.push_str(&format!("\n{margin} | {}^", before.collect::<String>()));
            }
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("\n  help: {help}"));
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{}:{line}:{column}: {}", self.path, self.message),
            (Some(line), None) => write!(f, "{}:{line}: {}", self.path, self.message),
            (None, _) => write!(f, "{}: {}", self.path, self.message),
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
    let mut shipped = shipped();
    if *scope != Scope::House {
        let is_base = |path: &str| BASE.iter().any(|name| shipped_name(path) == Some(name));
        shipped.retain(|source| !source.is_test() && !is_base(&source.path));
    }
    shipped
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
        let unread = |error: std::io::Error| fault(&folder.display().to_string(), format!("cannot be read: {error}"));
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                faults.push(unread(error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry.and_then(|entry| entry.file_type().map(|kind| (entry.path(), kind))) {
                Ok(entry) => entry,
                Err(error) => {
                    faults.push(unread(error));
                    continue;
                }
            };
            match entry {
                (path, _) if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) => {}
                (path, kind) if kind.is_dir() => folders.push(path),
                (path, _) if path.extension().is_some_and(|extension| extension == "rego") => {
                    match std::fs::read_to_string(&path) {
                        Ok(text) => sources.push(Source::new(path.display().to_string(), text)),
                        Err(error) => {
                            faults.push(fault(&path.display().to_string(), format!("cannot be read: {error}")));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}
