//! Organisations, teams, people and wallets.

use ledger::{Money, Org};
use serde_json::{Value, json};

use crate::world::{NOW, World, unknown};

#[tokio::test]
async fn a_tenant_is_built_from_the_org_down_and_reads_back() {
    let world = World::new().await;
    let org = world.post("/orgs", json!({"name": "Acme"})).await;
    assert_eq!(org.status, 201);
    assert_eq!(org.json()["name"], "Acme");
    let org = org.id();
    assert!(org.starts_with("org_"));
    let team = world.post("/teams", json!({"org_id": org, "name": "Search"})).await.id();
    let body = json!({"org_id": org, "name": "Ada", "email": "ada@example.com", "team_ids": [team]});
    let user = world.post("/users", body).await.id();
    let root = json!({"org_id": org, "name": "All", "kind": "org", "hard_limit_usd": "100.00", "window": "month"});
    let root = world.post("/wallets", root).await.id();
    let wallet = json!({"org_id": org, "name": "Search", "kind": "team", "team_id": team, "parent_id": root,
        "hard_limit_usd": "10.5", "soft_limit_usd": "8", "window": "day", "funding": "budget"});
    let wallet = world.post("/wallets", wallet).await;
    assert_eq!(wallet.status, 201);
    let wallet = wallet.id();

    assert_eq!(world.get(&format!("/orgs/{org}")).await.json()["id"], org);
    assert_eq!(world.get(&format!("/teams/{team}")).await.json()["org_id"], org);
    let ada = world.get(&format!("/users/{user}")).await.json();
    assert_eq!((&ada["email"], &ada["team_ids"]), (&json!("ada@example.com"), &json!([team])));
    assert_eq!(world.get(&format!("/users?org_id={org}")).await.json()["data"], json!([ada]));
    let expected = json!({
        "id": wallet, "org_id": org, "name": "Search", "kind": "team", "parent_id": root, "team_id": team, "user_id": null,
        "status": "active", "suspended_by": null, "breaker": {"mode": "alert", "minimum_usd": "1", "ratio": 5, "deviations": 6,
        "cool_down_seconds": 900, "state": "closed", "since": null, "until": null, "allowance_usd": null},
        "hard_limit_usd": "10.5", "soft_limit_usd": "8", "funding": "budget", "funded_usd": "0",
        "spent_usd": "0", "held_usd": "0", "available_usd": "10.5", "window": "day",
        "window_start": "2026-06-15T00:00:00.000000Z", "resets_at": "2026-06-16T00:00:00.000000Z",
        "soft_thresholds": [], "soft_action": "warn", "time_zone": "UTC", "anchor_day": null, "anchor_weekday": null,
        "models": null, "tags": null, "under_id": null, "closed_at": null,
        "created_at": "2026-06-15T12:00:00.000000Z",
    });
    assert_eq!(world.get(&format!("/wallets/{wallet}")).await.json(), expected);
    let listed = world.get(&format!("/wallets?org_id={org}")).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert!(listed["next_cursor"].is_null());
    let other = world.org().await;
    assert_eq!(world.get(&format!("/wallets?org_id={other}")).await.json()["data"], json!([]));
    let kinds = ["ORG_CREATED", "TEAM_CREATED", "USER_CREATED", "WALLET_CREATED", "WALLET_CREATED"];
    assert_eq!(world.audit_kinds(&org).await, kinds);
}

#[tokio::test]
async fn a_wallet_changes_only_in_what_is_said() {
    let world = World::new().await;
    let org = world.org().await;
    let id = world.wallet(&org, json!({"hard_limit_usd": "10", "soft_limit_usd": "5", "window": "month"})).await;
    let path = format!("/wallets/{id}");
    for (change, member, value) in [
        (json!({"hard_limit_usd": "20"}), "hard_limit_usd", json!("20")),
        (json!({"status": "suspended"}), "status", json!("suspended")),
        (json!({"status": "active"}), "status", json!("active")),
        (json!({"window": "week"}), "window", json!("week")),
        (json!({"name": "Other"}), "name", json!("Other")),
        (json!({"hard_limit_usd": "1"}), "hard_limit_usd", json!("1")),
        (json!({"soft_limit_usd": null}), "soft_limit_usd", Value::Null),
        (json!({"hard_limit_usd": null}), "hard_limit_usd", Value::Null),
        (json!({}), "hard_limit_usd", Value::Null),
    ] {
        let before = world.get(&path).await.json();
        let answer = world.patch(&path, change.clone()).await;
        assert_eq!(answer.status, 200, "{change}: {}", answer.text);
        let after = answer.json();
        assert_eq!(after[member], value, "{change}");
        assert_eq!(after, world.get(&path).await.json(), "{change}");
        for other in ["funding", "kind", "parent_id", "org_id"] {
            assert_eq!(after[other], before[other], "{change} leaves {other} alone");
        }
    }
    let entries = world.get(&format!("/audit?org_id={org}&kind=WALLET_CHANGED")).await.json();
    let entries = entries["data"].as_array().unwrap();
    assert_eq!(entries.len(), 8, "what changes nothing is not told");
    assert_eq!(
        (&entries[0]["from"]["hard_limit_usd"], &entries[0]["to"]["hard_limit_usd"]),
        (&json!("10"), &json!("20"))
    );
    assert!(!format!("{entries:?}").contains("Other"), "no names in the log");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = World::new().await;
    let unknown = unknown::<Org>();
    let digits = unknown.strip_prefix("org_").unwrap();
    for path in ["/orgs/org_", "/teams/team_", "/users/usr_", "/wallets/wal_", "/keys/key_", "/requests/req_"] {
        world.get(&format!("{path}{digits}")).await.is_problem(404, "not_found", None);
        world.get(&format!("{path}1")).await.is_problem(404, "not_found", None);
    }
    world.get(&format!("/orgs/wal_{digits}")).await.is_problem(404, "not_found", None);
    world.get(&format!("/wallets/wal_{digits}/entries")).await.is_problem(404, "not_found", None);
    world.patch(&format!("/wallets/wal_{digits}"), json!({"status": "active"})).await.is_problem(
        404,
        "not_found",
        None,
    );
    world.get(&format!("/audit?org_id={unknown}")).await.is_problem(404, "not_found", None);
    world.get(&format!("/audit/export?org_id={unknown}")).await.is_problem(404, "not_found", None);
    world.ask("DELETE", &format!("/keys/key_{digits}")).send().await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn the_log_names_nobody() {
    let world = World::new().await;
    let org = world.post("/orgs", json!({"name": "Wonderland Ltd"})).await.id();
    world.post("/users", json!({"org_id": org, "name": "Alice Liddell", "email": "alice@wonder.land"})).await.id();
    let wallet = world.wallet(&org, json!({"name": "Tea party"})).await;
    world.post("/keys", json!({"name": "Hatter", "wallet_id": wallet})).await.id();
    let export = world.get(&format!("/audit/export?org_id={org}&format=jsonl")).await;
    assert_eq!(export.headers["content-type"], "application/jsonl");
    assert_eq!(export.text.lines().count(), 4);
    for name in ["Wonderland", "Alice", "wonder.land", "Tea", "Hatter"] {
        assert!(!export.text.contains(name), "{name} in {}", export.text);
    }
    let lines: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, seq) in lines.iter().zip(1..) {
        assert_eq!(line["seq"], seq);
        for member in ["at", "kind", "actor", "prev_hash", "hash"] {
            assert!(line[member].is_string(), "{member} of {line}");
        }
    }
    assert!(lines.windows(2).all(|pair| pair[0]["hash"] == pair[1]["prev_hash"]));
    assert_eq!(lines[0]["at"], NOW.replace('Z', ".000000Z"));
}

#[tokio::test]
async fn the_platform_has_a_chain_of_its_own() {
    let world = World::new().await;
    let entries = world.get("/audit").await.json();
    assert_eq!(entries["data"][0]["kind"], "OPERATOR_CREATED");
    assert_eq!(world.get("/audit/export").await.text.lines().count(), 1);
    world.get("/audit/export?format=csv").await.is_problem(400, "invalid_parameter", Some("format"));
}

#[tokio::test]
async fn the_smallest_and_the_largest_limits_are_kept_exactly() {
    let world = World::new().await;
    let org = world.org().await;
    for limit in ["0", "0.000000001", "9223372036.854775807"] {
        let wallet = world.wallet(&org, json!({"hard_limit_usd": limit})).await;
        assert_eq!(world.get(&format!("/wallets/{wallet}")).await.json()["hard_limit_usd"], limit);
        assert!(limit.parse::<Money>().is_ok());
    }
}

#[tokio::test]
async fn a_team_has_limits_that_change() {
    let world = World::new().await;
    let org = world.org().await;
    let made =
        world.post("/teams", json!({"org_id": org, "name": "Search", "rpm": 60, "max_parallel_requests": 4})).await;
    let told = |body: &Value| ["name", "rpm", "tpm", "max_parallel_requests"].map(|it| body[it].clone());
    assert_eq!(told(&made.json()), [json!("Search"), json!(60), Value::Null, json!(4)], "{}", made.text);
    let path = format!("/teams/{}", made.id());
    for (change, expected) in [
        (json!({"rpm": null, "tpm": 1000}), [json!("Search"), Value::Null, json!(1000), json!(4)]),
        (json!({"name": "Find"}), [json!("Find"), Value::Null, json!(1000), json!(4)]),
        (json!({}), [json!("Find"), Value::Null, json!(1000), json!(4)]),
    ] {
        assert_eq!(told(&world.patch(&path, change).await.json()), expected);
        assert_eq!(told(&world.get(&path).await.json()), expected);
    }
    for (body, member) in [
        (json!({"rpm": 0}), "rpm"),
        (json!({"tpm": -1}), "tpm"),
        (json!({"max_parallel_requests": 100_001}), "max_parallel_requests"),
        (json!({"name": null}), "name"),
        (json!({"org_id": org}), "org_id"),
    ] {
        world.patch(&path, body).await.is_problem(400, "invalid_value", Some(member));
    }
    world.patch("/teams/team_00000000000000000000000000000000", json!({"rpm": 1})).await.is_problem(
        404,
        "not_found",
        None,
    );
    let kinds = world.audit_kinds(&org).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "TEAM_CHANGED").count(), 2);
}

#[tokio::test]
async fn attributes_and_groups_are_said_and_changed() {
    let world = World::new().await;
    let org = world.post("/orgs", json!({"name": "Acme", "attributes": {"sector": "bank"}})).await;
    assert_eq!(org.json()["attributes"], json!({"sector": "bank"}));
    let org = org.id();
    let body = json!({"org_id": org, "name": "Ada", "groups": ["staff"], "attributes": {"level": "2"}});
    let user = world.post("/users", body).await;
    assert_eq!((&user.json()["groups"], &user.json()["attributes"]), (&json!(["staff"]), &json!({"level": "2"})));
    let team = world.post("/teams", json!({"org_id": org, "name": "Desk", "attributes": {"desk": "7"}})).await.id();
    for (path, change, member, value) in [
        (
            format!("/orgs/{org}"),
            json!({"attributes": {"sector": "school"}}),
            "attributes",
            json!({"sector": "school"}),
        ),
        (format!("/orgs/{org}"), json!({"name": "Other"}), "name", json!("Other")),
        (format!("/orgs/{org}"), json!({"attributes": null}), "attributes", json!({})),
        (format!("/teams/{team}"), json!({"attributes": {"desk": "8"}}), "attributes", json!({"desk": "8"})),
        (format!("/users/{}", user.id()), json!({"groups": ["b", "a"]}), "groups", json!(["a", "b"])),
        (format!("/users/{}", user.id()), json!({"team_ids": [team]}), "team_ids", json!([team])),
        (format!("/users/{}", user.id()), json!({"groups": null}), "groups", json!([])),
    ] {
        let answer = world.patch(&path, change.clone()).await;
        assert_eq!(answer.status, 200, "{change}: {}", answer.text);
        assert_eq!(answer.json()[member], value, "{change}");
        assert_eq!(world.get(&path).await.json(), answer.json(), "{change}");
    }
    for (path, body, member) in [
        (format!("/orgs/{org}"), json!({"attributes": {"n": "v".repeat(257)}}), "attributes"),
        (format!("/orgs/{org}"), json!({"attributes": {"n": 1}}), "attributes.n"),
        (format!("/orgs/{org}"), json!({"name": null}), "name"),
        (format!("/users/{}", user.id()), json!({"groups": ["a", "a"]}), "groups"),
        (format!("/users/{}", user.id()), json!({"email": "nobody"}), "email"),
    ] {
        world.patch(&path, body).await.is_problem(400, "invalid_value", Some(member));
    }
}
