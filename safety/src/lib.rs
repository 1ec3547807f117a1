//! Finds and redacts what must not pass: personal data and credentials in the text of a prompt.
//! Pure and synchronous: text in, places out. Nothing here keeps, logs or returns the matched text.
//!
//! A detector names what it can check (a sum, a length, a form, a word beside it) and leaves the rest alone, for a
//! false finding corrupts a prompt. Not seen: digits of other scripts, text hidden by zero-width characters or in
//! encodings, passwords without a form, names and street addresses.

mod detectors;
mod kind;
mod overlap;
mod redact;
mod scan;
mod text;

use std::ops::Range;

pub use kind::{Action, Actions, Kind, UnknownAction, UnknownKind};
pub use redact::{Applied, apply, placeholder};
pub use scan::Scanner;

/// Where something was found and what it seems to be; never the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Which rule saw it, as in `aws_access_key`.
    pub detector: &'static str,
    /// Where it stands, in bytes, on character boundaries.
    pub range: Range<usize>,
}
