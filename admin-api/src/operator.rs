//! Who is asking, and whether they may: one layer around every route, so that no route can forget it.
//! The key is verified from memory, in constant time; only a failure draws from its address's allowance.

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use ledger::{Actor, Id, Operator, OperatorCredential, Org, Role};

use crate::AdminState;
use crate::problem::Problem;

/// The operator whose key came with the call. Only [`authenticate`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    id: Id<Operator>,
    org: Option<Id<Org>>,
}

impl Caller {
    /// The operator, as the audit log names them.
    pub(crate) fn actor(self) -> Actor {
        Actor::Operator(self.id)
    }

    /// The operator's id.
    pub(crate) fn id(self) -> Id<Operator> {
        self.id
    }

    /// The organisation whose approvals alone they see.
    pub(crate) fn org(self) -> Option<Id<Org>> {
        self.org
    }
}

/// Whether a role may do this. Whatever is not named here is for admins: a new route is closed to everybody else.
fn may(role: Role, method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match role {
        Role::Admin => true,
        Role::Auditor => reads,
        Role::Approver => match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["approvals"] | ["approvals", _] => reads,
            ["approvals", _, "decide"] => *method == Method::POST,
            _ => false,
        },
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or(Problem::Unauthorized)
    }
}

/// Lets a call with a living admin key pass, if its role may do that, and refuses every other.
pub(crate) async fn authenticate(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let Some(operators) = state.refresh.operators() else {
        return Problem::Unavailable("operators' keys could not be confirmed for a while".into()).into_response();
    };
    let caller = bearer(request.headers()).and_then(|key| OperatorCredential::find(&operators, key));
    let (mut parts, body) = request.into_parts();
    let Some(operator) = caller else {
        return match state.refresh.failed_verification(&parts) {
            Some(retry_after) => Problem::TooManyFailures { retry_after }.into_response(),
            None => Problem::Unauthorized.into_response(),
        };
    };
    if !may(operator.role, &parts.method, parts.uri.path()) {
        return Problem::Forbidden { role: operator.role.as_str() }.into_response();
    }
    parts.extensions.insert(Caller { id: operator.id, org: operator.org });
    next.run(Request::from_parts(parts, body)).await
}

/// The key of the one `Authorization: Bearer` header. Two headers are nobody's.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"bearer ")).then(|| key.trim_ascii()).filter(|key| !key.is_empty())
}
