//! Organisations, their teams and their people.

use super::limits::{LimitChange, Limits};
use super::{Attributes, Mark, Page, TenantError, Tenants, attributes, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Org, Team, User};
use crate::store::tenants::{self as rows, Change};

/// An organisation to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrg {
    pub id: Id<Org>,
    pub name: String,
    /// What rules may go by.
    pub attributes: Attributes,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgRow {
    pub id: Id<Org>,
    pub name: String,
    pub attributes: Attributes,
    pub created_at: Timestamp,
}

/// A team to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTeam {
    pub id: Id<Team>,
    pub org: Id<Org>,
    pub name: String,
    /// Of all its keys together.
    pub limits: Limits,
    /// What rules may go by.
    pub attributes: Attributes,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamRow {
    pub id: Id<Team>,
    pub org: Id<Org>,
    pub name: String,
    /// Of all its keys together.
    pub limits: Limits,
    pub attributes: Attributes,
    pub created_at: Timestamp,
}

/// What to change of a team; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamChange {
    pub name: Option<String>,
    pub limits: LimitChange,
    /// All of them anew.
    pub attributes: Option<Attributes>,
}

/// A person to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    pub id: Id<User>,
    pub org: Id<Org>,
    pub name: String,
    pub email: Option<String>,
    /// Teams of the same organisation.
    pub teams: Vec<Id<Team>>,
    /// As the directory or an admin says.
    pub groups: Vec<String>,
    /// What rules may go by.
    pub attributes: Attributes,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub id: Id<User>,
    pub org: Id<Org>,
    pub name: String,
    pub email: Option<String>,
    pub teams: Vec<Id<Team>>,
    /// In the order of their names.
    pub groups: Vec<String>,
    pub attributes: Attributes,
    pub created_at: Timestamp,
}

impl OrgRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

impl TeamRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

impl UserRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

impl Tenants<'_> {
    /// Makes an organisation.
    pub async fn create_org(&self, new: NewOrg, actor: &Actor) -> Result<OrgRow, TenantError> {
        check::name(&new.name)?;
        attributes::check(&new.attributes)?;
        // What came later counts only where it says something: a repeat of what an earlier release made is still one.
        let content = match new.attributes.is_empty() {
            true => check::content(&&new.name),
            false => check::content(&(&new.name, &new.attributes)),
        };
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = rows::find::<OrgRow>(&mut change.tx, new.id.to_string()).await? {
            return check::repeat(row, &new.id, made_of, content);
        }
        let row = OrgRow { id: new.id, name: new.name, attributes: new.attributes, created_at: self.now() };
        rows::insert_org(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.id), kind::ORG_CREATED, *actor).with("org_id", row.id);
        let entry = attributes::told(entry, &Attributes::new(), &row.attributes);
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// One organisation.
    pub async fn org(&self, id: Id<Org>) -> Result<OrgRow, TenantError> {
        rows::get(self.db(), id.to_string()).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))
    }

    /// Organisations, oldest first.
    pub async fn orgs(&self, page: &Page) -> Result<Vec<OrgRow>, TenantError> {
        Ok(rows::list(self.db(), &[], page).await?)
    }

    /// Makes a team.
    pub async fn create_team(&self, new: NewTeam, actor: &Actor) -> Result<TeamRow, TenantError> {
        check::name(&new.name)?;
        new.limits.check()?;
        attributes::check(&new.attributes)?;
        let content = match (new.limits.is_none(), new.attributes.is_empty()) {
            (true, true) => check::content(&(new.org, &new.name)),
            (false, true) => check::content(&(new.org, &new.name, new.limits)),
            (_, false) => check::content(&(new.org, &new.name, new.limits, &new.attributes)),
        };
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = rows::find::<TeamRow>(&mut change.tx, new.id.to_string()).await? {
            return check::repeat(row, &new.id, made_of, content);
        }
        check_org(&mut change, new.org).await?;
        let NewTeam { id, org, name, limits, attributes } = new;
        let row = TeamRow { id, org, name, limits, attributes, created_at: self.now() };
        rows::insert_team(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.org), kind::TEAM_CREATED, *actor)
            .with("team_id", row.id)
            .with("limits", Some(row.limits).filter(|limits| !limits.is_none()));
        let entry = attributes::told(entry, &Attributes::new(), &row.attributes);
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// Changes a team's name, or how much its keys may do at a time, all together.
    pub async fn change_team(&self, id: Id<Team>, to: TeamChange, actor: &Actor) -> Result<TeamRow, TenantError> {
        to.name.as_deref().map_or(Ok(()), check::name)?;
        to.attributes.as_ref().map_or(Ok(()), attributes::check)?;
        let mut change = Change::begin(self.db()).await?;
        let row = rows::lock::<TeamRow>(&mut change.tx, id.to_string()).await?;
        let old = row.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let limits = to.limits.of(old.limits);
        limits.check()?;
        let attributes = to.attributes.unwrap_or_else(|| old.attributes.clone());
        let row = TeamRow { name: to.name.unwrap_or_else(|| old.name.clone()), limits, attributes, ..old };
        if row == old {
            return Ok(row);
        }
        rows::update_team(&mut change.tx, &row).await?;
        let entry = Entry::new(Some(row.org), kind::TEAM_CHANGED, *actor)
            .with("team_id", row.id)
            .with("renamed", (old.name != row.name).then_some(true))
            .with("from", old.limits)
            .with("to", row.limits);
        let entry = attributes::told(entry, &old.attributes, &row.attributes);
        self.commit(change, self.now(), &[entry]).await?;
        Ok(row)
    }

    /// One team.
    pub async fn team(&self, id: Id<Team>) -> Result<TeamRow, TenantError> {
        rows::get(self.db(), id.to_string()).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))
    }

    /// Teams, oldest first; of one organisation, if one is named.
    pub async fn teams(&self, org: Option<Id<Org>>, page: &Page) -> Result<Vec<TeamRow>, TenantError> {
        Ok(rows::list(self.db(), &[("org_id", org.map(|id| id.to_string()))], page).await?)
    }

    /// Makes a person known.
    pub async fn create_user(&self, mut new: NewUser, actor: &Actor) -> Result<UserRow, TenantError> {
        check::name(&new.name)?;
        new.email.as_deref().map_or(Ok(()), check::email)?;
        new.teams.sort_unstable();
        if new.teams.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(check::invalid("teams", "must name each team once"));
        }
        attributes::check(&new.attributes)?;
        new.groups = attributes::groups(new.groups)?;
        let content = match new.groups.is_empty() && new.attributes.is_empty() {
            true => check::content(&(new.org, &new.name, &new.email, &new.teams)),
            false => check::content(&(new.org, &new.name, &new.email, &new.teams, &new.groups, &new.attributes)),
        };
        let mut change = Change::begin(self.db()).await?;
        if let Some((row, made_of)) = rows::find::<UserRow>(&mut change.tx, new.id.to_string()).await? {
            let mut row = check::repeat(row, &new.id, made_of, content)?;
            row.teams = new.teams;
            return Ok(row);
        }
        check_org(&mut change, new.org).await?;
        for team in &new.teams {
            check_team("teams", &mut change, new.org, *team).await?;
        }
        let NewUser { id, org, name, email, teams, groups, attributes } = new;
        let row = UserRow { id, org, name, email, teams, groups, attributes, created_at: self.now() };
        rows::insert_user(&mut change.tx, &row, content).await?;
        let entry = Entry::new(Some(row.org), kind::USER_CREATED, *actor);
        let entry = entry.with("user_id", row.id).with("team_ids", &row.teams);
        let entry = attributes::told(entry, &Attributes::new(), &row.attributes);
        let entry = attributes::told_groups(entry, &[], &row.groups);
        self.commit(change, row.created_at, &[entry]).await?;
        Ok(row)
    }

    /// One person.
    pub async fn user(&self, id: Id<User>) -> Result<UserRow, TenantError> {
        let row = rows::get(self.db(), id.to_string()).await?;
        let mut row: UserRow = row.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        rows::add_teams(self.db(), std::slice::from_mut(&mut row)).await?;
        Ok(row)
    }

    /// People, oldest first; of one organisation, if one is named.
    pub async fn users(&self, org: Option<Id<Org>>, page: &Page) -> Result<Vec<UserRow>, TenantError> {
        let mut users = rows::list(self.db(), &[("org_id", org.map(|id| id.to_string()))], page).await?;
        rows::add_teams(self.db(), &mut users).await?;
        Ok(users)
    }
}

/// The organisation that a body names has to be there.
pub(crate) async fn check_org(change: &mut Change, org: Id<Org>) -> Result<(), TenantError> {
    match rows::has_org(&mut change.tx, org).await? {
        true => Ok(()),
        false => Err(check::invalid("org", format!("names {org}, which does not exist"))),
    }
}

/// A team has to be there, and in the same organisation.
pub(crate) async fn check_team(
    field: &'static str,
    change: &mut Change,
    org: Id<Org>,
    team: Id<Team>,
) -> Result<(), TenantError> {
    match rows::find::<TeamRow>(&mut change.tx, team.to_string()).await? {
        None => Err(check::invalid(field, format!("names {team}, which does not exist"))),
        Some((row, _)) if row.org != org => {
            Err(check::invalid(field, format!("names {team}, which is another organisation's")))
        }
        Some(_) => Ok(()),
    }
}

/// A person has to be there, and in the same organisation.
pub(super) async fn check_user(change: &mut Change, org: Id<Org>, user: Id<User>) -> Result<(), TenantError> {
    match rows::find::<UserRow>(&mut change.tx, user.to_string()).await? {
        None => Err(check::invalid("user", format!("names {user}, which does not exist"))),
        Some((row, _)) if row.org != org => {
            Err(check::invalid("user", format!("names {user}, who is another organisation's")))
        }
        Some(_) => Ok(()),
    }
}
