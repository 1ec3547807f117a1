//! How much a call can cost at most, and how much it likely will: what must be set aside before it leaves.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ledger::{Estimate, Markup, Money, Pieces, Rates};
use providers::{Demand, HealthView, Hedge, ModelRequest, Plan, RetryRules, Strategy, Target, Task, Why, plan};

use crate::app::App;
use crate::cache::Stored;
use crate::case::{Caller, Case};
use crate::cover::Cover;
use crate::limits::Drawing;
use crate::permit::Cleared;
use crate::pricing::{Buyer, bills_on};
use crate::refusal::{Exhausted, Refusal};
use crate::snapshot::Snapshot;

/// The output cap for a model whose maximum nobody knows.
const UNKNOWN_CAP: u64 = 4_096;

/// A target that the call may go to, with its price and the cap that is sent to it.
pub struct Offer {
    pub target: Arc<Target>,
    pub rates: Arc<Rates>,
    /// Which price list the rates are from.
    pub price_version: Arc<str>,
    /// What a hold covers here, under the cap that was asked for.
    pub cover: Cover,
    /// What was sent is billed to its end, whoever hangs up: by a provider that goes on, or in tokens that nobody sees.
    pub bills_on: bool,
    /// As it is for this call, from hold to settlement.
    pub markup: Markup,
}

/// The cleared call with its priced targets, and what the first of its plan can cost and likely will.
pub struct Quote {
    pub permit: Cleared,
    pub offers: Vec<Offer>,
    /// In which order they are asked.
    pub plan: Plan,
    /// How a target is asked again, and a slow one given company.
    pub retries: RetryRules,
    pub hedge: Option<Hedge>,
    /// The worst case.
    pub amount: Money,
    /// Of `output` tokens.
    pub estimate: Option<Estimate>,
    /// How long the answer may well be, all choices together. Every target that is asked is covered so far.
    pub output: u64,
    /// The answer, if it is at hand.
    pub stored: Option<Arc<Stored>>,
}

impl Quote {
    /// What it draws from limits: the prompt as counted, and as much of an answer as is likely. What is at hand uses nothing.
    pub fn drawing<'a>(&self, snapshot: &'a Snapshot, asked: &ModelRequest, input: u64) -> Drawing<'a> {
        let tokens = if self.stored.is_some() { 0 } else { input.saturating_add(self.output) };
        Drawing { model: snapshot.routes.model_limits.get(asked.model()), tokens, place: true }
    }
}

/// Prices the plan. `stored`: the answer is at hand, so nothing needs to be held.
pub fn quote(
    app: &App,
    snapshot: &Snapshot,
    health: &HealthView,
    caller: &Caller,
    permit: Cleared,
    stored: Option<Arc<Stored>>,
    case: &Case,
) -> Result<Quote, Refusal> {
    let request = &permit.request;
    if let Some(member) = request.features().surcharge {
        // It would be billed at a rate that no price list here has: refused before any money is held.
        let message = format!("'{member}' is billed at a rate that this gateway has no price for");
        return Err(Refusal::Unsupported { param: Some(member.to_owned()), message });
    }
    let buyer = &Buyer::new(caller, case.at);
    let mut offers = Vec::new();
    for target in permit.targets.iter().chain(permit.instead.iter().map(|(target, _)| target)) {
        // An unpriced target is no target: what it cost could not be accounted for.
        let Some(listed) = snapshot.price(target, buyer) else { continue };
        let (rates, markup) = (Arc::clone(&listed.rates), snapshot.markup(target, buyer, request.model()));
        // What does not serve it at all is set aside for that, whatever it costs.
        if target.serves(request.task()) && !names_what_is_billed(request.task(), &rates) {
            continue;
        }
        let input_bound = target.input_bound(request);
        // What a one-shot task makes is billed whole, whoever hangs up.
        let bills_on = bills_on(target, &rates) || !request.shape().is_capped();
        let cover = match request.shape().is_capped() {
            true => {
                let cap = cap(request.max_output(), permit.max_output(), target, input_bound);
                // Tokens that nobody sees come can be held for in no other way than before.
                let seen = request.stream() || request.shape().is_chat();
                Cover::new(Arc::clone(&rates), markup, input_bound, request.choices(), cap, seen && !bills_on)
            }
            false => {
                let most = target.task_bound(request);
                let pieces = Pieces {
                    searches: most.searches,
                    images: most.images,
                    seconds: most.seconds,
                    characters: most.characters,
                };
                Cover::new(Arc::clone(&rates), markup, input_bound, 1, most.output, false).with(pieces)
            }
        };
        let price_version = Arc::clone(&listed.version);
        if offers.iter().any(|offer: &Offer| offer.target.name == target.name) {
            continue;
        }
        offers.push(Offer { target: Arc::clone(target), rates, price_version, cover, bills_on, markup });
    }
    if offers.is_empty() {
        return Err(Refusal::Unpriced { model: request.model().to_owned() });
    }
    if stored.is_none() {
        within(&permit, &mut offers)?;
    }
    let offered = |target: &Arc<Target>| offers.iter().find(|offer| offer.target.name == target.name);
    let targets: Vec<_> = permit.targets.iter().filter(|it| offered(it).is_some()).map(Arc::clone).collect();
    if targets.is_empty() {
        return Err(Refusal::Unpriced { model: request.model().to_owned() });
    }
    let instead: Vec<_> = permit.instead.iter().filter(|(it, _)| offered(it).is_some()).cloned().collect();
    let routing = permit.routing.as_ref().map(|it| &it.routing);
    let strategy = routing.map(|it| it.strategy).unwrap_or_default();
    let costs: Vec<i64> = match strategy {
        Strategy::LeastCost => targets.iter().map(|it| offered(it).map_or(i64::MAX, |it| it.likely(case))).collect(),
        _ => Vec::new(),
    };
    let demand = Demand {
        instead: &instead,
        stream: request.stream(),
        routing,
        seed: seed(case),
        kinship: if strategy == Strategy::Sticky { kinship(caller, request) } else { 0 },
        costs: &costs,
        ..Demand::of(&targets, request.features(), request.task(), case.input_tokens)
    };
    let plan = plan(&demand, health, app.millis());
    // What makes something is never asked for twice at once.
    let hedge = routing.and_then(|it| it.hedge).filter(|_| request.shape().is_capped());
    let retries = snapshot.routes.retries;
    let first = plan.targets.first().and_then(|first| offers.iter().find(|offer| offer.target.name == first.name));
    let Some(first) = first else { return Err(incapable(&plan)) };

    let (cover, model) = (&first.cover, &first.target.name);
    let whole = cover.whole();
    let amount = cover.amount(whole).ok_or_else(too_much)?;
    // What the request cannot cap is held for whole.
    let learned = match request.shape().is_capped() {
        true => app.estimates.get().estimate(caller.credential.key, model, whole),
        false => whole,
    };
    // Where hold and cap are the same number, no choice can be capped below one token.
    let output = learned.max(request.choices()).min(whole);
    let estimate = Estimate { amount: cover.amount(output).ok_or_else(too_much)?, elastic: cover.elastic() };
    let (amount, estimate) = if stored.is_some() { (Money::ZERO, None) } else { (amount, Some(estimate)) };
    Ok(Quote { permit, offers, plan, retries, hedge, amount, estimate, output, stored })
}

/// Leaves out every target whose worst case is more than policy allows for one call: none is asked later, when others have failed.
fn within(permit: &Cleared, offers: &mut Vec<Offer>) -> Result<(), Refusal> {
    let worst = |offer: &Offer| offer.cover.amount(offer.cover.whole()).unwrap_or(Money::MAX);
    let in_turn = |offer: &&Offer| permit.targets.iter().any(|target| target.name == offer.target.name);
    let cheapest = offers.iter().filter(in_turn).map(worst).min().unwrap_or(Money::ZERO);
    permit.affords(cheapest)?;
    offers.retain(|offer| permit.affords(worst(offer)).is_ok());
    Ok(())
}

impl Offer {
    /// About what the call costs here, in nano-dollars: to compare, not to charge.
    fn likely(&self, case: &Case) -> i64 {
        const ANSWER: u64 = 500;
        let output = self.cover.whole().min(ANSWER);
        let usage = ledger::Usage { input: case.input_tokens, output, ..ledger::Usage::default() };
        self.rates.exact(&usage).with_markup(self.markup).rounded_up().map_or(i64::MAX, Money::nanos)
    }
}

/// All chance of a call comes from its id, whose end is random.
pub fn seed(case: &Case) -> u64 {
    case.id.uuid().as_u64_pair().1
}

/// The same for calls of one key whose conversations begin alike: a provider that has the beginning in its prompt cache reads it for
/// less. The instructions and the first message say which conversation it is; what is added later must not move it.
fn kinship(caller: &Caller, request: &ModelRequest) -> u64 {
    const TEXTS: usize = 2;
    const BYTES: usize = 4_096;
    let mut hasher = std::hash::DefaultHasher::new();
    caller.credential.key.uuid().hash(&mut hasher);
    for text in request.texts().iter().take(TEXTS) {
        let beginning = text.text.as_bytes();
        beginning[..beginning.len().min(BYTES)].hash(&mut hasher);
    }
    hasher.finish()
}

/// A price that names none of the classes that a task is billed in would make it free by omission. 0 is a price, where it is said.
pub fn names_what_is_billed(task: Task, rates: &Rates) -> bool {
    let more = &rates.more;
    let (input, output) = (rates.input > Money::ZERO, rates.output > Money::ZERO);
    match task {
        Task::Images => output || more.image.is_some() || more.image_output.is_some(),
        Task::Speech => output || more.characters.is_some() || more.second.is_some() || more.audio_output.is_some(),
        Task::Transcriptions => input || more.second.is_some() || more.audio_input.is_some(),
        Task::Rerank => input || more.search.is_some(),
        // What is heard and spoken costs many times what is written: it has prices of its own, or none.
        Task::Realtime => more.audio_input.is_some() && more.audio_output.is_some(),
        Task::Chat | Task::Completions | Task::Embeddings | Task::Moderations => true,
    }
}

/// Nobody in the plan can do what is asked: waiting will not help.
fn incapable(plan: &Plan) -> Refusal {
    let (param, what) = match plan.set_aside.first().map(|aside| aside.why) {
        Some(Why::Images) => ("messages", "it takes no images"),
        Some(Why::Tools) => ("tools", "it takes no tools"),
        Some(Why::Task) => ("model", "it does not serve this endpoint"),
        // A plan never sets its last hope aside.
        Some(Why::Unwell) | None => {
            return Refusal::Exhausted { kind: Exhausted::Unavailable, attempts: Vec::new(), retry_after: None };
        }
    };
    Refusal::Unsupported { param: Some(param.to_owned()), message: what.to_owned() }
}

/// What the caller asked for, else what the model can do beside this prompt; never above what policy allows.
fn cap(asked: Option<u64>, allowed: Option<u64>, target: &Target, input_bound: u64) -> u64 {
    let wanted = asked.unwrap_or_else(|| {
        let most = target.max_output.unwrap_or(UNKNOWN_CAP);
        match target.context.map(|context| context.saturating_sub(input_bound)) {
            // A prompt that seems to fill the context may still fit: the bound is above the count.
            Some(0) | None => most,
            Some(left) => most.min(left),
        }
    });
    wanted.min(allowed.unwrap_or(u64::MAX))
}

pub fn too_much() -> Refusal {
    Refusal::BadRequest(providers::BadRequest {
        code: "invalid_value",
        param: Some("max_tokens".into()),
        message: "max_tokens times n is too large to be priced.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use providers::{Fleet, ProviderConfig};

    fn target(name: &str) -> Arc<Target> {
        let yaml = "[{id: sim, kind: sim}, {id: local, kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1'}]";
        let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).expect("providers");
        Fleet::build(&providers, &|_| None).expect("a fleet").target(name).expect("a target")
    }

    #[test]
    fn a_price_that_names_no_class_of_a_task_is_none_and_nothing_is_a_price_where_it_is_said() {
        let usd = |text: &str| text.parse::<Money>().expect("a price");
        let rates = |input, output, more| Rates { more, ..Rates::new(usd(input), usd(output)) };
        let (none, free) = (ledger::Classes::default(), Some(Money::ZERO));
        let second = ledger::Classes { second: free, ..none };
        for (task, rates, named) in [
            (Task::Chat, rates("0", "0", none), true),
            (Task::Embeddings, rates("0", "0", none), true),
            (Task::Images, rates("5", "0", none), false),
            (Task::Images, rates("5", "40", none), true),
            (Task::Images, rates("0", "0", ledger::Classes { image: free, ..none }), true),
            (Task::Speech, rates("5", "0", none), false),
            (Task::Speech, rates("0", "0", second), true),
            (Task::Speech, rates("0", "0", ledger::Classes { characters: free, ..none }), true),
            (Task::Transcriptions, rates("0", "5", none), false),
            (Task::Transcriptions, rates("0", "0", second), true),
            (Task::Realtime, rates("4", "16", none), false),
            (Task::Realtime, rates("4", "16", ledger::Classes { audio_input: free, audio_output: free, ..none }), true),
            (Task::Rerank, rates("0", "0", second), false),
            (Task::Rerank, rates("1", "0", none), true),
        ] {
            assert_eq!(names_what_is_billed(task, &rates), named, "{task:?} {rates:?}");
        }
    }

    #[test]
    fn the_cap_is_what_was_asked_else_the_models_maximum_and_never_above_policy() {
        let (known, unknown) = (target("sim/echo"), target("local/anything"));
        assert_eq!((known.max_output, known.context), (Some(4_096), Some(128_000)));
        for (asked, allowed, target, input_bound, expected, why) in [
            (Some(10), None, &known, 0, 10, "as asked"),
            (
                Some(10_000),
                None,
                &known,
                0,
                10_000,
                "above the maximum: the provider's own refusal is the better answer",
            ),
            (None, None, &known, 0, 4_096, "the model's maximum"),
            (None, None, &known, 127_000, 1_000, "what is left beside the prompt"),
            (None, None, &known, 500_000, 4_096, "the bound is above the count, so the prompt may still fit"),
            (None, None, &unknown, 500_000, UNKNOWN_CAP, "an unknown maximum"),
            (None, Some(64), &unknown, 0, 64, "policy's cap"),
            (Some(100), Some(64), &known, 0, 64, "policy's cap is stricter"),
            (Some(32), Some(64), &known, 0, 32, "the caller's is stricter"),
            (Some(0), None, &known, 0, 0, "nothing asked, nothing held for output"),
        ] {
            assert_eq!(cap(asked, allowed, target, input_bound), expected, "{why}");
        }
    }
}
