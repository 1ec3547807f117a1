//! The Responses API of Azure OpenAI, which is addressed in two ways:
//!
//! | `base_url` | `settings.api_version` | what is asked |
//! |---|---|---|
//! | `https://NAME.openai.azure.com` | none | `/openai/v1/responses` |
//! | `https://NAME.openai.azure.com` | `2025-03-01-preview` | `/openai/responses?api-version=2025-03-01-preview` |
//! | `…/v1` | any or none | that surface, with the version if there is one |
//!
//! Unlike chat completions it has no deployment in its path: the deployment is the model of the body.

use http::HeaderMap;
use url::Url;

use super::ResponsesDialect;
use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::openai::AzureDialect;
use crate::request::{ModelRequest, Shape};

/// Azure OpenAI's models that are served at `/responses` alone.
pub struct AzureResponsesDialect;

impl Dialect for AzureResponsesDialect {
    fn own_shape(&self) -> Option<Shape> {
        ResponsesDialect.own_shape()
    }

    fn assembly(&self, request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        ResponsesDialect.assembly(request)
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        let base_url = address(aim);
        ResponsesDialect.encode(request, &Aim { base_url: &base_url, ..*aim })
    }

    fn decoder(&self, request: &ModelRequest, content_type: &str) -> Box<dyn Decoder> {
        ResponsesDialect.decoder(request, content_type)
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        AzureDialect.explain(status, headers, body)
    }
}

/// Where the API begins, with the version as a query.
fn address(aim: &Aim<'_>) -> Url {
    let mut url = aim.base_url.clone();
    let version = aim.settings.get("api_version");
    let has_surface = url.path().trim_end_matches('/').ends_with("/v1");
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        match (has_surface, version) {
            (true, _) => {}
            (false, Some(_)) => drop(path.push("openai")),
            (false, None) => drop(path.extend(["openai", "v1"])),
        }
    }
    if let Some(version) = version {
        url.query_pairs_mut().append_pair("api-version", version);
    }
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::Quirks;

    #[test]
    fn either_surface_is_addressed_as_it_wants() {
        for (base_url, version, expected) in [
            ("https://n.openai.azure.com", None, "https://n.openai.azure.com/openai/v1/responses"),
            ("https://n.openai.azure.com/openai/v1/", None, "https://n.openai.azure.com/openai/v1/responses"),
            (
                "https://n.openai.azure.com/openai/v1",
                Some("preview"),
                "https://n.openai.azure.com/openai/v1/responses?api-version=preview",
            ),
            (
                "https://n.openai.azure.com/",
                Some("2025-03-01-preview"),
                "https://n.openai.azure.com/openai/responses?api-version=2025-03-01-preview",
            ),
        ] {
            let (base_url, quirks) = (Url::parse(base_url).unwrap(), Quirks::default());
            let settings: BTreeMap<_, _> =
                version.map(|it: &str| ("api_version".to_owned(), it.to_owned())).into_iter().collect();
            let aim = Aim { settings: &settings, ..Aim::at(&base_url, "mine", 99, &quirks) };
            let body = r#"{"model":"a","messages":[{"role":"user","content":"a"}]}"#;
            let request = ModelRequest::parse(Shape::OpenAi, body.into()).unwrap();
            let encoded = AzureResponsesDialect.encode(&request, &aim).unwrap();
            assert_eq!(encoded.url.as_str(), expected);
            assert!(encoded.body.starts_with(br#"{"model":"mine","#));
        }
    }
}
