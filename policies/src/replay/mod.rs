//! What-if: recorded calls are asked again under other rules, and the report says who would be refused, who let in, who sent
//! elsewhere, and what that would have saved or cost. Pure: where records come from is for others to know. Two threads may each
//! replay a part and merge; whatever the parts, the report is the same.

mod money;
mod report;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use report::{ChangedMoney, Class, Report, Share};
pub use walk::{Difference, Outcome, walk};

use crate::{Candidate, Decision, Facts, Rulebook};
use money::{Price, Sum};
use report::Tally;

/// A call as it was decided.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// `dec_…`
    pub id: String,
    /// `team_…`
    pub team: Option<String>,
    /// The model that was asked for.
    pub model: String,
    /// What the rules were asked.
    pub questions: Vec<Facts>,
    /// What they decided of each question.
    pub decisions: Vec<Decision>,
    /// What the call cost, where that is known.
    pub receipt: Option<Paid>,
    /// The client's claims are not what they were: rules that compare them may decide otherwise.
    pub masked: bool,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    /// What the tenant was charged, in nano-dollars.
    pub price: i64,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// A replay that is under way.
pub struct Replay {
    rulebook: Arc<Rulebook>,
    counts: Counts,
    denied: Tally,
    allowed: Tally,
    rerouted: Tally,
    duties: Tally,
    faults: Tally,
    /// How long answers were, by the model asked for: how many, and their tokens.
    answers: BTreeMap<String, (u64, u128)>,
    /// Calls that would be let in, by team, model and target.
    admitted: BTreeMap<(Place, String), Admitted>,
    /// Calls that would become a model which nobody has asked about, by that model.
    becoming: BTreeMap<(Place, String), Becoming>,
    /// What the targets behind a name cost, by the newest word.
    known: BTreeMap<String, (String, Option<Priced>)>,
}

/// Whose call, and for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    team: String,
    model: String,
}

#[derive(Default)]
struct Counts {
    decisions: u64,
    replayed: u64,
    without_facts: u64,
    unreadable: u64,
    masked: u64,
    unpriced: u64,
}

#[derive(Clone, Copy)]
struct Priced {
    input: Price,
    output: Price,
}

impl Priced {
    fn of(candidate: &Candidate) -> Option<Priced> {
        let price = |text: &Option<String>| Price::parse(text.as_deref()?);
        Some(Priced { input: price(&candidate.price_input)?, output: price(&candidate.price_output)? })
    }

    fn cost(self, paid: &Paid) -> Sum {
        Sum::of(paid.input_tokens, self.input).plus(Sum::of(paid.output_tokens, self.output))
    }
}

#[derive(Default)]
struct Admitted {
    calls: u64,
    input: Sum,
    output_price: Option<Price>,
}

#[derive(Default)]
struct Becoming {
    before: Sum,
    paid: Tokens,
    calls: u64,
}

/// Tokens in and out.
#[derive(Default)]
struct Tokens {
    input: u64,
    output: u64,
}

impl Replay {
    /// Of these rules.
    pub fn new(rulebook: Arc<Rulebook>) -> Replay {
        Replay {
            rulebook,
            counts: Counts::default(),
            denied: Tally::default(),
            allowed: Tally::default(),
            rerouted: Tally::default(),
            duties: Tally::default(),
            faults: Tally::default(),
            answers: BTreeMap::new(),
            admitted: BTreeMap::new(),
            becoming: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// A decision of which only the result was kept.
    pub fn without_facts(&mut self) {
        self.counts.decisions += 1;
        self.counts.without_facts += 1;
    }

    /// A decision that cannot be read.
    pub fn unreadable(&mut self) {
        self.counts.decisions += 1;
        self.counts.unreadable += 1;
    }

    /// Asks the rules what they were asked of this call.
    pub fn add(&mut self, call: &Recorded) {
        if call.questions.is_empty() || call.questions.len() != call.decisions.len() {
            return self.unreadable();
        }
        self.counts.decisions += 1;
        self.counts.replayed += 1;
        self.counts.masked += u64::from(call.masked);
        self.learn(call);
        let live = walk(&call.questions, |at| call.decisions[at].clone());
        let other = walk(&call.questions, |at| self.rulebook.decide(&call.questions[at]).decision);
        let Some(difference) = Difference::between(&live, &other) else { return };
        let place = Place { team: call.team.clone().unwrap_or_else(|| "-".to_owned()), model: call.model.clone() };
        let paid = call.receipt.unwrap_or_default();
        match difference {
            Difference::Denied => {
                let tally = if other.is_fault() { &mut self.faults } else { &mut self.denied };
                tally.count(&place, &call.id, Sum::default().minus(Sum::nanos(paid.price)));
                if let Outcome::Denied(reasons) = &other {
                    tally.told(reasons.first().map_or("", |reason| &reason.message));
                }
            }
            Difference::Allowed => {
                let candidate = candidate(&call.questions, &other);
                self.allowed.count(&place, &call.id, Sum::default());
                match candidate.and_then(|it| Priced::of(it).map(|priced| (it.target.clone(), priced))) {
                    Some((target, priced)) => {
                        let input = candidate_input(&call.questions, &other);
                        let entry = self.admitted.entry((place, target)).or_default();
                        entry.calls += 1;
                        entry.input = entry.input.plus(Sum::of(input, priced.input));
                        entry.output_price = Some(priced.output);
                    }
                    None => self.counts.unpriced += 1,
                }
            }
            Difference::Rerouted => self.reroute(call, &place, &live, &other, &paid),
            Difference::Duties => self.duties.count(&place, &call.id, Sum::default()),
        }
    }

    fn reroute(&mut self, call: &Recorded, place: &Place, live: &Outcome, other: &Outcome, paid: &Paid) {
        let before = candidate(&call.questions, live).and_then(Priced::of);
        if let (Outcome::Goes { unasked: Some(model), .. }, Some(before)) = (other, before) {
            self.rerouted.count(place, &call.id, Sum::default());
            let entry = self.becoming.entry((place.clone(), model.clone())).or_default();
            entry.calls += 1;
            entry.before = entry.before.plus(before.cost(paid));
            entry.paid.input = entry.paid.input.saturating_add(paid.input_tokens);
            entry.paid.output = entry.paid.output.saturating_add(paid.output_tokens);
            return;
        }
        let after = candidate(&call.questions, other).and_then(Priced::of);
        let change = match (before, after) {
            (Some(before), Some(after)) => after.cost(paid).minus(before.cost(paid)),
            _ => {
                self.counts.unpriced += 1;
                Sum::default()
            }
        };
        self.rerouted.count(place, &call.id, change);
    }

    /// How long answers are, and what the targets behind a name cost.
    fn learn(&mut self, call: &Recorded) {
        if let Some(paid) = call.receipt.filter(|paid| paid.output_tokens > 0) {
            let answers = self.answers.entry(call.model.clone()).or_default();
            *answers = (answers.0 + 1, answers.1 + u128::from(paid.output_tokens));
        }
        for facts in &call.questions {
            let mut last = None;
            for candidate in &facts.candidates {
                if last == Some(&candidate.name) {
                    continue; // the first behind a name is who would be asked
                }
                last = Some(&candidate.name);
                match self.known.get_mut(&candidate.name) {
                    Some((newest, _)) if *newest >= call.id => {}
                    Some(known) => *known = (call.id.clone(), Priced::of(candidate)),
                    None => {
                        self.known.insert(candidate.name.clone(), (call.id.clone(), Priced::of(candidate)));
                    }
                }
            }
        }
    }

    /// Takes over what another part has found.
    pub fn merge(&mut self, other: Replay) {
        let (counts, its) = (&mut self.counts, other.counts);
        counts.decisions += its.decisions;
        counts.replayed += its.replayed;
        counts.without_facts += its.without_facts;
        counts.unreadable += its.unreadable;
        counts.masked += its.masked;
        counts.unpriced += its.unpriced;
        self.denied.merge(other.denied);
        self.allowed.merge(other.allowed);
        self.rerouted.merge(other.rerouted);
        self.duties.merge(other.duties);
        self.faults.merge(other.faults);
        for (model, (calls, tokens)) in other.answers {
            let answers = self.answers.entry(model).or_default();
            *answers = (answers.0 + calls, answers.1 + tokens);
        }
        for (key, its) in other.admitted {
            let entry = self.admitted.entry(key).or_default();
            entry.calls += its.calls;
            entry.input = entry.input.plus(its.input);
            entry.output_price = entry.output_price.or(its.output_price);
        }
        for (key, its) in other.becoming {
            let entry = self.becoming.entry(key).or_default();
            entry.calls += its.calls;
            entry.before = entry.before.plus(its.before);
            entry.paid.input = entry.paid.input.saturating_add(its.paid.input);
            entry.paid.output = entry.paid.output.saturating_add(its.paid.output);
        }
        for (name, its) in other.known {
            match self.known.get(&name) {
                Some((newest, _)) if *newest >= its.0 => {}
                _ => drop(self.known.insert(name, its)),
            }
        }
    }

    /// How many decisions were read so far.
    pub fn decisions(&self) -> u64 {
        self.counts.decisions
    }

    /// What was found.
    pub fn finish(mut self) -> Report {
        for ((place, model), becoming) in std::mem::take(&mut self.becoming) {
            match self.known.get(&model).and_then(|(_, priced)| *priced) {
                Some(priced) => {
                    let paid =
                        Paid { price: 0, input_tokens: becoming.paid.input, output_tokens: becoming.paid.output };
                    self.rerouted.also(&place, priced.cost(&paid).minus(becoming.before));
                }
                None => self.counts.unpriced += becoming.calls,
            }
        }
        let all = self.answers.values().fold((0, 0), |all: (u64, u128), it| (all.0 + it.0, all.1 + it.1));
        for ((place, _), admitted) in std::mem::take(&mut self.admitted) {
            let (answers, tokens) = self.answers.get(&place.model).copied().unwrap_or(all);
            // As many tokens as so many answers of the mean length have.
            let output = (u128::from(admitted.calls) * tokens).checked_div(u128::from(answers)).unwrap_or(0);
            let output = u64::try_from(output).unwrap_or(u64::MAX);
            let output = admitted.output_price.map_or(Sum::default(), |price| Sum::of(output, price));
            self.allowed.also(&place, admitted.input.plus(output));
        }
        let (denied, faults) = (self.denied.sum().plus(self.faults.sum()), self.rerouted.sum());
        let (rerouted, allowed) = (faults, self.allowed.sum());
        Report {
            decisions: self.counts.decisions,
            replayed: self.counts.replayed,
            without_facts: self.counts.without_facts,
            unreadable: self.counts.unreadable,
            with_masked_claims: self.counts.masked,
            newly_denied: self.denied.told_as_class(),
            newly_allowed: self.allowed.told_as_class(),
            rerouted: self.rerouted.told_as_class(),
            duties_changed: self.duties.told_as_class(),
            faults: self.faults.told_as_class(),
            money: ChangedMoney {
                saved_by_refusals_usd: Sum::default().minus(denied).to_string(),
                estimated_cost_of_allowed_usd: allowed.to_string(),
                estimated_rerouting_delta_usd: rerouted.to_string(),
                estimated_delta_usd: denied.plus(allowed).plus(rerouted).to_string(),
                calls_without_price: self.counts.unpriced,
            },
        }
    }
}

/// The candidate that comes first.
fn candidate<'a>(questions: &'a [Facts], outcome: &Outcome) -> Option<&'a Candidate> {
    let Outcome::Goes { duties, question, .. } = outcome else { return None };
    let first = duties.targets.first()?;
    questions.get(*question)?.candidates.iter().find(|candidate| candidate.target == *first)
}

fn candidate_input(questions: &[Facts], outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Goes { question, .. } => questions.get(*question).map_or(0, |facts| facts.request.input_tokens),
        Outcome::Denied(_) => 0,
    }
}

#[cfg(test)]
mod tests;
