//! What holds for every route there is: it is authorized, a write is audited and in force, and every fault is a problem.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::world::{ADMIN, World};

/// Every operation of the document: method, path template, operation id.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&admin_api::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(_, it)| it.is_object()) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            operations.push((method.to_uppercase(), path.clone(), id));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_refuses_whoever_has_no_admin_key() {
    let world = World::new().await;
    let operations = operations();
    assert!(operations.len() >= 25, "{operations:?}");
    let (public, operations): (Vec<_>, Vec<_>) =
        operations.into_iter().partition(|(_, path, _)| path == "/openapi.json");
    assert_eq!(public.len(), 1, "only the document is for everybody");
    assert_eq!(world.ask("GET", "/openapi.json").bare().await.status, 200);
    for (method, path, _) in &operations {
        let path = path.replace("{id}", "org_00000000000000000000000000000000");
        world.ask(method, &path).bare().await.is_problem(401, "unauthorized", None);
        for wrong in [
            "Bearer wrong",
            "Bearer",
            "Bearer ",
            "Basic Zm9v",
            ADMIN,
            &format!("Bearer {ADMIN}x"),
            &format!("Token {ADMIN}"),
        ] {
            let answer = world.ask(method, &path).header("authorization", wrong).bare().await;
            answer.is_problem(401, "unauthorized", None);
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"alfred admin\"", "{method} {path}");
        }
    }
    assert_eq!(world.house.failures.load(Ordering::SeqCst), operations.len() * 8, "each failure is reported");
    world.ask("GET", "/no/such/route").bare().await.is_problem(401, "unauthorized", None);
}

#[tokio::test]
async fn a_key_is_read_in_any_spelling_of_the_scheme_but_only_once() {
    let world = World::new().await;
    for spelling in [format!("bearer {ADMIN}"), format!("BEARER   {ADMIN}")] {
        assert_eq!(world.ask("GET", "/orgs").header("authorization", &spelling).bare().await.status, 200, "{spelling}");
    }
    let twice = world.ask("GET", "/orgs").header("authorization", "Bearer x").send().await;
    twice.is_problem(401, "unauthorized", None);
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits_and_a_valid_key_never_does() {
    let world = World::new().await;
    world.house.throttles.store(true, Ordering::SeqCst);
    let answer = world.ask("GET", "/orgs").header("authorization", "Bearer wrong").bare().await;
    answer.is_problem(429, "rate_limit_exceeded", None);
    assert_eq!(answer.headers["retry-after"], "7");
    assert_eq!(world.get("/orgs").await.status, 200);
}

#[tokio::test]
async fn operators_that_cannot_be_confirmed_let_nobody_in() {
    let world = World::new().await;
    world.house.forget_operators();
    world.get("/orgs").await.is_problem(503, "unavailable", None);
}

#[tokio::test]
async fn what_no_route_takes_is_a_problem() {
    let world = World::new().await;
    world.get("/no/such/route").await.is_problem(404, "not_found", None);
    let answer = world.ask("DELETE", "/orgs").send().await;
    answer.is_problem(405, "method_not_allowed", None);
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

/// One example of each write: what it answers, and the audit entry that it leaves.
async fn example(world: &World, operation: &str, org: &str) -> Option<&'static str> {
    let wallet = async || world.wallet(org, json!({"funding": "prepaid"})).await;
    let once = format!("example of {operation}");
    let (method, path, body, kind) = match operation {
        "create_org" => ("POST", "/orgs".into(), json!({"name": "Acme"}), "ORG_CREATED"),
        "change_org" => ("PATCH", format!("/orgs/{org}"), json!({"attributes": {"class": "bank"}}), "ORG_CHANGED"),
        "create_team" => ("POST", "/teams".into(), json!({"org_id": org, "name": "Search"}), "TEAM_CREATED"),
        "change_team" => {
            let team = world.post("/teams", json!({"org_id": org, "name": "Search"})).await.id();
            ("PATCH", format!("/teams/{team}"), json!({"rpm": 60}), "TEAM_CHANGED")
        }
        "create_user" => ("POST", "/users".into(), json!({"org_id": org, "name": "Ada"}), "USER_CREATED"),
        "change_user" => {
            let user = world.post("/users", json!({"org_id": org, "name": "Ada"})).await.id();
            ("PATCH", format!("/users/{user}"), json!({"groups": ["staff"]}), "USER_CHANGED")
        }
        "create_wallet" => {
            ("POST", "/wallets".into(), json!({"org_id": org, "name": "Purse", "kind": "org"}), "WALLET_CREATED")
        }
        "change_wallet" => {
            ("PATCH", format!("/wallets/{}", wallet().await), json!({"status": "suspended"}), "WALLET_CHANGED")
        }
        "set_wallet_breaker" => {
            ("PUT", format!("/wallets/{}/breaker", wallet().await), json!({"mode": "suspend"}), "BREAKER_SET")
        }
        "redeliver_alert" => {
            let alert = world.alert(org).await;
            ("POST", format!("/alerts/{alert}/redeliver"), json!({}), "ALERT_REDELIVERED")
        }
        "fund_wallet" => {
            let body = json!({"amount_usd": "5", "source": "test", "reference": "1"});
            ("POST", format!("/wallets/{}/fund", wallet().await), body, "FUND")
        }
        "create_key" => ("POST", "/keys".into(), json!({"name": "app", "wallet_id": wallet().await}), "KEY_CREATED"),
        "change_key" => {
            let path = format!("/keys/{}", world.key(&wallet().await).await);
            ("PATCH", path, json!({"tags": {"team": "ads"}}), "KEY_CHANGED")
        }
        "rotate_key" => {
            ("POST", format!("/keys/{}/rotate", world.key(&wallet().await).await), json!({}), "KEY_ROTATED")
        }
        "revoke_key" => ("DELETE", format!("/keys/{}", world.key(&wallet().await).await), json!({}), "KEY_REVOKED"),
        "refund_request" => {
            let key = world.key(&world.wallet(org, json!({})).await).await;
            let call = world.charged(&key, "0.5").await;
            ("POST", format!("/requests/{call}/refund"), json!({"reason": "a test"}), "REFUND")
        }
        "correct_request" => {
            let call = world.charged(&world.key(&world.wallet(org, json!({})).await).await, "0.5").await;
            let body = json!({"reason": "a test", "price_usd": "0.4", "cost_usd": "0.3"});
            ("POST", format!("/requests/{call}/correct"), body, "ADJUST")
        }
        "confirm_request" => {
            let call = world.expired(&world.key(&world.wallet(org, json!({})).await).await, "0.5").await;
            ("POST", format!("/requests/{call}/confirm"), Value::Null, "CONFIRM")
        }
        "create_charge" => {
            let body = json!({"wallet_id": world.wallet(org, json!({})).await, "price_usd": "1", "reason": "a test",
                              "source": "tests", "reference": "1"});
            ("POST", "/charges".into(), body, "CHARGE")
        }
        "create_reconciliation" => {
            let body = Value::from("date,model,cost_usd\n2026-06-15,gpt-4o,1.5\n");
            ("POST", "/reconciliations?provider=sim".into(), body, "RECONCILED")
        }
        "create_price" => {
            let body = json!({"org_id": org, "target": "openai/x", "rates": {"input": "1", "output": "2"}, "source": "a test"});
            ("POST", "/prices".into(), body, "PRICE_CREATED")
        }
        "import_prices" => {
            let model =
                json!({"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6});
            ("POST", format!("/prices/import?org_id={org}"), json!({"gpt-x": model}), "PRICES_IMPORTED")
        }
        "rerate_price" => {
            let price =
                json!({"org_id": org, "target": "sim/*", "rates": {"input": "1", "output": "2"}, "source": "a test"});
            let price = world.post("/prices", price).await.id();
            let period = json!({"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"});
            ("POST", format!("/prices/{price}/rerate"), period, "PRICE_RERATED")
        }
        "set_markup" => ("POST", "/markups".into(), json!({"org_id": org, "markup": "1.2"}), "MARKUP_SET"),
        "set_org_pricing" => {
            let body = json!({"unpriced": "default", "default_rates": {"input": "9", "output": "9"}});
            ("PUT", format!("/orgs/{org}/pricing"), body, "ORG_PRICING_SET")
        }
        "create_provider" => ("POST", "/providers".into(), json!({"id": org, "kind": "sim"}), "PROVIDER_CREATED"),
        "change_provider" => {
            world.post("/providers", json!({"id": org, "kind": "sim"})).await.id_of("version");
            ("PATCH", format!("/providers/{org}"), json!({"region": "eu"}), "PROVIDER_CHANGED")
        }
        "delete_provider" => {
            world.post("/providers", json!({"id": org, "kind": "sim"})).await.id_of("version");
            ("DELETE", format!("/providers/{org}"), json!({}), "PROVIDER_DELETED")
        }
        "roll_back_provider" => {
            world.post("/providers", json!({"id": org, "kind": "sim"})).await.id_of("version");
            world.ask("DELETE", &format!("/providers/{org}")).send().await;
            ("POST", format!("/providers/{org}/rollback"), json!({"version": 1}), "PROVIDER_CREATED")
        }
        "create_model" => ("POST", "/models".into(), json!({"id": org, "targets": ["sim/echo"]}), "MODEL_CREATED"),
        "change_model" => {
            world.post("/models", json!({"id": org, "targets": ["sim/echo"]})).await.id_of("version");
            ("PATCH", format!("/models/{org}"), json!({"targets": ["sim/other"]}), "MODEL_CHANGED")
        }
        "delete_model" => {
            world.post("/models", json!({"id": org, "targets": ["sim/echo"]})).await.id_of("version");
            ("DELETE", format!("/models/{org}"), json!({}), "MODEL_DELETED")
        }
        "roll_back_model" => {
            world.post("/models", json!({"id": org, "targets": ["sim/echo"]})).await.id_of("version");
            world.patch(&format!("/models/{org}"), json!({"targets": ["sim/other"]})).await;
            ("POST", format!("/models/{org}/rollback"), json!({"version": 1}), "MODEL_CHANGED")
        }
        "decide_approval" => {
            let approval = world.approval(org).await;
            ("POST", format!("/approvals/{approval}/decide"), json!({"decision": "approve"}), "APPROVAL_GRANTED")
        }
        "create_operator" => {
            ("POST", "/operators".into(), json!({"name": "Ada", "role": "auditor"}), "OPERATOR_CREATED")
        }
        "revoke_operator" => {
            let operator = world.operator(json!({"role": "auditor"})).await.0;
            ("DELETE", format!("/operators/{operator}"), json!({}), "OPERATOR_REVOKED")
        }
        "replay_decisions" => {
            let body = json!({"candidate": {"scope": "platform"}, "org_id": org});
            ("POST", "/policies/replay".into(), body, "POLICY_REPLAYED")
        }
        "reload_config" => ("POST", "/config/reload".into(), Value::Null, "CONFIG_RELOADED"),
        _ => return None,
    };
    let before = world.house.refreshes.load(Ordering::SeqCst);
    let ask = world.ask(method, &path).header("idempotency-key", &once);
    let ask = match body.as_str() {
        Some(file) => ask.header("content-type", "text/csv").text(file),
        None => ask.json(&body),
    };
    let answer = ask.send().await;
    assert!(answer.status.is_success(), "{operation}: {} {}", answer.status, answer.text);
    assert_eq!(world.house.refreshes.load(Ordering::SeqCst), before + 1, "{operation} is in force when it is answered");
    Some(kind)
}

#[tokio::test]
async fn every_write_leaves_an_audit_entry_and_is_in_force_when_it_is_answered() {
    let world = World::new().await;
    let operator = world.ledger.tenants().credentials().await.unwrap().operators[0].id.to_string();
    for (method, path, operation) in operations().into_iter().filter(|(method, ..)| method != "GET") {
        let org = world.org().await;
        let Some(kind) = example(&world, &operation, &org).await else {
            panic!("{method} {path} needs an example here: what does it leave in the audit log?");
        };
        let org = match operation.as_str() {
            "create_org" => {
                world.get("/orgs?limit=1000").await.json()["data"].as_array().unwrap().last().unwrap()["id"].clone()
            }
            _ => Value::from(org),
        };
        let chain = match operation.as_str() {
            // Of no organisation.
            "create_reconciliation" => "/audit?limit=1000".to_owned(),
            it if ["_provider", "_model", "_config", "_operator"].iter().any(|end| it.ends_with(end)) => {
                "/audit?limit=1000".to_owned()
            }
            _ => format!("/audit?org_id={}", org.as_str().unwrap()),
        };
        let entries = world.get(&chain).await.json();
        let last = entries["data"].as_array().unwrap().last().cloned().unwrap_or_default();
        assert_eq!(last["kind"], kind, "{method} {path}: {entries}");
        assert_eq!(last["actor"], operator, "{method} {path}: {last}");
    }
}

#[tokio::test]
async fn reading_and_failing_put_nothing_into_force() {
    let world = World::new().await;
    world.get("/orgs").await;
    world.post("/orgs", json!({})).await;
    assert_eq!(world.house.refreshes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn mounted_under_a_path_it_is_the_same() {
    let mut world = World::new().await;
    world.mount("/admin/v1");
    world.ask("GET", "/admin/v1/orgs").bare().await.is_problem(401, "unauthorized", None);
    world.ask("GET", "/admin/v1/nothing").bare().await.is_problem(401, "unauthorized", None);
    world.get("/admin/v1/nothing").await.is_problem(404, "not_found", None);
    world.get("/admin/v1/orgs/").await.is_problem(404, "not_found", None);
    world.ask("PUT", "/admin/v1/orgs").send().await.is_problem(405, "method_not_allowed", None);
    let org = world.post("/admin/v1/orgs", json!({"name": "Acme"})).await.id();
    assert_eq!(world.get(&format!("/admin/v1/orgs/{org}")).await.json()["name"], "Acme");
    assert_eq!(world.house.refreshes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_role_may_do_what_it_is_for_on_every_route_there_is() {
    let world = World::new().await;
    let id = "org_00000000000000000000000000000000";
    let keys = [
        ("admin", world.operator(json!({})).await.1),
        ("approver", world.operator(json!({"role": "approver"})).await.1),
        ("auditor", world.operator(json!({"role": "auditor"})).await.1),
    ];
    let (mut told, before) = (0, world.ledger.revision().borrow().revision);
    for (method, path, operation) in operations() {
        for (role, key) in &keys {
            let may = match (*role, operation.as_str()) {
                ("admin", _) | (_, "openapi") => true,
                ("approver", it) => ["list_approvals", "get_approval", "decide_approval"].contains(&it),
                _ => method == "GET",
            };
            let asked = path.replace("{id}", id).replace("{scope}", id);
            // Nothing that a write could be made of: whoever may, is told so.
            let bearer = format!("Bearer {key}");
            let answer = world.ask(&method, &asked).header("authorization", &bearer).json(&json!(7)).bare().await;
            if may {
                assert_ne!(answer.status, 403, "{role} may {method} {path}: {}", answer.text);
            } else {
                answer.is_problem(403, "forbidden", None);
                assert!(answer.text.contains(role), "{}", answer.text);
                told += 1;
            }
        }
    }
    assert!(told > 60, "{told}");
    for (role, key) in &keys[1..] {
        let bearer = format!("Bearer {key}");
        for (method, path) in [("POST", "/approvals"), ("DELETE", "/approvals/x"), ("PUT", "/approvals/x/decide")] {
            let answer = world.ask(method, path).header("authorization", &bearer).bare().await;
            assert_eq!(answer.status, 403, "{role} {method} {path}: what there is not is for nobody but admins");
        }
    }
    // A reload is a write that needs no body; whoever may not has changed nothing.
    assert_eq!(world.ledger.revision().borrow().revision, before);
}
