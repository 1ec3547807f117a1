//! Facts as the interpreter's own values, without a detour through text. The members are those of the facts' JSON; a
//! test holds the two together.

use std::collections::BTreeMap;

use regorus::Value;

use crate::{AttributeFacts, BudgetFacts, CallerFacts, Candidate, Facts, RequestFacts, TimeFacts};

type Members = Vec<(&'static str, Value)>;

/// The input document of one call.
pub(crate) fn input(facts: &Facts) -> Value {
    let Facts { caller, request, candidates, findings, time, budget, hops } = facts;
    object(vec![
        ("caller", caller_value(caller)),
        ("request", request_value(request)),
        ("candidates", candidates.iter().map(candidate_value).collect::<Vec<_>>().into()),
        ("findings", map(findings, |count| Value::from(*count))),
        ("time", time_value(time)),
        ("budget", budget_value(budget)),
        ("hops", map(hops, text)),
    ])
}

fn budget_value(facts: &BudgetFacts) -> Value {
    let BudgetFacts { downgrade, left_usd, left_percent } = facts;
    let mut members = vec![("downgrade", Value::from(*downgrade))];
    optional(&mut members, "left_usd", left_usd, text);
    optional(&mut members, "left_percent", left_percent, |percent| Value::from(u64::from(*percent)));
    object(members)
}

fn caller_value(facts: &CallerFacts) -> Value {
    let CallerFacts { org, team, user, key, wallet, models, tags, groups, attributes } = facts;
    let AttributeFacts { org: of_org, team: of_team, user: of_user } = attributes;
    let mut members = vec![
        ("org", text(org)),
        ("key", text(key)),
        ("tags", map(tags, text)),
        ("groups", texts(groups)),
        (
            "attributes",
            object(vec![("org", map(of_org, text)), ("team", map(of_team, text)), ("user", map(of_user, text))]),
        ),
        ("models", models.as_ref().map_or(Value::Null, |models| texts(models))),
    ];
    optional(&mut members, "team", team, text);
    optional(&mut members, "user", user, text);
    optional(&mut members, "wallet", wallet, text);
    object(members)
}

fn request_value(facts: &RequestFacts) -> Value {
    let RequestFacts { kind, model, stream, max_output_tokens, input_tokens, tools, images, claims, .. } = facts;
    let RequestFacts { tool_names, mcp_servers, intent, intent_confidence, tier, .. } = facts;
    let mut members = vec![
        ("kind", text(kind)),
        ("model", text(model)),
        ("stream", Value::from(*stream)),
        ("input_tokens", Value::from(*input_tokens)),
        ("tools", Value::from(*tools)),
        ("images", Value::from(*images)),
        ("tool_names", texts(tool_names)),
        ("mcp_servers", texts(mcp_servers)),
        ("intent", text(intent)),
        ("intent_confidence", Value::from(u64::from(*intent_confidence))),
        ("tier", Value::from(u64::from(*tier))),
        ("claims", map(claims, text)),
    ];
    optional(&mut members, "max_output_tokens", max_output_tokens, |cap| Value::from(*cap));
    object(members)
}

fn candidate_value(facts: &Candidate) -> Value {
    let Candidate { target, name, provider, model, region, alias, price_input, price_output, context_tokens, healthy } =
        facts;
    let mut members = vec![
        ("target", text(target)),
        ("name", text(name)),
        ("provider", text(provider)),
        ("model", text(model)),
        ("region", text(region)),
        ("alias", Value::from(*alias)),
        ("healthy", Value::from(*healthy)),
    ];
    optional(&mut members, "price_input", price_input, text);
    optional(&mut members, "price_output", price_output, text);
    optional(&mut members, "context_tokens", context_tokens, |tokens| Value::from(*tokens));
    object(members)
}

fn time_value(facts: &TimeFacts) -> Value {
    let TimeFacts { unix_seconds, weekday, hour } = facts;
    object(vec![
        ("unix_seconds", Value::from(*unix_seconds)),
        ("weekday", text(weekday)),
        ("hour", Value::from(u64::from(*hour))),
    ])
}

fn texts(all: &[String]) -> Value {
    all.iter().map(text).collect::<Vec<_>>().into()
}

fn text<T: AsRef<str>>(text: &T) -> Value {
    Value::from(text.as_ref())
}

fn optional<T>(members: &mut Members, name: &'static str, fact: &Option<T>, value: impl Fn(&T) -> Value) {
    members.extend(fact.as_ref().map(|fact| (name, value(fact))));
}

fn object(members: Members) -> Value {
    members.into_iter().map(|(name, value)| (Value::from(name), value)).collect::<BTreeMap<_, _>>().into()
}

fn map<T>(facts: &BTreeMap<String, T>, value: impl Fn(&T) -> Value) -> Value {
    facts.iter().map(|(name, fact)| (text(name), value(fact))).collect::<BTreeMap<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_read_what_the_schema_says() {
        for facts in [Facts::default(), crate::engine::sample()] {
            assert_eq!(input(&facts), Value::from(serde_json::to_value(&facts).unwrap()), "{facts:?}");
        }
    }
}
