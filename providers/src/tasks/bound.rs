//! The most that a one-shot task can be billed, before it is asked; and what it likely was where its provider does not say.

use super::sound_file;
use crate::fleet::Target;
use crate::request::{ModelRequest, Shape, Usage, sides};

/// Image tokens of a square, by quality; what OpenAI lists for its longest side is half as much more.
const LOW: u64 = 408;
const MEDIUM: u64 = 1_584;
const HIGH: u64 = 6_240;
/// The pixels that those stand for.
const PIXELS: u64 = 1_024 * 1_536;
/// What a model may say or think beside an image, and what a half-made one costs.
const BESIDE: u64 = 1_024;
const PARTIAL: u64 = 100;
/// Tokens of a second of sound, at most, and as OpenAI has them: 1,250 a minute spoken, 1,000 heard.
const MOST_TOKENS_A_SECOND: u64 = 25;
const SPOKEN_A_MINUTE: u64 = 1_250;
const HEARD_A_MINUTE: u64 = 1_000;
/// Nobody speaks slower than two characters a second for long, and most speak fifteen.
const SLOWEST: u64 = 2;
const USUAL: u64 = 15;
const BREATH: u64 = 10;
/// Words written down for a second of speech.
const MOST_WRITTEN_A_SECOND: u64 = 20;
/// A document longer than this is billed as several, and a search has this many documents.
const DOCUMENT_TOKENS: u64 = 500;
const DOCUMENTS_A_SEARCH: u64 = 100;

impl Target {
    /// The most that the provider can bill for this beside its input; nothing for what is capped by the request.
    pub fn task_bound(&self, request: &ModelRequest) -> Usage {
        let asked = &request.view().asked;
        let mut most = Usage::default();
        match request.shape() {
            Shape::Images | Shape::ImageEdits => {
                let each = image_tokens(request).saturating_add(BESIDE + asked.partial_images * PARTIAL);
                most.images = request.choices();
                most.output = self.clipped(each).saturating_mul(request.choices());
            }
            Shape::Speech => {
                most.characters = asked.characters;
                let slowed = 100_u64.div_ceil(asked.speed.unwrap_or(100).max(1)).max(1);
                most.seconds = (asked.characters.div_ceil(SLOWEST) + BREATH).saturating_mul(slowed);
                most.output = self.clipped(most.seconds.saturating_mul(MOST_TOKENS_A_SECOND));
            }
            Shape::Transcriptions | Shape::Translations => {
                most.seconds = heard(request, sound_file::most_seconds);
                // Not clipped: a long sound is heard in parts, each of which may be written down at the model's full length.
                most.output = most.seconds.saturating_mul(MOST_WRITTEN_A_SECOND).saturating_add(BESIDE);
            }
            Shape::Rerank => most.searches = searches(request),
            _ => {}
        }
        most
    }

    /// What it likely came to where the provider had no chance to say: its answer broke off, or was not waited for.
    pub fn task_likely(&self, request: &ModelRequest) -> Usage {
        let mut likely = Usage { input: self.count_input(request), estimated: true, ..Usage::default() };
        match request.shape() {
            Shape::Images | Shape::ImageEdits => {
                likely.images = request.choices();
                likely.image_output = self.clipped(image_tokens(request)).saturating_mul(request.choices());
                likely.output = likely.image_output;
            }
            Shape::Speech => {
                likely.characters = request.view().asked.characters;
                likely.seconds = spoken_seconds(request);
                likely.audio_output = self.clipped(spoken_tokens(likely.seconds));
                likely.output = likely.audio_output;
            }
            Shape::Transcriptions | Shape::Translations => {
                likely.seconds = heard_seconds(request);
                likely.audio_input = heard_tokens(likely.seconds);
            }
            Shape::Rerank => likely.searches = searches(request),
            _ => {}
        }
        likely
    }

    fn clipped(&self, tokens: u64) -> u64 {
        tokens.min(self.max_output.unwrap_or(u64::MAX))
    }
}

/// Tokens of input that are in no text: sound that is heard, and a question that every document is held against.
pub(crate) fn unwritten_input(request: &ModelRequest) -> u64 {
    let asked = &request.view().asked;
    match request.shape() {
        Shape::Transcriptions | Shape::Translations => {
            heard(request, sound_file::most_seconds).saturating_mul(MOST_TOKENS_A_SECOND)
        }
        Shape::Rerank => asked.query_bytes.saturating_mul(asked.inputs),
        _ => 0,
    }
}

/// What a whole image of this size and quality is billed as.
pub(super) fn image_tokens(request: &ModelRequest) -> u64 {
    let asked = &request.view().asked;
    let base = match asked.quality.as_deref() {
        Some("low") => LOW,
        Some("medium") => MEDIUM,
        _ => HIGH,
    };
    let pixels = asked.size.as_deref().and_then(sides).map_or(PIXELS, |(width, height)| width.saturating_mul(height));
    base.saturating_mul(pixels.div_ceil(PIXELS).max(1))
}

/// Seconds that are spoken, by length of text.
pub(super) fn spoken_seconds(request: &ModelRequest) -> u64 {
    let asked = &request.view().asked;
    (asked.characters * 100).div_ceil(USUAL * asked.speed.unwrap_or(100).max(1)).max(1)
}

pub(super) fn spoken_tokens(seconds: u64) -> u64 {
    (seconds * SPOKEN_A_MINUTE).div_ceil(60)
}

/// What was heard, as likely as its file tells.
pub(crate) fn heard_seconds(request: &ModelRequest) -> u64 {
    heard(request, sound_file::seconds)
}

pub(super) fn heard_tokens(seconds: u64) -> u64 {
    (seconds * HEARD_A_MINUTE).div_ceil(60)
}

fn heard(request: &ModelRequest, length: impl Fn(&[u8]) -> u64) -> u64 {
    request.files().iter().map(|file| length(&file.bytes)).fold(0, u64::saturating_add)
}

/// Searches that a provider bills for so many documents: a hundred each, of which the long ones count several times.
pub(super) fn searches(request: &ModelRequest) -> u64 {
    let asked = &request.view().asked;
    // A token is never less than a byte.
    let bytes = (request.body().len() as u64).saturating_add(asked.query_bytes.saturating_mul(asked.inputs));
    (asked.inputs + bytes / DOCUMENT_TOKENS).div_ceil(DOCUMENTS_A_SEARCH).max(1)
}
