//! Providers and models that operators manage while the house runs. What they mean is for others to know: here they are
//! texts with versions. Each write is another row with its author, nothing changes or goes, and the last version counts.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Definition, Id};
use crate::ledger::Ledger;
use crate::store::Database;
use crate::store::definitions as rows;
use crate::store::tenants::{self, Change};
use crate::tenants::check;

/// So many of a kind may be there at once: all of them are read whenever one changes.
pub const MOST: usize = 1_000;
/// The longest body, in bytes of JSON.
pub const LONGEST_BODY: usize = 64 << 10;
const LONGEST_NAME: usize = 256;

/// What is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DefinitionKind {
    Provider,
    Model,
}

impl DefinitionKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            DefinitionKind::Provider => "provider",
            DefinitionKind::Model => "model",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<DefinitionKind> {
        [DefinitionKind::Provider, DefinitionKind::Model].into_iter().find(|it| it.as_str() == word)
    }

    fn entry(self, what: What) -> &'static str {
        use DefinitionKind::{Model, Provider};
        match (self, what) {
            (Provider, What::Created) => kind::PROVIDER_CREATED,
            (Provider, What::Changed) => kind::PROVIDER_CHANGED,
            (Provider, What::Deleted) => kind::PROVIDER_DELETED,
            (Model, What::Created) => kind::MODEL_CREATED,
            (Model, What::Changed) => kind::MODEL_CHANGED,
            (Model, What::Deleted) => kind::MODEL_DELETED,
        }
    }

    const fn member(self) -> &'static str {
        match self {
            DefinitionKind::Provider => "provider_id",
            DefinitionKind::Model => "model_id",
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Created,
    Changed,
    Deleted,
}

/// Kinds of audit entries about definitions.
pub mod kind {
    pub const PROVIDER_CREATED: &str = "PROVIDER_CREATED";
    pub const PROVIDER_CHANGED: &str = "PROVIDER_CHANGED";
    pub const PROVIDER_DELETED: &str = "PROVIDER_DELETED";
    pub const MODEL_CREATED: &str = "MODEL_CREATED";
    pub const MODEL_CHANGED: &str = "MODEL_CHANGED";
    pub const MODEL_DELETED: &str = "MODEL_DELETED";
}

/// One version of a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinitionRow {
    pub id: Id<Definition>,
    pub kind: DefinitionKind,
    pub name: String,
    /// From 1 on.
    pub version: i64,
    /// None: with this version it was taken away.
    pub body: Option<Value>,
    /// Who wrote it.
    pub author: String,
    pub created_at: Timestamp,
}

/// A version to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDefinition {
    pub id: Id<Definition>,
    pub kind: DefinitionKind,
    pub name: String,
    /// None takes it away.
    pub body: Option<Value>,
    pub after: After,
    /// The version that this one brings back, if it does.
    pub restores: Option<i64>,
}

/// What the writer believes to be the last word so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// There is no such thing, or no more.
    Nothing,
    /// This version.
    Version(i64),
}

/// Why a version was not written.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("there is no {kind} {name}", kind = .0.as_str(), name = .1)]
    Unknown(DefinitionKind, String),
    #[error("there is a {kind} {name} already", kind = .0.as_str(), name = .1)]
    Exists(DefinitionKind, String),
    /// Somebody else has written since it was read.
    #[error("version {0} is in force by now")]
    Outdated(i64),
    /// This id was used before, for something else.
    #[error("{0} was made before with other content")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// Definitions, as operators read and write them.
#[derive(Clone, Copy)]
pub struct Definitions<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// Providers and models that operators manage.
    pub fn definitions(&self) -> Definitions<'_> {
        Definitions { ledger: self }
    }
}

impl Definitions<'_> {
    /// The last word on everything that is there, oldest first.
    pub async fn in_force(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        rows::in_force(self.db()).await
    }

    /// How many versions there are of all: as none ever changes or goes, the same number means the same versions.
    pub async fn count(&self) -> Result<i64, StoreError> {
        rows::count(self.db()).await
    }

    /// The last version, even if it took the thing away.
    pub async fn last(&self, kind: DefinitionKind, name: &str) -> Result<Option<DefinitionRow>, StoreError> {
        rows::last(self.db(), kind, name).await
    }

    /// One version.
    pub async fn version(
        &self,
        kind: DefinitionKind,
        name: &str,
        version: i64,
    ) -> Result<Option<DefinitionRow>, StoreError> {
        rows::version(self.db(), kind, name, version).await
    }

    /// At most so many versions after this one, oldest first. From 0 on they are all.
    pub async fn versions(
        &self,
        kind: DefinitionKind,
        name: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DefinitionRow>, StoreError> {
        rows::versions(self.db(), kind, name, after, limit).await
    }

    /// Writes the next version, with its audit entry. A repeat, and what is in force already, writes nothing.
    pub async fn write(&self, new: NewDefinition, actor: &Actor) -> Result<DefinitionRow, DefinitionError> {
        let text = fits(&new)?;
        let content = check::content(&(new.kind.as_str(), &new.name, &new.body, new.restores));
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<DefinitionRow>(&mut change.tx, new.id.to_string()).await? {
            return if made_of == content { Ok(row) } else { Err(DefinitionError::Conflict(new.id.to_string())) };
        }
        let NewDefinition { id, kind, name, body, after, restores } = new;
        let last = rows::last_of(&mut change.tx, kind, &name).await?;
        let there = last.as_ref().is_some_and(|it| it.body.is_some());
        match (after, &last) {
            (After::Nothing, Some(_)) if there => return Err(DefinitionError::Exists(kind, name)),
            (After::Nothing, _) => {}
            (After::Version(_), None) => return Err(DefinitionError::Unknown(kind, name)),
            (After::Version(seen), Some(last)) if seen != last.version => {
                return Err(DefinitionError::Outdated(last.version));
            }
            (After::Version(_), Some(last)) if last.body == body => return Ok(last.clone()),
            (After::Version(_), Some(_)) => {}
        }
        if !there && rows::how_many(&mut change.tx, kind).await? >= i64::try_from(MOST).unwrap_or(i64::MAX) {
            return Err(DefinitionError::Invalid(format!("there are {MOST} already, which is the most")));
        }
        let row = DefinitionRow {
            id,
            kind,
            name,
            version: last.map_or(0, |it| it.version) + 1,
            body,
            author: actor.to_string(),
            created_at: self.ledger.clock().now(),
        };
        rows::insert(&mut change.tx, &row, text.as_deref(), content).await?;
        let what = match (&row.body, there) {
            (None, _) => What::Deleted,
            (Some(_), false) => What::Created,
            (Some(_), true) => What::Changed,
        };
        let entry = Entry::new(None, kind.entry(what), *actor)
            .with(kind.member(), &row.name)
            .with("version", row.version)
            .with("restores", restores)
            // The log says which text it was; the text itself is the row's.
            .with("body_sha256", text.map(|text| hex::encode(Sha256::digest(text))));
        change.commit(row.created_at, &[entry]).await?;
        // The change is durable whatever this read says; the poll of each second makes up for it.
        if let Err(error) = self.ledger.refresh_revision().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the new revision could not be read back");
        }
        Ok(row)
    }

    fn db(&self) -> &Database {
        self.ledger.database()
    }
}

/// The text that is stored.
fn fits(new: &NewDefinition) -> Result<Option<String>, DefinitionError> {
    let name = &new.name;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(DefinitionError::Invalid(format!("a name has 1 to {LONGEST_NAME} characters on one line")));
    }
    let text = new.body.as_ref().map(Value::to_string);
    match text {
        Some(text) if text.len() > LONGEST_BODY => {
            Err(DefinitionError::Invalid(format!("may have at most {LONGEST_BODY} bytes as JSON")))
        }
        text => Ok(text),
    }
}
