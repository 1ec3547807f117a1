//! Writes Responses from OpenAI's chunks and whole completions, for callers whose target does not speak Responses.
//!
//! One state ([`Story`]) makes the events of a stream and the output of a whole answer alike, so that both tell the same items.
//! Thinking comes as the summary of a reasoning item, with its provider's signature as `encrypted_content`, whether or not `include` asks
//! for that: without it a conversation with tools could not go on. Ids are made from the provider's own, so they are the same
//! whenever the answer is told.

mod chunk;
mod item;
mod story;

use bytes::Bytes;

use super::usage;
use crate::dialect::{Finish, Outlet};
use crate::error::ProviderError;
use crate::request::{End, ModelRequest};
use chunk::Chunk;
use story::Story;

/// The outlet for one caller of `/v1/responses`.
pub(super) struct ResponsesOutlet {
    story: Story,
}

impl ResponsesOutlet {
    pub(super) fn new(request: &ModelRequest) -> ResponsesOutlet {
        ResponsesOutlet { story: Story::of(request) }
    }

    fn take(&mut self, chunk: &Chunk<'_>) {
        self.story.begin(&chunk.id, chunk.created.map(|it| it.get()), &chunk.model);
        if let Some(choice) = chunk.first() {
            self.story.choice(choice);
        }
    }
}

impl Outlet for ResponsesOutlet {
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError> {
        let chunk: Chunk<'_> =
            serde_json::from_str(chunk).map_err(|_| ProviderError::broken("a chunk of the answer cannot be read"))?;
        self.take(&chunk);
        Ok(self.story.written())
    }

    fn end(mut self: Box<Self>, finish: Finish) -> End {
        self.story.begin("", None, "");
        let ending = Ending::of(finish.reason.as_deref());
        self.story.close(ending);
        let (head, number, body) = (self.story.written(), self.story.numbered(), self.story.response(ending));
        let reported = finish.usage;
        End::new(finish.reason, move |cost, counted| {
            let mut out = Vec::from(&head[..]);
            let mut last = super::pen::Pen::starting_at(number);
            let told = match reported.or(counted.copied()) {
                Some(told) => {
                    let mut told = usage::object(&told);
                    if let Some(cost) = cost {
                        told["alfred_cost_usd"] = cost.into();
                    }
                    told.to_string()
                }
                None => "null".to_owned(),
            };
            last.event(ending.event(), &format!("\"response\":{body}{told}}}"));
            out.extend_from_slice(&last.take());
            out.into()
        })
    }

    fn whole(mut self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        let unreadable = || ProviderError::broken("the answer cannot be read");
        let completion: Chunk<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let choice = completion.first().ok_or_else(unreadable)?;
        if choice.delta.is_none() {
            return Err(unreadable());
        }
        self.story.hush();
        self.take(&completion);
        let ending = Ending::of(choice.finish_reason.as_deref().or(finish.reason.as_deref()));
        self.story.close(ending);
        let body = self.story.response(ending);
        let reported = finish.usage;
        Ok(End::new(finish.reason, move |_, counted| {
            let told =
                reported.or(counted.copied()).map_or_else(|| "null".to_owned(), |it| usage::object(&it).to_string());
            Bytes::from(format!("{body}{told}}}"))
        }))
    }
}

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    TooLong,
    Filtered,
}

impl Ending {
    fn of(reason: Option<&str>) -> Ending {
        match reason {
            Some("length") => Ending::TooLong,
            Some("content_filter") => Ending::Filtered,
            _ => Ending::Completed,
        }
    }

    /// The status of the answer, and of an item that was being told.
    fn status(self) -> &'static str {
        if self == Ending::Completed { "completed" } else { "incomplete" }
    }

    fn event(self) -> &'static str {
        if self == Ending::Completed { "response.completed" } else { "response.incomplete" }
    }

    fn details(self) -> &'static str {
        match self {
            Ending::Completed => "null",
            Ending::TooLong => "{\"reason\":\"max_output_tokens\"}",
            Ending::Filtered => "{\"reason\":\"content_filter\"}",
        }
    }
}
