//! What is in a request: every text part is searched; what was found is known by kind and place, never by its text.

use std::collections::BTreeMap;

use providers::ModelRequest;
use safety::{Finding, Scanner};

use crate::parse::on_this_thread_if_small;

/// What was found in one text part.
pub struct PartFindings {
    /// Index into `ModelRequest::texts()`.
    pub part: usize,
    pub findings: Vec<Finding>,
}

/// What was found in a request.
#[derive(Default)]
pub struct Found {
    pub parts: Vec<PartFindings>,
    /// How many of each kind.
    pub counts: BTreeMap<String, u64>,
}

/// Searches every text of the request.
pub fn scan(scanner: &Scanner, request: &ModelRequest) -> Found {
    let mut found = Found::default();
    on_this_thread_if_small(request.body().len(), || {
        for (part, text) in request.texts().iter().enumerate() {
            let findings = scanner.find(&text.text);
            for finding in &findings {
                *found.counts.entry(finding.kind.as_str().to_owned()).or_default() += 1;
            }
            if !findings.is_empty() {
                found.parts.push(PartFindings { part, findings });
            }
        }
    });
    found
}
