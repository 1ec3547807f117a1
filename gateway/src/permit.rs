//! May it go, where, and under which duties: facts in, the policy's decision out, applied to the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use ledger::{FindingRecord, Id, Tags, Wallet};
use policies::{
    AttributeFacts, BudgetFacts, CallerFacts, Candidate, Decision, Facts, Obligations, RequestFacts, TimeFacts,
};
use providers::{HealthView, Instead, ModelRequest, Target};
use safety::{Action, Actions, Kind};

use crate::case::{Caller, Case, Judged};
use crate::pricing::Buyer;
use crate::refusal::Refusal;
use crate::routing::{ModelRouting, is_untouched};
use crate::scan::Found;
use crate::snapshot::Snapshot;

/// So many kinds and places go into a receipt.
const MOST_NOTED: usize = 64;

/// The policy's yes: where the call may go and what must be done first. There is no other way to make one.
pub struct Permit<Request = ()> {
    /// In the order that policy chose.
    pub targets: Vec<Arc<Target>>,
    /// Those that are asked only for a reason.
    pub instead: Vec<(Arc<Target>, Instead)>,
    /// How the order comes about, where policy has left it to the configuration.
    pub routing: Option<Arc<ModelRouting>>,
    obligations: Obligations,
    /// Wallets beside the key's chain that the call has to satisfy too.
    pub extra: Vec<Id<Wallet>>,
    /// What may leave: redacted.
    pub request: Request,
}

/// A permit whose duties were carried out on the request.
pub type Cleared = Permit<ModelRequest>;

/// Asks the policy. Where money wants a cheaper plan and the policy names a model, that one is asked for instead, under every
/// rule; where it cannot be had, the call goes on as it was.
pub fn permit(
    snapshot: &Snapshot,
    caller: &Caller,
    asked: &ModelRequest,
    found: &Found,
    health: &HealthView,
    case: &mut Case,
) -> Result<Permit, Refusal> {
    let mut choices = candidates(snapshot, asked)?;
    // Only a name of ours is kept: `provider/anything` is the client's own words.
    case.model = if snapshot.knows(asked.model()) { asked.model() } else { "other" }.to_owned();
    case.input_tokens = choices.first().map_or(0, |choice| choice.target.count_input(asked));
    case.policy = revision(snapshot, caller);
    let decide = |model: &str, choices: &[Choice], case: &mut Case| {
        let facts = facts(snapshot, caller, (asked, model), found, case, health, choices);
        let began = std::time::Instant::now();
        let decided = snapshot.policies.decide(&facts);
        let took = began.elapsed();
        let decision = decided.decision.clone();
        case.judged.push(Judged { facts, decided, took });
        decision
    };
    let mut decision = decide(asked.model(), &choices, case);
    if let Decision::Allow(obligations) = &decision
        && !choices.iter().any(|choice| choice.instead.is_empty() && obligations.targets.contains(&choice.target.name))
    {
        // What is asked only for a reason is no answer by itself: policy says why nothing else is left.
        choices.retain(|choice| choice.instead.is_empty());
        decision = decide(asked.model(), &choices, case);
    }
    let obligations = match decision {
        Decision::Allow(obligations) => obligations,
        Decision::Deny(reasons) => {
            let code = reasons.first().map_or("policy_denied", |reason| code(reason.code));
            return Err(Refusal::Denied {
                code,
                reasons: reasons.into_iter().map(|reason| told(reason, case)).collect(),
            });
        }
    };
    if let Some(model) = &obligations.downgrade {
        let cheaper = cheaper(snapshot, &Buyer::new(caller, case.at), model);
        if !cheaper.is_empty()
            && let Decision::Allow(instead) = decide(model, &cheaper, case)
        {
            case.input_tokens = cheaper.first().map_or(0, |choice| choice.target.count_input(asked));
            let why = format!("{model} instead of {}, to spend less", case.model);
            let instead = Obligations { routing: format!("{}; {why}", instead.routing), ..instead };
            return Ok(permitted(snapshot, caller, model, &cheaper, instead, case));
        }
    }
    Ok(permitted(snapshot, caller, asked.model(), &choices, obligations, case))
}

fn revision(snapshot: &Snapshot, caller: &Caller) -> String {
    let (org, team) = (caller.credential.org.to_string(), caller.credential.team.map(|id| id.to_string()));
    snapshot.policies.revision_for(&org, team.as_deref())
}

/// The priced targets behind a cheaper model's name. What it costs has to be known for it to be cheaper.
fn cheaper(snapshot: &Snapshot, buyer: &Buyer, model: &str) -> Vec<Choice> {
    let Some(found) = snapshot.resolve(model) else { return Vec::new() };
    let priced = found.targets.into_iter().filter(|target| snapshot.price(target, buyer).is_some());
    priced.map(|target| Choice { target, name: model.to_owned(), alias: found.alias, instead: Vec::new() }).collect()
}

/// What was decided, with the wallets that cover the call by the model asked for or by the first target. A target that others
/// cover besides is left out: nothing is held for it. One that fewer cover stays, and is charged to all that hold: a hold is made
/// once and settled whole, and a scoped budget that counts too much is better than a call that may go nowhere else.
fn permitted(
    snapshot: &Snapshot,
    caller: &Caller,
    model: &str,
    choices: &[Choice],
    obligations: Obligations,
    case: &mut Case,
) -> Permit {
    let find = |name: &String| choices.iter().find(|choice| choice.target.name == *name);
    let (mut chosen, aside): (Vec<&Choice>, Vec<&Choice>) =
        obligations.targets.iter().filter_map(find).partition(|choice| choice.instead.is_empty());
    let routing = snapshot.routes.routing.get(model).filter(|_| {
        // An order that a policy made is a policy's: chance and measurements do not overrule it.
        is_untouched(&obligations.targets, choices.iter().map(|choice| &choice.target))
    });
    // What an admin said of the key stands, whatever rules say.
    let mut tags: Tags = obligations.tags.clone();
    tags.extend(caller.credential.tags.clone());
    let first = chosen.first().map_or(model, |choice| &choice.target.name);
    let extra = snapshot.scopes(&caller.credential, &[model, first], &tags);
    let before = chosen.len();
    let is_covered = |choice: &&Choice| {
        let names = [choice.name.as_str(), choice.target.name.as_str()];
        choice.target.name == first
            || snapshot.scopes(&caller.credential, &names, &tags).iter().all(|wallet| extra.contains(wallet))
    };
    chosen.retain(is_covered);
    case.routing.clone_from(&obligations.routing);
    if chosen.len() < before {
        case.routing.push_str(&format!("; {} of {before} in scope of what is held", chosen.len()));
    }
    let targets = chosen.iter().map(|choice| Arc::clone(&choice.target)).collect();
    let aside = aside.into_iter().filter(is_covered);
    let reasons = |choice: &Choice| choice.instead.iter().map(|why| (Arc::clone(&choice.target), *why)).collect();
    let instead = aside.flat_map(|choice| -> Vec<_> { reasons(choice) }).collect();
    let routing = routing.map(Arc::clone);
    Permit { targets, instead, routing, obligations, extra, request: () }
}

/// A policy's own words go to the caller; how a rule failed is for operators.
fn told(reason: policies::Reason, case: &Case) -> String {
    if reason.code != policies::Code::PolicyFault {
        return reason.message;
    }
    tracing::error!(call = %case.id, fault = reason.message, "a policy could not be evaluated, and so denied");
    "A policy of your organisation could not be evaluated, so the call is denied.".to_owned()
}

/// A rule that failed denies like any other; the reason says that it failed.
fn code(code: policies::Code) -> &'static str {
    match code {
        policies::Code::ModelNotAllowed => "model_not_allowed",
        policies::Code::ResidencyViolation => "residency_violation",
        policies::Code::PolicyDenied | policies::Code::PolicyFault => "policy_denied",
    }
}

/// A target that policy may choose, and what led to it.
struct Choice {
    target: Arc<Target>,
    /// The name that was asked for: the model, or one of the client's fallbacks.
    name: String,
    alias: bool,
    /// It is asked only for these reasons; nothing: in its turn.
    instead: Vec<Instead>,
}

/// The targets behind the asked model and the client's own fallbacks, with whether an alias led there.
fn candidates(snapshot: &Snapshot, asked: &ModelRequest) -> Result<Vec<Choice>, Refusal> {
    let mut all: Vec<Choice> = Vec::new();
    for model in std::iter::once(asked.model()).chain(asked.fallbacks().iter().map(String::as_str)) {
        let found = snapshot.resolve(model).ok_or_else(|| Refusal::UnknownModel { model: model.to_owned() })?;
        for target in found.targets {
            if !all.iter().any(|known| known.target.name == target.name) {
                all.push(Choice { target, name: model.to_owned(), alias: found.alias, instead: Vec::new() });
            }
        }
    }
    let aside = snapshot.routes.routing.get(asked.model()).map_or(&[][..], |routing| &routing.instead);
    for (model, why) in aside {
        // Configuration is checked: a name that means nothing has not come this far.
        let Some(found) = snapshot.resolve(model) else { continue };
        for target in found.targets {
            match all.iter_mut().find(|known| known.target.name == target.name) {
                Some(known) if known.instead.is_empty() || known.instead.contains(why) => {}
                Some(known) => known.instead.push(*why),
                None => all.push(Choice { target, name: model.clone(), alias: found.alias, instead: vec![*why] }),
            }
        }
    }
    Ok(all)
}

fn facts(
    snapshot: &Snapshot,
    caller: &Caller,
    (asked, model): (&ModelRequest, &str),
    found: &Found,
    case: &Case,
    health: &HealthView,
    candidates: &[Choice],
) -> Facts {
    let (credential, buyer) = (&caller.credential, Buyer::new(caller, case.at));
    let features = asked.features();
    let seconds = case.at.micros().div_euclid(1_000_000);
    Facts {
        caller: CallerFacts {
            org: credential.org.to_string(),
            team: credential.team.map(|id| id.to_string()),
            user: credential.user.map(|id| id.to_string()),
            key: credential.key.to_string(),
            wallet: Some(credential.wallet.to_string()),
            models: credential.models.clone(),
            tags: credential.tags.clone(),
            groups: Vec::new(),
            attributes: AttributeFacts::default(),
        },
        request: RequestFacts {
            kind: case.kind.to_owned(),
            model: model.to_owned(),
            stream: asked.stream(),
            max_output_tokens: asked.max_output(),
            input_tokens: candidates.iter().map(|choice| choice.target.input_bound(asked)).max().unwrap_or(0),
            tools: features.tools,
            images: features.images,
            tool_names: Vec::new(),
            mcp_servers: Vec::new(),
            intent: String::new(),
            intent_confidence: 0,
            tier: 1,
            claims: case.claims.clone(),
        },
        candidates: candidates.iter().map(|choice| candidate(snapshot, &buyer, health, choice)).collect(),
        findings: found.counts.clone(),
        time: TimeFacts::at(seconds),
        budget: BudgetFacts { downgrade: case.downgraded, left_usd: None, left_percent: None },
        hops: BTreeMap::new(),
    }
}

fn candidate(snapshot: &Snapshot, buyer: &Buyer, health: &HealthView, choice: &Choice) -> Candidate {
    let target = &choice.target;
    let rates = snapshot.price(target, buyer).map(|listed| &listed.rates);
    Candidate {
        name: choice.name.clone(),
        target: target.name.clone(),
        provider: target.provider.clone(),
        model: target.model.clone(),
        region: target.region.clone(),
        alias: choice.alias,
        price_input: rates.as_ref().map(|rates| rates.input.to_string()),
        price_output: rates.as_ref().map(|rates| rates.output.to_string()),
        context_tokens: None,
        healthy: health.healthy(&target.name),
    }
}

impl Permit {
    /// Carries out what policy asked for about the findings: blocks, or lets only the redacted request on.
    pub fn apply(self, asked: &ModelRequest, found: &Found, case: &mut Case) -> Result<Cleared, Refusal> {
        let actions = actions(&self.obligations)?;
        let mut edits = Vec::new();
        let texts = if found.parts.is_empty() { Vec::new() } else { asked.texts() };
        let mut blocked = None;
        for part in &found.parts {
            let Some(text) = texts.get(part.part) else { return Err(Refusal::Internal) };
            for finding in &part.findings {
                // What cannot be edited, tokens say, does not leave where it had to be redacted.
                let action = match actions.get(finding.kind) {
                    Action::Redact if text.fixed => Action::Block,
                    action => action,
                };
                note(case, finding.kind, &text.place, action);
                if action == Action::Block && blocked.is_none() {
                    blocked = Some((finding, text.place.clone()));
                }
            }
            if text.fixed {
                continue;
            }
            let applied = safety::apply(&text.text, &part.findings, &actions);
            if applied.blocked.is_some() && blocked.is_none() {
                // Findings that do not fit the text: a fault of ours, and nothing that was not cleared may leave.
                return Err(Refusal::Internal);
            }
            edits.extend(applied.text.map(|clean| (part.part, still_json(&text.text, clean))));
        }
        if let Some((finding, place)) = blocked {
            let detector = match finding.detector == finding.kind.as_str() {
                true => finding.detector.to_owned(),
                false => format!("{} ({})", finding.kind.as_str(), finding.detector),
            };
            return Err(Refusal::Content { detector, place });
        }
        let request = if edits.is_empty() { asked.clone() } else { asked.with_texts(&edits) };
        let Permit { targets, instead, routing, obligations, extra, .. } = self;
        Ok(Permit { targets, instead, routing, obligations, extra, request })
    }
}

/// Tool arguments are JSON within a text: a number that was masked there must become a string, or nobody can read them.
fn still_json(before: &str, clean: String) -> String {
    let is_json = |text: &str| {
        matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'['))
            && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    };
    if !is_json(before) || is_json(&clean) {
        return clean;
    }
    let mut quoted = String::with_capacity(clean.len() + 16);
    let (mut in_string, mut rest) = (false, clean.as_str());
    while let Some(c) = rest.chars().next() {
        let mask = if in_string {
            None
        } else {
            Kind::ALL.into_iter().map(safety::placeholder).find(|p| rest.starts_with(*p))
        };
        let taken = match (mask, c) {
            (Some(mask), _) => mask.len(),
            (None, '\\') if in_string => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, c) => {
                in_string ^= c == '"';
                c.len_utf8()
            }
        };
        let quote = if mask.is_some() { "\"" } else { "" };
        quoted.extend([quote, &rest[..taken], quote]);
        rest = &rest[taken..];
    }
    if is_json(&quoted) { quoted } else { clean }
}

impl<Request> Permit<Request> {
    /// The most output tokens that policy allows.
    pub fn max_output(&self) -> Option<u64> {
        self.obligations.max_output_tokens
    }

    /// How long an answer may be kept, if at all.
    pub fn cache_ttl(&self) -> Option<std::time::Duration> {
        self.obligations.cache.as_ref().map(|rule| std::time::Duration::from_secs(rule.ttl_seconds))
    }
}

/// A kind that policy does not mention is redacted: a guard that was not told otherwise is closed.
fn actions(obligations: &Obligations) -> Result<Actions, Refusal> {
    let mut by_kind = std::collections::BTreeMap::new();
    for kind in Kind::ALL {
        let action = match obligations.actions.get(kind.as_str()) {
            None => Action::Redact,
            Some(name) => name.parse().map_err(|_| Refusal::Internal)?,
        };
        by_kind.insert(kind, action);
    }
    Ok(Actions::from(by_kind))
}

fn note(case: &mut Case, kind: Kind, place: &str, action: Action) {
    let same = |f: &&mut FindingRecord| f.kind == kind.as_str() && f.place == place && f.action == action.as_str();
    // A receipt names the first places only; a prompt full of numbers must not grow it without bound.
    let full = case.findings.len() >= MOST_NOTED;
    match case.findings.iter_mut().find(same) {
        Some(finding) => finding.count += 1,
        None if full => {}
        None => case.findings.push(FindingRecord {
            kind: kind.as_str().to_owned(),
            place: place.to_owned(),
            count: 1,
            action: action.as_str().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_arguments_stay_json_and_other_texts_stay_as_they_are() {
        for (before, clean, expected) in [
            (r#"{"n": 4111111111111111}"#, r#"{"n": [PAYMENT_CARD]}"#, r#"{"n": "[PAYMENT_CARD]"}"#),
            (r#"{"n": "4111111111111111"}"#, r#"{"n": "[PAYMENT_CARD]"}"#, r#"{"n": "[PAYMENT_CARD]"}"#),
            (
                r#"{"a\"": [1, 4111111111111111]}"#,
                r#"{"a\"": [1, [PAYMENT_CARD]]}"#,
                r#"{"a\"": [1, "[PAYMENT_CARD]"]}"#,
            ),
            ("card 4111111111111111", "card [PAYMENT_CARD]", "card [PAYMENT_CARD]"),
        ] {
            assert_eq!(still_json(before, clean.to_owned()), expected);
        }
    }
}
