//! Batches in OpenAI's words, without the network: the lines of a file read and written again for a target, the forms and objects
//! that go to and fro, and what each line of an answer used.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::error::ProviderError;
use crate::fleet::Target;
use crate::json;
use crate::request::{AnswerEvent, BadRequest, Delta, ModelRequest, Shape, Usage};

/// As OpenAI has it.
const LONGEST_CUSTOM_ID: usize = 512;
/// Longer than any provider's ids.
const LONGEST_ID: usize = 128;
/// A batch that is not taken says so for a few of its lines.
const MOST_FAULTS: usize = 20;
/// The member of a batch's metadata at its provider by which we know it again.
pub(crate) const MARK: &str = "alfred_call";

/// What the lines of a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEndpoint {
    Chat,
    Responses,
    Completions,
    Embeddings,
}

impl BatchEndpoint {
    const ALL: [BatchEndpoint; 4] =
        [BatchEndpoint::Chat, BatchEndpoint::Responses, BatchEndpoint::Completions, BatchEndpoint::Embeddings];

    /// As a line and a batch name it.
    pub const fn url(self) -> &'static str {
        match self {
            BatchEndpoint::Chat => "/v1/chat/completions",
            BatchEndpoint::Responses => "/v1/responses",
            BatchEndpoint::Completions => "/v1/completions",
            BatchEndpoint::Embeddings => "/v1/embeddings",
        }
    }

    /// The one of this name.
    pub fn from_url(url: &str) -> Option<BatchEndpoint> {
        BatchEndpoint::ALL.into_iter().find(|it| it.url() == url)
    }

    /// What its lines are in.
    pub const fn shape(self) -> Shape {
        match self {
            BatchEndpoint::Chat => Shape::OpenAi,
            BatchEndpoint::Responses => Shape::Responses,
            BatchEndpoint::Completions => Shape::Completions,
            BatchEndpoint::Embeddings => Shape::Embeddings,
        }
    }

    /// A request that says nothing, for whoever reads an answer to one that is no longer at hand.
    pub fn blank(self) -> ModelRequest {
        let body = match self {
            BatchEndpoint::Chat => r#"{"model":"m","messages":[{"role":"user","content":""}]}"#,
            BatchEndpoint::Completions => r#"{"model":"m","prompt":""}"#,
            BatchEndpoint::Responses | BatchEndpoint::Embeddings => r#"{"model":"m","input":""}"#,
        };
        ModelRequest::parse(self.shape(), Bytes::from_static(body.as_bytes())).expect("a body of ours")
    }
}

/// One line of a file that asks.
#[derive(Debug)]
pub struct AskedLine {
    pub custom_id: String,
    pub endpoint: BatchEndpoint,
    /// The request, as it lies in the file.
    pub body: Bytes,
}

impl AskedLine {
    /// Reads one line of `file`.
    pub fn read(file: &Bytes, line: &[u8]) -> Result<AskedLine, BadRequest> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line<'a> {
            custom_id: String,
            method: String,
            url: String,
            #[serde(borrow)]
            body: &'a RawValue,
        }
        let line: Line<'_> = serde_json::from_slice(line).map_err(|_| BadRequest {
            code: "invalid_json",
            param: None,
            message: "It must be a JSON object with custom_id, method, url and body, each once, and nothing else."
                .to_owned(),
        })?;
        let wrong = |param: &str, message: &str| Err(BadRequest::at("invalid_value", param, message));
        if line.custom_id.is_empty() || line.custom_id.len() > LONGEST_CUSTOM_ID {
            return wrong("custom_id", "'custom_id' must have 1 to 512 bytes.");
        }
        if line.method != "POST" {
            return wrong("method", "'method' must be POST.");
        }
        let Some(endpoint) = BatchEndpoint::from_url(&line.url) else {
            return wrong(
                "url",
                "'url' must be /v1/chat/completions, /v1/responses, /v1/completions or /v1/embeddings.",
            );
        };
        Ok(AskedLine { custom_id: line.custom_id, endpoint, body: file.slice_ref(line.body.get().as_bytes()) })
    }
}

impl Target {
    /// A line as this target wants it: its own name of the model, the cap, and what the guards left of the texts.
    pub fn batch_line(
        &self,
        custom_id: &str,
        endpoint: BatchEndpoint,
        request: &ModelRequest,
        cap: u64,
    ) -> Result<String, Unsupported> {
        if request.stream() {
            return Err(Unsupported::at("stream", "the answers of a batch cannot be streamed"));
        }
        let nowhere = url::Url::parse("http://batch.invalid/v1").expect("an address");
        let encoded =
            self.dialect().encode(request, &self.aim(&nowhere, cap, None, std::time::SystemTime::UNIX_EPOCH))?;
        if encoded.url.path() != endpoint.url() {
            let message = format!("{} does not serve {} in a batch", self.name, endpoint.url());
            return Err(Unsupported::at("url", message));
        }
        let body = std::str::from_utf8(&encoded.body).map_err(|_| Unsupported::new("the line is not UTF-8"))?;
        let (custom_id, url) = (json::quote(custom_id), endpoint.url());
        Ok(format!("{{\"custom_id\":{custom_id},\"method\":\"POST\",\"url\":\"{url}\",\"body\":{body}}}"))
    }
}

/// What came of one line.
#[derive(Debug, Default)]
pub struct AnsweredLine {
    /// What was written, for whoever has to count it.
    pub deltas: Vec<Delta>,
    /// What the provider counted.
    pub usage: Option<Usage>,
}

impl AnsweredLine {
    /// Reads one line of an output file; nothing for a line that failed. One that cannot be read was answered all the same.
    pub fn read(target: &Target, asked: &ModelRequest, line: &[u8]) -> Option<AnsweredLine> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            response: Option<Response<'a>>,
        }
        #[derive(Deserialize)]
        struct Response<'a> {
            status_code: u16,
            #[serde(borrow)]
            body: Option<&'a RawValue>,
        }
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { return Some(AnsweredLine::default()) };
        let response = line.response.filter(|it| (200..300).contains(&it.status_code))?;
        let mut answered = AnsweredLine::default();
        let Some(body) = response.body else { return Some(answered) };
        let mut decoder = target.dialect().decoder(asked, "application/json");
        let mut events = Vec::new();
        decoder.feed(body.get().as_bytes(), &mut events).and_then(|()| decoder.finish(&mut events)).ok()?;
        for event in events {
            match event {
                AnswerEvent::Delta(delta) => answered.deltas.push(delta),
                AnswerEvent::Usage(usage) => answered.usage = Some(usage),
                AnswerEvent::End(_) => {}
            }
        }
        Some(answered)
    }
}

/// Cuts a file into its lines as it comes. Bounded; the same lines under every split of the bytes.
pub struct Lines {
    begun: Vec<u8>,
    longest: usize,
}

impl Lines {
    /// No line may be longer.
    pub fn new(longest: usize) -> Lines {
        Lines { begun: Vec::new(), longest }
    }

    /// Takes the next bytes; `each` gets every line that is whole. False where one is too long.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> bool {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.begun.len() + line.len() > self.longest {
                return false;
            }
            match self.begun.is_empty() {
                true => tell(line, &mut each),
                false => {
                    self.begun.extend_from_slice(line);
                    tell(&std::mem::take(&mut self.begun), &mut each);
                }
            }
        }
        self.begun.extend_from_slice(bytes);
        self.begun.len() <= self.longest
    }

    /// The last line, if it has no end of its own.
    pub fn finish(self, mut each: impl FnMut(&[u8])) {
        tell(&self.begun, &mut each);
    }
}

fn tell(line: &[u8], each: &mut impl FnMut(&[u8])) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        each(line);
    }
}

/// A batch as its provider tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteBatch {
    /// The provider's own name of it.
    pub id: String,
    pub status: String,
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
    /// `in_progress_at` and its like, in seconds.
    pub times: BTreeMap<String, i64>,
    pub output_file: Option<String>,
    pub error_file: Option<String>,
    /// Lines for which it was not taken, with a code.
    pub faults: Vec<(Option<u64>, String)>,
}

impl RemoteBatch {
    /// Nothing more comes of it.
    pub fn is_over(&self) -> bool {
        ["completed", "failed", "expired", "cancelled"].contains(&&*self.status)
    }

    pub(crate) fn read(body: &Value) -> Result<RemoteBatch, ProviderError> {
        const STATUSES: [&str; 8] =
            ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"];
        const TIMES: [&str; 7] = [
            "in_progress_at",
            "finalizing_at",
            "completed_at",
            "failed_at",
            "expired_at",
            "cancelling_at",
            "cancelled_at",
        ];
        let broken = || ProviderError::broken("the provider's answer is no batch");
        let status = body["status"].as_str().filter(|it| STATUSES.contains(it)).ok_or_else(broken)?;
        let count = |name: &str| body["request_counts"][name].as_u64().unwrap_or(0);
        let file = |name: &str| match body[name].as_str() {
            None | Some("") => Ok(None),
            Some(id) => self::id(Some(id)).map(Some),
        };
        let faults = body["errors"]["data"].as_array().into_iter().flatten().take(MOST_FAULTS);
        Ok(RemoteBatch {
            id: id(body["id"].as_str())?,
            status: status.to_owned(),
            total: count("total"),
            completed: count("completed"),
            failed: count("failed"),
            times: TIMES.iter().filter_map(|it| Some(((*it).to_owned(), body[*it].as_i64()?))).collect(),
            output_file: file("output_file_id")?,
            error_file: file("error_file_id")?,
            faults: faults.map(|it| (it["line"].as_u64(), code(it["code"].as_str()))).collect(),
        })
    }
}

/// An id that can be a part of an address.
pub(crate) fn id(text: Option<&str>) -> Result<String, ProviderError> {
    let fits = |it: &&str| {
        (1..=LONGEST_ID).contains(&it.len())
            && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && it.bytes().any(|b| b != b'.')
    };
    let id = text.filter(fits).map(str::to_owned);
    id.ok_or_else(|| ProviderError::broken("the provider's answer has no id that can be asked for"))
}

/// A code is a word; anything else would be the provider's own words.
fn code(text: Option<&str>) -> String {
    let is_word =
        |it: &&str| it.len() <= 64 && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    text.filter(is_word).unwrap_or("provider_rejected").to_owned()
}

/// A form with one file of lines. No line can hold the boundary: it begins where a line ends, and with no brace.
pub(crate) fn form(lines: &[u8]) -> (Bytes, &'static str) {
    const BOUNDARY: &str = "alfred-batch-file-5f2c9a";
    let mut body = Vec::with_capacity(lines.len() + 512);
    body.extend_from_slice(
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"batch.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n"
        )
        .as_bytes(),
    );
    body.extend_from_slice(lines);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (body.into(), "multipart/form-data; boundary=alfred-batch-file-5f2c9a")
}

#[cfg(test)]
mod tests;
