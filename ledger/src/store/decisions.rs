//! The decision log in SQL: one text for both databases.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Database, Row, Tx, Value, values};
use crate::clock::Timestamp;
use crate::decisions::{DecisionFilter, DecisionResult, DecisionRow, Frame, Lost, Priced, Replayable, ShadowWord};
use crate::error::StoreError;
use crate::id::{Call, Decision, Id, Org, Policy};
use crate::policies::PolicyScope;
use crate::price::Usage;

const COLUMNS: [&str; 24] = [
    "id",
    "call_id",
    "at",
    "org_id",
    "team_id",
    "key_id",
    "model",
    "revision",
    "facts_hash",
    "result",
    "code",
    "target",
    "rerouted",
    "observed",
    "took",
    "remembered",
    "level",
    "facts",
    "outcome",
    "shadow_revision",
    "shadow_result",
    "differs",
    "lost",
    "lost_since",
];
/// A frame's `last_at` is right to about a day, so it outlives what refers to it by two.
const FRAME_GRACE: Duration = Duration::from_secs(2 * 86_400);
/// So many hashes are looked up at once.
const HASHES: usize = 256;

/// Writes rows, many in a statement.
pub(crate) async fn insert(tx: &mut Tx, decisions: &[DecisionRow]) -> Result<(), StoreError> {
    let head = format!("INSERT INTO decisions ({})", COLUMNS.join(", "));
    for some in powers_of_two(decisions, together(tx)) {
        let sql = format!("{head} VALUES {} ON CONFLICT (id) DO NOTHING", places(some.len(), COLUMNS.len()));
        let values = some.iter().flat_map(row_values).collect();
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// Sees to it that these frames are there, and when they were last wanted.
pub(crate) async fn keep_frames(tx: &mut Tx, frames: &[Frame], now: Timestamp) -> Result<(), StoreError> {
    let mut frames: Vec<&Frame> = frames.iter().collect();
    // In one order for all: two processes that write the same ones do not wait for each other crosswise.
    frames.sort_by(|a, b| a.hash().cmp(b.hash()));
    frames.dedup_by(|a, b| a.hash() == b.hash());
    for some in powers_of_two(&frames, together(tx)) {
        let sql = format!(
            "INSERT INTO decision_frames (hash, body, last_at) VALUES {} ON CONFLICT (hash)
             DO UPDATE SET last_at = excluded.last_at WHERE decision_frames.last_at < excluded.last_at",
            places(some.len(), 3)
        );
        let values = some.iter().flat_map(|frame| values![frame.hash(), frame.body(), now]).collect();
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// So many rows go into a statement. SQLite is asked for the name of every parameter and looks through all of them each time, which
/// took a quarter of the processor for statements of 128 rows; there a statement costs no way to a server either.
fn together(tx: &Tx) -> usize {
    match tx {
        Tx::Sqlite { .. } => 2,
        Tx::Postgres(_) => 128,
    }
}

/// Pieces of a few sizes only, so that their statements are prepared once each.
fn powers_of_two<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = (1 << rest.len().checked_ilog2()?).min(most);
        let (some, others) = rest.split_at(size);
        rest = others;
        Some(some)
    })
}

/// `($1, $2), ($3, $4)`
fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

fn row_values(row: &DecisionRow) -> Vec<Value> {
    let later = row.call.filter(|call| call.uuid() != row.id.uuid());
    let shadow = row.shadow.as_ref();
    values![
        row.id,
        later,
        row.at,
        row.org,
        row.team,
        row.key,
        &row.model,
        &row.revision,
        row.facts_hash,
        row.result.as_str(),
        row.code.as_ref(),
        row.target.as_ref(),
        row.rerouted.as_ref(),
        row.observed,
        row.took_ns,
        row.remembered,
        &row.level,
        row.facts.as_ref(),
        row.outcome.as_ref(),
        shadow.map(|it| &it.revision),
        shadow.map(|it| it.result.as_str()),
        shadow.and_then(|it| it.differs.as_ref()),
        row.lost.map(|lost| lost.decisions),
        row.lost.map(|lost| lost.since),
    ]
}

pub(crate) async fn get(db: &Database, id: Id<Decision>) -> Result<Option<DecisionRow>, StoreError> {
    let sql = format!("SELECT {} FROM decisions WHERE id = $1", COLUMNS.join(", "));
    db.row(sql, values![id]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(
    db: &Database,
    filter: &DecisionFilter,
    cursor: Option<Id<Decision>>,
    limit: u32,
) -> Result<Vec<DecisionRow>, StoreError> {
    let mut wheres = Wheres::new(limit);
    let DecisionFilter { org, team, model, result, code, since, until, call, differs } = filter;
    if let Some(org) = org {
        wheres.also("org_id = ?", *org);
    }
    if let Some(team) = team {
        wheres.also("team_id = ?", *team);
    }
    if let Some(model) = model {
        wheres.also("model = ?", model);
    }
    if let Some(result) = result {
        wheres.also("result = ?", result.as_str());
    }
    if let Some(code) = code {
        wheres.also("code = ?", code);
    }
    // In words that the index is made with: neither database can tell from a parameter.
    if code.is_some() || result.is_some_and(|result| result != DecisionResult::Allow) {
        wheres.texts.push("result <> 'allow'".to_owned());
    }
    if *differs {
        wheres.texts.push("differs IS NOT NULL".to_owned());
    }
    if let Some(call) = call {
        wheres.values.push(Id::<Decision>::from_uuid(call.uuid()).into());
        wheres.values.push((*call).into());
        let last = wheres.values.len();
        wheres.texts.push(format!("(id = ${} OR call_id = ${last})", last - 1));
    }
    if let Some(until) = until {
        wheres.also("id < ?", first_of(until.after(Duration::from_millis(1))));
        wheres.also("at < ?", *until);
    }
    wheres.since(*since);
    if let Some(cursor) = cursor {
        wheres.also("id < ?", cursor);
    }
    let sql = format!(
        "SELECT {} FROM decisions WHERE {} ORDER BY id DESC LIMIT $1",
        COLUMNS.join(", "),
        wheres.texts.join(" AND ")
    );
    db.rows(sql, wheres.values).await?.iter().map(read).collect()
}

/// Conditions and their values; `$1` is the limit.
struct Wheres {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Wheres {
    fn new(limit: u32) -> Wheres {
        Wheres { texts: vec!["TRUE".to_owned()], values: values![i64::from(limit)] }
    }

    fn also(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(text.replace('?', &format!("${}", self.values.len())));
    }

    /// Ids sort by time, to the millisecond: an index by time is not needed.
    fn since(&mut self, since: Option<Timestamp>) {
        if let Some(since) = since {
            self.also("id >= ?", first_of(since));
            self.also("at >= ?", since);
        }
    }
}

/// No id that was made at that moment or later is smaller.
fn first_of(at: Timestamp) -> Id<Decision> {
    Id::new(at, [0; 10])
}

pub(crate) async fn frames(db: &Database, hashes: &[&str]) -> Result<HashMap<String, String>, StoreError> {
    let mut found = HashMap::new();
    let mut wanted = hashes.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    for some in wanted.chunks(HASHES) {
        let places: Vec<String> = (1..=some.len()).map(|place| format!("${place}")).collect();
        let sql = format!("SELECT hash, body FROM decision_frames WHERE hash IN ({})", places.join(", "));
        let values = some.iter().map(|hash| Value::from(*hash)).collect();
        for row in db.rows(sql, values).await? {
            found.insert(row.get("hash")?, row.get("body")?);
        }
    }
    Ok(found)
}

pub(crate) async fn replayable(
    db: &Database,
    org: Option<Id<Org>>,
    since: Option<Timestamp>,
    cursor: Option<Id<Decision>>,
    limit: u32,
) -> Result<Vec<Replayable>, StoreError> {
    let mut wheres = Wheres::new(limit);
    if let Some(org) = org {
        wheres.also("org_id = ?", org);
    }
    wheres.since(since);
    if let Some(cursor) = cursor {
        wheres.also("id < ?", cursor);
    }
    wheres.texts.push("result <> 'gap'".to_owned());
    // First the page, then the receipts of what is on it.
    let sql = format!(
        "SELECT d.id, d.org_id, d.team_id, d.model, d.facts, d.outcome, r.price, r.record
           FROM (SELECT id, call_id, org_id, team_id, model, facts, outcome FROM decisions
                  WHERE {} ORDER BY id DESC LIMIT $1) d
           LEFT JOIN receipts r ON r.call_id = COALESCE(d.call_id, 'req_' || substr(d.id, 5))
          ORDER BY d.id DESC",
        wheres.texts.join(" AND ")
    );
    db.rows(sql, wheres.values).await?.iter().map(read_replayable).collect()
}

pub(crate) async fn bundle_of(db: &Database, scope: &str, revision: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT bundle FROM policy_revisions WHERE scope = $1 AND revision = $2 ORDER BY created_at DESC LIMIT 1";
    db.row(sql, values![scope, revision]).await?.map(|row| row.get("bundle")).transpose()
}

pub(crate) async fn scope_of(db: &Database, policy: Id<Policy>) -> Result<Option<PolicyScope>, StoreError> {
    let row = db.row("SELECT scope FROM policy_revisions WHERE id = $1", values![policy]).await?;
    let Some(row) = row else { return Ok(None) };
    let scope: String = row.get("scope")?;
    scope.parse().map(Some).map_err(|_| StoreError::Corrupt(format!("scope {scope:?}")))
}

pub(crate) async fn forget(db: &Database, before: Timestamp, most: u32) -> Result<u64, StoreError> {
    let mut tx = db.begin_relaxed().await?;
    let gone = tx
        .execute(
            "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE id < $1 ORDER BY id LIMIT $2)",
            values![first_of(before), i64::from(most)],
        )
        .await?;
    if gone < u64::from(most) {
        let unwanted = Timestamp::from_micros(
            before.micros().saturating_sub(i64::try_from(FRAME_GRACE.as_micros()).unwrap_or(i64::MAX)),
        );
        tx.execute(
            "DELETE FROM decision_frames WHERE hash IN (SELECT hash FROM decision_frames WHERE last_at < $1 LIMIT $2)",
            values![unwanted, i64::from(most)],
        )
        .await?;
    }
    tx.commit().await?;
    Ok(gone)
}

fn result(row: &Row, column: &str) -> Result<DecisionResult, StoreError> {
    let word: String = row.get(column)?;
    DecisionResult::from_word(&word).ok_or_else(|| StoreError::Corrupt(format!("{column} {word:?}")))
}

fn read(row: &Row) -> Result<DecisionRow, StoreError> {
    let id: Id<Decision> = row.id("id")?;
    let is_gap = result(row, "result")? == DecisionResult::Gap;
    let later: Option<Id<Call>> = row.maybe_id("call_id")?;
    let own = (!is_gap).then(|| Id::from_uuid(id.uuid()));
    let shadow = match row.get::<Option<String>>("shadow_revision")? {
        Some(revision) => {
            Some(ShadowWord { revision, result: result(row, "shadow_result")?, differs: row.get("differs")? })
        }
        None => None,
    };
    let lost = match row.get::<Option<i64>>("lost")? {
        Some(decisions) => Some(Lost { decisions, since: row.time("lost_since")? }),
        None => None,
    };
    let facts_hash = row.get::<Option<Vec<u8>>>("facts_hash")?;
    Ok(DecisionRow {
        id,
        call: later.or(own),
        at: row.time("at")?,
        org: row.maybe_id("org_id")?,
        team: row.maybe_id("team_id")?,
        key: row.maybe_id("key_id")?,
        model: row.get("model")?,
        revision: row.get("revision")?,
        facts_hash: facts_hash
            .map(|bytes| bytes.try_into().map_err(|_| StoreError::Corrupt("facts_hash".to_owned())))
            .transpose()?,
        result: result(row, "result")?,
        code: row.get("code")?,
        target: row.get("target")?,
        rerouted: row.get("rerouted")?,
        observed: row.get("observed")?,
        took_ns: row.get("took")?,
        remembered: row.get::<i64>("remembered")? != 0,
        level: row.get("level")?,
        facts: row.get("facts")?,
        outcome: row.get("outcome")?,
        shadow,
        lost,
    })
}

/// What is wanted of a receipt's record.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    usage: Usage,
    claims: std::collections::BTreeMap<String, String>,
}

fn read_replayable(row: &Row) -> Result<Replayable, StoreError> {
    let receipt = match row.get::<Option<i64>>("price")? {
        Some(price) => {
            let record: String = row.get("record")?;
            let told: Told = serde_json::from_str(&record).unwrap_or_default();
            let (input_tokens, output_tokens) = (told.usage.all_input(), told.usage.all_output());
            Some(Priced { price, input_tokens, output_tokens, claims: told.claims })
        }
        None => None,
    };
    Ok(Replayable {
        id: row.id("id")?,
        org: row.maybe_id("org_id")?,
        team: row.maybe_id("team_id")?,
        model: row.get("model")?,
        facts: row.get("facts")?,
        outcome: row.get("outcome")?,
        receipt,
    })
}
