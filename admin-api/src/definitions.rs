//! What `/providers` and `/models` have in common: a version is checked by the process, written after the one that was seen, and
//! never changed.

use ledger::{Actor, After, DefinitionError, DefinitionKind, DefinitionRow, NewDefinition};
use serde_json::{Map, Value};

use crate::AdminState;
use crate::configuration::Unfit;
use crate::once::Once;
use crate::page::{Limit, Listed, Place};
use crate::problem::Problem;
use crate::wire::definitions::{Defined, VersionBody};

/// Makes one that is not there.
pub(crate) async fn create<D: Defined>(
    state: &AdminState,
    once: &Once,
    new: D,
    actor: &Actor,
) -> Result<DefinitionRow, Problem> {
    let name = new.id().to_owned();
    let body = Some(new.whole());
    fits(state, D::KIND, &name, body.clone()).await?;
    let new = NewDefinition { id: once.id(state), kind: D::KIND, name, body, after: After::Nothing, restores: None };
    Ok(state.ledger.definitions().write(new, actor).await?)
}

/// Changes the members that are named.
pub(crate) async fn change(
    state: &AdminState,
    kind: DefinitionKind,
    name: &str,
    patch: Map<String, Value>,
    actor: &Actor,
) -> Result<DefinitionRow, Problem> {
    let last = there(state, kind, name).await?;
    let mut body = last.body.unwrap_or_default();
    merge(&mut body, Value::Object(patch));
    if body.get("id").and_then(Value::as_str) != Some(name) {
        let detail = "cannot be changed: make another one, and delete this".to_owned();
        return Err(Problem::Member { member: "id".into(), detail });
    }
    write(state, kind, name, Some(body), last.version, None, actor).await
}

/// Takes it away; its versions stay on record.
pub(crate) async fn remove(
    state: &AdminState,
    kind: DefinitionKind,
    name: &str,
    actor: &Actor,
) -> Result<DefinitionRow, Problem> {
    let last = there(state, kind, name).await?;
    write(state, kind, name, None, last.version, None, actor).await
}

/// Writes what an earlier version said as the next one.
pub(crate) async fn roll_back(
    state: &AdminState,
    once: &Once,
    (kind, name): (DefinitionKind, &str),
    version: i64,
    actor: &Actor,
) -> Result<DefinitionRow, Problem> {
    let definitions = state.ledger.definitions();
    let (last, wanted) = (definitions.last(kind, name).await?, definitions.version(kind, name, version).await?);
    let last = last.ok_or_else(|| unknown(state, kind, name))?;
    let Some(body) = wanted.and_then(|it| it.body) else {
        let detail = format!("{name} has no version {version} that could be brought back");
        return Err(Problem::Member { member: "version".into(), detail });
    };
    fits(state, kind, name, Some(body.clone())).await?;
    let (id, after) = (once.id(state), After::Version(last.version));
    let new = NewDefinition { id, kind, name: name.to_owned(), body: Some(body), after, restores: Some(version) };
    Ok(definitions.write(new, actor).await?)
}

/// All versions, oldest first.
pub(crate) async fn versions(
    state: &AdminState,
    kind: DefinitionKind,
    name: &str,
    limit: Option<Limit>,
    after: Option<Place>,
) -> Result<Listed<VersionBody>, Problem> {
    let definitions = state.ledger.definitions();
    if definitions.last(kind, name).await?.is_none() {
        return Err(unknown(state, kind, name));
    }
    let limit = limit.unwrap_or_default();
    let rows = definitions.versions(kind, name, after.map_or(0, Place::seq), limit.and_one()).await?;
    Ok(limit.listed(rows, |row| row.version.to_string(), VersionBody::from))
}

/// A page of what is in memory, numbered from the start.
pub(crate) fn numbered<R, T: From<R>>(rows: Vec<R>, limit: Option<Limit>, after: Option<Place>) -> Listed<T> {
    let start = after.and_then(|it| usize::try_from(it.seq()).ok()).unwrap_or(0);
    let rows: Vec<(usize, R)> = rows.into_iter().enumerate().skip(start).collect();
    limit.unwrap_or_default().listed(rows, |(at, _)| (at + 1).to_string(), |(_, row)| T::from(row))
}

async fn write(
    state: &AdminState,
    kind: DefinitionKind,
    name: &str,
    body: Option<Value>,
    after: i64,
    restores: Option<i64>,
    actor: &Actor,
) -> Result<DefinitionRow, Problem> {
    fits(state, kind, name, body.clone()).await?;
    let (id, after) = (state.ledger.new_id(), After::Version(after));
    let new = NewDefinition { id, kind, name: name.to_owned(), body, after, restores };
    Ok(state.ledger.definitions().write(new, actor).await?)
}

/// The last version, of what is there.
async fn there(state: &AdminState, kind: DefinitionKind, name: &str) -> Result<DefinitionRow, Problem> {
    let last = state.ledger.definitions().last(kind, name).await?;
    last.filter(|it| it.body.is_some()).ok_or_else(|| unknown(state, kind, name))
}

/// What only the file has cannot be changed here, which is not the same as not being there.
fn unknown(state: &AdminState, kind: DefinitionKind, name: &str) -> Problem {
    let known = match kind {
        DefinitionKind::Provider => state.configuration.providers(),
        DefinitionKind::Model => state.configuration.models(),
    };
    match known.unwrap_or_default().iter().any(|it| it.id == name && it.row.is_none()) {
        true => in_file(kind, name),
        false => Problem::NotFound(format!("there is no {} {}", kind.as_str(), clipped(name))),
    }
}

async fn fits(state: &AdminState, kind: DefinitionKind, name: &str, body: Option<Value>) -> Result<(), Problem> {
    match state.configuration.check(kind, name.to_owned(), body).await {
        Ok(()) => Ok(()),
        Err(Unfit::InFile) => Err(in_file(kind, name)),
        Err(Unfit::InUse(by)) => Err(Problem::Refused {
            code: "in_use",
            detail: format!("{} is named by {}: change or delete that first", clipped(name), by.join(", ")),
        }),
        Err(Unfit::Faults(faults)) => Err(Problem::Unfit(faults)),
        Err(Unfit::Unsure) => {
            Err(Problem::Unavailable("what is configured could not be confirmed lately: nothing was changed".into()))
        }
    }
}

fn in_file(kind: DefinitionKind, name: &str) -> Problem {
    Problem::Refused {
        code: "defined_in_file",
        detail: format!(
            "the configuration file defines {} {}, and it comes first: change it there, and reload",
            kind.as_str(),
            clipped(name)
        ),
    }
}

fn clipped(name: &str) -> String {
    name.chars().take(100).collect()
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Value::Object(members) = into else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.shift_remove(&name)),
            value => merge(members.entry(name).or_insert(Value::Null), value),
        }
    }
}

impl From<DefinitionError> for Problem {
    fn from(error: DefinitionError) -> Problem {
        match error {
            DefinitionError::Unknown(..) => Problem::NotFound(error.to_string()),
            DefinitionError::Exists(..) => Problem::Refused { code: "already_exists", detail: error.to_string() },
            DefinitionError::Outdated(version) => Problem::Refused {
                code: "changed_meanwhile",
                detail: format!("version {version} was written meanwhile: read it, and decide again"),
            },
            DefinitionError::Conflict(id) => {
                Problem::Mismatch(format!("this Idempotency-Key was used before with other content, for {id}"))
            }
            DefinitionError::Invalid(detail) => Problem::Member { member: "id".into(), detail },
            DefinitionError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_is_merged_as_rfc_7396_says() {
        for (mut before, patch, after) in [
            (json!({"a": 1, "b": 2}), json!({"b": null, "c": 3}), json!({"a": 1, "c": 3})),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": null}}), json!({"a": {"y": 2}})),
            (json!({"a": {"x": 1}}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": [1]}), json!({"a": {"x": {"y": null}}}), json!({"a": {"x": {}}})),
        ] {
            merge(&mut before, patch);
            assert_eq!(before, after);
        }
    }
}
