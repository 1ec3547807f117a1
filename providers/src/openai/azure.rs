//! Azure OpenAI. Its servers speak OpenAI's wire; what differs is the address, of which there are two:
//!
//! | `base_url` | `settings.api_version` | what is asked |
//! |---|---|---|
//! | `https://NAME.openai.azure.com` | none | `/openai/v1/chat/completions`, the deployment named as the model |
//! | `https://NAME.openai.azure.com` | `2024-10-21` | `/openai/deployments/DEPLOYMENT/chat/completions?api-version=2024-10-21` |
//! | `…/v1` | any or none | that surface, with the version if there is one (`preview`) |
//!
//! A deployment that is not named as its model is the model's `upstream_id` (or `deployment`) in the configuration.

use http::HeaderMap;
use url::Url;

use super::OpenAiDialect;
use crate::catalog::Quirks;
use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::request::{ModelRequest, Shape};
use crate::responses;

/// Azure OpenAI.
pub struct AzureDialect;

impl Dialect for AzureDialect {
    fn own_shape(&self) -> Option<Shape> {
        OpenAiDialect.own_shape()
    }

    fn assembly(&self, request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        OpenAiDialect.assembly(request)
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        // Only newer versions of the deployments have Responses; whose does says so by `settings.responses: native`.
        let serves_responses = aim.quirks.serves_responses && surface(aim) == Surface::V1;
        let quirks = Quirks { serves_responses, ..*aim.quirks };
        let aim = Aim { quirks: &quirks, ..*aim };
        // Responses name the deployment in the body alone.
        let in_body = request.shape() == Shape::Responses && responses::is_native(&aim);
        let base_url = address(&aim, !in_body);
        OpenAiDialect.encode(request, &Aim { base_url: &base_url, ..aim })
    }

    /// The models that its place has, deployed here or not.
    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        let base_url = address(aim, false);
        Some(Aim { base_url: &base_url, ..*aim }.get("models"))
    }

    fn decoder(&self, request: &ModelRequest, content_type: &str) -> Box<dyn Decoder> {
        OpenAiDialect.decoder(request, content_type)
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        OpenAiDialect.explain(status, headers, body)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Surface {
    V1,
    Deployments,
}

fn surface(aim: &Aim<'_>) -> Surface {
    let is_v1 = aim.base_url.path().trim_end_matches('/').ends_with("/v1");
    if is_v1 || !aim.settings.contains_key("api_version") { Surface::V1 } else { Surface::Deployments }
}

/// Where this model's paths begin, or those of no model, with the version as a query.
fn address(aim: &Aim<'_>, of_model: bool) -> Url {
    let mut url = aim.base_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
    }
    let is_whole = url.path().ends_with("/v1");
    if let (false, Ok(mut path)) = (is_whole, url.path_segments_mut()) {
        match surface(aim) {
            Surface::V1 => path.extend(["openai", "v1"]),
            Surface::Deployments if of_model => path.extend(["openai", "deployments", aim.model]),
            Surface::Deployments => path.push("openai"),
        };
    }
    if let Some(version) = aim.settings.get("api_version") {
        url.query_pairs_mut().append_pair("api-version", version);
    }
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::Auth;
    use crate::credentials::Secret;
    use crate::error::{Class, Retry};

    fn encode(base_url: &str, version: Option<&str>, token: bool) -> HttpRequest {
        let (base_url, quirks, key) = (Url::parse(base_url).unwrap(), Quirks::default(), Secret::new("k"));
        let settings: BTreeMap<String, String> =
            version.map(|it| ("api_version".to_owned(), it.to_owned())).into_iter().collect();
        let body = r#"{"model":"a","max_tokens":5,"messages":[]}"#;
        let request = ModelRequest::parse(Shape::OpenAi, body.into()).unwrap();
        let aim = Aim {
            key: Some(&key),
            auth: Auth::ApiKey,
            settings: &settings,
            ..Aim::at(&base_url, "my gpt/4o", 9, &quirks)
        };
        let token_text = Secret::new("tok");
        AzureDialect.encode(&request, &aim.with_token(token.then_some(&token_text))).unwrap()
    }

    #[test]
    fn either_surface_is_addressed_as_it_wants() {
        let check = |base_url: &str, version: Option<&str>, expected: &str| {
            assert_eq!(encode(base_url, version, false).url.as_str(), expected);
        };
        let v1 = "https://n.openai.azure.com/openai/v1/chat/completions";
        check("https://n.openai.azure.com/openai/v1", None, v1);
        check("https://n.openai.azure.com/openai/v1/", None, v1);
        check("https://n.openai.azure.com", None, v1);
        check("https://n.openai.azure.com/openai/v1", Some("preview"), &format!("{v1}?api-version=preview"));
        let deployed =
            "https://n.openai.azure.com/openai/deployments/my%20gpt%2F4o/chat/completions?api-version=2024-10-21";
        check("https://n.openai.azure.com", Some("2024-10-21"), deployed);
        check("https://n.openai.azure.com/", Some("2024-10-21"), deployed);
    }

    #[test]
    fn responses_go_where_they_are_served_and_are_translated_elsewhere() {
        let check = |settings: &[(&str, &str)], expected: &str| {
            let (base_url, key) = (Url::parse("https://n.openai.azure.com").unwrap(), Secret::new("k"));
            let quirks = Quirks { serves_responses: true, ..Quirks::default() };
            let settings: BTreeMap<String, String> =
                settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let request = ModelRequest::parse(Shape::Responses, r#"{"model":"a","input":"hi"}"#.into()).unwrap();
            let aim = Aim { key: Some(&key), settings: &settings, ..Aim::at(&base_url, "d", 9, &quirks) };
            assert_eq!(AzureDialect.encode(&request, &aim).unwrap().url.path(), expected);
        };
        check(&[], "/openai/v1/responses");
        check(&[("responses", "translated")], "/openai/v1/chat/completions");
        check(&[("api_version", "2024-10-21")], "/openai/deployments/d/chat/completions");
        check(&[("api_version", "2025-04-01-preview"), ("responses", "native")], "/openai/responses");
    }

    #[test]
    fn the_list_of_models_is_no_deployments() {
        let check = |settings: &[(&str, &str)], expected: &str| {
            let (base_url, quirks) = (Url::parse("https://n.openai.azure.com/").unwrap(), Quirks::default());
            let settings: BTreeMap<String, String> =
                settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let aim = Aim { settings: &settings, ..Aim::at(&base_url, "d", 9, &quirks) };
            assert_eq!(AzureDialect.list_models(&aim).unwrap().unwrap().url.as_str(), expected);
        };
        check(&[], "https://n.openai.azure.com/openai/v1/models");
        check(&[("api_version", "2024-10-21")], "https://n.openai.azure.com/openai/models?api-version=2024-10-21");
    }

    #[test]
    fn a_key_goes_into_its_own_header_and_a_token_into_the_usual_one() {
        let request = encode("https://n.openai.azure.com", None, false);
        assert_eq!((&request.headers["api-key"], request.headers.get("authorization")), (&"k".parse().unwrap(), None));
        let request = encode("https://n.openai.azure.com", None, true);
        assert_eq!(request.headers["authorization"], "Bearer tok");
        assert_eq!(request.headers.get("api-key"), None);
        assert_eq!(&request.body[..], br#"{"model":"my gpt/4o","max_tokens":5,"messages":[]}"#);
    }

    #[test]
    fn azures_errors_say_who_is_at_fault() {
        let check = |status: u16, body: &str, class: Class, code: &str, retry: Retry| {
            let error = AzureDialect.explain(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!((error.class, error.code, error.retry), (class, code, retry), "{body}");
            assert!(!error.message.contains("SECRET"));
        };
        let filtered = r#"{"error":{"message":"SECRET","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"violence":{"filtered":true,"severity":"medium"}}}}}"#;
        check(400, filtered, Class::Rejected, "provider_content_filter", Retry::Never);
        let absent =
            r#"{"error":{"code":"DeploymentNotFound","message":"SECRET: this API deployment does not exist."}}"#;
        check(404, absent, Class::Rejected, "model_not_found", Retry::Never);
        let nowhere = r#"{"error":{"code":"404","message":"Resource not found"}}"#;
        check(404, nowhere, Class::Misconfigured, "provider_error", Retry::Elsewhere);
        let key = r#"{"error":{"code":"401","message":"SECRET: invalid subscription key or wrong endpoint."}}"#;
        check(401, key, Class::Misconfigured, "provider_error", Retry::Elsewhere);
        check(
            429,
            r#"{"error":{"code":"429","message":"SECRET"}}"#,
            Class::RateLimited,
            "provider_unavailable",
            Retry::Elsewhere,
        );
    }
}
