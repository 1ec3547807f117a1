//! Lists by cursor.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn pages_hold_every_row_once() {
    let world = World::new().await;
    let org = world.org().await;
    for n in 0..7 {
        if n % 2 == 0 {
            world.ledger.clock().advance(std::time::Duration::from_millis(1)); // some rows are of one age
        }
        let wallet = world.wallet(&org, json!({})).await;
        world.key(&wallet).await;
        world.post("/teams", json!({"org_id": org, "name": "T"})).await.id();
        world.post("/users", json!({"org_id": org, "name": "U"})).await.id();
    }
    let scope = format!("org_id={org}");
    for (path, scope, rows) in [
        ("/teams", &scope, 7),
        ("/users", &scope, 7),
        ("/wallets", &scope, 7),
        ("/keys", &scope, 7),
        ("/audit", &scope, 29),
        ("/orgs", &String::new(), 1),
    ] {
        let whole = world.get(&format!("{path}?{scope}&limit=1000")).await.json();
        assert_eq!(whole["data"].as_array().unwrap().len(), rows, "{path}");
        assert!(whole["next_cursor"].is_null(), "{path}");
        for limit in [1, 3, 7] {
            let mut seen: Vec<Value> = Vec::new();
            let mut query = format!("{scope}&limit={limit}");
            loop {
                let page = world.get(&format!("{path}?{query}")).await.json();
                let data = page["data"].as_array().unwrap();
                assert!(data.len() <= limit && !data.is_empty(), "{path}: {page}");
                seen.extend(data.iter().cloned());
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                query = format!("{scope}&limit={limit}&cursor={cursor}");
            }
            assert_eq!(Value::from(seen), whole["data"], "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn what_is_no_page_is_told_by_its_parameter() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({})).await;
    let entries = format!("/wallets/{wallet}/entries");
    for path in ["/orgs", "/teams", "/users", "/wallets", "/keys", "/requests", "/audit", &entries] {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("cursor=", "cursor"),
            ("cursor=nonsense", "cursor"),
            ("cursor=-5", "cursor"),
            ("cursor=99999999999999999999", "cursor"),
            ("colour=red", "colour"),
        ] {
            world.get(&format!("{path}?{query}")).await.is_problem(400, "invalid_parameter", Some(name));
        }
    }
    for path in ["/teams", "/users", "/wallets", "/keys", "/requests", "/audit", "/audit/export"] {
        world.get(&format!("{path}?org_id=acme")).await.is_problem(400, "invalid_parameter", Some("org_id"));
    }
    for kind in ["", "%00", "a-b"] {
        world.get(&format!("/audit?kind={kind}")).await.is_problem(400, "invalid_parameter", Some("kind"));
    }
    world.get("/audit?since=yesterday").await.is_problem(400, "invalid_parameter", Some("since"));
}

#[tokio::test]
async fn an_export_of_many_pages_is_whole() {
    let world = World::new().await;
    let org = world.org().await;
    let entry = || ledger::Entry::new(Some(org.parse().unwrap()), "TEST", ledger::Actor::System);
    let recorded = futures_util::future::join_all((0..1_200).map(|_| world.ledger.record(entry()))).await;
    assert!(recorded.iter().all(Result::is_ok));
    let export = world.get(&format!("/audit/export?org_id={org}&format=jsonl")).await;
    let lines: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1_201);
    assert!(export.text.ends_with('\n'));
    assert!(lines.windows(2).all(|pair| pair[0]["hash"] == pair[1]["prev_hash"]));
    let page = world.get(&format!("/audit?org_id={org}&kind=TEST&limit=2&cursor=1000")).await.json();
    assert_eq!(page["data"], json!([lines[1_000], lines[1_001]]), "a page tells what the export tells");
}
