//! The log can be checked by anybody, and bent by nobody without being found out.

use std::path::{Path, PathBuf};
use std::process::Command;

use qa::tools::run_alfred;
use qa::world::{Plan, Setup, Tenant, World, hello};
use serde_json::{Value, json};

/// A tenant with some of everything in its log.
async fn history(world: &World) -> Tenant {
    let tenant = world.tenant(Plan::new().levels(4).hard("0.0006").soft("0.0001")).await;
    for _ in 0..3 {
        world.chat(&tenant.key, &hello("counted")).await.expect(200);
    }
    assert_eq!(world.chat(&tenant.key, &hello("counted")).await.status, 429);
    tenant
}

fn verify(file: &Path) -> (i32, String) {
    let (code, out, err) = run_alfred(&["audit", "verify", file.to_str().expect("UTF-8")]);
    (code, out + &err)
}

fn bent(world: &World, name: &str, text: &str) -> PathBuf {
    let file = world.folder().join(name);
    std::fs::write(&file, text).expect("a file");
    file
}

#[tokio::test]
async fn an_export_verifies_and_every_entry_says_what_it_must() {
    let world = Setup::new().on_sqlite().start().await;
    let tenant = history(&world).await;
    let (file, text) = world.export(&tenant.org).await;
    let (code, said) = verify(&file);
    assert_eq!(code, 0, "{said}");
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect();
    assert!(entries.len() > 10, "{text}");
    for (index, entry) in entries.iter().enumerate() {
        for member in ["seq", "at", "kind", "actor", "prev_hash", "hash"] {
            assert!(!entry[member].is_null(), "no {member} in {entry}");
        }
        if index > 0 {
            assert_eq!(entry["prev_hash"], entries[index - 1]["hash"]);
        }
    }
    let kinds: Vec<&str> = entries.iter().filter_map(|e| e["kind"].as_str()).collect();
    for kind in ["WARN", "BLOCK"] {
        assert_eq!(kinds.iter().filter(|k| **k == kind).count(), 1, "{kinds:?}");
    }
    assert!(text.contains("first/counted") && text.contains("configured order"), "a settle tells target and reason");
    // The admin's own reading is the same log.
    let read = world.audit(&tenant.org).await;
    assert_eq!(read.len(), entries.len());
    assert_eq!(read.last().map(|e| &e["hash"]), entries.last().map(|e| &e["hash"]));
    // Names are not in it: ids only.
    assert!(!text.contains("Acme") && !text.contains("Search"), "{text}");
}

#[tokio::test]
async fn a_changed_byte_is_found_with_its_line() {
    let world = Setup::new().on_sqlite().start().await;
    let tenant = history(&world).await;
    let (_, text) = world.export(&tenant.org).await;
    let lines: Vec<&str> = text.lines().collect();
    // A digit somewhere in each line, and one in its hash.
    for (index, line) in lines.iter().enumerate() {
        for part in ["\"at\":", "\"hash\":"] {
            let at = line.find(part).expect("a member") + part.len();
            let digit = at + line[at..].find(|c: char| c.is_ascii_digit()).expect("a digit");
            let other = if &line[digit..=digit] == "7" { "8" } else { "7" };
            let changed = format!("{}{other}{}", &line[..digit], &line[digit + 1..]);
            let mut all = lines.clone();
            all[index] = &changed;
            let (code, said) = verify(&bent(&world, "bent.jsonl", &(all.join("\n") + "\n")));
            assert_eq!(code, 1, "{said}");
            assert!(said.contains(&format!("line {}", index + 1)), "changed line {}: {said}", index + 1);
        }
    }
}

type Bend<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;

#[tokio::test]
async fn removed_reordered_repeated_and_foreign_lines_are_found() {
    let world = Setup::new().on_sqlite().start().await;
    let [tenant, other] = [history(&world).await, history(&world).await];
    let (_, text) = world.export(&tenant.org).await;
    let (_, foreign) = world.export(&other.org).await;
    let lines: Vec<&str> = text.lines().collect();
    let foreign: Vec<&str> = foreign.lines().collect();
    let bends: Vec<(&str, usize, Bend)> = vec![
        ("removed", 4, Box::new(|all| drop(all.remove(3)))),
        ("reordered", 4, Box::new(|all| all.swap(3, 4))),
        ("repeated", 5, Box::new(|all| all.insert(4, all[3].clone()))),
        ("the first removed", 1, Box::new(|all| drop(all.remove(0)))),
        ("foreign", 4, Box::new(|all| all[3] = foreign[3].to_owned())),
        ("garbled", 4, Box::new(|all| all[3] = "not json".to_owned())),
        ("emptied", 4, Box::new(|all| all[3] = "{}".to_owned())),
    ];
    for (name, line, bend) in bends {
        let mut all: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        bend(&mut all);
        let (code, said) = verify(&bent(&world, "bent.jsonl", &(all.join("\n") + "\n")));
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains(&format!("line {line}")), "{name}: {said}");
    }
    assert_ne!(verify(&world.folder().join("absent.jsonl")).0, 0);
}

#[tokio::test]
async fn sqlite_refuses_to_change_what_was_logged() {
    let world = Setup::new().on_sqlite().start().await;
    history(&world).await;
    let sql = |statement: &str| {
        let done = Command::new("sqlite3").arg(world.database_file()).arg(".timeout 5000").arg(statement).output();
        let done = done.expect("sqlite3 runs");
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    let before = sql("SELECT count(*), max(seq), group_concat(hex(hash)) FROM audit_log").1;
    for statement in BENDS.iter().chain(&[
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
        "REPLACE INTO audit_log SELECT * FROM audit_log LIMIT 1",
        "PRAGMA recursive_triggers = 0; INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 2",
    ]) {
        let (fine, _, error) = sql(statement);
        assert!(!fine && !error.is_empty(), "{statement}: {error}");
    }
    assert_eq!(sql("SELECT count(*), max(seq), group_concat(hex(hash)) FROM audit_log").1, before);
}

/// Ways to bend the log that every database must refuse.
const BENDS: [&str; 4] = [
    "UPDATE audit_log SET entry = '{}'",
    "UPDATE audit_log SET seq = seq + 1000 WHERE seq = 1",
    "DELETE FROM audit_log",
    "INSERT INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
];

#[tokio::test]
async fn postgres_refuses_to_change_what_was_logged() {
    let world = Setup::new().on_postgres().start().await;
    history(&world).await;
    let database = qa::postgres::name_of(&world.database);
    let server = qa::postgres::server();
    let state = "SELECT count(*), max(seq), md5(string_agg(entry, ',' ORDER BY chain, seq)) FROM audit_log";
    let before = server.psql(database, state).expect("a reading");
    for statement in BENDS.iter().chain(&[
        "TRUNCATE audit_log",
        "TRUNCATE audit_log CASCADE",
        "INSERT INTO audit_log SELECT * FROM audit_log WHERE seq = 1 ON CONFLICT (chain, seq) DO UPDATE SET entry = '{}'",
    ]) {
        let done = server.psql(database, statement);
        assert!(done.is_err(), "{statement}: {done:?}");
    }
    assert_eq!(server.psql(database, state).expect("a reading"), before);
}

#[tokio::test]
async fn a_log_bent_in_the_database_itself_is_found_in_its_export() {
    let mut world = Setup::new().on_sqlite().start().await;
    let tenant = history(&world).await;
    world.stop().await;
    // Somebody with the file and no scruples: triggers dropped, a price made smaller.
    let file = world.database_file();
    let sql = |statement: &str| {
        let done = Command::new("sqlite3").arg(&file).arg(statement).output().expect("sqlite3 runs");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    for trigger in sql("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'").lines() {
        sql(&format!("DROP TRIGGER {trigger}"));
    }
    sql("UPDATE audit_log SET entry = replace(entry, '0.00005', '0.00004') WHERE entry LIKE '%\"0.00005\"%'");
    world.restart().await;
    let (export, _) = world.export(&tenant.org).await;
    let (code, said) = verify(&export);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("line "), "{said}");
}

#[tokio::test]
async fn changes_by_operators_are_in_the_log_with_their_actor() {
    let world = Setup::new().on_sqlite().start().await;
    let tenant = world.rich().await;
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"status": "suspended"})).await;
    world.admin("DELETE", &format!("/keys/{}", tenant.key_id), Value::Null).await;
    let entries = world.audit(&tenant.org).await;
    for thing in [&tenant.org, &tenant.team, &tenant.wallet, &tenant.key_id] {
        let about: Vec<&Value> = entries.iter().filter(|e| e.to_string().contains(thing.as_str())).collect();
        assert!(!about.is_empty(), "nothing about {thing}");
        assert!(about.iter().any(|e| e["actor"].to_string().contains("adm_")), "{about:?}");
    }
    let text = json!(entries).to_string();
    assert!(!text.contains(&tenant.key) && !text.contains("canary"));
}
