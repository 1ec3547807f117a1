//! Facts as a log keeps them: what many calls share (the frame) apart from what varies (the rest), and the client's own words masked.
//! Both are JSON without what is empty: a row is written for every call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BudgetFacts, CallerFacts, Candidate, Decision, Facts, RequestFacts, TimeFacts};

/// A question to the rules, in two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Caller, candidates, hops, and the tools that are offered: the same for many calls.
    pub frame: String,
    /// Everything else.
    pub rest: String,
}

/// A frame that was read, to be joined with many rests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FactsFrame {
    caller: CallerFacts,
    candidates: Vec<Candidate>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hops: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mcp_servers: Vec<String>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rest {
    #[serde(skip_serializing_if = "is_default")]
    kind: String,
    #[serde(skip_serializing_if = "is_default")]
    model: String,
    #[serde(skip_serializing_if = "is_default")]
    stream: bool,
    #[serde(skip_serializing_if = "is_default")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    input_tokens: u64,
    #[serde(skip_serializing_if = "is_default")]
    tools: bool,
    #[serde(skip_serializing_if = "is_default")]
    images: bool,
    #[serde(skip_serializing_if = "is_default")]
    intent: String,
    #[serde(skip_serializing_if = "is_default")]
    intent_confidence: u8,
    #[serde(skip_serializing_if = "is_default")]
    tier: u8,
    #[serde(skip_serializing_if = "is_default")]
    claims: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    findings: BTreeMap<String, u64>,
    /// The weekday and the hour follow from it.
    at: i64,
    #[serde(skip_serializing_if = "is_default")]
    budget: BudgetFacts,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How the client's own words are masked: names and values of claims, and what is no plain name of a tool, a server or a model.
pub trait Mask {
    /// A keyed hash of a word: nobody outside can try out what it was, and the same word gives the same hash.
    fn hash(&self, word: &str) -> String;
    /// Whether a name of a model or target is configured or catalogued, rather than made up by a client.
    fn is_known(&self, name: &str) -> bool;
}

/// The longest name that is kept.
const LONGEST_NAME: usize = 128;
/// A claim that is shorter is no secret, and would be found in every second word.
const SHORTEST_TOLD: usize = 4;

impl Kept {
    /// Facts in two texts, with the client's own words masked.
    pub fn of(facts: &Facts, mask: &dyn Mask) -> Kept {
        let Facts { caller, request, candidates, findings, time, budget, hops } = facts;
        let RequestFacts { kind, model, stream, max_output_tokens, input_tokens, tools, images, .. } = request;
        let RequestFacts { tool_names, mcp_servers, intent, intent_confidence, tier, claims, .. } = request;
        let candidates = candidates.iter().map(|candidate| masked_candidate(candidate, mask)).collect();
        let frame = FactsFrame {
            caller: caller.clone(),
            candidates,
            hops: hops.clone(),
            tool_names: tool_names.iter().map(|name| plain(name, mask)).collect(),
            mcp_servers: mcp_servers.iter().map(|server| plain(address(server), mask)).collect(),
        };
        let rest = Rest {
            kind: kind.clone(),
            model: known(model, mask),
            stream: *stream,
            max_output_tokens: *max_output_tokens,
            input_tokens: *input_tokens,
            tools: *tools,
            images: *images,
            intent: intent.clone(),
            intent_confidence: *intent_confidence,
            tier: *tier,
            claims: claims.iter().map(|(name, value)| (plain(name, mask), mask.hash(value))).collect(),
            findings: findings.clone(),
            at: time.unix_seconds,
            budget: budget.clone(),
        };
        Kept { frame: text(&frame), rest: text(&rest) }
    }
}

impl FactsFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// It is none, in words for operators.
    pub fn read(frame: &str) -> Result<FactsFrame, String> {
        serde_json::from_str(frame).map_err(|error| format!("facts that were kept cannot be read: {error}"))
    }

    /// The facts that were kept, as far as they were not masked.
    ///
    /// # Errors
    /// The rest is none, in words for operators.
    pub fn with(&self, rest: &str) -> Result<Facts, String> {
        let rest: Rest =
            serde_json::from_str(rest).map_err(|error| format!("facts that were kept cannot be read: {error}"))?;
        Ok(Facts {
            caller: self.caller.clone(),
            request: RequestFacts {
                kind: rest.kind,
                model: rest.model,
                stream: rest.stream,
                max_output_tokens: rest.max_output_tokens,
                input_tokens: rest.input_tokens,
                tools: rest.tools,
                images: rest.images,
                tool_names: self.tool_names.clone(),
                mcp_servers: self.mcp_servers.clone(),
                intent: rest.intent,
                intent_confidence: rest.intent_confidence,
                tier: rest.tier,
                claims: rest.claims,
            },
            candidates: self.candidates.clone(),
            findings: rest.findings,
            time: TimeFacts::at(rest.at),
            budget: rest.budget,
            hops: self.hops.clone(),
        })
    }
}

/// A decision without the client's own words: rules may put what it claims, what it calls its tools or what it asks for into a
/// reason, a tag or a duty.
pub fn without_words(decision: &Decision, facts: &Facts, mask: &dyn Mask) -> Decision {
    let words = words(facts, mask);
    let mut decision = decision.clone();
    if let Decision::Allow(duties) = &mut decision {
        // As the facts beside it are kept, so that whoever asks other rules compares the same names.
        let target = |name: &mut String| *name = known(name, mask);
        duties.targets.iter_mut().for_each(target);
        duties.reroute.iter_mut().chain(&mut duties.downgrade).for_each(target);
        duties.weights = duties.weights.iter().map(|(name, weight)| (known(name, mask), *weight)).collect();
    }
    if words.is_empty() {
        return decision;
    }
    let told = |text: &str| {
        words.iter().fold(text.to_owned(), |text, (word, masked)| match word.len() < SHORTEST_TOLD {
            true if text == *word => masked.clone(),
            true => text,
            false => text.replace(word.as_str(), masked),
        })
    };
    match &mut decision {
        Decision::Deny(reasons) => reasons.iter_mut().for_each(|reason| reason.message = told(&reason.message)),
        Decision::Allow(duties) => {
            duties.routing = told(&duties.routing);
            duties.tags = duties.tags.iter().map(|(name, value)| (told(name), told(value))).collect();
            duties.remove_tools.iter_mut().for_each(|name| *name = told(name));
            for approval in &mut duties.approvals {
                approval.name = told(&approval.name);
                approval.reason = told(&approval.reason);
            }
            duties.observed.iter_mut().for_each(|it| it.reason.message = told(&it.reason.message));
        }
    }
    decision
}

/// The words of the client's own that a rule may have repeated, as they come and as they are kept; the longest first, since one
/// may be a part of another.
fn words(facts: &Facts, mask: &dyn Mask) -> Vec<(String, String)> {
    let RequestFacts { model, claims, tool_names, mcp_servers, .. } = &facts.request;
    let claims = claims.values().map(|value| (value.clone(), mask.hash(value)));
    let tools = tool_names.iter().map(|name| (name.clone(), plain(name, mask)));
    let servers = mcp_servers.iter().map(|server| (server.clone(), plain(address(server), mask)));
    let models = facts.candidates.iter().flat_map(|it| [&it.target, &it.name]).chain([model]);
    let models = models.map(|name| (name.clone(), known(name, mask)));
    let parts = facts.candidates.iter().filter(|it| !mask.is_known(&it.target));
    let parts = parts.map(|it| (it.model.clone(), mask.hash(&it.model)));
    let mut words: Vec<_> = claims.chain(tools).chain(servers).chain(models).chain(parts).collect();
    words.retain(|(word, masked)| !word.is_empty() && word != masked);
    words.sort_by(|a, b| (b.0.len(), &a.0).cmp(&(a.0.len(), &b.0)));
    words.dedup();
    words
}

fn masked_candidate(candidate: &Candidate, mask: &dyn Mask) -> Candidate {
    if mask.is_known(&candidate.target) && mask.is_known(&candidate.name) {
        return candidate.clone();
    }
    let target = known(&candidate.target, mask);
    let model = target.split_once('/').map_or(target.clone(), |(_, model)| model.to_owned());
    Candidate { name: known(&candidate.name, mask), target, model, ..candidate.clone() }
}

/// A name of ours, or its provider and a hash.
fn known(name: &str, mask: &dyn Mask) -> String {
    match name.split_once('/') {
        _ if mask.is_known(name) => name.to_owned(),
        Some((provider, model)) => format!("{}/{}", plain(provider, mask), mask.hash(model)),
        None => mask.hash(name),
    }
}

/// A name as machines give it, or a hash of what is none.
fn plain(name: &str, mask: &dyn Mask) -> String {
    let is_plain = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte));
    if is_plain { name.to_owned() } else { mask.hash(name) }
}

/// An address without whose it is and what is asked of it.
fn address(server: &str) -> &str {
    let server = server.split(['?', '#']).next().unwrap_or_default();
    match server.split_once("://") {
        Some((_, rest)) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
            rest.split_once('@').map_or(rest, |(_, rest)| rest)
        }
        _ => server,
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Obligations, Reason, engine};

    struct Known(&'static [&'static str]);

    impl Mask for Known {
        fn hash(&self, word: &str) -> String {
            format!("~{}", word.len())
        }

        fn is_known(&self, name: &str) -> bool {
            self.0.contains(&name)
        }
    }

    const ALL: Known = Known(&["sample", "sim/sample"]);

    #[test]
    fn facts_read_back_whole_but_for_what_is_masked() {
        for mut facts in [engine::sample(), Facts { time: TimeFacts::at(0), ..Facts::default() }] {
            let Kept { frame, rest } = Kept::of(&facts, &ALL);
            let read = FactsFrame::read(&frame).unwrap().with(&rest).unwrap();
            for value in facts.request.claims.values_mut() {
                *value = ALL.hash(value);
            }
            if facts.request.model.is_empty() {
                facts.request.model = ALL.hash("");
            }
            assert_eq!(read, facts);
        }
    }

    #[test]
    fn a_call_that_differs_only_in_what_varies_shares_the_frame() {
        let mut other = engine::sample();
        other.request.input_tokens = 7;
        other.time = TimeFacts::at(86_400);
        other.findings.clear();
        assert_eq!(Kept::of(&other, &ALL).frame, Kept::of(&engine::sample(), &ALL).frame);
    }

    #[test]
    fn nothing_that_a_client_made_up_is_kept() {
        let mut facts = engine::sample();
        facts.request.claims = BTreeMap::from([("CANARY me@x.org".into(), "CANARY".into())]);
        facts.request.tool_names = vec!["look_up".into(), "CANARY of mine".into(), "C".repeat(129)];
        facts.request.mcp_servers = vec!["https://CANARY:s@mcp.example/sse?key=CANARY".into(), "files".into()];
        facts.request.model = "sim/CANARY".into();
        facts.candidates[0].target = "sim/CANARY".into();
        facts.candidates[0].model = "CANARY".into();
        facts.candidates[0].name = "sim/CANARY".into();
        let Kept { frame, rest } = Kept::of(&facts, &ALL);
        assert!(!frame.contains("CANARY") && !rest.contains("CANARY"), "{frame} {rest}");
        assert!(frame.contains("look_up") && frame.contains("mcp.example/sse") && frame.contains("files"), "{frame}");
        assert!(rest.contains("sim/~6"), "{rest}");
    }

    #[test]
    fn a_decision_repeats_no_claim() {
        let mut facts = engine::sample();
        facts.request.claims = BTreeMap::from([("project".into(), "CANARY".into()), ("a".into(), "x".into())]);
        let reason = Reason { code: Code::PolicyDenied, message: "not for CANARY, x".into() };
        let denied = Decision::Deny(vec![reason]);
        let Decision::Deny(reasons) = without_words(&denied, &facts, &ALL) else { panic!("denied") };
        assert_eq!(reasons[0].message, "not for ~6, x", "a letter is no secret");
        let tags = BTreeMap::from([("project".into(), "CANARY".into()), ("b".into(), "x".into())]);
        let allowed = Decision::Allow(Obligations { tags, routing: "CANARY first".into(), ..Obligations::default() });
        let Decision::Allow(duties) = without_words(&allowed, &facts, &ALL) else { panic!("allowed") };
        assert_eq!((&*duties.tags["project"], &*duties.tags["b"], &*duties.routing), ("~6", "~1", "~6 first"));
    }

    #[test]
    fn a_decision_repeats_no_name_that_a_client_made_up() {
        let mut facts = engine::sample();
        facts.request.tool_names = vec!["look_up".into(), "CANARY of mine".into()];
        facts.request.model = "sim/CANARY".into();
        facts.candidates[0].target = "sim/CANARY".into();
        facts.candidates[0].model = "CANARY".into();
        facts.candidates[0].name = "sim/CANARY".into();
        let message = "the tool CANARY of mine is not for sim/CANARY, nor is look_up".to_owned();
        let denied = Decision::Deny(vec![Reason { code: Code::PolicyDenied, message }]);
        let Decision::Deny(reasons) = without_words(&denied, &facts, &ALL) else { panic!("denied") };
        assert_eq!(reasons[0].message, "the tool ~14 is not for sim/~6, nor is look_up");
        let allowed = Decision::Allow(Obligations {
            targets: vec!["sim/CANARY".into(), "sim/sample".into()],
            weights: BTreeMap::from([("sim/CANARY".into(), 1)]),
            reroute: Some("sim/CANARY".into()),
            remove_tools: vec!["CANARY of mine".into(), "look_up".into()],
            routing: "CANARY in the order of x".into(),
            ..Obligations::default()
        });
        let kept = without_words(&allowed, &facts, &ALL);
        assert!(!serde_json::to_string(&kept).unwrap().contains("CANARY"), "{kept:?}");
        let Decision::Allow(duties) = kept else { panic!("allowed") };
        let Kept { frame, .. } = Kept::of(&facts, &ALL);
        let read = FactsFrame::read(&frame).unwrap().with("{}").unwrap();
        assert_eq!(duties.targets, [read.candidates[0].target.as_str(), "sim/sample"], "as the facts are kept");
    }
}
