//! May it go, where, and under which duties: facts in, the policy's decision out, applied to where the call may go. What it makes of
//! the request is clear.rs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ledger::{Id, Money, Tags, Wallet};
use policies::{Approval, CacheMode, Decided, Decision, LogLevel, Obligations};
use providers::{HealthView, Instead, ModelRequest, Target};

use crate::case::{Caller, Case, Judged};
use crate::facts::{Choice, Question, behind, candidates};
use crate::hops::Outside;
use crate::pricing::Buyer;
use crate::quote::seed;
use crate::refusal::Refusal;
use crate::routing::{ModelRouting, is_untouched};
use crate::scan::Found;
use crate::snapshot::Snapshot;

/// A call is asked about a few times at most; the lines of a batch, which are one call, many thousand times.
const MOST_JUDGED: usize = 16;

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
    /// The places beside its targets that the call's content must not reach.
    outside: Outside,
    /// What may leave: redacted.
    pub request: Request,
}

/// A permit whose duties were carried out on the request.
pub type Cleared = Permit<ModelRequest>;

/// A model that duties name.
type Named = fn(&Obligations) -> Option<&String>;

/// Asks the policy. Where a rule names another model, or money wants a cheaper one and the policy names it, that one is asked for
/// instead, under every rule; where it cannot be had, the call goes on as it was.
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
    let question = Question::new((snapshot, caller), asked, found, health, case.input_tokens);
    let mut decision = decide(&question, asked.model(), &choices, case);
    if let Decision::Allow(obligations) = &decision
        && !choices.iter().any(|choice| choice.instead.is_empty() && obligations.targets.contains(&choice.target.name))
    {
        // What is asked only for a reason is no answer by itself: policy says why nothing else is left.
        choices.retain(|choice| choice.instead.is_empty());
        decision = decide(&question, asked.model(), &choices, case);
    }
    let mut obligations = match decision {
        Decision::Allow(obligations) => obligations,
        Decision::Deny(reasons) => return Err(denied(reasons, case)),
    };
    let mut model = asked.model().to_owned();
    let another: [(Named, &str); 2] = [(|it| it.reroute.as_ref(), ""), (|it| it.downgrade.as_ref(), ", to spend less")];
    for (named, why) in another {
        let Some(name) = named(&obligations).filter(|name| **name != model).cloned() else { continue };
        let others = behind(snapshot, &Buyer::new(caller, case.at), &name);
        if others.is_empty() {
            continue;
        }
        match decide(&question, &name, &others, case) {
            Decision::Allow(instead) => {
                case.input_tokens = others.first().map_or(0, |choice| choice.target.count_input(asked));
                let routing = format!("{}; {name} instead of {}{why}", instead.routing, shown(snapshot, &model));
                obligations = Obligations { routing, ..instead };
                (choices, model) = (others, name);
            }
            // It goes on as it was.
            Decision::Deny(_) => {}
        }
    }
    if let Some(seems) = question.seems.filter(|_| snapshot.policies.asks_intent()) {
        let seems = format!("; seen as {}, tier {}", seems.intent.as_str(), seems.tier);
        obligations.routing.push_str(&seems);
    }
    case.outside = Outside::of(&snapshot.routes.hops, obligations.regions.as_deref());
    if case.outside.process {
        let bound = obligations.regions.unwrap_or_default().join(", ");
        let message = format!("this gateway does not lie in {bound}");
        return Err(denied(vec![policies::Reason { code: policies::Code::ResidencyViolation, message }], case));
    }
    Ok(permitted(snapshot, caller, &model, &choices, obligations, case))
}

/// One question to the rules, kept with its answer in the order of asking.
fn decide(question: &Question<'_>, model: &str, choices: &[Choice], case: &mut Case) -> Decision {
    let facts = question.facts(model, choices, case);
    let began = std::time::Instant::now();
    let decided = question.snapshot.policies.decide(&facts);
    let took = began.elapsed();
    let decision = decided.decision.clone();
    let log = log_level(&decided, question.snapshot);
    // Of a refusal no more gets out than of a call that goes.
    case.outside = Outside::of(&question.snapshot.routes.hops, decided.keeping.regions.as_deref());
    if case.judged.len() == MOST_JUDGED {
        case.judged.remove(0);
    }
    case.judged.push(Judged { facts, decided, log, took });
    decision
}

/// How much the decision log may keep of it: where a database that lies outside of the bound keeps it, the result alone.
fn log_level(decided: &Decided, snapshot: &Snapshot) -> LogLevel {
    match &decided.decision {
        // Nobody knows any more what would have been inside.
        Decision::Deny(reasons) if reasons.iter().any(is_violation) => LogLevel::Result,
        _ if Outside::of(&snapshot.routes.hops, decided.keeping.regions.as_deref()).database => LogLevel::Result,
        _ => decided.keeping.log,
    }
}

fn is_violation(reason: &policies::Reason) -> bool {
    reason.code == policies::Code::ResidencyViolation
}

fn denied(reasons: Vec<policies::Reason>, case: &mut Case) -> Refusal {
    let code = reasons.first().map_or("policy_denied", |reason| code(reason.code));
    if reasons.iter().any(is_violation) {
        case.outside = Outside::EVERY;
        let org = case.caller.as_ref().map(|caller| caller.credential.org.to_string()).unwrap_or_default();
        tracing::warn!(call = %case.id, org, "a call was refused for where it would have gone: residency_violation");
    }
    Refusal::Denied { code, reasons: reasons.into_iter().map(|reason| told(reason, case)).collect() }
}

fn revision(snapshot: &Snapshot, caller: &Caller) -> String {
    let (org, team) = (caller.credential.org.to_string(), caller.credential.team.map(|id| id.to_string()));
    snapshot.policies.revision_for(&org, team.as_deref())
}

/// A model's name as a receipt may hold it.
fn shown<'a>(snapshot: &Snapshot, model: &'a str) -> &'a str {
    if snapshot.knows(model) { model } else { "other" }
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
        obligations.weights.is_empty()
            && is_untouched(&obligations.targets, choices.iter().map(|choice| &choice.target))
    });
    let mut told = obligations.routing.clone();
    if let Some(drawn) =
        drawn(&obligations.weights, chosen.iter().map(|choice| choice.target.name.as_str()), seed(case))
    {
        chosen[..=drawn.at].rotate_right(1);
        if drawn.of > drawn.weight {
            told.push_str(&format!("; {} drawn, {} of {}", chosen[0].target.name, drawn.weight, drawn.of));
        }
    }
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
    case.routing = told;
    if chosen.len() < before {
        case.routing.push_str(&format!("; {} of {before} in scope of what is held", chosen.len()));
    }
    let targets = chosen.iter().map(|choice| Arc::clone(&choice.target)).collect();
    let aside = aside.into_iter().filter(is_covered);
    let reasons = |choice: &Choice| choice.instead.iter().map(|why| (Arc::clone(&choice.target), *why)).collect();
    let instead = aside.flat_map(|choice| -> Vec<_> { reasons(choice) }).collect();
    let routing = routing.map(Arc::clone);
    Permit { targets, instead, routing, obligations, extra, outside: case.outside, request: () }
}

/// Which target was drawn to come first.
struct Drawn {
    at: usize,
    weight: u64,
    of: u64,
}

/// Draws one of those targets that have a weight. All chance is the call's own: the same call draws the same.
fn drawn<'a>(weights: &BTreeMap<String, u64>, targets: impl Iterator<Item = &'a str>, seed: u64) -> Option<Drawn> {
    let weights: Vec<u64> = targets.map(|name| weights.get(name).copied().unwrap_or(0)).collect();
    let of: u64 = weights.iter().sum();
    // SplitMix64: the plan draws from the same seed, and the two must not go together.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut left = (mixed ^ (mixed >> 31)).checked_rem(of)?;
    for (at, weight) in weights.into_iter().enumerate() {
        if left < weight {
            return Some(Drawn { at, weight, of });
        }
        left -= weight;
    }
    None
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

impl Permit {
    /// The same with what may leave.
    pub fn with(self, request: ModelRequest) -> Cleared {
        let Permit { targets, instead, routing, obligations, extra, outside, request: () } = self;
        Permit { targets, instead, routing, obligations, extra, outside, request }
    }
}

impl<Request> Permit<Request> {
    /// The most output tokens that policy allows.
    pub fn max_output(&self) -> Option<u64> {
        self.obligations.max_output_tokens
    }

    /// How long an answer may be kept, if at all.
    pub fn cache_ttl(&self) -> Option<std::time::Duration> {
        let rule = self.obligations.cache.as_ref().filter(|_| !self.outside.cache);
        rule.map(|rule| std::time::Duration::from_secs(rule.ttl_seconds))
    }

    /// Whether this call's answer may be kept, and not only an older one given.
    pub fn may_store(&self) -> bool {
        self.obligations.cache.as_ref().is_some_and(|rule| rule.mode == CacheMode::ReadWrite) && !self.outside.cache
    }

    /// What somebody has to approve first.
    pub fn approvals(&self) -> &[Approval] {
        &self.obligations.approvals
    }

    /// What is to be done about each kind of finding.
    pub fn actions(&self) -> &BTreeMap<String, String> {
        &self.obligations.actions
    }

    /// Names of tools that are to be taken out, `*` for any letters.
    pub fn removed_tools(&self) -> &[String] {
        &self.obligations.remove_tools
    }

    /// Refuses what may be held for the call when it is more than policy allows.
    pub fn affords(&self, amount: Money) -> Result<(), Refusal> {
        let Some(most) = &self.obligations.max_cost_usd else { return Ok(()) };
        // Checked when it was decided; what cannot be read after all closes.
        let limit = most.parse::<Money>().map_err(|_| Refusal::Internal)?;
        if amount <= limit {
            return Ok(());
        }
        let reason = format!("the call may cost up to {amount} USD, and at most {limit} USD is allowed for one");
        Err(Refusal::Denied { code: "policy_denied", reasons: vec![reason] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_same_for_the_same_call_and_follows_the_weights_over_many() {
        let weights = BTreeMap::from([("a".to_owned(), 95), ("b".to_owned(), 5), ("gone".to_owned(), 900)]);
        let first = |seed: u64| drawn(&weights, ["b", "c", "a"].into_iter(), seed).map(|it| it.at);
        let mut times = [0_u32; 3];
        for seed in 0..10_000 {
            assert_eq!(first(seed), first(seed));
            times[first(seed).expect("one has a weight")] += 1;
        }
        assert_eq!(times[1], 0, "no weight, never first");
        assert!((400..600).contains(&times[0]), "{times:?}");
        assert!(drawn(&weights, ["c"].into_iter(), 7).is_none());
        assert!(drawn(&BTreeMap::new(), ["a"].into_iter(), 7).is_none());
    }
}
