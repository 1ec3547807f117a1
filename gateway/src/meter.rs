//! What an answer used: the provider's word where it gives one, else our own count, marked as such.

use std::collections::BTreeMap;

use providers::{Calibration, Counter, Delta, ModelRequest, Ratio, Target};

/// Text that nobody asks about is kept up to this size, so that a long answer needs no more memory than this.
const PIECE: usize = 256 << 10;
/// An answer that nobody had to count is counted for the target's calibration only up to this size: a millisecond of work.
const LARGEST_SAMPLE: usize = 16 << 10;

/// More than any call can use: a report of more is broken, and would empty a wallet.
const MOST_TOKENS: u64 = 1_000_000_000;

/// Reads along while an answer flows.
#[derive(Debug, Default)]
pub struct Meter {
    reported: Option<providers::Usage>,
    /// By choice. Most answers come with usage, and counting costs time: so it waits until somebody asks.
    uncounted: BTreeMap<u64, String>,
    waiting: usize,
    counter: Counter,
    asked: bool,
    ratio: Ratio,
    relayed: Option<u64>,
}

impl Meter {
    /// How this target's own counts compare with ours.
    pub fn calibrated(&mut self, ratio: Ratio) {
        self.ratio = ratio;
    }

    /// Output that was seen.
    pub fn heard(&mut self, delta: &Delta, target: &Target) {
        for (choice, text) in &delta.texts {
            self.uncounted.entry(*choice).or_default().push_str(text);
            self.waiting += text.len();
        }
        if self.waiting >= PIECE {
            self.count(target);
        }
    }

    /// All output so far, as the provider is likely to count it.
    pub fn output(&mut self, target: &Target) -> u64 {
        self.asked = true;
        self.count(target);
        self.reported.map_or(0, |usage| usage.output).max(self.ratio.apply(self.counter.tokens()))
    }

    /// The answer was ended when so much output had gone to the client: what came after that was billed, but is not charged.
    pub fn ended_at(&mut self, relayed: u64) {
        self.relayed = Some(relayed);
    }

    /// What went to the client, where that is less than what came.
    pub fn relayed(&self) -> Option<u64> {
        self.relayed
    }

    fn count(&mut self, target: &Target) {
        for (choice, text) in &mut self.uncounted {
            self.counter.hear(target, *choice, text);
            text.clear();
        }
        self.waiting = 0;
    }

    /// Tells how a complete answer's usage compares with our count.
    pub fn teach(mut self, calibration: &Calibration, target: &Target) {
        let Some(reported) = self.reported else { return };
        if self.asked || (self.waiting <= LARGEST_SAMPLE && calibration.wants(&target.name)) {
            self.count(target);
            calibration.learn(&target.name, reported.output, self.counter.tokens());
        }
    }

    /// The provider's own count; a later one replaces an earlier one.
    pub fn billed(&mut self, usage: providers::Usage) {
        if !usage.is_within(MOST_TOKENS) {
            tracing::warn!("a provider reported more tokens than any call can have; it is counted here instead");
            return;
        }
        self.reported = Some(usage);
    }

    /// What was used, all told. `complete`: the provider has said its last word.
    pub fn usage(&mut self, target: &Target, request: &ModelRequest, complete: bool) -> ledger::Usage {
        match (self.reported, complete) {
            (Some(usage), true) => read(&usage, usage.output, false),
            // A count from the middle of a stream knows the input, but not all of the output.
            (Some(usage), false) => read(&usage, self.output(target), true),
            // A one-shot task is made and billed whole, whoever sees its end.
            (None, false) if !request.shape().is_capped() => {
                let likely = target.task_likely(request);
                read(&likely, likely.output, true)
            }
            (None, _) => ledger::Usage {
                input: target.count_input(request),
                output: self.output(target),
                estimated: true,
                ..Default::default()
            },
        }
    }

    /// The provider has counted.
    pub fn is_reported(&self) -> bool {
        self.reported.is_some()
    }
}

/// The ledger's classes are disjoint: what was thought and what was spoken are no plain output there.
fn read(usage: &providers::Usage, output: u64, estimated: bool) -> ledger::Usage {
    let reasoning = usage.reasoning.min(output);
    let audio_output = usage.audio_output.min(output - reasoning);
    let image_output = usage.image_output.min(output - reasoning - audio_output);
    ledger::Usage {
        input: usage.input,
        cached_input: usage.cached_input,
        cache_write: usage.cache_write,
        cache_write_1h: usage.cache_write_1h,
        audio_input: usage.audio_input,
        image_input: usage.image_input,
        output: output - reasoning - audio_output - image_output,
        reasoning,
        audio_output,
        image_output,
        requests: 0,
        searches: usage.searches,
        images: usage.images,
        seconds: usage.seconds,
        characters: usage.characters,
        batch: false,
        estimated: estimated || usage.estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use providers::{Fleet, ProviderConfig, Shape, Usage};

    #[test]
    fn a_task_whose_answer_broke_off_was_made_all_the_same() {
        let yaml = "[{id: openai, kind: openai, api_key: {env: K}}]";
        let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).expect("providers");
        let fleet = Fleet::build(&providers, &|_| Some("k".into())).expect("a fleet");
        let used = |shape, model: &str, body: &'static str, complete| {
            let target = fleet.target(&format!("openai/{model}")).expect("a target");
            let request = ModelRequest::parse(shape, Bytes::from_static(body.as_bytes())).expect("a request");
            Meter::default().usage(&target, &request, complete)
        };
        let drawn =
            used(Shape::Images, "gpt-image-1", r#"{"model":"m","prompt":"a cat","n":2,"quality":"low"}"#, false);
        assert_eq!((drawn.images, drawn.image_output, drawn.output), (2, 816, 0));
        assert!(drawn.input > 0 && drawn.estimated);
        let said = used(Shape::Speech, "tts-1", r#"{"model":"m","input":"four","voice":"alloy"}"#, false);
        assert_eq!((said.characters, said.estimated), (4, true));
        let ranked = used(Shape::Rerank, "x", r#"{"model":"m","query":"a","documents":["b"]}"#, false);
        assert_eq!(ranked.searches, 1);
        let put = used(Shape::Embeddings, "text-embedding-3-small", r#"{"model":"m","input":"one two"}"#, false);
        assert_eq!((put.input, put.output, put.images), (2, 0, 0), "nothing is made but what was read");
    }

    #[test]
    fn the_providers_word_wins_and_our_own_count_is_marked() {
        let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str("[{id: sim, kind: sim}]").expect("providers");
        let target = Fleet::build(&providers, &|_| None).expect("a fleet").target("sim/echo").expect("a target");
        let body = r#"{"model":"sim/echo","messages":[{"role":"user","content":"hello there"}]}"#;
        let request = ModelRequest::parse(Shape::OpenAi, Bytes::from_static(body.as_bytes())).expect("a request");
        let told = |output| Usage { input: 9, cached_input: 4, output, ..Usage::default() };
        let text = "one two three four five";
        let own = target.count_output(text);
        assert!(own >= 5, "five words are at least five tokens");
        for (reported, complete, output, estimated, why) in [
            (Some(told(3)), true, 3, false, "the provider has said its last word"),
            (Some(told(1)), false, own, true, "a count from the middle knows less than we saw"),
            (Some(told(900)), false, 900, true, "or more"),
            (None, true, own, true, "no usage at all"),
            (None, false, own, true, "no usage and no end"),
        ] {
            let mut meter = Meter::default();
            // However the text was cut, it is counted as one.
            for piece in ["one tw", "o three", " four five"] {
                let texts = vec![(0, piece.to_owned())];
                meter.heard(&Delta { texts, ..Delta::default() }, &target);
            }
            if let Some(usage) = reported {
                meter.billed(usage);
            }
            let usage = meter.usage(&target, &request, complete);
            assert_eq!((usage.output, usage.estimated), (output, estimated), "{why}");
            match reported {
                Some(_) => assert_eq!((usage.input, usage.cached_input), (9, 4), "{why}"),
                None => assert!(usage.input >= 2 && usage.cached_input == 0, "{why}"),
            }
        }
    }
}
