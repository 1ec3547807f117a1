//! The replay: pages of recorded decisions are read while two threads ask other rules about the pages before. Never all in memory, and
//! given up as soon as nobody waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use ledger::{Decision as DecisionKind, Decisions, Id, Org, Replayable, StoreError, Timestamp};
use policies::replay::{Paid, Recorded, Replay, Report};
use policies::{Decision, Facts, FactsFrame, Rulebook};
use tokio::sync::mpsc;

use super::{Outcome, parts};

/// Decisions read at once.
const PAGE: u32 = 2_000;
/// Pages that wait for a thread.
const AHEAD: usize = 2;
const THREADS: usize = 2;
/// Frames that are kept in memory.
const FRAMES: usize = 8_192;

/// Which decisions to replay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub org: Option<Id<Org>>,
    pub since: Option<Timestamp>,
    /// The last so many; all there are, if it is not said.
    pub last: Option<u64>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Unreplayed {
    #[error("a thread of the replay panicked: the log has the cause")]
    Panicked,
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// A decision with its frames found.
struct Call {
    row: Replayable,
    questions: Vec<(Arc<FactsFrame>, String)>,
    decisions: Arc<Vec<Decision>>,
}

enum Item {
    Whole(Box<Call>),
    WithoutFacts,
    Unreadable,
}

/// Asks these rules about recorded calls. `told` hears how many have been read, now and then.
///
/// # Errors
/// The decisions cannot be read.
pub async fn replay(
    decisions: Decisions<'_>,
    rulebook: Arc<Rulebook>,
    sample: Sample,
    mut told: impl FnMut(u64),
) -> Result<Report, Unreplayed> {
    // Dropped with this future, the queue ends the threads: nobody replays for nobody.
    let (sender, receiver) = mpsc::channel::<Vec<Item>>(AHEAD);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (receiver, rulebook) = (Arc::clone(&receiver), Arc::clone(&rulebook));
            tokio::task::spawn_blocking(move || work(&receiver, rulebook))
        })
        .collect();
    drop(receiver);
    let mut pages = Pages { decisions, frames: HashMap::new(), outcomes: HashMap::new() };
    let (mut cursor, mut left, mut read) = (None, sample.last.unwrap_or(u64::MAX), 0_u64);
    while left > 0 {
        let most = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let rows = decisions.replayable(sample.org, sample.since, cursor, most).await?;
        let Some(last) = rows.last() else { break };
        cursor = Some(last.id);
        let found = rows.len() as u64;
        (left, read) = (left - found.min(left), read + found);
        let page = pages.whole(rows).await?;
        if sender.send(page).await.is_err() {
            break; // both threads are gone: they say why
        }
        told(read);
        if found < u64::from(most) {
            break;
        }
    }
    drop(sender);
    let mut report = Replay::new(rulebook);
    for thread in threads {
        report.merge(thread.await.map_err(|_| Unreplayed::Panicked)?);
    }
    Ok(report.finish())
}

/// Takes pages until there are no more.
fn work(receiver: &tokio::sync::Mutex<mpsc::Receiver<Vec<Item>>>, rulebook: Arc<Rulebook>) -> Replay {
    let mut replay = Replay::new(rulebook);
    loop {
        let page = receiver.blocking_lock().blocking_recv();
        let Some(page) = page else { return replay };
        for item in page {
            match item {
                Item::Whole(call) => match recorded(*call) {
                    Some(call) => replay.add(&call),
                    None => replay.unreadable(),
                },
                Item::WithoutFacts => replay.without_facts(),
                Item::Unreadable => replay.unreadable(),
            }
        }
    }
}

fn recorded(call: Call) -> Option<Recorded> {
    let Call { row, questions, decisions } = call;
    let question = |(frame, rest): &(Arc<FactsFrame>, String)| frame.with(rest).ok();
    let mut questions: Vec<Facts> = questions.iter().map(question).collect::<Option<_>>()?;
    let mut masked = false;
    // The log has only hashes of claims; the receipt has what the rules were told.
    for facts in questions.iter_mut().filter(|facts| !facts.request.claims.is_empty()) {
        match row.receipt.as_ref().filter(|receipt| receipt.claims.len() == facts.request.claims.len()) {
            Some(receipt) => facts.request.claims.clone_from(&receipt.claims),
            None => masked = true,
        }
    }
    let receipt = row.receipt.as_ref().map(|it| Paid {
        price: it.price,
        input_tokens: it.input_tokens,
        output_tokens: it.output_tokens,
    });
    let team = row.team.map(|team| team.to_string());
    let id: Id<DecisionKind> = row.id;
    Some(Recorded {
        id: id.to_string(),
        team,
        model: row.model,
        questions,
        decisions: decisions.to_vec(),
        receipt,
        masked,
    })
}

/// Finds the frames of pages; most are those of the page before.
struct Pages<'a> {
    decisions: Decisions<'a>,
    frames: HashMap<String, Arc<FactsFrame>>,
    outcomes: HashMap<String, Arc<Vec<Decision>>>,
}

impl Pages<'_> {
    async fn whole(&mut self, rows: Vec<Replayable>) -> Result<Vec<Item>, StoreError> {
        if self.frames.len() + self.outcomes.len() > FRAMES {
            self.frames.clear();
            self.outcomes.clear();
        }
        let rows: Vec<(Replayable, Option<super::Parts>)> = rows
            .into_iter()
            .map(|mut row| {
                let parts = row.facts.take().map(|facts| parts(&facts).unwrap_or_default());
                (row, parts)
            })
            .collect();
        let mut wanted: Vec<&str> = Vec::new();
        for (row, found) in &rows {
            let hashes = found.iter().flatten().map(|(hash, _)| hash.as_str());
            wanted.extend(hashes.filter(|hash| !self.frames.contains_key(*hash)));
            wanted.extend(row.outcome.as_deref().filter(|hash| !self.outcomes.contains_key(*hash)));
        }
        let mut bodies = self.decisions.frames(&wanted).await?;
        for (row, found) in &rows {
            for (hash, _) in found.iter().flatten() {
                if let Some(frame) = bodies.remove(hash).and_then(|body| FactsFrame::read(&body).ok()) {
                    self.frames.insert(hash.clone(), Arc::new(frame));
                }
            }
            if let Some(hash) = &row.outcome
                && let Some(body) = bodies.remove(hash)
                && let Ok(outcome) = serde_json::from_str::<Outcome>(&body)
            {
                self.outcomes.insert(hash.clone(), Arc::new(outcome.decisions));
            }
        }
        Ok(rows.into_iter().map(|(row, found)| self.item(row, found)).collect())
    }

    fn item(&self, row: Replayable, parts: Option<super::Parts>) -> Item {
        let Some(parts) = parts else { return Item::WithoutFacts };
        let decisions = row.outcome.as_ref().and_then(|hash| self.outcomes.get(hash)).map(Arc::clone);
        let frame = |(hash, rest): (String, String)| Some((Arc::clone(self.frames.get(&hash)?), rest));
        match (decisions, parts.into_iter().map(frame).collect::<Option<Vec<_>>>()) {
            (Some(decisions), Some(questions)) if !questions.is_empty() => {
                Item::Whole(Box::new(Call { row, questions, decisions }))
            }
            _ => Item::Unreadable,
        }
    }
}
