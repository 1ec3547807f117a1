//! Wallets as they are made. What is spent and held in them is the writer's; how they change is told in `change.rs`.

use serde::Serialize;

use super::people::{check_org, check_team, check_user};
use super::scope::Coverage;
use super::{Mark, Page, TenantError, Tenants, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Org, Team, User, Wallet};
use crate::money::Money;
use crate::soft::{SoftAction, Threshold, Thresholds};
use crate::store::tenants::{self as rows, Change};
use crate::window::{Calendar, Window, Zone};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The word for it in JSON and SQL.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }

            /// The one that is called `word`.
            pub fn from_word(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }
    };
}

pub(crate) use words;

words! {
    /// Whose money a wallet stands for. More kinds will come.
    WalletKind {
        /// An organisation's: the root of a chain, without a parent.
        Org = "org",
        /// A team's.
        Team = "team",
        /// A person's.
        User = "user",
        /// A project's.
        Project = "project",
        /// One key's.
        Key = "key",
        /// A model's or a tag's: a wallet beside the chains, which the calls that it covers hold money in too.
        Scope = "scope",
    }
}

words! {
    /// Whether a wallet admits calls.
    WalletStatus {
        /// It does.
        Active = "active",
        /// It admits nothing; what is in flight still settles.
        Suspended = "suspended",
        /// It admits nothing ever again, and nothing of it changes.
        Closed = "closed",
    }
}

words! {
    /// Where a wallet's allowance comes from.
    Funding {
        /// A limit that renews with its window.
        Budget = "budget",
        /// What was paid in: it is spent once, whatever the window; a hard limit then bounds each window of it.
        Prepaid = "prepaid",
    }
}

/// The day that windows begin on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Of a week: 1 is Monday.
    Weekday(u8),
    /// Of a month, or the last day of a month that has no such day.
    Day(u8),
}

/// A wallet to be made. Its parent never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWallet {
    pub id: Id<Wallet>,
    pub org: Id<Org>,
    pub name: String,
    pub kind: WalletKind,
    /// The team whose money it is; keys on it and below it belong to that team unless they say otherwise.
    pub team: Option<Id<Team>>,
    /// The person whose money it is.
    pub user: Option<Id<User>>,
    /// The wallet above it, of the same organisation. Never guessed: without it the wallet is a root of its own.
    pub parent: Option<Id<Wallet>>,
    pub hard_limit: Option<Money>,
    pub soft_limit: Option<Money>,
    /// More soft limits.
    pub thresholds: Vec<Threshold>,
    pub soft_action: SoftAction,
    pub window: Window,
    /// Whose midnights its windows begin at.
    pub zone: Zone,
    pub anchor: Option<Anchor>,
    pub funding: Funding,
    /// Of a scope, and of nothing else: which calls it covers.
    pub coverage: Option<Coverage>,
    /// Of a scope: only calls of keys on this wallet or below it.
    pub under: Option<Id<Wallet>>,
}

impl NewWallet {
    /// A root of its own without any limit, in a window without end.
    pub fn new(id: Id<Wallet>, org: Id<Org>, name: impl Into<String>, kind: WalletKind) -> NewWallet {
        NewWallet {
            id,
            org,
            name: name.into(),
            kind,
            team: None,
            user: None,
            parent: None,
            hard_limit: None,
            soft_limit: None,
            thresholds: Vec::new(),
            soft_action: SoftAction::Warn,
            window: Window::None,
            zone: Zone::UTC,
            anchor: None,
            funding: Funding::Budget,
            coverage: None,
            under: None,
        }
    }
}

/// A wallet without what is spent and held in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletRow {
    pub id: Id<Wallet>,
    pub org: Id<Org>,
    pub name: String,
    pub kind: WalletKind,
    pub team: Option<Id<Team>>,
    pub user: Option<Id<User>>,
    pub parent: Option<Id<Wallet>>,
    pub status: WalletStatus,
    pub hard_limit: Option<Money>,
    pub soft_limit: Option<Money>,
    pub thresholds: Thresholds,
    pub soft_action: SoftAction,
    pub window: Calendar,
    pub funding: Funding,
    pub funded: Money,
    pub coverage: Option<Coverage>,
    pub under: Option<Id<Wallet>>,
    pub closed_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl WalletRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// The longest way from a wallet to its root.
pub const LONGEST_CHAIN: i64 = 16;

/// What may change of a wallet, as the audit log tells it: what is as usual is left out.
#[derive(PartialEq, Eq, Serialize)]
pub(super) struct Terms<'a> {
    status: &'static str,
    hard_limit_usd: Option<Money>,
    soft_limit_usd: Option<Money>,
    window: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    soft_thresholds: Vec<Threshold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<&'a [String]>,
    /// A hash: tags are an admin's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags_sha256: Option<String>,
}

pub(super) fn terms(row: &WalletRow) -> Terms<'_> {
    Terms {
        status: row.status.as_str(),
        hard_limit_usd: row.hard_limit,
        soft_limit_usd: row.soft_limit,
        window: row.window.kind().as_str(),
        soft_thresholds: row.thresholds.iter().collect(),
        soft_action: (row.soft_action != SoftAction::Warn).then(|| row.soft_action.as_str()),
        time_zone: (row.window.zone() != Zone::UTC).then(|| row.window.zone().as_str()),
        anchor: Some(row.window.anchor()).filter(|anchor| *anchor != 1),
        models: row.coverage.as_ref().map(|it| it.models.as_slice()),
        tags_sha256: row.coverage.as_ref().and_then(|it| check::tags_hash(&it.tags)),
    }
}

impl Tenants<'_> {
    /// Makes a wallet. It starts active and empty.
    pub async fn create_wallet(&self, new: NewWallet, actor: &Actor) -> Result<WalletRow, TenantError> {
        let (window, thresholds) = check_new(&new)?;
        let content = content(&new);
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = rows::find::<WalletRow>(&mut change.tx, new.id.to_string()).await? {
            return check::repeat(row, &new.id, made_of, content);
        }
        check_relations(&mut change, &new).await?;
        let row = WalletRow {
            id: new.id,
            org: new.org,
            name: new.name,
            kind: new.kind,
            team: new.team,
            user: new.user,
            parent: new.parent,
            status: WalletStatus::Active,
            hard_limit: new.hard_limit,
            soft_limit: new.soft_limit,
            thresholds,
            soft_action: new.soft_action,
            window,
            funding: new.funding,
            funded: Money::ZERO,
            coverage: new.coverage,
            under: new.under,
            closed_at: None,
            created_at: self.now(),
        };
        rows::insert_wallet(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.org), kind::WALLET_CREATED, *actor)
            .with("wallet_id", row.id)
            .with("wallet_kind", row.kind.as_str())
            .with("parent_id", row.parent)
            .with("under_id", row.under)
            .with("team_id", row.team)
            .with("user_id", row.user)
            .with("funding", row.funding.as_str())
            .with("terms", terms(&row));
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// One wallet, without what is spent and held in it.
    pub async fn wallet(&self, id: Id<Wallet>) -> Result<WalletRow, TenantError> {
        rows::get(self.db(), id.to_string()).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))
    }

    /// Wallets, oldest first; of one organisation, if one is named.
    pub async fn wallets(&self, org: Option<Id<Org>>, page: &Page) -> Result<Vec<WalletRow>, TenantError> {
        Ok(rows::list(self.db(), &[("org_id", org.map(|id| id.to_string()))], page).await?)
    }
}

/// What came later counts only where it says something: a repeat of what an earlier release made is still one.
fn content(new: &NewWallet) -> [u8; 32] {
    let words = (new.kind.as_str(), new.window.as_str(), new.funding.as_str());
    let first = (new.org, &new.name, words, new.team, new.user, new.parent, new.hard_limit, new.soft_limit);
    let plain = NewWallet::new(new.id, new.org, "", new.kind);
    let anchor = new.anchor.map(|anchor| match anchor {
        Anchor::Weekday(day) | Anchor::Day(day) => day,
    });
    let more = (&new.thresholds, new.soft_action.as_str(), new.zone.as_str(), anchor, &new.coverage, new.under);
    let none = (&plain.thresholds, "warn", plain.zone.as_str(), None, &plain.coverage, None);
    if more == none { check::content(&first) } else { check::content(&(first, more)) }
}

/// What a new wallet names has to be there, and in the same organisation.
async fn check_relations(change: &mut Change, new: &NewWallet) -> Result<(), TenantError> {
    check_org(change, new.org).await?;
    if let Some(team) = new.team {
        check_team("team", change, new.org, team).await?;
    }
    if let Some(user) = new.user {
        check_user(change, new.org, user).await?;
    }
    if let Some(under) = new.under {
        check_wallet("under", change, new, under).await?;
    }
    let Some(parent) = new.parent else { return Ok(()) };
    check_wallet("parent", change, new, parent).await?;
    if rows::chain_length(&mut change.tx, parent).await? >= LONGEST_CHAIN {
        return Err(check::invalid("parent", format!("would make a chain of more than {LONGEST_CHAIN} wallets")));
    }
    Ok(())
}

/// A wallet that another is put below: there, of the same organisation, open, in a chain, and another one.
async fn check_wallet(
    field: &'static str,
    change: &mut Change,
    new: &NewWallet,
    named: Id<Wallet>,
) -> Result<(), TenantError> {
    let refused = |why: &str| Err(check::invalid(field, format!("names {named}, which {why}")));
    if named == new.id {
        // A parent is there before what is below it and never changes, so this is the only circle that could be asked for.
        return refused("is the wallet itself");
    }
    match rows::find::<WalletRow>(&mut change.tx, named.to_string()).await? {
        None => refused("does not exist"),
        Some((row, _)) if row.org != new.org => refused("is another organisation's"),
        Some((row, _)) if row.kind == WalletKind::Scope => refused("is a scope, and those have nothing below them"),
        Some((row, _)) if row.status == WalletStatus::Closed => refused("is closed"),
        Some(_) => Ok(()),
    }
}

/// Its calendar and thresholds, if all of it can be.
fn check_new(new: &NewWallet) -> Result<(Calendar, Thresholds), TenantError> {
    check::name(&new.name)?;
    check::amount("hard_limit", new.hard_limit)?;
    check::amount("soft_limit", new.soft_limit)?;
    check::soft_within_hard(new.soft_limit, new.hard_limit)?;
    let thresholds = check::thresholds(&new.thresholds, new.hard_limit)?;
    let window = check::calendar(new.window, new.zone, new.anchor)?;
    if new.kind == WalletKind::Org && new.parent.is_some() {
        return Err(check::invalid("parent", "must be left out: an org wallet is a root"));
    }
    match (&new.coverage, new.kind) {
        (Some(coverage), WalletKind::Scope) => check::coverage(coverage)?,
        (None, WalletKind::Scope) => return Err(check::invalid("models", check::NOTHING_COVERED)),
        (Some(_), _) => return Err(check::invalid("models", "and tags must be left out: only a scope has them")),
        (None, _) => {}
    }
    if new.kind == WalletKind::Scope && new.parent.is_some() {
        return Err(check::invalid("parent", "must be left out: a scope lies beside the chains; `under` narrows it"));
    }
    if new.kind != WalletKind::Scope && new.under.is_some() {
        return Err(check::invalid("under", "must be left out: only a scope has it"));
    }
    Ok((window, thresholds))
}
