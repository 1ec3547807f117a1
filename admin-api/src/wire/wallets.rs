//! Wallets and their journal on the wire.

use ledger::{
    Call, Funding, Id, JournalEntry, JournalRow, Money, Org, Standing, Team, Timestamp, User, Wallet, WalletKind,
    WalletRow, WalletStatus, Window,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{given, word};
use crate::problem::Problem;

/// A wallet to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWallet {
    #[schema(value_type = String, example = "org_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub org_id: Id<Org>,
    /// One line of 1 to 200 characters.
    #[schema(example = "Search team", min_length = 1, max_length = 200)]
    pub name: String,
    /// `org`, `team`, `user`, `project` or `key`; more will come. An `org` wallet is a root.
    #[schema(example = "team", pattern = "^(org|team|user|project|key)$")]
    pub kind: String,
    /// The team whose money it is; keys on it and below it belong to that team unless they say otherwise.
    #[schema(value_type = Option<String>)]
    pub team_id: Option<Id<Team>>,
    /// The person whose money it is.
    #[schema(value_type = Option<String>)]
    pub user_id: Option<Id<User>>,
    /// The wallet above it, of the same organisation. It is never guessed and never changes: without it the wallet is a
    /// root of its own, and limits elsewhere do not bind it. A chain has at most 8 wallets.
    #[schema(value_type = Option<String>)]
    pub parent_id: Option<Id<Wallet>>,
    /// What may be spent in a window. Without it, no limit of its own.
    #[schema(value_type = Option<String>, example = "100.00")]
    pub hard_limit_usd: Option<Money>,
    /// From where on calls are warned about. Not above the hard limit.
    #[schema(value_type = Option<String>, example = "80.00")]
    pub soft_limit_usd: Option<Money>,
    /// `none`, `day`, `week` (from Monday) or `month`, in UTC. `none` unless said.
    #[schema(example = "month", pattern = "^(none|day|week|month)$")]
    pub window: Option<String>,
    /// `budget` (a limit that renews with its window) or `prepaid` (what was paid in, spent once whatever the window; a
    /// hard limit then bounds each window of it). `budget` unless said.
    #[schema(example = "budget", pattern = "^(budget|prepaid)$")]
    pub funding: Option<String>,
}

impl NewWallet {
    /// The wallet to be made, under the id that the call gives it.
    pub(crate) fn named(self, id: Id<Wallet>) -> Result<ledger::NewWallet, Problem> {
        Ok(ledger::NewWallet {
            id,
            org: self.org_id,
            name: self.name,
            kind: kind(&self.kind)?,
            team: self.team_id,
            user: self.user_id,
            parent: self.parent_id,
            hard_limit: self.hard_limit_usd,
            soft_limit: self.soft_limit_usd,
            window: self.window.as_deref().map(window).transpose()?.unwrap_or_default(),
            funding: self.funding.as_deref().map(funding).transpose()?.unwrap_or(Funding::Budget),
        })
    }
}

/// What to change of a wallet. What is left out stays as it is; `null` takes a limit away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeWallet {
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// Lowered below what is spent and held, it admits nothing more and breaks nothing.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub hard_limit_usd: Option<Option<Money>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub soft_limit_usd: Option<Option<Money>>,
    /// `none`, `day`, `week` or `month`. Each kind counts apart: changed to another, the wallet counts from
    /// nothing, and changed back within the same window, from where it was.
    #[schema(pattern = "^(none|day|week|month)$")]
    pub window: Option<String>,
    /// `active` or `suspended`.
    #[schema(pattern = "^(active|suspended)$")]
    pub status: Option<String>,
}

impl ChangeWallet {
    pub(crate) fn read(self) -> Result<ledger::WalletChange, Problem> {
        Ok(ledger::WalletChange {
            name: self.name,
            hard_limit: self.hard_limit_usd,
            soft_limit: self.soft_limit_usd,
            window: self.window.as_deref().map(window).transpose()?,
            status: self.status.as_deref().map(status).transpose()?,
        })
    }
}

fn kind(text: &str) -> Result<WalletKind, Problem> {
    word("kind", text, WalletKind::from_word, "org, team, user, project, key")
}

fn window(text: &str) -> Result<Window, Problem> {
    word("window", text, |text| text.parse().ok(), "none, day, week, month")
}

fn funding(text: &str) -> Result<Funding, Problem> {
    word("funding", text, Funding::from_word, "budget, prepaid")
}

fn status(text: &str) -> Result<WalletStatus, Problem> {
    word("status", text, WalletStatus::from_word, "active, suspended")
}

/// A wallet, with what is spent and held in its current window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wallet)]
pub(crate) struct WalletBody {
    #[schema(value_type = String, example = "wal_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Wallet>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    pub name: String,
    #[schema(example = "team")]
    pub kind: &'static str,
    #[schema(value_type = Option<String>, required)]
    pub parent_id: Option<Id<Wallet>>,
    #[schema(value_type = Option<String>, required)]
    pub team_id: Option<Id<Team>>,
    #[schema(value_type = Option<String>, required)]
    pub user_id: Option<Id<User>>,
    /// `active` or `suspended`.
    #[schema(example = "active")]
    pub status: &'static str,
    #[schema(value_type = Option<String>, required)]
    pub hard_limit_usd: Option<Money>,
    #[schema(value_type = Option<String>, required)]
    pub soft_limit_usd: Option<Money>,
    /// `budget` or `prepaid`.
    #[schema(example = "budget")]
    pub funding: &'static str,
    #[schema(value_type = String, example = "0")]
    pub funded_usd: Money,
    #[schema(value_type = String, example = "12.5")]
    pub spent_usd: Money,
    #[schema(value_type = String, example = "0")]
    pub held_usd: Money,
    /// What may still be held, by this wallet's own limit and funds; null where it has neither.
    #[schema(value_type = Option<String>, required)]
    pub available_usd: Option<Money>,
    /// `none`, `day`, `week` or `month`.
    #[schema(example = "month")]
    pub window: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub window_start: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub resets_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl WalletBody {
    /// A wallet and where it stands.
    pub(crate) fn of(row: WalletRow, standing: &Standing) -> WalletBody {
        WalletBody {
            id: row.id,
            org_id: row.org,
            name: row.name,
            kind: row.kind.as_str(),
            parent_id: row.parent,
            team_id: row.team,
            user_id: row.user,
            status: row.status.as_str(),
            hard_limit_usd: row.hard_limit,
            soft_limit_usd: row.soft_limit,
            funding: row.funding.as_str(),
            funded_usd: row.funded,
            spent_usd: standing.spent,
            held_usd: standing.held,
            available_usd: standing.available,
            window: row.window.as_str(),
            window_start: standing.window_start,
            resets_at: standing.resets_at,
            created_at: row.created_at,
        }
    }
}

/// Money to be put into a wallet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FundWallet {
    /// More than nothing.
    #[schema(value_type = String, example = "50.00")]
    pub amount_usd: Money,
    /// Where it comes from, such as the name of a payment provider.
    #[schema(example = "invoice", min_length = 1, max_length = 100)]
    pub source: String,
    /// Names the payment at its source; each is booked once.
    #[schema(example = "INV-2026-0042", min_length = 1, max_length = 200)]
    pub reference: String,
}

/// A row of a wallet's journal. The rows of a window, which is a kind and a start, sum to what is spent and held in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JournalEntry)]
pub(crate) struct EntryBody {
    #[schema(value_type = String, example = "jrn_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<JournalRow>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `reserve`, `grow`, `settle`, `release`, `expire`, `refund`, `fund`, `adjust` or `charge`.
    #[schema(example = "settle")]
    pub kind: String,
    #[schema(value_type = String, example = "-0.05")]
    pub held_delta_usd: Money,
    #[schema(value_type = String, example = "0.0123")]
    pub spent_delta_usd: Money,
    #[schema(value_type = String, example = "0")]
    pub funded_delta_usd: Money,
    /// The kind of window that it counts in: `none`, `day`, `week` or `month`.
    #[schema(example = "month")]
    pub window: &'static str,
    /// The window that it counts in: that of the hold, for whatever follows from one.
    #[schema(value_type = String, format = DateTime)]
    pub window_start: Timestamp,
    #[schema(value_type = Option<String>, required)]
    pub request_id: Option<Id<Call>>,
}

impl From<JournalEntry> for EntryBody {
    fn from(row: JournalEntry) -> Self {
        EntryBody {
            id: row.id,
            at: row.at,
            kind: row.kind,
            held_delta_usd: row.held_delta,
            spent_delta_usd: row.spent_delta,
            funded_delta_usd: row.funded_delta,
            window: row.window.as_str(),
            window_start: row.window_start,
            request_id: row.call,
        }
    }
}
