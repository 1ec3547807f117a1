//! What an answer is made of.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum AnswerEvent {
    /// Something for the caller.
    Delta(Delta),
    /// What the provider bills, cumulative: a later one replaces an earlier one.
    Usage(Usage),
    /// The answer is complete. Always the last event of a good answer.
    End(End),
}

/// Something for the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Complete wire event(s) in the caller's shape; empty for a JSON caller, whose whole body comes with [`End`].
    pub frame: Bytes,
    /// Output text to count, by choice: content, tool names and arguments, refusals, reasoning.
    pub texts: Vec<(u64, String)>,
    /// The client can see something of the answer in it. From here on there is no failing over.
    pub content: bool,
}

impl Delta {
    /// A piece of an answer that has one choice.
    pub(crate) fn one(frame: Bytes, text: String, content: bool) -> Delta {
        let texts = if text.is_empty() { Vec::new() } else { vec![(0, text)] };
        Delta { frame, texts, content }
    }
}

/// Tokens by class. The classes of input are disjoint; `reasoning`, `audio_output` and `image_output` are parts of
/// `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input that is of no other class.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cached_input: u64,
    /// Input written to the provider's cache, for the usual time.
    pub cache_write: u64,
    /// Input written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Input that was heard.
    pub audio_input: u64,
    /// Input that was seen, where the provider tells it apart.
    pub image_input: u64,
    /// All output, hidden reasoning included.
    pub output: u64,
    /// What of the output was thought, where the provider tells it.
    pub reasoning: u64,
    /// What of the output was spoken.
    pub audio_output: u64,
    /// What of the output is images.
    pub image_output: u64,
    /// Searches that the provider made and bills.
    pub searches: u64,
    /// Images that were made and are billed.
    pub images: u64,
    /// Seconds that were heard or spoken and are billed; a part of one counts as one.
    pub seconds: u64,
    /// Characters that were spoken and are billed.
    pub characters: u64,
    /// Counted here in part: the provider does not tell all of it.
    pub estimated: bool,
}

impl Usage {
    /// All input.
    pub fn all_input(&self) -> u64 {
        [self.cached_input, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// Everything that was counted is at most so much.
    pub fn is_within(&self, most: u64) -> bool {
        let outputs = [self.output, self.reasoning, self.audio_output, self.image_output];
        let pieces = [self.searches, self.images, self.seconds, self.characters];
        outputs.into_iter().chain(pieces).all(|count| count <= most) && self.all_input() <= most
    }
}

type Closing = dyn Fn(Option<&str>, Option<&Usage>) -> Bytes + Send + Sync;

/// The end of a good answer: what is still to be sent, once the cost is known.
#[derive(Clone)]
pub struct End {
    finish_reason: Option<String>,
    closing: Arc<Closing>,
}

impl End {
    /// `closing` writes the last bytes from the cost in USD and, for want of the provider's, from the counted usage.
    pub fn new(
        finish_reason: Option<String>,
        closing: impl Fn(Option<&str>, Option<&Usage>) -> Bytes + Send + Sync + 'static,
    ) -> End {
        End { finish_reason, closing: Arc::new(closing) }
    }

    /// The last bytes. To a stream: the usage chunk if the caller wants one (the provider's own, with `alfred_cost_usd` added;
    /// made from `counted` if the provider sent none) and the terminator. To a JSON caller: the whole body.
    pub fn closing(&self, cost_usd: Option<&str>, counted: Option<&Usage>) -> Bytes {
        (self.closing)(cost_usd, counted)
    }

    /// `stop`, `length`, `tool_calls`, `content_filter`…
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("finish_reason", &self.finish_reason).finish_non_exhaustive()
    }
}
