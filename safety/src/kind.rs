//! What can be found, and what may be done about it. The names are those of policies, receipts and refusals.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of text that should not leave unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A payment card number.
    PaymentCard,
    /// An international bank account number.
    Iban,
    /// A social security number of the United States.
    UsSsn,
    /// A telephone number.
    Phone,
    /// A credential: an API key, a token, a private key.
    ApiKey,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Kind; 6] = [Kind::Email, Kind::PaymentCard, Kind::Iban, Kind::UsSsn, Kind::Phone, Kind::ApiKey];

    /// The name used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::PaymentCard => "payment_card",
            Kind::Iban => "iban",
            Kind::UsSsn => "us_ssn",
            Kind::Phone => "phone",
            Kind::ApiKey => "api_key",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of finding: {0}")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// What is done about a finding, from mild to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It may pass.
    Allow,
    /// A placeholder takes its place.
    Redact,
    /// The call is refused.
    Block,
}

impl Action {
    /// The name used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Redact => "redact",
            Action::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an action (allow, redact or block): {0}")]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Action, UnknownAction> {
        [Action::Allow, Action::Redact, Action::Block]
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| UnknownAction(text.to_owned()))
    }
}

/// What is to be done about each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actions(BTreeMap<Kind, Action>);

impl Actions {
    /// What is done about `kind`. A kind that nobody decided on is blocked.
    pub fn get(&self, kind: Kind) -> Action {
        self.0.get(&kind).copied().unwrap_or(Action::Block)
    }
}

impl From<BTreeMap<Kind, Action>> for Actions {
    fn from(actions: BTreeMap<Kind, Action>) -> Actions {
        Actions(actions)
    }
}

impl FromIterator<(Kind, Action)> for Actions {
    fn from_iter<I: IntoIterator<Item = (Kind, Action)>>(actions: I) -> Actions {
        Actions(actions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for action in [Action::Allow, Action::Redact, Action::Block] {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("Email".parse::<Kind>().is_err());
        assert!("drop".parse::<Action>().is_err());
    }

    #[test]
    fn a_kind_that_nobody_decided_on_is_blocked() {
        let actions: Actions = [(Kind::Email, Action::Allow)].into_iter().collect();
        assert_eq!(actions.get(Kind::Email), Action::Allow);
        assert_eq!(actions.get(Kind::Phone), Action::Block);
    }
}
