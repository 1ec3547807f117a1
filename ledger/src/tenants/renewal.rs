//! How organisations and people change after they were made.

use super::people::check_team;
use super::{Attributes, OrgRow, TenantError, Tenants, UserRow, attributes, check, kind};
use crate::audit::{Actor, Entry};
use crate::id::{Id, Org, Team, User};
use crate::store::tenants::{self as rows, Change};

/// What to change of an organisation; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrgChange {
    pub name: Option<String>,
    /// All of them anew.
    pub attributes: Option<Attributes>,
}

/// What to change of a person; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    pub name: Option<String>,
    /// `Some(None)` takes it away.
    pub email: Option<Option<String>>,
    /// All of them anew.
    pub teams: Option<Vec<Id<Team>>>,
    /// All of them anew.
    pub groups: Option<Vec<String>>,
    /// All of them anew.
    pub attributes: Option<Attributes>,
}

impl Tenants<'_> {
    /// Changes an organisation's name or attributes.
    pub async fn change_org(&self, id: Id<Org>, to: OrgChange, actor: &Actor) -> Result<OrgRow, TenantError> {
        to.name.as_deref().map_or(Ok(()), check::name)?;
        to.attributes.as_ref().map_or(Ok(()), attributes::check)?;
        let mut change = Change::begin(self.db()).await?;
        let old = rows::lock::<OrgRow>(&mut change.tx, id.to_string()).await?;
        let old = old.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let OrgChange { name, attributes } = to;
        let row = OrgRow {
            name: name.unwrap_or_else(|| old.name.clone()),
            attributes: attributes.unwrap_or_else(|| old.attributes.clone()),
            ..old
        };
        if row == old {
            return Ok(row);
        }
        rows::update_org(&mut change.tx, &row).await?;
        let entry = Entry::new(Some(id), kind::ORG_CHANGED, *actor)
            .with("org_id", id)
            .with("renamed", (old.name != row.name).then_some(true));
        let entry = attributes::told(entry, &old.attributes, &row.attributes);
        self.commit(change, self.now(), &[entry]).await?;
        Ok(row)
    }

    /// Changes what is known of a person.
    pub async fn change_user(&self, id: Id<User>, to: UserChange, actor: &Actor) -> Result<UserRow, TenantError> {
        let to = checked(to)?;
        let mut change = Change::begin(self.db()).await?;
        let old = rows::lock::<UserRow>(&mut change.tx, id.to_string()).await?;
        let mut old = old.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        old.teams = rows::teams_of(&mut change.tx, id).await?;
        let UserChange { name, email, teams, groups, attributes } = to;
        let row = UserRow {
            name: name.unwrap_or_else(|| old.name.clone()),
            email: email.unwrap_or_else(|| old.email.clone()),
            teams: teams.unwrap_or_else(|| old.teams.clone()),
            groups: groups.unwrap_or_else(|| old.groups.clone()),
            attributes: attributes.unwrap_or_else(|| old.attributes.clone()),
            ..old
        };
        if row == old {
            return Ok(row);
        }
        for team in row.teams.iter().filter(|team| !old.teams.contains(team)) {
            check_team("teams", &mut change, row.org, *team).await?;
        }
        rows::update_user(&mut change.tx, &row, row.teams != old.teams).await?;
        let entry = Entry::new(Some(row.org), kind::USER_CHANGED, *actor)
            .with("user_id", id)
            .with("renamed", (old.name != row.name).then_some(true))
            .with("readdressed", (old.email != row.email).then_some(true))
            .with("team_ids", (old.teams != row.teams).then_some(&row.teams));
        let entry = attributes::told(entry, &old.attributes, &row.attributes);
        let entry = attributes::told_groups(entry, &old.groups, &row.groups);
        self.commit(change, self.now(), &[entry]).await?;
        Ok(row)
    }
}

fn checked(mut to: UserChange) -> Result<UserChange, TenantError> {
    to.name.as_deref().map_or(Ok(()), check::name)?;
    to.email.iter().flatten().try_for_each(|email| check::email(email))?;
    to.attributes.as_ref().map_or(Ok(()), attributes::check)?;
    to.groups = to.groups.map(attributes::groups).transpose()?;
    if let Some(teams) = &mut to.teams {
        teams.sort_unstable();
        if teams.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(check::invalid("teams", "must name each team once"));
        }
    }
    Ok(to)
}
