//! App keys: made, rotated with an overlap, revoked. The secret is answered once and only its hash is kept.

use std::time::Duration;

use super::limits::{LimitChange, Limits, Priority};
use super::people::{check_team, check_user};
use super::scope::Tags;
use super::{Mark, Page, TenantError, Tenants, WalletKind, WalletRow, WalletStatus, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Key, Org, Team, User, Wallet};
use crate::key::ShownKey;
use crate::store::tenants::{self as rows, Change};

/// How long the old secret stays good after a rotation that says nothing about it.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest overlap that can be asked for.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An app key to be made. Its organisation is its wallet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub id: Id<Key>,
    pub name: String,
    pub wallet: Id<Wallet>,
    /// Without it: the team of the nearest wallet up the chain that has one.
    pub team: Option<Id<Team>>,
    pub user: Option<Id<User>>,
    /// The models that it may ask for; none means any.
    pub models: Option<Vec<String>>,
    pub expires_at: Option<Timestamp>,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Calls in flight.
    pub max_parallel: Option<u32>,
    pub priority: Priority,
    /// What is said of its calls: scopes go by it.
    pub tags: Tags,
}

impl NewKey {
    /// A key for any model, without rates, that never expires.
    pub fn new(id: Id<Key>, name: impl Into<String>, wallet: Id<Wallet>) -> NewKey {
        let (name, tags) = (name.into(), Tags::new());
        let (team, user, models, expires_at, priority) = (None, None, None, None, Priority::Normal);
        let Limits { rpm, tpm, max_parallel } = Limits::default();
        NewKey { id, name, wallet, team, user, models, expires_at, rpm, tpm, max_parallel, priority, tags }
    }

    fn limits(&self) -> Limits {
        Limits { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel }
    }
}

/// An app key, without anything that could be used as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: Id<Key>,
    pub org: Id<Org>,
    pub name: String,
    pub wallet: Id<Wallet>,
    pub team: Option<Id<Team>>,
    pub user: Option<Id<User>>,
    pub models: Option<Vec<String>>,
    pub expires_at: Option<Timestamp>,
    pub rpm: Option<u32>,
    pub tpm: Option<u64>,
    pub max_parallel: Option<u32>,
    pub priority: Priority,
    pub tags: Tags,
    /// Until when the secret before the last rotation is good as well.
    pub overlap_until: Option<Timestamp>,
    pub rotated_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl KeyRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }

    /// How much it may do at a time.
    pub fn limits(&self) -> Limits {
        Limits { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel }
    }

    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// What to change of a key; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// All of them anew.
    pub tags: Option<Tags>,
    pub limits: LimitChange,
    pub priority: Option<Priority>,
}

/// A rotation to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub key: Id<Key>,
    /// Names this rotation, so that the same one asked for twice happens once.
    pub id: String,
    /// How long the old secret stays good; a second rotation within it ends it at once.
    pub overlap: Duration,
}

impl Tenants<'_> {
    /// Makes an app key. Its secret is in the answer and nowhere else; the same key asked for again is
    /// [`TenantError::AlreadyShown`].
    pub async fn create_key(&self, new: NewKey, actor: &Actor) -> Result<(KeyRow, ShownKey), TenantError> {
        let now = self.now();
        check_new(&new)?;
        let content = content(&new);
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = rows::find::<KeyRow>(&mut change.tx, new.id.to_string()).await? {
            let row = check::repeat(row, &new.id, made_of, content)?;
            return Err(TenantError::AlreadyShown(row.id.to_string()));
        }
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(check::invalid("expires_at", "must lie in the future"));
        }
        let (org, team) = owner(&mut change, &new).await?;
        let NewKey { id, name, wallet, team: _, user, models, expires_at, rpm, tpm, max_parallel, priority, tags } =
            new;
        let (overlap_until, rotated_at, revoked_at) = (None, None, None);
        let row = KeyRow {
            id,
            org,
            name,
            wallet,
            team,
            user,
            models,
            expires_at,
            rpm,
            tpm,
            max_parallel,
            priority,
            tags,
            overlap_until,
            rotated_at,
            revoked_at,
            created_at: now,
        };
        let shown = ShownKey::for_app(id, self.ledger.entropy().bytes());
        rows::insert_key(&mut change.tx, &row, shown.hash(), content).await?;
        let entry = Entry::new(Some(org), kind::KEY_CREATED, *actor)
            .with("key_id", row.id)
            .with("wallet_id", row.wallet)
            .with("team_id", row.team)
            .with("user_id", row.user)
            .with("models", &row.models)
            .with("expires_at", row.expires_at)
            .with("rpm", row.rpm)
            .with("tpm", row.tpm)
            .with("max_parallel_requests", row.max_parallel)
            .with("priority", (row.priority != Priority::Normal).then_some(row.priority.as_str()))
            .with("tags_sha256", check::tags_hash(&row.tags));
        self.commit(change, now, &[entry]).await?;
        Ok((row, shown))
    }

    /// Says other things of a key's calls from now on.
    pub async fn tag_key(&self, id: Id<Key>, tags: Tags, actor: &Actor) -> Result<KeyRow, TenantError> {
        self.change_key(id, KeyChange { tags: Some(tags), ..KeyChange::default() }, actor).await
    }

    /// Changes what is said of a key's calls and how many there may be. A revoked key may still be told apart so.
    pub async fn change_key(&self, id: Id<Key>, to: KeyChange, actor: &Actor) -> Result<KeyRow, TenantError> {
        to.tags.as_ref().map_or(Ok(()), check::tags)?;
        let mut change = Change::begin(self.db()).await?;
        let row = rows::lock::<KeyRow>(&mut change.tx, id.to_string()).await?;
        let old = row.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let limits = to.limits.of(old.limits());
        limits.check()?;
        let Limits { rpm, tpm, max_parallel } = limits;
        let (tags, priority) = (to.tags.unwrap_or_else(|| old.tags.clone()), to.priority.unwrap_or(old.priority));
        let row = KeyRow { tags, rpm, tpm, max_parallel, priority, ..old.clone() };
        if row == old {
            return Ok(row);
        }
        rows::update_key(&mut change.tx, &row).await?;
        let mut entry = Entry::new(Some(row.org), kind::KEY_CHANGED, *actor).with("key_id", row.id);
        if row.tags != old.tags {
            entry = entry
                .with("from_tags_sha256", check::tags_hash(&old.tags))
                .with("tags_sha256", check::tags_hash(&row.tags));
        }
        if row.limits() != old.limits() {
            entry = entry.with("from", old.limits()).with("to", row.limits());
        }
        if row.priority != old.priority {
            entry = entry.with("from_priority", old.priority.as_str()).with("priority", row.priority.as_str());
        }
        self.commit(change, self.now(), &[entry]).await?;
        Ok(row)
    }

    /// Gives a key a new secret. The old one stays good for the overlap, one from an earlier overlap ends now.
    pub async fn rotate_key(&self, rotation: Rotation, actor: &Actor) -> Result<(KeyRow, ShownKey), TenantError> {
        let now = self.now();
        check::overlap(rotation.overlap, LONGEST_OVERLAP)?;
        let content = check::content(&(rotation.key, rotation.overlap.as_micros().to_string()));
        let mut change = Change::begin(self.db()).await?;
        if let Some(made_of) = rows::find_rotation(&mut change.tx, &rotation.id).await? {
            check::repeat((), &rotation.key, made_of, content)?;
            return Err(TenantError::AlreadyShown(rotation.key.to_string()));
        }
        let row = rows::lock::<KeyRow>(&mut change.tx, rotation.key.to_string()).await?;
        let mut row = row.ok_or_else(|| TenantError::Unknown(rotation.key.to_string()))?;
        if !row.is_live(now) {
            return Err(TenantError::Ended(row.id.to_string()));
        }
        row.rotated_at = Some(now);
        row.overlap_until = Some(now.after(rotation.overlap)).filter(|until| *until > now);
        let shown = ShownKey::for_app(row.id, self.ledger.entropy().bytes());
        rows::rotate_key(&mut change.tx, &row, shown.hash()).await?;
        rows::insert_rotation(&mut change.tx, &rotation.id, row.id, content, now).await?;
        let entry = Entry::new(Some(row.org), kind::KEY_ROTATED, *actor)
            .with("key_id", row.id)
            .with("overlap_until", row.overlap_until);
        self.commit(change, now, &[entry]).await?;
        Ok((row, shown))
    }

    /// Ends a key and any overlap of it. Ending it again changes nothing.
    pub async fn revoke_key(&self, id: Id<Key>, actor: &Actor) -> Result<KeyRow, TenantError> {
        let now = self.now();
        let mut change = Change::begin(self.db()).await?;
        let row = rows::lock::<KeyRow>(&mut change.tx, id.to_string()).await?;
        let mut row = row.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        if row.revoked_at.is_some() {
            return Ok(row);
        }
        (row.revoked_at, row.overlap_until) = (Some(now), None);
        rows::revoke_key(&mut change.tx, id, now).await?;
        let entry = Entry::new(Some(row.org), kind::KEY_REVOKED, *actor).with("key_id", id);
        self.commit(change, now, &[entry]).await?;
        Ok(row)
    }

    /// One app key, living or not.
    pub async fn key(&self, id: Id<Key>) -> Result<KeyRow, TenantError> {
        rows::get(self.db(), id.to_string()).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))
    }

    /// App keys, living or not, oldest first; of one organisation and one wallet, if they are named.
    pub async fn keys(
        &self,
        org: Option<Id<Org>>,
        wallet: Option<Id<Wallet>>,
        page: &Page,
    ) -> Result<Vec<KeyRow>, TenantError> {
        let filters = [("org_id", org.map(|id| id.to_string())), ("wallet_id", wallet.map(|id| id.to_string()))];
        Ok(rows::list(self.db(), &filters, page).await?)
    }
}

/// What came later counts only where it says something: a repeat of what an earlier release made is still one.
fn content(new: &NewKey) -> [u8; 32] {
    let who = (&new.name, new.wallet, new.team, new.user);
    let what = (&new.models, new.expires_at.map(Timestamp::micros), new.rpm, new.tpm);
    if new.max_parallel.is_some() || new.priority != Priority::Normal {
        return check::content(&(who, what, &new.tags, new.max_parallel, new.priority.as_str()));
    }
    if new.tags.is_empty() { check::content(&(who, what)) } else { check::content(&(who, what, &new.tags)) }
}

fn check_new(new: &NewKey) -> Result<(), TenantError> {
    check::name(&new.name)?;
    check::tags(&new.tags)?;
    check::models(new.models.as_deref())?;
    new.limits().check()
}

/// The organisation that a new key belongs to, by its wallet, and the team.
async fn owner(change: &mut Change, new: &NewKey) -> Result<(Id<Org>, Option<Id<Team>>), TenantError> {
    let Some((wallet, _)) = rows::find::<WalletRow>(&mut change.tx, new.wallet.to_string()).await? else {
        return Err(check::invalid("wallet", format!("names {}, which does not exist", new.wallet)));
    };
    if wallet.kind == WalletKind::Scope {
        return Err(check::invalid("wallet", format!("names {}, which is a scope: no key is on one", new.wallet)));
    }
    if wallet.status == WalletStatus::Closed {
        return Err(check::invalid("wallet", format!("names {}, which is closed", new.wallet)));
    }
    if let Some(user) = new.user {
        check_user(change, wallet.org, user).await?;
    }
    match new.team {
        Some(team) => {
            check_team("team", change, wallet.org, team).await?;
            Ok((wallet.org, Some(team)))
        }
        None => Ok((wallet.org, rows::nearest_team(&mut change.tx, new.wallet).await?)),
    }
}
