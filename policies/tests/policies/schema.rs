//! The published schemas of facts and decisions; `UPDATE=1` writes them anew.

use std::path::Path;

use policies::{Decision, Facts};
use schemars::generate::SchemaSettings;

fn check<T: schemars::JsonSchema>(name: &str) {
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let path = Path::new("../docs/api").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "docs/api/{name} is out of date: run the tests of policies with UPDATE=1");
}

#[test]
fn the_schema_of_facts_is_published() {
    check::<Facts>("policy-facts.schema.json");
}

#[test]
fn the_schema_of_decisions_is_published() {
    check::<Decision>("policy-decision.schema.json");
}
