//! The decision log: what rules decided of each call is on record, can be explained, rehearsed and replayed, and repeats nothing of what
//! anybody wrote.

use std::time::{Duration, Instant};

use qa::check::refused;
use qa::world::{Process, Setup, World, hello};
use serde_json::{Value, json};

const FREEZE: &str = "package alfred.rules.standstill\n\nimport rego.v1\n\n\
    deny contains {\"code\": \"policy_denied\", \"message\": \"the freeze is on\"} if input.request.model == \"chat\"\n";

/// Decisions, once there are so many: they are written a moment after the call.
async fn decisions(world: &World, query: &str, most: usize) -> Vec<Value> {
    let from = Instant::now();
    loop {
        let found = world.list(&format!("/policies/decisions?{query}")).await;
        if found.len() >= most || from.elapsed() > Duration::from_secs(30) {
            assert_eq!(found.len(), most, "{query}: {found:?}");
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn upload(world: &World, scope: &str, rego: &str) -> String {
    let body = json!({"scope": scope, "modules": {"freeze.rego": rego}});
    qa::world::id(&world.admin("POST", "/policies/revisions", body).await)
}

#[tokio::test]
async fn every_call_has_its_decision_on_record_and_nothing_of_what_was_written() {
    let rego = "package alfred.rules.mine\nimport rego.v1\n\
        deny contains {\"code\": \"policy_denied\", \"message\": message} if {\n\
        \tinput.request.claims.project == \"CLAIMCANARY\"\n\
        \tmessage := sprintf(\"not for %s\", [input.request.claims.project])\n}\n\
        reroute contains \"steady\" if input.request.model == \"free\"\n";
    let folder = tempfile::tempdir().expect("a folder").keep();
    std::fs::write(folder.join("mine.rego"), rego).expect("a file");
    let world = Setup::new().on_sqlite().with(|config| config["policies"]["dir"] = json!(folder)).start().await;
    let tenant = world.rich().await;
    let mut body = hello("chat");
    body["messages"][0]["content"] = json!("PROMPTCANARY says hello");
    let allowed = world.chat(&tenant.key, &body).await.expect(200).must("x-request-id").to_owned();
    body["metadata"] = json!({"project": "CLAIMCANARY"});
    let denied = world.chat(&tenant.key, &body).await;
    refused(&denied, 403, "permission_error", "policy_denied");
    let rerouted = world.chat(&tenant.key, &hello("free")).await.expect(200).must("x-request-id").to_owned();
    let found = decisions(&world, &format!("org_id={}", tenant.org), 3).await;
    let of = |call: &str| found.iter().find(|it| it["call_id"] == call).unwrap_or_else(|| panic!("{call}: {found:?}"));
    assert_eq!((&of(&allowed)["result"], &of(&allowed)["model"]), (&json!("allow"), &json!("chat")));
    let denied = of(denied.must("x-request-id"));
    assert_eq!((&denied["result"], &denied["code"]), (&json!("deny"), &json!("policy_denied")));
    assert_eq!((&of(&rerouted)["model"], &of(&rerouted)["rerouted_to"]), (&json!("free"), &json!("steady")));
    assert!(found.iter().all(|it| it["took_ns"].as_i64().is_some_and(|took| took > 0)), "{found:?}");
    for (row, questions) in [(of(&allowed), 1), (denied, 1), (of(&rerouted), 2)] {
        let id = row["id"].as_str().expect("an id");
        let whole = world.admin("GET", &format!("/policies/decisions/{id}"), Value::Null).await;
        assert_eq!(whole["facts"].as_array().map(Vec::len), Some(questions), "{whole}");
        let text = whole.to_string();
        assert!(!text.contains("CANARY"), "{text}");
        let told = world.admin("GET", &format!("/policies/decisions/{id}/explain"), Value::Null).await;
        assert_eq!(told["same"], true, "{told}");
    }
    // In the file too: the prompt nowhere at all, and claims in receipts alone.
    let tables = ["decisions", "decision_frames"];
    assert!(!rows_of(&world.database_file(), &tables).contains("CANARY"));
    let file = std::fs::read(world.database_file()).expect("the database");
    let log = std::fs::read(world.database_file().with_extension("db-wal")).unwrap_or_default();
    for bytes in [file, log] {
        assert!(!bytes.windows(12).any(|some| some == b"PROMPTCANARY"));
    }
}

/// Everything in some tables, as a text.
fn rows_of(file: &std::path::Path, tables: &[&str]) -> String {
    let database = rusqlite::Connection::open(file).expect("the database");
    let mut all = String::new();
    for table in tables {
        let mut rows = database.prepare(&format!("SELECT * FROM {table}")).expect("a table");
        let columns = rows.column_count();
        let mut rows = rows.query([]).expect("rows");
        let mut found = 0;
        while let Some(row) = rows.next().expect("a row") {
            found += 1;
            for column in 0..columns {
                all.push_str(&format!("{:?} ", row.get_ref(column).expect("a value")));
            }
        }
        assert!(found > 0, "{table} is empty");
    }
    all
}

#[tokio::test]
async fn a_refusal_is_explained_with_file_and_line() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let policy = upload(&world, &tenant.org, FREEZE).await;
    world.admin("POST", &format!("/policies/revisions/{policy}/activate"), Value::Null).await;
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    let row = decisions(&world, &format!("org_id={}&result=deny", tenant.org), 1).await.remove(0);
    let path = format!("/policies/decisions/{}/explain", row["id"].as_str().expect("an id"));
    let live = world.admin("GET", &path, Value::Null).await;
    // Other rules are in force by then: those of the decision come from the record.
    world.admin("DELETE", &format!("/policies/layers/{}", tenant.org), Value::Null).await;
    let later = world.admin("GET", &path, Value::Null).await;
    for told in [live, later] {
        assert_eq!(told["same"], true, "{told}");
        let text = told.to_string();
        assert!(text.contains("freeze.rego") && text.contains("\"line\":5"), "{text}");
        assert!(text.contains("the freeze is on"), "{text}");
    }
}

#[tokio::test]
async fn a_shadow_is_counted_and_listed_and_has_no_effect() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let policy = upload(&world, &tenant.org, FREEZE).await;
    world.admin("PUT", "/policies/shadow", json!({"policy_id": policy})).await;
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    world.chat(&tenant.key, &hello("steady")).await.expect(200);
    decisions(&world, &format!("org_id={}", tenant.org), 2).await;
    let found = decisions(&world, &format!("org_id={}&differs=true", tenant.org), 1).await;
    assert_eq!(found[0]["result"], "allow");
    let shadow = &found[0]["shadow"];
    let told = (&shadow["revision_id"], &shadow["result"], &shadow["differs"]);
    assert_eq!(told, (&json!(policy), &json!("deny"), &json!("denied")));
    let page = world.http.send("GET", &format!("{}/metrics", world.url()), &[], String::new()).await.expect("metrics");
    let page = page.text();
    assert!(page.contains("alfred_policy_shadow_differences_total{kind=\"denied\"} 1"), "{page}");
    assert!(page.contains("alfred_decision_log_dropped_total 0"), "{page}");
}

#[tokio::test]
async fn a_replay_shows_who_would_be_refused_and_what_it_saves() {
    let world = Setup::new().on_sqlite().start().await;
    let tenant = world.rich().await;
    let mut charged = 0;
    for model in ["chat", "chat", "steady"] {
        let call = world.chat(&tenant.key, &hello(model)).await.expect(200).must("x-request-id").to_owned();
        let receipt = world.receipt_when(&call, |it| it["status"] == "settled").await;
        if model == "chat" {
            charged += qa::check::usd(&receipt, "price_usd");
        }
    }
    assert!(charged > 0, "what costs nothing saves nothing");
    decisions(&world, &format!("org_id={}", tenant.org), 3).await;
    let candidate = json!({"scope": tenant.org, "modules": {"freeze.rego": FREEZE}});
    let report = world.admin("POST", "/policies/replay", json!({"candidate": candidate})).await;
    assert_eq!((&report["replayed"], &report["newly_denied"]["calls"]), (&json!(3), &json!(2)), "{report}");
    assert_eq!(qa::check::usd(&report["money"], "saved_by_refusals_usd"), charged);
    assert_eq!(report["newly_denied"]["by_model"]["chat"]["calls"], 2);

    // The command says the same beside the running process, of a folder of rules.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("freeze.rego"), FREEZE).expect("a file");
    let config = world.folder().join("replay.yaml");
    std::fs::write(&config, format!("database: {{ url: \"{}\" }}\n", world.database)).expect("a file");
    let (dir, config) = (folder.path().display().to_string(), config.display().to_string());
    let arguments = ["policy", "replay", "--config", &config, "--dir", &dir, "--scope", &tenant.org, "--json"];
    let mut command = Process::spawn(&arguments, &[], world.folder(), "");
    assert_eq!(command.ended().await, Some(0), "{}", command.log());
    let said = command.log();
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(told["newly_denied"]["calls"], 2, "{told}");
    assert_eq!(told["money"]["saved_by_refusals_usd"], report["money"]["saved_by_refusals_usd"]);
}

/// `make bench-replay`: as many recorded decisions as `ALFRED_REPLAY` says, each with its receipt, copied from a few real ones.
#[tokio::test]
#[ignore = "takes minutes: make bench-replay"]
async fn a_million_decisions_are_replayed_in_two_minutes() {
    let most: u64 = std::env::var("ALFRED_REPLAY").ok().and_then(|it| it.parse().ok()).unwrap_or(1_000_000);
    let mut world = Setup::new().on_sqlite().start().await;
    let tenant = world.rich().await;
    for model in ["chat", "steady"] {
        world.chat(&tenant.key, &hello(model)).await.expect(200);
    }
    decisions(&world, &format!("org_id={}", tenant.org), 2).await;
    world.stop().await;
    let file = world.database_file();
    let database = rusqlite::Connection::open(&file).expect("the database");
    for (table, key, prefix) in [("receipts", "call_id", "req_"), ("decisions", "id", "dec_")] {
        let mut about = database.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).expect("a table");
        let columns: Vec<String> =
            about.query_map([], |row| row.get(0)).expect("columns").map(Result::unwrap).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).filter(|it| *it != "seq").collect();
        // The same thing with another number: twelve digits of time, then where it stands.
        let number = format!("'{prefix}' || printf('%012x', 1700000000000 + i / 1000) || printf('7%019x', i)");
        let values: Vec<&str> = columns.iter().map(|it| if *it == key { number.as_str() } else { it }).collect();
        let sql = format!(
            "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {most} / 2)
             INSERT INTO {table} ({}) SELECT {} FROM
               (SELECT n.i * 2 + t.at AS i, t.* FROM n, (SELECT ROW_NUMBER() OVER () - 1 AS at, * FROM {table} LIMIT 2) t)",
            columns.join(", "),
            values.join(", ")
        );
        database.execute(&sql, []).unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    drop(database);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("freeze.rego"), FREEZE).expect("a file");
    let config = world.folder().join("replay.yaml");
    std::fs::write(&config, format!("database: {{ url: \"{}\" }}\n", world.database)).expect("a file");
    let (dir, config) = (folder.path().display().to_string(), config.display().to_string());
    let began = Instant::now();
    let arguments = ["policy", "replay", "--config", &config, "--dir", &dir];
    let mut command = Process::spawn(&arguments, &[], world.folder(), "");
    while !command.log().contains("in all, estimated") {
        assert!(began.elapsed() < Duration::from_secs(900), "{}", command.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(command.ended().await, Some(0));
    let said = command.log();
    println!("{said}{:.1} s in all", began.elapsed().as_secs_f64());
    assert!(said.contains(&format!("{} asked again", most + 2)), "{said}");
}
