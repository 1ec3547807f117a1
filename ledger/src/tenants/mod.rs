//! Who may spend: organisations, teams, people, wallets, app keys and operators.
//!
//! Every write is one transaction: the rows, the next `config_revision`, and its audit entry (ids and amounts, never a
//! name or an address). Ids come from the asker: the same id and content again is answered the same and changes nothing,
//! other content is a conflict.

mod attributes;
mod breaker;
mod change;
pub(crate) mod check;
mod claim;
mod credential;
mod key;
mod limits;
mod operator;
pub(crate) mod people;
mod renewal;
mod scope;
mod wallet;

use crate::audit::Entry;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::ledger::Ledger;
use crate::store::Database;
use crate::store::tenants::Change;

pub(crate) use wallet::words;

pub use attributes::{Attributes, CredentialAttributes};
pub use change::WalletChange;
pub use credential::{Credential, CredentialSet, Overlap};
pub use key::{DEFAULT_OVERLAP, KeyChange, KeyRow, LONGEST_OVERLAP, NewKey, Rotation};
pub use limits::{LimitChange, Limits, Priority};
pub use operator::{NewOperator, OperatorCredential, OperatorRow, Role};
pub use people::{NewOrg, NewTeam, NewUser, OrgRow, TeamChange, TeamRow, UserRow};
pub use renewal::{OrgChange, UserChange};
pub use scope::{Coverage, Scope, Tags};
pub use wallet::{Anchor, Funding, LONGEST_CHAIN, NewWallet, WalletKind, WalletRow, WalletStatus};

/// Tenants, as operators read and change them.
#[derive(Clone, Copy)]
pub struct Tenants<'a> {
    pub(crate) ledger: &'a Ledger,
}

impl Tenants<'_> {
    fn db(&self) -> &Database {
        self.ledger.database()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }

    /// Makes a change durable, and known in this process.
    async fn commit(&self, change: Change, at: Timestamp, entries: &[Entry]) -> Result<(), TenantError> {
        change.commit(at, entries).await?;
        // The change is durable whatever this read says; the poll of each second makes up for it.
        if let Err(error) = self.ledger.refresh_revision().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the new revision could not be read back");
        }
        Ok(())
    }
}

impl Ledger {
    /// Tenants, for reading and for changing.
    pub fn tenants(&self) -> Tenants<'_> {
        Tenants { ledger: self }
    }
}

/// Kinds of audit entries about tenants.
pub mod kind {
    pub const ORG_CREATED: &str = "ORG_CREATED";
    pub const ORG_CHANGED: &str = "ORG_CHANGED";
    pub const TEAM_CREATED: &str = "TEAM_CREATED";
    pub const TEAM_CHANGED: &str = "TEAM_CHANGED";
    pub const USER_CREATED: &str = "USER_CREATED";
    pub const USER_CHANGED: &str = "USER_CHANGED";
    pub const WALLET_CREATED: &str = "WALLET_CREATED";
    pub const WALLET_CHANGED: &str = "WALLET_CHANGED";
    pub const BREAKER_SET: &str = "BREAKER_SET";
    pub const BREAKER_SPIKE: &str = "BREAKER_SPIKE";
    pub const BREAKER_OPENED: &str = "BREAKER_OPENED";
    pub const BREAKER_HALF_OPENED: &str = "BREAKER_HALF_OPENED";
    pub const BREAKER_CLOSED: &str = "BREAKER_CLOSED";
    pub const ALERT_FAILED: &str = "ALERT_FAILED";
    pub const ALERT_REDELIVERED: &str = "ALERT_REDELIVERED";
    pub const KEY_CREATED: &str = "KEY_CREATED";
    pub const KEY_CHANGED: &str = "KEY_CHANGED";
    pub const KEY_ROTATED: &str = "KEY_ROTATED";
    pub const KEY_REVOKED: &str = "KEY_REVOKED";
    pub const OPERATOR_CREATED: &str = "OPERATOR_CREATED";
    pub const OPERATOR_REVOKED: &str = "OPERATOR_REVOKED";
}

/// Why a tenant could not be made, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// A member of what was asked for cannot be.
    #[error("{field} {message}")]
    Invalid {
        /// The member, as it is called in [`NewWallet`] and its like.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// What was to be read or changed does not exist.
    #[error("there is no {0}")]
    Unknown(String),
    /// This id was used before, for something else.
    #[error("{0} was made before with other content")]
    Conflict(String),
    /// This key was made before by the same request; its secret was shown then and is not kept.
    #[error("the secret of {0} was shown before and is not kept")]
    AlreadyShown(String),
    /// A key that was revoked or has expired cannot be rotated.
    #[error("{0} was revoked or has expired")]
    Ended(String),
    /// The bootstrap operator is replaced and not revoked.
    #[error("{0} is the bootstrap operator")]
    Bootstrap(String),
    /// A wallet that was closed stays as it is.
    #[error("{0} is closed")]
    Closed(String),
    /// Calls hold money in a wallet that was to be closed, or did so through wallets below it.
    #[error("{wallet} cannot be closed: {calls} calls are in flight")]
    InUse {
        /// The wallet.
        wallet: String,
        /// How many calls.
        calls: i64,
    },
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// Where a list goes on, and how many rows of it are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The row after which to go on; none at the start.
    pub after: Option<Mark>,
    /// At most so many rows.
    pub limit: u32,
}

/// The place of a row in a list, which is ordered by age and then by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When the row was made.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
}

impl Page {
    /// The first `limit` rows.
    pub fn first(limit: u32) -> Page {
        Page { after: None, limit }
    }

    /// The mark as statement parameters; the beginning of time where there is none.
    pub(crate) fn start(&self) -> (i64, &str) {
        self.after.as_ref().map_or((i64::MIN, ""), |mark| (mark.at.micros(), &mark.id))
    }
}
