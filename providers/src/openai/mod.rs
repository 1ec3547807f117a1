//! Servers that speak OpenAI's chat completions.

use bytes::Bytes;
use http::HeaderMap;

use crate::chat::{ChatEvent, ChatRequest, End, Shape};
use crate::dialect::{Aim, Decoder, Dialect, Finish, HttpRequest, Outlet, Unsupported};
use crate::error::ProviderError;

/// Servers that speak OpenAI's chat completions.
pub struct OpenAiDialect;

impl Dialect for OpenAiDialect {
    fn shape(&self) -> Shape {
        Shape::OpenAi
    }
    fn encode(&self, _request: &ChatRequest, _aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        Err(Unsupported::new("not yet"))
    }
    fn decoder(&self, _request: &ChatRequest, _content_type: &str) -> Box<dyn Decoder> {
        Box::new(NotYet)
    }
    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        explain(status, headers, body)
    }
}

pub(crate) fn explain(_status: u16, _headers: &HeaderMap, _body: &[u8]) -> ProviderError {
    ProviderError::broken("not yet")
}

struct NotYet;
impl Decoder for NotYet {
    fn feed(&mut self, _bytes: &[u8], _out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        Ok(())
    }
    fn finish(&mut self, _out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Passes OpenAI chunks on.
pub(crate) struct OpenAiOutlet;

impl OpenAiOutlet {
    pub(crate) fn new(_wants_usage: bool) -> OpenAiOutlet {
        OpenAiOutlet
    }
}

impl Outlet for OpenAiOutlet {
    fn chunk(&mut self, _chunk: &str) -> Result<Bytes, ProviderError> {
        Ok(Bytes::new())
    }
    fn end(self: Box<Self>, finish: Finish) -> End {
        End::new(finish.reason, |_, _| Bytes::new())
    }
    fn whole(self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        Ok(End::new(finish.reason, move |_, _| body.clone()))
    }
}
