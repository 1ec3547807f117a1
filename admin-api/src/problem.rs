//! Every refusal and fault of the admin API, as an RFC 9457 problem document. Status codes live here and nowhere else.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::configuration::ConfigFault;

/// What went wrong, as the asker is told.
#[derive(Debug)]
pub(crate) enum Problem {
    /// No admin key, or not a living one.
    Unauthorized,
    /// A living admin key whose role may not do this.
    Forbidden { role: &'static str },
    /// Too many failed verifications from this address.
    TooManyFailures { retry_after: Duration },
    /// No such route.
    NoRoute,
    /// The route does not know this method.
    NoMethod,
    /// What the path names does not exist.
    NotFound(String),
    /// The body is not JSON by its content type.
    NotJson,
    /// The body is not CSV by its content type.
    NotCsv,
    /// The body is neither JSON nor a bundle by its content type.
    NotRules,
    /// The body is larger than it may be.
    TooLarge { limit: usize },
    /// The body could not be read to its end.
    Broken,
    /// The body is no JSON.
    Syntax(String),
    /// A member of the body cannot be.
    Member { member: String, detail: String },
    /// A parameter of the query cannot be.
    Parameter { name: String, detail: String },
    /// The `Idempotency-Key` is needed or cannot be.
    IdempotencyKey(String),
    /// The `Idempotency-Key` or the reference was used before with other content.
    Mismatch(String),
    /// What was asked for happened before, and its answer held a secret.
    Expired(String),
    /// It was read, and cannot be: every fault of a configuration with its place.
    Unfit(Vec<ConfigFault>),
    /// Rules were read, and cannot be: every fault with its place.
    BadRules(Vec<policies::Fault>),
    /// The state of things does not allow it.
    Refused { code: &'static str, detail: String },
    /// Nothing can be changed or read for now.
    Unavailable(String),
    /// A fault of ours; the log has the cause.
    Fault,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:alfred:problem:invalid_value")]
    kind: String,
    /// The kind of problem in words; the same for every problem of this type.
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What happened this time.
    detail: String,
    /// The last part of `type`, for programs.
    #[schema(example = "invalid_value")]
    code: &'static str,
    /// The members or parameters at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FaultyMember>,
}

/// A member of the body, or a parameter of the query, that is at fault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultyMember {
    /// Its path in the body, such as `models[2]`, or its name in the query.
    #[schema(example = "hard_limit_usd")]
    member: String,
    /// What is wrong with it.
    detail: String,
    /// The file that it is in, where it is a fault of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Its line there.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Its column there, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// The line itself, of rules that were uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<String>,
    /// How it may be written instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// A member at fault of what is not a file.
fn simple(member: &str, detail: &str) -> FaultyMember {
    FaultyMember {
        member: member.to_owned(),
        detail: detail.to_owned(),
        file: None,
        line: None,
        column: None,
        excerpt: None,
        help: None,
    }
}

impl Problem {
    /// A fault of ours. The cause goes to the log, not to the asker.
    pub(crate) fn fault(error: &(dyn std::error::Error + 'static)) -> Problem {
        tracing::error!(error, "an admin call failed");
        Problem::Fault
    }

    /// The same fault, of a parameter of the query and not of a member of the body.
    pub(crate) fn in_query(self) -> Problem {
        match self {
            Problem::Member { member: name, detail } => Problem::Parameter { name, detail },
            other => other,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Problem::Unauthorized => StatusCode::UNAUTHORIZED,
            Problem::Forbidden { .. } => StatusCode::FORBIDDEN,
            Problem::TooManyFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::NoRoute | Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Problem::NotJson | Problem::NotCsv | Problem::NotRules => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::Broken | Problem::Syntax(_) | Problem::Member { .. } => StatusCode::BAD_REQUEST,
            Problem::Parameter { .. } | Problem::IdempotencyKey(_) => StatusCode::BAD_REQUEST,
            Problem::Mismatch(_) | Problem::Expired(_) | Problem::Refused { .. } => StatusCode::CONFLICT,
            Problem::Unfit(_) | Problem::BadRules(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Problem::Unauthorized => "unauthorized",
            Problem::Forbidden { .. } => "forbidden",
            Problem::TooManyFailures { .. } => "rate_limit_exceeded",
            Problem::NoRoute | Problem::NotFound(_) => "not_found",
            Problem::NoMethod => "method_not_allowed",
            Problem::NotJson | Problem::NotCsv | Problem::NotRules => "unsupported_media_type",
            Problem::TooLarge { .. } => "request_too_large",
            Problem::Broken => "incomplete_body",
            Problem::Syntax(_) => "invalid_json",
            Problem::Member { .. } => "invalid_value",
            Problem::Parameter { .. } => "invalid_parameter",
            Problem::IdempotencyKey(_) => "invalid_idempotency_key",
            Problem::Mismatch(_) => "idempotency_mismatch",
            Problem::Expired(_) => "idempotency_expired",
            Problem::Unfit(_) => "invalid_configuration",
            Problem::BadRules(_) => "invalid_policy",
            Problem::Refused { code, .. } => code,
            Problem::Unavailable(_) => "unavailable",
            Problem::Fault => "internal_error",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Problem::Unauthorized => "An admin key is needed",
            Problem::Forbidden { .. } => "Not for this role",
            Problem::TooManyFailures { .. } => "Too many failed verifications",
            Problem::NoRoute | Problem::NotFound(_) => "Not found",
            Problem::NoMethod => "Method not allowed",
            Problem::NotJson => "The body must be JSON",
            Problem::NotCsv => "The body must be CSV",
            Problem::NotRules => "The body must be JSON or a bundle",
            Problem::TooLarge { .. } => "The body is too large",
            Problem::Broken => "The body ended early",
            Problem::Syntax(_) => "The body is not valid JSON",
            Problem::Member { .. } => "A member of the body is not valid",
            Problem::Parameter { .. } => "A parameter of the query is not valid",
            Problem::IdempotencyKey(_) => "The Idempotency-Key is not valid",
            Problem::Mismatch(_) => "Used before with other content",
            Problem::Expired(_) => "The first answer is not kept",
            Problem::Unfit(_) => "The configuration is not valid",
            Problem::BadRules(_) => "The rules are not valid",
            Problem::Refused { .. } => "The current state does not allow this",
            Problem::Unavailable(_) => "Not available for now",
            Problem::Fault => "Internal error",
        }
    }

    fn detail(&self) -> String {
        match self {
            Problem::Unauthorized => "send a valid admin key as `Authorization: Bearer …`".into(),
            Problem::Forbidden { role } => format!(
                "an operator of the role {role} may not do this: an approver reads and decides approvals, an auditor reads"
            ),
            Problem::TooManyFailures { .. } => {
                "too many failed verifications from this address; try again later".into()
            }
            Problem::NoRoute => "there is no such route".into(),
            Problem::NoMethod => "this route does not take this method; the `allow` header lists those it takes".into(),
            Problem::NotJson => "send the body with `content-type: application/json`".into(),
            Problem::NotCsv => "send the file as it is, with `content-type: text/csv`".into(),
            Problem::NotRules => {
                "send JSON with `content-type: application/json`, or a bundle with `content-type: application/gzip`"
                    .into()
            }
            Problem::TooLarge { limit } => format!("a body may have at most {limit} bytes"),
            Problem::Broken => "the body could not be read to its end".into(),
            Problem::Member { member, detail } | Problem::Parameter { name: member, detail } => {
                format!("{member}: {detail}")
            }
            Problem::Unfit(faults) => match faults.as_slice() {
                [] => "the configuration cannot be built".into(),
                [one] if one.path.is_empty() => one.message.clone(),
                [one] => format!("{}: {}", one.path, one.message),
                more => format!("{} faults; `errors` has them all", more.len()),
            },
            Problem::BadRules(faults) => match faults.as_slice() {
                [] => "the rules cannot be read".into(),
                [one] => one.to_string(),
                more => format!("{} faults; `errors` has them all", more.len()),
            },
            Problem::NotFound(detail)
            | Problem::Syntax(detail)
            | Problem::IdempotencyKey(detail)
            | Problem::Mismatch(detail)
            | Problem::Expired(detail)
            | Problem::Refused { detail, .. }
            | Problem::Unavailable(detail) => detail.clone(),
            Problem::Fault => "the fault is ours and has been logged".into(),
        }
    }

    fn document(&self) -> ProblemDocument {
        let errors = match self {
            Problem::Member { member, detail } | Problem::Parameter { name: member, detail } => {
                vec![simple(member, detail)]
            }
            Problem::Unfit(faults) => faults.iter().map(faulty).collect(),
            Problem::BadRules(faults) => faults.iter().map(unruly).collect(),
            _ => Vec::new(),
        };
        ProblemDocument {
            kind: format!("urn:alfred:problem:{}", self.code()),
            title: self.title(),
            status: self.status().as_u16(),
            detail: self.detail(),
            code: self.code(),
            errors,
        }
    }
}

fn faulty(fault: &ConfigFault) -> FaultyMember {
    FaultyMember {
        file: Some(fault.file.clone()).filter(|file| !file.is_empty()),
        line: fault.line,
        ..simple(&fault.path, &fault.message)
    }
}

fn unruly(fault: &policies::Fault) -> FaultyMember {
    FaultyMember {
        file: fault.path.ends_with(".rego").then(|| fault.path.clone()),
        line: fault.line.and_then(|line| usize::try_from(line).ok()),
        column: fault.column,
        excerpt: fault.excerpt.clone(),
        help: fault.help.clone(),
        ..simple(&fault.path, &fault.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status(), [(header::CONTENT_TYPE, content_type)], body).into_response();
        let headers = response.headers_mut();
        match self {
            Problem::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"alfred admin\""));
            }
            Problem::TooManyFailures { retry_after } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            Problem::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
