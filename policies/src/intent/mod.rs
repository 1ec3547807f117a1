//! What kind of work a request seems to be, and how demanding: a guess from the shape and words of it, cheap enough for every call.
//!
//! A linear model over features that a person can read, trained in policies/intent/ (how, and how well it does:
//! docs/intent.md). Pure; whatever the length of the texts, some three kilobytes of them are looked at; nothing is kept.

mod features;
mod model;
mod tier;

use features::Seen;
use model::{INTENTS, model};

/// From so many bytes of text on, about 32,000 tokens, reading is the work, whatever is asked at the end of it.
const LONG_BYTES: usize = 128 * 1024;
/// An upper bound of tokens below this says that it is not long after all.
const LONG_TOKENS: u64 = 24_000;

/// What the guess is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What the app told the model to be.
    pub system: &'a [&'a str],
    /// The conversation's other texts, oldest first.
    pub conversation: &'a [&'a str],
    /// Whether tools are offered.
    pub tools: bool,
    /// Whether images are sent.
    pub images: bool,
    /// Whether the answer has to be JSON.
    pub json: bool,
    /// An upper bound of the prompt's tokens; zero where it is not known.
    pub input_tokens: u64,
}

/// What kind of work it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Programs: written, explained, repaired.
    Code,
    /// Facts taken out of a text that is given, questions about it included.
    Extraction,
    /// A text made shorter.
    Summarise,
    /// A text brought into another language.
    Translate,
    /// A label for a text.
    Classify,
    /// Conclusions: sums, proofs, comparisons, plans, designs.
    Reasoning,
    /// Conversation, questions about the world, and whatever is nothing else.
    #[default]
    Chat,
    /// A text made: letters, stories, reports, and texts made better.
    Writing,
    /// Something to be done with the tools that are offered.
    ToolUse,
    /// Images are sent: told by the request itself.
    Vision,
    /// More than some 32,000 tokens of text: told by the request itself.
    LongContext,
}

impl Intent {
    /// Every intent.
    pub const ALL: [Intent; 11] = [
        Intent::Code,
        Intent::Extraction,
        Intent::Summarise,
        Intent::Translate,
        Intent::Classify,
        Intent::Reasoning,
        Intent::Chat,
        Intent::Writing,
        Intent::ToolUse,
        Intent::Vision,
        Intent::LongContext,
    ];

    /// The name that rules know.
    pub fn as_str(self) -> &'static str {
        match self {
            Intent::Code => "code",
            Intent::Extraction => "extraction",
            Intent::Summarise => "summarise",
            Intent::Translate => "translate",
            Intent::Classify => "classify",
            Intent::Reasoning => "reasoning",
            Intent::Chat => "chat",
            Intent::Writing => "writing",
            Intent::ToolUse => "tool_use",
            Intent::Vision => "vision",
            Intent::LongContext => "long_context",
        }
    }
}

/// A guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classified {
    /// What kind of work.
    pub intent: Intent,
    /// How sure, in percent.
    pub confidence: u8,
    /// How demanding: 1 (trivial), 2 (ordinary), 3 (demanding), 4 (hard).
    pub tier: u8,
}

/// A guess and what spoke for it the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// The guess.
    pub classified: Classified,
    /// The strongest features, strongest first; empty where there were fewer. Names of shapes (`shape:fence`) and of groups of
    /// words (`w:~translate`: a word that hints at translating; `s:` in the system text, `p:` earlier in the conversation;
    /// `^`: the first to hint at anything), never a word of the prompt.
    pub because: [&'static str; 3],
}

/// Guesses.
pub fn classify(asked: &Asked<'_>) -> Classified {
    decide(asked, &features::read(asked, model()))
}

/// Guesses, and says why.
pub fn explain(asked: &Asked<'_>) -> Explained {
    let seen = features::read(asked, model());
    let classified = decide(asked, &seen);
    let because = match classified.intent {
        Intent::Vision => ["shape:images", "", ""],
        Intent::LongContext => ["shape:total=6", "", ""],
        _ if classified.confidence == 0 => ["", "", ""],
        intent => strongest(&seen, intent),
    };
    Explained { classified, because }
}

fn decide(asked: &Asked<'_>, seen: &Seen) -> Classified {
    let scores = seen.scores();
    let tier = tier::tier(&scores[INTENTS.len()..], model().temperatures[1]);
    if asked.images {
        return Classified { intent: Intent::Vision, confidence: 100, tier };
    }
    let bytes: usize = asked.system.iter().chain(asked.conversation).map(|it| it.len()).sum();
    if bytes > LONG_BYTES && (asked.input_tokens == 0 || asked.input_tokens >= LONG_TOKENS) {
        return Classified { intent: Intent::LongContext, confidence: 100, tier };
    }
    if bytes == 0 {
        return Classified { intent: Intent::Chat, confidence: 0, tier: 1 };
    }
    let (at, likely) = tier::most_likely(&intent_scores(asked.tools, scores), model().temperatures[0]);
    Classified { intent: INTENTS[at], confidence: tier::percent(likely), tier }
}

/// The scores of what the words decide. Without tools nothing can be done with them.
fn intent_scores(tools: bool, scores: &[i32; model::OUTPUTS]) -> [i32; INTENTS.len()] {
    std::array::from_fn(|at| match INTENTS[at] {
        Intent::ToolUse if !tools => i32::MIN / 2,
        _ => scores[at],
    })
}

/// What spoke for an intent the most, against the mean of all.
fn strongest(seen: &Seen, intent: Intent) -> [&'static str; 3] {
    let at = INTENTS.iter().position(|it| *it == intent).unwrap_or_default();
    let mut best = [(0, ""); 3];
    for feature in seen.features() {
        let (name, weights) = model().feature(feature);
        if !(name.starts_with("shape:") || name.contains('~')) {
            continue;
        }
        let all: i32 = weights[..INTENTS.len()].iter().map(|it| i32::from(*it)).sum();
        let spoke = i32::from(weights[at]) * INTENTS.len() as i32 - all;
        if let Some(place) = best.iter().position(|it| spoke > it.0) {
            best[place..].rotate_right(1);
            best[place] = (spoke, name);
        }
    }
    best.map(|it| it.1)
}

#[cfg(test)]
mod tests;
