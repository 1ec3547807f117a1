//! Files and batches at a provider of OpenAI's words: bounded questions, and a file's content as a stream.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{LARGEST_ERROR, Outbound, Source, failed, wall_clock};
use crate::batches::{self, BatchEndpoint, MARK, RemoteBatch};
use crate::error::{Class, ProviderError};
use crate::fleet::Target;

/// A list of a hundred batches, each with its metadata and errors.
const LARGEST_OBJECT: usize = 8 << 20;
/// So many batches are looked through for one that may have got lost, and on so many pages.
const PAGE: usize = 100;
const MOST_PAGES: usize = 10;

/// The content of a file on its way.
pub struct Content {
    source: Source,
    idle: Duration,
}

impl Content {
    /// The next bytes.
    pub async fn next(&mut self) -> Option<Result<Bytes, ProviderError>> {
        match timeout(self.idle, self.source.next()).await {
            Ok(piece) => piece,
            Err(_) => Some(Err(ProviderError::new(Class::Timeout, "the provider stopped answering"))),
        }
    }
}

impl Outbound {
    /// Uploads the lines of a batch; the provider's own name of the file.
    pub async fn upload_batch(&self, target: &Target, lines: &[u8]) -> Result<String, ProviderError> {
        let (body, content_type) = batches::form(lines);
        let file = self.object(target, Method::POST, "files", body, Some(content_type)).await?;
        batches::id(file["id"].as_str())
    }

    /// Deletes a file. One that is gone already is deleted.
    pub async fn delete_file(&self, target: &Target, id: &str) -> Result<(), ProviderError> {
        match self.object(target, Method::DELETE, &format!("files/{id}"), Bytes::new(), None).await {
            Err(error) if error.status != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// A file's content.
    pub async fn file_content(&self, target: &Target, id: &str) -> Result<Content, ProviderError> {
        let path = format!("files/{id}/content");
        let source = self.exchange(target, Method::GET, &path, Bytes::new(), None).await?;
        Ok(Content { source, idle: self.deadlines().idle })
    }

    /// Begins a batch that is known again by `call`.
    pub async fn create_batch(
        &self,
        target: &Target,
        file: &str,
        endpoint: BatchEndpoint,
        call: &str,
    ) -> Result<RemoteBatch, ProviderError> {
        let body = json!({
            "input_file_id": file, "endpoint": endpoint.url(), "completion_window": "24h", "metadata": {MARK: call},
        });
        let json = Some("application/json");
        RemoteBatch::read(&self.object(target, Method::POST, "batches", body.to_string().into(), json).await?)
    }

    /// How a batch stands.
    pub async fn batch(&self, target: &Target, id: &str) -> Result<RemoteBatch, ProviderError> {
        RemoteBatch::read(&self.object(target, Method::GET, &format!("batches/{id}"), Bytes::new(), None).await?)
    }

    /// Asks for the end of a batch; how it stands then.
    pub async fn cancel_batch(&self, target: &Target, id: &str) -> Result<RemoteBatch, ProviderError> {
        let path = format!("batches/{id}/cancel");
        RemoteBatch::read(&self.object(target, Method::POST, &path, Bytes::new(), None).await?)
    }

    /// Looks among the provider's latest batches for the one that was begun for `call`.
    pub async fn find_batch(&self, target: &Target, call: &str) -> Result<Option<RemoteBatch>, ProviderError> {
        let mut path = format!("batches?limit={PAGE}");
        for _ in 0..MOST_PAGES {
            let page = self.object(target, Method::GET, &path, Bytes::new(), None).await?;
            let list = page["data"].as_array().ok_or_else(|| ProviderError::broken("no list of batches"))?;
            if let Some(found) = list.iter().find(|it| it["metadata"][MARK].as_str() == Some(call)) {
                return RemoteBatch::read(found).map(Some);
            }
            let (true, Some(last)) = (page["has_more"].as_bool() == Some(true), list.last()) else { return Ok(None) };
            path = format!("batches?limit={PAGE}&after={}", batches::id(last["id"].as_str())?);
        }
        // There are more than can be looked through: that it is none of them is not known.
        Err(ProviderError::broken("the provider has more batches than can be looked through"))
    }

    async fn object(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Bytes,
        content_type: Option<&'static str>,
    ) -> Result<Value, ProviderError> {
        let mut source = self.exchange(target, method, path, body, content_type).await?;
        let read = timeout(self.deadlines().whole, source.at_most(LARGEST_OBJECT, self.deadlines().idle));
        let body = read.await.map_err(|_| ProviderError::new(Class::Timeout, "the provider stopped answering"))?;
        serde_json::from_slice(&body).map_err(|_| ProviderError::broken("the provider's answer is no JSON"))
    }

    async fn exchange(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Bytes,
        content_type: Option<&'static str>,
    ) -> Result<Source, ProviderError> {
        let unaskable = || {
            let message = format!("{} cannot be asked for batches", target.provider);
            ProviderError::new(Class::Unsupported, message)
        };
        let base_url = target.wire.base_url.as_ref().filter(|_| target.batches).ok_or_else(unaskable)?;
        let token = self.token(target).await?;
        let key = target.wire.keys.home();
        let aim = target.aim(base_url, 0, key.as_deref(), wall_clock()).with_token(token.as_ref());
        let mut headers: HeaderMap = aim.header_map()?;
        match content_type {
            Some(content_type) => headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type)),
            None => headers.remove(CONTENT_TYPE),
        };
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = aim.url(path);
        if let Some(query) = query {
            let both = url.query().map_or(query.to_owned(), |own| format!("{own}&{query}"));
            url.set_query(Some(&both));
        }
        let mut call = Request::new(Full::new(body));
        *call.method_mut() = method;
        *call.uri_mut() = url.as_str().parse().map_err(|_| unaskable())?;
        *call.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("alfred/", env!("CARGO_PKG_VERSION")));
        call.headers_mut().entry(USER_AGENT).or_insert(agent);
        let response = timeout(self.deadlines().whole, self.client(target.wire.way.as_ref()).request(call))
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"))?
            .map_err(|error| failed(&error))?;
        let (head, body) = response.into_parts();
        let mut source = Source::Network(body);
        if head.status.is_success() {
            return Ok(source);
        }
        if let (401, Some(tokens), Some(token)) = (head.status.as_u16(), &target.wire.tokens, &token) {
            tokens.forget(token);
        }
        let body = source.at_most(LARGEST_ERROR, self.deadlines().idle).await;
        let status = head.status.as_u16();
        Err(ProviderError { status: Some(status), ..target.wire.dialect.explain(status, &head.headers, &body) })
    }
}
