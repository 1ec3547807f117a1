//! Operators on the wire. A row never shows a key or its hash; a key is answered once.

use ledger::{Id, Operator, OperatorRow, Org, Role, ShownKey, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::word;
use crate::problem::Problem;

/// An operator to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    /// One line of 1 to 200 characters.
    #[schema(example = "Ada, security", min_length = 1, max_length = 200)]
    pub name: String,
    /// `admin` (unless said) may do everything, `approver` reads and decides approvals and nothing else, `auditor` reads
    /// everything and writes nothing.
    #[schema(pattern = "^(admin|approver|auditor)$", default = "admin")]
    pub role: Option<String>,
    /// Of an approver: only the approvals of this organisation.
    #[schema(value_type = Option<String>)]
    pub org_id: Option<Id<Org>>,
}

impl NewOperator {
    pub(crate) fn read(self, id: Id<Operator>) -> Result<ledger::NewOperator, Problem> {
        let role =
            self.role.map(|text| word("role", &text, Role::from_word, "admin, approver, auditor")).transpose()?;
        Ok(ledger::NewOperator { id, name: self.name, role: role.unwrap_or_default(), org: self.org_id })
    }
}

/// Who may use this API, and for what.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operator)]
pub(crate) struct OperatorBody {
    #[schema(value_type = String, example = "adm_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Operator>,
    pub name: String,
    /// `admin`, `approver` or `auditor`.
    #[schema(example = "approver")]
    pub role: &'static str,
    #[schema(value_type = Option<String>, required)]
    pub org_id: Option<Id<Org>>,
    /// Given by the environment or made at the first start: replaced by the next such key, never revoked.
    pub bootstrap: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub revoked_at: Option<Timestamp>,
}

impl From<OperatorRow> for OperatorBody {
    fn from(row: OperatorRow) -> Self {
        let OperatorRow { id, name, bootstrap, role, org, created_at, revoked_at } = row;
        OperatorBody { id, name, role: role.as_str(), org_id: org, bootstrap, created_at, revoked_at }
    }
}

/// An operator that was just made, with the key.
#[derive(Serialize, ToSchema)]
#[schema(as = OperatorWithKey)]
pub(crate) struct ShownOperatorBody {
    /// The key whole, this once.
    pub key: String,
    #[serde(flatten)]
    pub row: OperatorBody,
}

impl ShownOperatorBody {
    pub(crate) fn of((row, shown): (OperatorRow, ShownKey)) -> ShownOperatorBody {
        ShownOperatorBody { key: shown.expose().to_owned(), row: row.into() }
    }
}
