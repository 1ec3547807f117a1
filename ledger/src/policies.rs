//! Where rules come from, on record: what each layer of rules was, which of them is in force, and which is only rehearsed. What a
//! bundle says is for others to know: here it is bytes with an author. Nothing changes or goes, and the last word counts.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Activation, Id, Org, Policy, Team};
use crate::ledger::Ledger;
use crate::store::Database;
use crate::store::policies as rows;
use crate::store::tenants::{self, Change};
use crate::tenants::{Mark, Page, check};

/// The longest bundle, in bytes.
pub const LONGEST_BUNDLE: usize = 8 << 20;
/// So many scopes may have a layer at once: every process keeps them all.
pub const MOST_LAYERS: i64 = 1_000;
const LONGEST_NOTE: usize = 500;

/// Kinds of audit entries about rules.
pub mod kind {
    pub const POLICY_CREATED: &str = "POLICY_CREATED";
    pub const POLICY_ACTIVATED: &str = "POLICY_ACTIVATED";
    pub const POLICY_ROLLED_BACK: &str = "POLICY_ROLLED_BACK";
    pub const POLICY_REMOVED: &str = "POLICY_REMOVED";
    pub const POLICY_SHADOWED: &str = "POLICY_SHADOWED";
}

/// Whose rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyScope {
    /// What comes with the program and its configuration.
    House,
    /// For everyone.
    Platform,
    Org(Id<Org>),
    Team(Id<Team>),
}

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is house, platform, org_… or team_…")]
pub struct NoScope;

impl fmt::Display for PolicyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyScope::House => f.write_str("house"),
            PolicyScope::Platform => f.write_str("platform"),
            PolicyScope::Org(id) => id.fmt(f),
            PolicyScope::Team(id) => id.fmt(f),
        }
    }
}

impl FromStr for PolicyScope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<PolicyScope, NoScope> {
        match text {
            "house" => Ok(PolicyScope::House),
            "platform" => Ok(PolicyScope::Platform),
            org if org.starts_with("org_") => org.parse().map(PolicyScope::Org).map_err(|_| NoScope),
            team => team.parse().map(PolicyScope::Team).map_err(|_| NoScope),
        }
    }
}

/// How a revision came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySource {
    Upload,
    Directory,
    Url,
    File,
    /// Shipped rules and the configuration's own data alone.
    Configuration,
}

impl PolicySource {
    const ALL: [PolicySource; 5] = [
        PolicySource::Upload,
        PolicySource::Directory,
        PolicySource::Url,
        PolicySource::File,
        PolicySource::Configuration,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            PolicySource::Upload => "upload",
            PolicySource::Directory => "directory",
            PolicySource::Url => "url",
            PolicySource::File => "file",
            PolicySource::Configuration => "configuration",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<PolicySource> {
        PolicySource::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// A revision, without its bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    pub id: Id<Policy>,
    pub scope: PolicyScope,
    /// Of the content: the same content has the same.
    pub digest: [u8; 32],
    /// The short hash that calls name, of the rules as this program compiled them then.
    pub revision: String,
    /// How long the bundle is.
    pub bytes: i64,
    pub source: PolicySource,
    pub note: Option<String>,
    pub author: String,
    pub created_at: Timestamp,
}

impl PolicyRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// A revision to be kept.
#[derive(Debug, Clone)]
pub struct NewPolicy {
    pub id: Id<Policy>,
    pub scope: PolicyScope,
    pub digest: [u8; 32],
    pub revision: String,
    pub bundle: Vec<u8>,
    pub source: PolicySource,
    pub note: Option<String>,
}

/// One word on what is in force in a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationRow {
    pub id: Id<Activation>,
    pub scope: PolicyScope,
    /// From 1 on.
    pub version: i64,
    /// None: from then on the scope has no layer.
    pub policy: Option<Id<Policy>>,
    /// The version that it brings back, if it does.
    pub restores: Option<i64>,
    pub author: String,
    pub at: Timestamp,
}

/// A word to be said.
#[derive(Debug, Clone)]
pub struct NewActivation {
    pub id: Id<Activation>,
    pub scope: PolicyScope,
    /// None takes the layer away.
    pub policy: Option<Id<Policy>>,
    /// The last version that was seen; 0 where there was none.
    pub after: i64,
    pub restores: Option<i64>,
    /// How it is other than what was in force.
    pub diff: PolicyDiff,
}

/// How two contents differ, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PolicyDiff {
    pub modules_added: usize,
    pub modules_changed: usize,
    pub modules_removed: usize,
    pub data_added: usize,
    pub data_changed: usize,
    pub data_removed: usize,
}

/// A layer that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    pub revision: PolicyRow,
    pub activation: ActivationRow,
}

/// What is rehearsed; none: nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRow {
    pub id: Id<Activation>,
    pub version: i64,
    pub policy: Option<Id<Policy>>,
    pub author: String,
    pub at: Timestamp,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is no such organisation, team or revision.
    #[error("there is no {0}")]
    Unknown(String),
    /// The revision is one of another scope.
    #[error("{policy} is a revision of {scope}")]
    OtherScope { policy: Id<Policy>, scope: PolicyScope },
    /// Somebody else has activated since it was looked at.
    #[error("activation {0} is in force by now")]
    Outdated(i64),
    /// This id was used before, for something else.
    #[error("{0} was made before with other content")]
    Conflict(String),
    #[error("a bundle of {0} bytes, at most {LONGEST_BUNDLE}")]
    TooLarge(usize),
    #[error("{0}")]
    Invalid(String),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// Rules on record.
#[derive(Clone, Copy)]
pub struct Policies<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// Where rules come from.
    pub fn policies(&self) -> Policies<'_> {
        Policies { ledger: self }
    }
}

impl Policies<'_> {
    /// One revision.
    pub async fn revision(&self, id: Id<Policy>) -> Result<Option<PolicyRow>, StoreError> {
        tenants::get(self.db(), id.to_string()).await
    }

    /// What it holds.
    pub async fn bundle(&self, id: Id<Policy>) -> Result<Option<Vec<u8>>, StoreError> {
        rows::bundle(self.db(), id).await
    }

    /// Revisions, oldest first.
    pub async fn revisions(&self, scope: Option<PolicyScope>, page: &Page) -> Result<Vec<PolicyRow>, StoreError> {
        tenants::list(self.db(), &[("scope", scope.map(|it| it.to_string()))], page).await
    }

    /// Every layer in force, the house's too.
    pub async fn in_force(&self) -> Result<Vec<PolicyInForce>, StoreError> {
        rows::in_force(self.db()).await
    }

    /// The layer in force of one scope.
    pub async fn in_force_of(&self, scope: PolicyScope) -> Result<Option<PolicyInForce>, StoreError> {
        rows::in_force_of(self.db(), scope).await
    }

    /// How many words have been said on what is in force and rehearsed: the same number means that all is as it was.
    pub async fn count(&self) -> Result<i64, StoreError> {
        rows::count(self.db()).await
    }

    /// The last word on a scope, even if it took the layer away.
    pub async fn last(&self, scope: PolicyScope) -> Result<Option<ActivationRow>, StoreError> {
        rows::last(self.db(), scope).await
    }

    /// One word on a scope.
    pub async fn activation(&self, scope: PolicyScope, version: i64) -> Result<Option<ActivationRow>, StoreError> {
        rows::activation(self.db(), scope, version).await
    }

    /// The last time that a revision came into force.
    pub async fn activation_with(
        &self,
        scope: PolicyScope,
        policy: Id<Policy>,
    ) -> Result<Option<ActivationRow>, StoreError> {
        rows::activation_with(self.db(), scope, policy).await
    }

    /// At most so many words on a scope after this one, oldest first. From 0 on they are all.
    pub async fn activations(
        &self,
        scope: PolicyScope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ActivationRow>, StoreError> {
        rows::activations(self.db(), scope, after, limit).await
    }

    /// The last word on what is rehearsed.
    pub async fn shadow(&self) -> Result<Option<ShadowRow>, StoreError> {
        rows::shadow(self.db()).await
    }

    /// Keeps a revision; it is not in force by that. A repeat writes nothing.
    pub async fn create(&self, new: NewPolicy, actor: &Actor) -> Result<PolicyRow, PolicyError> {
        fits(&new)?;
        let content = check::content(&(new.scope.to_string(), new.digest, &new.note));
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<PolicyRow>(&mut change.tx, new.id.to_string()).await? {
            return if made_of == content { Ok(row) } else { Err(PolicyError::Conflict(new.id.to_string())) };
        }
        let org = rows::chain(&mut change.tx, new.scope).await?.map_err(PolicyError::Unknown)?;
        let (row, entry) = self.keep(&mut change, new, org, actor, content).await?;
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// Puts a revision into force in its scope, or takes the scope's layer away. A repeat, and what is in force already, writes nothing.
    pub async fn activate(&self, new: NewActivation, actor: &Actor) -> Result<ActivationRow, PolicyError> {
        let content = check::content(&(new.scope.to_string(), new.policy, new.restores));
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<ActivationRow>(&mut change.tx, new.id.to_string()).await? {
            return if made_of == content { Ok(row) } else { Err(PolicyError::Conflict(new.id.to_string())) };
        }
        let org = rows::chain(&mut change.tx, new.scope).await?.map_err(PolicyError::Unknown)?;
        let last = rows::last_of(&mut change.tx, new.scope).await?;
        let seen = last.as_ref().map_or(0, |it| it.version);
        if new.after != seen {
            return Err(PolicyError::Outdated(seen));
        }
        let revision = match new.policy {
            None => None,
            Some(id) => {
                let row = rows::revision_of(&mut change.tx, id).await?;
                let row = row.ok_or_else(|| PolicyError::Unknown(id.to_string()))?;
                if row.scope != new.scope {
                    return Err(PolicyError::OtherScope { policy: id, scope: row.scope });
                }
                Some(row)
            }
        };
        match &last {
            Some(last) if last.policy == new.policy => return Ok(last.clone()),
            None if new.policy.is_none() => return Err(PolicyError::Unknown(format!("layer of {}", new.scope))),
            _ => {}
        }
        if last.as_ref().is_none_or(|it| it.policy.is_none()) && rows::layers(&mut change.tx).await? >= MOST_LAYERS {
            return Err(PolicyError::Invalid(format!("{MOST_LAYERS} scopes have a layer already, which is the most")));
        }
        let (row, entry) = self.say(&mut change, (last, revision), new, (org, actor), content).await?;
        self.commit(change, row.at, &[entry]).await?;
        Ok(row)
    }

    /// Puts on record what the house's own layer is; nothing, where the last word says so already. A content that was there
    /// before is not kept twice.
    pub async fn house(&self, new: NewPolicy, diff: PolicyDiff) -> Result<PolicyInForce, PolicyError> {
        fits(&new)?;
        let (scope, actor) = (PolicyScope::House, &Actor::System);
        let mut change = Change::begin(self.db()).await?;
        let last = rows::last_of(&mut change.tx, scope).await?;
        let known = rows::with_digest(&mut change.tx, scope, new.digest).await?;
        if let (Some(last), Some(known)) = (&last, &known)
            && last.policy == Some(known.id)
        {
            return Ok(PolicyInForce { revision: known.clone(), activation: last.clone() });
        }
        let mut entries = Vec::new();
        let revision = match known {
            Some(known) => known,
            None => {
                let content = check::content(&(scope.to_string(), new.digest, &new.note));
                let (row, entry) = self.keep(&mut change, NewPolicy { scope, ..new }, None, actor, content).await?;
                entries.push(entry);
                row
            }
        };
        let (id, policy) = (self.ledger.new_id(), Some(revision.id));
        let after = last.as_ref().map_or(0, |it| it.version);
        let word = NewActivation { id, scope, policy, after, restores: None, diff };
        let content = check::content(&(scope.to_string(), policy, None::<i64>));
        let kept = revision.clone();
        let (activation, entry) = self.say(&mut change, (last, Some(revision)), word, (None, actor), content).await?;
        entries.push(entry);
        self.commit(change, activation.at, &entries).await?;
        Ok(PolicyInForce { revision: kept, activation })
    }

    /// Says which revision is rehearsed from now on, or that none is. What is so already writes nothing.
    pub async fn set_shadow(
        &self,
        id: Id<Activation>,
        policy: Option<Id<Policy>>,
        actor: &Actor,
    ) -> Result<ShadowRow, PolicyError> {
        let content = check::content(&policy);
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = tenants::find::<ShadowRow>(&mut change.tx, id.to_string()).await? {
            return if made_of == content { Ok(row) } else { Err(PolicyError::Conflict(id.to_string())) };
        }
        let last = rows::shadow_of(&mut change.tx).await?;
        let revision = match policy {
            None => None,
            Some(id) => {
                let row = rows::revision_of(&mut change.tx, id).await?;
                Some(row.ok_or_else(|| PolicyError::Unknown(id.to_string()))?)
            }
        };
        if let Some(last) = &last
            && last.policy == policy
        {
            return Ok(last.clone());
        }
        // Told where the layer is told of: the chain of whoever's calls are rehearsed, or were.
        let scope = match (&revision, last.as_ref().and_then(|it| it.policy)) {
            (Some(row), _) => Some(row.scope),
            (None, Some(before)) => rows::revision_of(&mut change.tx, before).await?.map(|row| row.scope),
            (None, None) => None,
        };
        let org = match scope {
            Some(scope) => rows::chain(&mut change.tx, scope).await?.map_err(PolicyError::Unknown)?,
            None => None,
        };
        let version = last.as_ref().map_or(0, |it| it.version) + 1;
        let row = ShadowRow { id, version, policy, author: actor.to_string(), at: self.ledger.clock().now() };
        rows::insert_shadow(&mut change.tx, &row, content).await?;
        let entry = Entry::new(org, kind::POLICY_SHADOWED, *actor)
            .with("policy_id", policy)
            .with("previous_policy_id", last.and_then(|it| it.policy))
            .with("scope", scope.map(|it| it.to_string()))
            .with("digest", revision.map(|it| hex::encode(it.digest)));
        self.commit(change, row.at, &[entry]).await?;
        Ok(row)
    }

    async fn keep(
        &self,
        change: &mut Change,
        new: NewPolicy,
        org: Option<Id<Org>>,
        actor: &Actor,
        content: [u8; 32],
    ) -> Result<(PolicyRow, Entry), StoreError> {
        let NewPolicy { id, scope, digest, revision, bundle, source, note } = new;
        let bytes = i64::try_from(bundle.len()).unwrap_or(i64::MAX);
        let (author, created_at) = (actor.to_string(), self.ledger.clock().now());
        let row = PolicyRow { id, scope, digest, revision, bytes, source, note, author, created_at };
        rows::insert_revision(&mut change.tx, &row, bundle, content).await?;
        // The log says which content it was; the content itself and the note are the row's.
        let entry = Entry::new(org, kind::POLICY_CREATED, *actor)
            .with("policy_id", row.id)
            .with("scope", row.scope.to_string())
            .with("digest", hex::encode(row.digest))
            .with("bytes", row.bytes)
            .with("source", row.source.as_str());
        Ok((row, entry))
    }

    async fn say(
        &self,
        change: &mut Change,
        (last, revision): (Option<ActivationRow>, Option<PolicyRow>),
        new: NewActivation,
        (org, actor): (Option<Id<Org>>, &Actor),
        content: [u8; 32],
    ) -> Result<(ActivationRow, Entry), StoreError> {
        let NewActivation { id, scope, policy, restores, diff, .. } = new;
        let version = last.as_ref().map_or(0, |it| it.version) + 1;
        let (author, at) = (actor.to_string(), self.ledger.clock().now());
        let row = ActivationRow { id, scope, version, policy, restores, author, at };
        rows::insert_activation(&mut change.tx, &row, content).await?;
        let kind = match (policy, restores) {
            (_, Some(_)) => kind::POLICY_ROLLED_BACK,
            (None, None) => kind::POLICY_REMOVED,
            (Some(_), None) => kind::POLICY_ACTIVATED,
        };
        let entry = Entry::new(org, kind, *actor)
            .with("scope", scope.to_string())
            .with("version", version)
            .with("policy_id", policy)
            .with("previous_policy_id", last.and_then(|it| it.policy))
            .with("restores", restores)
            .with("digest", revision.map(|it| hex::encode(it.digest)))
            .with("diff", diff);
        Ok((row, entry))
    }

    async fn commit(&self, change: Change, at: Timestamp, entries: &[Entry]) -> Result<(), StoreError> {
        change.commit(at, entries).await?;
        // The change is durable whatever this read says; the poll of each second makes up for it.
        if let Err(error) = self.ledger.refresh_revision().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the new revision could not be read back");
        }
        Ok(())
    }

    fn db(&self) -> &Database {
        self.ledger.database()
    }
}

fn fits(new: &NewPolicy) -> Result<(), PolicyError> {
    if new.bundle.len() > LONGEST_BUNDLE {
        return Err(PolicyError::TooLarge(new.bundle.len()));
    }
    match &new.note {
        Some(note) if note.chars().count() > LONGEST_NOTE || note.chars().any(char::is_control) => {
            Err(PolicyError::Invalid(format!("a note has at most {LONGEST_NOTE} characters on one line")))
        }
        _ => Ok(()),
    }
}
