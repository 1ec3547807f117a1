//! Rules that are uploaded: kept, compared, activated, rolled back, rehearsed.

use policies::{Manifest, Pack, Source};
use serde_json::{Value, json};

use crate::world::{World, unknown};

const RULE: &str = "package alfred.rules.quiet\n\nimport rego.v1\n\n\
    deny contains {\"code\": \"policy_denied\", \"message\": \"no tools\"} if input.request.tools\n";

fn layer(scope: &str, rego: &str) -> Value {
    json!({"scope": scope, "modules": {"quiet.rego": rego}, "note": "for a test"})
}

async fn kept(world: &World, scope: &str, rego: &str) -> String {
    world.post("/policies/revisions", layer(scope, rego)).await.id()
}

async fn activate(world: &World, policy: &str) -> Value {
    let answer = world.ask("POST", &format!("/policies/revisions/{policy}/activate")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_revision_is_checked_kept_and_read_back_whole() {
    let world = World::new().await;
    let org = world.org().await;
    let made = world.post("/policies/revisions", layer(&org, RULE)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let body = made.json();
    assert_eq!((&body["scope"], &body["source"], &body["note"]), (&json!(org), &json!("upload"), &json!("for a test")));
    let id = made.id();
    let read = world.get(&format!("/policies/revisions/{id}")).await.json();
    assert_eq!((&read["modules"]["quiet.rego"], &read["data"]), (&json!(RULE), &json!({})));

    let pack = Pack::new(vec![Source::new("quiet.rego", RULE)], json!({"a": {"b": 1}}), Manifest::default());
    let path = format!("/policies/revisions?scope={org}&note=a+bundle");
    let ask = world.ask("POST", &path).header("content-type", "application/gzip");
    let sent = ask.bytes(pack.write()).send().await;
    assert_eq!(sent.status, 201, "{}", sent.text);
    assert_eq!(sent.json()["digest"], json!(hex(&pack.digest())), "the content's own digest");
    let list = world.get(&format!("/policies/revisions?scope={org}&limit=1")).await.json();
    assert_eq!(list["data"][0]["id"], json!(id));
    let rest = format!("/policies/revisions?scope={org}&cursor={}", list["next_cursor"].as_str().unwrap());
    assert_eq!(world.get(&rest).await.json()["data"][0]["note"], "a bundle");
    assert_eq!(world.get("/policies/layers").await.json()["data"], json!([]), "nothing is in force by that");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn what_cannot_be_in_force_is_refused_with_every_place() {
    let world = World::new().await;
    let org = world.org().await;
    let broken = "package alfred.rules.broken\n\nimport rego.v1\n\ndeny contains x if x = = 1\n";
    let body = json!({"scope": org, "modules": {"broken.rego": broken}, "data": {"alfred": {"nothing": 1}}});
    let answer = world.post("/policies/revisions", body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (422, &json!("invalid_policy")), "{}", answer.text);
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let syntax = errors.iter().find(|it| it["file"] == "broken.rego").unwrap();
    assert!(syntax["line"].is_number() && syntax["column"].is_number(), "{syntax}");
    assert!(errors.iter().any(|it| it["member"].as_str().unwrap().starts_with("data.alfred")), "{errors:?}");
    for (scope, status, code, member) in [
        ("house", 400, "invalid_value", Some("scope")),
        ("everyone", 400, "invalid_value", Some("scope")),
        (&unknown::<ledger::Org>(), 404, "not_found", None),
        (&unknown::<ledger::Team>(), 404, "not_found", None),
    ] {
        world.post("/policies/revisions", layer(scope, RULE)).await.is_problem(status, code, member);
    }
    for path in ["../up.rego", "/etc/x.rego", ""] {
        let answer = world.post("/policies/revisions", json!({"scope": org, "modules": {path: RULE}})).await;
        assert_eq!(answer.status, 422, "{path}: {}", answer.text);
    }
    let ask = || world.ask("POST", "/policies/revisions");
    ask().header("content-type", "application/gzip").bytes(vec![1, 2, 3]).send().await.is_problem(
        400,
        "invalid_parameter",
        Some("scope"),
    );
    ask().header("content-type", "text/plain").text("x").send().await.is_problem(415, "unsupported_media_type", None);
    let large = ask().header("content-type", "application/json").bytes(vec![b' '; 10_000_000]).send().await;
    large.is_problem(413, "request_too_large", None);
    world.post("/policies/revisions", json!({"modules": {}})).await.is_problem(400, "invalid_value", Some("scope"));
    assert_eq!(world.get("/policies/revisions").await.json()["data"], json!([]), "nothing of it was kept");
}

#[tokio::test]
async fn what_would_deny_every_call_is_not_kept() {
    let world = World::new().await;
    let org = world.org().await;
    let house = policies::PolicySet::compile(&policies::shipped(), json!({}), policies::Limits::default()).unwrap();
    world.house.rule(policies::Rulebook::new(std::sync::Arc::new(house)));
    for (contradiction, told) in [
        ("order contains [\"a/b\", \"c/d\"]\norder contains [\"c/d\", \"a/b\"]", "order"),
        ("tags contains {\"team\": \"a\"}\ntags contains {\"team\": \"b\"}", "tag"),
        ("max_cost_usd contains \"much\"", "max_cost_usd"),
    ] {
        let rego = format!("package alfred.rules.quiet\n\nimport rego.v1\n\n{contradiction}\n");
        let answer = world.post("/policies/revisions", layer(&org, &rego)).await;
        assert_eq!(answer.status, 422, "{contradiction}: {}", answer.text);
        assert!(
            answer.text.contains("a sample call cannot be decided") && answer.text.contains(told),
            "{}",
            answer.text
        );
    }
    assert_eq!(world.post("/policies/revisions", layer(&org, RULE)).await.status, 201);
}

#[tokio::test]
async fn a_layer_is_activated_compared_rolled_back_and_taken_away() {
    let world = World::new().await;
    let first = kept(&world, "platform", RULE).await;
    let second = kept(&world, "platform", &RULE.replace("no tools", "no tools at all")).await;
    assert_eq!(activate(&world, &first).await["version"], 1);
    let diff = world.get(&format!("/policies/revisions/{second}/diff")).await.json();
    assert_eq!((&diff["against"], &diff["modules"][0]["change"]), (&json!(first), &json!("changed")), "{diff}");
    let text = diff["modules"][0]["diff"].as_str().unwrap();
    assert!(text.contains("--- a/quiet.rego") && text.contains("\n+deny") && text.contains("\n-deny"), "{text}");
    let diff = world.get(&format!("/policies/revisions/{first}/diff?against={second}")).await.json();
    assert_eq!(diff["against"], json!(second));
    assert_eq!(activate(&world, &second).await["version"], 2);

    let layers = world.get("/policies/layers").await.json();
    assert_eq!((&layers["data"][0]["policy"]["id"], &layers["data"][0]["state"]), (&json!(second), &json!("pending")));
    let back = world.post("/policies/layers/platform/rollback", Value::Null).await.json();
    assert_eq!(
        (&back["version"], &back["policy_id"], &back["restores"]),
        (&json!(3), &json!(first), &json!(1)),
        "{back}"
    );
    let to = world.post("/policies/layers/platform/rollback", json!({"to": second})).await.json();
    assert_eq!((&to["version"], &to["restores"]), (&json!(4), &json!(2)), "{to}");
    let never = kept(&world, "platform", &RULE.replace("quiet", "silent")).await;
    let refused = world.post("/policies/layers/platform/rollback", json!({"to": never})).await;
    refused.is_problem(400, "invalid_value", Some("to"));

    let gone = world.ask("DELETE", "/policies/layers/platform").send().await.json();
    assert_eq!((&gone["version"], &gone["policy_id"]), (&json!(5), &Value::Null));
    assert_eq!(world.get("/policies/layers").await.json()["data"], json!([]));
    let words = world.get("/policies/layers/platform/activations?limit=4").await.json();
    let rest = format!("/policies/layers/platform/activations?cursor={}", words["next_cursor"].as_str().unwrap());
    assert_eq!(
        (words["data"][3]["version"].clone(), &world.get(&rest).await.json()["data"][0]["version"]),
        (json!(4), &json!(5))
    );

    world.post("/policies/layers/house/rollback", Value::Null).await.is_problem(409, "defined_in_file", None);
    world.ask("DELETE", "/policies/layers/house").send().await.is_problem(409, "defined_in_file", None);
    world.ask("DELETE", "/policies/layers/nobody").send().await.is_problem(404, "not_found", None);
    let org = world.org().await;
    world.ask("DELETE", &format!("/policies/layers/{org}")).send().await.is_problem(404, "not_found", None);
    world.post(&format!("/policies/layers/{org}/rollback"), Value::Null).await.is_problem(404, "not_found", None);
    let unknown = unknown::<ledger::Policy>();
    for path in ["", "/diff"] {
        world.get(&format!("/policies/revisions/{unknown}{path}")).await.is_problem(404, "not_found", None);
    }
    world.post(&format!("/policies/revisions/{unknown}/activate"), Value::Null).await.is_problem(
        404,
        "not_found",
        None,
    );
}

#[tokio::test]
async fn of_two_who_activate_after_the_same_one_the_second_is_told() {
    let world = World::new().await;
    let (first, second) =
        (kept(&world, "platform", RULE).await, kept(&world, "platform", &RULE.replace("no", "not")).await);
    let path = |policy: &str| format!("/policies/revisions/{policy}/activate");
    let once = async |policy: &str| {
        let ask = world.ask("POST", &path(policy)).header("idempotency-key", "once");
        ask.json(&json!({"after": 0})).send().await
    };
    assert_eq!((once(&first).await.id_of("version"), once(&first).await.id_of("version")), (1, 1), "a repeat");
    world.post(&path(&second), json!({"after": 0})).await.is_problem(409, "changed_meanwhile", None);
    assert_eq!(world.post(&path(&second), json!({"after": 1})).await.id_of("version"), 2);
    let make = async |rego: &str| {
        let ask = world.ask("POST", "/policies/revisions").header("idempotency-key", "twice");
        ask.json(&layer("platform", rego)).send().await
    };
    assert_eq!(make(RULE).await.id(), make(RULE).await.id());
    make(&RULE.replace("no", "nor")).await.is_problem(409, "idempotency_mismatch", None);
}

#[tokio::test]
async fn one_revision_is_rehearsed_until_none_is() {
    let world = World::new().await;
    let org = world.org().await;
    assert_eq!(world.get("/policies/shadow").await.json()["policy_id"], Value::Null);
    assert_eq!(world.ask("DELETE", "/policies/shadow").send().await.status, 200, "nothing is nothing");
    let policy = kept(&world, &org, RULE).await;
    let set = world.ask("PUT", "/policies/shadow").json(&json!({"policy_id": policy})).send().await;
    assert_eq!((set.status.as_u16(), &set.json()["policy_id"]), (200, &json!(policy)), "{}", set.text);
    assert_eq!(world.get("/policies/shadow").await.json()["policy_id"], json!(policy));
    assert_eq!(world.get("/policies/layers").await.json()["data"], json!([]), "it is not in force");
    let cleared = world.ask("DELETE", "/policies/shadow").send().await.json();
    assert_eq!(cleared["policy_id"], Value::Null);
    let unknown = json!({"policy_id": unknown::<ledger::Policy>()});
    world.ask("PUT", "/policies/shadow").json(&unknown).send().await.is_problem(404, "not_found", None);
    let told = world.audit_kinds(&org).await;
    assert_eq!(told.iter().filter(|it| *it == "POLICY_SHADOWED").count(), 2, "{told:?}");
}
