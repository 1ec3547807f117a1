//! A call's questions to the rules as a row of the decision log: what was asked, masked, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Call, Credential, Decision as DecisionKind, DecisionRow, Frame, Id, Timestamp};
use policies::replay::{Difference, Outcome, walk};
use policies::{Decision, Facts, Kept, LogLevel, Mask, Rulebook, without_words};
use serde::Serialize;

use super::shadow::{Shadow, result};
use crate::case::Judged;

/// What a call leaves for the log: moved out of it, so that it waits for nothing.
pub struct Noted {
    pub id: Id<DecisionKind>,
    pub call: Id<Call>,
    pub at: Timestamp,
    pub credential: Arc<Credential>,
    /// A name of ours.
    pub model: String,
    pub judged: Vec<Judged>,
}

/// The row, the frames that it refers to, and in what the shadow differs.
pub struct Written {
    pub row: DecisionRow,
    pub frames: Vec<Frame>,
    pub difference: Option<Difference>,
}

/// What many decisions share of their result.
#[derive(Serialize)]
struct Result<'a> {
    /// What was decided of each question.
    decisions: Vec<Decision>,
    /// The layers that decided, if they are known: scope and revision.
    layers: &'a [(String, String)],
}

/// The layers behind a revision, as long as it is the one in force.
pub fn layers(rules: &Rulebook, credential: &Credential, revision: &str) -> Vec<(String, String)> {
    let (org, team) = (credential.org.to_string(), credential.team.map(|id| id.to_string()));
    if rules.revision_for(&org, team.as_deref()) != revision {
        return Vec::new(); // other rules came meanwhile
    }
    let layers = rules.layers_for(&org, team.as_deref());
    layers.into_iter().map(|(scope, set)| (scope.to_string(), set.revision().to_owned())).collect()
}

impl Noted {
    /// Makes the row, and asks the shadow.
    pub fn written(
        self,
        mask: &dyn Mask,
        hash: &dyn Fn(&[u8]) -> [u8; 32],
        layers: &[(String, String)],
        shadow: Option<&Shadow>,
    ) -> Option<Written> {
        let Noted { id, call, at, credential, model, judged } = self;
        let took: Duration = judged.iter().map(|it| it.took).sum();
        // Where the database lies outside of the call's bound, less than its rules would have kept.
        let most = judged.iter().map(|it| it.log).min().unwrap_or_default();
        let (questions, decided): (Vec<Facts>, Vec<_>) = judged.into_iter().map(|it| (it.facts, it.decided)).unzip();
        let live = walk(&questions, |at| decided[at].decision.clone());
        let counts = match &live {
            Outcome::Goes { question, .. } => *question,
            Outcome::Denied(_) => decided.len().checked_sub(1)?,
        };
        let (last, asked) = (decided.get(counts)?, questions.get(counts)?);
        let (word, difference) = match shadow.map(|shadow| shadow.word(&questions, &live)) {
            Some((word, difference)) => (Some(word), difference),
            None => (None, None),
        };
        let (level, observed) = match &live {
            Outcome::Goes { duties, .. } => (duties.log.min(most), duties.observed.len()),
            Outcome::Denied(_) => (most, 0),
        };
        let code = match &live {
            Outcome::Denied(reasons) => reasons.first().map(|reason| reason.code.as_str().to_owned()),
            Outcome::Goes { .. } => None,
        };
        let pairs = decided.iter().zip(&questions);
        let decisions = pairs.map(|(it, facts)| without_words(&it.decision, facts, mask)).collect();
        let outcome = Frame::new(text(&Result { decisions, layers }));
        // The target as it is kept elsewhere, so that no name of a client's making gets in this way.
        let target = live.target().and_then(|target| asked.candidates.iter().find(|it| it.target == target));
        let target = target.map(|it| if mask.is_known(&it.target) { it.target.clone() } else { other(&it.provider) });
        let first = questions.first().map(|facts| facts.request.model.as_str());
        let rerouted = Some(asked.request.model.clone())
            .filter(|it| matches!(live, Outcome::Goes { .. }) && Some(it.as_str()) != first);
        let mut frames = Vec::new();
        let facts = (level == LogLevel::Facts).then(|| {
            let kept: Vec<(String, String)> = questions
                .iter()
                .map(|facts| {
                    let Kept { frame, rest } = Kept::of(facts, mask);
                    let frame = Frame::new(frame);
                    let hash = frame.hash().to_owned();
                    frames.push(frame);
                    (hash, rest)
                })
                .collect();
            text(&kept)
        });
        let row = DecisionRow {
            id,
            call: Some(call),
            at,
            org: Some(credential.org),
            team: credential.team,
            key: Some(credential.key),
            model,
            revision: last.revision.clone(),
            facts_hash: Some(hash(&last.facts_hash)),
            result: result(&live),
            code,
            target,
            rerouted,
            observed: i64::try_from(observed).unwrap_or(i64::MAX),
            took_ns: i64::try_from(took.as_nanos()).unwrap_or(i64::MAX),
            remembered: decided.iter().all(|it| it.remembered),
            level: word_of(level).to_owned(),
            facts,
            outcome: Some(outcome.hash().to_owned()),
            shadow: word,
            lost: None,
        };
        frames.push(outcome);
        Some(Written { row, frames, difference })
    }
}

fn other(provider: &str) -> String {
    format!("{provider}/other")
}

fn word_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Result => "result",
        LogLevel::Facts => "facts",
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
