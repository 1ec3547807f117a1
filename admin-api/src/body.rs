//! JSON bodies: read whole within a limit, every fault told with the member it is in.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The largest body that the admin API reads.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;
/// The largest file that it reads.
const FILE_LIMIT: usize = 16 * 1024 * 1024;

/// The largest layer of rules.
const RULES_LIMIT: usize = ledger::policies::LONGEST_BUNDLE;

/// A JSON body that is a `T` and nothing more.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::NotJson);
        }
        read(&collect(request.into_body(), BODY_LIMIT).await?).map(Json)
    }
}

/// A JSON body that may be `null` or left out altogether.
pub(crate) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = is_json(&request);
        let bytes = collect(request.into_body(), BODY_LIMIT).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(OptionalJson(T::default())),
            (false, false) => Err(Problem::NotJson),
            (false, true) => read(&bytes).map(|body: Option<T>| OptionalJson(body.unwrap_or_default())),
        }
    }
}

/// Rules, in JSON or as a bundle.
pub(crate) enum Upload<T> {
    Json(T),
    Gzip(bytes::Bytes),
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Upload<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_gzip = matches!(essence(&request).as_str(), "application/gzip" | "application/x-gzip");
        if !is_gzip && !is_json(&request) {
            return Err(Problem::NotRules);
        }
        // Refused by what it says of itself, before a byte of it is read.
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > RULES_LIMIT) {
            return Err(Problem::TooLarge { limit: RULES_LIMIT });
        }
        let bytes = collect(request.into_body(), RULES_LIMIT).await?;
        if is_gzip { Ok(Upload::Gzip(bytes)) } else { read(&bytes).map(Upload::Json) }
    }
}

/// A file of lines and columns, as a provider exports it.
pub(crate) struct Csv(pub bytes::Bytes);

impl<S: Send + Sync> FromRequest<S> for Csv {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if essence(&request) != "text/csv" {
            return Err(Problem::NotCsv);
        }
        collect(request.into_body(), FILE_LIMIT).await.map(Csv)
    }
}

fn is_json(request: &Request) -> bool {
    let essence = essence(request);
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The content type without its parameters.
fn essence(request: &Request) -> String {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A file of JSON, as a text: what it holds is for the ledger to read.
pub(crate) struct JsonFile(pub String);

impl<S: Send + Sync> FromRequest<S> for JsonFile {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::NotJson);
        }
        let bytes = collect(request.into_body(), FILE_LIMIT).await?;
        String::from_utf8(bytes.into()).map(JsonFile).map_err(|_| Problem::Syntax("the file is not UTF-8".into()))
    }
}

async fn collect(body: Body, limit: usize) -> Result<bytes::Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::TooLarge { limit }),
        Err(_) => Err(Problem::Broken),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde takes an array for an object, member by member; nobody means that.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::Syntax("the body must be a JSON object, not an array".into()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner())
    })?;
    reader.end().map_err(|error| Problem::Syntax(error.to_string()))?;
    Ok(value)
}

/// Serde says `unknown field `x`` of the object that holds it; the asker is told of `x` itself.
fn explain(path: &str, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    if error.is_syntax() || error.is_eof() {
        return Problem::Syntax(error.to_string());
    }
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`'))
        .map(|(name, _)| name.chars().take(100).collect::<String>());
    let detail = match &named {
        Some(_) if message.starts_with("unknown") => "is not a member of this body".to_owned(),
        Some(_) if message.starts_with("missing") => "is needed".to_owned(),
        Some(_) => "is there twice".to_owned(),
        None => message.to_owned(),
    };
    let member = match (path, named) {
        (".", Some(name)) => name,
        (".", None) => return Problem::Syntax(message.to_owned()),
        // A missing or doubled member is reported with its own path in some cases and with its parent's in others.
        (path, Some(name)) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    Problem::Member { member, detail }
}

/// What is written into the audit log stays there: names of things, one line, bounded.
pub(crate) fn label(member: &str, text: &str, most: usize) -> Result<(), Problem> {
    let fits =
        (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control) && !text.trim().is_empty();
    let detail = format!("must be one line of 1 to {most} characters");
    if fits { Ok(()) } else { Err(Problem::Member { member: member.into(), detail }) }
}
