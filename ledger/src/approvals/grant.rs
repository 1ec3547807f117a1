//! What a grant admits. Pure: the time, and how much of it is used, are handed in.

use super::{ApprovalRow, ApprovalState, Reach};
use crate::clock::Timestamp;
use crate::id::{Approval, Id, Key, Org, Team};
use crate::money::Money;
use crate::prices::pattern;

/// A call that somebody has to approve.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    pub org: Id<Org>,
    pub team: Option<Id<Team>>,
    pub key: Id<Key>,
    /// The name that it asks for.
    pub model: &'a str,
    /// What has to be approved, by name.
    pub requirements: &'a [String],
    /// The most that it may cost.
    pub amount: Money,
}

/// Why a grant does not admit a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bar {
    /// There is none of this id, or it is another organisation's.
    Unknown,
    /// Nobody has decided yet.
    Pending,
    Denied {
        /// In the approver's words.
        reason: Option<String>,
    },
    Expired,
    /// All its uses are taken.
    UsedUp,
    /// What is left of its budget is less than the call may cost.
    OverBudget {
        left: Money,
    },
    OtherKey,
    OtherTeam,
    OtherModel,
    /// It is good, but for nothing that this call needs.
    OtherRequirement,
}

/// What was made of the approvals that a call has shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// Those to be used, each once, in the order of their ids.
    pub grants: Vec<Id<Approval>>,
    /// What none of them covers.
    pub unmet: Vec<String>,
    /// Why each of the others was not taken.
    pub bars: Vec<(Id<Approval>, Bar)>,
}

/// The approvals to use for a call, of those that it has shown: the first shown that covers a requirement is used for it.
pub fn choose(needs: &Needs, shown: &[Id<Approval>], rows: &[ApprovalRow], now: Timestamp) -> Choice {
    let mut choice = Choice { unmet: needs.requirements.to_vec(), ..Choice::default() };
    for id in shown {
        let row = rows.iter().find(|row| row.id == *id);
        let covers = |row: &ApprovalRow| choice.unmet.iter().any(|name| row.covers(name));
        let bar = match row {
            None => Some(Bar::Unknown),
            Some(row) => match row.bars(needs, now) {
                // One more than the call needs is not used.
                None if !covers(row) => Some(Bar::OtherRequirement),
                bar => bar,
            },
        };
        match (bar, row) {
            (None, Some(row)) => {
                choice.unmet.retain(|name| !row.covers(name));
                choice.grants.push(row.id);
            }
            (bar, _) => choice.bars.extend(bar.map(|bar| (*id, bar))),
        }
    }
    choice.grants.sort_unstable();
    choice
}

impl ApprovalRow {
    /// Its state at a moment: what nobody has decided, and what was granted, ends by itself.
    pub fn state_at(&self, now: Timestamp) -> ApprovalState {
        match self.state {
            ApprovalState::Pending | ApprovalState::Approved if now >= self.expires_at => ApprovalState::Expired,
            state => state,
        }
    }

    /// Whether a requirement of this name is among its own.
    pub fn covers(&self, requirement: &str) -> bool {
        self.requirements.iter().any(|it| it.name == requirement)
    }

    /// Why it does not admit one more such call; nothing if it does.
    pub fn bars(&self, needs: &Needs, now: Timestamp) -> Option<Bar> {
        if self.org != needs.org {
            return Some(Bar::Unknown);
        }
        let Some(grant) = &self.grant else {
            return Some(match self.state_at(now) {
                ApprovalState::Denied => Bar::Denied { reason: self.reason.clone() },
                ApprovalState::Expired => Bar::Expired,
                // One that is approved has its grant: without it there is nothing to go by.
                ApprovalState::Pending | ApprovalState::Approved => Bar::Pending,
            });
        };
        match self.state_at(now) {
            ApprovalState::Approved => {}
            ApprovalState::Denied => return Some(Bar::Denied { reason: self.reason.clone() }),
            ApprovalState::Pending => return Some(Bar::Pending),
            ApprovalState::Expired => return Some(Bar::Expired),
        }
        match grant.reach {
            Reach::Key if self.key != needs.key => return Some(Bar::OtherKey),
            Reach::Team if self.team.is_none() || self.team != needs.team => return Some(Bar::OtherTeam),
            Reach::Key | Reach::Team | Reach::Org => {}
        }
        if !grant.models.iter().any(|model| pattern::matches(model, needs.model)) {
            return Some(Bar::OtherModel);
        }
        if !needs.requirements.iter().any(|name| self.covers(name)) {
            return Some(Bar::OtherRequirement);
        }
        if grant.uses.is_some_and(|uses| self.used >= uses) {
            return Some(Bar::UsedUp);
        }
        let left = grant.budget.map(|budget| budget.minus(self.spent).unwrap_or(Money::ZERO).max(Money::ZERO));
        // A budget that is spent admits nothing more, calls that cost nothing included, as a wallet does.
        left.filter(|left| *left == Money::ZERO || *left < needs.amount).map(|left| Bar::OverBudget { left })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Grant, Requirement};
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn id<K: crate::id::Kind>(n: u128) -> Id<K> {
        Id::from_uuid(Uuid::from_u128(n))
    }

    fn usd(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn row(n: u128, names: &[&str]) -> ApprovalRow {
        let requirements = names.iter().map(|name| Requirement { name: (*name).into(), reason: "why".into() });
        ApprovalRow {
            id: id(n),
            org: id(1),
            team: Some(id(2)),
            key: id(3),
            user: None,
            call: id(9),
            requirements: requirements.collect(),
            model: "big".into(),
            amount: usd("1"),
            created_at: Timestamp::from_micros(0),
            expires_at: Timestamp::from_micros(2_000_000),
            state: ApprovalState::Approved,
            decided_at: None,
            decided_by: None,
            reason: None,
            grant: Some(Grant { reach: Reach::Key, models: vec!["big".into()], uses: Some(1), budget: None }),
            used: 0,
            spent: Money::ZERO,
        }
    }

    #[test]
    fn a_grant_admits_what_it_was_given_for_and_nothing_else() {
        type Change = fn(&mut ApprovalRow, &mut Needs);
        fn grant(row: &mut ApprovalRow) -> &mut Grant {
            row.grant.as_mut().unwrap()
        }
        let cases: [(&str, Change, Option<Bar>); 21] = [
            ("as it is", |_, _| {}, None),
            ("another organisation's", |row, _| row.org = id(7), Some(Bar::Unknown)),
            ("another key", |_, needs| needs.key = id(7), Some(Bar::OtherKey)),
            ("any key of the team", |row, needs| (grant(row).reach, needs.key) = (Reach::Team, id(7)), None),
            (
                "another team",
                |row, needs| (grant(row).reach, needs.team) = (Reach::Team, Some(id(7))),
                Some(Bar::OtherTeam),
            ),
            (
                "no team is no common team",
                |row, needs| (grant(row).reach, row.team, needs.team) = (Reach::Team, None, None),
                Some(Bar::OtherTeam),
            ),
            (
                "any key of the organisation",
                |row, needs| (grant(row).reach, needs.key, needs.team) = (Reach::Org, id(7), None),
                None,
            ),
            ("another model", |_, needs| needs.model = "bigger", Some(Bar::OtherModel)),
            (
                "a model by pattern",
                |row, needs| {
                    grant(row).models = vec!["big*".into()];
                    needs.model = "bigger";
                },
                None,
            ),
            ("another requirement", |row, _| row.requirements[0].name = "x".into(), Some(Bar::OtherRequirement)),
            ("used up", |row, _| row.used = 1, Some(Bar::UsedUp)),
            ("one of two is left", |row, _| (row.used, grant(row).uses) = (1, Some(2)), None),
            ("any number", |row, _| (row.used, grant(row).uses) = (1_000, None), None),
            ("within the budget", |row, _| (row.spent, grant(row).budget) = (usd("1"), Some(usd("2"))), None),
            (
                "over the budget by the least there is",
                |row, _| (row.spent, grant(row).budget) = (usd("1.000000001"), Some(usd("2"))),
                Some(Bar::OverBudget { left: usd("0.999999999") }),
            ),
            (
                "a budget that is spent admits nothing, be it free",
                |row, needs| (row.spent, grant(row).budget, needs.amount) = (usd("2"), Some(usd("2")), Money::ZERO),
                Some(Bar::OverBudget { left: Money::ZERO }),
            ),
            (
                "a budget that was overdrawn has nothing left",
                |row, _| (row.spent, grant(row).budget) = (usd("3"), Some(usd("2"))),
                Some(Bar::OverBudget { left: Money::ZERO }),
            ),
            ("the last moment", |row, _| row.expires_at = NOW, Some(Bar::Expired)),
            ("the moment before", |row, _| row.expires_at = Timestamp::from_micros(1_000_001), None),
            (
                "nobody has decided",
                |row, _| (row.state, row.grant) = (ApprovalState::Pending, None),
                Some(Bar::Pending),
            ),
            (
                "taken back",
                |row, _| (row.state, row.reason) = (ApprovalState::Denied, Some("no".into())),
                Some(Bar::Denied { reason: Some("no".into()) }),
            ),
        ];
        let names = ["frontier".to_owned()];
        for (why, change, expected) in cases {
            let mut row = row(1, &["frontier"]);
            let mut needs = Needs {
                org: id(1),
                team: Some(id(2)),
                key: id(3),
                model: "big",
                requirements: &names,
                amount: usd("1"),
            };
            change(&mut row, &mut needs);
            assert_eq!(row.bars(&needs, NOW), expected, "{why}");
        }
    }

    #[test]
    fn several_requirements_are_met_by_as_many_grants_as_it_takes() {
        let names = ["export".to_owned(), "frontier".to_owned()];
        let needs =
            Needs { org: id(1), team: None, key: id(3), model: "big", requirements: &names, amount: Money::ZERO };
        let rows = [row(1, &["frontier"]), row(2, &["export"]), row(3, &["export", "frontier"]), row(4, &["frontier"])];
        for (shown, grants, unmet) in [
            (&[][..], &[][..], &["export", "frontier"][..]),
            (&[1], &[1], &["export"]),
            (&[2, 1], &[1, 2], &[]),
            (&[3], &[3], &[]),
            (&[3, 1], &[3], &[]),
            (&[1, 4, 2], &[1, 2], &[]),
            (&[1, 1], &[1], &["export"]),
            (&[8, 2], &[2], &["frontier"]),
        ] {
            let shown: Vec<_> = shown.iter().map(|n| id(*n)).collect();
            let choice = choose(&needs, &shown, &rows, NOW);
            assert_eq!(choice.grants, grants.iter().map(|n| id(*n)).collect::<Vec<_>>(), "{shown:?}");
            assert_eq!(choice.unmet, unmet, "{shown:?}");
            assert_eq!(choice.grants.len() + choice.bars.len(), shown.len(), "each is accounted for: {choice:?}");
        }
    }
}
