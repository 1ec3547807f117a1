//! Organisations, teams and people on the wire.

use ledger::{Attributes, Id, LimitChange, Limits, Org, OrgRow, Team, TeamRow, Timestamp, User, UserRow};
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
    /// What rules may go by, as `caller.attributes`. At most 32, names of 1 to 64 bytes, values of at most 256.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Attributes>,
}

/// What to change of an organisation. What is left out stays as it is; `null` takes all attributes away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeOrg {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    pub name: Option<Option<String>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Option<Attributes>>,
}

impl ChangeOrg {
    pub(crate) fn read(self) -> Result<ledger::OrgChange, Problem> {
        let name = self.name.map(|name| not_null("name", name)).transpose()?;
        Ok(ledger::OrgChange { name, attributes: self.attributes.map(Option::unwrap_or_default) })
    }
}

/// An organisation: a tenant, with an audit chain of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Org)]
pub(crate) struct OrgBody {
    #[schema(value_type = String, example = "org_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Org>,
    pub name: String,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub attributes: Attributes,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<OrgRow> for OrgBody {
    fn from(row: OrgRow) -> Self {
        OrgBody { id: row.id, name: row.name, attributes: row.attributes, created_at: row.created_at }
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
    /// What rules may go by, as `caller.attributes`. At most 32, names of 1 to 64 bytes, values of at most 256.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Attributes>,
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
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Option<Attributes>>,
}

impl ChangeTeam {
    pub(crate) fn read(self) -> Result<ledger::TeamChange, Problem> {
        let name = self.name.map(|name| not_null("name", name)).transpose()?;
        let limits = LimitChange { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel_requests };
        Ok(ledger::TeamChange { name, limits, attributes: self.attributes.map(Option::unwrap_or_default) })
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
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub attributes: Attributes,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<TeamRow> for TeamBody {
    fn from(row: TeamRow) -> Self {
        let TeamRow { id, org, name, limits, attributes, created_at } = row;
        let Limits { rpm, tpm, max_parallel } = limits;
        TeamBody { id, org_id: org, name, rpm, tpm, max_parallel_requests: max_parallel, attributes, created_at }
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
    /// What rules may go by, as `caller.groups`. At most 64, each once, of 1 to 256 bytes.
    #[schema(example = json!(["research"]))]
    pub groups: Option<Vec<String>>,
    /// What rules may go by, as `caller.attributes`. At most 32, names of 1 to 64 bytes, values of at most 256.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Attributes>,
}

/// What to change of a person. What is left out stays as it is; `null` takes the address, or all of a list, away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeUser {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    pub name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "ada@example.com")]
    pub email: Option<Option<String>>,
    /// Teams of the same organisation: all of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    pub team_ids: Option<Option<Vec<Id<Team>>>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["research"]))]
    pub groups: Option<Option<Vec<String>>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"data_class": "patients"}))]
    pub attributes: Option<Option<Attributes>>,
}

impl ChangeUser {
    pub(crate) fn read(self) -> Result<ledger::UserChange, Problem> {
        let name = self.name.map(|name| not_null("name", name)).transpose()?;
        Ok(ledger::UserChange {
            name,
            email: self.email,
            teams: self.team_ids.map(Option::unwrap_or_default),
            groups: self.groups.map(Option::unwrap_or_default),
            attributes: self.attributes.map(Option::unwrap_or_default),
        })
    }
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
    /// In the order of their names.
    pub groups: Vec<String>,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub attributes: Attributes,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<UserRow> for UserBody {
    fn from(row: UserRow) -> Self {
        let UserRow { id, org, name, email, teams, groups, attributes, created_at } = row;
        UserBody { id, org_id: org, name, email, team_ids: teams, groups, attributes, created_at }
    }
}
