//! Wallets and their journal on the wire.

use ledger::pace::Breaker;
use ledger::{
    Anchor, BreakerRow, Call, Coverage, Funding, Id, JournalEntry, JournalRow, Money, Org, SoftAction, Standing, Tags,
    Team, Threshold, Timestamp, User, Wallet, WalletKind, WalletRow, WalletStatus, Window, Zone,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::breakers::BreakerBody;
use super::{given, not_null, word};
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
    /// `org`, `team`, `user`, `project`, `key` or `scope`; more will come. An `org` wallet is a root. A `scope` lies beside
    /// the chains: calls that its `models` and `tags` cover hold money in it too, and are refused where it has none.
    #[schema(example = "team", pattern = "^(org|team|user|project|key|scope)$")]
    pub kind: String,
    /// The team whose money it is; keys on it and below it belong to that team unless they say otherwise.
    #[schema(value_type = Option<String>)]
    pub team_id: Option<Id<Team>>,
    /// The person whose money it is.
    #[schema(value_type = Option<String>)]
    pub user_id: Option<Id<User>>,
    /// The wallet above it, of the same organisation. It is never guessed and never changes: without it the wallet is a
    /// root of its own, and limits elsewhere do not bind it. A chain has at most 16 wallets. A scope has none.
    #[schema(value_type = Option<String>)]
    pub parent_id: Option<Id<Wallet>>,
    /// What may be spent in a window. Without it, no limit of its own.
    #[schema(value_type = Option<String>, example = "100.00")]
    pub hard_limit_usd: Option<Money>,
    /// From where on calls are warned about. Not above the hard limit.
    #[schema(value_type = Option<String>, example = "80.00")]
    pub soft_limit_usd: Option<Money>,
    /// At most 8 more such limits, each an amount (`"80.00"`) or a part of the hard limit (`"80%"`). Each is warned about
    /// once in a window.
    #[schema(value_type = Option<Vec<String>>, max_items = 8, example = json!(["50%", "80%", "99.5%"]))]
    pub soft_thresholds: Option<Vec<Threshold>>,
    /// What happens to a call that would bring the wallet past any of its soft limits: `warn` (it goes on), `downgrade`
    /// (policy is asked for a cheaper plan) or `block` (it is refused). `warn` unless said.
    #[schema(example = "warn", pattern = "^(warn|downgrade|block)$")]
    pub soft_action: Option<String>,
    /// `none`, `day`, `week` or `month`. `none` unless said.
    #[schema(example = "month", pattern = "^(none|day|week|month)$")]
    pub window: Option<String>,
    /// Whose midnights windows begin at: a name of the IANA time zone database. `UTC` unless said.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// The day that a `month` begins on, or its last day where it has no such day. 1 unless said.
    #[schema(minimum = 1, maximum = 31)]
    pub anchor_day: Option<u8>,
    /// The day that a `week` begins on. `monday` unless said.
    #[schema(pattern = "^(monday|tuesday|wednesday|thursday|friday|saturday|sunday)$")]
    pub anchor_weekday: Option<String>,
    /// `budget` (a limit that renews with its window) or `prepaid` (what was paid in, spent once whatever the window; a
    /// hard limit then bounds each window of it). `budget` unless said.
    #[schema(example = "budget", pattern = "^(budget|prepaid)$")]
    pub funding: Option<String>,
    /// Of a scope: the models that it covers, as names with `*` for any text; without it, every model.
    #[schema(example = json!(["openai/gpt-5*", "*opus*"]), max_items = 64)]
    pub models: Option<Vec<String>>,
    /// Of a scope: the tags that a call must have, by its key or by policy, to be covered.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"team": "ads"}))]
    pub tags: Option<Tags>,
    /// Of a scope: only calls of keys on this wallet or below it; without it, those of the whole organisation.
    #[schema(value_type = Option<String>)]
    pub under_id: Option<Id<Wallet>>,
}

impl NewWallet {
    /// The wallet to be made, under the id that the call gives it.
    pub(crate) fn named(self, id: Id<Wallet>) -> Result<ledger::NewWallet, Problem> {
        let kind = kind(&self.kind)?;
        let scope = kind == WalletKind::Scope || self.models.is_some() || self.tags.is_some();
        let (models, tags) = (self.models.unwrap_or_default(), self.tags.unwrap_or_default());
        Ok(ledger::NewWallet {
            id,
            org: self.org_id,
            name: self.name,
            kind,
            team: self.team_id,
            user: self.user_id,
            parent: self.parent_id,
            hard_limit: self.hard_limit_usd,
            soft_limit: self.soft_limit_usd,
            thresholds: self.soft_thresholds.unwrap_or_default(),
            soft_action: self.soft_action.as_deref().map(soft_action).transpose()?.unwrap_or_default(),
            window: self.window.as_deref().map(window).transpose()?.unwrap_or_default(),
            zone: self.time_zone.as_deref().map(zone).transpose()?.unwrap_or(Zone::UTC),
            anchor: anchor(self.anchor_day, self.anchor_weekday.as_deref())?,
            funding: self.funding.as_deref().map(funding).transpose()?.unwrap_or(Funding::Budget),
            coverage: scope.then_some(Coverage { models, tags }),
            under: self.under_id,
        })
    }
}

/// What to change of a wallet. What is left out stays as it is; `null` takes a limit away, or what was chosen of the calendar.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeWallet {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    pub name: Option<Option<String>>,
    /// Lowered below what is spent and held, it admits nothing more and breaks nothing.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub hard_limit_usd: Option<Option<Money>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub soft_limit_usd: Option<Option<Money>>,
    /// All of them anew. One that lies below what was warned about already is not warned about again in this window.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, max_items = 8)]
    pub soft_thresholds: Option<Option<Vec<Threshold>>>,
    /// `warn`, `downgrade` or `block`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^(warn|downgrade|block)$")]
    pub soft_action: Option<Option<String>>,
    /// `none`, `day`, `week` or `month`. Each calendar (kind, zone and first day) counts apart: changed to another, the wallet
    /// counts from nothing, and changed back within the same window, from where it was.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^(none|day|week|month)$")]
    pub window: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "Europe/Berlin")]
    pub time_zone: Option<Option<String>>,
    /// Changed to a window of another kind, a wallet's windows begin on the first day unless this says otherwise.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u8>, minimum = 1, maximum = 31)]
    pub anchor_day: Option<Option<u8>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^(monday|tuesday|wednesday|thursday|friday|saturday|sunday)$")]
    pub anchor_weekday: Option<Option<String>>,
    /// Of a scope.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, max_items = 64)]
    pub models: Option<Option<Vec<String>>>,
    /// Of a scope.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub tags: Option<Option<Tags>>,
    /// `active`, `suspended` or `closed`. A wallet closes when no call is in flight in it or below it, and for good.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^(active|suspended|closed)$")]
    pub status: Option<Option<String>>,
}

impl ChangeWallet {
    pub(crate) fn read(self) -> Result<ledger::WalletChange, Problem> {
        let word = |member, value: Option<Option<String>>| value.map(|it| not_null(member, it)).transpose();
        let (day, weekday) = (self.anchor_day, self.anchor_weekday);
        let anchored = day.is_some() || weekday.is_some();
        let anchor = anchor(day.flatten(), weekday.flatten().as_deref())?;
        Ok(ledger::WalletChange {
            name: word("name", self.name)?,
            hard_limit: self.hard_limit_usd,
            soft_limit: self.soft_limit_usd,
            thresholds: self.soft_thresholds.map(Option::unwrap_or_default),
            soft_action: word("soft_action", self.soft_action)?.as_deref().map(soft_action).transpose()?,
            window: word("window", self.window)?.as_deref().map(window).transpose()?,
            zone: self.time_zone.map(|it| it.as_deref().map_or(Ok(Zone::UTC), zone)).transpose()?,
            anchor: anchored.then_some(anchor),
            models: self.models.map(Option::unwrap_or_default),
            tags: self.tags.map(Option::unwrap_or_default),
            status: word("status", self.status)?.as_deref().map(status).transpose()?,
        })
    }
}

fn kind(text: &str) -> Result<WalletKind, Problem> {
    word("kind", text, WalletKind::from_word, "org, team, user, project, key, scope")
}

fn window(text: &str) -> Result<Window, Problem> {
    word("window", text, |text| text.parse().ok(), "none, day, week, month")
}

fn funding(text: &str) -> Result<Funding, Problem> {
    word("funding", text, Funding::from_word, "budget, prepaid")
}

fn status(text: &str) -> Result<WalletStatus, Problem> {
    word("status", text, WalletStatus::from_word, "active, suspended, closed")
}

fn soft_action(text: &str) -> Result<SoftAction, Problem> {
    word("soft_action", text, SoftAction::from_word, "warn, downgrade, block")
}

fn zone(text: &str) -> Result<Zone, Problem> {
    text.parse().map_err(|_| Problem::Member {
        member: "time_zone".into(),
        detail: format!(
            "must be a name of the IANA time zone database such as UTC or Europe/Berlin, not {:?}",
            text.chars().take(100).collect::<String>()
        ),
    })
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

fn anchor(day: Option<u8>, weekday: Option<&str>) -> Result<Option<Anchor>, Problem> {
    let number = |text: &str| WEEKDAYS.iter().zip(1..).find(|(name, _)| **name == text).map(|(_, number)| number);
    match (day, weekday) {
        (Some(_), Some(_)) => Err(Problem::Member {
            member: "anchor_day".into(),
            detail: "is for windows of a month and `anchor_weekday` for those of a week: send one of them".into(),
        }),
        (Some(day), None) => Ok(Some(Anchor::Day(day))),
        (None, Some(text)) => word("anchor_weekday", text, number, &WEEKDAYS.join(", ")).map(Anchor::Weekday).map(Some),
        (None, None) => Ok(None),
    }
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
    /// `active`, `suspended` or `closed`.
    #[schema(example = "active")]
    pub status: &'static str,
    /// Who suspended it: `operator` or `breaker`.
    #[schema(required)]
    pub suspended_by: Option<&'static str>,
    pub breaker: BreakerBody,
    #[schema(value_type = Option<String>, required)]
    pub hard_limit_usd: Option<Money>,
    #[schema(value_type = Option<String>, required)]
    pub soft_limit_usd: Option<Money>,
    /// Beside `soft_limit_usd`: amounts, and parts of the hard limit.
    #[schema(value_type = Vec<String>, example = json!(["80%"]))]
    pub soft_thresholds: Vec<Threshold>,
    /// `warn`, `downgrade` or `block`.
    #[schema(example = "warn")]
    pub soft_action: &'static str,
    /// `budget` or `prepaid`.
    #[schema(example = "budget")]
    pub funding: &'static str,
    #[schema(value_type = String, example = "0")]
    pub funded_usd: Money,
    #[schema(value_type = String, example = "12.5")]
    pub spent_usd: Money,
    #[schema(value_type = String, example = "0")]
    pub held_usd: Money,
    /// What may still be held, by this wallet's own limit and funds, and by a soft limit that blocks; null where it has none.
    #[schema(value_type = Option<String>, required)]
    pub available_usd: Option<Money>,
    /// `none`, `day`, `week` or `month`.
    #[schema(example = "month")]
    pub window: &'static str,
    #[schema(example = "UTC")]
    pub time_zone: &'static str,
    /// The day that a month begins on; null for other windows.
    #[schema(required)]
    pub anchor_day: Option<u8>,
    /// The day that a week begins on; null for other windows.
    #[schema(required, example = "monday")]
    pub anchor_weekday: Option<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    pub window_start: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub resets_at: Option<Timestamp>,
    /// Of a scope: the models that it covers.
    #[schema(required)]
    pub models: Option<Vec<String>>,
    /// Of a scope: the tags that a call must have to be covered.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, required)]
    pub tags: Option<Tags>,
    #[schema(value_type = Option<String>, required)]
    pub under_id: Option<Id<Wallet>>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub closed_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl WalletBody {
    /// A wallet and where it stands.
    pub(crate) fn of(row: WalletRow, standing: &Standing, breaker: BreakerRow) -> WalletBody {
        let suspended_by = (row.status == WalletStatus::Suspended).then_some(match breaker.breaker {
            Breaker::Open { .. } => "breaker",
            Breaker::Closed | Breaker::HalfOpen { .. } => "operator",
        });
        let (kind, anchor) = (row.window.kind(), row.window.anchor());
        let (models, tags) = row.coverage.map(|it| (it.models, it.tags)).unzip();
        WalletBody {
            id: row.id,
            org_id: row.org,
            name: row.name,
            kind: row.kind.as_str(),
            parent_id: row.parent,
            team_id: row.team,
            user_id: row.user,
            status: row.status.as_str(),
            suspended_by,
            breaker: breaker.into(),
            hard_limit_usd: row.hard_limit,
            soft_limit_usd: row.soft_limit,
            soft_thresholds: row.thresholds.iter().collect(),
            soft_action: row.soft_action.as_str(),
            funding: row.funding.as_str(),
            funded_usd: row.funded,
            spent_usd: standing.spent,
            held_usd: standing.held,
            available_usd: standing.available,
            window: kind.as_str(),
            time_zone: row.window.zone().as_str(),
            anchor_day: (kind == Window::Month).then_some(anchor),
            anchor_weekday: WEEKDAYS.get(usize::from(anchor) - 1).copied().filter(|_| kind == Window::Week),
            window_start: standing.window_start,
            resets_at: standing.resets_at,
            models,
            tags,
            under_id: row.under,
            closed_at: row.closed_at,
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
    /// `reserve`, `grow`, `settle`, `release`, `expire`, `refund`, `fund` or `adjust`. A charge by API is a `settle`.
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
