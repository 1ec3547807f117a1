//! What a model is, as its caller may know it: limits, kinds of content, what it can be asked for, and what that caller pays.

use providers::{Ability, Target, Task};
use serde_json::{Value, json};

use crate::pricing::Buyer;
use crate::snapshot::Snapshot;

/// A model of the list. What nobody has said stays unknown.
pub struct Card {
    id: String,
    owned_by: String,
    facts: Option<Facts>,
    /// What this caller pays, in dollars per million tokens, or apiece.
    pricing: Option<Value>,
}

struct Facts {
    context: Option<u64>,
    max_output: Option<u64>,
    takes: Vec<&'static str>,
    gives: Vec<&'static str>,
    tasks: Vec<&'static str>,
    parameters: Vec<&'static str>,
}

impl Card {
    /// The model of this name. Of several targets it is the preferred one that is described: the first that has a price.
    pub fn of(snapshot: &Snapshot, buyer: &Buyer, name: &str) -> Card {
        let targets = snapshot.resolve(name).map_or_else(Vec::new, |found| found.targets);
        let priced = targets.iter().find_map(|target| Some((target, snapshot.price(target, buyer)?)));
        let Some(target) = priced.map(|it| it.0).or(targets.first()) else {
            return Card { id: name.to_owned(), owned_by: String::new(), facts: None, pricing: None };
        };
        let pricing = priced.map(|(target, listed)| {
            let shown = listed.rates.with_markup(snapshot.markup(target, buyer, name));
            // How a provider bills who hangs up is between it and us.
            let shown = ledger::Rates { hidden_output: None, bills_after_cancel: None, ..shown };
            serde_json::to_value(shown).unwrap_or_default()
        });
        Card { id: name.to_owned(), owned_by: target.provider.clone(), facts: Some(Facts::of(target)), pricing }
    }

    /// OpenAI's object, with more members beside its own.
    pub fn openai(&self) -> Value {
        let mut card = json!({"id": self.id, "object": "model", "created": 0, "owned_by": self.owned_by});
        let Some(facts) = &self.facts else { return card };
        card["context_length"] = json!(facts.context);
        card["max_output_tokens"] = json!(facts.max_output);
        card["input_modalities"] = json!(facts.takes);
        card["output_modalities"] = json!(facts.gives);
        card["supported_parameters"] = json!(facts.parameters);
        card["tasks"] = json!(facts.tasks);
        card["pricing"] = json!(self.pricing);
        card
    }

    /// Anthropic's object. Nobody says when a model was made: its clients take the beginning of time for that.
    pub fn anthropic(&self) -> Value {
        let mut card = json!({
            "type": "model", "id": self.id, "display_name": self.id, "created_at": "1970-01-01T00:00:00Z",
        });
        if let Some(facts) = &self.facts {
            card["max_input_tokens"] = json!(facts.context);
            card["max_tokens"] = json!(facts.max_output);
        }
        card
    }
}

impl Facts {
    fn of(target: &Target) -> Facts {
        let usual = [Task::Chat];
        let tasks = if target.tasks.is_empty() { &usual[..] } else { &target.tasks };
        let can = |ability| target.can(ability);
        let parameters = [
            (target.tools == Some(true) && tasks.contains(&Task::Chat), &["tools", "tool_choice"][..]),
            (can(Ability::JsonSchema), &["response_format"][..]),
            (can(Ability::Reasoning), &["reasoning_effort"][..]),
        ];
        Facts {
            context: target.context,
            max_output: target.max_output,
            takes: target.input_modalities(),
            gives: target.output_modalities(),
            tasks: tasks.iter().map(|task| task.as_str()).collect(),
            parameters: parameters.into_iter().filter(|(has, _)| *has).flat_map(|(_, names)| names).copied().collect(),
        }
    }
}
