//! What rules decided: listed, read, explained, and asked again under other rules.

use std::sync::Arc;

use ledger::{Call, DecisionResult, DecisionRow, Frame, Id, Lost};
use policies::{Candidate, Decision, Facts, Kept, Mask, PolicySet, RequestFacts, Rulebook, TimeFacts};
use serde_json::{Value, json};

use crate::world::World;

struct Names;

impl Mask for Names {
    fn hash(&self, word: &str) -> String {
        format!("~{}", word.len())
    }

    fn is_known(&self, _: &str) -> bool {
        true
    }
}

fn shipped() -> Rulebook {
    let data = json!({"alfred": {}});
    let set = PolicySet::compile(&policies::shipped(), data, policies::Limits::default()).unwrap();
    Rulebook::new(Arc::new(set))
}

/// Puts a call for a model on record, as the shipped rules decide it.
async fn decided(world: &World, call: Id<Call>, org: &str, model: &str, layers: &Value) -> DecisionRow {
    let facts = Facts {
        caller: policies::CallerFacts { org: org.to_owned(), ..policies::CallerFacts::default() },
        request: RequestFacts {
            kind: "chat.completions".into(),
            model: model.into(),
            claims: [("project".to_owned(), "atlas".to_owned())].into(),
            ..RequestFacts::default()
        },
        candidates: vec![Candidate {
            target: format!("sim/{model}"),
            name: model.into(),
            provider: "sim".into(),
            model: model.into(),
            price_input: Some("1".into()),
            price_output: Some("2".into()),
            healthy: true,
            ..Candidate::default()
        }],
        time: TimeFacts::at(world.ledger.clock().now().micros() / 1_000_000),
        ..Facts::default()
    };
    let rules = shipped();
    let decision = rules.decide(&facts).decision;
    let Kept { frame, rest } = Kept::of(&facts, &Names);
    let frame = Frame::new(frame);
    let outcome = Frame::new(json!({"decisions": [decision], "layers": layers}).to_string());
    let result = match decision {
        Decision::Allow(_) => DecisionResult::Allow,
        Decision::Deny(_) => DecisionResult::Deny,
    };
    let row = DecisionRow {
        id: Id::from_uuid(call.uuid()),
        call: Some(call),
        at: world.ledger.clock().now(),
        org: org.parse().ok(),
        team: None,
        key: None,
        model: model.into(),
        revision: rules.revision().to_owned(),
        facts_hash: Some([7; 32]),
        result,
        code: None,
        target: Some(format!("sim/{model}")),
        rerouted: None,
        observed: 0,
        took_ns: 40_000,
        remembered: false,
        level: "facts".into(),
        facts: Some(json!([[frame.hash(), rest]]).to_string()),
        outcome: Some(outcome.hash().to_owned()),
        shadow: None,
        lost: None,
    };
    let now = world.ledger.clock().now();
    world.ledger.decisions().append(std::slice::from_ref(&row), &[frame, outcome], now).await.unwrap();
    row
}

fn house() -> Value {
    json!([["house", shipped().revision()]])
}

#[tokio::test]
async fn decisions_are_listed_and_read_with_what_was_asked() {
    let world = World::new().await;
    let org = world.org().await;
    let first = decided(&world, world.ledger.new_id(), &org, "small", &house()).await;
    world.ledger.clock().advance(std::time::Duration::from_secs(1));
    let lost = Some(Lost { decisions: 3, since: world.ledger.clock().now() });
    let gap = DecisionRow {
        id: world.ledger.new_id(),
        call: None,
        org: None,
        result: DecisionResult::Gap,
        facts: None,
        outcome: None,
        lost,
        ..first.clone()
    };
    world.ledger.decisions().append(std::slice::from_ref(&gap), &[], gap.at).await.unwrap();
    let all = world.get("/policies/decisions").await.json();
    assert_eq!(all["data"][0]["lost"]["decisions"], 3, "{all}");
    assert_eq!(all["data"][1]["id"], first.id.to_string());
    assert_eq!(all["data"][1]["call_id"], first.call.unwrap().to_string());
    let page = world.get("/policies/decisions?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = world.get(&format!("/policies/decisions?limit=1&cursor={cursor}")).await.json();
    assert_eq!((&next["data"][0]["id"], &next["next_cursor"]), (&json!(first.id), &Value::Null));
    for (query, found) in [
        (format!("org_id={org}"), 1),
        ("result=gap".into(), 1),
        ("result=deny".into(), 0),
        ("model=small".into(), 2),
        ("code=policy_denied".into(), 0),
        (format!("call_id={}", first.call.unwrap()), 1),
        ("differs=true".into(), 0),
        ("since=2026-06-15T12:00:01Z&until=2026-06-15T13:00:00Z".into(), 0),
        ("until=2026-06-15T13:00:00Z&result=allow".into(), 1),
    ] {
        let listed = world.get(&format!("/policies/decisions?{query}")).await.json();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(found), "{query}: {listed}");
    }
    for wrong in ["result=maybe", "differs=no", "cursor=x", "since=today", "org_id=x", "model=", "what=x"] {
        let answer = world.get(&format!("/policies/decisions?{wrong}")).await;
        answer.is_problem(400, "invalid_parameter", Some(wrong.split('=').next().unwrap()));
    }
    let whole = world.get(&format!("/policies/decisions/{}", first.id)).await.json();
    assert_eq!(whole["facts"][0]["request"]["model"], "small", "{whole}");
    assert_eq!(whole["facts"][0]["request"]["claims"]["project"], "~5", "masked");
    assert_eq!(whole["decisions"][0]["allow"]["targets"][0], "sim/small", "{whole}");
    assert_eq!(whole["layers"][0]["scope"], "house");
    let none: Id<ledger::Decision> = world.ledger.new_id();
    world.get(&format!("/policies/decisions/{none}")).await.is_problem(404, "not_found", None);
    world.get(&format!("/policies/decisions/{none}/explain")).await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_decision_is_explained_by_the_rules_that_made_it_or_not_at_all() {
    let world = World::new().await;
    let org = world.org().await;
    // The layers are not on record here, so nothing can be said.
    let row = decided(&world, world.ledger.new_id(), &org, "small", &house()).await;
    let answer = world.get(&format!("/policies/decisions/{}/explain", row.id)).await;
    answer.is_problem(409, "other_rules", None);
    world.house.rule(shipped());
    let told = world.get(&format!("/policies/decisions/{}/explain", row.id)).await.json();
    assert_eq!((&told["same"], &told["claims_masked"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(told["questions"].as_array().map(Vec::len), Some(1));
    let bare = DecisionRow { id: world.ledger.new_id(), facts: None, level: "result".into(), ..row };
    world.ledger.decisions().append(std::slice::from_ref(&bare), &[], bare.at).await.unwrap();
    world.get(&format!("/policies/decisions/{}/explain", bare.id)).await.is_problem(409, "no_facts", None);
}

#[tokio::test]
async fn a_replay_says_who_would_be_refused_and_what_that_saves() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "10"})).await;
    let key = world.key(&wallet).await;
    for (model, usd) in [("big", "0.25"), ("big", "0.5"), ("small", "0.01")] {
        let call = world.charged(&key, usd).await;
        decided(&world, call.parse().unwrap(), &org, model, &house()).await;
    }
    let frozen = "package alfred.rules.standstill\nimport rego.v1\n\
        deny contains {\"code\": \"policy_denied\", \"message\": \"big is frozen\"} if input.request.model == \"big\"\n";
    let candidate = json!({"scope": org, "modules": {"freeze.rego": frozen}});
    let report = world.post("/policies/replay", json!({"candidate": candidate, "org_id": org})).await.json();
    assert_eq!((&report["decisions"], &report["replayed"]), (&json!(3), &json!(3)), "{report}");
    assert_eq!(report["newly_denied"]["calls"], 2, "{report}");
    assert_eq!(report["newly_denied"]["by_model"]["big"]["charge_delta_usd"], "-0.75");
    assert_eq!(report["newly_denied"]["reasons"]["big is frozen"], 2);
    assert_eq!(report["newly_denied"]["examples"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["money"]["saved_by_refusals_usd"], "0.75");
    assert_eq!(report["money"]["estimated_delta_usd"], "-0.75");
    assert_ne!(report["live_revision"], report["candidate_revision"]);
    let one = world.post("/policies/replay", json!({"candidate": candidate, "last": 1})).await.json();
    assert_eq!(one["decisions"], 1, "{one}");
    let trail = world.get(&format!("/audit?org_id={org}&kind=POLICY_REPLAYED")).await.json();
    assert_eq!(trail["data"][0]["decisions"], 3, "{trail}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said_with_its_place() {
    let world = World::new().await;
    let broken =
        json!({"scope": "platform", "modules": {"x.rego": "package alfred.rules.x\nimport rego.v1\ndeny contains"}});
    for (candidate, more, member) in [
        (json!({}), json!({}), "candidate"),
        (json!({"revision_id": "pol_1"}), json!({}), "candidate"),
        (json!({"revision_id": "pol_1", "scope": "platform"}), json!({}), "candidate"),
        (json!({"revision_id": "pol_1", "data": {}}), json!({}), "candidate"),
        (json!({"scope": "nobody"}), json!({}), "candidate.scope"),
        (broken.clone(), json!({}), "candidate"),
        (json!({"scope": "platform"}), json!({"last": 0}), "last"),
        (json!({"scope": "platform"}), json!({"last": 100_001}), "last"),
        (json!({"scope": "platform"}), json!({"since": "now"}), "since"),
        (json!({"scope": "platform", "what": 1}), json!({}), "candidate.what"),
    ] {
        let mut body = json!({"candidate": candidate});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/policies/replay", body).await.is_problem(400, "invalid_value", Some(member));
    }
    let told = world.post("/policies/replay", json!({"candidate": broken})).await;
    assert!(told.text.contains("x.rego:3"), "{}", told.text);
}
