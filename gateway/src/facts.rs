//! What rules are asked about a call: the request's shape without its text, who asks, where it could go, and what is left to spend.

use std::sync::Arc;

use policies::{
    Asked, AttributeFacts, BudgetFacts, CallerFacts, Candidate, Classified, Facts, RequestFacts, TimeFacts, intent,
};
use providers::{HealthView, Instead, ModelRequest, Offered, Shape, Target};

use crate::case::{Caller, Case};
use crate::pricing::Buyer;
use crate::refusal::Refusal;
use crate::scan::Found;
use crate::snapshot::Snapshot;

/// A call whose rules are to be asked, once or for other models too.
pub struct Question<'a> {
    pub snapshot: &'a Snapshot,
    pub caller: &'a Caller,
    pub asked: &'a ModelRequest,
    found: &'a Found,
    health: &'a HealthView,
    offered: Offered,
    /// What kind of work it seems to be; nothing of what is no conversation.
    pub seems: Option<Classified>,
}

/// A target that policy may choose, and what led to it.
pub struct Choice {
    pub target: Arc<Target>,
    /// The name that was asked for: the model, or one of the client's fallbacks.
    pub name: String,
    pub alias: bool,
    /// It is asked only for these reasons; nothing: in its turn.
    pub instead: Vec<Instead>,
}

impl<'a> Question<'a> {
    /// `input`: about how many tokens the prompt has.
    pub fn new(
        (snapshot, caller): (&'a Snapshot, &'a Caller),
        asked: &'a ModelRequest,
        found: &'a Found,
        health: &'a HealthView,
        input: u64,
    ) -> Question<'a> {
        Question { snapshot, caller, asked, found, health, offered: asked.offered(), seems: seems(asked, input) }
    }

    /// Everything that the rules may know when it is asked of this model, with these candidates.
    pub fn facts(&self, model: &str, candidates: &[Choice], case: &Case) -> Facts {
        let (credential, asked) = (&self.caller.credential, self.asked);
        let features = asked.features();
        let seems = self.seems;
        Facts {
            caller: CallerFacts {
                org: credential.org.to_string(),
                team: credential.team.map(|id| id.to_string()),
                user: credential.user.map(|id| id.to_string()),
                key: credential.key.to_string(),
                wallet: Some(credential.wallet.to_string()),
                models: credential.models.clone(),
                tags: credential.tags.clone(),
                groups: (*credential.groups).clone(),
                attributes: AttributeFacts {
                    org: (*credential.attributes.org).clone(),
                    team: (*credential.attributes.team).clone(),
                    user: (*credential.attributes.user).clone(),
                },
            },
            request: RequestFacts {
                kind: case.kind.to_owned(),
                model: model.to_owned(),
                stream: asked.stream(),
                max_output_tokens: asked.max_output(),
                input_tokens: candidates.iter().map(|choice| choice.target.input_bound(asked)).max().unwrap_or(0),
                tools: features.tools || !self.offered.tools.is_empty() || !self.offered.servers.is_empty(),
                images: features.images,
                tool_names: self.offered.tools.iter().cloned().collect(),
                mcp_servers: self.offered.servers.iter().cloned().collect(),
                intent: seems.map(|it| it.intent.as_str().to_owned()).unwrap_or_default(),
                intent_confidence: seems.map_or(0, |it| it.confidence),
                tier: seems.map_or(0, |it| it.tier),
                claims: case.claims.clone(),
            },
            candidates: candidates.iter().map(|choice| self.candidate(choice, case)).collect(),
            findings: self.found.counts.clone(),
            time: TimeFacts::at(case.at.micros().div_euclid(1_000_000)),
            budget: BudgetFacts {
                downgrade: case.downgraded,
                left_usd: case.left.map(|left| left.free.to_string()),
                left_percent: case.left.map(|left| left.percent),
            },
            hops: self.snapshot.routes.hops.clone(),
        }
    }

    fn candidate(&self, choice: &Choice, case: &Case) -> Candidate {
        let target = &choice.target;
        let listed = self.snapshot.price(target, &Buyer::new(self.caller, case.at));
        let rates = listed.map(|listed| &listed.rates);
        Candidate {
            name: choice.name.clone(),
            target: target.name.clone(),
            provider: target.provider.clone(),
            model: target.model.clone(),
            region: target.region.clone(),
            alias: choice.alias,
            price_input: rates.map(|rates| rates.input.to_string()),
            price_output: rates.map(|rates| rates.output.to_string()),
            context_tokens: target.context,
            healthy: self.health.healthy(&target.name),
        }
    }
}

/// What kind of work a conversation seems to be.
fn seems(asked: &ModelRequest, input_tokens: u64) -> Option<Classified> {
    if !asked.shape().is_chat() && asked.shape() != Shape::Completions {
        return None;
    }
    let texts = asked.texts();
    let (system, conversation): (Vec<_>, Vec<_>) = texts.iter().partition(|text| text.instructs);
    let system: Vec<&str> = system.iter().map(|text| &*text.text).collect();
    let conversation: Vec<&str> = conversation.iter().map(|text| &*text.text).collect();
    let features = asked.features();
    let says = |member: &str, word: &str| asked.member(member).is_some_and(|it| it.contains(word));
    Some(intent::classify(&Asked {
        system: &system,
        conversation: &conversation,
        tools: features.tools,
        images: features.images,
        json: features.json_schema
            || says("response_format", "json")
            || says("text", "json_")
            || says("generationConfig", "application/json"),
        input_tokens,
    }))
}

/// The targets behind the asked model and the client's own fallbacks, with whether an alias led there.
pub fn candidates(snapshot: &Snapshot, asked: &ModelRequest) -> Result<Vec<Choice>, Refusal> {
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

/// The priced targets behind another model's name. What it costs has to be known for it to be taken instead.
pub fn behind(snapshot: &Snapshot, buyer: &Buyer, model: &str) -> Vec<Choice> {
    let Some(found) = snapshot.resolve(model) else { return Vec::new() };
    let priced = found.targets.into_iter().filter(|target| snapshot.price(target, buyer).is_some());
    priced.map(|target| Choice { target, name: model.to_owned(), alias: found.alias, instead: Vec::new() }).collect()
}
