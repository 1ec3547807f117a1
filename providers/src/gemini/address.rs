//! Where a model is asked: at AI Studio, or in a project's own place at Vertex.

use url::Url;

use crate::dialect::{Aim, Unsupported};

/// Vertex's address without a place; with one, the place goes before it.
const VERTEX_HOST: &str = "aiplatform.googleapis.com";

/// Whether this provider is Vertex: it has projects. The catalogue's address names one; another address may leave that to us.
pub(super) fn is_vertex(aim: &Aim<'_>) -> bool {
    aim.settings.contains_key("project") || names_a_project(aim)
}

fn names_a_project(aim: &Aim<'_>) -> bool {
    aim.base_url.path().contains("/projects/")
}

/// `…/models/{model}:{method}`.
pub(super) fn address(aim: &Aim<'_>, method: &str) -> Result<Url, Unsupported> {
    let model = plain(aim.model.strip_prefix("models/").unwrap_or(aim.model), "the model's name")?;
    let mut url = if is_vertex(aim) {
        let location = plain(aim.settings.get("location").map_or("global", String::as_str), "its setting location")?;
        let place = format!("locations/{location}/publishers/google/models/{model}:{method}");
        let mut url = match aim.settings.get("project") {
            Some(project) if !names_a_project(aim) => {
                aim.url(&format!("projects/{}/{place}", plain(project, "the provider's setting project")?))
            }
            _ => aim.url(&place),
        };
        if url.host_str() == Some(VERTEX_HOST) && location != "global" {
            let host = format!("{location}-{VERTEX_HOST}");
            url.set_host(Some(&host)).map_err(|_| Unsupported::new("the provider's setting location is no place"))?;
        }
        url
    } else {
        aim.url(&format!("models/{model}:{method}"))
    };
    if method == "streamGenerateContent" {
        url.query_pairs_mut().append_pair("alt", "sse");
    }
    Ok(url)
}

/// A name that cannot lead anywhere else. A model's name may be the caller's own word.
fn plain<'a>(name: &'a str, what: &str) -> Result<&'a str, Unsupported> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    match name.bytes().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        true => Ok(name),
        false => Err(Unsupported::new(format!("{what} can only have letters, digits, '-', '_', '.' and '@'"))),
    }
}
