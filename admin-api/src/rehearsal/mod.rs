//! Recorded decisions under other rules: which rules those were or would be, from the ledger alone, and the replay itself. Used by the
//! admin API and by `alfred policy replay`.

mod replay;
mod rulebooks;

pub use replay::{Sample, Unreplayed, replay};
pub use rulebooks::{Unmade, as_then, candidate, in_force, layer};

use std::collections::HashMap;

use ledger::{Decisions, StoreError};
use policies::{Decision, Facts, FactsFrame};
use serde::Deserialize;

/// What many decisions share of their result, as it was kept.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Outcome {
    /// What was decided of each question.
    pub decisions: Vec<Decision>,
    /// Which layers decided: scope and short revision; empty where that is not known.
    #[serde(default)]
    pub layers: Vec<(String, String)>,
}

/// The questions of one decision: a frame's hash and what varies.
pub type Parts = Vec<(String, String)>;

/// Reads what refers to frames.
pub(crate) fn parts(facts: &str) -> Option<Parts> {
    serde_json::from_str(facts).ok()
}

/// The questions of one decision, whole.
pub(crate) async fn questions(decisions: Decisions<'_>, facts: &str) -> Result<Option<Vec<Facts>>, StoreError> {
    let Some(parts) = parts(facts) else { return Ok(None) };
    let hashes: Vec<&str> = parts.iter().map(|(hash, _)| hash.as_str()).collect();
    let frames: HashMap<String, String> = decisions.frames(&hashes).await?;
    let question = |(hash, rest): &(String, String)| FactsFrame::read(frames.get(hash)?).ok()?.with(rest).ok();
    Ok(parts.iter().map(question).collect())
}

/// What was decided, and by whom.
pub(crate) async fn outcome(decisions: Decisions<'_>, hash: Option<&str>) -> Result<Option<Outcome>, StoreError> {
    let Some(hash) = hash else { return Ok(None) };
    let mut frames = decisions.frames(&[hash]).await?;
    Ok(frames.remove(hash).and_then(|body| serde_json::from_str(&body).ok()))
}
