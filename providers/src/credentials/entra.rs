//! An application in Microsoft's directory: its secret buys a token (OAuth 2.0 client credentials).

use std::sync::Arc;

use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::token::TokenRequest;
use super::{LiveKey, is_private};
use crate::config::EntraConfig;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// Who asks, and where.
pub(crate) struct Client {
    url: Url,
    client_id: String,
    client_secret: Arc<LiveKey>,
    scope: String,
}

impl Client {
    /// What is wrong is told with the member's name.
    pub(super) fn new(
        config: &EntraConfig,
        client_secret: Arc<LiveKey>,
    ) -> Result<Client, (&'static str, &'static str)> {
        let is_name =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        if !is_name(&config.tenant) {
            return Err(("tenant", "must be the id or a domain of a directory"));
        }
        if !is_name(&config.client_id) {
            return Err(("client_id", "must be the id of an application"));
        }
        let authority = Url::parse(config.authority.as_deref().unwrap_or(AUTHORITY)).ok().filter(is_private);
        let mut url = authority.ok_or(("authority", "is no https address"))?;
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}/oauth2/v2.0/token", config.tenant));
        let scope = config.scope.clone().unwrap_or_else(|| SCOPE.to_owned());
        Ok(Client { url, client_id: config.client_id.clone(), client_secret, scope })
    }

    /// What is posted for a token; nothing while the secret is not known.
    pub(super) fn request(&self) -> Option<TokenRequest> {
        let secret = self.client_secret.get()?;
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", secret.expose())
            .append_pair("scope", &self.scope)
            .finish();
        Some(TokenRequest { url: self.url.clone(), form: Zeroizing::new(form) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    fn client(config: &str) -> Result<Client, (&'static str, &'static str)> {
        Client::new(&serde_yaml_ng::from_str(config).unwrap(), Arc::new(LiveKey::new(Secret::new("s+/&="))))
    }

    #[test]
    fn the_directory_is_asked_for_a_token_for_azures_models() {
        let request = client("{ tenant: contoso.example, client_id: app-1, client_secret: { env: K } }")
            .unwrap()
            .request()
            .unwrap();
        assert_eq!(request.url.as_str(), "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token");
        assert_eq!(
            *request.form,
            "grant_type=client_credentials&client_id=app-1&client_secret=s%2B%2F%26%3D\
             &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
        );
        let sovereign = "{ tenant: t, client_id: c, client_secret: { env: K }, authority: \"https://login.microsoftonline.us/\", scope: \"https://cognitiveservices.azure.us/.default\" }";
        let request = client(sovereign).unwrap().request().unwrap();
        assert_eq!(request.url.as_str(), "https://login.microsoftonline.us/t/oauth2/v2.0/token");
        assert!(request.form.ends_with("azure.us%2F.default"));
    }

    #[test]
    fn what_is_no_directory_is_refused_by_name() {
        let check = |config: &str, name: &str| assert_eq!(client(config).err().map(|it| it.0), Some(name), "{config}");
        check("{ tenant: a/b, client_id: c, client_secret: { env: K } }", "tenant");
        check("{ tenant: t, client_id: \"\", client_secret: { env: K } }", "client_id");
        check(
            "{ tenant: t, client_id: c, client_secret: { env: K }, authority: \"http://elsewhere.example\" }",
            "authority",
        );
    }
}
