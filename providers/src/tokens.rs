//! Counting tokens: exactly where the tokenizer is public, otherwise bounded by bytes and estimated with OpenAI's.
//!
//! No text, however long or odd, costs more than linear time: texts are cut into pieces, at places where the tokenizer would cut
//! anyway if there are any (a cut elsewhere costs one token of margin), and beyond [`EXACT_BYTES`] bytes are counted instead.

use std::ops::AddAssign;
use std::sync::LazyLock;

use tiktoken_rs::CoreBPE;

use crate::catalog::Tokenizer;
use crate::fleet::Target;
use crate::request::{ModelRequest, Shape};
use crate::words::{self, Words};

/// So much of a request is tokenized (some 20 ms of work); the rest is bounded by its bytes.
const EXACT_BYTES: usize = 256 << 10;
/// The tokenizer's regular expressions may backtrack; pieces of this size keep that, and their panics, out of reach.
const PIECE_BYTES: usize = 2_048;
/// OpenAI frames a message with three tokens, a name with one more, the answer with three; one more a message is margin.
const FRAME_PER_MESSAGE: u64 = 4;
const FRAME: u64 = 8;
/// What a definition may cost beyond its own JSON.
const FRAME_PER_TOOL: u64 = 16;
/// Chat templates of other families: their system preambles, role markers and tool instructions (Anthropic's takes up to 600).
const FOREIGN_FRAME: u64 = 256;
const FOREIGN_PER_MESSAGE: u64 = 16;
const FOREIGN_TOOLS: u64 = 768;
/// What Anthropic says before the tools where some are offered, as its documentation of tool use has it for Claude 4 (313 where a
/// tool must be called).
const CLAUDE_TOOLS: u64 = 346;
/// The most that an image is taken for where no catalogue knows better; and what it is taken for in an estimate.
const UNKNOWN_IMAGE: u64 = 16_384;
const USUAL_IMAGE: u64 = 1_100;
/// What files may hold where no context window bounds them: a compressed one says nothing by its size.
const UNKNOWN_FILES: u64 = 1_000_000;

static O200K: LazyLock<&'static CoreBPE> = LazyLock::new(tiktoken_rs::o200k_base_singleton);
static CL100K: LazyLock<&'static CoreBPE> = LazyLock::new(tiktoken_rs::cl100k_base_singleton);
static O200K_WORDS: LazyLock<Words> = LazyLock::new(|| Words::of(*O200K, Some(words::o200k)));
static CL100K_WORDS: LazyLock<Words> = LazyLock::new(|| Words::of(*CL100K, None));

/// Loads a tokenizer (some 150 ms and 30 MB each); belongs into the start, on a blocking thread, off the hot path.
pub(crate) fn warm(tokenizer: Tokenizer) {
    let mut count = Count::default();
    count_text(tokenizer, "warm", &mut EXACT_BYTES.clone(), &mut count);
}

/// What ids say to each public tokenizer that knows all of them.
pub(crate) fn read(ids: &[u32]) -> Vec<String> {
    let known = [*CL100K, *O200K].into_iter().filter_map(|tokenizer| tokenizer.decode_bytes(ids).ok());
    known.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

/// Tokens that were counted, and bytes that were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    tokens: u64,
    cuts: u64,
    bytes_left: u64,
}

impl Count {
    fn bound(self) -> u64 {
        self.tokens + self.cuts + self.bytes_left
    }

    fn estimate(self) -> u64 {
        self.tokens + self.bytes_left / 4
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.tokens += other.tokens;
        self.cuts += other.cuts;
        self.bytes_left += other.bytes_left;
    }
}

impl Target {
    /// At least what the provider bills as input: a hold on this never falls short.
    pub fn input_bound(&self, request: &ModelRequest) -> u64 {
        let view = request.view();
        let images = view.features.image_count.saturating_mul(self.image_tokens.unwrap_or(UNKNOWN_IMAGE));
        let bound = match self.tokenizer {
            Tokenizer::O200k | Tokenizer::Cl100k => {
                let text = counted(self.tokenizer, request).bound();
                let given = view.asked.tokens + crate::tasks::unwritten_input(request);
                text + given
                    + view.other_bytes
                    + view.messages * FRAME_PER_MESSAGE
                    + view.tools * FRAME_PER_TOOL
                    + FRAME
            }
            // A token is never less than a byte of the text it stands for, and JSON never writes a text in fewer bytes.
            Tokenizer::None => {
                let tools = if view.tools > 0 { FOREIGN_TOOLS } else { 0 };
                let bytes = (request.body().len() as u64).saturating_sub(view.image_bytes);
                let unwritten = crate::tasks::unwritten_input(request);
                bytes + unwritten + view.messages * FOREIGN_PER_MESSAGE + tools + FOREIGN_FRAME
            }
        };
        let bound = bound.saturating_add(images);
        match self.context {
            _ if view.features.documents => self.context.unwrap_or(UNKNOWN_FILES.max(bound)),
            // A long sound is heard in parts, each of which has the context for itself.
            _ if matches!(request.shape(), Shape::Transcriptions | Shape::Translations) => bound,
            // No provider bills more input than the model can take, each time.
            Some(context) => bound.min(context.saturating_mul(view.asked.inputs.max(1))),
            None => bound,
        }
    }

    /// The best estimate of what the provider bills as input.
    pub fn count_input(&self, request: &ModelRequest) -> u64 {
        let claude = self.name.to_ascii_lowercase().contains("claude") && request.view().tools > 0;
        let preamble = if claude { CLAUDE_TOOLS } else { 0 };
        estimate_input(self.tokenizer.or_usual(), request, self.image_tokens) + preamble
    }

    /// The best estimate for a whole output text.
    pub fn count_output(&self, text: &str) -> u64 {
        count(self.tokenizer.or_usual(), text)
    }
}

impl Tokenizer {
    pub(crate) fn or_usual(self) -> Tokenizer {
        if self == Tokenizer::None { Tokenizer::O200k } else { self }
    }
}

/// The best estimate of what a provider bills as input.
pub(crate) fn estimate_input(tokenizer: Tokenizer, request: &ModelRequest, image_tokens: Option<u64>) -> u64 {
    let view = request.view();
    let images = view.features.image_count * image_tokens.unwrap_or(USUAL_IMAGE).min(USUAL_IMAGE);
    let frame = if request.shape().is_chat() { 3 } else { view.asked.tokens };
    counted(tokenizer, request).estimate() + view.messages * FRAME_PER_MESSAGE + frame + images
}

/// The best estimate for one text.
pub(crate) fn count(tokenizer: Tokenizer, text: &str) -> u64 {
    let mut count = Count::default();
    count_text(tokenizer, text, &mut EXACT_BYTES.clone(), &mut count);
    count.estimate()
}

/// A text in pieces of one token each, or a few where a character takes several.
pub(crate) fn pieces(text: &str) -> Vec<(String, u64)> {
    let mut out = Vec::new();
    let (mut open, mut count) = (Vec::new(), 0);
    for token in O200K.encode_ordinary(text) {
        open.extend(O200K.decode_bytes(&[token]).expect("it was just encoded"));
        count += 1;
        if let Ok(whole) = std::str::from_utf8(&open) {
            out.push((whole.to_owned(), std::mem::take(&mut count)));
            open.clear();
        }
    }
    out
}

/// Texts, tools and schemas of a request, counted once per tokenizer.
fn counted(tokenizer: Tokenizer, request: &ModelRequest) -> Count {
    let slot = &request.view().counts[usize::from(tokenizer == Tokenizer::Cl100k)];
    *slot.get_or_init(|| {
        let mut count = Count::default();
        let mut left = EXACT_BYTES;
        request.raw_texts().for_each(|text| count_text(tokenizer, &text, &mut left, &mut count));
        // Of a one-shot task these are settings, if anything.
        let schemas: &[&str] = match request.shape().is_chat() {
            true => &["tools", "functions", "response_format", "output_config", "text"],
            false => &[],
        };
        for name in schemas {
            request.member(name).into_iter().for_each(|json| count_text(tokenizer, json, &mut left, &mut count));
        }
        count
    })
}

/// Adds one text, as far as `left` reaches.
fn count_text(tokenizer: Tokenizer, text: &str, left: &mut usize, count: &mut Count) {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after, clean) = cut(rest);
        if piece.len() > *left {
            *left = 0;
            count.bytes_left += rest.len() as u64;
            return;
        }
        *left -= piece.len();
        count.cuts += u64::from(!clean);
        count.tokens += tokens(tokenizer, piece);
        rest = after;
    }
}

/// One piece to count, what follows it, and whether the tokenizer would have cut there too: before a single space that a letter follows.
fn cut(text: &str) -> (&str, &str, bool) {
    if text.len() <= PIECE_BYTES {
        return (text, "", true);
    }
    let bytes = text.as_bytes();
    let clean = (PIECE_BYTES / 2..PIECE_BYTES).rev().find(|i| {
        bytes[*i] == b' '
            && !bytes[*i - 1].is_ascii_whitespace()
            && bytes[*i - 1].is_ascii()
            && bytes[*i + 1].is_ascii_alphabetic()
    });
    let at = clean.unwrap_or_else(|| text.floor_char_boundary(PIECE_BYTES));
    (&text[..at], &text[at..], clean.is_some())
}

fn tokens(tokenizer: Tokenizer, piece: &str) -> u64 {
    let words = if tokenizer == Tokenizer::Cl100k { &CL100K_WORDS } else { &O200K_WORDS };
    words.count(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Shape;
    use crate::{Fleet, ProviderConfig};
    use std::sync::Arc;

    fn target(name: &str) -> Arc<Target> {
        let config = |text| serde_yaml_ng::from_str::<ProviderConfig>(text).unwrap();
        let configs = [
            config("{ id: openai, kind: openai, api_key: { env: K } }"),
            config("{ id: local, kind: vllm, models: [{ id: m, context: 100000 }] }"),
        ];
        Fleet::build(&configs, &|_| Some("k".to_owned())).unwrap().target(name).unwrap()
    }

    fn request(body: &str) -> ModelRequest {
        ModelRequest::parse(Shape::OpenAi, body.to_owned().into()).unwrap()
    }

    fn whole(text: &str) -> u64 {
        let mut count = Count::default();
        count_text(Tokenizer::O200k, text, &mut EXACT_BYTES.clone(), &mut count);
        count.bound()
    }

    /// What OpenAI's cookbook computes for the same messages.
    #[test]
    fn the_bound_is_never_below_what_openai_bills() {
        let body = r#"{"model":"gpt-4o","messages":[
            {"role":"system","content":"You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
            {"role":"system","name":"example_user","content":"New synergies will help drive top-line growth."},
            {"role":"system","name":"example_assistant","content":"Things working well together will increase revenue."},
            {"role":"system","name":"example_user","content":"Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
            {"role":"system","name":"example_assistant","content":"Let's talk later when we're less busy about how to do better."},
            {"role":"user","content":"This late pivot means we don't have time to boil the ocean for the client deliverable."}]}"#;
        let bound = target("openai/gpt-4o").input_bound(&request(body));
        assert!((124..300).contains(&bound), "{bound}");
        let estimate = target("openai/gpt-4o").count_input(&request(body));
        assert!((110..140).contains(&estimate), "{estimate}");
    }

    #[test]
    fn an_unknown_tokenizer_is_bounded_by_bytes_and_by_the_context() {
        let ask = |n: usize| {
            request(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "é".repeat(n)))
        };
        let bound = target("local/m").input_bound(&ask(500));
        assert!((1_000..1_500).contains(&bound), "{bound}");
        assert_eq!(target("local/m").input_bound(&ask(200_000)), 100_000);
        assert!(target("local/other").input_bound(&ask(200_000)) > 400_000);
    }

    #[test]
    fn images_are_bounded_by_number_not_by_bytes() {
        let body = |url: &str| {
            request(&format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
            ))
        };
        let long = body(&format!("data:image/png;base64,{}", "A".repeat(1_000_000)));
        assert_eq!(target("openai/gpt-4o").input_bound(&long), target("openai/gpt-4o").input_bound(&body("https://x")));
        assert!(target("openai/gpt-4o").input_bound(&long) >= 2_000);
        assert!(target("local/other").input_bound(&long) >= UNKNOWN_IMAGE);
    }

    #[test]
    fn cutting_never_lowers_the_count() {
        let prose = "The quick brown fox, aged 12, jumps over 3 lazy dogs. \n".repeat(300);
        let chinese = "敏捷的棕色狐狸跳过了懒狗。".repeat(600);
        for text in
            [&*prose, &chinese, &"a".repeat(10_000), &" ".repeat(10_000), &"/\n".repeat(5_000), &"😀".repeat(3_000)]
        {
            let real = tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len() as u64;
            let counted = whole(text);
            assert!(
                counted >= real && counted <= real + real / 20 + 16,
                "{counted} for {real}: {:?}",
                &text.chars().next()
            );
        }
    }

    #[test]
    fn beyond_the_exact_part_bytes_are_counted() {
        let text = "word ".repeat(200_000);
        let count = whole(&text);
        assert!(count > (text.len() - EXACT_BYTES) as u64 && count < text.len() as u64);
    }

    /// Run by hand, in release: `cargo test -p providers --release -- --ignored --nocapture cost`.
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_counting() {
        let started = std::time::Instant::now();
        warm(Tokenizer::O200k);
        println!("warm: {:?}", started.elapsed());
        let target = target("openai/gpt-4o");
        for (name, text) in [
            ("1 KiB of prose", "The quick brown fox jumps over the lazy dog and away. ".repeat(19)),
            ("256 KiB of prose", "The quick brown fox jumps over the lazy dog and away. ".repeat(4_854)),
            ("32 MiB of a", "a".repeat(32 << 20)),
            ("32 MiB of spaces", " ".repeat(32 << 20)),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
            let rounds = if text.len() < 10_000 { 1_000 } else { 2 };
            let (mut parsed, mut counted, mut bound) = (Vec::new(), Vec::new(), 0);
            for _ in 0..rounds {
                let started = std::time::Instant::now();
                let request = request(&body);
                parsed.push(started.elapsed());
                let started = std::time::Instant::now();
                bound = target.input_bound(&request);
                counted.push(started.elapsed());
            }
            parsed.sort_unstable();
            counted.sort_unstable();
            let middle = rounds / 2;
            println!(
                "{name}: parse {:?}, bound {bound} in {:?} (medians of {rounds})",
                parsed[middle], counted[middle]
            );
        }
    }
}
