//! Wallets as they are made and changed. What is spent and held in them is the writer's.

use serde::Serialize;

use super::people::{check_org, check_team, check_user};
use super::{Mark, Page, TenantError, Tenants, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Org, Team, User, Wallet};
use crate::money::Money;
use crate::store::tenants::{self as rows, Change};
use crate::window::Window;

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
    }
}

words! {
    /// Whether a wallet admits calls.
    WalletStatus {
        /// It does.
        Active = "active",
        /// It admits nothing; what is in flight still settles.
        Suspended = "suspended",
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
    pub window: Window,
    pub funding: Funding,
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
    pub window: Window,
    pub funding: Funding,
    pub funded: Money,
    pub created_at: Timestamp,
}

impl WalletRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// What to change of a wallet; what is none stays as it is. `Some(None)` takes a limit away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalletChange {
    pub name: Option<String>,
    pub hard_limit: Option<Option<Money>>,
    pub soft_limit: Option<Option<Money>>,
    pub window: Option<Window>,
    pub status: Option<WalletStatus>,
}

/// The longest way from a wallet to its root.
pub const LONGEST_CHAIN: i64 = 8;

/// What may change of a wallet, as the audit log tells it.
#[derive(PartialEq, Eq, Serialize)]
struct Terms {
    status: &'static str,
    hard_limit_usd: Option<Money>,
    soft_limit_usd: Option<Money>,
    window: &'static str,
}

fn terms(row: &WalletRow) -> Terms {
    Terms {
        status: row.status.as_str(),
        hard_limit_usd: row.hard_limit,
        soft_limit_usd: row.soft_limit,
        window: row.window.as_str(),
    }
}

impl Tenants<'_> {
    /// Makes a wallet. It starts active and empty.
    pub async fn create_wallet(&self, new: NewWallet, actor: &Actor) -> Result<WalletRow, TenantError> {
        check_new(&new)?;
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
            window: new.window,
            funding: new.funding,
            funded: Money::ZERO,
            created_at: self.now(),
        };
        rows::insert_wallet(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.org), kind::WALLET_CREATED, *actor)
            .with("wallet_id", row.id)
            .with("wallet_kind", row.kind.as_str())
            .with("parent_id", row.parent)
            .with("team_id", row.team)
            .with("user_id", row.user)
            .with("funding", row.funding.as_str())
            .with("terms", terms(&row));
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// Changes name, limits, window or status. A limit below what is spent and held admits nothing more and breaks
    /// nothing. Windows of another kind count from nothing, unless the wallet had that kind before within the same window;
    /// what is held goes on counting, and settles, in the window that it was held in.
    pub async fn change_wallet(
        &self,
        id: Id<Wallet>,
        to: WalletChange,
        actor: &Actor,
    ) -> Result<WalletRow, TenantError> {
        let mut change = Change::begin(self.db()).await?;
        let old = rows::lock::<WalletRow>(&mut change.tx, id.to_string()).await?;
        let old = old.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let new = changed(&old, to)?;
        if new == old {
            return Ok(old);
        }
        rows::update_wallet(&mut change.tx, &new).await?;
        let entry = Entry::new(Some(new.org), kind::WALLET_CHANGED, *actor)
            .with("wallet_id", new.id)
            .with("renamed", (old.name != new.name).then_some(true))
            .with("from", terms(&old))
            .with("to", terms(&new));
        self.commit(change, self.now(), &[entry]).await?;
        Ok(new)
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

fn content(new: &NewWallet) -> [u8; 32] {
    let words = (new.kind.as_str(), new.window.as_str(), new.funding.as_str());
    check::content(&(new.org, &new.name, words, new.team, new.user, new.parent, new.hard_limit, new.soft_limit))
}

fn changed(old: &WalletRow, to: WalletChange) -> Result<WalletRow, TenantError> {
    let mut new = old.clone();
    if let Some(name) = to.name {
        check::name(&name)?;
        new.name = name;
    }
    if let Some(limit) = to.hard_limit {
        check::amount("hard_limit", limit)?;
        new.hard_limit = limit;
    }
    if let Some(limit) = to.soft_limit {
        check::amount("soft_limit", limit)?;
        // Only a soft limit that is being set is measured: the hard limit can always be lowered, in one call.
        check::soft_within_hard(limit, new.hard_limit)?;
        new.soft_limit = limit;
    }
    new.window = to.window.unwrap_or(old.window);
    new.status = to.status.unwrap_or(old.status);
    Ok(new)
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
    let Some(parent) = new.parent else { return Ok(()) };
    match rows::find::<WalletRow>(&mut change.tx, parent.to_string()).await? {
        None => return Err(check::invalid("parent", format!("names {parent}, which does not exist"))),
        Some((row, _)) if row.org != new.org => {
            return Err(check::invalid("parent", format!("names {parent}, which is another organisation's")));
        }
        Some(_) => {}
    }
    if rows::chain_length(&mut change.tx, parent).await? >= LONGEST_CHAIN {
        return Err(check::invalid("parent", format!("would make a chain of more than {LONGEST_CHAIN} wallets")));
    }
    Ok(())
}

fn check_new(new: &NewWallet) -> Result<(), TenantError> {
    check::name(&new.name)?;
    check::amount("hard_limit", new.hard_limit)?;
    check::amount("soft_limit", new.soft_limit)?;
    check::soft_within_hard(new.soft_limit, new.hard_limit)?;
    if new.kind == WalletKind::Org && new.parent.is_some() {
        return Err(check::invalid("parent", "must be left out: an org wallet is a root"));
    }
    Ok(())
}
