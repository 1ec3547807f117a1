//! Organisations, teams and people on the wire.

use ledger::{Id, LimitChange, Limits, Org, OrgRow, Team, TeamRow, Timestamp, User, UserRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{given, not_null};
use crate::problem::Problem;

/// An organisation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrg {
    /// One line of 1 to 200 characters.
    #[schema(example = "Acme", min_length = 1, max_length = 200)]
    pub name: String,
}

/// An organisation: a tenant, with an audit chain of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Org)]
pub(crate) struct OrgBody {
    #[schema(value_type = String, example = "org_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Org>,
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<OrgRow> for OrgBody {
    fn from(row: OrgRow) -> Self {
        OrgBody { id: row.id, name: row.name, created_at: row.created_at }
    }
}

/// A team to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTeam {
    #[schema(value_type = String, example = "org_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub org_id: Id<Org>,
    /// One line of 1 to 200 characters.
    #[schema(example = "Search", min_length = 1, max_length = 200)]
    pub name: String,
    /// Requests a minute of all its keys together; without it, no such limit.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub rpm: Option<u32>,
    /// Tokens a minute of all its keys together; without it, no such limit.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub tpm: Option<u64>,
    /// Calls in flight of all its keys together; without it, no such limit.
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_parallel_requests: Option<u32>,
}

/// What to change of a team. What is left out stays as it is; `null` takes a limit away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeTeam {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    pub name: Option<Option<String>>,
    /// Requests a minute of all its keys together.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    pub rpm: Option<Option<u32>>,
    /// Tokens a minute of all its keys together.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000)]
    pub tpm: Option<Option<u64>>,
    /// Calls in flight of all its keys together.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    pub max_parallel_requests: Option<Option<u32>>,
}

impl ChangeTeam {
    pub(crate) fn read(self) -> Result<ledger::TeamChange, Problem> {
        let name = self.name.map(|name| not_null("name", name)).transpose()?;
        let limits = LimitChange { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel_requests };
        Ok(ledger::TeamChange { name, limits })
    }
}

/// A team of an organisation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Team)]
pub(crate) struct TeamBody {
    #[schema(value_type = String, example = "team_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Team>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    pub name: String,
    #[schema(required)]
    pub rpm: Option<u32>,
    #[schema(required)]
    pub tpm: Option<u64>,
    #[schema(required)]
    pub max_parallel_requests: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<TeamRow> for TeamBody {
    fn from(row: TeamRow) -> Self {
        let TeamRow { id, org, name, limits, created_at } = row;
        let Limits { rpm, tpm, max_parallel } = limits;
        TeamBody { id, org_id: org, name, rpm, tpm, max_parallel_requests: max_parallel, created_at }
    }
}

/// A person to be made known.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    #[schema(value_type = String, example = "org_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub org_id: Id<Org>,
    /// One line of 1 to 200 characters.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(example = "ada@example.com")]
    pub email: Option<String>,
    /// Teams of the same organisation.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub team_ids: Option<Vec<Id<Team>>>,
}

/// A person of an organisation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody {
    #[schema(value_type = String, example = "usr_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<User>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    pub name: String,
    #[schema(required)]
    pub email: Option<String>,
    #[schema(value_type = Vec<String>)]
    pub team_ids: Vec<Id<Team>>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<UserRow> for UserBody {
    fn from(row: UserRow) -> Self {
        let UserRow { id, org, name, email, teams, created_at } = row;
        UserBody { id, org_id: org, name, email, team_ids: teams, created_at }
    }
}
