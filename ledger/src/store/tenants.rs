//! Tenants in SQL: one text for both databases.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::terms::{calendar, soft_action, thresholds};
use super::{Database, Row, Tx, Value, audit, values};
use crate::audit::Entry;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Key, Operator, Org, Team, User, Wallet};
use crate::tenants::{
    Attributes, Credential, CredentialAttributes, Funding, KeyRow, Limits, OperatorCredential, OperatorRow, OrgRow,
    Overlap, Page, Priority, Role, Scope, TeamRow, UserRow, WalletKind, WalletRow, WalletStatus,
};
use crate::window::Zone;

const ORG: &str = "SELECT id, name, content, created_at, attributes FROM orgs";
const TEAM: &str = "SELECT id, org_id, name, content, created_at, rpm, tpm, max_parallel, attributes FROM teams";
const USER: &str = "SELECT id, org_id, name, email, content, created_at, group_names, attributes FROM users";
const WALLET: &str = "SELECT id, org_id, name, kind, parent_id, team_id, user_id, status, hard_limit, soft_limit,
    window_kind, funding, funded, content, created_at, thresholds, soft_action, time_zone, anchor, scope, under_id, closed_at
    FROM wallets";
const KEY: &str = "SELECT id, org_id, wallet_id, team_id, user_id, name, models, rpm, tpm, expires_at, previous_until,
    rotated_at, revoked_at, content, created_at, tags, max_parallel, priority FROM keys";
const OPERATOR: &str = "SELECT id, name, source, secret_hash, created_at, role, org_id, revoked_at FROM operators";

/// A kind of row that is read by id and listed.
pub(crate) trait Stored: Sized {
    /// Reads all of them; ready for a WHERE.
    const SELECT: &'static str;
    fn read(row: &Row) -> Result<Self, StoreError>;
}

impl Stored for OrgRow {
    const SELECT: &'static str = ORG;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let attributes = json(row, "attributes")?.unwrap_or_default();
        Ok(OrgRow { id: row.id("id")?, name: row.get("name")?, attributes, created_at: row.time("created_at")? })
    }
}

impl Stored for TeamRow {
    const SELECT: &'static str = TEAM;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let (id, org, name) = (row.id("id")?, row.id("org_id")?, row.get("name")?);
        let limits = limits(row, ["rpm", "tpm", "max_parallel"])?;
        let attributes = json(row, "attributes")?.unwrap_or_default();
        Ok(TeamRow { id, org, name, limits, attributes, created_at: row.time("created_at")? })
    }
}

impl Stored for UserRow {
    const SELECT: &'static str = USER;
    /// Its teams are read apart: [`add_teams`].
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(UserRow {
            id: row.id("id")?,
            org: row.id("org_id")?,
            name: row.get("name")?,
            email: row.get("email")?,
            teams: Vec::new(),
            groups: json(row, "group_names")?.unwrap_or_default(),
            attributes: json(row, "attributes")?.unwrap_or_default(),
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for WalletRow {
    const SELECT: &'static str = WALLET;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let (window, zone): (String, Option<String>) = (row.get("window_kind")?, row.get("time_zone")?);
        let closed_at = row.maybe_time("closed_at")?;
        Ok(WalletRow {
            id: row.id("id")?,
            org: row.id("org_id")?,
            name: row.get("name")?,
            kind: word(row, "kind", WalletKind::from_word)?,
            parent: row.maybe_id("parent_id")?,
            team: row.maybe_id("team_id")?,
            user: row.maybe_id("user_id")?,
            status: match closed_at {
                Some(_) => WalletStatus::Closed,
                None => word(row, "status", WalletStatus::from_word)?,
            },
            hard_limit: row.maybe_money("hard_limit")?,
            soft_limit: row.maybe_money("soft_limit")?,
            thresholds: thresholds(row.get::<Option<String>>("thresholds")?.as_deref())?,
            soft_action: soft_action(&row.get::<String>("soft_action")?)?,
            window: calendar(&window, zone.as_deref(), row.get("anchor")?)?,
            coverage: json(row, "scope")?,
            under: row.maybe_id("under_id")?,
            closed_at,
            funding: word(row, "funding", Funding::from_word)?,
            funded: row.money("funded")?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for KeyRow {
    const SELECT: &'static str = KEY;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let Limits { rpm, tpm, max_parallel } = limits(row, ["rpm", "tpm", "max_parallel"])?;
        Ok(KeyRow {
            id: row.id("id")?,
            org: row.id("org_id")?,
            name: row.get("name")?,
            wallet: row.id("wallet_id")?,
            team: row.maybe_id("team_id")?,
            user: row.maybe_id("user_id")?,
            models: json(row, "models")?,
            tags: json(row, "tags")?.unwrap_or_default(),
            expires_at: row.maybe_time("expires_at")?,
            rpm,
            tpm,
            max_parallel,
            priority: word(row, "priority", Priority::from_word)?,
            overlap_until: row.maybe_time("previous_until")?,
            rotated_at: row.maybe_time("rotated_at")?,
            revoked_at: row.maybe_time("revoked_at")?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for OperatorRow {
    const SELECT: &'static str = OPERATOR;
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(OperatorRow {
            id: row.id("id")?,
            name: row.get("name")?,
            bootstrap: row.get::<String>("source")? == "bootstrap",
            role: word(row, "role", Role::from_word)?,
            org: row.maybe_id("org_id")?,
            created_at: row.time("created_at")?,
            revoked_at: row.maybe_time("revoked_at")?,
        })
    }
}

/// Requests and tokens a minute, calls in flight, from the columns that have them.
fn limits(row: &Row, [rpm, tpm, parallel]: [&str; 3]) -> Result<Limits, StoreError> {
    let number = |column: &str| row.get::<Option<i64>>(column);
    Ok(Limits {
        rpm: number(rpm)?.and_then(|rate| rate.try_into().ok()),
        tpm: number(tpm)?.and_then(|rate| rate.try_into().ok()),
        max_parallel: number(parallel)?.and_then(|rate| rate.try_into().ok()),
    })
}

fn word<T>(row: &Row, column: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    read(&text).ok_or_else(|| StoreError::Corrupt(format!("{column} {text:?}")))
}

/// A column of JSON, or nothing.
fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Corrupt(column.to_owned()))).transpose()
}

/// What a column of JSON is to hold; nothing where there is nothing to tell.
fn told(value: &impl serde::Serialize, is_nothing: bool) -> Option<String> {
    (!is_nothing).then(|| serde_json::json!(value).to_string())
}

/// The one with this id.
pub(crate) async fn get<T: Stored>(db: &Database, id: String) -> Result<Option<T>, StoreError> {
    let row = db.row(format!("{} WHERE id = $1", T::SELECT), values![id]).await?;
    row.as_ref().map(T::read).transpose()
}

/// The one with this id, and the fingerprint of what it was made of.
pub(crate) async fn find<T: Stored>(tx: &mut Tx, id: String) -> Result<Option<(T, [u8; 32])>, StoreError> {
    let row = tx.row(format!("{} WHERE id = $1", T::SELECT), values![id]).await?;
    row.as_ref().map(|row| Ok((T::read(row)?, row.hash("content")?))).transpose()
}

/// The one with this id, kept from changing until the end of the transaction.
pub(crate) async fn lock<T: Stored>(tx: &mut Tx, id: String) -> Result<Option<T>, StoreError> {
    let rows = tx.rows_for_update(format!("{} WHERE id = $1", T::SELECT), values![id]).await?;
    rows.first().map(T::read).transpose()
}

/// A page of them, oldest first; of those whose `column` is the given value, for each filter.
pub(crate) async fn list<T: Stored>(
    db: &Database,
    filters: &[(&'static str, Option<String>)],
    page: &Page,
) -> Result<Vec<T>, StoreError> {
    let (at, id) = page.start();
    let mut parameters = values![at, id, i64::from(page.limit)];
    let mut filtered = String::new();
    for (column, value) in filters {
        if let Some(value) = value {
            parameters.push(Value::from(value));
            filtered.push_str(&format!(" AND {column} = ${}", parameters.len()));
        }
    }
    let sql = format!("{} WHERE (created_at, id) > ($1, $2){filtered} ORDER BY created_at, id LIMIT $3", T::SELECT);
    db.rows(sql, parameters).await?.iter().map(T::read).collect()
}

/// Fills in the teams of these people.
pub(crate) async fn add_teams(db: &Database, users: &mut [UserRow]) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    let places = (1..=users.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT user_id, team_id FROM user_teams WHERE user_id IN ({places}) ORDER BY user_id, team_id");
    let mut teams: BTreeMap<Id<User>, Vec<Id<Team>>> = BTreeMap::new();
    for row in db.rows(sql, users.iter().map(|user| Value::from(user.id)).collect()).await? {
        teams.entry(row.id("user_id")?).or_default().push(row.id("team_id")?);
    }
    for user in users {
        user.teams = teams.remove(&user.id).unwrap_or_default();
    }
    Ok(())
}

/// A tenant write. Beginning it takes the revision's lock, so that there is one at a time in the whole installation.
pub(crate) struct Change {
    pub tx: Tx,
    revision: i64,
}

impl Change {
    pub async fn begin(db: &Database) -> Result<Change, StoreError> {
        let mut tx = db.begin().await?;
        let rows = tx.rows_for_update("SELECT value FROM meta WHERE name = 'config_revision'", values![]).await?;
        let revision = revision_of(rows.first())?;
        Ok(Change { tx, revision })
    }

    /// Makes it durable, with its audit entries and as the next revision.
    pub async fn commit(mut self, at: Timestamp, entries: &[Entry]) -> Result<(), StoreError> {
        let next = (self.revision + 1).to_string();
        self.tx.execute("UPDATE meta SET value = $1 WHERE name = 'config_revision'", values![next]).await?;
        audit::append(&mut self.tx, at, entries).await?;
        self.tx.commit().await
    }
}

fn revision_of(row: Option<&Row>) -> Result<i64, StoreError> {
    let corrupt = || StoreError::Corrupt("config_revision".to_owned());
    row.ok_or_else(corrupt)?.get::<String>("value")?.parse().map_err(|_| corrupt())
}

pub(crate) async fn insert_org(tx: &mut Tx, org: &OrgRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO orgs (id, name, content, created_at, attributes) VALUES ($1, $2, $3, $4, $5)",
        values![org.id, &org.name, content, org.created_at, told(&org.attributes, org.attributes.is_empty())],
    )
    .await?;
    Ok(())
}

/// Saves what may change of an organisation.
pub(crate) async fn update_org(tx: &mut Tx, org: &OrgRow) -> Result<(), StoreError> {
    let attributes = told(&org.attributes, org.attributes.is_empty());
    tx.execute("UPDATE orgs SET name = $2, attributes = $3 WHERE id = $1", values![org.id, &org.name, attributes])
        .await?;
    Ok(())
}

pub(crate) async fn insert_team(tx: &mut Tx, team: &TeamRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO teams (id, org_id, name, content, created_at, rpm, tpm, max_parallel, attributes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        values![
            team.id,
            team.org,
            &team.name,
            content,
            team.created_at,
            team.limits.rpm.map(i64::from),
            stored(team.limits.tpm),
            team.limits.max_parallel.map(i64::from),
            told(&team.attributes, team.attributes.is_empty()),
        ],
    )
    .await?;
    Ok(())
}

/// Saves what may change of a team.
pub(crate) async fn update_team(tx: &mut Tx, team: &TeamRow) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE teams SET name = $2, rpm = $3, tpm = $4, max_parallel = $5, attributes = $6 WHERE id = $1",
        values![
            team.id,
            &team.name,
            team.limits.rpm.map(i64::from),
            stored(team.limits.tpm),
            team.limits.max_parallel.map(i64::from),
            told(&team.attributes, team.attributes.is_empty()),
        ],
    )
    .await?;
    Ok(())
}

fn stored(rate: Option<u64>) -> Option<i64> {
    rate.map(|rate| i64::try_from(rate).unwrap_or(i64::MAX))
}

pub(crate) async fn insert_user(tx: &mut Tx, user: &UserRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, org_id, name, email, content, created_at, group_names, attributes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            user.id,
            user.org,
            &user.name,
            user.email.as_ref(),
            content,
            user.created_at,
            told(&user.groups, user.groups.is_empty()),
            told(&user.attributes, user.attributes.is_empty()),
        ],
    )
    .await?;
    insert_teams(tx, user).await
}

async fn insert_teams(tx: &mut Tx, user: &UserRow) -> Result<(), StoreError> {
    for team in &user.teams {
        tx.execute("INSERT INTO user_teams (user_id, team_id) VALUES ($1, $2)", values![user.id, *team]).await?;
    }
    Ok(())
}

/// Saves what may change of a person; their teams only where those are others.
pub(crate) async fn update_user(tx: &mut Tx, user: &UserRow, teams: bool) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET name = $2, email = $3, group_names = $4, attributes = $5 WHERE id = $1",
        values![
            user.id,
            &user.name,
            user.email.as_ref(),
            told(&user.groups, user.groups.is_empty()),
            told(&user.attributes, user.attributes.is_empty()),
        ],
    )
    .await?;
    if teams {
        tx.execute("DELETE FROM user_teams WHERE user_id = $1", values![user.id]).await?;
        insert_teams(tx, user).await?;
    }
    Ok(())
}

/// A person's teams, in the order of their ids.
pub(crate) async fn teams_of(tx: &mut Tx, user: Id<User>) -> Result<Vec<Id<Team>>, StoreError> {
    let rows = tx.rows("SELECT team_id FROM user_teams WHERE user_id = $1 ORDER BY team_id", values![user]).await?;
    rows.iter().map(|row| row.id("team_id")).collect()
}

/// Writes the wallet, its chain up to the root, and the chain of itself alone.
pub(crate) async fn insert_wallet(tx: &mut Tx, wallet: &WalletRow, content: [u8; 32]) -> Result<(), StoreError> {
    if let Some(parent) = wallet.parent {
        // The writer locks wallets in the order of their ids; so does this, before references lock them one by one.
        tx.rows_for_update(
            "SELECT id FROM wallets WHERE id IN (SELECT wallet_id FROM chain_members WHERE chain = $1) ORDER BY id",
            values![parent],
        )
        .await?;
    }
    tx.execute(
        "INSERT INTO wallets (id, org_id, name, kind, parent_id, team_id, user_id, status, hard_limit, soft_limit,
                              window_kind, funding, funded, content, created_at, thresholds, soft_action, time_zone,
                              anchor, scope, under_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        values![
            wallet.id,
            wallet.org,
            &wallet.name,
            wallet.kind.as_str(),
            wallet.parent,
            wallet.team,
            wallet.user,
            wallet.status.as_str(),
            wallet.hard_limit,
            wallet.soft_limit,
            wallet.window.kind().as_str(),
            wallet.funding.as_str(),
            wallet.funded,
            content,
            wallet.created_at,
            thresholds_told(wallet),
            wallet.soft_action.as_str(),
            zone_told(wallet),
            anchor_told(wallet),
            wallet.coverage.as_ref().and_then(|it| told(it, false)),
            wallet.under,
        ],
    )
    .await?;
    let member = "INSERT INTO chain_members (chain, wallet_id, depth) VALUES ($1, $2, 0)";
    tx.execute(member, values![wallet.id, wallet.id]).await?;
    tx.execute(member, values![format!("solo_{}", wallet.id), wallet.id]).await?;
    if let Some(parent) = wallet.parent {
        tx.execute(
            "INSERT INTO chain_members (chain, wallet_id, depth)
             SELECT $1, wallet_id, depth + 1 FROM chain_members WHERE chain = $2",
            values![wallet.id, parent],
        )
        .await?;
    }
    Ok(())
}

/// The wallet, kept from changing and from being moved in: the writer locks the root above it before it moves money.
pub(crate) async fn lock_wallet(tx: &mut Tx, wallet: Id<Wallet>) -> Result<Option<WalletRow>, StoreError> {
    tx.rows_for_update(
        "SELECT id FROM wallets WHERE parent_id IS NULL AND id IN
             (SELECT wallet_id FROM chain_members WHERE chain = $1) ORDER BY id",
        values![wallet],
    )
    .await?;
    lock(tx, wallet.to_string()).await
}

/// How many wallets lie from this one to its root, itself included.
pub(crate) async fn chain_length(tx: &mut Tx, wallet: Id<Wallet>) -> Result<i64, StoreError> {
    let row = tx.row("SELECT COUNT(*) AS n FROM chain_members WHERE chain = $1", values![wallet]).await?;
    row.map_or(Ok(0), |row| row.get("n"))
}

/// The team of the nearest wallet that has one, from this wallet upwards.
pub(crate) async fn nearest_team(tx: &mut Tx, wallet: Id<Wallet>) -> Result<Option<Id<Team>>, StoreError> {
    let row = tx
        .row(
            "SELECT w.team_id FROM chain_members m JOIN wallets w ON w.id = m.wallet_id
             WHERE m.chain = $1 AND w.team_id IS NOT NULL ORDER BY m.depth LIMIT 1",
            values![wallet],
        )
        .await?;
    row.map_or(Ok(None), |row| row.maybe_id("team_id"))
}

// What is as usual is not told, as in rows of before there was anything else.
fn thresholds_told(wallet: &WalletRow) -> Option<String> {
    told(&wallet.thresholds.iter().collect::<Vec<_>>(), wallet.thresholds.is_empty())
}

fn zone_told(wallet: &WalletRow) -> Option<&'static str> {
    (wallet.window.zone() != Zone::UTC).then(|| wallet.window.zone().as_str())
}

fn anchor_told(wallet: &WalletRow) -> Option<i64> {
    (wallet.window.anchor() != 1).then(|| i64::from(wallet.window.anchor()))
}

/// Saves what may change of a wallet. A closed one is suspended as well, for processes that do not know the other.
pub(crate) async fn update_wallet(tx: &mut Tx, wallet: &WalletRow) -> Result<(), StoreError> {
    let status = if wallet.status == WalletStatus::Closed { WalletStatus::Suspended } else { wallet.status };
    tx.execute(
        "UPDATE wallets SET name = $2, status = $3, hard_limit = $4, soft_limit = $5, window_kind = $6, thresholds = $7,
                            soft_action = $8, time_zone = $9, anchor = $10, scope = $11, closed_at = $12
          WHERE id = $1",
        values![
            wallet.id,
            &wallet.name,
            status.as_str(),
            wallet.hard_limit,
            wallet.soft_limit,
            wallet.window.kind().as_str(),
            thresholds_told(wallet),
            wallet.soft_action.as_str(),
            zone_told(wallet),
            anchor_told(wallet),
            wallet.coverage.as_ref().and_then(|it| told(it, false)),
            wallet.closed_at,
        ],
    )
    .await?;
    Ok(())
}

/// Calls that hold something in the wallet, be it nothing: those of keys on it, below it, and covered by it.
pub(crate) async fn calls_in_flight(tx: &mut Tx, wallet: Id<Wallet>) -> Result<i64, StoreError> {
    let row = tx
        .row(
            "SELECT COUNT(*) AS n FROM holds h JOIN chain_members c ON c.chain = h.chain WHERE c.wallet_id = $1",
            values![wallet],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("n"))
}

/// Scopes that are in force, with the wallets of living keys that each is about.
pub(crate) async fn scopes(db: &Database) -> Result<Vec<Scope>, StoreError> {
    let rows = db
        .rows(
            "SELECT id, org_id, under_id, scope FROM wallets WHERE kind = 'scope' AND closed_at IS NULL ORDER BY id",
            values![],
        )
        .await?;
    let mut scopes = rows
        .iter()
        .map(|row| {
            Ok(Scope {
                wallet: row.id("id")?,
                org: row.id("org_id")?,
                under: row.maybe_id("under_id")?,
                coverage: json(row, "scope")?.ok_or_else(|| StoreError::Corrupt("scope".to_owned()))?,
                leaves: BTreeSet::new(),
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    if scopes.iter().all(|scope| scope.under.is_none()) {
        return Ok(scopes);
    }
    let rows = db
        .rows(
            "SELECT DISTINCT c.wallet_id AS under_id, k.wallet_id AS leaf_id
               FROM keys k JOIN chain_members c ON c.chain = k.wallet_id
              WHERE k.revoked_at IS NULL
                AND c.wallet_id IN (SELECT under_id FROM wallets WHERE kind = 'scope' AND under_id IS NOT NULL)",
            values![],
        )
        .await?;
    let mut leaves: BTreeMap<Id<Wallet>, BTreeSet<Id<Wallet>>> = BTreeMap::new();
    for row in &rows {
        leaves.entry(row.id("under_id")?).or_default().insert(row.id("leaf_id")?);
    }
    for scope in &mut scopes {
        scope.leaves = scope.under.and_then(|under| leaves.get(&under)).cloned().unwrap_or_default();
    }
    Ok(scopes)
}

pub(crate) async fn insert_key(
    tx: &mut Tx,
    key: &KeyRow,
    secret: [u8; 32],
    content: [u8; 32],
) -> Result<(), StoreError> {
    let models = key.models.as_ref().map(|models| serde_json::json!(models).to_string());
    tx.execute(
        "INSERT INTO keys (id, org_id, wallet_id, team_id, user_id, name, secret_hash, models, rpm, tpm, expires_at,
                           content, created_at, tags, max_parallel, priority)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        values![
            key.id,
            key.org,
            key.wallet,
            key.team,
            key.user,
            &key.name,
            secret,
            models,
            key.rpm.map(i64::from),
            stored(key.tpm),
            key.expires_at,
            content,
            key.created_at,
            told(&key.tags, key.tags.is_empty()),
            key.max_parallel.map(i64::from),
            key.priority.as_str(),
        ],
    )
    .await?;
    Ok(())
}

/// Saves what may change of a key beside its secret.
pub(crate) async fn update_key(tx: &mut Tx, key: &KeyRow) -> Result<(), StoreError> {
    let tags = told(&key.tags, key.tags.is_empty());
    let (rpm, parallel) = (key.rpm.map(i64::from), key.max_parallel.map(i64::from));
    tx.execute(
        "UPDATE keys SET tags = $2, rpm = $3, tpm = $4, max_parallel = $5, priority = $6 WHERE id = $1",
        values![key.id, tags, rpm, stored(key.tpm), parallel, key.priority.as_str()],
    )
    .await?;
    Ok(())
}

/// Puts a new secret in the place of the old one, which stays good until `previous_until`.
pub(crate) async fn rotate_key(tx: &mut Tx, key: &KeyRow, secret: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE keys SET previous_hash = CASE WHEN $3 > $4 THEN secret_hash ELSE NULL END,
                         previous_until = $3, secret_hash = $2, rotated_at = $4
         WHERE id = $1",
        values![key.id, secret, key.overlap_until, key.rotated_at],
    )
    .await?;
    Ok(())
}

pub(crate) async fn find_rotation(tx: &mut Tx, id: &str) -> Result<Option<[u8; 32]>, StoreError> {
    let row = tx.row("SELECT content FROM key_rotations WHERE id = $1", values![id]).await?;
    row.map(|row| row.hash("content")).transpose()
}

pub(crate) async fn insert_rotation(
    tx: &mut Tx,
    id: &str,
    key: Id<Key>,
    content: [u8; 32],
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO key_rotations (id, key_id, content, at) VALUES ($1, $2, $3, $4)",
        values![id, key, content, at],
    )
    .await?;
    Ok(())
}

pub(crate) async fn revoke_key(tx: &mut Tx, key: Id<Key>, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE keys SET revoked_at = $2, previous_hash = NULL, previous_until = NULL WHERE id = $1",
        values![key, at],
    )
    .await?;
    Ok(())
}

/// The living keys. The revision is read first: what commits in between is in the rows and is read again, never missed.
pub(crate) async fn revision(db: &Database) -> Result<i64, StoreError> {
    revision_of(db.row("SELECT value FROM meta WHERE name = 'config_revision'", values![]).await?.as_ref())
}

pub(crate) async fn credentials(db: &Database, now: Timestamp) -> Result<Vec<Credential>, StoreError> {
    let rows = db
        .rows(
            "SELECT k.id, k.org_id, k.wallet_id, k.team_id, k.user_id, k.secret_hash, k.previous_hash, k.previous_until,
                    k.models, k.rpm, k.tpm, k.max_parallel, k.priority, k.expires_at, k.tags,
                    t.rpm AS team_rpm, t.tpm AS team_tpm, t.max_parallel AS team_parallel
               FROM keys k LEFT JOIN teams t ON t.id = k.team_id
              WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1)",
            values![now],
        )
        .await?;
    let said = said(db).await?;
    rows.iter().map(|row| credential(row, &said)).collect()
}

/// What admins say of those that living keys belong to, once each, by their ids.
#[derive(Default)]
struct Said {
    attributes: HashMap<String, Arc<Attributes>>,
    groups: HashMap<String, Arc<Vec<String>>>,
    nothing: Arc<Attributes>,
    nobody: Arc<Vec<String>>,
}

impl Said {
    fn attributes(&self, id: Option<String>) -> Arc<Attributes> {
        Arc::clone(id.and_then(|id| self.attributes.get(&id)).unwrap_or(&self.nothing))
    }
}

async fn said(db: &Database) -> Result<Said, StoreError> {
    // Apart from the keys: most have nothing said of them, and what is said of an organisation would come with each of its keys.
    let rows = db
        .rows(
            "SELECT id, attributes, NULL AS group_names FROM orgs WHERE attributes IS NOT NULL
             UNION ALL SELECT id, attributes, NULL FROM teams WHERE attributes IS NOT NULL
             UNION ALL SELECT id, attributes, group_names FROM users
              WHERE (attributes IS NOT NULL OR group_names IS NOT NULL)
                AND id IN (SELECT user_id FROM keys WHERE revoked_at IS NULL)",
            values![],
        )
        .await?;
    let mut said = Said::default();
    for row in &rows {
        let id: String = row.get("id")?;
        if let Some(groups) = json::<Vec<String>>(row, "group_names")? {
            said.groups.insert(id.clone(), Arc::new(groups));
        }
        if let Some(attributes) = json::<Attributes>(row, "attributes")? {
            said.attributes.insert(id, Arc::new(attributes));
        }
    }
    Ok(said)
}

fn credential(row: &Row, said: &Said) -> Result<Credential, StoreError> {
    let overlap = match (row.get::<Option<Vec<u8>>>("previous_hash")?, row.maybe_time("previous_until")?) {
        (Some(_), Some(until)) => Some(Overlap { secret_hash: row.hash("previous_hash")?, until }),
        _ => None,
    };
    let Limits { rpm, tpm, max_parallel } = limits(row, ["rpm", "tpm", "max_parallel"])?;
    Ok(Credential {
        key: row.id("id")?,
        org: row.id("org_id")?,
        wallet: row.id("wallet_id")?,
        team: row.maybe_id("team_id")?,
        user: row.maybe_id("user_id")?,
        secret_hash: row.hash("secret_hash")?,
        overlap,
        models: json(row, "models")?,
        tags: json(row, "tags")?.unwrap_or_default(),
        groups: row
            .get::<Option<String>>("user_id")?
            .and_then(|id| said.groups.get(&id))
            .unwrap_or(&said.nobody)
            .clone(),
        attributes: CredentialAttributes {
            org: said.attributes(Some(row.get("org_id")?)),
            team: said.attributes(row.get("team_id")?),
            user: said.attributes(row.get("user_id")?),
        },
        rpm,
        tpm,
        max_parallel,
        team_limits: limits(row, ["team_rpm", "team_tpm", "team_parallel"])?,
        priority: word(row, "priority", Priority::from_word)?,
        expires_at: row.maybe_time("expires_at")?,
    })
}

pub(crate) async fn operator_credentials(db: &Database) -> Result<Vec<OperatorCredential>, StoreError> {
    let rows = db.rows(format!("{OPERATOR} WHERE revoked_at IS NULL"), values![]).await?;
    rows.iter()
        .map(|row| {
            let (id, secret_hash) = (row.id("id")?, row.hash("secret_hash")?);
            let (role, org) = (word(row, "role", Role::from_word)?, row.maybe_id("org_id")?);
            Ok(OperatorCredential { id, secret_hash, role, org })
        })
        .collect()
}

/// The living operators with their hashes, oldest first.
pub(crate) async fn operators(tx: &mut Tx) -> Result<Vec<(OperatorRow, [u8; 32])>, StoreError> {
    let rows = tx.rows(format!("{OPERATOR} WHERE revoked_at IS NULL ORDER BY created_at, id"), values![]).await?;
    rows.iter().map(|row| Ok((OperatorRow::read(row)?, row.hash("secret_hash")?))).collect()
}

/// The operator with this id, living or not.
pub(crate) async fn find_operator(tx: &mut Tx, id: Id<Operator>) -> Result<Option<OperatorRow>, StoreError> {
    let row = tx.row(format!("{OPERATOR} WHERE id = $1"), values![id]).await?;
    row.as_ref().map(OperatorRow::read).transpose()
}

pub(crate) async fn insert_operator(tx: &mut Tx, operator: &OperatorRow, secret: [u8; 32]) -> Result<(), StoreError> {
    let source = if operator.bootstrap { "bootstrap" } else { "minted" };
    tx.execute(
        "INSERT INTO operators (id, name, source, secret_hash, created_at, role, org_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![
            operator.id,
            &operator.name,
            source,
            secret,
            operator.created_at,
            operator.role.as_str(),
            operator.org,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn revoke_operator(tx: &mut Tx, id: Id<Operator>, at: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE operators SET revoked_at = $2 WHERE id = $1", values![id, at]).await?;
    Ok(())
}

/// Whether the organisation is there.
pub(crate) async fn has_org(tx: &mut Tx, org: Id<Org>) -> Result<bool, StoreError> {
    Ok(tx.row("SELECT id FROM orgs WHERE id = $1", values![org]).await?.is_some())
}

/// Takes a name for a content, and forgets names taken before `forget`. Answers the content that has it now.
pub(crate) async fn claim(
    tx: &mut Tx,
    name: [u8; 32],
    content: [u8; 32],
    at: Timestamp,
    forget: Timestamp,
) -> Result<[u8; 32], StoreError> {
    tx.execute("DELETE FROM admin_claims WHERE at < $1", values![forget]).await?;
    tx.execute(
        "INSERT INTO admin_claims (name, content, at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
        values![name, content, at],
    )
    .await?;
    let row = tx.row("SELECT content FROM admin_claims WHERE name = $1", values![name]).await?;
    row.ok_or_else(|| StoreError::Corrupt("admin claim".to_owned()))?.hash("content")
}

/// Frees a name again.
pub(crate) async fn unclaim(tx: &mut Tx, name: [u8; 32]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM admin_claims WHERE name = $1", values![name]).await?;
    Ok(())
}
