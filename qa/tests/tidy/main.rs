//! Fences: who may import whom, where a library lives, twins of migrations, and nothing of one machine in the tree.
//! The table is that of docs/architecture.md; a change here is a change of the plan of the house.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use qa::tools::{must_run, repository};
use serde_json::Value;

const HOUSE: [&str; 7] = ["admin-api", "gateway", "ledger", "policies", "providers", "qa", "safety"];
const LEAVES: [&str; 4] = ["ledger", "policies", "providers", "safety"];

/// What a crate of ours may depend on among ours.
fn arrows(from: &str) -> Vec<&'static str> {
    match from {
        "admin-api" => LEAVES.to_vec(),
        "gateway" => [&LEAVES[..], &["admin-api"]].concat(),
        "qa" => HOUSE.to_vec(),
        _ => Vec::new(),
    }
}

/// Libraries that live in certain rooms only. `qa` may use any: it is never shipped.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["ledger"]),
    ("rusqlite", &["ledger"]),
    ("chrono-tz", &["ledger"]),
    ("ed25519-dalek", &["ledger"]),
    ("regorus", &["policies"]),
    ("tiktoken-rs", &["providers"]),
    ("aws-sigv4", &["providers"]),
    ("aws-credential-types", &["providers"]),
    ("vaultrs", &["providers"]),
    ("hyper-rustls", &["providers"]),
    ("tokio-tungstenite", &["providers"]),
    ("aws-lc-rs", &["policies", "providers"]),
    ("flate2", &["policies"]),
    ("tar", &["policies"]),
    ("regex-automata", &["safety"]),
    ("aho-corasick", &["safety"]),
    ("phonenumber", &["safety"]),
    ("similar", &["admin-api"]),
    ("openidconnect", &["admin-api"]),
    ("scim_v2", &["admin-api"]),
    ("utoipa", &["admin-api", "gateway"]),
    ("utoipa-axum", &["admin-api", "gateway"]),
    ("axum", &["admin-api", "gateway"]),
    ("tower-http", &["gateway", "admin-api"]),
    ("governor", &["gateway"]),
    ("tower_governor", &["gateway", "admin-api"]),
    ("metrics-exporter-prometheus", &["gateway"]),
    ("opentelemetry-otlp", &["gateway"]),
    ("opentelemetry-proto", &["gateway"]),
    ("prost", &["gateway"]),
    ("fastembed", &["gateway"]),
    ("qdrant-client", &["gateway"]),
    ("reqwest", &["admin-api", "gateway"]),
    ("lettre", &["gateway"]),
    ("redis", &["gateway"]),
    ("ort", &["gateway", "safety"]),
    ("fail", &["ledger", "gateway"]),
    ("rand", &[]),
    ("anyhow", &[]),
    ("openssl", &[]),
];

/// Test libraries, which nothing that is shipped may carry.
const TESTS_ONLY: [&str; 4] = ["insta", "proptest", "tempfile", "qa"];

struct Dependency {
    name: String,
    kind: String,
}

fn members() -> BTreeMap<String, Vec<Dependency>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(repository());
    let said = must_run(&mut cargo);
    let metadata: Value = serde_json::from_str(&said[said.find('{').expect("JSON")..]).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().into_iter().flatten();
            let all = all.map(|d| Dependency { name: text(&d["name"]), kind: text(&d["kind"]) });
            (text(&package["name"]), all.collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_plan_of_the_house_allows() {
    let members = members();
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(names, HOUSE, "an eighth crate is a new plan");
    for (from, dependencies) in &members {
        let allowed = arrows(from);
        for to in dependencies.iter().filter(|d| HOUSE.contains(&d.name.as_str()) && d.kind != "dev") {
            assert!(allowed.contains(&to.name.as_str()), "{from} must not import {}", to.name);
        }
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (from, dependencies) in members().iter().filter(|(from, _)| *from != "qa") {
        for library in dependencies.iter().filter(|d| d.kind != "dev") {
            let home = HOMES.iter().find(|(name, _)| *name == library.name);
            let allowed = home.is_none_or(|(_, homes)| homes.contains(&from.as_str()));
            assert!(allowed, "{} does not live in {from}", library.name);
            assert!(!TESTS_ONLY.contains(&library.name.as_str()), "{from} ships {}", library.name);
        }
    }
}

#[test]
fn the_black_box_stays_black() {
    // The suites judge the gateway from outside: they must not lean on its insides.
    let members = members();
    let inside = ["gateway", "admin-api", "policies", "providers", "safety"];
    // One suite holds the engine of rules itself against another one (tests/policy), and asks no gateway.
    let is_engine = |d: &Dependency| d.name == "policies" && d.kind == "dev";
    let leaning = members["qa"].iter().find(|d| inside.contains(&d.name.as_str()) && !is_engine(d));
    assert!(leaning.is_none(), "qa leans on {:?}", leaning.map(|d| &d.name));
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn migrations_are_twins() {
    let folder = repository().join("ledger/migrations");
    let [sqlite, postgres] = ["sqlite", "postgres"].map(|name| names_in(&folder.join(name)));
    assert_eq!(sqlite, postgres);
    assert!(!sqlite.is_empty());
    let numbers: Vec<&str> = sqlite.iter().filter_map(|name| name.split_once('_')).map(|(number, _)| number).collect();
    let wanted: Vec<String> = (1..=numbers.len()).map(|number| format!("{number:04}")).collect();
    assert_eq!(numbers, wanted, "numbered without gaps");
}

/// Everything that is, or is about to be, committed.
fn tree() -> Vec<PathBuf> {
    let root = repository();
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"]).current_dir(&root);
    must_run(&mut git).split('\0').filter(|name| !name.is_empty()).map(|name| root.join(name)).collect()
}

#[test]
fn nothing_in_the_tree_belongs_to_one_machine_or_one_registry() {
    // In two halves, so that this file does not find itself.
    let halves = [
        ("/work", "/main"),
        ("/work", "/shared"),
        ("/work", "/.library"),
        ("/ro", "ot/"),
        ("/opt/", "wheels"),
        ("/tmp/", "t-"),
        ("registry.npm", "js"),
        ("pypi", ".org"),
        ("pythonhosted", ".org"),
        ("deb.debian", ".org"),
        ("index.crates", ".io"),
        ("static.crates", ".io"),
    ];
    for file in tree() {
        // Cargo itself writes where its packages come from.
        if file.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for (head, tail) in halves {
            let needle = format!("{head}{tail}");
            let line = text.lines().position(|line| line.contains(&needle));
            assert!(line.is_none(), "{needle} in {}:{}", file.display(), line.unwrap_or(0) + 1);
        }
    }
}

#[test]
fn no_file_that_should_stay_out_is_in() {
    for file in tree() {
        let name = file.to_string_lossy();
        for unwanted in ["/node_modules/", "/target/", ".db", ".db-wal", ".gguf", ".whl", ".pyc"] {
            assert!(!name.contains(unwanted) || name.contains("/testdata/"), "{name}");
        }
        let size = std::fs::metadata(&file).map(|m| m.len()).unwrap_or(0);
        assert!(size < 1 << 20, "{name} is {size} bytes");
    }
}
