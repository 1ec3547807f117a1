//! What is said on the wire: bodies, answers, and the ledger's faults in the API's words.
//! Money is decimal US dollars in a string, a moment is RFC 3339 in UTC, an id carries its kind.

pub(crate) mod alerts;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod charges;
pub(crate) mod decisions;
pub(crate) mod definitions;
pub(crate) mod keys;
pub(crate) mod operators;
pub(crate) mod people;
pub(crate) mod policies;
pub(crate) mod prices;
pub(crate) mod requests;
pub(crate) mod wallets;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use ledger::{Id, Kind, StoreError, TenantError};
use serde::{Deserialize, Deserializer};

use crate::problem::Problem;

/// The id in the path. What is not even an id names nothing: 404, as for an id that names nothing.
pub(crate) struct Named<K>(pub Id<K>);

impl<K: Kind, S: Send + Sync> FromRequestParts<S> for Named<K> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => text,
            Err(_) => return Err(Problem::NotFound("the path cannot be read".into())),
        };
        text.parse().map(Named).map_err(|error: ledger::IdError| {
            Problem::NotFound(format!("there is no {}: {error}", text.chars().take(100).collect::<String>()))
        })
    }
}

/// A member that is there, be it null: `Some(None)` takes away, `None` leaves alone.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What can be changed but not taken away.
pub(crate) fn not_null<T>(member: &str, value: Option<T>) -> Result<T, Problem> {
    let detail = "must not be null: leave it out to keep it as it is";
    value.ok_or_else(|| Problem::Member { member: member.into(), detail: detail.into() })
}

/// A word of a closed set, with the choices told when it is none of them.
pub(crate) fn word<T>(member: &str, text: &str, read: impl Fn(&str) -> Option<T>, choices: &str) -> Result<T, Problem> {
    read(text).ok_or_else(|| Problem::Member {
        member: member.into(),
        detail: format!("must be one of {choices}, not {:?}", text.chars().take(100).collect::<String>()),
    })
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Problem {
        match error {
            TenantError::Invalid { field, message } => {
                Problem::Member { member: member(field).into(), detail: message }
            }
            TenantError::Unknown(id) => Problem::NotFound(format!("there is no {id}")),
            TenantError::Conflict(id) => {
                Problem::Mismatch(format!("this Idempotency-Key was used before with other content, for {id}"))
            }
            TenantError::AlreadyShown(id) => Problem::Expired(format!(
                "this Idempotency-Key was used before for {id}; a secret is shown once and not kept: rotate the key for a new one"
            )),
            TenantError::Ended(id) => Problem::Refused {
                code: "key_ended",
                detail: format!("{id} was revoked or has expired; make a new key"),
            },
            TenantError::Bootstrap(id) => Problem::Refused {
                code: "bootstrap_operator",
                detail: format!(
                    "{id} is the bootstrap operator: start with another ALFRED_BOOTSTRAP_ADMIN_KEY to replace it"
                ),
            },
            TenantError::Closed(id) => Problem::Refused {
                code: "wallet_closed",
                detail: format!("{id} is closed for good: nothing of it changes any more"),
            },
            TenantError::InUse { wallet, calls } => Problem::Refused {
                code: "wallet_in_use",
                detail: format!(
                    "{wallet} cannot be closed while {calls} calls are in flight in it or below it: suspend it, and close it when they have ended"
                ),
            },
            TenantError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Busy | StoreError::Closed => Problem::Unavailable(error.to_string()),
            error => Problem::fault(&error),
        }
    }
}

/// The ledger's field, as the API calls it.
fn member(field: &'static str) -> &'static str {
    match field {
        "org" => "org_id",
        "team" => "team_id",
        "teams" => "team_ids",
        "user" => "user_id",
        "wallet" => "wallet_id",
        "parent" => "parent_id",
        "hard_limit" => "hard_limit_usd",
        "soft_limit" => "soft_limit_usd",
        "thresholds" => "soft_thresholds",
        "under" => "under_id",
        "overlap" => "overlap_seconds",
        "minimum" => "minimum_usd",
        "cool_down" => "cool_down_seconds",
        other => other,
    }
}
