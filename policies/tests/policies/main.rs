//! What an operator and the gateway can notice of the policies, through their public face.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

mod bombs;
mod compose;
mod faults;
mod intent;
mod library;
mod lint;
mod pack;
mod refused;
mod schema;
mod shipped;
mod signed;

use std::collections::BTreeMap;

use policies::{
    BudgetFacts, CallerFacts, Candidate, Code, Decision, Facts, Limits, Obligations, PolicySet, RequestFacts, Source,
    TimeFacts, shipped as shipped_sources,
};
use serde_json::Value;

/// Three candidates behind one alias, an e-mail address and a phone number found.
pub fn facts() -> Facts {
    let candidate = |target: &str, region: &str| Candidate {
        context_tokens: None,
        target: target.into(),
        name: "gpt-4o".into(),
        provider: target.split('/').next().unwrap().into(),
        model: "gpt-4o".into(),
        region: region.into(),
        alias: true,
        price_input: Some("2.50".into()),
        price_output: Some("10.00".into()),
        healthy: true,
    };
    Facts {
        hops: Default::default(),
        caller: CallerFacts {
            org: "org_1".into(),
            team: Some("team_1".into()),
            user: None,
            key: "key_1".into(),
            wallet: Some("wal_1".into()),
            models: None,
            groups: Vec::new(),
            attributes: Default::default(),
            tags: BTreeMap::from([("team".into(), "ads".into())]),
        },
        request: RequestFacts {
            tool_names: Vec::new(),
            mcp_servers: Vec::new(),
            intent: "chat".into(),
            intent_confidence: 50,
            tier: 1,
            kind: "chat.completions".into(),
            model: "gpt-4o".into(),
            stream: true,
            max_output_tokens: None,
            input_tokens: 420,
            tools: false,
            images: false,
            claims: BTreeMap::from([("feature".into(), "rank".into())]),
        },
        candidates: vec![
            candidate("openai/gpt-4o", "us"),
            candidate("azure-eu/gpt-4o", "eu"),
            candidate("azure-ch/gpt-4o", "ch"),
        ],
        findings: BTreeMap::from([("email".into(), 2), ("phone".into(), 1)]),
        time: TimeFacts::at(1_795_180_814),
        budget: BudgetFacts::default(),
    }
}

/// The shipped rules with some data and modules added.
pub fn policy(alfred: Value, added: &[&str]) -> PolicySet {
    let data = serde_json::json!({ "alfred": alfred });
    let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
    PolicySet::compile(&with(added), data, limits).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The shipped modules and others, named `added/0.rego`, ….
pub fn with(added: &[&str]) -> Vec<Source> {
    let added = added.iter().enumerate().map(|(at, text)| Source::new(format!("added/{at}.rego"), *text));
    shipped_sources().into_iter().chain(added).collect()
}

pub fn allowed(decision: Decision) -> Obligations {
    match decision {
        Decision::Allow(obligations) => obligations,
        Decision::Deny(reasons) => panic!("denied: {reasons:?}"),
    }
}

/// The codes of a denial.
pub fn denied(decision: Decision) -> Vec<Code> {
    match decision {
        Decision::Allow(obligations) => panic!("allowed: {obligations:?}"),
        Decision::Deny(reasons) => reasons.into_iter().map(|reason| reason.code).collect(),
    }
}

/// The message of a fault.
pub fn fault(decision: Decision) -> String {
    match decision {
        Decision::Deny(reasons) if reasons.len() == 1 && reasons[0].code == Code::PolicyFault => {
            reasons[0].message.clone()
        }
        other => panic!("no fault: {other:?}"),
    }
}
