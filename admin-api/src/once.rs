//! Asking twice, happening once. The id of what a call makes follows from who asks, for what, and under which
//! `Idempotency-Key`; the ledger then answers a repeat as it answered the first.

use axum::extract::FromRequestParts;
use http::request::Parts;
use ledger::{Id, Kind};

use crate::AdminState;
use crate::operator::Caller;
use crate::problem::Problem;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The names of what this call makes.
pub(crate) struct Once {
    /// A keyed hash of actor, method, path and `Idempotency-Key`; none without the header.
    seed: Option<[u8; 32]>,
}

impl Once {
    /// The id of the new thing: the same for a repeat of this call, fresh for a call without the header.
    pub(crate) fn id<K: Kind>(&self, state: &AdminState) -> Id<K> {
        let Some(seed) = self.seed else { return state.ledger.new_id() };
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&seed[..16]);
        Id::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Takes the name of this call for `body`, where what is done has no id of its own that would tell a repeat.
    pub(crate) async fn claim(&self, state: &AdminState, body: &str) -> Result<Claimed, Problem> {
        let name = self.seed.ok_or_else(missing)?;
        let content = state.ledger.keyed_hash("admin-body", body.as_bytes());
        state.ledger.tenants().claim(name, content).await?;
        Ok(Claimed { name })
    }

    /// Refuses a call that must not be repeated by accident and came without the header.
    pub(crate) fn needed(&self) -> Result<(), Problem> {
        self.seed.map(|_| ()).ok_or_else(missing)
    }
}

fn missing() -> Problem {
    Problem::IdempotencyKey("this call moves money: send an `Idempotency-Key` header".into())
}

/// A name that was taken for this call.
pub(crate) struct Claimed {
    name: [u8; 32],
}

impl Claimed {
    /// Frees the name: the call was refused, so another body may come under it.
    pub(crate) async fn free(self, state: &AdminState) {
        if let Err(error) = state.ledger.tenants().unclaim(self.name).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an idempotency key could not be freed");
        }
    }
}

impl FromRequestParts<AdminState> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let mut values = parts.headers.get_all(HEADER).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Ok(Once { seed: None }),
            (Some(key), None) => key.as_bytes(),
            (Some(_), Some(_)) => return Err(Problem::IdempotencyKey("the header came twice".into())),
        };
        if key.is_empty() || key.len() > LONGEST || !key.iter().all(|b| (0x20..0x7f).contains(b)) {
            return Err(Problem::IdempotencyKey(format!("must be 1 to {LONGEST} printable ASCII characters")));
        }
        let scope = format!("{}\n{} {}\n", caller.id(), parts.method, parts.uri.path());
        let seed = state.ledger.keyed_hash("admin-idempotency", &[scope.as_bytes(), key].concat());
        Ok(Once { seed: Some(seed) })
    }
}
